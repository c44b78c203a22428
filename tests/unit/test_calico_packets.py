"""Which packets one rule of a Calico policy is about: the model's word, and that of Calico's own engine."""

from __future__ import annotations

import pytest

from tests.policy_engines import PolicyEngine
from tests.unit.calico_case import Object, case, everywhere, simulate

_UDP_BUT_LOW_SOURCES: Object = {"protocol": "UDP", "source": {"notPorts": ["1:1023"]}}

CASES = [
    pytest.param({"ipVersion": 4}, "8.8.8.8 > shop/web TCP/80", "allow", id="IPv4 is IP version 4"),
    pytest.param({"ipVersion": 6}, "8.8.8.8 > shop/web TCP/80", "deny", id="IPv4 is not IP version 6"),
    pytest.param(_UDP_BUT_LOW_SOURCES, "8.8.8.8 > shop/web UDP/80/1023", "deny", id="a source port left out"),
    pytest.param(_UDP_BUT_LOW_SOURCES, "8.8.8.8 > shop/web UDP/80/1024", "allow", id="a source port not left out"),
    pytest.param(
        {"source": {"notNets": ["fd00::/8"]}}, "8.8.8.8 > shop/web TCP/80", "deny", id="IPv6 left out: about IPv6 only"
    ),
    pytest.param({"protocol": "ICMP"}, "8.8.8.8 > shop/web ICMP/8", "allow", id="ICMP"),
    pytest.param(
        {"destination": {"selector": "projectcalico.org/orchestrator == 'k8s'"}},
        "8.8.8.8 > shop/web TCP/80",
        "allow",
        id="pods have the orchestrator's label",
    ),
    pytest.param(
        {"destination": {"selector": "projectcalico.org/orchestrator != 'k8s'"}},
        "8.8.8.8 > shop/web TCP/80",
        "deny",
        id="and with no other value",
    ),
]


def _policies(rule: Object) -> list[Object]:
    return [everywhere("p", {"types": ["Ingress"], "ingress": [{"action": "Allow", **rule}]})]


@pytest.mark.parametrize(("rule", "asked", "ingress"), CASES)
def test_a_rule_is_about_a_packet(rule: Object, asked: str, ingress: str) -> None:
    assert simulate(_policies(rule), [asked]).flows[0].ingress == ingress


@pytest.mark.engine
@pytest.mark.parametrize(("rule", "asked", "ingress"), CASES)
def test_calico_says_the_same(rule: Object, asked: str, ingress: str, calico_engine: PolicyEngine) -> None:
    assert calico_engine(case(_policies(rule), [asked]))["flows"][0]["ingress"] == ingress
