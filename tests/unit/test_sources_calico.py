"""Calico objects as typed values. Expectations: Calico's API reference, its validation and its stored form."""

import json
from dataclasses import replace

import pytest

from migrate.model.addresses import parse_network
from migrate.model.cluster import Pod
from migrate.model.flow import Direction
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject
from migrate.model.selectors import Selector, matches, requirements
from migrate.sources import calico
from migrate.sources.calico import CalicoPolicy, CalicoRule, IcmpMatch, NetworkSet, PortRange, ServiceMatch
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME
from tests.unit.policies import calico as calico_object

V3, STORED = "projectcalico.org/v3", "crd.projectcalico.org/v1"
INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS
WEB = Pod(
    "shop",
    "web",
    Labels.of({"app": "web"}),
    Labels.of({NAMESPACE_NAME: "shop", "team": "blue"}),
    "robot",
    Labels.of({SERVICE_ACCOUNT_NAME: "robot", "role": "reader"}),
)

MANY_DIGITS = "9" * 5_000
"""More than Python reads as a number."""


def _policy(spec: Json, version: str = V3, name: str = "policy") -> CalicoPolicy:
    return calico.read_policy(
        RawObject(calico_object("NetworkPolicy", spec, {"name": name, "namespace": "shop"}, version))
    )


def _global(
    spec: Json, version: str = V3, name: str = "policy", metadata: dict[str, Json] | None = None
) -> CalicoPolicy:
    known: dict[str, Json] = {"name": name}
    return calico.read_policy(RawObject(calico_object("GlobalNetworkPolicy", spec, known | (metadata or {}), version)))


def _rule(rule: dict[str, Json]) -> CalicoRule:
    policy = _policy({"ingress": [{"action": "Allow", **rule}]})
    assert policy.problems == ()
    return policy.ingress[0]


def _problems(spec: Json) -> list[tuple[str, str]]:
    return [(problem.kind.value, problem.field) for problem in _policy(spec).problems]


def _rule_problems(rule: dict[str, Json]) -> list[tuple[str, str]]:
    prefix = "spec.ingress[0]."
    found = _problems({"ingress": [{"action": "Allow", **rule}]})
    assert all(place.startswith(prefix) for _, place in found)
    return [(kind, place.removeprefix(prefix)) for kind, place in found]


