"""`migrate explain` where there are dumps of nodes: what the rules of a node do with the flow, step by step."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.model.cluster import Node
from migrate.model.documents import ExplainedNode, Explanation
from migrate.model.flow import TCP, End, EndKind, Flow, Packet, ServiceTarget, Via
from migrate.nodes.dump import read_dump
from migrate.nodes.netfilter.node_rules import NodeRules
from tests.command_line import migrate
from tests.update_schemas import path_of

_CASES = Path(__file__).parents[1] / "cases/azure"
_DUMPS = _CASES / "linux-npm"
_FIRST, _SECOND = "aks-nodepool1-12345678-vmss000000", "aks-nodepool1-12345678-vmss000001"
_NPM = ("--before-engine", "npm")
_FILES = ("iptables-save.txt", "ipset-save.txt", "iptables-legacy-save.txt")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A scanned cluster with Azure NPM."""
    policies = [_CASES / "policies" / name for name in ("cluster.yaml", "policies.yaml")]
    given = [word for path in policies for word in ("-f", path)]
    assert migrate(tmp_path, "scan", *given, "--output-dir", "migration", "-q").status == 0
    return tmp_path


def _dump(folder: Path, name: str, of: str) -> Path:
    """The dump of a node in a folder."""
    node = folder / name
    node.mkdir(parents=True)
    for file in _FILES:
        if (_DUMPS / of / file).exists():
            shutil.copy(_DUMPS / of / file, node)
    return node


def _explained(place: Path, *question: str) -> Explanation:
    done = migrate(place, "explain", *question, *_NPM, "-o", "json")
    assert done.stderr == ""
    jsonschema.validate(json.loads(done.stdout), json.loads(path_of("explanation").read_text(encoding="utf-8")))
    return msgspec.json.decode(done.stdout, type=Explanation)


def _nodes(place: Path, *question: str) -> tuple[ExplainedNode, ...]:
    (flow,) = _explained(place, *question).flows
    return flow.nodes


def test_without_dumps_no_node_is_spoken_of(place: Path) -> None:
    assert _nodes(place, "demo/frontend-0", "demo/backend-1", "8080") == ()


def test_the_nodes_of_both_ends_are_asked(place: Path) -> None:
    for node in (_FIRST, _SECOND):
        _dump(place / "migration/nodes", node, "hash-sha256")
    first, second = _nodes(place, "demo/backend-0", "demo/backend-1", "8080")
    assert (first.node, first.part, first.verdict) == (_FIRST, "source", "deny")
    assert (second.node, second.part, second.verdict) == (_SECOND, "destination", "deny")
    last = second.steps[-1]
    assert (last.table, last.chain, last.action) == ("filter", "AZURE-NPM-INGRESS", "DROP")
    file, _, line = last.at.rpartition(":")
    assert file == f"{_SECOND}/iptables-save.txt"
    text = (_DUMPS / "hash-sha256/iptables-save.txt").read_text().splitlines()[int(line) - 1]
    assert last.comment in text
    assert text.endswith("-j DROP")


def test_a_node_of_both_ends_is_asked_once(place: Path) -> None:
    _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    (node,) = _nodes(place, "demo/frontend-0", "kube-system/coredns-0", "UDP/53")
    assert (node.part, node.verdict, node.way) == ("both", "allow", "through the node")


def test_dumps_elsewhere_come_before_those_of_the_folder(place: Path) -> None:
    _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    question = ("demo/frontend-0", "203.0.113.7", "8080")
    assert [node.verdict for node in _nodes(place, *question)] == ["deny"]
    drifted = _dump(place / "elsewhere", _FIRST, "drift")
    assert [node.verdict for node in _nodes(place, *question, "--node-dump", str(drifted))] == ["allow"]


def test_a_node_that_does_something_else_is_named(place: Path) -> None:
    _dump(place / "migration/nodes", _FIRST, "drift")
    question = ("demo/frontend-0", "203.0.113.7", "8080")
    (flow,) = _explained(place, *question).flows
    assert flow.truths[1].verdict == "deny"
    (said,) = [text for text in flow.because if "something else" in text]
    assert said.startswith("the node does something else than the policies: ")
    assert f"{_FIRST} lets it through at {_FIRST}/iptables-save.txt:" in said
    assert said.endswith("by the policies it is denied today")
    printed = " ".join(migrate(place, "explain", *question, *_NPM).stdout.split())
    assert said in printed
    assert f"node {_FIRST}, that of the source: ALLOW by its rules, through the node" in printed


def test_a_node_that_does_what_the_policies_say_is_not(place: Path) -> None:
    _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    (flow,) = _explained(place, "demo/frontend-0", "203.0.113.7", "8080").flows
    assert [text for text in flow.because if "something else" in text] == []


