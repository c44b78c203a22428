"""NetworkPolicy objects as typed values. Expectations: the API reference of networking.k8s.io/v1 and its validation."""

from dataclasses import replace

import pytest

from migrate.model.addresses import parse_address
from migrate.model.flow import Direction
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.model.selectors import EVERYTHING, matches
from migrate.sources.fields import ProblemKind
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer, PortMatch, Rule, read_policy
from migrate.sources.kubernetes_engine import KubernetesEngine, in_namespace
from tests.unit.policies import network_policy, pod

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS


def _read(spec: Json) -> NetworkPolicy:
    return read_policy(RawObject(network_policy(spec)))


def _problems(spec: Json) -> list[tuple[str, str]]:
    return [(problem.kind.value, problem.field) for problem in _read(spec).problems]


def _rule(rule: dict[str, Json]) -> Rule:
    policy = _read({"podSelector": {}, "ingress": [rule]})
    assert policy.problems == ()
    return policy.ingress[0]


WEB, WEB_EMPTY, NONE = {"app": "web"}, {"app": ""}, dict[str, str]()


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        pytest.param({}, NONE, True, id="an empty selector selects every pod"),
        pytest.param(None, NONE, True, id="a null selector selects every pod of the policy"),
        pytest.param({"matchLabels": None, "matchExpressions": None}, NONE, True, id="null parts ask for nothing"),
        pytest.param({"matchLabels": {"app": "web"}}, WEB, True, id="matchLabels holds for the same value"),
        pytest.param({"matchLabels": {"app": "web"}}, WEB_EMPTY, False, id="matchLabels fails for another value"),
        pytest.param({"matchLabels": {"app": "web"}}, NONE, False, id="matchLabels fails without the label"),
        pytest.param({"matchLabels": {"app": ""}}, WEB_EMPTY, True, id="matchLabels may ask for the empty value"),
        pytest.param({"matchLabels": {"app": ""}}, NONE, False, id="a missing label is not the empty value"),
        pytest.param(
            {"matchLabels": {"app": "web", "x": "y"}}, WEB, False, id="all of matchLabels must hold at the same time"
        ),
        pytest.param(
            {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]},
            WEB,
            False,
            id="matchLabels and matchExpressions must both hold",
        ),
    ],
)
def test_pod_selector(selector: Json, labels: dict[str, str], selected: bool) -> None:
    policy = _read({"podSelector": selector})
    assert policy.problems == ()
    assert matches(policy.subject, pod("a", "p", labels)) is selected


