"""Policies as Cilium enforces them: identities before addresses, deny over allow, default deny by whoever asks.

Facts measured on the policy engines of v1.18.8 and v1.20.2; where they differ, CiliumSettings says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Cluster
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, SCTP, TCP, UDP, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.ruleset import (
    ANY_END,
    EVERY_PACKET,
    NO_END,
    Action,
    Addresses,
    AnyOf,
    At,
    Chain,
    Place,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
)
from migrate.model.selectors import Selector
from migrate.sources import kubernetes
from migrate.sources.cilium import (
    EXTENDED_PROTOCOLS,
    CidrGroup,
    CidrRule,
    CiliumPolicy,
    CiliumRule,
    CiliumSpec,
    IcmpRule,
    Peers,
    PortRule,
)
from migrate.sources.cilium_addresses import CidrPeers, named_prefixes
from migrate.sources.cilium_refusals import refusal
from migrate.sources.cilium_selectors import IdentitySelectors
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.kubernetes import NetworkPolicy
from migrate.sources.kubernetes_engine import in_namespace

__all__ = ["CiliumEngine", "CiliumSettings"]

_PORTS = (TCP, UDP, SCTP)
_OWN_NODE = Rule(Action.ALLOW, At(Place.OWN_NODE), note="Cilium always admits a pod's own node")
_NO_SCTP = Stage(
    (Rule(Action.DENY, ANY_END, (Traffic(IntervalSet(((SCTP, SCTP),))),), note="SCTP is switched off"),),
    Action.PASS,
    "protocols",
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One policy document of one subject: denies and allows by direction."""

    subject: Selector
    rules: dict[Direction, tuple[Rule, ...]]
    present: frozenset[Direction]
    denies_by_default: frozenset[Direction]