@pytest.mark.parametrize(
    ("spec", "version", "directions"),
    [
        pytest.param({}, V3, {INGRESS}, id="v3 without rules is ingress"),
        pytest.param({"ingress": [{"action": "Allow"}]}, V3, {INGRESS}, id="v3 with ingress rules is ingress"),
        pytest.param({"egress": [{"action": "Allow"}]}, V3, {EGRESS}, id="v3 with egress rules alone is egress"),
        pytest.param(
            {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
            V3,
            {INGRESS, EGRESS},
            id="v3 with rules of both is both",
        ),
        pytest.param({"types": []}, V3, {INGRESS}, id="v3 with an empty list of types counts as without"),
        pytest.param({"types": ["Egress"]}, V3, {EGRESS}, id="given types count"),
        pytest.param({"types": ["Egress"], "ingress": [{"action": "Allow"}]}, V3, {EGRESS}, id="and not the rules"),
        pytest.param({}, STORED, {INGRESS, EGRESS}, id="a stored object without types holds in both directions"),
        pytest.param(
            {"ingress": [{"action": "Allow"}]}, STORED, {INGRESS, EGRESS}, id="whatever rules a stored object has"
        ),
        pytest.param({"types": ["Ingress"]}, STORED, {INGRESS}, id="a stored object's own types count"),
    ],
)
def test_directions(spec: Json, version: str, directions: set[Direction]) -> None:
    policy = _policy(spec, version)
    assert policy.problems == ()
    assert policy.directions == directions


def test_rules_of_a_direction_that_types_leave_out_do_not_count() -> None:
    policy = _policy({"types": ["Egress"], "ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]})
    assert policy.rules(INGRESS) == ()
    assert len(policy.rules(EGRESS)) == 1


@pytest.mark.parametrize(
    ("version", "name", "annotation", "tier", "expected"),
    [
        pytest.param(V3, "web", None, None, "web", id="a v3 name is the name"),
        pytest.param(STORED, "default.web", None, None, "web", id="a stored name has its tier before it"),
        pytest.param(STORED, "ops.web", None, "ops", "web", id="any tier"),
        pytest.param(STORED, "web", None, None, "web", id="a stored name without its tier stays whole"),
        pytest.param(STORED, "default.web", '{"name": "default.web"}', None, "default.web", id="the annotation wins"),
        pytest.param(STORED, "default.web", "{broken", None, "web", id="an annotation that is no JSON is no name"),
        pytest.param(STORED, "default.web", "[1]", None, "web", id="an annotation that is no mapping is no name"),
    ],
)
def test_names(version: str, name: str, annotation: str | None, tier: str | None, expected: str) -> None:
    metadata: dict[str, Json] = {"annotations": {"projectcalico.org/metadata": annotation}} if annotation else {}
    assert _global({"tier": tier}, version, name, metadata).name == expected


@pytest.mark.parametrize(
    ("kind", "metadata", "namespace"),
    [
        pytest.param("NetworkPolicy", {"namespace": "shop"}, "shop", id="a policy is of its namespace"),
        pytest.param("NetworkPolicy", {}, "default", id="a namespaced kind without a namespace is of default"),
        pytest.param("GlobalNetworkPolicy", {}, None, id="a global kind is of none"),
        pytest.param("GlobalNetworkPolicy", {"namespace": "shop"}, None, id="a global kind stays global"),
        pytest.param("StagedNetworkPolicy", {}, "default", id="a staged policy is of a namespace as well"),
        pytest.param("StagedGlobalNetworkPolicy", {}, None, id="a staged global one of none"),
    ],
)
def test_whether_a_policy_is_global_is_said_by_its_kind(
    kind: str, metadata: dict[str, Json], namespace: str | None
) -> None:
    name: dict[str, Json] = {"name": "p"}
    policy = calico.read_policy(RawObject(calico_object(kind, {}, name | metadata)))
    assert policy.namespace == namespace
    assert policy.staged is kind.startswith("Staged")


def test_tier_and_order() -> None:
    assert (_global({}).tier, _global({}).order) == ("default", None)
    read = _global({"tier": "ops", "order": 12.5})
    assert (read.tier, read.order) == ("ops", 12.5)


@pytest.mark.parametrize(
    ("spec", "selected"),
    [
        pytest.param({}, True, id="no selector is all()"),
        pytest.param({"selector": ""}, True, id="an empty selector is all()"),
        pytest.param({"selector": "app == 'web'"}, True, id="a label of the pod"),
        pytest.param({"selector": "team == 'blue'"}, False, id="a namespace's label is not the pod's"),
        pytest.param({"selector": "pcns.team == 'blue'"}, True, id="pcns. reads the namespace's labels"),
        pytest.param({"selector": "has(pcns.app)"}, False, id="and only those"),
        pytest.param(
            {"selector": "pcns.projectcalico.org/name == 'shop'"}, True, id="pcns. knows the namespace's name"
        ),
        pytest.param({"selector": "projectcalico.org/namespace == 'shop'"}, True, id="the namespace is a label"),
        pytest.param({"selector": "projectcalico.org/namespace == 'lab'"}, False, id="another namespace is not"),
        pytest.param({"selector": "pcsa.role == 'reader'"}, True, id="pcsa. reads the service account's labels"),
        pytest.param({"selector": "has(role)"}, False, id="which are not the pod's"),
        pytest.param({"selector": "pcsa.projectcalico.org/name == 'robot'"}, True, id="pcsa. knows the account's name"),
        pytest.param({"selector": "projectcalico.org/serviceaccount == 'robot'"}, True, id="the account is a label"),
        pytest.param({"selector": "projectcalico.org/serviceaccount == 'root'"}, False, id="another account is not"),
        pytest.param({"namespaceSelector": "team == 'blue'"}, True, id="a namespaceSelector reads namespace labels"),
        pytest.param({"namespaceSelector": "app == 'web'"}, False, id="and not the pod's"),
        pytest.param({"namespaceSelector": "projectcalico.org/name == 'shop'"}, True, id="the namespace's name there"),
        pytest.param(
            {"namespaceSelector": "kubernetes.io/metadata.name == 'shop'"}, True, id="by Kubernetes' label too"
        ),
        pytest.param({"serviceAccountSelector": "role == 'reader'"}, True, id="a serviceAccountSelector reads labels"),
        pytest.param({"serviceAccountSelector": "projectcalico.org/name == 'x'"}, False, id="or the name"),
        pytest.param({"selector": "app == 'web'", "namespaceSelector": "team == 'red'"}, False, id="all must hold"),
    ],
)
def test_subject(spec: dict[str, Json], selected: bool) -> None:
    policy = _global(spec)
    assert policy.problems == ()
    terms = [policy.selector, policy.namespace_selector, policy.account_selector]
    assert all(matches(term, WEB) for term in terms if term is not None) is selected


def _source(source: dict[str, Json]) -> calico.EntityMatch:
    return _rule({"source": source}).source


@pytest.mark.parametrize(
    ("selector", "pod_of_namespace", "global_set"),
    [
        pytest.param("all()", True, False, id="all() is whatever has a namespace"),
        pytest.param("global()", False, True, id="global() is whatever has none"),
        pytest.param(" global( ) ", False, True, id="global() may have blanks around"),
        pytest.param("team == 'blue'", True, False, id="a label of the namespace"),
        pytest.param("team != 'blue'", False, True, id="what has no namespace has no team, so it differs"),
        pytest.param("!has(x)", True, True, id="and lacks every label"),
        pytest.param("!has(x) && all()", True, False, id="unless all() stands beside it"),
        pytest.param("!all()", False, True, id="the opposite of all() is global()"),
    ],
)
def test_namespace_selector_of_a_rule(selector: str, pod_of_namespace: bool, global_set: bool) -> None:
    read = _source({"namespaceSelector": selector}).namespaces
    assert read is not None
    assert matches(read, WEB) is pod_of_namespace
    assert matches(read, _set("GlobalNetworkSet", {"name": "s"})) is global_set


def _set(kind: str, metadata: dict[str, Json], spec: Json = None, version: str = V3) -> NetworkSet:
    namespaces = {"shop": WEB.namespace_labels}
    return calico.read_network_set(RawObject(calico_object(kind, spec, metadata, version)), namespaces)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        pytest.param({"selector": "app == 'web'"}, "selector", id="selector"),
        pytest.param({"selector": "all()"}, "selector", id="all() is given too"),
        pytest.param({"notSelector": "app == 'web'"}, "notSelector", id="notSelector"),
        pytest.param({"namespaceSelector": "global()"}, "namespaceSelector", id="namespaceSelector"),
        pytest.param({"serviceAccounts": {"names": ["robot"]}}, "serviceAccounts", id="accounts by name"),
        pytest.param({"serviceAccounts": {"selector": "has(role)"}}, "serviceAccounts", id="accounts by label"),
        pytest.param({"nets": ["10.0.0.0/8"]}, "nets", id="nets"),
        pytest.param({"notNets": ["10.0.0.0/8"]}, "notNets", id="notNets"),
        pytest.param({"ports": [80]}, "ports", id="ports"),
        pytest.param({"notPorts": [80]}, "notPorts", id="notPorts"),
        pytest.param({"services": {"name": "web"}}, "services", id="services"),
    ],
)
def test_parts_of_an_end_are_told_apart(source: dict[str, Json], part: str) -> None:
    rule: dict[str, Json] = {"protocol": "TCP"} if part.lower().endswith("ports") else {}
    assert _rule(rule | {"source": source}).source.used() == (part,)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"selector": ""}, id="an empty selector"),
        pytest.param({"selector": None, "nets": None}, id="nulls"),
        pytest.param({"nets": [], "ports": []}, id="empty lists"),
        pytest.param({"serviceAccounts": {}}, id="no account"),
    ],
)
def test_an_end_without_parts_is_any_end(source: dict[str, Json]) -> None:
    assert _source(source).used() == ()


