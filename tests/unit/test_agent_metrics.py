"""The figures of an agent as Prometheus reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from migrate.agent.metrics import FILE_NAME, PREFIX, metrics_text, write_textfile
from migrate.errors import InputError
from migrate.model.agent_documents import AgentStatus

_DASHBOARD = Path(__file__).parents[2] / "docs" / "examples" / "grafana-audit.json"
_STATUS = AgentStatus(
    tool_version="1.2.3",
    run="r1",
    node="n1",
    boot_id="boot",
    state="recording",
    at=1_795_000_000_500_000_000,
    began=1_794_999_000_000_000_000,
    seconds=3600,
    recorded_seconds=1000,
    left_seconds=2600,
    bytes=4096,
    new_flows=110,
    exact=100,
    coarse=7,
    lost=3,
    watched_pods=12,
    open_gaps=1,
    losses={"disk-full": 2, "pods-not-told": 1},
    leads=True,
)


def families(status: AgentStatus) -> dict[str, Metric]:
    """What a parser finds, by the names of metrics."""
    return {family.name: family for family in text_string_to_metric_families(metrics_text(status))}


def values(status: AgentStatus) -> dict[str, float]:
    """Samples by name and the labels beside the node's, in the order of their names."""
    found: dict[str, float] = {}
    for family in families(status).values():
        for sample in family.samples:
            assert sample.labels["node"] == status.node
            labels = [sample.labels[name] for name in sorted(sample.labels) if name != "node"]
            found[" ".join((sample.name.removeprefix(PREFIX), *labels))] = sample.value
    return found


def test_every_figure() -> None:
    assert values(_STATUS) == {
        "info boot r1 1.2.3": 1,
        "state starting": 0,
        "state recording": 1,
        "state finished": 0,
        "state failed": 0,
        "leader": 1,
        "status_timestamp_seconds": 1_795_000_000.5,
        "start_timestamp_seconds": 1_794_999_000,
        "planned_seconds": 3600,
        "recorded_seconds": 1000,
        "remaining_seconds": 2600,
        "recording_bytes": 4096,
        "watched_pods": 12,
        "open_gaps": 1,
        "new_flows_total": 110,
        "kept_flows_total exact": 100,
        "kept_flows_total coarse": 7,
        "lost_flows_total": 3,
        "losses_total disk-full": 2,
        "losses_total pods-not-told": 1,
    }


def test_names_follow_the_conventions() -> None:
    for name, family in families(_STATUS).items():
        assert re.fullmatch(PREFIX + "[a-z_]+", name)
        assert family.documentation.endswith(".")
        samples = {sample.name for sample in family.samples}
        assert samples == {f"{name}_total" if family.type == "counter" else name}


def test_what_is_not_known_is_left_out() -> None:
    found = values(structs.replace(_STATUS, began=None, losses={}))
    assert "start_timestamp_seconds" not in found
    assert not any(name.startswith("losses_total") for name in found)


_texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(_texts, _texts, st.dictionaries(_texts, st.integers(0, 1 << 50), max_size=3))
def test_any_text_comes_back(node: str, run: str, losses: dict[str, int]) -> None:
    status = structs.replace(_STATUS, node=node, run=run, losses=losses)
    samples = [sample for family in families(status).values() for sample in family.samples]
    assert {sample.labels["node"] for sample in samples} == {node}
    assert [sample.labels["run"] for sample in samples if "run" in sample.labels] == [run]
    assert {s.labels["kind"]: s.value for s in samples if s.name == f"{PREFIX}losses_total"} == losses


def test_the_file_for_the_node_exporter(tmp_path: Path) -> None:
    write_textfile(tmp_path, "first\n")
    path = write_textfile(tmp_path, metrics_text(_STATUS))
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]
    assert path.read_text() == metrics_text(_STATUS)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_textfile(tmp_path / "none", "")


def test_the_dashboard_asks_for_nothing_else_and_for_all_of_it() -> None:
    text = _DASHBOARD.read_text(encoding="utf-8")
    asked = set(re.findall(PREFIX + "[a-z_]+", text))
    there = {sample.name for family in families(_STATUS).values() for sample in family.samples}
    assert asked == there
    dashboard = json.loads(text)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
