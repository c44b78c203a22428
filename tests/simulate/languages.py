"""One random case from one seed, for each dialect over its whole language."""

from __future__ import annotations

import msgspec

from tests.differential.chance import Chance
from tests.differential.clusters import Traits, draw_cluster, draw_traits, labels, versions
from tests.differential.kubernetes_policies import KubernetesPolicies
from tests.reference.cases import ApiServer, Case, NamedPort, Node, Pod
from tests.simulate import flows
from tests.simulate.calico_policies import CalicoPolicies
from tests.simulate.cilium_policies import FILTERED, FILTERED_NAMESPACE, CiliumPolicies

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


def calico_case(seed: str) -> Case:
    """Ordered Calico policies and what they refer to, with NetworkPolicies beside them."""
    chance = Chance(f"calico/{seed}")
    traits = draw_traits(chance)
    cluster = draw_cluster(chance, traits, f"calico-{seed}")
    policies = CalicoPolicies(chance, traits, cluster).objects()
    if chance.happens(0.4):
        kubernetes = KubernetesPolicies(chance, traits, cluster)
        policies += [kubernetes.policy(f"{chance.pick('am')}-{index}") for index in range(chance.number(1, 3))]
    options: dict[str, object] = {"tieBreak": chance.pick(("legacy", "current"))}
    case = msgspec.structs.replace(cluster, engine="calico", policies=tuple(policies), options=options)
    return msgspec.structs.replace(case, flows=flows.draw(chance, case, traits.families, calico=True))


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
    policies = CiliumPolicies(chance, traits, cluster, release).objects()
    if chance.happens(0.5):
        kubernetes = KubernetesPolicies(chance, traits, cluster)
        policies += [kubernetes.policy(f"np-{index}") for index in range(chance.number(1, 3))]
    case = msgspec.structs.replace(cluster, policies=tuple(policies))
    return flows.by_address(msgspec.structs.replace(case, flows=flows.draw(chance, case, traits.families)))


def _with_cilium_labels(chance: Chance, case: Case) -> Case:
    """Labels at the borders of Cilium's label filter, and names that look like numbers."""

    def pod(old: Pod) -> Pod:
        extra = labels(chance, FILTERED, 0.2)
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
