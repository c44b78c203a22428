"""Reading the cases of `migrate simulate`: what a case says, and what it cannot say."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.model.addresses import parse_address
from migrate.model.flow import EndKind, Packet
from migrate.model.raw import Json, RawObject
from migrate.scan.cases import read_cases
from migrate.sources.cases import Case, read_case

_FLOW: dict[str, Json] = {"src": {"pod": "shop/web"}, "dst": {"pod": "shop/db"}, "protocol": "TCP", "port": 80}


def document(**changed: Json) -> dict[str, Json]:
    """A case with two pods on a node; parts of it changed."""
    pods: list[Json] = [
        {"namespace": "shop", "name": "web", "ips": ["10.0.0.1", "fd00::1"], "node": "n"},
        {"namespace": "shop", "name": "db", "ips": ["fd00::2", "10.0.0.2"], "node": "n"},
        {"namespace": "shop", "name": "agent", "ips": ["10.1.0.1"], "node": "n", "hostNetwork": True},
        {"namespace": "shop", "name": "waiting"},
    ]
    return {
        "version": 1,
        "name": "small",
        "namespaces": [{"name": "shop", "labels": {"team": "blue"}}],
        "pods": pods,
        "nodes": [{"name": "n", "ips": ["10.1.0.1"]}],
        "flows": [_FLOW],
        **changed,
    }


def pod(**changed: Json) -> dict[str, Json]:
    return document(pods=[{"namespace": "shop", "name": "web", "ips": ["10.0.0.1"], "node": "n", **changed}], flows=[])


def flow(**changed: Json) -> dict[str, Json]:
    return document(flows=[{**_FLOW, **changed}])


def read(value: dict[str, Json]) -> Case:
    return read_case(RawObject(value, "case.yaml"))


@pytest.mark.parametrize(
    ("value", "place", "message"),
    [
        pytest.param(flow(src={"pod": "shop/gone"}), "flows[0].src.pod", "pod shop/gone is not in", id="unknown pod"),
        pytest.param(flow(dst={"node": "gone"}), "flows[0].dst.node", "node gone is not in", id="unknown node"),
        pytest.param(flow(dst={"ip": "10.0.0"}), "flows[0].dst.ip", '"10.0.0" is not an IP', id="no address"),
        pytest.param(flow(dst={}), "flows[0].dst", "must name one end", id="an end without a name"),
        pytest.param(flow(dst=None), "flows[0].dst", "must name one end", id="no end"),
        pytest.param(
            flow(dst={"pod": "shop/db", "ip": "10.0.0.2"}), "flows[0].dst", "must name one end", id="an end named twice"
        ),
        pytest.param(flow(dst={"pod": "shop/waiting"}), "flows[0].dst.pod", "has no address", id="no address yet"),
        pytest.param(flow(port=70000), "flows[0].port", "from 0 to 65535", id="port 70000"),
        pytest.param(flow(port=-1), "flows[0].port", "from 0 to 65535", id="port -1"),
        pytest.param(flow(port="80"), "flows[0].port", "must be a whole number", id="a port in quotes"),
        pytest.param(flow(port=True), "flows[0].port", "must be a whole number", id="true is no port"),
        pytest.param(flow(port=None), "flows[0].port", "must be given", id="no port"),
        pytest.param(flow(srcPort=65536), "flows[0].srcPort", "from 0 to 65535", id="source port 65536"),
        pytest.param(flow(protocol="ICMP", port=256), "flows[0].port", "from 0 to 255", id="ICMP type 256"),
        pytest.param(flow(protocol="ICMP", icmpCode=256), "flows[0].icmpCode", "from 0 to 255", id="ICMP code 256"),
        pytest.param(flow(protocol="GRE"), "flows[0].protocol", '"GRE" is not one of', id="a protocol without a name"),
        pytest.param(flow(dst={"node": "n"}, src={"ip": "fd00::1"}), "flows[0]", "one IP family", id="two families"),
        pytest.param(
            flow(protocol="ICMPv6", dst={"node": "n"}), "flows[0]", "one IP family", id="ICMPv6 to an IPv4 address"
        ),
        pytest.param(flow(via={}), "flows[0].via", "must name a service", id="a way through nothing"),
        pytest.param(flow(colour="blue"), "flows[0].colour", "unknown field", id="a field that flows do not have"),
        pytest.param(document(policies=["x"]), "policies[0]", "must be a whole object", id="a policy that is text"),
        pytest.param(document(policies={}), "policies", "must be a list", id="policies that are no list"),
        pytest.param(document(version=2), "version", "reads version 1", id="a version from the future"),
        pytest.param(document(pots=[]), "pots", "unknown field", id="a misspelt field"),
        pytest.param(
            document(namespaces=[{"name": "shop"}, {"name": "shop"}]),
            "namespaces[1].name",
            "twice",
            id="name twice",
        ),
        pytest.param(
            document(nodes=[{"name": "n", "ips": ["10.1.0.1"]}, {"name": "n", "ips": ["10.1.0.2"]}], pods=[], flows=[]),
            "nodes[1]",
            "node n is also in nodes[0]",
            id="node twice",
        ),
        pytest.param(
            document(nodes=[{"name": "n", "ips": ["10.1.0.1", "10.0.0.1"]}]),
            "pods[0]",
            "address 10.0.0.1 is also in nodes[0]",
            id="an address of a pod and a node",
        ),
        pytest.param(pod(ips=["10.0.0.1", "10.0.0.2"]), "pods[0].ips", "at most one address", id="two of a family"),
        pytest.param(pod(ips=["10.0.0.1/8"]), "pods[0].ips[0]", "is not an IP address", id="a network is no address"),
        pytest.param(
            pod(hostNetwork=True, node="m"), "pods[0].node", "needs one that is in the case", id="a host without a node"
        ),
        pytest.param(pod(hostNetwork=True), "pods[0].ips", "has the addresses of its node n", id="a host of its own"),
        pytest.param(
            pod(namedPorts=[{"name": "http", "port": 65536}]), "pods[0].namedPorts[0].port", "from 0", id="a named port"
        ),
        pytest.param(
            pod(namedPorts=[{"name": "ping", "port": 8, "protocol": "ICMP"}]),
            "pods[0].namedPorts[0].protocol",
            '"ICMP" is not one of',
            id="a named port without ports",
        ),
        pytest.param(pod(labels={"a": 1}), "pods[0].labels.a", "must be a string", id="a label that is a number"),
    ],
)
def test_what_a_case_cannot_say(value: dict[str, Json], place: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(value)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"case.yaml: case 'small': {place}: ")
    assert message in str(caught.value)


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        read(document(flows=[{**_FLOW, "port": -1}, {**_FLOW, "src": {"pod": "x"}}], pots=1))
    assert [line.split(": ")[2] for line in str(caught.value).splitlines()] == [
        "flows[0].port",
        "flows[1].src.pod",
        "pots",
    ]


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        pytest.param({}, ("10.0.0.1", "10.0.0.2"), id="the first pair of one family in the source's order"),
        pytest.param({"protocol": "ICMPv6"}, ("fd00::1", "fd00::2"), id="the first pair that the protocol can use"),
        pytest.param({"src": {"ip": "fd00::9"}}, ("fd00::9", "fd00::2"), id="the family of an address that is given"),
    ],
)
def test_the_addresses_that_a_flow_uses(given: dict[str, Json], addresses: tuple[str, str]) -> None:
    (found,) = read(flow(**given)).flows
    assert (str(found.source.address), str(found.destination.address)) == addresses


@pytest.mark.parametrize(
    ("end", "kind", "owner"),
    [
        pytest.param({"ip": "10.0.0.1"}, EndKind.POD, "shop/web", id="a pod's address is the pod"),
        pytest.param({"ip": "10.1.0.1"}, EndKind.NODE, "node n", id="a node's address is the node"),
        pytest.param({"pod": "shop/agent"}, EndKind.NODE, "node n", id="a pod on the host's network is its node"),
        pytest.param({"ip": "10.9.9.9"}, EndKind.OUTSIDE, "10.9.9.9", id="nobody's address is outside"),
    ],
)
def test_what_an_end_is(end: Json, kind: EndKind, owner: str) -> None:
    (found,) = read(flow(src=end)).flows
    assert (found.source.kind, str(found.source)) == (kind, owner)


def test_an_api_server_is_known_wherever_it_is() -> None:
    servers: Json = {"ips": ["10.1.0.1", "203.0.113.1"]}
    flows: Json = [{**_FLOW, "dst": {"ip": ip}} for ip in ("10.1.0.1", "203.0.113.1", "203.0.113.2")]
    found = read(document(kubeAPIServer=servers, flows=flows)).flows
    assert [one.destination.api_server for one in found] == [True, True, False]


def test_the_type_of_an_icmp_flow_may_have_its_own_name() -> None:
    (found,) = read(flow(protocol="ICMP", port=None, icmpType=8, icmpCode=1)).flows
    assert found.packet == Packet(1, 8, code=1)


def test_a_namespace_always_has_its_name_as_a_label() -> None:
    (web, *_) = read(document()).cluster.pods
    assert dict(web.namespace_labels) == {"kubernetes.io/metadata.name": "shop", "team": "blue"}
    (web, *_) = read(document(namespaces=[])).cluster.pods
    assert dict(web.namespace_labels) == {"kubernetes.io/metadata.name": "shop"}


def test_verdicts_of_a_vector_are_not_read() -> None:
    (found,) = read(flow(egress="deny", ingress="allow", verdict="perhaps")).flows
    assert found.source.address == parse_address("10.0.0.1")


# Files.

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def _names(paths: list[Path], stdin: bytes = b"") -> tuple[list[str], bool]:
    found, single = read_cases(paths, io.BytesIO(stdin))
    return [case.name for case in found], single


_ONE, _TWO = (json.dumps(document(name=name)) for name in ("one", "two"))
_BOTH = json.dumps({"cases": [document(name="one"), document(name="two")]})


def test_one_case_in_one_file_stands_alone(write: Write) -> None:
    assert _names([write("a.json", _ONE)]) == (["one"], True)


def test_a_document_with_cases(write: Write) -> None:
    assert _names([write("a.json", _BOTH)]) == (["one", "two"], False)
    assert _names([write("b.json", json.dumps({"cases": [document(name="one")]}))]) == (["one"], False)


def test_yaml_with_several_documents(write: Write) -> None:
    assert _names([write("a.yaml", f"{_ONE}\n---\n{_TWO}\n")]) == (["one", "two"], False)


def test_files_come_in_the_order_given_and_a_folder_by_name(write: Write, tmp_path: Path) -> None:
    first, second = write("b.json", _ONE), write("a.json", _TWO)
    write("notes.txt", "not a case")
    assert _names([first, second]) == (["one", "two"], False)
    assert _names([tmp_path]) == (["two", "one"], False)


@pytest.mark.parametrize("text", [_ONE, f"# a comment\n{_ONE}"], ids=["JSON", "YAML"])
def test_standard_input(text: str) -> None:
    assert _names([Path("-")], text.encode()) == (["one"], True)


def test_a_case_without_a_name_goes_by_its_file(write: Write) -> None:
    path = write("a.json", json.dumps(document(name="")))
    assert _names([path])[0] == [str(path)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.json", '{"flows": ', ":1: not JSON", id="JSON that is cut off"),
        pytest.param("a.yaml", "a: 1\nb: [1\n", ":3: not YAML", id="YAML that is cut off"),
        pytest.param("a.yaml", "", ": holds no case", id="an empty file"),
        pytest.param("a.json", '{"cases": []}', ": holds no case", id="no cases"),
        pytest.param("a.json", '\n\n{"cases": [1]}', ":3: no case", id="a number is no case"),
        pytest.param("a.json", '{"kind": "NetworkPolicy"}', ":1: no case: it has no flows", id="a policy is no case"),
        pytest.param("a.json", '{"flows": null}', ":1: no case: it has no flows", id="flows that are null"),
    ],
)
def test_files_that_hold_no_case(name: str, text: str, message: str, write: Write) -> None:
    path = write(name, text)
    with pytest.raises(InputError) as caught:
        read_cases([path])
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_cases([tmp_path / "gone.json"])


def test_problems_have_the_line_of_their_field(write: Write) -> None:
    path = write("a.yaml", "name: x\nflows:\n- dst: {ip: 10.0.0.1}\n  src: {ip: 10.0.0.2}\n  port: 70000\n")
    with pytest.raises(InputError, match=rf"{path}:5: case 'x': flows\[0\]\.port: must be from 0 to 65535"):
        read_cases([path])


def test_a_policy_knows_the_lines_of_its_fields(write: Write) -> None:
    (found,), _ = read_cases([write("a.yaml", "name: x\nflows: []\npolicies:\n- {}\n- kind: A\n  spec:\n    x: 1\n")])
    assert [str(policy.at("spec", "x")).rpartition(":")[2] for policy in found.policies] == ["4", "7"]
