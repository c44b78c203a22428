"""What is proposed for which hint, what is not and why, and what a proposal says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from migrate.model.raw import Json
from tests.unit.policies import calico, network_policy
from tests.unit.suggestions import (
    NAMES,
    REQUESTS,
    WEB,
    egress,
    hint_file,
    ingress,
    proposals,
    proposed,
    said,
)

CIDR: Json = {"cidr": "203.0.113.0/24"}
OTHER: Json = {"cidr": "198.51.100.0/24"}
BY_NAME: Json = [{"matchPattern": "*.blob.example.net"}, {"matchName": "shop.example.com"}]
HTTPS: Json = [{"ports": [{"port": "443", "protocol": "TCP"}]}]
DNS: Json = {
    "toEndpoints": [{"matchLabels": {"k8s-app": "kube-dns", "k8s:io.kubernetes.pod.namespace": "kube-system"}}],
    "toPorts": [
        {
            "ports": [{"port": "53", "protocol": "TCP"}, {"port": "53", "protocol": "UDP"}],
            "rules": {"dns": [{"matchPattern": "*.blob.example.net"}, {"matchPattern": "shop.example.com"}]},
        }
    ],
}
GET: Json = [
    {"method": "GET", "path": "/api/.*"},
    {"method": "HEAD", "path": "/api/.*"},
    {"path": "/health"},
]
SERVED: Json = {"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": GET}}


def spec(data: Mapping[str, Json]) -> dict[str, Json]:
    found = data["spec"]
    assert isinstance(found, dict)
    return found


def ingress_rule(done: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """The only ingress rule of the policy web."""
    rules = spec(done["suggested/shop/web.yaml"])["ingress"]
    assert isinstance(rules, list)
    (rule,) = rules
    assert isinstance(rule, dict)
    return rule


def pod(namespace: str, name: str, **labels: str) -> dict[str, Json]:
    """A pod of the snapshot."""
    found: dict[str, Json] = {key.replace("_", "-"): value for key, value in labels.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": found},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}]},
    }


NAMED = [
    pytest.param(egress(CIDR), [{"toFQDNs": BY_NAME, "toPorts": HTTPS}, DNS], id="the only CIDR of a rule"),
    pytest.param(
        egress(OTHER, CIDR),
        [{"toCIDRSet": [OTHER], "toPorts": HTTPS}, {"toFQDNs": BY_NAME, "toPorts": HTTPS}, DNS],
        id="other CIDRs of the rule stay",
    ),
    pytest.param(
        egress({"cidr": "203.0.113.0/24", "except": ["203.0.113.9/32"]}),
        [{"toFQDNs": BY_NAME, "toPorts": HTTPS}, DNS],
        id="what the CIDR leaves out goes with it",
    ),
    pytest.param(egress(CIDR, ports=()), [{"toFQDNs": BY_NAME}, DNS], id="a rule for all ports"),
]


@pytest.mark.parametrize(("policy", "rules"), NAMED)
def test_names_take_the_place_of_the_cidr(policy: Mapping[str, Json], rules: Json) -> None:
    done = proposed([policy], hint_file(fqdn=[NAMES]))
    data = proposals(done)["suggested/shop/web.yaml"]
    assert spec(data)["egress"] == rules
    metadata = data["metadata"]
    assert isinstance(metadata, dict)
    assert (metadata["name"], metadata["namespace"]) == ("web", "shop")
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "cilium-migrate",
        "cilium-migrate/suggested": "fqdn",
    }
    (text,) = said(done, "POL-SUGGEST-FQDN")
    assert text.startswith("NetworkPolicy shop/web spec.egress[0].to[")
    assert all(word in text for word in ("egress[0]", "203.0.113.0/24", "shop.example.com", "Narrower", "Wider"))


def test_the_object_of_cilium_keeps_its_cidr_and_the_result_its_word() -> None:
    with_hints, without = (
        proposed([egress(CIDR)], hint_file(fqdn=[hint])) for hint in (NAMES, {**_of(NAMES), **_of(OTHER)})
    )
    assert [f for f in with_hints.files if f.path.startswith("cilium/")] == list(without.files)
    results = (done.translation.results[0].result for done in (with_hints, without))
    assert len(set(results)) == 1


def _of(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


CALICO_RULE: Json = {"action": "Allow", "protocol": "TCP", "destination": {"nets": ["203.0.113.0/24"], "ports": [443]}}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param("NetworkPolicy", "suggested/shop/web.yaml", id="of a namespace"),
        pytest.param("GlobalNetworkPolicy", "suggested/_cluster/web.yaml", id="of all namespaces"),
    ],
)
def test_a_calico_rule_is_found_by_its_net(kind: str, path: str) -> None:
    metadata: dict[str, Json] = {"name": "web", **({"namespace": "shop"} if kind == "NetworkPolicy" else {})}
    policy = calico(kind, {"selector": "app == 'web'", "types": ["Egress"], "egress": [CALICO_RULE]}, metadata)
    done = proposed([policy], hint_file(fqdn=[NAMES]), engines=("calico",))
    assert spec(proposals(done)[path])["egress"] == [{"toFQDNs": BY_NAME, "toPorts": HTTPS}, DNS]
    (text,) = said(done, "POL-SUGGEST-FQDN")
    assert f"{kind} " in text
    assert " spec.egress[0].destination.nets[0]: " in text


def test_objects_that_are_joined_by_workload_are_replaced_as_a_whole() -> None:
    done = proposed([egress(CIDR, name="a"), egress(OTHER, name="b")], hint_file(fqdn=[NAMES]), split="per-workload")
    assert list(proposals(done)) == ["suggested/shop/web.yaml"]
    by_source = {result.source.name: [item.file for item in result.suggested] for result in done.translation.results}
    assert by_source == {"a": ["suggested/shop/web.yaml"], "b": ["suggested/shop/web.yaml"]}


def test_search_domains_and_another_dns_server_are_in_the_dns_rule() -> None:
    server: Json = {"podLabels": {"app": "dns"}, "namespace": "dns", "port": 5353, "searchDomains": ["svc.local"]}
    hint: Json = {"cidr": "203.0.113.0/24", "names": ["shop.example.com"]}
    done = proposed([egress(CIDR)], hint_file(fqdn=[hint], dns=server))
    rules = spec(proposals(done)["suggested/shop/web.yaml"])["egress"]
    assert isinstance(rules, list)
    assert rules[-1] == {
        "toEndpoints": [{"matchLabels": {"app": "dns", "k8s:io.kubernetes.pod.namespace": "dns"}}],
        "toPorts": [
            {
                "ports": [{"port": "5353", "protocol": "TCP"}, {"port": "5353", "protocol": "UDP"}],
                "rules": {
                    "dns": [{"matchPattern": "shop.example.com"}, {"matchPattern": "shop.example.com.svc.local"}]
                },
            }
        ],
    }


INWARDS = network_policy(
    {"podSelector": WEB, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": CIDR}]}]}, "web"
)
NET_SET = calico(
    "NetworkSet", {"nets": ["203.0.113.0/24"]}, {"name": "partners", "namespace": "shop", "labels": {"role": "partner"}}
)
TO_SET = calico(
    "NetworkPolicy",
    {
        "selector": "app == 'web'",
        "types": ["Egress"],
        "egress": [{"action": "Allow", "destination": {"selector": "role == 'partner'"}}],
    },
    {"name": "web", "namespace": "shop"},
)
DENIED = calico(
    "NetworkPolicy",
    {"selector": "app == 'web'", "types": ["Egress"], "egress": [{**_of(CALICO_RULE), "action": "Deny"}]},
    {"name": "web", "namespace": "shop"},
)

UNUSED = [
    pytest.param([egress(OTHER)], {}, "no egress rule of a written object has the CIDR", id="no such CIDR"),
    pytest.param(
        [egress({"cidr": "203.0.112.0/20"})],
        {},
        "cilium/shop/web.yaml has 203.0.112.0/20, which is another CIDR",
        id="only a larger CIDR",
    ),
    pytest.param([INWARDS], {}, "it stands in ingress of cilium/shop/web.yaml", id="only towards the pods"),
    pytest.param([DENIED], {}, "it stands in egressDeny of cilium/shop/web.yaml", id="only in a deny"),
    pytest.param([NET_SET, TO_SET], {}, "it stands in CIDR group", id="only in a network set"),
    pytest.param(
        [egress(CIDR)], {"namespaces": ["other"]}, "the hint is for other namespaces", id="only in another namespace"
    ),
]


@pytest.mark.parametrize(("items", "more", "reason"), UNUSED)
def test_a_hint_on_names_that_fits_nothing_says_what_is_there(
    items: Sequence[Mapping[str, Json]], more: Mapping[str, Json], reason: str
) -> None:
    engines = ("calico",) if any("calico" in str(item["apiVersion"]) for item in items) else ()
    done = proposed(items, hint_file(fqdn=[{**_of(NAMES), **more}]), engines=engines)
    assert proposals(done) == {}
    (text,) = said(done, "POL-SUGGEST-UNUSED")
    assert reason in text


def test_a_kept_network_policy_has_nothing_to_replace() -> None:
    done = proposed([egress(CIDR)], hint_file(fqdn=[NAMES]), mode="keep")
    assert proposals(done) == {}
    assert "--networkpolicy rewrite" in said(done, "POL-SUGGEST-UNUSED")[0]


DEEP: Json = {"cidr": "203.0.113.0/24", "names": ["**.example.com"]}
CACHE = pod("kube-system", "node-local-dns-x", k8s_app="node-local-dns")
KUBE_DNS = pod("kube-system", "coredns-x", k8s_app="kube-dns")

TARGETS = [
    pytest.param("aks-1.36", (), NAMES, "--target aks-1.36-acns-fqdn", id="AKS without its add-on"),
    pytest.param("aks-1.36-acns-fqdn", (), NAMES, "", id="AKS with FQDN policies"),
    pytest.param("aks-1.36-acns-l7", (), NAMES, "", id="AKS with FQDN and L7 policies"),
    pytest.param("cilium-1.18", (), DEEP, "reads ** as *", id="two stars before 1.19"),
    pytest.param("cilium-1.20", (), DEEP, "", id="two stars since 1.19"),
    pytest.param(
        "cilium-1.20", (CACHE, KUBE_DNS), NAMES, "kube-system/node-local-dns-x answers", id="a cache on nodes"
    ),
    pytest.param("cilium-1.20", (KUBE_DNS,), NAMES, "", id="kube-dns is there"),
    pytest.param("cilium-1.20", (pod("kube-system", "x", app="dns"),), NAMES, "no pod answers DNS", id="no kube-dns"),
]


@pytest.mark.parametrize(("target", "beside", "hint", "reason"), TARGETS)
def test_what_a_target_needs_for_names(
    target: str, beside: Sequence[Mapping[str, Json]], hint: Json, reason: str
) -> None:
    done = proposed([egress(CIDR), *beside], hint_file(fqdn=[hint]), target=target)
    assert bool(proposals(done)) is (reason == "")
    assert [reason in text for text in said(done, "POL-SUGGEST-NOT-MADE")] == ([True] if reason else [])


@pytest.mark.parametrize("target", ["aks-1.31-acns-fqdn", "aks-1.36-acns-l7"])
def test_no_proposal_for_aks_asks_for_every_name(target: str) -> None:
    done = proposed([egress(CIDR)], hint_file(fqdn=[NAMES]), target=target)
    assert proposals(done)
    assert not any("matchPattern: '*'\n" in file.text or 'matchPattern: "*"\n' in file.text for file in done.files)
    assert "Advanced Container Networking Services" in said(done, "POL-SUGGEST-FQDN")[0]


SERVING = [
    pytest.param([{"port": 8080}], [SERVED], id="the port alone"),
    pytest.param(
        [{"port": 9090}, {"port": 8080}, {"port": 8080, "protocol": "UDP"}],
        [
            {"ports": [{"port": "9090", "protocol": "TCP"}, {"port": "8080", "protocol": "UDP"}]},
            SERVED,
        ],
        id="other ports stay open as they are",
    ),
]


@pytest.mark.parametrize(("ports", "expected"), SERVING)
def test_requests_stand_on_the_port_of_the_workload(
    ports: Sequence[Json], expected: Sequence[Mapping[str, Json]]
) -> None:
    done = proposed([ingress(*ports)], hint_file(http=[REQUESTS]))
    rule = ingress_rule(proposals(done))
    assert rule["fromEndpoints"] == [{}]
    items = rule["toPorts"]
    assert isinstance(items, list)
    assert [_sorted(item) for item in items] == [_sorted(dict(item)) for item in expected]
    (text,) = said(done, "POL-SUGGEST-HTTP")
    assert "GET /api/.*" in text
    assert "any method /health" in text


def _sorted(item: Json) -> Json:
    data = _of(item)
    ports = data["ports"]
    assert isinstance(ports, list)
    return {**data, "ports": sorted(ports, key=str)}


EVERY: Json = {}
LEFT = [
    pytest.param(ingress({"port": 8080}, subject=EVERY), "it selects more pods", id="all pods of the namespace"),
    pytest.param(
        ingress(
            {"port": 8080}, subject={"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]}
        ),
        "it selects more pods",
        id="the pods and others by their label",
    ),
    pytest.param(ingress({"port": 8000, "endPort": 8100}), "in a range", id="a range"),
    pytest.param(ingress(), "opens every port", id="every port"),
]


@pytest.mark.parametrize(("policy", "reason"), LEFT)
def test_a_rule_that_is_wider_than_the_hint_is_left_and_named(policy: Mapping[str, Json], reason: str) -> None:
    done = proposed([policy], hint_file(http=[REQUESTS]))
    assert proposals(done) == {}
    (text,) = said(done, "POL-SUGGEST-NOT-MADE")
    assert text.startswith("NetworkPolicy shop/web None: cilium/shop/web.yaml (ingress[0]) lets every request in")
    assert reason in text


NOT_MEANT = [
    pytest.param(ingress({"port": 9090}), id="another port"),
    pytest.param(ingress({"port": 8080, "protocol": "UDP"}), id="another protocol"),
    pytest.param(ingress({"port": 8080}, namespace="bank"), id="another namespace"),
    pytest.param(ingress({"port": 8080}, subject={"matchLabels": {"app": "api"}}), id="another workload"),
    pytest.param(
        ingress({"port": 8080}, subject={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
        id="pods without the label",
    ),
    pytest.param(egress(CIDR, ports=[{"port": 8080}]), id="the other direction"),
]


@pytest.mark.parametrize("policy", NOT_MEANT)
def test_a_hint_on_requests_that_fits_nothing_is_named(policy: Mapping[str, Json]) -> None:
    done = proposed([policy], hint_file(http=[REQUESTS]))
    assert proposals(done) == {}
    assert said(done, "POL-SUGGEST-NOT-MADE") == []
    (text,) = said(done, "POL-SUGGEST-UNUSED")
    assert "no ingress rule of a written object opens TCP 8080 to these pods" in text


def test_a_policy_beside_that_opens_the_port_to_more_pods_is_named() -> None:
    policies = [ingress({"port": 8080}), ingress({"port": 8080}, subject=EVERY, name="all")]
    done = proposed(policies, hint_file(http=[REQUESTS]))
    assert list(proposals(done)) == ["suggested/shop/web.yaml"]
    assert [text.partition(" None")[0] for text in said(done, "POL-SUGGEST-NOT-MADE")] == ["NetworkPolicy shop/all"]


def test_the_name_of_a_port_is_meant_as_the_policy_has_it() -> None:
    done = proposed([ingress({"port": "http"})], hint_file(http=[{**_of(REQUESTS), "port": "http"}]))
    assert ingress_rule(proposals(done))["toPorts"] == [{**_of(SERVED), "ports": [{"port": "http", "protocol": "TCP"}]}]


def test_two_hints_on_one_port_by_other_labels_are_not_mixed() -> None:
    subject: Json = {"matchLabels": {"app": "web", "tier": "front"}}
    other: Json = {**_of(REQUESTS), "podLabels": {"tier": "front"}, "allow": [{"methods": ["PUT"]}]}
    done = proposed([ingress({"port": 8080}, subject=subject)], hint_file(http=[REQUESTS, other]))
    assert ingress_rule(proposals(done))["toPorts"] == [SERVED]
    assert "another hint already says" in said(done, "POL-SUGGEST-NOT-MADE")[0]


GLOBAL = calico(
    "GlobalNetworkPolicy",
    {
        "selector": "app == 'web'",
        "namespaceSelector": "kubernetes.io/metadata.name == 'shop'",
        "types": ["Ingress"],
        "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [8080]}}],
    },
    {"name": "web"},
)

L7_TARGETS = [
    pytest.param("cilium-1.20", ingress({"port": 8080}), "", id="Cilium"),
    pytest.param("cilium-1.20", GLOBAL, "", id="Cilium, cluster-wide"),
    pytest.param("aks-1.36-acns-l7", ingress({"port": 8080}), "", id="AKS with L7 policies"),
    pytest.param("aks-1.36-acns-l7", GLOBAL, "no L7 rules in cluster-wide policies", id="AKS, cluster-wide"),
    pytest.param("aks-1.36-acns-fqdn", ingress({"port": 8080}), "--target aks-1.36-acns-l7", id="AKS with FQDN only"),
    pytest.param("aks-1.36", ingress({"port": 8080}), "--target aks-1.36-acns-l7", id="AKS without its add-on"),
]


@pytest.mark.parametrize(("target", "policy", "reason"), L7_TARGETS)
def test_what_a_target_needs_for_requests(target: str, policy: Mapping[str, Json], reason: str) -> None:
    engines = ("calico",) if policy is GLOBAL else ()
    done = proposed([policy], hint_file(http=[REQUESTS]), target=target, engines=engines)
    assert bool(proposals(done)) is (reason == "")
    assert [reason in text for text in said(done, "POL-SUGGEST-NOT-MADE")] == ([True] if reason else [])
