"""One random case from one seed, for each dialect over its whole language."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tests.differential.chance import Chance
from tests.differential.clusters import Traits, draw_cluster, draw_traits, labels, versions
from tests.differential.kubernetes_policies import KubernetesPolicies
from tests.reference.cases import ApiServer, Case, NamedPort, Node, Pod, Service
from tests.simulate import flows
from tests.simulate.calico_hosts import host_flows
from tests.simulate.calico_policies import CalicoPolicies
from tests.simulate.calico_rules import Combination, shown_kubernetes
from tests.simulate.calico_rules import combinations as calico_combinations
from tests.simulate.cilium_policies import FILTERED, FILTERED_NAMESPACE, CiliumPolicies
from tests.simulate.cilium_rules import DOMAINS, NODE_FORM, combinations
from tests.simulate.tier_policies import TierPolicies

_SHOWN, _STRIDE = 4, 37
_MOSTLY_KUBERNETES = 3
"""Of so many Calico clusters one has no policies of Calico's own but those that show a field."""
_OUTSIDE = {
    4: ("203.0.113.9", "203.0.113.200", "8.8.8.8", "198.18.0.7"),
    6: ("2001:db8:b::5", "2001:db8:a::9", "2606:4700::7"),
}
_NODE_LABELS: dict[str, tuple[str, ...]] = {"role": ("worker", "infra")}


def kubernetes_case(seed: str) -> Case:
    """NetworkPolicies only."""
    chance = Chance(f"kubernetes/{seed}")
    traits = draw_traits(chance)
    cluster = draw_cluster(chance, traits, f"kubernetes-{seed}")
    drawn = KubernetesPolicies(chance, traits, cluster)
    policies = tuple(drawn.policy(f"np-{index}") for index in range(chance.number(1, 5)))
    case = msgspec.structs.replace(cluster, policies=policies)
    return msgspec.structs.replace(case, flows=flows.draw(chance, case, traits.families))


def npm_case(seed: str) -> Case:
    """NetworkPolicies with what only NPM trips over: pods whose first address is IPv6, and odd label values."""
    chance = Chance(f"npm/{seed}")
    traits = draw_traits(chance)
    cluster = draw_cluster(chance, traits, f"npm-{seed}")
    if chance.happens(0.5):
        turned = (_turned(p) if chance.happens(0.4) and not p.host_network else p for p in cluster.pods)
        cluster = msgspec.structs.replace(cluster, pods=tuple(turned))
    drawn = KubernetesPolicies(chance, traits, cluster)
    policies = [drawn.policy(f"np-{index}") for index in range(chance.number(1, 5))]
    if chance.happens(0.2):
        policies.append(_with_odd_value(chance, drawn.policy("odd")))
    case = msgspec.structs.replace(cluster, policies=tuple(policies))
    return msgspec.structs.replace(case, flows=flows.draw(chance, case, traits.families))


def _turned(pod: Pod) -> Pod:
    return msgspec.structs.replace(pod, ips=pod.ips[::-1])


def _with_odd_value(chance: Chance, policy: dict[str, object]) -> dict[str, object]:
    """The policy with one more ingress peer, whose value is in no label or (the last one) in few."""
    value = chance.pick(("-web", "a b", "web.", "", "we.b"))
    expression = {"key": "app", "operator": "In", "values": [value]}
    peer = {chance.pick(("podSelector", "namespaceSelector")): {"matchExpressions": [expression]}}
    spec = policy["spec"]
    assert isinstance(spec, dict)
    return policy | {"spec": spec | {"ingress": [*spec.get("ingress", ()), {"from": [peer]}]}}


