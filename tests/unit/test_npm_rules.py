"""Policies → what NPM programs for them. The rules were written by hand from NPM's translator, not from our output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrate.model.flow import Direction
from migrate.nodes.npm.expected import expectations
from tests.unit.npm_node import scanned

_HEAD = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
"""
DROP_REST = "everything -> drop"


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        pytest.param("  podSelector: {}", [DROP_REST], None, id="no rules deny everything"),
        pytest.param("  podSelector: {}\n  ingress: [{}]", ["everything"], None, id="an empty rule has no drop"),
        pytest.param(
            "  podSelector: {}\n  ingress: [{ports: [{port: 80}]}, {}]", ["everything"], None, id="it hides all others"
        ),
        pytest.param(
            "  podSelector: {}\n  policyTypes: [Egress]\n  egress: [{to: []}]", None, ["everything"], id="no peers"
        ),
        pytest.param(
            "  podSelector: {}\n  ingress: [{ports: [{port: 80}, {protocol: UDP}, {port: 1, endPort: 9}]}]",
            ["TCP 80", "UDP", "TCP 1:9", DROP_REST],
            None,
            id="ports without peers need no set",
        ),
        pytest.param(
            "  podSelector: {}\n  ingress: [{from: [{podSelector: {}}], ports: [{port: 7, endPort: 7}]}]",
            ["TCP 7 from ns-shop", DROP_REST],
            None,
            id="an empty podSelector is the namespace, a range of one is a port",
        ),
        pytest.param(
            "  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {}}]}]",
            ["from nslabel-all-namespaces", DROP_REST],
            None,
            id="an empty namespaceSelector is all namespaces",
        ),
        pytest.param(
            "  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]}]",
            ["from nslabel-all-namespaces and podlabel-a:b", DROP_REST],
            None,
            id="both selectors",
        ),
        pytest.param(
            "  podSelector: {}\n  policyTypes: [Egress]\n  egress: [{to: [{podSelector: {matchExpressions: "
            "[{key: a, operator: In, values: [z, b]}, {key: c, operator: NotIn, values: [v, w]}, "
            "{key: d, operator: Exists}, {key: e, operator: DoesNotExist}, {key: f, operator: In, values: [g]}]}}]}]",
            None,
            [
                "to nestedlabel-shop/p:a:z:b and not nestedlabel-shop/p:c:v:w and ns-shop and podlabel-d"
                " and not podlabel-e and podlabel-f:g",
                DROP_REST,
            ],
            id="several values of a pod's label are a list of the policy, in the order of the object",
        ),
        pytest.param(
            "  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {k: v}, matchExpressions: "
            "[{key: a, operator: In, values: [v, w]}, {key: b, operator: NotIn, values: [s, t]}, "
            "{key: c, operator: DoesNotExist}]}}]}]",
            [f"from nslabel-a:{a} and not nslabel-b:{b} and not nslabel-c and nslabel-k:v" for a in "vw" for b in "st"]
            + [DROP_REST],
            None,
            id="values of a namespace's label become rules of their own",
        ),
        pytest.param(
            "  podSelector: {}\n  policyTypes: [Egress]\n  egress:\n  - to: [{podSelector: {}}]\n"
            "  - to: [{podSelector: {}}, {ipBlock: {cidr: 10.1.0.0/16}}]\n    "
            "ports: [{port: web}, {protocol: SCTP, port: 5}]",
            None,
            [
                "to ns-shop",
                "TCP to ns-shop to namedport:web",
                "SCTP 5 to ns-shop",
                "TCP to cidr-p:in-ns:shop-1-1OUT to namedport:web",
                "SCTP 5 to cidr-p:in-ns:shop-1-1OUT",
                DROP_REST,
            ],
            id="blocks by their place, ports by name",
        ),
        pytest.param(
            "  podSelector: {}\n  policyTypes: [Ingress, Egress]\n  egress: [{ports: [{port: 53, protocol: UDP}]}]",
            [DROP_REST],
            ["UDP 53", DROP_REST],
            id="both directions",
        ),
    ],
)
def test_rules(tmp_path: Path, spec: str, ingress: list[str] | None, egress: list[str] | None) -> None:
    policy = expectations(scanned(tmp_path, yaml=_HEAD + spec)).policies["shop/p"]
    found = {direction: sorted(map(str, rules)) for direction, rules in policy.rules.items()}
    wanted = {Direction.INGRESS: ingress, Direction.EGRESS: egress}
    assert found == {direction: sorted(rules) for direction, rules in wanted.items() if rules is not None}


