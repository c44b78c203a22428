"""CIDRs over addresses of the cluster: Cilium means the outside by them, never pods, nodes or Services.

Facts: measured on the policy engines of cilium/cilium v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.cluster import Cluster, Node, Pod, Service
from migrate.model.flow import Direction, End, EndKind
from migrate.model.ruleset import ANY_END, AnyOf, Predicate, holds
from migrate.sources.cilium import CiliumPolicy, CiliumRule
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy
from migrate.translate.lint_owners import ClusterAddresses
from migrate.translate.lint_scene import Note, Scene

_PRIVATE = AddressSet.of(
    map(parse_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_NODES = {"host", "remote-node", "cluster", "all"}
_PODS = {"cluster", "all"}


@dataclass(frozen=True, slots=True)
class _Block:
    """A prefix less some others, in one direction; the rest says what the policy means beside it."""

    place: str
    cidr: Network
    addresses: AddressSet
    pods: Predicate
    nodes: bool
    server: bool


def notes(policy: CiliumPolicy | NetworkPolicy, scene: Scene) -> Iterator[Note]:
    """What to say of the CIDRs of a policy."""
    blocks = _of_kubernetes(policy, scene) if isinstance(policy, NetworkPolicy) else _of_cilium(policy, scene)
    for block in blocks:
        if block.cidr.prefixlen == 0:
            if "pods" not in scene.settings.cidr_match_modes:
                text = f"{block.cidr} is everything outside the cluster, and no pod and no node"
                yield Note("LINT-CIDR-EVERYTHING", block.place, text)
        elif scene.cluster is not None and scene.addresses is not None:
            yield from _covered(block, scene.cluster, scene.addresses, scene.settings.cidr_match_modes)
        elif block.addresses & _PRIVATE:
            text = f"{block.cidr} has private addresses: those of pods and nodes are not meant by it"
            yield Note("LINT-CIDR-PRIVATE", block.place, text)


def _of_cilium(policy: CiliumPolicy, scene: Scene) -> Iterator[_Block]:
    for spec in policy.specs:
        for direction in Direction:
            for deny in (False, True):
                rules = [rule for rule in spec.rules if (rule.direction, rule.deny) == (direction, deny)]
                pods, nodes, server = _beside(rules, policy, scene)
                for rule in rules:
                    yield from _blocks(rule, pods, nodes=nodes, server=server)


def _beside(rules: Sequence[CiliumRule], policy: CiliumPolicy, scene: Scene) -> tuple[Predicate, bool, bool]:
    """The pods that rules of one kind mean by label or entity, and whether they mean nodes and the API server."""
    entities = {entity for rule in rules for entity in rule.peers.entities}
    named = [scene.peers(selector, policy) for rule in rules for selector in rule.peers.endpoints]
    everyone = any(not rule.peers.lists and not rule.peers.nobody and rule.items is not None for rule in rules)
    pods: Predicate = ANY_END if everyone or entities & _PODS else AnyOf(tuple(named))
    nodes = everyone or bool(entities & _NODES) or any(rule.peers.nodes for rule in rules)
    return pods, nodes, nodes or "kube-apiserver" in entities


def _blocks(rule: CiliumRule, pods: Predicate, *, nodes: bool, server: bool) -> Iterator[_Block]:
    side = "from" if rule.direction is Direction.INGRESS else "to"
    for entry in rule.peers.cidrs:
        if entry.cidr is not None:
            yield _Block(
                f"{rule.field}.{side}CIDR{'Set' if 'CIDRSet' in rule.peers.lists else ''}",
                entry.cidr,
                AddressSet.of([entry.cidr]) - AddressSet.of(entry.excepts),
                pods,
                nodes,
                server,
            )


def _of_kubernetes(policy: NetworkPolicy, scene: Scene) -> Iterator[_Block]:
    namespace = policy.ref.namespace or "default"
    for rules in (policy.ingress, policy.egress):
        peers = [peer for rule in rules for peer in rule.peers or ()]
        everyone = any(rule.peers is None for rule in rules)
        named = [
            scene.selectors.kubernetes_peers(peer.pods, peer.namespaces, namespace)
            for peer in peers
            if not isinstance(peer, BlockPeer)
        ]
        pods: Predicate = ANY_END if everyone else AnyOf(tuple(named))
        for peer in peers:
            if isinstance(peer, BlockPeer):
                yield _Block(f"{peer.field}.ipBlock", peer.cidr, peer.addresses(), pods, everyone, everyone)


def _covered(block: _Block, cluster: Cluster, owners: ClusterAddresses, modes: frozenset[str]) -> Iterator[Note]:
    """What of the cluster has an address in the block, and is not meant by anything else in the policy."""
    pods = [p for p in owners.pods.within(block.addresses) if "pods" not in modes and not _is_meant(p, block)]
    nodes = [] if block.nodes or "nodes" in modes else _nodes(block, cluster, owners)
    services = list(owners.services.within(block.addresses))
    found = [_amount(len(pods), "pod"), _amount(len(nodes), "node"), _amount(len(services), "Service")]
    examples = [*(str(pod) for pod in pods[:1]), *(f"node {node.name}" for node in nodes[:1])]
    if pods or nodes or _is_of_services(block, services, cluster):
        shown = f", such as {' and '.join(examples)}" if examples else ""
        text = f"{block.cidr} has the addresses of {', '.join(filter(None, found))}{shown}, and does not mean them"
        yield Note("LINT-CIDR-CLUSTER", block.place, text)


def _is_of_services(block: _Block, services: Sequence[Service], cluster: Cluster) -> bool:
    own = AddressSet.of_addresses(address for service in services for address in service.addresses)
    return bool(services) and block.addresses <= own | cluster.service_networks


def _nodes(block: _Block, cluster: Cluster, owners: ClusterAddresses) -> list[Node]:
    known = set(cluster.api_server) if block.server else set()
    return [node for node in owners.nodes.within(block.addresses) if not known.intersection(node.addresses)]


def _is_meant(pod: Pod, block: _Block) -> bool:
    end = End(EndKind.POD, pod.addresses[0], pod=pod)
    return holds(block.pods, end, end)


def _amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""
