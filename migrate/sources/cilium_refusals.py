"""Policies that the API server stores and the agent does not take: they enforce nothing, not even a default deny.

Facts: pkg/policy/api/rule_validation.go and pkg/k8s/network_policy.go of v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.addresses import AddressSet
from migrate.model.flow import Direction
from migrate.sources.cilium import EXTENDED_PROTOCOLS, CiliumPolicy, CiliumRule, CiliumSpec
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy


def refusal(policy: CiliumPolicy | NetworkPolicy, settings: CiliumSettings) -> str:
    """Why the agent does not take the policy; empty when it does."""
    if isinstance(policy, NetworkPolicy):
        return _network_policy(policy, settings)
    reasons = (reason for spec in policy.specs for reason in _spec(spec, settings))
    return next(reasons, "")


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
    for entry in rule.peers.cidrs:
        if entry.cidr is None:
            continue
        inside = AddressSet.of([entry.cidr])
        if not all(AddressSet.of([hole]) <= inside for hole in entry.excepts):
            yield f"{rule.field}: an exception of {entry.cidr} is outside of it"


def _traffic(rule: CiliumRule, settings: CiliumSettings, *, on_nodes: bool) -> Iterator[str]:
    if rule.icmp is not None and not settings.icmp_rules:
        yield f"{rule.field}: ICMP rules are switched off"
    if rule.icmp is not None and rule.ports is not None:
        yield f"{rule.field}: one rule may not have ICMP and ports"
    for port in rule.ports or ():
        if port.port is None and not settings.extended_protocols:
            yield f"{rule.field}: a port is missing, which needs enable-extended-ip-protocols"
        if port.port and port.protocol in EXTENDED_PROTOCOLS:
            yield f"{rule.field}: {port.protocol} has no ports"
    proxied = [port for port in rule.ports or () if port.proxies]
    kinds = {kind for port in proxied for kind in port.proxies}
    if kinds and not settings.l7_proxy:
        yield f"{rule.field}: L7 rules need the L7 proxy"
    if kinds - {"dns"} and on_nodes:
        yield f"{rule.field}: a host's rules may not have L7 rules"
    if "dns" in kinds and rule.direction is Direction.INGRESS:
        yield f"{rule.field}: DNS rules may not stand on ingress"
    if any(not port.port for port in proxied):
        yield f"{rule.field}: L7 rules may not stand on port 0"