@pytest.mark.parametrize(
    ("selector", "jump"),
    [
        ("{}", "to ns-shop"),
        ("{matchLabels: {a: b, c: ''}}", "to ns-shop and podlabel-a:b and podlabel-c:"),
        (
            "{matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [b]}]}",
            "to ns-shop and podlabel-a:b",
        ),
        ("{matchExpressions: [{key: a, operator: NotIn, values: [b]}]}", "to ns-shop and not podlabel-a:b"),
    ],
)
def test_the_jump_asks_for_the_policys_pods(tmp_path: Path, selector: str, jump: str) -> None:
    from migrate.nodes.npm.rules import ALLOW, NpmRule

    policy = expectations(scanned(tmp_path, yaml=f"{_HEAD}  podSelector: {selector}")).policies["shop/p"]
    assert str(NpmRule(ALLOW, sets=policy.jumps[Direction.INGRESS])) == jump


@pytest.mark.parametrize(
    ("block", "members"),
    [
        ("{cidr: 10.0.0.0/8}", ["10.0.0.0/8"]),
        ("{cidr: 10.0.0.5/32}", ["10.0.0.5"]),
        ("{cidr: 10.1.2.3/16}", ["10.1.0.0/16"]),
        ("{cidr: 0.0.0.0/0}", ["0.0.0.0/1", "128.0.0.0/1"]),
        ("{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}", ["0.0.0.0/1", "10.0.0.0/8 nomatch", "128.0.0.0/1"]),
        ("{cidr: 0.0.0.0/0, except: [128.0.0.0/1]}", ["0.0.0.0/1", "128.0.0.0/1 nomatch"]),
        ("{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.1.0.0/16]}", ["10.0.0.0/8", "10.1.0.0/16 nomatch"]),
    ],
)
def test_members_of_a_block(tmp_path: Path, block: str, members: list[str]) -> None:
    spec = f"  podSelector: {{}}\n  ingress: [{{from: [{{ipBlock: {block}}}]}}]"
    (found,) = expectations(scanned(tmp_path, yaml=_HEAD + spec)).policies["shop/p"].blocks
    assert (found.name, found.spellings) == ("cidr-p:in-ns:shop-0-0IN", ("cidr-p-in-ns-shop-0-0IN",))
    assert sorted(found.members) == members


@pytest.mark.parametrize(
    ("lite", "spec", "why"),
    [
        (False, "{ipBlock: {cidr: 'fd00::/8'}}", "it has an IPv6 block, which NPM cannot translate"),
        (True, "{podSelector: {}}", "it has a selector as a peer, and with EnableNPMLite only blocks are taken"),
    ],
)
def test_refused_policies_have_no_rules(tmp_path: Path, lite: bool, spec: str, why: str) -> None:
    toggles = json.dumps({"Toggles": {"EnableNPMLite": lite}})
    settings = (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: azure-npm-config, namespace: kube-system}\n"
        f"data: {{azure-npm.json: '{toggles}'}}\n"
    )
    yaml = f"{_HEAD}  podSelector: {{}}\n  ingress: [{{from: [{spec}]}}]\n{settings}"
    expected = expectations(scanned(tmp_path, yaml=yaml))
    assert not expected.policies
    assert expected.refused["shop/p"].why == why