@pytest.mark.parametrize(
    ("operator", "values", "labels", "selected"),
    [
        pytest.param("In", ["web", "db"], WEB, True, id="In holds for one of its values"),
        pytest.param("In", ["db"], WEB, False, id="In fails for another value"),
        pytest.param("In", ["db"], NONE, False, id="In fails without the label"),
        pytest.param("NotIn", ["db"], WEB, True, id="NotIn holds for another value"),
        pytest.param("NotIn", ["web"], WEB, False, id="NotIn fails for one of its values"),
        pytest.param("NotIn", ["web"], NONE, True, id="NotIn holds without the label"),
        pytest.param("Exists", None, WEB_EMPTY, True, id="Exists holds for the empty value"),
        pytest.param("Exists", None, NONE, False, id="Exists fails without the label"),
        pytest.param("DoesNotExist", None, NONE, True, id="DoesNotExist holds without the label"),
        pytest.param("DoesNotExist", None, WEB_EMPTY, False, id="DoesNotExist fails for the empty value"),
        pytest.param("Exists", [], WEB, True, id="an empty list of values is no value"),
    ],
)
def test_label_expression(operator: str, values: Json, labels: dict[str, str], selected: bool) -> None:
    expression: Json = {"key": "app", "operator": operator, "values": values}
    policy = _read({"podSelector": {"matchExpressions": [expression]}})
    assert policy.problems == ()
    assert matches(policy.subject, pod("a", "p", labels)) is selected


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        pytest.param({"key": "a", "operator": "in", "values": ["b"]}, "operator", id="operators are case-sensitive"),
        pytest.param({"key": "a", "operator": "Gt", "values": ["1"]}, "operator", id="Gt is for nodes only"),
        pytest.param({"key": "a"}, "operator", id="an expression needs an operator"),
        pytest.param({"operator": "Exists"}, "key", id="an expression needs a key"),
        pytest.param({"key": "a", "operator": "In"}, "values", id="In needs values"),
        pytest.param({"key": "a", "operator": "NotIn", "values": []}, "values", id="NotIn needs values"),
        pytest.param({"key": "a", "operator": "Exists", "values": ["b"]}, "values", id="Exists takes no values"),
        pytest.param(
            {"key": "a", "operator": "DoesNotExist", "values": ["b"]}, "values", id="DoesNotExist takes no values"
        ),
    ],
)
def test_an_expression_that_the_api_refuses_is_invalid(expression: Json, place: str) -> None:
    assert _problems({"podSelector": {"matchExpressions": [expression]}}) == [
        ("invalid", f"spec.podSelector.matchExpressions[0].{place}")
    ]


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        pytest.param({}, {INGRESS}, id="without types and rules a policy isolates ingress"),
        pytest.param({"ingress": [{}]}, {INGRESS}, id="without types ingress rules do not isolate egress"),
        pytest.param({"egress": [{}]}, {INGRESS, EGRESS}, id="without types egress rules isolate both"),
        pytest.param({"egress": []}, {INGRESS}, id="an empty egress list is no egress rule"),
        pytest.param({"policyTypes": []}, {INGRESS}, id="an empty list of types counts as missing"),
        pytest.param({"policyTypes": None, "egress": [{}]}, {INGRESS, EGRESS}, id="null types count as missing"),
        pytest.param({"policyTypes": ["Egress"]}, {EGRESS}, id="types without rules isolate"),
        pytest.param({"policyTypes": ["Ingress"], "egress": [{}]}, {INGRESS}, id="given types count, not rules"),
        pytest.param({"policyTypes": ["Egress", "Ingress"]}, {INGRESS, EGRESS}, id="the order of types is nothing"),
    ],
)
def test_isolated_directions(spec: dict[str, Json], directions: set[Direction]) -> None:
    policy = _read({"podSelector": {}} | spec)
    assert policy.problems == ()
    assert policy.directions == directions


def test_a_policy_type_that_does_not_exist_is_invalid() -> None:
    assert _problems({"podSelector": {}, "policyTypes": ["Ingress", "egress"]}) == [("invalid", "spec.policyTypes[1]")]


@pytest.mark.parametrize(
    ("types", "excluded"),
    [
        pytest.param(["Egress"], (INGRESS,), id="ingress rules beside the type Egress are left out"),
        pytest.param(["Ingress"], (EGRESS,), id="egress rules beside the type Ingress are left out"),
        pytest.param(["Ingress", "Egress"], (), id="both types leave nothing out"),
    ],
)
def test_rules_that_types_leave_out(types: list[Json], excluded: tuple[Direction, ...]) -> None:
    policy = _read({"podSelector": {}, "policyTypes": types, "ingress": [{}], "egress": [{}]})
    assert policy.excluded == excluded
    for direction in Direction:
        assert bool(policy.rules(direction)) is (direction not in excluded)


def test_a_direction_without_rules_leaves_nothing_out() -> None:
    assert _read({"podSelector": {}, "policyTypes": ["Egress"], "ingress": []}).excluded == ()


@pytest.mark.parametrize("rule", [{}, {"from": None, "ports": None}, {"from": [], "ports": []}])
def test_a_rule_without_peers_and_ports_admits_everything(rule: dict[str, Json]) -> None:
    read = _rule(rule)
    assert read.peers is None
    assert read.ports is None


SHOP, LAB = {"team": "blue"}, {"team": "red"}


