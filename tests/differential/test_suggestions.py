"""Proposals in place of the objects that they replace: the model and Cilium's own engines on the flows of the hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import yaml

from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.translate.engine import Outcome
from migrate.verify.simulation import simulate_case
from tests.differential.harness import Engines
from tests.unit.policies import calico, network_policy
from tests.unit.suggestions import NAMES, REQUESTS, WEB, hint_file, proposed

pytestmark = pytest.mark.engine

INSIDE, OUTSIDE, UNNAMED = "203.0.113.5", "192.0.2.80", "203.0.113.200"
CLUSTER: Mapping[str, Json] = {
    "namespaces": [{"name": "shop"}, {"name": "kube-system"}],
    "nodes": [{"name": "n1", "ips": ["10.10.0.1"]}],
    "pods": [
        {"namespace": "shop", "name": "web", "node": "n1", "labels": {"app": "web"}, "ips": ["10.0.0.1"]},
        {"namespace": "shop", "name": "client", "node": "n1", "labels": {"app": "client"}, "ips": ["10.0.0.2"]},
        {
            "namespace": "kube-system",
            "name": "dns",
            "node": "n1",
            "labels": {"k8s-app": "kube-dns"},
            "ips": ["10.0.0.3"],
        },
        {"namespace": "kube-system", "name": "other", "node": "n1", "labels": {"app": "other"}, "ips": ["10.0.0.4"]},
    ],
    "dns": {
        "shop.example.com": [INSIDE],
        "a.blob.example.net": [OUTSIDE],
        "a.b.blob.example.net": ["192.0.2.81"],
        "www.example.org": ["192.0.2.82"],
    },
}
POLICY = network_policy(
    {
        "podSelector": WEB,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 8080}, {"port": 9090}]}
        ],
        "egress": [
            {
                "to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}, {"ipBlock": {"cidr": "198.51.100.0/24"}}],
                "ports": [{"port": 443}],
            }
        ],
    },
    "web",
)
WEB_POD: Json = {"pod": "shop/web"}


def to(address: str, port: int = 443) -> Json:
    """A flow of the web pod to the outside."""
    return {"src": WEB_POD, "dst": {"ip": address}, "protocol": "TCP", "port": port}


def between(source: str, destination: str, port: int, protocol: str = "TCP") -> Json:
    return {"src": {"pod": source}, "dst": {"pod": destination}, "protocol": protocol, "port": port}


# Each flow with its verdict by the translation, by the translation with proposals, and whether it passes a proxy then.
FLOWS = [
    pytest.param(to(INSIDE), "allow", "allow", False, id="a name whose address is inside the CIDR"),
    pytest.param(to(OUTSIDE), "deny", "allow", False, id="a name whose address is outside of it"),
    pytest.param(to(UNNAMED), "allow", "deny", False, id="an address of the CIDR that no name has"),
    pytest.param(to("192.0.2.81"), "deny", "deny", False, id="a name one label deeper than the pattern"),
    pytest.param(to("192.0.2.82"), "deny", "deny", False, id="another name"),
    pytest.param(to("198.51.100.9"), "allow", "allow", False, id="the other CIDR of the rule"),
    pytest.param(to(INSIDE, 80), "deny", "deny", False, id="the name on another port"),
    pytest.param(between("shop/web", "kube-system/dns", 53, "UDP"), "deny", "allow", True, id="a lookup"),
    pytest.param(between("shop/web", "kube-system/dns", 53), "deny", "allow", True, id="a long lookup"),
    pytest.param(
        between("shop/web", "kube-system/other", 53, "UDP"), "deny", "deny", False, id="another pod's port 53"
    ),
    pytest.param(between("shop/client", "shop/web", 8080), "allow", "allow", True, id="requests"),
    pytest.param(between("shop/client", "shop/web", 9090), "allow", "allow", False, id="the port beside"),
    pytest.param(between("kube-system/other", "shop/web", 8080), "deny", "deny", False, id="who was not let in"),
]


PING = calico(
    "GlobalNetworkPolicy",
    {
        "selector": "app == 'web'",
        "types": ["Egress"],
        "egress": [
            {"action": "Allow", "protocol": "ICMP", "icmp": {"type": 8}, "destination": {"nets": ["203.0.113.0/24"]}}
        ],
    },
    {"name": "ping"},
)


def policies(outcome: Outcome, *, applied: bool) -> list[Mapping[str, Json]]:
    """The written objects, with the proposals in place of those of the same name when they are applied."""
    texts = {file.path: yaml.safe_load(file.text) for file in outcome.files}
    proposals = {item.file for result in outcome.translation.results for item in result.suggested}
    found = {}
    for path in [*sorted(texts.keys() - proposals), *(sorted(proposals) if applied else ())]:
        found[texts[path]["kind"], texts[path]["metadata"].get("namespace"), texts[path]["metadata"]["name"]] = texts[
            path
        ]
    return [*found.values()]


def case(objects: Sequence[Mapping[str, Json]], flow: Json) -> dict[str, Json]:
    return {"version": 1, **CLUSTER, "policies": [dict(item) for item in objects], "flows": [flow]}


@pytest.mark.parametrize("target", ["cilium-1.18", "cilium-1.20"])
@pytest.mark.parametrize(("flow", "before", "after", "proxied"), FLOWS)
def test_the_model_and_the_engine_agree_on_a_proposal(
    engines: Engines, target: str, flow: Json, before: str, after: str, proxied: bool
) -> None:
    done = proposed([POLICY], hint_file(fqdn=[NAMES], http=[REQUESTS]), target=target)
    for applied, expected in ((False, before), (True, after)):
        asked = case(policies(done, applied=applied), flow)
        (modelled,) = simulate_case(read_case(RawObject(asked)), "cilium", int(target.partition(".")[2])).flows
        answer = engines.cilium[target](asked)
        assert all(item["ok"] for item in answer["policies"])
        assert (modelled.verdict, answer["flows"][0]["verdict"]) == (expected, expected)
        assert answer["flows"][0].get("l7", False) is (applied and proxied)


@pytest.mark.parametrize("target", ["cilium-1.18", "cilium-1.20"])
@pytest.mark.parametrize(
    ("address", "before", "after"),
    [
        pytest.param(INSIDE, "allow", "allow", id="inside the CIDR, with a name"),
        pytest.param(OUTSIDE, "deny", "allow", id="outside, with a name"),
        pytest.param(UNNAMED, "allow", "deny", id="inside, without one"),
    ],
)
def test_a_cluster_wide_rule_for_icmp(engines: Engines, target: str, address: str, before: str, after: str) -> None:
    done = proposed([PING], hint_file(fqdn=[NAMES]), target=target, engines=("calico",))
    flow: Json = {"src": WEB_POD, "dst": {"ip": address}, "protocol": "ICMP", "port": 8}
    for applied, expected in ((False, before), (True, after)):
        asked = case(policies(done, applied=applied), flow)
        (modelled,) = simulate_case(read_case(RawObject(asked)), "cilium", int(target.partition(".")[2])).flows
        answer = engines.cilium[target](asked)
        assert all(item["ok"] for item in answer["policies"])
        assert (modelled.verdict, answer["flows"][0]["verdict"]) == (expected, expected)