def test_service_accounts_and_services() -> None:
    accounts = _source({"serviceAccounts": {"names": ["a", "b"], "selector": "role == 'reader'"}})
    assert accounts.account_names == ("a", "b")
    assert accounts.account_selector is not None
    assert matches(accounts.account_selector, WEB)
    assert _source({"services": {"name": "web", "namespace": "lab"}}).service == ServiceMatch("web", "lab")
    assert _source({"services": {"name": "web"}}).service == ServiceMatch("web", "")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        pytest.param("10.1.2.3/8", "10.0.0.0/8", id="host bits do not count"),
        pytest.param("fd00::1/64", "fd00::/64", id="IPv6"),
    ],
)
def test_nets(text: str, network: str) -> None:
    assert _source({"nets": [text]}).nets == (parse_network(network),)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        pytest.param(80, PortRange(80, 80), id="a number"),
        pytest.param("80", PortRange(80, 80), id="a number in quotes"),
        pytest.param("80:90", PortRange(80, 90), id="a range"),
        pytest.param("1:65535", PortRange(1, 65535), id="the whole range"),
        pytest.param("http", "http", id="a name"),
    ],
)
def test_port(port: Json, expected: PortRange | str) -> None:
    assert _rule({"protocol": "TCP", "destination": {"ports": [port]}}).destination.ports == (expected,)