@pytest.mark.parametrize(
    ("peer", "own_namespace_only", "shop", "lab"),
    [
        pytest.param({"podSelector": {}}, True, True, True, id="a pod selector alone stays in its namespace"),
        pytest.param({"namespaceSelector": {}}, False, True, True, id="an empty namespace selector is every namespace"),
        pytest.param(
            {"namespaceSelector": {"matchLabels": SHOP}}, False, True, False, id="a namespace selector is about labels"
        ),
        pytest.param(
            {"namespaceSelector": {"matchLabels": SHOP}, "podSelector": {"matchLabels": {"app": "db"}}},
            False,
            False,
            False,
            id="both selectors of one peer must hold",
        ),
        pytest.param(
            {"namespaceSelector": None, "podSelector": {}}, True, True, True, id="a null namespace selector is missing"
        ),
    ],
)
def test_pod_peer(peer: dict[str, Json], own_namespace_only: bool, shop: bool, lab: bool) -> None:
    peers = _rule({"from": [peer]}).peers
    assert peers is not None
    (read,) = peers
    assert isinstance(read, PodPeer)
    assert (read.namespaces is None) is own_namespace_only
    for namespace_labels, expected in ((SHOP, shop), (LAB, lab)):
        candidate = replace(pod("n", "web", WEB), namespace_labels=Labels.of(namespace_labels))
        selectors = [read.pods, *([] if read.namespaces is None else [read.namespaces])]
        assert all(matches(selector, candidate) for selector in selectors) is expected


@pytest.mark.parametrize(
    ("block", "address", "inside"),
    [
        pytest.param({"cidr": "10.0.0.0/8"}, "10.255.255.255", True, id="the last address is inside"),
        pytest.param({"cidr": "10.0.0.0/8"}, "11.0.0.0", False, id="the address after the last is outside"),
        pytest.param({"cidr": "10.1.2.3/8"}, "10.200.0.1", True, id="host bits of a CIDR do not count"),
        pytest.param(
            {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, "10.1.0.1", False, id="an exception is cut out"
        ),
        pytest.param({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, "10.2.0.1", True, id="and nothing else"),
        pytest.param({"cidr": "0.0.0.0/0"}, "::1", False, id="an IPv4 block holds no IPv6 address"),
        pytest.param({"cidr": "2001:db8::/32"}, "2001:db8::1", True, id="IPv6 blocks are read"),
    ],
)
def test_block_peer(block: dict[str, Json], address: str, inside: bool) -> None:
    peers = _rule({"from": [{"ipBlock": block}]}).peers
    assert peers is not None
    (read,) = peers
    assert isinstance(read, BlockPeer)
    assert (parse_address(address) in read.addresses()) is inside


BLOCK: Json = {"cidr": "10.0.0.0/8"}


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        pytest.param({}, "", id="a peer without any part"),
        pytest.param({"podSelector": None}, "", id="a peer with null parts only"),
        pytest.param({"ipBlock": BLOCK, "podSelector": {}}, "", id="a block beside a pod selector"),
        pytest.param({"ipBlock": BLOCK, "namespaceSelector": {}}, "", id="a block beside a namespace selector"),
        pytest.param({"ipBlock": {}}, ".ipBlock.cidr", id="a block without a CIDR"),
        pytest.param({"ipBlock": {"cidr": "10.0.0.1"}}, ".ipBlock.cidr", id="an address is no CIDR"),
        pytest.param({"ipBlock": {"cidr": "10.0.0.0/33"}}, ".ipBlock.cidr", id="a prefix that is too long"),
        pytest.param({"ipBlock": {"cidr": "fd00::/129"}}, ".ipBlock.cidr", id="an IPv6 prefix that is too long"),
        pytest.param(
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}},
            ".ipBlock.except[0]",
            id="an exception outside the block",
        ),
        pytest.param(
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}},
            ".ipBlock.except[0]",
            id="an exception as large as the block",
        ),
        pytest.param(
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/64"]}},
            ".ipBlock.except[0]",
            id="an exception of the other family",
        ),
        pytest.param(
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "x"]}},
            ".ipBlock.except[1]",
            id="an exception that is no CIDR",
        ),
    ],
)
def test_a_peer_that_the_api_refuses_is_invalid(peer: Json, place: str) -> None:
    assert _problems({"podSelector": {}, "ingress": [{"from": [peer]}]}) == [
        ("invalid", f"spec.ingress[0].from[0]{place}")
    ]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        pytest.param({}, PortMatch("TCP"), id="an empty port is all of TCP"),
        pytest.param({"protocol": "UDP"}, PortMatch("UDP"), id="a protocol alone is all its ports"),
        pytest.param({"port": 1}, PortMatch("TCP", 1), id="the lowest port"),
        pytest.param({"port": 65535}, PortMatch("TCP", 65535), id="the highest port"),
        pytest.param({"port": "http"}, PortMatch("TCP", "http"), id="a port by name"),
        pytest.param({"port": "a1-b2-c3-d4-e56"}, PortMatch("TCP", "a1-b2-c3-d4-e56"), id="a name of 15 characters"),
        pytest.param({"port": 80, "endPort": 90}, PortMatch("TCP", 80, 90), id="a range"),
        pytest.param({"port": 80, "endPort": 80}, PortMatch("TCP", 80, 80), id="a range of one port"),
        pytest.param({"protocol": "SCTP", "port": 7}, PortMatch("SCTP", 7), id="SCTP"),
    ],
)
def test_port(port: Json, expected: PortMatch) -> None:
    ports = _rule({"ports": [port]}).ports
    assert ports is not None
    assert [replace(read, field="") for read in ports] == [expected]


