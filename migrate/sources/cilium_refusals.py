"""Policies that the API server stores and the agent does not take: they enforce nothing, not even a default deny.

Facts: pkg/policy/api/rule_validation.go and pkg/k8s/network_policy.go of v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.addresses import AddressSet
from migrate.model.flow import Direction
from migrate.model.ruleset import Action
from migrate.sources.cilium import CiliumPolicy, CiliumRule, CiliumSpec
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cilium_tiers import ClusterNetworkPolicy
from migrate.sources.cilium_traffic import EXTENDED_PROTOCOLS, PortItem
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy

_MOST_PORTS = 40


def refusal(policy: CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy, settings: CiliumSettings) -> str:
    """Why the agent does not take the policy; empty when it does."""
    if isinstance(policy, ClusterNetworkPolicy):
        return next(_tier(policy, settings), "")
    if isinstance(policy, NetworkPolicy):
        return _network_policy(policy, settings)
    if policy.namespace is not None and any(spec.node_selector is not None for spec in policy.specs):
        return "a nodeSelector is for clusterwide policies"
    reasons = (reason for spec in policy.specs for reason in _spec(spec, settings))
    return next(reasons, "")


def _tier(policy: ClusterNetworkPolicy, settings: CiliumSettings) -> Iterator[str]:
    for rule in policy.rules:
        for peer in rule.peers or ():
            if peer.pods is None and peer.nodes is not None and not settings.node_labels:
                yield f"{rule.field}: nodes as peers need enable-node-selector-labels"
            if peer.domains is not None and rule.action is not Action.ALLOW:
                yield f"{rule.field}: domain names are for Accept only"
            if peer.domains is not None and not settings.l7_proxy:
                yield f"{rule.field}: domain names need the L7 proxy"


def _network_policy(policy: NetworkPolicy, settings: CiliumSettings) -> str:
    """1.18 adds the cluster to every ingress peer, blocks too, when policies are of the own cluster by default."""
    if settings.release >= 19 or not settings.local_cluster:
        return ""
    blocks = any(isinstance(peer, BlockPeer) for rule in policy.ingress for peer in rule.peers or ())
    return "an ipBlock of ingress does not go with policy-default-local-cluster in this release" if blocks else ""


def _spec(spec: CiliumSpec, settings: CiliumSettings) -> Iterator[str]:
    if not spec.rules:
        yield "it has no rule"
    if (spec.endpoint_selector is None) is (spec.node_selector is None):
        yield "it needs either an endpointSelector or a nodeSelector"
    for rule in spec.rules:
        yield from _peers(rule, settings)
        yield from _traffic(rule, settings, on_nodes=spec.node_selector is not None)


def _peers(rule: CiliumRule, settings: CiliumSettings) -> Iterator[str]:
    if len(rule.peers.lists) > 1:
        yield f"{rule.field}: one rule may not have {' and '.join(rule.peers.lists)} as peers"
    if rule.peers.nodes and not settings.node_labels:
        yield f"{rule.field}: nodes as peers need enable-node-selector-labels"
    if rule.required and settings.release >= 19:
        yield f"{rule.field}: requirements on other rules are gone since 1.19"
    for entry in rule.peers.cidrs:
        if (entry.cidr is not None) + (entry.group is not None) + (entry.groups is not None) != 1:
            yield f"{rule.field}: an entry needs one of cidr, cidrGroupRef and cidrGroupSelector"
        if entry.cidr is None:
            continue
        inside = AddressSet.of([entry.cidr])
        if not all(AddressSet.of([hole]) <= inside for hole in entry.excepts):
            yield f"{rule.field}: an exception of {entry.cidr} is outside of it"


def _traffic(rule: CiliumRule, settings: CiliumSettings, *, on_nodes: bool) -> Iterator[str]:
    if rule.icmp is not None and not settings.icmp_rules:
        yield f"{rule.field}: ICMP rules are switched off"
    if rule.icmp is not None and rule.items is not None:
        yield f"{rule.field}: one rule may not have ICMP and ports"
    for port in rule.ports:
        if port.port is None and not settings.extended_protocols:
            yield f"{rule.field}: a port is missing, which needs enable-extended-ip-protocols"
        if port.port and port.protocol in EXTENDED_PROTOCOLS:
            yield f"{rule.field}: {port.protocol} has no ports"
    for item in rule.items or ():
        yield from (f"{rule.field}: {reason}" for reason in _item(item))
    kinds = {kind for item in rule.items or () for kind in item.l7}
    if kinds and not settings.l7_proxy:
        yield f"{rule.field}: L7 rules need the L7 proxy"
    if kinds and on_nodes and (kinds != {"dns"} or rule.direction is Direction.INGRESS):
        yield f"{rule.field}: a host's rules may have no L7 rules but DNS on egress"
    if "dns" in kinds and rule.direction is Direction.INGRESS:
        yield f"{rule.field}: DNS rules may not stand on ingress"
    if any("listener" in item.via for item in rule.items or ()) and rule.direction is Direction.INGRESS:
        yield f"{rule.field}: a listener may not stand on ingress"


def _item(item: PortItem) -> Iterator[str]:
    """What does not go together in one item of toPorts."""
    if len(item.ports) > _MOST_PORTS:
        yield f"more than {_MOST_PORTS} ports"
    if not item.l7:
        return
    if len(item.l7) > 1:
        yield f"one item may not have {' and '.join(item.l7)} rules"
    if "listener" in item.via:
        yield "a listener does not go with L7 rules"
    if "serverNames" in item.via and "terminatingTLS" not in item.via:
        yield "serverNames and L7 rules need terminatingTLS"
    if any(port.port in (0, None) for port in item.ports):
        yield "L7 rules may not stand on port 0"
    if item.l7 == ("dns",):
        if not item.ports:
            yield "DNS rules need a port"
        if any(isinstance(port.port, int) and (port.end or 0) > port.port for port in item.ports):
            yield "DNS rules may not stand on a range"
    elif any(port.protocol != "TCP" for port in item.ports):
        yield "L7 rules other than DNS are for TCP"