@pytest.mark.parametrize(
    "port",
    [65536, -1, "90:80", "80:", ":80", "80:90:100", "80:http", "", True, 1.5, None, MANY_DIGITS, f"1:{MANY_DIGITS}"],
)
def test_a_port_that_calico_refuses_is_invalid(port: Json) -> None:
    assert _rule_problems({"protocol": "TCP", "destination": {"ports": [port]}}) == [
        ("invalid", "destination.ports[0]")
    ]


@pytest.mark.parametrize("name", ["a-name-of-sixteen", "HTTP", "a_b", "a.b"])
def test_a_port_name_that_calico_refuses_is_invalid(name: str) -> None:
    assert _rule_problems({"protocol": "TCP", "destination": {"ports": [name]}}) == [
        ("invalid", "destination.ports[0]")
    ]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        pytest.param("TCP", "TCP", id="a name"),
        pytest.param("udp", "UDP", id="a name in small letters"),
        pytest.param("UDPLite", "UDPLite", id="UDPLite"),
        pytest.param("ICMPv6", "ICMPv6", id="ICMPv6"),
        pytest.param(6, "TCP", id="the number of a known protocol"),
        pytest.param("17", "UDP", id="its number in quotes"),
        pytest.param(132, "SCTP", id="SCTP by number"),
        pytest.param(47, "47", id="another number"),
        pytest.param(None, None, id="no protocol"),
    ],
)
def test_protocol(protocol: Json, expected: str | None) -> None:
    assert _rule({"protocol": protocol}).protocol == expected
    assert _rule({"notProtocol": protocol}).not_protocol == expected


@pytest.mark.parametrize("protocol", [0, 256, -1, "TPC", "", True, 6.5, MANY_DIGITS])
def test_a_protocol_that_calico_refuses_is_invalid(protocol: Json) -> None:
    assert _rule_problems({"protocol": protocol}) == [("invalid", "protocol")]


def test_icmp() -> None:
    assert _rule({"protocol": "ICMP", "icmp": {"type": 8}}).icmp == IcmpMatch(8, None)
    assert _rule({"protocol": "ICMP", "icmp": {"type": 3, "code": 4}}).icmp == IcmpMatch(3, 4)
    assert _rule({"protocol": "ICMP", "notICMP": {"type": 0}}).not_icmp == IcmpMatch(0, None)
    assert _rule({"protocol": "ICMP"}).icmp is None


@pytest.mark.parametrize(
    ("icmp", "place"),
    [
        pytest.param({"code": 0}, "icmp.code", id="a code without a type"),
        pytest.param({"type": 255}, "icmp.type", id="a type above the highest"),
        pytest.param({"type": -1}, "icmp.type", id="a negative type"),
        pytest.param({"type": 3, "code": 256}, "icmp.code", id="a code above the highest"),
        pytest.param({"type": "8"}, "icmp.type", id="a type in quotes"),
    ],
)
def test_an_icmp_match_that_calico_refuses_is_invalid(icmp: Json, place: str) -> None:
    assert _rule_problems({"protocol": "ICMP", "icmp": icmp}) == [("invalid", place)]


