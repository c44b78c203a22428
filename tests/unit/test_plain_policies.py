"""Which Calico policies have a plain NetworkPolicy for the time of the cutover, and the reason of all others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import yaml

from migrate.model.documents import Translation
from migrate.model.forms import Forms
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, translate
from migrate.translate.handover import handed_over
from migrate.translate.profiles import load_profile
from tests.unit.policies import calico, network_policy


def handed(*items: Mapping[str, Json], target: str = "cilium-1.20") -> Outcome:
    """The translation of the objects with plain policies."""
    objects = [RawObject(dict(item)) for item in items]
    return handed_over(
        translate(objects, profile=load_profile(target), engines=("calico",)), objects, Forms(plain=True)
    )


def plain(outcome: Outcome) -> dict[str, Json]:
    """The specs of the plain policies by file."""
    files = [file for file in outcome.files if file.path.startswith("networkpolicy/")]
    return {file.path.removeprefix("networkpolicy/"): yaml.safe_load(file.text)["spec"] for file in files}


def reasons(translation: Translation) -> dict[str, str]:
    """Why sources have none."""
    return {
        result.source.name: finding.detail
        for result in translation.results
        for finding in result.findings
        if finding.id == "POL-PLAIN-NOT-SAID"
    }


def policy(spec: Json, name: str = "p", namespace: str | None = "shop") -> dict[str, Json]:
    """A Calico policy of a namespace, or of all."""
    kind = "NetworkPolicy" if namespace else "GlobalNetworkPolicy"
    return calico(kind, spec, {"name": name, **({"namespace": namespace} if namespace else {})})


def ingress(rule: Mapping[str, Json], selector: str = "app == 'db'") -> dict[str, Json]:
    """A policy with one rule that allows."""
    return policy({"selector": selector, "types": ["Ingress"], "ingress": [{"action": "Allow", **rule}]})


def namespace(name: str) -> dict[str, Json]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


DB: Json = {"matchLabels": {"app": "db"}}


def to_db(*rules: Json) -> dict[str, Json]:
    """The spec of a plain policy for the pods app=db."""
    return {"podSelector": DB, "policyTypes": ["Ingress"], "ingress": [*rules]}


SAID = [
    pytest.param(
        policy({"selector": "all()", "types": ["Ingress"]}),
        {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []},
        id="a default deny",
    ),
    pytest.param(ingress({}), to_db({}), id="everybody"),
    pytest.param(
        ingress(
            {
                "protocol": "TCP",
                "source": {"selector": "app in {'web', 'job'}"},
                "destination": {"ports": [5432, "9000:9100"]},
            }
        ),
        to_db(
            {
                "from": [
                    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["job", "web"]}]}}
                ],
                "ports": [{"protocol": "TCP", "port": 5432}, {"protocol": "TCP", "port": 9000, "endPort": 9100}],
            }
        ),
        id="pods of the namespace, ports and ranges",
    ),
    pytest.param(
        ingress({"protocol": "UDP", "source": {"namespaceSelector": "team == 'a'", "selector": "!has(x)"}}),
        to_db(
            {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"team": "a"}},
                        "podSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]},
                    }
                ],
                "ports": [{"protocol": "UDP"}],
            }
        ),
        id="pods of other namespaces, all ports of a protocol",
    ),
    pytest.param(
        ingress({"source": {"nets": ["10.0.0.0/8", "192.0.2.0/24"], "notNets": ["10.1.0.0/16", "192.0.0.0/16"]}}),
        to_db({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}),
        id="addresses less others, a block that is wholly taken out is gone",
    ),
    pytest.param(
        ingress({"source": {"nets": ["10.0.0.0/8"], "notNets": ["10.0.0.0/8"]}}),
        to_db(),
        id="no address is left: no rule, and not everybody",
    ),
    pytest.param(
        ingress({"source": {"namespaceSelector": "global()"}}),
        to_db(),
        id="network sets only, of which there is none",
    ),
    pytest.param(
        policy(
            {
                "selector": "all()",
                "types": ["Egress"],
                "egress": [{"action": "Log"}, {"action": "Allow", "destination": {"selector": "all()"}}],
            }
        ),
        {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}]}]},
        id="egress, and a Log rule that decides nothing",
    ),
]


@pytest.mark.parametrize(("item", "spec"), SAID)
def test_said(item: Mapping[str, Json], spec: Json) -> None:
    outcome = handed(item)
    assert plain(outcome) == {"shop/p-calico.yaml": spec}
    (result,) = outcome.translation.results
    assert [found.file for found in result.plain] == ["networkpolicy/shop/p-calico.yaml"]
    assert reasons(outcome.translation) == {}


def test_a_global_policy_that_names_namespaces_is_said_in_each() -> None:
    spec: Json = {
        "namespaceSelector": "projectcalico.org/name in {'shop', 'lab'}",
        "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"selector": "app == 'web'"}}],
    }
    outcome = handed(policy(spec, "g", None), namespace("shop"), namespace("lab"))
    peer: Json = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}
    expected: Json = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]}
    assert plain(outcome) == {"lab/g-calico.yaml": expected, "shop/g-calico.yaml": expected}


SET = calico("GlobalNetworkSet", {"nets": ["192.0.2.0/24"]}, {"name": "s", "labels": {"app": "web"}})
UNSAID = [
    pytest.param([policy({"ingress": [{"action": "Deny"}]})], "spec.ingress[0].action is Deny", id="a deny"),
    pytest.param([policy({"tier": "security", "types": ["Ingress"]})], "it is in tier security", id="another tier"),
    pytest.param(
        [policy({"types": ["Ingress"]}, namespace=None)], "namespaces that it does not name", id="all namespaces"
    ),
    pytest.param(
        [
            policy({"namespaceSelector": "projectcalico.org/name == 'gone'", "types": ["Ingress"]}, namespace=None),
            namespace("shop"),
        ],
        "it names namespace gone, which is not there",
        id="a namespace that is not there",
    ),
    pytest.param(
        [policy({"namespaceSelector": "team == 'a'", "types": ["Ingress"]}, namespace=None)],
        "namespaces that it does not name",
        id="namespaces by label",
    ),
    pytest.param([ingress({}, "app contains 'd'")], "spec.selector asks for", id="a part of a label value"),
    pytest.param(
        [policy({"serviceAccountSelector": "x == 'y'", "types": ["Ingress"]})],
        "spec.selector asks for",
        id="service accounts by label",
    ),
    pytest.param(
        [ingress({"source": {"serviceAccounts": {"names": ["a"]}}})],
        "source.serviceAccounts",
        id="service accounts as peers",
    ),
    pytest.param([ingress({"source": {"notSelector": "app == 'x'"}})], "source.notSelector", id="not a selector"),
    pytest.param(
        [ingress({"source": {"notNets": ["10.0.0.0/8"]}})],
        "addresses that are not just nets",
        id="all but some addresses",
    ),
    pytest.param(
        [ingress({"source": {"nets": ["10.0.0.0/8"], "selector": "app == 'x'"}})],
        "addresses that are not just nets",
        id="addresses of pods",
    ),
    pytest.param([ingress({"protocol": "TCP", "source": {"ports": [1]}})], "source.ports", id="source ports"),
    pytest.param([ingress({"destination": {"nets": ["10.0.0.0/8"]}})], "destination.nets", id="own addresses"),
    pytest.param(
        [ingress({"protocol": "TCP", "destination": {"ports": ["http"]}})], "a name stands for", id="a port by name"
    ),
    pytest.param([ingress({"protocol": "ICMP"})], "protocol is ICMP", id="ICMP"),
    pytest.param([ingress({"notProtocol": "TCP"})], "notProtocol", id="not a protocol"),
    pytest.param([ingress({"ipVersion": 4})], "ipVersion", id="one IP version"),
    pytest.param([ingress({"http": {"methods": ["GET"]}})], "http", id="HTTP"),
    pytest.param(
        [ingress({"source": {"selector": "app == 'web'", "namespaceSelector": "global()"}}), SET],
        "also means the addresses of GlobalNetworkSet s",
        id="a network set",
    ),
    pytest.param([ingress({}, "pod-template-hash == '1'")], "pod-template-hash", id="a label that Cilium does not see"),
    pytest.param(
        [policy({"doNotTrack": True, "applyOnForward": True}, namespace=None)],
        "it is for hosts only",
        id="a policy for hosts",
    ),
    pytest.param(
        [policy({"applyOnForward": True, "types": ["Ingress"]}, namespace=None)],
        "spec.applyOnForward",
        id="forwarded packets",
    ),
    pytest.param(
        [
            policy({"types": ["Ingress"]}),
            calico("Tier", {"defaultAction": "Pass"}, {"name": "default"}),
        ],
        "ends in Pass",
        id="a default tier that does not end in Deny",
    ),
]


@pytest.mark.parametrize(("items", "reason"), UNSAID)
def test_unsaid(items: list[Mapping[str, Json]], reason: str) -> None:
    outcome = handed(*items)
    (text,) = reasons(outcome.translation).values()
    assert (plain(outcome), reason in text) == ({}, True), text


def only(
    name: str, selector: str, types: str = "Ingress", action: str = "Allow", place: str | None = "shop"
) -> dict[str, Json]:
    """A policy with one rule for everybody."""
    return policy({"selector": selector, "types": [types], types.lower(): [{"action": action}]}, name, place)


SHARED = [
    pytest.param([only("a", "app == 'a'"), only("b", "app == 'b'", action="Deny")], {"a"}, id="other pods"),
    pytest.param(
        [only("a", "app == 'a'"), only("b", "tier == 'b'", action="Deny")], set(), id="pods that may be the same"
    ),
    pytest.param([only("a", "all()"), only("b", "all()", "Egress", "Deny")], {"a"}, id="the other direction"),
    pytest.param([only("a", "all()"), only("b", "all()", action="Deny", place="lab")], {"a"}, id="another namespace"),
    pytest.param(
        [only("a", "all()"), only("b", "all()", action="Deny", place=None)], set(), id="a policy for all namespaces"
    ),
    pytest.param(
        [
            only("a", "app == 'a'"),
            only("b", "has(app)"),
            only("c", "app == 'c'", action="Deny"),
            only("d", "app == 'd'", place="lab"),
        ],
        {"d"},
        id="one leads to the next",
    ),
]


@pytest.mark.parametrize(("items", "said"), SHARED)
def test_all_policies_for_the_same_pods_or_none(items: list[Mapping[str, Json]], said: set[str]) -> None:
    outcome = handed(*items)
    assert {result.source.name for result in outcome.translation.results if result.plain} == said
    left_out = reasons(outcome.translation)
    assert said | set(left_out) == {result.source.name for result in outcome.translation.results}
    assert said.isdisjoint(left_out)


def test_a_networkpolicy_that_is_there_is_not_replaced() -> None:
    taken = [network_policy({"podSelector": {}}, name) for name in ("p-calico", "p-calico-2")]
    assert list(plain(handed(ingress({}), *taken))) == ["shop/p-calico-3.yaml"]


def test_without_the_option_there_is_none() -> None:
    objects = [RawObject(ingress({}))]
    done = handed_over(translate(objects, profile=load_profile("cilium-1.20")), objects, Forms())
    assert (plain(done), reasons(done.translation)) == ({}, {})
