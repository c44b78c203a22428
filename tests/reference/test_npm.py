"""Azure NPM on Linux as measured: with packets through its own rules, or read off the rules that it programmed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.reference import kubernetes, npm
from tests.reference.cases import Case, End, Flow, NamedPort, Namespace, Node, Pod
from tests.simulate.dialects import model

SELECTED = End(pod="demo/backend")
SHOP_POD, LAB_POD, OPS_POD = End(pod="demo/frontend"), End(pod="lab/probe"), End(pod="ops/scraper")
ON_HOST, BACKEND_V6 = End(pod="ops/agent"), End(ip="fd00:244::11")
OWN_NODE, OTHER_NODE = End(node="one"), End(node="two")
OUTSIDE = End(ip="203.0.113.9")


def _pod(namespace: str, name: str, ip: str, node: str, *ports: NamedPort, more: tuple[str, ...] = ()) -> Pod:
    return Pod(namespace, name, {"app": name}, (ip, *more), ports, node=node)


METRICS = NamedPort("metrics", "TCP", 9090)
PODS = (
    _pod("demo", "backend", "10.244.1.11", "one", METRICS, more=("fd00:244::11",)),
    _pod("demo", "frontend", "10.244.1.10", "one"),
    _pod("demo", "v6first", "fd00:244::12", "two", more=("10.244.2.12",)),
    _pod("lab", "probe", "10.244.2.20", "two", NamedPort("metrics", "TCP", 9191)),
    _pod("ops", "scraper", "10.244.2.21", "two", more=("fd00:244::21",)),
    Pod("ops", "agent", {"app": "scraper"}, ("10.224.0.5",), node="two", host_network=True),
)


def _case(flow: Flow, *specs: Mapping[str, object]) -> Case:
    return Case(
        name="npm",
        namespaces=(
            Namespace("demo", {"kubernetes.io/metadata.name": "demo", "team": "shop"}),
            Namespace("lab", {"kubernetes.io/metadata.name": "lab", "team": "lab"}),
            Namespace("ops", {"kubernetes.io/metadata.name": "ops", "team": "ops"}),
        ),
        pods=PODS,
        nodes=(Node("one", ("10.224.0.4",)), Node("two", ("10.224.0.5",))),
        policies=tuple(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": f"policy-{index}", "namespace": "demo"},
                "spec": {"podSelector": {"matchLabels": {"app": "backend"}}, **spec},
            }
            for index, spec in enumerate(specs)
        ),
        flows=(flow,),
    )


def _from(*peers: Mapping[str, object], ports: object = None) -> dict[str, object]:
    return {"policyTypes": ["Ingress"], "ingress": [{"from": list(peers), "ports": ports}]}


def _team(operator: str, *values: str) -> dict[str, object]:
    return {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": operator, "values": list(values)}]}}


ISOLATED: dict[str, object] = {"policyTypes": ["Ingress", "Egress"]}
NODES = _from({"ipBlock": {"cidr": "10.224.0.0/16"}})
PODS_BLOCK = _from({"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.21/32"]}})
NOT_SHOP = _from(_team("NotIn", "shop"))
NOT_SHOP_NOT_LAB = _from(_team("NotIn", "shop", "lab"))
NOT_SHOP_PODS = _from(_team("NotIn", "shop") | {"podSelector": {"matchLabels": {"app": "scraper"}}})
NO_LABEL = {"matchExpressions": [{"key": "quarantine", "operator": "DoesNotExist"}]}
ANY_NAMESPACE = _from({"namespaceSelector": {}, "podSelector": NO_LABEL})
IN_BOTH = _from({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["frontend", "x"]}]}})
IN_NEITHER = _from(
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["frontend", "x"]}]}}
)
IPV6_BLOCK = _from({"ipBlock": {"cidr": "10.50.0.0/16"}}, {"ipBlock": {"cidr": "2001:db8::/32"}})
ODD_VALUE = _from({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a b"]}]}})
NAMED = _from(ports=[{"protocol": "TCP", "port": "metrics"}])
ALL_TCP = _from(ports=[{"protocol": "TCP"}])
EVERYONE: dict[str, object] = {"policyTypes": ["Ingress"], "ingress": [{}]}


def _to(destination: End, *, source: End = SELECTED, protocol: str = "TCP", port: int = 80) -> Flow:
    return Flow(source, destination, protocol, port)


def _by(source: End, *, protocol: str = "TCP", port: int = 80) -> Flow:
    return Flow(source, SELECTED, protocol, port)


_COLUMNS = ("spec", "flow", "egress", "ingress")
DEVIATIONS = [
    pytest.param(ISOLATED, _to(OWN_NODE), "unenforced", "unenforced", id="L1 a pod to its own node is not seen"),
    pytest.param(ISOLATED, _by(OWN_NODE), "unenforced", "unenforced", id="L1 nor a node to its own pod"),
    pytest.param(ISOLATED, _to(OTHER_NODE), "deny", "unenforced", id="L1 a pod to another node is checked"),
    pytest.param(ISOLATED, _by(OTHER_NODE), "unenforced", "deny", id="L1 another node to a pod is checked"),
    pytest.param(ISOLATED, _by(SHOP_POD), "unenforced", "deny", id="L1 pods of one node are checked"),
    pytest.param(
        _from({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "scraper"}}}),
        _by(ON_HOST),
        "unenforced",
        "deny",
        id="L3 a pod on the host's network is in no set",
    ),
    pytest.param(NODES, _by(ON_HOST), "unenforced", "allow", id="L3 but a block covers its node's address"),
    pytest.param(PODS_BLOCK, _by(LAB_POD), "unenforced", "allow", id="L4 a block covers pods"),
    pytest.param(PODS_BLOCK, _by(OPS_POD), "unenforced", "deny", id="L4 and its holes do not"),
    pytest.param(NODES, _by(OTHER_NODE), "unenforced", "allow", id="L4 a block covers nodes"),
    pytest.param(NOT_SHOP, _by(SHOP_POD), "unenforced", "deny", id="L5 one negated value keeps its pods out"),
    pytest.param(NOT_SHOP, _by(OUTSIDE), "unenforced", "allow", id="L5 and lets the outside in"),
    pytest.param(NOT_SHOP, _by(OTHER_NODE), "unenforced", "allow", id="L5 and nodes"),
    pytest.param(NOT_SHOP, _by(ON_HOST), "unenforced", "allow", id="L5 and with them pods on the host's network"),
    pytest.param(NOT_SHOP_PODS, _by(OUTSIDE), "unenforced", "deny", id="L5 unless a positive term stands beside"),
    pytest.param(ANY_NAMESPACE, _by(LAB_POD), "unenforced", "allow", id="L5 every namespace is a positive term"),
    pytest.param(ANY_NAMESPACE, _by(OUTSIDE), "unenforced", "deny", id="L5 that holds for no outside address"),
    pytest.param(NOT_SHOP_NOT_LAB, _by(SHOP_POD), "unenforced", "allow", id="L6 two negated values admit either"),
    pytest.param(NOT_SHOP_NOT_LAB, _by(OUTSIDE), "unenforced", "allow", id="L6 and the outside"),
    pytest.param(NOT_SHOP_NOT_LAB, _by(OTHER_NODE), "unenforced", "allow", id="L6 and nodes"),
    pytest.param(IN_BOTH, _by(SHOP_POD), "unenforced", "allow", id="L7 several values of a pod label are meant"),
    pytest.param(IN_NEITHER, _by(SHOP_POD), "unenforced", "deny", id="L7 and so are several negated ones"),
    pytest.param(IPV6_BLOCK, _by(OUTSIDE), "unenforced", "unenforced", id="L8 an IPv6 block disables the policy"),
    pytest.param(
        {"podSelector": {}, **ISOLATED},
        _to(End(pod="demo/v6first"), source=LAB_POD),
        "unenforced",
        "unenforced",
        id="L8 a pod with IPv6 first is in no set",
    ),
    pytest.param(
        {"podSelector": {}, **ISOLATED},
        _to(SHOP_POD, source=LAB_POD),
        "unenforced",
        "deny",
        id="L8 while its neighbours are",
    ),
    pytest.param(
        _from({"ipBlock": {"cidr": "2001:db8::/32"}}) | {"policyTypes": ["Ingress", "Egress"]},
        _to(LAB_POD),
        "unenforced",
        "unenforced",
        id="L8 in both directions",
    ),
    pytest.param(
        {"policyTypes": ["Ingress", "Egress"], "ingress": [{}, {"from": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}]},
        _to(LAB_POD),
        "deny",
        "unenforced",
        id="L8 unless another rule admits everything, when nobody looks at it",
    ),
    pytest.param(
        {"podSelector": {}, **_from({"podSelector": {}})},
        Flow(End(ip="10.244.2.12"), SHOP_POD, "TCP", 80),
        "unenforced",
        "deny",
        id="L9 a pod's IPv4 address behind an IPv6 one is in no set",
    ),
    pytest.param(ODD_VALUE, _by(OUTSIDE), "unenforced", "unenforced", id="L10 an odd value disables the policy"),
    pytest.param(NAMED, _by(OUTSIDE, port=9090), "unenforced", "allow", id="L11 a name is the target's number"),
    pytest.param(NAMED, _by(OUTSIDE, port=9191), "unenforced", "deny", id="L11 and not that of another pod"),
    pytest.param(ALL_TCP, _by(OUTSIDE, port=7), "unenforced", "allow", id="L14 a protocol alone is all its ports"),
    pytest.param(ALL_TCP, _by(OUTSIDE, protocol="UDP"), "unenforced", "deny", id="L14 and no other protocol"),
    pytest.param(ALL_TCP, _by(OUTSIDE, protocol="ICMP", port=8), "unenforced", "deny", id="L15 ports drop ICMP"),
    pytest.param(EVERYONE, _by(OUTSIDE, protocol="ICMP", port=8), "unenforced", "allow", id="L15 no ports pass it"),
]


@pytest.mark.parametrize(_COLUMNS, DEVIATIONS)
def test_deviations_of_npm(spec: Mapping[str, object], flow: Flow, egress: str, ingress: str) -> None:
    (answer,) = npm.evaluate(_case(flow, spec))
    assert (answer.egress, answer.ingress) == (egress, ingress)


@pytest.mark.parametrize(_COLUMNS, DEVIATIONS)
def test_the_model_has_them_too(spec: Mapping[str, object], flow: Flow, egress: str, ingress: str) -> None:
    (answer,) = model("npm")(_case(flow, spec)).answers
    assert answer is not None
    assert (answer.egress, answer.ingress) == (egress, ingress)


def test_ipv6_is_never_checked() -> None:
    flow = Flow(BACKEND_V6, End(ip="fd00:244::21"), "TCP", 80)
    case = _case(flow, ISOLATED)
    assert [answer.egress for answer in npm.evaluate(case)] == ["unenforced"]
    assert [answer.egress for answer in kubernetes.evaluate(case, block_covers_cluster=True)] == ["deny"]


def test_a_refused_policy_leaves_the_others_in_force() -> None:
    (answer,) = npm.evaluate(_case(_by(OUTSIDE), IPV6_BLOCK, NODES))
    assert answer.ingress == "deny"
