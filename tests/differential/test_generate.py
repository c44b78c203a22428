"""What the generator draws: always the same for a seed, all of the language, and nothing too rare to matter."""

from __future__ import annotations

import json

import pytest

from tests.differential.calico_policies import Grammar
from tests.differential.generate import DIALECTS, Dialect, generate
from tests.reference.cases import Case, Directory

SEEDS = [str(seed) for seed in range(180)]

KUBERNETES_WORDS = (
    '"NotIn"', '"In"', '"Exists"', '"DoesNotExist"', '"matchLabels"', '"namespaceSelector": {}', '"podSelector": {}',
    '"except"', '"0.0.0.0/0"', '"::/0"', '"endPort"', '"from": []', '"to": []', '"ports": []', '"ingress": []',
    '"egress": []', '"policyTypes": ["Egress"]', '"port": "http"', '"port": "absent"', '"SCTP"',
    '"pod-template-hash"', '"quarantine": ""',
)  # fmt: skip
CALICO_WORDS = (
    '"GlobalNetworkPolicy"', '"NetworkSet"', '"GlobalNetworkSet"', '"crd.projectcalico.org/v1"', "all()", "global()",
    "&&", "||", "!(", "!=", " not in ", "has(", "starts with", "ends with", "contains", "pcns.", "pcsa.", '"1:1023"',
    '"serviceAccountSelector"', '"serviceAccounts"', '"nets"', '"80:90"', '"types": ["Egress"]', '"http"', '"icmp"',
    '"notNets"', '"notSelector"', "projectcalico.org/namespace", "projectcalico.org/metadata", '"order"',
    "networking.k8s.io/v1",
)  # fmt: skip


def _text(dialect: Dialect) -> str:
    return "\n".join(json.dumps(generate(dialect, seed).policies) for seed in SEEDS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_seed_gives_one_case_and_another_seed_another(dialect: Dialect) -> None:
    assert generate(dialect, "7") == generate(dialect, "7")
    assert generate(dialect, "7") != generate(dialect, "8")


def test_every_word_of_networkpolicy_occurs() -> None:
    text = _text("kubernetes")
    assert [word for word in KUBERNETES_WORDS if word not in text] == []


def test_every_word_of_unordered_calico_policies_occurs() -> None:
    text = _text("calico")
    assert [word for word in CALICO_WORDS if word not in text] == []


def test_unordered_calico_policies_have_allow_rules_only_and_a_wider_grammar_has_more() -> None:
    wide = Grammar(actions=("Allow", "Deny", "Pass"), tiers=("default", "security"))
    assert '"Deny"' not in _text("calico")
    widened = "\n".join(json.dumps(generate("calico", seed, grammar=wide).policies) for seed in SEEDS)
    assert all(word in widened for word in ('"Deny"', '"Pass"', '"tier": "security"', '"security.policy-'))


def _kinds_of_flow(case: Case) -> set[str]:
    directory = Directory(case)
    found: set[str] = set()
    for flow in case.flows:
        ends = ["pod" if party.pod else "node" if party.node else "outside" for party in directory.parties(flow)]
        found.add(f"{ends[0]} to {ends[1]} {flow.protocol}")
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_flows_of_every_kind_occur(dialect: Dialect) -> None:
    found = set().union(*(_kinds_of_flow(generate(dialect, seed)) for seed in SEEDS))
    pairs = ("pod to pod", "pod to node", "node to pod", "pod to outside", "outside to pod")
    protocols = ("TCP", "UDP", "SCTP", "ICMP", "ICMPv6")
    assert found == {f"{pair} {protocol}" for pair in pairs for protocol in protocols}


def test_outside_addresses_lie_on_both_sides_of_an_edge() -> None:
    used = {end.ip for seed in SEEDS for flow in generate("kubernetes", seed).flows for end in (flow.src, flow.dst)}
    assert {"203.0.113.127", "203.0.113.128", "203.0.113.255", "203.0.114.0"} <= used