class CiliumEngine:
    """CNPs, CCNPs and NetworkPolicies together on the pods of a cluster.

    Policies that the agent does not take are in `refused` with the reason, and enforce nothing.
    """

    def __init__(
        self,
        policies: Sequence[CiliumPolicy | NetworkPolicy],
        groups: Sequence[CidrGroup],
        cluster: Cluster,
        settings: CiliumSettings,
    ) -> None:
        self._settings = settings
        reasons = {policy.ref: refusal(policy, settings) for policy in policies}
        self.refused = {ref: reason for ref, reason in reasons.items() if reason}
        taken = [policy for policy in policies if policy.ref not in self.refused]
        self._identities = IdentitySelectors(settings, cluster, named_prefixes(taken, groups))
        self._cidrs = CidrPeers(settings, groups, cluster, self._identities.aggregated)
        self._named = _named_ports(cluster)
        self._entries: list[_Entry] = []
        self._unknown: list[Provenance] = [
            Provenance(policy.ref, problem.field, problem.at) for policy in policies for problem in policy.problems
        ]
        for policy in taken:
            self._add(policy)
        self.subjects: Sequence[Subject] = tuple(Subject(e.subject, e.present) for e in self._entries)
        self.exempt: dict[Direction, Predicate] = {Direction.INGRESS: NO_END, Direction.EGRESS: NO_END}
        self.unknown: tuple[Provenance, ...] = tuple(self._unknown)

    def _add(self, policy: CiliumPolicy | NetworkPolicy) -> None:
        if isinstance(policy, NetworkPolicy):
            self._entries.append(self._network_policy(policy))
            return
        for spec in policy.specs:
            self._add_spec(spec, policy)

    def _add_spec(self, spec: CiliumSpec, policy: CiliumPolicy) -> None:
        """Host policies have no effect without the host firewall, and are not modelled with it."""
        if spec.endpoint_selector is not None:
            self._entries.append(self._spec(spec, spec.endpoint_selector, policy))
        elif self._settings.host_firewall:
            self._unknown.append(Provenance(policy.ref, "spec.nodeSelector", policy.at))

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """Denies, then allows, then the own host (inwards); the end is default deny if one policy asks for it."""
        enforcement = self._settings.enforcement
        if enforcement == "never" or (not policies and enforcement != "always"):
            return Chain((), Action.ALLOW, enforced=False)
        entries = [self._entries[index] for index in policies]
        rules = [rule for entry in entries for rule in entry.rules.get(direction, ())]
        allows = [rule for rule in rules if rule.action is Action.ALLOW]
        if direction is Direction.INGRESS and self._admits_own_node(entries):
            allows.append(_OWN_NODE)
        closed = enforcement == "always" or any(direction in entry.denies_by_default for entry in entries)
        end = Action.DENY if closed else Action.ALLOW
        denies = Stage(tuple(rule for rule in rules if rule.action is Action.DENY), Action.PASS, "deny rules")
        stages = (denies, Stage(tuple(allows), end, "allow rules"))
        return Chain(stages if self._settings.sctp else (_NO_SCTP, *stages), end)

    def _admits_own_node(self, entries: Sequence[_Entry]) -> bool:
        return self._settings.admits_own_node and (bool(entries) or not self._settings.host_needs_a_rule)

    def _spec(self, spec: CiliumSpec, selector: Selector, policy: CiliumPolicy) -> _Entry:
        subject = self._identities.pods(selector)
        rules: dict[Direction, tuple[Rule, ...]] = dict.fromkeys(Direction, ())
        for rule in spec.rules:
            self._unknown += [Provenance(policy.ref, f"{rule.field}.{name}", rule.at) for name in rule.unmodelled]
            rules[rule.direction] += self._rule(rule, policy)
        closed = frozenset(
            d for d in spec.present if spec.default_deny.get(d, True) or not self._settings.default_deny_can_be_off
        )
        if policy.namespace is not None:
            subject = in_namespace(subject, policy.namespace)
        return _Entry(subject, rules, spec.present, closed)

    def _rule(self, rule: CiliumRule, policy: CiliumPolicy) -> tuple[Rule, ...]:
        """No rule where it is about nobody or nothing: a rule without any part allows nothing."""
        limited = rule.ports is not None or rule.icmp is not None
        if rule.peers.nobody or not (rule.peers.lists or (limited and not rule.unmodelled)):
            return ()
        found = Rule(
            action=Action.DENY if rule.deny else Action.ALLOW,
            peer=self._peers(rule.peers, policy.namespace) if rule.peers.lists else ANY_END,
            traffic=self._traffic(rule),
            provenance=Provenance(policy.ref, rule.field, rule.at),
            note="then judged by the proxy" if any(port.proxies for port in rule.ports or ()) else "",
        )
        return (found, *self._ranges_from_names(rule, found))

    def _ranges_from_names(self, rule: CiliumRule, found: Rule) -> Iterator[Rule]:
        """A named port with an endPort is a range from the pod's own number on, at ingress."""
        for port in rule.ports or () if rule.direction is Direction.INGRESS else ():
            if not isinstance(port.port, str) or not port.end:
                continue
            for (name, protocol, number), owners in self._named.items():
                if name == port.port and protocol in self._protocols(port.protocol) and number < port.end:
                    traffic = Traffic(IntervalSet(((protocol, protocol),)), PortSet(IntervalSet(((number, port.end),))))
                    yield replace(found, traffic=(traffic,), own=Addresses(owners))

    def _peers(self, peers: Peers, namespace: str | None) -> Predicate:
        terms = [self._identities.peers(selector, namespace) for selector in peers.endpoints]
        terms += [self._identities.nodes(selector) for selector in peers.nodes]
        terms += [self._cidr(cidr) for cidr in peers.cidrs]
        terms += [self._entity(name) for name in peers.entities]
        return AnyOf(tuple(terms))

    def _entity(self, name: str) -> Predicate:
        """The ends of an entity; init, health, ingress, unmanaged and none are no ends of a flow here."""
        if name == "kube-apiserver":
            return self._identities.api_server
        if name in ("cluster", "cluster-mesh"):
            places = (At(Place.POD), At(Place.OWN_NODE), At(Place.OTHER_NODE))
            return AnyOf((*places, self._identities.api_server))
        return _ENTITIES.get(name, NO_END)

    def _cidr(self, rule: CidrRule) -> Predicate:
        if rule.cidr is not None:
            return self._cidrs.block(rule.cidr, rule.excepts)
        if rule.groups is not None:
            return self._cidrs.groups(rule.groups, rule.excepts)
        return self._cidrs.group(rule.group or "", rule.excepts)

    def _traffic(self, rule: CiliumRule) -> tuple[Traffic, ...]:
        if rule.ports is None and rule.icmp is None:
            return EVERY_PACKET
        ports = [traffic for port in rule.ports or () for traffic in self._port(port, rule.direction)]
        return (*ports, *map(_icmp, rule.icmp or ()))

    def _port(self, port: PortRule, direction: Direction) -> list[Traffic]:
        protocols = self._protocols(port.protocol)
        if isinstance(port.port, str):
            return self._named_port(port.port, port.end or 0, protocols, direction)
        low, high = port.port or 0, port.end or 0
        if low == 0 and (high == 0 or self._settings.range_from_zero_is_all):
            return [Traffic(protocols)]
        return [Traffic(protocols, PortSet(IntervalSet(((low, max(low, high)),))))]

    def _protocols(self, name: str) -> IntervalSet:
        if name == "ANY":
            return IntervalSet.of((number, number) for number in _PORTS)
        number = EXTENDED_PROTOCOLS.get(name) or PROTOCOL_NUMBERS[name]
        return IntervalSet(((number, number),))

    def _named_port(self, name: str, end: int, protocols: IntervalSet, direction: Direction) -> list[Traffic]:
        """By the target pod's own ports; before 1.20 by one number of the whole cluster for egress."""
        if direction is Direction.INGRESS or self._settings.named_ports_per_identity:
            return [Traffic(protocols, PortSet(names=(name,)))]
        found: list[Traffic] = []
        for protocol in _PORTS:
            known = [number for other, at, number in self._named if (other, at) == (name, protocol)]
            if protocol in protocols and len(known) == 1:
                ports = PortSet(IntervalSet(((known[0], max(known[0], end)),)))
                found.append(Traffic(IntervalSet(((protocol, protocol),)), ports))
        return found

    def _network_policy(self, policy: NetworkPolicy) -> _Entry:
        """Cilium's own reading: rules of a direction that policyTypes leave out count, and isolate."""
        isolating = policy.directions | frozenset(policy.excluded)
        rules: dict[Direction, tuple[Rule, ...]] = {}
        for direction in isolating:
            found = policy.ingress if direction is Direction.INGRESS else policy.egress
            rules[direction] = tuple(self._kubernetes_rule(rule, policy, direction) for rule in found)
        subject = in_namespace(self._identities.pods(policy.subject), policy.ref.namespace)
        return _Entry(subject, rules, isolating, isolating)

    def _kubernetes_rule(self, rule: kubernetes.Rule, policy: NetworkPolicy, direction: Direction) -> Rule:
        traffic: tuple[Traffic, ...] = EVERY_PACKET
        if rule.ports is not None:
            ports = [PortRule(0 if m.port is None else m.port, m.protocol, m.end) for m in rule.ports]
            traffic = tuple(t for port in ports for t in self._port(port, direction))
        peer: Predicate = ANY_END
        if rule.peers is not None:
            namespace = policy.ref.namespace or "default"
            peer = AnyOf(tuple(self._kubernetes_peer(p, namespace) for p in rule.peers))
        return Rule(Action.ALLOW, peer, traffic, provenance=Provenance(policy.ref, rule.field, rule.at))

    def _kubernetes_peer(self, peer: kubernetes.Peer, namespace: str) -> Predicate:
        if isinstance(peer, kubernetes.BlockPeer):
            return self._cidrs.block(peer.cidr, peer.excepts)
        return self._identities.kubernetes_peers(peer.pods, peer.namespaces, namespace)


def _icmp(rule: IcmpRule) -> Traffic:
    """Type 0 is the wildcard: it opens the whole family."""
    number = ICMP if rule.family == 4 else ICMPV6
    return Traffic(IntervalSet(((number, number),)), icmp=None if rule.type == 0 else ((rule.type, None),))


_ENTITIES: dict[str, Predicate] = {
    "all": ANY_END,
    "world": At(Place.OUTSIDE),
    "host": At(Place.OWN_NODE),
    "remote-node": At(Place.OTHER_NODE),
}


def _named_ports(cluster: Cluster) -> dict[tuple[str, int, int], AddressSet]:
    """Each name, protocol and number of a container port, with the addresses of the pods that have it."""
    found: dict[tuple[str, int, int], list[Address]] = {}
    for pod in cluster.pods:
        for port in pod.named_ports if not pod.host_network else ():
            key = (port.name, PROTOCOL_NUMBERS.get(port.protocol, 0), port.port)
            found.setdefault(key, []).extend(pod.addresses)
    return {key: AddressSet.of_addresses(addresses) for key, addresses in sorted(found.items())}