@pytest.mark.parametrize("action", ["Allow", "Deny", "Pass", "Log"])
def test_action(action: str) -> None:
    assert _rule({"action": action}).action == action


@pytest.mark.parametrize("action", ["", "allow", "Accept", None])
def test_an_action_that_does_not_exist_is_invalid(action: Json) -> None:
    assert _rule_problems({"action": action}) == [("invalid", "action")]


@pytest.mark.parametrize(("version", "problems"), [(4, []), (6, []), (5, [("invalid", "ipVersion")])])
def test_ip_version(version: int, problems: list[tuple[str, str]]) -> None:
    assert _rule_problems({"ipVersion": version}) == problems


def test_http_is_seen() -> None:
    assert _rule({"http": {"methods": ["GET"]}}).has_http
    assert not _rule({}).has_http


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        pytest.param({"source": {"selector": "app = 'web'"}}, "source.selector", id="in a selector"),
        pytest.param({"source": {"notSelector": "("}}, "source.notSelector", id="in a notSelector"),
        pytest.param(
            {"source": {"namespaceSelector": "global() || has(x)"}},
            "source.namespaceSelector",
            id="global() beside another term",
        ),
        pytest.param({"source": {"selector": "global()"}}, "source.selector", id="global() in a selector"),
        pytest.param(
            {"source": {"serviceAccounts": {"selector": "role"}}}, "source.serviceAccounts.selector", id="in accounts"
        ),
        pytest.param({"source": {"nets": ["10.0.0.0/33"]}}, "source.nets[0]", id="in nets"),
        pytest.param({"source": {"nets": ["10.1.2.3"]}}, "source.nets[0]", id="an address in nets, which take CIDRs"),
        pytest.param({"source": {"notNets": ["10.0.0.0/8", "x"]}}, "source.notNets[1]", id="in notNets"),
    ],
)
def test_what_cannot_be_read_is_told(rule: dict[str, Json], place: str) -> None:
    assert _rule_problems(rule) == [("invalid", place)]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        pytest.param({"selector": "app == web"}, "spec.selector", id="a selector that cannot be read"),
        pytest.param({"namespaceSelector": "app =="}, "spec.namespaceSelector", id="nor a namespaceSelector"),
        pytest.param({"serviceAccountSelector": ")"}, "spec.serviceAccountSelector", id="nor a serviceAccountSelector"),
        pytest.param({"types": ["Ingress", "ingress"]}, "spec.types[1]", id="a type in small letters"),
        pytest.param({"order": "10"}, "spec.order", id="an order in quotes"),
    ],
)
def test_what_cannot_be_read_of_a_policy_is_told(spec: Json, place: str) -> None:
    assert _problems(spec) == [("invalid", place)]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        pytest.param({"selectors": "all()"}, "spec.selectors", id="in the spec"),
        pytest.param({"ingress": [{"action": "Allow", "form": {}}]}, "spec.ingress[0].form", id="in a rule"),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"domains": ["x.org"]}}]},
            "spec.egress[0].destination.domains",
            id="in an end, such as Enterprise's domains",
        ),
        pytest.param(
            {"ingress": [{"action": "Allow", "source": {"serviceAccounts": {"name": "x"}}}]},
            "spec.ingress[0].source.serviceAccounts.name",
            id="in accounts",
        ),
        pytest.param(
            {"ingress": [{"action": "Allow", "protocol": "ICMP", "icmp": {"types": 8}}]},
            "spec.ingress[0].icmp.types",
            id="in an ICMP match",
        ),
    ],
)
def test_an_unknown_field_is_told(spec: Json, place: str) -> None:
    assert _problems(spec) == [("unknown", place)]


def test_what_has_no_meaning_for_flows_is_no_problem() -> None:
    rule: Json = {"action": "Allow", "metadata": {"annotations": {"a": "b"}}}
    assert _problems({"ingress": [rule], "performanceHints": ["AssumeNeededOnEveryNode"]}) == []


