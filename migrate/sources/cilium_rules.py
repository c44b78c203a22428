"""Rules of Cilium's policies and of NetworkPolicies as rules of the model, for one agent's settings and cluster.

Facts measured on the policy engines of v1.18.8 and v1.20.2; where they differ, CiliumSettings says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

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
    AllOf,
    AnyOf,
    At,
    Place,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Traffic,
)
from migrate.model.selectors import Operator, Requirement
from migrate.sources import kubernetes
from migrate.sources.cilium import CidrRule, CiliumPolicy, CiliumRule, DomainName
from migrate.sources.cilium_addresses import CidrPeers
from migrate.sources.cilium_selectors import IdentitySelectors
from migrate.sources.cilium_services import addresses_of
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cilium_tiers import ClusterNetworkPolicy, TierPeer, TierRule
from migrate.sources.cilium_traffic import EXTENDED_PROTOCOLS, IcmpRule, PortRule
from migrate.sources.kubernetes import NetworkPolicy

_PORTS = (TCP, UDP, SCTP)
_PROTOCOLS = (*_PORTS, *EXTENDED_PROTOCOLS.values())
_DNS_PORTS = ("dns", "dns-tcp")
_DNS_PODS = Requirement("k8s-app", Operator.IN, ("kube-dns",))
_ENTITIES: dict[str, Predicate] = {
    "all": ANY_END,
    "world": At(Place.OUTSIDE),
    "host": At(Place.OWN_NODE),
    "remote-node": At(Place.OTHER_NODE),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule, with its peers in two parts: selectors of endpoints, which requirements narrow, and all others."""

    rule: Rule
    endpoints: Predicate = NO_END
    others: Predicate = NO_END

    def under(self, required: tuple[Predicate, ...]) -> Rule:
        """The rule where its endpoints have to be all of these too."""
        if not required:
            return self.rule
        return replace(self.rule, peer=AnyOf((AllOf((self.endpoints, *required)), self.others)))


@dataclass(slots=True)
class _OneEach:
    """Where the engine takes whichever of several values it meets first: the places at which they differ."""

    known: dict[object, object] = field(default_factory=dict)
    differing: list[Provenance] = field(default_factory=list)

    def note(self, key: object, value: object, place: Provenance) -> None:
        if self.known.setdefault(key, value) != value:
            self.differing.append(place)


