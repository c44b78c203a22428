"""`migrate lint`: what it reads, what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from migrate.model.documents import SnapshotHeader
from migrate.model.raw import RawObject
from migrate.scan import snapshot
from tests.command_line import Ended, migrate
from tests.unit.translate_command import DEMO
from tests.update_schemas import path_of

_GOOD = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: good, namespace: shop}
spec:
  endpointSelector: {}
  ingress:
    - fromEndpoints:
        - matchLabels: {app: client}
      toPorts:
        - ports:
            - {port: "80", protocol: TCP}
"""
_OCTAL = _GOOD.replace('port: "80"', 'port: "0100"').replace("name: good", "name: octal")
_SCTP = _GOOD.replace("TCP", "SCTP").replace("name: good", "name: sctp")
_SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {}\n"


def _lint(folder: Path, text: str, *arguments: str) -> Ended:
    (folder / "policy.yaml").write_text(text)
    return migrate(folder, "lint", "-f", "policy.yaml", *arguments)


@pytest.mark.parametrize(
    ("text", "fail_on", "status"),
    [
        pytest.param(_GOOD, "blocker", 0, id="nothing is wrong"),
        pytest.param(_GOOD, "warning", 0, id="nothing is wrong, strictly"),
        pytest.param(_SCTP, "blocker", 0, id="a warning does not fail by default"),
        pytest.param(_SCTP, "warning", 1, id="a warning fails when asked"),
        pytest.param(_OCTAL, "blocker", 1, id="a blocker fails"),
        pytest.param(_OCTAL, "never", 0, id="a blocker does not fail when nothing is to"),
    ],
)
def test_exit_status(tmp_path: Path, text: str, fail_on: str, status: int) -> None:
    assert _lint(tmp_path, text, "--fail-on", fail_on).status == status


def test_the_table_has_the_line_of_each_finding(tmp_path: Path) -> None:
    done = _lint(tmp_path, _OCTAL)
    assert done.stdout.splitlines()[0] == "1 object, 1 finding"
    (row,) = (line.split() for line in done.stdout.splitlines() if "LINT-MISREAD" in line)
    assert row[:3] == ["blocker", "LINT-MISREAD", "policy.yaml:11"]
    assert done.stderr.splitlines()[0].startswith("target cilium-1.20: ")


def test_json_has_the_schema_of_its_document(tmp_path: Path) -> None:
    document = json.loads(_lint(tmp_path, _OCTAL, "-o", "json", "--target", "aks-1.36").stdout)
    jsonschema.validate(document, json.loads(path_of("lint").read_text()))
    assert (document["kind"], document["target"], document["objects"]) == ("Lint", "aks-1.36", 1)
    (finding,) = document["findings"]
    assert finding["id"] == "LINT-MISREAD"
    assert finding["severity"] == "blocker"
    assert finding["at"] == {"file": "policy.yaml", "line": 11}
    assert finding["field"] == "spec.ingress[0].toPorts[0].ports[0].port"


def test_yaml_says_the_same_as_json(tmp_path: Path) -> None:
    as_json, as_yaml = (_lint(tmp_path, _OCTAL, "-o", form).stdout for form in ("json", "yaml"))
    assert yaml.safe_load(as_yaml) == json.loads(as_json)


def test_sarif_has_rules_levels_and_lines(tmp_path: Path) -> None:
    done = _lint(tmp_path, f"{_OCTAL}---\n{_SCTP}", "-o", "sarif")
    (run,) = json.loads(done.stdout)["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["LINT-MISREAD", "LINT-SCTP"]
    assert [(result["ruleId"], result["level"]) for result in run["results"]] == [
        ("LINT-MISREAD", "error"),
        ("LINT-SCTP", "warning"),
    ]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [place["region"]["startLine"] for place in places] == [11, 21]
    assert {place["artifactLocation"]["uri"] for place in places} == {"policy.yaml"}


def test_standard_input_is_read(tmp_path: Path) -> None:
    done = migrate(tmp_path, "lint", "-f", "-", stdin=_OCTAL.encode())
    assert done.status == 1
    assert "LINT-MISREAD" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "give files or folders with -f", id="no input"),
        pytest.param(["-f", "none.yaml"], "none.yaml", id="a file that is not there"),
        pytest.param(["-f", "service.yaml"], "no policy that Cilium reads", id="no policy in it"),
        pytest.param(["-f", "policy.yaml", "--target", "cilium-9"], "unknown target", id="an unknown target"),
        pytest.param(["-f", "policy.yaml", "--snapshot", "none.gz"], "no such file", id="no snapshot there"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "policy.yaml").write_text(_GOOD)
    (tmp_path / "service.yaml").write_text(_SERVICE)
    done = migrate(tmp_path, "lint", *arguments)
    assert done.status == 2
    assert message in done.stderr
    assert done.stdout == ""


def _snapshot(folder: Path, *, complete: bool = True) -> None:
    pod = RawObject(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": []},
            "status": {"phase": "Running", "podIP": "10.244.0.10", "podIPs": [{"ip": "10.244.0.10"}]},
        }
    )
    header = SnapshotHeader(tool_version="0", origin="cluster", name="test", complete=complete)
    snapshot.write(folder / "taken.gz", header, [pod])


def test_a_snapshot_says_whose_addresses_a_cidr_has(tmp_path: Path) -> None:
    _snapshot(tmp_path)
    text = _GOOD.replace("fromEndpoints:", "fromCIDR: [10.244.0.0/24]").replace(
        "        - matchLabels: {app: client}\n", ""
    )
    assert "LINT-CIDR-PRIVATE" in _lint(tmp_path, text).stdout
    done = _lint(tmp_path, text, "--snapshot", "taken.gz")
    assert "LINT-CIDR-PRIVATE" not in done.stdout
    assert "has the addresses of 1 pod, such as shop/web-0" in done.stdout


def test_part_of_a_cluster_is_incomplete(tmp_path: Path) -> None:
    _snapshot(tmp_path, complete=False)
    assert _lint(tmp_path, _GOOD, "--snapshot", "taken.gz").status == 4
    assert _lint(tmp_path, _OCTAL, "--snapshot", "taken.gz").status == 1


def test_a_map_that_overflows_is_foreseen(tmp_path: Path) -> None:
    _snapshot(tmp_path)
    blocks = ", ".join(f"20.{high}.{low}.0/24" for high in range(80) for low in range(200))
    text = _GOOD.replace("fromEndpoints:", f"fromCIDR: [{blocks}]").replace(
        "        - matchLabels: {app: client}\n", ""
    )
    done = _lint(tmp_path, text, "--snapshot", "taken.gz")
    assert done.status == 1
    assert "the policy map of pod shop/web-0 needs 16006 entries, 97 % of the limit of 16384" in " ".join(
        done.stdout.split()
    )


def test_no_alarm_on_the_translation_of_the_sample(tmp_path: Path) -> None:
    assert migrate(tmp_path, "scan", "-f", DEMO, "-q").status == 0
    migrate(tmp_path, "translate", "-q")
    target = json.loads((tmp_path / "migration/translation.json").read_text())["target"]
    done = migrate(
        tmp_path,
        *("lint", "-f", "migration/cilium", "--target", target, "--fail-on", "warning"),
        *("--snapshot", "migration/snapshot.jsonl.gz"),
    )
    assert done.status == 0
    assert done.stdout.startswith("3 objects")
