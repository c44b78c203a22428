"""The figures of an agent for Prometheus: text for `migrate audit agent metrics`, or a file for the node exporter.

No port is opened. The names and the text follow Prometheus' conventions (prometheus.io/docs: exposition formats, metric
and label naming): base units, `_total` for what only grows, `_info` for labels alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from migrate.errors import InputError
from migrate.files import write_atomic
from migrate.model.agent_documents import AgentState, AgentStatus

FILE_NAME = "cilium_migrate_audit.prom"
PREFIX = "cilium_migrate_audit_"
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Metric:
    """A metric with its samples: labels beside the node's, and a value."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: tuple[tuple[Mapping[str, str], int | float], ...]


def metrics_text(status: AgentStatus) -> str:
    """An agent's status in Prometheus' text format. Every sample has the label `node`."""
    lines: list[str] = []
    for metric in _metrics(status):
        name = f"{PREFIX}{metric.name}"
        lines += [f"# HELP {name} {_escaped(metric.help, quotes=False)}", f"# TYPE {name} {metric.kind}"]
        for labels, value in metric.samples:
            given = {"node": status.node, **labels}
            text = ",".join(f'{label}="{_escaped(content)}"' for label, content in sorted(given.items()))
            lines.append(f"{name}{{{text}}} {value}")
    return "".join(f"{line}\n" for line in lines)


def write_textfile(folder: Path, text: str) -> Path:
    """Put the text where the node exporter's textfile collector reads it, whole or not at all. Returns the file.

    Raises InputError where the folder is missing or cannot be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one of --collector.textfile.directory")
    path = folder / FILE_NAME
    write_atomic(path, text.encode("utf-8", "replace"))
    return path


def _metrics(status: AgentStatus) -> Iterator[_Metric]:
    about = {"run": status.run, "boot_id": status.boot_id, "version": status.tool_version}
    yield _Metric("info", "gauge", "What runs here, as labels.", ((about, 1),))
    states = tuple(({"state": state}, int(state == status.state)) for state in get_args(AgentState))
    yield _Metric("state", "gauge", "1 for the state that the agent is in.", states)
    yield _gauge("leader", "1 if this agent keeps the timeline of the whole cluster.", int(status.leads))
    yield _gauge("status_timestamp_seconds", "The node's clock when this was written.", status.at / _BILLION)
    if status.began is not None:
        yield _gauge("start_timestamp_seconds", "When recording began, by the node's clock.", status.began / _BILLION)
    yield _gauge("planned_seconds", "How long is to be recorded.", status.seconds)
    yield _gauge("recorded_seconds", "How long was recorded.", status.recorded_seconds)
    yield _gauge("remaining_seconds", "How long is still to be recorded.", status.left_seconds)
    yield _gauge("recording_bytes", "The size of the recording.", status.bytes)
    yield _gauge("watched_pods", "Pods' interfaces that are watched.", status.watched_pods)
    yield _gauge("open_gaps", "Pods' interfaces that are alive and not seen now.", status.open_gaps)
    yield _counter("new_flows_total", "New connections that the kernel counted.", status.new_flows)
    kept: tuple[tuple[Mapping[str, str], int], ...] = (
        ({"detail": "exact"}, status.exact),
        ({"detail": "coarse"}, status.coarse),
    )
    yield _Metric("kept_flows_total", "counter", "New connections in the recording; coarse: the far end is cut.", kept)
    yield _counter("lost_flows_total", "New connections that had no room in the kernel's tables.", status.lost)
    if status.losses:
        losses = tuple(({"kind": kind}, count) for kind, count in sorted(status.losses.items()))
        yield _Metric("losses_total", "counter", "What was not kept or not heard, by kind.", losses)


def _gauge(name: str, text: str, value: int | float) -> _Metric:
    return _Metric(name, "gauge", text, (({}, value),))


def _counter(name: str, text: str, value: int) -> _Metric:
    return _Metric(name, "counter", text, (({}, value),))


def _escaped(text: str, *, quotes: bool = True) -> str:
    """Backslashes and line feeds, and in values of labels double quotes."""
    found = text.replace("\\", "\\\\").replace("\n", "\\n")
    return found.replace('"', '\\"') if quotes else found
