"""Objects that Calico's validation refuses: the model says so too, and where."""

import pytest

from tests.policy_engines import PolicyEngine
from tests.unit.calico_case import Object, calico, case, everywhere, simulate, within

ICMP: Object = {"icmp": {"type": 8}}
SERVICE: Object = {"services": {"name": "db", "namespace": "shop"}}
V4: Object = {"nets": ["10.0.0.0/8"]}
V6: Object = {"nets": ["fd00::/8"]}
HTTP: Object = {"http": {"methods": ["GET"]}}


def _in(rule: Object) -> Object:
    return {"ingress": [{"action": "Allow", **rule}]}


def _out(rule: Object) -> Object:
    return {"egress": [{"action": "Allow", **rule}]}


RULES = [
    pytest.param(_in(ICMP), "ingress[0].icmp", id="an ICMP type without the protocol"),
    pytest.param(_in({"protocol": "TCP", **ICMP}), "ingress[0].icmp", id="an ICMP type of another protocol"),
    pytest.param(_in({"protocol": "ICMP", "ipVersion": 6}), "ingress[0].ipVersion", id="ICMP over IPv6"),
    pytest.param(_in({"notProtocol": "ICMPv6", "ipVersion": 4}), "ingress[0].ipVersion", id="ICMPv6 over IPv4"),
    pytest.param(_in({"ipVersion": 6, "source": V4}), "ingress[0].source.nets", id="an IPv4 network over IPv6"),
    pytest.param(_in({"source": V4, "destination": V6}), "ingress[0].destination.nets", id="networks of both versions"),
    pytest.param(_in({"action": "Deny", **HTTP}), "ingress[0].http", id="http that denies"),
    pytest.param(_in({"protocol": "UDP", **HTTP}), "ingress[0].http", id="http over UDP"),
    pytest.param(_out(HTTP), "egress[0].http", id="http on egress"),
    pytest.param(_in({"destination": SERVICE}), "ingress[0].destination.services", id="a service in the wrong place"),
    pytest.param(_out({"source": SERVICE}), "egress[0].source.services", id="and on egress"),
    pytest.param(
        _out({"destination": SERVICE | {"selector": "all()"}}), "egress[0].destination.services", id="with a selector"
    ),
    pytest.param(_out({"destination": SERVICE | V4}), "egress[0].destination.services", id="a service with networks"),
    pytest.param(
        _out({"protocol": "TCP", "destination": SERVICE | {"ports": [80]}}),
        "egress[0].destination.services",
        id="a service with ports",
    ),
    pytest.param(_out({"destination": {"services": {}}}), "egress[0].destination.services", id="without a name"),
    pytest.param(_in({"source": {"selector": "app = 'x'"}}), "ingress[0].source.selector", id="a selector"),
    pytest.param(_in({"source": {"ports": [80]}}), "ingress[0].source.ports", id="ports without a protocol"),
    pytest.param({"types": ["Ingress", "Ingress"]}, "types", id="a direction twice"),
    pytest.param({"selector": "global()"}, "selector", id="global() selects nothing"),
]
GLOBAL = [
    pytest.param({"doNotTrack": True}, "applyOnForward", id="doNotTrack without applyOnForward"),
    pytest.param({"preDNAT": True, "applyOnForward": True, **_out({})}, "egress", id="egress rules before DNAT"),
    pytest.param({"preDNAT": True, "applyOnForward": True, "types": ["Egress"]}, "types", id="egress before DNAT"),
    pytest.param({"preDNAT": True, "doNotTrack": True, "applyOnForward": True}, "preDNAT", id="both at once"),
    pytest.param(
        _out({"destination": {"services": {"name": "db"}}}),
        "egress[0].destination.services",
        id="a service without its namespace",
    ),
]


def _places(policy: Object) -> list[str]:
    left_out = simulate([policy], ["shop/web > shop/db TCP/80"]).left_out
    return [place.removesuffix(" (case.yaml)").rpartition(" ")[2] for place in left_out]


@pytest.mark.parametrize(("spec", "place"), RULES)
def test_a_policy_that_calico_refuses_is_unknown(spec: Object, place: str, calico_engine: PolicyEngine) -> None:
    policy = within("p", spec)
    assert f"spec.{place}" in _places(policy)
    assert [answer["ok"] for answer in calico_engine(case([policy], []))["policies"]] == [False]


@pytest.mark.parametrize(("spec", "place"), [*RULES, *GLOBAL])
def test_a_global_policy_that_calico_refuses_is_unknown(spec: Object, place: str, calico_engine: PolicyEngine) -> None:
    policy = everywhere("p", spec)
    assert f"spec.{place}" in _places(policy)
    assert [answer["ok"] for answer in calico_engine(case([policy], []))["policies"]] == [False]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        pytest.param({"nets": ["10.0.0.0/33"]}, "spec.nets[0]", id="no network"),
        pytest.param({"nets": "10.0.0.0/8"}, "spec.nets", id="no list"),
        pytest.param({"networks": []}, "spec.networks", id="an unknown field"),
    ],
)
def test_a_network_set_that_cannot_be_read_makes_the_case_unknown(spec: Object, place: str) -> None:
    assert place in _places(calico("GlobalNetworkSet", "s", spec))