def calico_case(seed: str) -> Case:
    """Ordered Calico policies and what they refer to, with NetworkPolicies beside them."""
    chance = Chance(f"calico/{seed}")
    traits = draw_traits(chance)
    cluster = draw_cluster(chance, traits, f"calico-{seed}")
    drawn = CalicoPolicies(chance, traits, cluster)
    number = int(seed.rpartition("-")[2])
    policies = drawn.objects(_shown_in(seed, calico_combinations()), 5 if number % _MOSTLY_KUBERNETES else 0)
    if number % _MOSTLY_KUBERNETES == 0:
        policies.append(shown_kubernetes(chance, cluster, number // _MOSTLY_KUBERNETES))
    if chance.happens(0.6):
        kubernetes = KubernetesPolicies(chance, traits, cluster)
        policies += [kubernetes.policy(f"{chance.pick('am')}-{index}") for index in range(chance.number(1, 3))]
    options: dict[str, object] = {"tieBreak": chance.pick(("legacy", "current"))}
    if chance.happens(0.25):
        policies += drawn.staged(policies)
        if chance.happens(0.7):
            options["staged"] = True
    case = msgspec.structs.replace(cluster, engine="calico", policies=tuple(policies), options=options)
    asked = flows.draw(chance, case, traits.families, calico=True)
    if any(item["kind"] == "HostEndpoint" for item in policies):
        asked += host_flows(chance, case, traits.families)
    return msgspec.structs.replace(case, flows=tuple(dict.fromkeys(asked)))


def cilium_case(seed: str, release: int) -> Case:
    """Cilium's policies for a release 1.x, with NetworkPolicies beside them and some of the agent's flags turned."""
    chance = Chance(f"cilium-1.{release}/{seed}")
    traits = draw_traits(chance)
    cluster = _with_cilium_labels(chance, draw_cluster(chance, traits, f"cilium-1.{release}-{seed}"))
    cluster = msgspec.structs.replace(
        cluster,
        engine="cilium",
        options=cluster.options | _draw_options(chance, release),
        api_server=_draw_api_server(chance, cluster, traits),
    )
    cluster = msgspec.structs.replace(
        cluster, services=_draw_services(chance, cluster, traits), dns=_draw_names(chance, traits)
    )
    number = int(seed.rpartition("-")[2])
    alone = number % 2 == 1
    every = combinations(release)
    shown = [every[number // 2 % len(every)]] if alone else _shown(seed, release)
    if any(form == NODE_FORM for _, _, form in shown):
        cluster = msgspec.structs.replace(cluster, options=cluster.options | {"nodeSelectorLabels": True})
    policies = CiliumPolicies(chance, traits, cluster, release).objects(shown, alone)
    if alone:
        return _asked(chance, cluster, policies, traits)
    if release >= 20 and chance.happens(0.4):
        cluster = msgspec.structs.replace(cluster, options=cluster.options | {"k8sClusterNetworkPolicy": True})
        tiers = TierPolicies(chance, traits, cluster)
        policies += [tiers.policy(f"tier-{index}") for index in range(chance.number(1, 3))]
    if chance.happens(0.5):
        kubernetes = KubernetesPolicies(chance, traits, cluster)
        policies += [kubernetes.policy(f"np-{index}") for index in range(chance.number(1, 3))]
    return _asked(chance, cluster, policies, traits)


def _asked(chance: Chance, cluster: Case, policies: Sequence[dict[str, object]], traits: Traits) -> Case:
    """The case with its policies and flows that they tell apart."""
    case = msgspec.structs.replace(cluster, policies=tuple(policies))
    return flows.by_address(msgspec.structs.replace(case, flows=flows.draw(chance, case, traits.families)))


def _shown_in(seed: str, every: Sequence[Combination]) -> list[Combination]:
    """Some of everything by the number at the end of the seed, so that a run of some length shows all of it."""
    places = range(int(seed.rpartition("-")[2]) * _SHOWN, (int(seed.rpartition("-")[2]) + 1) * _SHOWN)
    return [every[(place * _STRIDE + place // len(every)) % len(every)] for place in places]


def _shown(seed: str, release: int) -> list[tuple[bool, str, str]]:
    """The forms of a case: by the number at the end of the seed, so that a run of some length shows all of them."""
    return _shown_in(seed, combinations(release))


def _draw_services(chance: Chance, case: Case, traits: Traits) -> tuple[Service, ...]:
    """Services of pods, and some without a selector that stand for addresses of anything."""

    def one(index: int) -> Service:
        pod = chance.pick(case.pods)
        own = {"name": chance.pick(("a", "b")), "app.kubernetes.io/name": chance.pick(("shop", "pay"))}
        selector = dict(chance.some(list(pod.labels.items()), 1, 2)) if chance.happens(0.7) else {}
        anyone = [*pod.ips, *case.nodes[0].ips, *_outside(chance, traits)]
        endpoints = () if selector else tuple(chance.some(anyone, 1, 3))
        return Service(pod.namespace, f"svc-{index}", own, selector, endpoints)

    return tuple(one(index) for index in range(chance.number(1, 3)))


def _draw_names(chance: Chance, traits: Traits) -> dict[str, tuple[str, ...]]:
    return {name: tuple(_outside(chance, traits)) for name in DOMAINS if chance.happens(0.8)}


def _outside(chance: Chance, traits: Traits) -> list[str]:
    return chance.some([ip for version in versions(traits.families) for ip in _OUTSIDE[version]], 1, 2)


def _with_cilium_labels(chance: Chance, case: Case) -> Case:
    """Labels at the borders of Cilium's label filter, and names that look like numbers."""

    def pod(old: Pod) -> Pod:
        extra = labels(chance, FILTERED, 0.2) | labels(chance, {"k8s-app": ("kube-dns",)}, 0.1)
        ports = (*old.named_ports, NamedPort("0x50", "TCP", 81)) if chance.happens(0.2) else old.named_ports
        return msgspec.structs.replace(old, labels=old.labels | extra, named_ports=ports)

    def node(old: Node) -> Node:
        return msgspec.structs.replace(old, labels=old.labels | labels(chance, _NODE_LABELS, 0.7))

    namespaces = tuple(
        msgspec.structs.replace(old, labels=old.labels | labels(chance, FILTERED_NAMESPACE, 0.3))
        for old in case.namespaces
    )
    return msgspec.structs.replace(
        case, namespaces=namespaces, pods=tuple(map(pod, case.pods)), nodes=tuple(map(node, case.nodes))
    )


def _draw_api_server(chance: Chance, case: Case, traits: Traits) -> ApiServer:
    """Outside, on nodes, or not known; as draw_cluster, but now and then in two places."""
    if not chance.happens(0.2):
        return case.api_server
    outside = {4: "203.0.113.7", 6: "2001:db8:b::5"}[versions(traits.families)[0]]
    return ApiServer((*case.nodes[-1].ips, outside))


def _draw_options(chance: Chance, release: int) -> dict[str, object]:
    """The agent's flags, by the names of the engine programs; most clusters have the defaults of the release."""
    found: dict[str, object] = {}
    modes = [["nodes"], ["nodes"], ["pods"], ["nodes", "pods"]] if release >= 20 else [["nodes"]]
    if chance.happens(0.2):
        found["policyCIDRMatchMode"] = chance.pick(modes)
    if chance.happens(0.1):
        found["enablePolicy"] = chance.pick(("always", "always", "never"))
    if chance.happens(0.05):
        found["allowLocalhost"] = "policy"
    if chance.happens(0.05):
        found["clusterName"] = chance.pick(("other", "prod"))
    if chance.happens(0.05):
        found["labels"] = chance.pick((["!app"], ["k8s:app", "tier"], ["pod-template-hash", "app"], ["!k8s:ti.*"]))
    flags = ("sctp", "icmpRules", "nonDefaultDeny", "l7Proxy", "extendedIPProtocols")
    found |= {flag: flag == "extendedIPProtocols" for flag in flags if chance.happens(0.04)}
    if chance.happens(0.1):
        found["nodeSelectorLabels"] = True
    if chance.happens(0.08):
        found["policyDefaultLocalCluster"] = release < 19
    if release < 20:
        found.pop("extendedIPProtocols", None)
    return found