def test_one_of_two_nodes_does_not_show_that_a_flow_gets_through(place: Path) -> None:
    _dump(place / "migration/nodes", _SECOND, "drift")
    (flow,) = _explained(place, "demo/backend-0", "demo/backend-1", "8080").flows
    assert [node.verdict for node in flow.nodes] == ["allow"]
    assert flow.truths[1].verdict == "deny"
    assert [text for text in flow.because if "something else" in text] == []


def test_dumps_of_other_nodes_are_not_passed_over_in_silence(place: Path) -> None:
    other = _dump(place / "elsewhere", "another-node", "hash-sha256")
    done = _explained(place, "demo/frontend-0", "203.0.113.7", "8080", "--node-dump", str(other))
    assert "none of the dumps of --node-dump is of a node of these ends" in done.notes


def test_a_way_that_may_lead_to_another_pod_is_not_followed(place: Path) -> None:
    dump = read_dump(_dump(place, _FIRST, "hash-sha256"))
    node = Node(_FIRST, addresses=(ip_address("10.224.0.4"),))
    here = End(EndKind.NODE, node.addresses[0], node=node)
    outside = End(EndKind.OUTSIDE, ip_address("203.0.113.7"))
    direct = Flow(outside, here, Packet(TCP, 8080))
    one = Via("demo/web", (ServiceTarget(here, 8080),))
    rules = NodeRules({_FIRST: dump}.get)
    for via, verdict in (
        (None, "allow"),
        (one, "allow"),
        (replace(one, external=True), "unknown"),
        (replace(one, targets=one.targets * 2), "unknown"),
    ):
        (found,) = rules.explained(replace(direct, via=via))
        assert (found.verdict, found.way) == (verdict, "into the node")
        assert bool(found.doubts) is (verdict == "unknown")


def test_a_damaged_dump_is_named(place: Path) -> None:
    node = _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    (node / "node.json").write_text("{")
    done = migrate(place, "explain", "demo/frontend-0", "203.0.113.7", "8080", *_NPM)
    assert done.status == 2
    assert "node.json" in done.stderr


def test_rules_that_are_cut_off_decide_nothing(place: Path) -> None:
    node = _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    whole = (node / "iptables-save.txt").read_text()
    (node / "iptables-save.txt").write_text(whole[: whole.index("-A AZURE-NPM-EGRESS ")])
    (found,) = _nodes(place, "demo/frontend-0", "203.0.113.7", "8080")
    assert found.verdict == "unknown"
    assert "lines of the table filter are missing" in found.doubts[0]


def test_sets_that_are_not_in_the_dump_decide_nothing(place: Path) -> None:
    node = _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    (node / "ipset-save.txt").unlink()
    (found,) = _nodes(place, "demo/frontend-0", "203.0.113.7", "8080")
    assert found.verdict == "unknown"
    assert any("nothing tells about the set azure-npm-" in doubt for doubt in found.doubts)


def test_a_pod_behind_its_interface_is_found_by_the_routes(place: Path) -> None:
    node = _dump(place / "migration/nodes", _FIRST, "hash-sha256")
    (node / "iptables-save.txt").write_text(
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i azv1 -o eth0 -j DROP\nCOMMIT\n", encoding="utf-8"
    )
    question = ("demo/frontend-0", "203.0.113.7", "8080")
    assert [found.verdict for found in _nodes(place, *question)] == ["unknown"]
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "10.244.1.10", "dev": "azv1"}]
    (node / "routes.json").write_text(json.dumps(routes), encoding="utf-8")
    assert [found.verdict for found in _nodes(place, *question)] == ["deny"]
    routes[1]["dev"] = "azv2"
    (node / "routes.json").write_text(json.dumps(routes), encoding="utf-8")
    assert [found.verdict for found in _nodes(place, *question)] == ["allow"]


def test_other_tables_of_nftables_leave_a_doubt(place: Path) -> None:
    node = _dump(place / "migration/nodes", _FIRST, "drift")
    listing = [
        {"table": {"family": "inet", "name": "firewalld", "handle": 1}},
        {
            "chain": {
                "family": "inet",
                "table": "firewalld",
                "name": "f",
                "hook": "forward",
                "type": "filter",
                "prio": 10,
            }
        },
        {"rule": {"family": "inet", "table": "firewalld", "chain": "f", "handle": 2, "expr": [{"drop": None}]}},
    ]
    (node / "nft.json").write_text(json.dumps({"nftables": listing}), encoding="utf-8")
    (found,) = _nodes(place, "demo/frontend-0", "203.0.113.7", "8080")
    assert found.verdict == "unknown"
    assert found.doubts == (f"{_FIRST}/nft.json: the table inet firewalld of nftables may decide, too",)


def test_a_windows_node_has_no_such_rules(place: Path) -> None:
    node = place / "migration/nodes" / _FIRST
    node.mkdir(parents=True)
    shutil.copy(_CASES / "windows-hns/get-hnsendpoint.json", node / "hns-endpoints.json")
    (found,) = _nodes(place, "demo/frontend-0", "203.0.113.7", "8080")
    assert (found.verdict, found.doubts) == ("unknown", ("a Windows node has no such rules",))