@pytest.mark.parametrize(
    ("port", "place"),
    [
        pytest.param({"port": 0}, "port", id="port 0"),
        pytest.param({"port": 65536}, "port", id="a port above the highest"),
        pytest.param({"port": -1}, "port", id="a negative port"),
        pytest.param({"port": "80"}, "port", id="digits in quotes are no port name"),
        pytest.param({"port": ""}, "port", id="an empty port name"),
        pytest.param({"port": "HTTP"}, "port", id="capital letters in a port name"),
        pytest.param({"port": "a-name-of-sixteen"}, "port", id="a port name that is too long"),
        pytest.param({"port": "a--b"}, "port", id="two hyphens in a row in a port name"),
        pytest.param({"port": "-a"}, "port", id="a port name that begins with a hyphen"),
        pytest.param({"port": "a_b"}, "port", id="an underscore in a port name"),
        pytest.param({"protocol": "ICMP"}, "protocol", id="ICMP has no ports"),
        pytest.param({"protocol": "tcp"}, "protocol", id="protocols are in capitals"),
        pytest.param({"port": 90, "endPort": 80}, "endPort", id="a range that ends before it begins"),
        pytest.param({"port": 80, "endPort": 65536}, "endPort", id="a range that ends above the highest port"),
        pytest.param({"endPort": 90}, "endPort", id="an end without a port"),
        pytest.param({"port": "http", "endPort": 90}, "endPort", id="an end after a name"),
        pytest.param({"port": 80.5}, "port", id="half a port"),
    ],
)
def test_a_port_that_the_api_refuses_is_invalid(port: Json, place: str) -> None:
    assert _problems({"podSelector": {}, "ingress": [{"ports": [port]}]}) == [
        ("invalid", f"spec.ingress[0].ports[0].{place}")
    ]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        pytest.param({"podSelector": {}, "podSelectors": {}}, "spec.podSelectors", id="in the spec"),
        pytest.param(
            {"podSelector": {"matchLabel": {}}}, "spec.podSelector.matchLabel", id="in a selector, which would be empty"
        ),
        pytest.param(
            {"podSelector": {}, "ingress": [{"form": []}]},
            "spec.ingress[0].form",
            id="in a rule, which would admit all",
        ),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}, "podLabels": {}}]}]},
            "spec.ingress[0].from[0].podLabels",
            id="in a peer",
        ),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "expect": []}}]}]},
            "spec.ingress[0].from[0].ipBlock.expect",
            id="in a block",
        ),
        pytest.param(
            {"podSelector": {}, "egress": [{"ports": [{"port": 80, "endport": 90}]}]},
            "spec.egress[0].ports[0].endport",
            id="in a port",
        ),
        pytest.param(
            {"podSelector": {}, "ingress": [{"to": [{"podSelector": {}}]}]},
            "spec.ingress[0].to",
            id="to beside ingress",
        ),
    ],
)
def test_an_unknown_field_is_told(spec: Json, place: str) -> None:
    assert _problems(spec) == [("unknown", place)]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        pytest.param({"podSelector": []}, "spec.podSelector", id="a list as a selector"),
        pytest.param({"podSelector": {}, "ingress": {}}, "spec.ingress", id="a mapping as a list of rules"),
        pytest.param({"podSelector": {}, "ingress": ["x"]}, "spec.ingress[0]", id="a string as a rule"),
        pytest.param({"podSelector": {}, "ingress": [None]}, "spec.ingress[0]", id="null as a rule"),
        pytest.param({"podSelector": {}, "ingress": [{"from": {}}]}, "spec.ingress[0].from", id="a mapping of peers"),
        pytest.param({"podSelector": {}, "policyTypes": "Ingress"}, "spec.policyTypes", id="a string as types"),
    ],
)
def test_a_value_of_the_wrong_type_is_told(spec: Json, place: str) -> None:
    assert _problems(spec) == [("invalid", place)]