class RuleMaker:
    """Makes rules; `unknown` are the places of what is not modelled."""

    def __init__(
        self, settings: CiliumSettings, cluster: Cluster, identities: IdentitySelectors, cidrs: CidrPeers
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._identities = identities
        self._cidrs = cidrs
        self._named = _named_ports(cluster)
        self._once = _OneEach()
        self._unknown: list[Provenance] = []

    @property
    def unknown(self) -> tuple[Provenance, ...]:
        """The places of what is not modelled in the rules made so far."""
        return (*self._unknown, *self._once.differing)

    def rules(self, rule: CiliumRule, policy: CiliumPolicy) -> Iterator[Draft]:
        """No rule where it is about nobody or nothing: a rule without any part allows nothing."""
        place = Provenance(policy.ref, rule.field, rule.at)
        self._unknown += [replace(place, field=f"{rule.field}.{name}") for name in rule.unmodelled]
        self._note(rule, place)
        limited = rule.items is not None or rule.icmp is not None
        if rule.peers.nobody or not (rule.peers.select or limited):
            return
        endpoints, others = self._peers(rule, policy.namespace, place)
        found = Rule(
            action=Action.DENY if rule.deny else Action.ALLOW,
            peer=AnyOf((endpoints, others)),
            traffic=self._traffic(rule),
            provenance=place,
            note=_note(rule),
        )
        plain, named = self._by_name(found.traffic, rule.direction)
        if plain or not named:
            yield Draft(replace(found, traffic=plain), endpoints, others)
        if named:
            direct, others = self._peers(rule, policy.namespace, place, aggregated=False)
            yield Draft(replace(found, peer=AnyOf((direct, others)), traffic=named), direct, others)
        for ranged in self._ranges_from_names(rule, found):
            yield Draft(ranged, endpoints, others)

    def required(self, rule: CiliumRule, policy: CiliumPolicy) -> tuple[Predicate, ...]:
        """What a rule asks of the endpoints of all rules that hold for the same pod."""
        return tuple(self._identities.peers(selector, policy.namespace) for selector in rule.required)

    def _note(self, rule: CiliumRule, place: Provenance) -> None:
        """Note what the engine takes one of for each port or direction, whatever other rules say."""
        if rule.authentication:
            self._once.note(rule.direction, rule.authentication, place)
        for item in rule.items or ():
            if self._settings.release >= 20 and {"kafka", "l7"} & set(item.l7):
                self._unknown.append(replace(place, field=f"{rule.field}.toPorts"))
            parsers = [*item.l7, *(via for via in item.via if via == "listener")]
            for port in item.ports:
                for protocol in (p for p in _PROTOCOLS if p in self.protocols(port.protocol)):
                    at = (rule.direction, port.port, protocol)
                    if isinstance(port.port, str) and not self._settings.named_ports_per_identity:
                        self._once.note(("end", *at), port.end or 0, place)
                    for parser in parsers:
                        self._once.note(("parser", *at, port.end), parser, place)

    def _ranges_from_names(self, rule: CiliumRule, found: Rule) -> Iterator[Rule]:
        """A named port with an endPort is a range from the pod's own number on, at ingress."""
        for port in rule.ports if rule.direction is Direction.INGRESS else ():
            if not isinstance(port.port, str) or not port.end:
                continue
            for (name, protocol, number), owners in self._named.items():
                if name == port.port and protocol in self.protocols(port.protocol) and number < port.end:
                    traffic = Traffic(IntervalSet(((protocol, protocol),)), PortSet(IntervalSet(((number, port.end),))))
                    yield replace(found, traffic=(traffic,), own=Addresses(owners))

    def _by_name(
        self, traffic: tuple[Traffic, ...], direction: Direction
    ) -> tuple[tuple[Traffic, ...], tuple[Traffic, ...]]:
        """Traffic with the ports apart that 1.20 looks up for each identity of the peer: an aggregated one has none."""
        if direction is Direction.INGRESS or not self._settings.named_ports_per_identity:
            return traffic, ()
        named = tuple(t for t in traffic if t.ports is not None and t.ports.names)
        return tuple(t for t in traffic if t not in named), named

    def _peers(
        self, rule: CiliumRule, namespace: str | None, place: Provenance, *, aggregated: bool = True
    ) -> tuple[Predicate, Predicate]:
        """The rule's endpoints and its other peers; without any peer it is about everyone."""
        peers = rule.peers
        if not peers.select:
            return NO_END, ANY_END
        endpoints = [self._identities.peers(one, namespace, aggregated=aggregated) for one in peers.endpoints]
        others = [self._identities.nodes(selector) for selector in peers.nodes]
        others += [self._cidr(cidr) for cidr in peers.cidrs]
        others += [self._entity(name) for name in peers.entities]
        others += [self._domain(domain, replace(place, field=f"{place.field}.toFQDNs")) for domain in peers.domains]
        return AnyOf(tuple(endpoints)), AnyOf(tuple(others))

    def _domain(self, domain: DomainName, place: Provenance) -> Predicate:
        """The addresses that a name has in the case's DNS; a node that has one is not modelled."""
        found = AddressSet.of_addresses(addresses_of(domain, self._cluster, self._settings))
        nodes = (address for node in self._cluster.nodes for address in node.addresses)
        if self._cluster.names is None or any(address in found for address in nodes):
            self._unknown.append(place)
        return AllOf((At(Place.OUTSIDE), Addresses(found)))

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
            return self._cidrs.block(rule.cidr, rule.excepts, plain=rule.plain)
        if rule.groups is not None:
            return self._cidrs.groups(rule.groups, rule.excepts)
        return self._cidrs.group(rule.group or "", rule.excepts)

    def _traffic(self, rule: CiliumRule) -> tuple[Traffic, ...]:
        if rule.items is None and rule.icmp is None:
            return EVERY_PACKET
        ports = [traffic for port in rule.ports for traffic in self.port(port, rule.direction)]
        return (*ports, *map(_icmp, rule.icmp or ()))

    def port(self, port: PortRule, direction: Direction) -> list[Traffic]:
        """The packets of one port."""
        protocols = self.protocols(port.protocol)
        if isinstance(port.port, str):
            return self._named_port(port.port, port.end or 0, protocols, direction)
        low, high = port.port or 0, port.end or 0
        if low == 0 and (high == 0 or self._settings.range_from_zero_is_all):
            return [Traffic(protocols)]
        return [Traffic(protocols, PortSet(IntervalSet(((low, max(low, high)),))))]

    def protocols(self, name: str) -> IntervalSet:
        """The IP protocols of a name; ANY is those with ports."""
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

    def kubernetes_rule(self, rule: kubernetes.Rule, policy: NetworkPolicy, direction: Direction) -> Draft:
        """A rule of a NetworkPolicy; without peers it is about every endpoint."""
        place = Provenance(policy.ref, rule.field, rule.at)
        traffic: tuple[Traffic, ...] = EVERY_PACKET
        if rule.ports is not None:
            ports = [PortRule(0 if m.port is None else m.port, m.protocol, m.end) for m in rule.ports]
            traffic = tuple(t for port in ports for t in self.port(port, direction))
        if rule.peers is None:
            return Draft(Rule(Action.ALLOW, ANY_END, traffic, provenance=place), ANY_END)
        namespace = policy.ref.namespace or "default"
        endpoints = AnyOf(
            tuple(
                self._identities.kubernetes_peers(peer.pods, peer.namespaces, namespace)
                for peer in rule.peers
                if not isinstance(peer, kubernetes.BlockPeer)
            )
        )
        blocks = (peer for peer in rule.peers if isinstance(peer, kubernetes.BlockPeer))
        others = AnyOf(tuple(self._cidrs.block(peer.cidr, peer.excepts) for peer in blocks))
        found = Rule(Action.ALLOW, AnyOf((endpoints, others)), traffic, provenance=place)
        return Draft(found, endpoints, others)

    def tier_rules(self, rule: TierRule, policy: ClusterNetworkPolicy) -> Iterator[Rule]:
        """A rule of a tier; an Accept of names also opens DNS to the cluster's DNS pods."""
        place = Provenance(policy.ref, rule.field, rule.at)
        traffic: tuple[Traffic, ...] = EVERY_PACKET
        if rule.ports is not None:
            traffic = tuple(t for port in rule.ports for t in self.port(port, rule.direction))
        if rule.peers is None:
            yield Rule(rule.action, ANY_END, traffic, provenance=place)
        for peer in rule.peers or ():
            known = self._tier_peer(peer, place)
            if known is not None:
                plain, named = self._by_name(traffic, rule.direction)
                if plain or not named:
                    yield Rule(rule.action, known, plain, provenance=place)
                if named:
                    direct = self._tier_peer(peer, place, aggregated=False) or NO_END
                    yield Rule(rule.action, direct, named, provenance=place)
            elif rule.action is not Action.ALLOW:
                yield Rule(Action.DENY, ANY_END, traffic, provenance=place, note="its peer is of no known kind")
            if peer.domains is not None:
                ports = tuple(
                    t for name in ("dns", "dns-tcp") for t in self.port(PortRule(name, "ANY"), rule.direction)
                )
                servers = self._identities.everyone(_DNS_PODS)
                yield Rule(Action.ALLOW, servers, ports, provenance=place, note="then judged by the proxy")

    def _tier_peer(self, peer: TierPeer, place: Provenance, *, aggregated: bool = True) -> Predicate | None:
        """The ends of a peer; None for one of a kind that is not known."""
        if peer.pods is not None:
            selector = self._identities.tier_pods(peer.pods.namespaces, peer.pods.pods, of_cluster=True)
            return self._identities.everyone(selector, aggregated=aggregated)
        if peer.nodes is not None:
            return self._identities.tier_nodes(peer.nodes)
        if peer.networks is not None:
            return AnyOf(tuple(self._cidrs.block(cidr, ()) for cidr in peer.networks))
        if peer.domains is not None:
            return AnyOf(tuple(self._domain(domain, place) for domain in peer.domains))
        return None


def _note(rule: CiliumRule) -> str:
    if rule.authentication not in ("", "disabled"):
        return "then both ends must authenticate"
    return "then judged by the proxy" if any(item.is_proxied for item in rule.items or ()) else ""


def _icmp(rule: IcmpRule) -> Traffic:
    """Type 0 is the wildcard: it opens the whole family."""
    number = ICMP if rule.family == 4 else ICMPV6
    return Traffic(IntervalSet(((number, number),)), icmp=None if rule.type == 0 else ((rule.type, None),))


def _named_ports(cluster: Cluster) -> Mapping[tuple[str, int, int], AddressSet]:
    """Each name, protocol and number of a container port, with the addresses of the pods that have it."""
    found: dict[tuple[str, int, int], list[Address]] = {}
    for pod in cluster.pods:
        for port in pod.named_ports if not pod.host_network else ():
            key = (port.name, PROTOCOL_NUMBERS.get(port.protocol, 0), port.port)
            found.setdefault(key, []).extend(pod.addresses)
    return {key: AddressSet.of_addresses(addresses) for key, addresses in sorted(found.items())}