def test_flags_of_host_policies() -> None:
    read = _global({"doNotTrack": True, "applyOnForward": True, "preDNAT": True})
    assert (read.do_not_track, read.apply_on_forward, read.pre_dnat) == (True, True, True)
    plain = _global({})
    assert (plain.do_not_track, plain.apply_on_forward, plain.pre_dnat) == (False, False, False)


def _annotated(labels: dict[str, str]) -> dict[str, Json]:
    return {"annotations": {"projectcalico.org/metadata": json.dumps({"labels": labels})}}


@pytest.mark.parametrize(
    ("metadata", "labels"),
    [
        pytest.param({}, {}, id="no labels"),
        pytest.param({"labels": {"a": "1"}}, {"a": "1"}, id="labels of the object"),
        pytest.param(_annotated({"a": "1"}), {"a": "1"}, id="labels in the annotation of a stored object"),
        pytest.param(
            {"labels": {"a": "1", "b": "1"}} | _annotated({"a": "2"}), {"a": "2", "b": "1"}, id="the annotation wins"
        ),
    ],
)
def test_labels_of_a_set(metadata: dict[str, Json], labels: dict[str, str]) -> None:
    name: dict[str, Json] = {"name": "s"}
    assert dict(_set("GlobalNetworkSet", name | metadata, version=STORED).labels) == labels


@pytest.mark.parametrize(
    ("selector", "kind", "metadata", "selected"),
    [
        pytest.param("role == 'out'", "NetworkSet", {"namespace": "shop"}, True, id="a set has labels of its own"),
        pytest.param("pcns.team == 'blue'", "NetworkSet", {"namespace": "shop"}, True, id="and those of its namespace"),
        pytest.param(
            "projectcalico.org/namespace == 'lab'", "NetworkSet", {"namespace": "lab"}, True, id="and its name"
        ),
        pytest.param("has(pcns.team)", "GlobalNetworkSet", {}, False, id="a global set has no namespace"),
        pytest.param("has(projectcalico.org/namespace)", "GlobalNetworkSet", {}, False, id="not even a name of one"),
        pytest.param("has(projectcalico.org/orchestrator)", "GlobalNetworkSet", {}, False, id="nor an orchestrator"),
        pytest.param(
            "has(projectcalico.org/serviceaccount)", "NetworkSet", {"namespace": "shop"}, False, id="no account"
        ),
        pytest.param("!has(pcsa.x)", "NetworkSet", {"namespace": "shop"}, True, id="so it lacks every account label"),
    ],
)
def test_what_selectors_find_in_a_set(selector: str, kind: str, metadata: dict[str, Json], selected: bool) -> None:
    known: dict[str, Json] = {"name": "s", "labels": {"role": "out"}}
    read = _source({"selector": selector}).selector
    assert read is not None
    assert matches(read, _set(kind, known | metadata)) is selected


def test_addresses_of_a_set() -> None:
    read = _set("GlobalNetworkSet", {"name": "s"}, {"nets": ["203.0.113.7", "2001:db8::/32"]})
    assert read.problems == ()
    assert read.nets == (parse_network("203.0.113.7/32"), parse_network("2001:db8::/32"))


def test_a_set_that_cannot_be_read_is_told() -> None:
    read = _set("GlobalNetworkSet", {"name": "s"}, {"nets": ["203.0.113.0/24", "x"], "net": []})
    assert [(p.kind.value, p.field) for p in read.problems] == [("invalid", "spec.nets[1]"), ("unknown", "spec.net")]


def test_every_pod_has_the_orchestrator_label() -> None:
    read = _source({"selector": "projectcalico.org/orchestrator == 'k8s'"}).selector
    assert read is not None
    assert _reads_only(read, calico.ORCHESTRATOR)
    assert matches(read, replace(WEB, labels=Labels.of({calico.ORCHESTRATOR: "k8s"})))


def _reads_only(selector: Selector, key: str) -> bool:
    return {requirement.key for requirement in requirements(selector)} == {key}