def test_a_policy_without_a_spec_is_invalid() -> None:
    assert _problems(None) == [("invalid", "spec")]


def test_what_is_about_the_object_and_not_the_policy_is_no_problem() -> None:
    data = network_policy({"podSelector": {}}) | {"status": {"conditions": []}}
    assert read_policy(RawObject(data)).problems == ()


def test_rules_and_problems_name_their_line() -> None:
    data = network_policy({"podSelector": {}, "ingress": [{"ports": [{"port": 0}]}]})
    lines = {(): 3, ("spec", "ingress", 0): 9, ("spec", "ingress", 0, "ports", 0, "port"): 11}
    policy = read_policy(RawObject(data, "p.yaml", lines))
    assert str(policy.at) == "p.yaml:3"
    assert str(policy.ingress[0].at) == "p.yaml:9"
    assert [(p.kind, str(p.at)) for p in policy.problems] == [(ProblemKind.INVALID, "p.yaml:11")]


def test_the_object_is_named() -> None:
    assert _read({"podSelector": {}}).ref == ObjectRef("networking.k8s.io/v1", "NetworkPolicy", "shop", "policy")


def test_the_engine_names_the_places_of_policies_rules_and_problems() -> None:
    data = network_policy({"podSelector": {}, "ingress": [{"ports": [{"port": 0}]}]})
    lines = {(): 3, ("spec", "ingress", 0): 9, ("spec", "ingress", 0, "ports", 0, "port"): 11}
    engine = KubernetesEngine([read_policy(RawObject(data, "p.yaml", lines))])
    (stage,) = engine.chain(Direction.INGRESS, (0,)).stages
    assert stage.name == "NetworkPolicy"
    assert [str(rule.provenance) for rule in stage.rules] == ["NetworkPolicy shop/policy spec.ingress[0] (p.yaml:9)"]
    assert [str(one.provenance) for one in engine.subjects] == ["NetworkPolicy shop/policy spec (p.yaml:3)"]
    assert list(map(str, engine.unknown)) == [
        "NetworkPolicy shop/policy spec.ingress[0].ports[0].port (p.yaml:11)",
    ]


def test_a_policy_without_a_namespace_is_in_the_namespace_default() -> None:
    assert in_namespace(EVERYTHING, None) == in_namespace(EVERYTHING, "default")
