"""Calico's rules as regions of flows, for the compiler of ordered policies.

A part that Cilium has no word for (a source port, an ICMP code, a protocol number) makes a rule inexact: then an Allow
keeps the flows that surely match, a Deny takes those that may match, so that the result never widens.
Facts: felix/calc/rule_scanner.go and felix/rules (which conditions of a rule are joined, IP versions of a rule).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from migrate.model.addresses import Address, AddressSet, Network
from migrate.model.cluster import Pod
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import PROTOCOL_NUMBERS, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Scope
from migrate.model.ruleset import Action
from migrate.model.selectors import And, Conjunction, Operator, Requirement, Selector, matches
from migrate.sources.calico import HOST_ENDPOINT, CalicoPolicy, CalicoRule, EntityMatch, PortRange, ServiceMatch
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.blocks import split_blocks
from migrate.translate.calico import note_log
from migrate.translate.calico_selectors import hidden_keys, pod_conjunctions
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.objects import Block, Peers
from migrate.translate.ordered import OrderedRule
from migrate.translate.regions import (
    ANY_PEER,
    ANY_TRAFFIC,
    EVERY_POD,
    ICMP_PROTOCOLS,
    NO_POD,
    NO_TRAFFIC,
    NOBODY,
    OTHER,
    PORT_PROTOCOLS,
    Box,
    PeerSet,
    PodSet,
    Region,
    TrafficSet,
    common_pods,
    union_of_pods,
)
from migrate.translate.selectors import ANY_NAMESPACE
from migrate.translate.separate import look_alikes, select_exactly

ACTIONS = {"Allow": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Peers between what surely matches and what may match."""

    exact: PeerSet
    wide: PeerSet

    def joined(self, peers: PeerSet) -> _Bounds:
        """With further peers that surely match."""
        return _Bounds(self.exact | peers, self.wide | peers)

    def common(self, other: _Bounds) -> _Bounds:
        """What matches both."""
        return _Bounds(self.exact & other.exact, self.wide & other.wide)

    def without_owned(self, context: Context) -> _Bounds:
        """Without addresses that pods and nodes have: whoever has them is named otherwise."""
        return _Bounds(
            replace(self.exact, addresses=self.exact.addresses - context.owned),
            replace(self.wide, addresses=self.wide.addresses - context.owned),
        )

    def without(self, other: _Bounds) -> _Bounds:
        """What matches this and not the other."""
        return _Bounds(self.exact - other.wide, self.wide - other.exact)

    @property
    def is_exact(self) -> bool:
        """Whether it is known of everybody whether he matches."""
        return self.exact == self.wide


@dataclass(frozen=True, slots=True)
class Packets:
    """Packets between what surely matches and what may match. Those of `names` go to ports with names.

    Without `names` and `numbers` destination ports do not matter.
    """

    exact: TrafficSet
    wide: TrafficSet
    names: tuple[PortOwners, ...] = ()
    numbers: TrafficSet = ANY_TRAFFIC


class RuleRegions:
    """Turns the rules of one policy into regions; what cannot be said is noted as findings of the policy."""

    def __init__(self, policy: CalicoPolicy, pods: PodSet, context: Context, notes: Notes) -> None:
        self._policy = policy
        self._pods = pods
        self._context = context
        self._notes = notes

    def rules(self, direction: Direction) -> tuple[OrderedRule, ...]:
        """The rules of one direction, without those that only log."""
        rules = self._policy.rules(direction)
        for rule in rules:
            note_log(rule, self._notes)
        return tuple(self._rule(rule, direction) for rule in rules if rule.action != "Log")

    def _rule(self, rule: CalicoRule, direction: Direction) -> OrderedRule:
        ingress = direction is Direction.INGRESS
        own, other = (rule.destination, rule.source) if ingress else (rule.source, rule.destination)
        unsaid: list[str] = []
        exact, wide = _limits(rule, unsaid)
        all_own = PeerSet(self._pods)
        mine = _Bounds(all_own, all_own).common(self._end(own, unsaid))
        exact_boxes: list[Box] = []
        wide_boxes: list[Box] = []
        for end, traffic in self._peers(other, ingress, unsaid):
            peers = self._in_families(end, rule, unsaid)
            names = self._names(rule, (mine if ingress else peers).wide.pods)
            packets = Packets(exact & traffic, wide & traffic, names, _numbered(rule))
            exact_boxes += boxes(mine.exact.pods, peers.exact, packets, ingress, sure=True)
            wide_boxes += boxes(mine.wide.pods, peers.wide, packets, ingress, sure=False)
            if not unsaid and not (mine.is_exact and peers.is_exact):
                what = "a CIDR that covers" if other.service is None else "a Service behind which are"
                unsaid.append(f"{what} some of the pods or nodes that labels cannot tell apart")
        if rule.has_http:
            text = "the http part was left out: only Calico's application layer policy enforces it, on ingress"
            self._notes.find("POL-HTTP", text, place=rule.field, at=rule.at)
        if unsaid:
            self._say(rule, unsaid)
        return OrderedRule(ACTIONS[rule.action], tuple(exact_boxes), tuple(wide_boxes))

    def _say(self, rule: CalicoRule, unsaid: Sequence[str]) -> None:
        what = "; the Allow was left out" if rule.action == "Allow" else "; it was taken to cover more flows"
        self._notes.find(
            "POL-CALICO-FIELD",
            f"{' and '.join(dict.fromkeys(unsaid))} cannot be said in Cilium{what}, so some flows are denied",
            place=rule.field,
            at=rule.at,
            effect=self._context.changes(Effect.NARROWS),
            on_intent=Effect.NARROWS,
            result=Result.CHANGED,
        )

    def _names(self, rule: CalicoRule, pods: PodSet) -> tuple[PortOwners, ...]:
        """The pods that have the port names of a rule."""
        protocol = rule.protocol or ""
        names = (port for port in rule.destination.ports if isinstance(port, str))
        return tuple(one for name in names for one in numbered(name, protocol, pods, self._context, self._notes))

    # Ends.

    def _peers(self, entity: EntityMatch, ingress: bool, unsaid: list[str]) -> Iterable[tuple[_Bounds, TrafficSet]]:
        """The other end of a rule, with the packets for which that is it."""
        if entity.service is None:
            return [(self._end(entity, unsaid), ANY_TRAFFIC)]
        if self._context.backends is None:
            unsaid.append("a Service whose EndpointSlices are not given")
            return [(_Bounds(NOBODY, ANY_PEER), ANY_TRAFFIC)]
        return self._behind(entity.service, ingress)

    def _behind(self, service: ServiceMatch, ingress: bool) -> Iterable[tuple[_Bounds, TrafficSet]]:
        """Today's addresses behind a Service, for egress with their ports."""
        wanted = (service.namespace, service.name)
        by_port: dict[TrafficSet, list[Address]] = {}
        for backend in self._context.backends or ():
            if (backend.namespace, backend.service) == wanted:
                for traffic in [ANY_TRAFFIC] if ingress else map(_backend_traffic, backend.ports):
                    by_port.setdefault(traffic, []).append(backend.address)
        self._notes.assume(f"Service {service.namespace}/{service.name} keeps its endpoints, and these their labels")
        for traffic, addresses in by_port.items():
            yield covered(AddressSet.of_addresses(addresses), None, self._context).without_owned(self._context), traffic

    def _end(self, entity: EntityMatch, unsaid: list[str]) -> _Bounds:
        """Whom the conditions on one end match, but for Services and ports."""
        found = _Bounds(ANY_PEER, ANY_PEER)
        if entity.is_labelled(self._policy.namespace):
            found = self._labelled(entity.terms(self._policy.namespace), entity.field, unsaid)
        elif entity.not_selector is not None:
            found = found.without(self._labelled([entity.not_selector], entity.field, unsaid, is_taken=True))
        if entity.nets:
            found = found.common(self._nets(entity.nets, entity.field))
        if entity.not_nets:
            found = found.without(self._nets(entity.not_nets))
        return found

    def _labelled(self, terms: Sequence[Selector], place: str, unsaid: list[str], *, is_taken: bool = False) -> _Bounds:
        """Pods and network sets by label; of sets that are taken out it is not said what pods they cover."""
        found = pod_conjunctions(terms, place, self._context, self._notes) or ()
        visible = [conjunction for conjunction in found if not hidden_keys([conjunction], self._context)]
        pods = PeerSet(union_of_pods((tuple(visible),)))
        networks = self._set_networks(And(tuple(terms)), None if is_taken else place)
        if len(visible) == len(found):
            return networks.joined(pods)
        keys = hidden_keys(found, self._context)
        unsaid.append(f"a selector over {keys}, which Cilium leaves out of pod identities,")
        return _Bounds(networks.exact | pods, networks.wide | PeerSet(EVERY_POD))

    def _set_networks(self, wanted: Selector, place: str | None = None) -> _Bounds:
        """What the network sets that a selector matches cover; with a place it is said what that is inside."""
        sets = [one for one in self._context.sets if matches(wanted, one) and one.ref.kind != HOST_ENDPOINT]
        nets = [net for one in sets for net in one.nets if not one.problems]
        if not nets:
            return _Bounds(NOBODY, NOBODY)
        self._notes.assume("network sets keep their labels and addresses")
        return self._networks(nets, None, place)

    def _nets(self, nets: Sequence[Network], place: str | None = None) -> _Bounds:
        """What the networks of a rule cover; they are of one IP version, and so are the packets of the rule."""
        return self._networks(nets, nets[0].version, place)

    def _networks(self, nets: Sequence[Network], version: int | None, place: str | None) -> _Bounds:
        addresses = AddressSet.of(nets)
        if place is not None:
            split_blocks([Block(net) for net in nets], addresses, place, self._context, self._notes)
        elif self._context.pods or self._context.cluster.nodes:
            self._notes.assume("the pods and nodes whose addresses the CIDRs cover are those of the snapshot")
        return covered(addresses, version, self._context)

    def _in_families(self, peers: _Bounds, rule: CalicoRule, unsaid: list[str]) -> _Bounds:
        """The peers of the IP versions that the rule holds for."""
        families = rule.families
        if len(families) == 2:
            return peers
        cluster = self._context.cluster.ip_families or frozenset({4})
        everyone = cluster <= families and peers.wide.addresses >= _addresses_of(families)
        if len(cluster) == 1 and (peers.wide.has_insiders or everyone):
            self._notes.assume(f"the cluster has IPv{min(cluster)} addresses only")
        exact, wide = (_in_versions(one, families, cluster) for one in (peers.exact, peers.wide))
        if cluster <= families or not cluster & families or not exact.has_insiders or _one_family(rule):
            return _Bounds(exact, wide)
        unsaid.append("one IP version among pods and nodes that have both")
        return _Bounds(PeerSet(addresses=exact.addresses), wide)


def _in_versions(peers: PeerSet, families: Collection[int], cluster: frozenset[int]) -> PeerSet:
    """Peers with the addresses of some IP versions, of those that the cluster has."""
    kept = _addresses_of(families)
    addresses = peers.addresses & kept
    if not cluster & set(families):
        return PeerSet(addresses=addresses)
    if cluster <= set(families) and addresses == kept:
        addresses = AddressSet.everything()
    return PeerSet(peers.pods, addresses, peers.own_node, peers.other_nodes)


@lru_cache(maxsize=256)
def covered(addresses: AddressSet, version: int | None, context: Context) -> _Bounds:
    """What addresses cover for packets of one IP version or (None) of any, for the pods and nodes of the snapshot."""
    whole, part = context.pod_addresses.split(addresses, version)
    pods = [context.pods[index] for index in whole]
    networks = context.cluster.pod_networks
    everywhere = bool(networks) and networks <= addresses
    labelled, lost = select_exactly(pods, context, cluster_wide=everywhere) if pods else (NO_POD, ())
    if everywhere and not context.pods:
        labelled = EVERY_POD
    around = tuple(
        (Requirement(NAMESPACE_NAME, Operator.IN, (name,), Scope.NAMESPACE),)
        for name in sorted({pod.namespace for pod in (*lost, *(context.pods[index] for index in part))})
    )
    nodes, some_nodes = context.node_addresses.split(addresses, version)
    every, some = bool(nodes) and len(nodes) == len(context.cluster.nodes), bool(nodes or some_nodes)
    told = union_of_pods((tuple(map(_plain, labelled)),))
    return _Bounds(
        PeerSet(told, addresses, every, every), PeerSet(union_of_pods((told, around)), addresses, some, some)
    )


def _plain(conjunction: Conjunction) -> Conjunction:
    """A selector without what holds for every pod."""
    return tuple(requirement for requirement in conjunction if requirement != ANY_NAMESPACE)


@dataclass(frozen=True, slots=True)
class PortOwners:
    """Pods on which a port name is one number: those that labels tell, and those that may have it."""

    traffic: TrafficSet
    exact: PodSet
    wide: PodSet


def numbered(name: str, protocol: str, pods: PodSet, context: Context, notes: Notes) -> Iterable[PortOwners]:
    """The numbers that a port name has on some pods of today, and labels that tell these pods."""
    found: dict[int, list[Pod]] = {}
    for pod in context.pods:
        if any(all(r.matches(pod.labels_of(r.scope)) for r in conjunction) for conjunction in pods):
            for port in pod.named_ports:
                if (port.name, port.protocol) == (name, protocol):
                    found.setdefault(port.port, []).append(pod)
    numbers = " and ".join(str(number) for number in sorted(found)) or "no number (no pod has it)"
    notes.find("POL-NAMED-PORT", f'port "{name}" is {numbers} on the pods of today; numbers were written')
    notes.assume(f'pods keep their labels and the number of port "{name}"')
    for number, owners in sorted(found.items()):
        labelled, lost = select_exactly(owners, context)
        if lost:
            _note_lost(name, lost, context, notes)
        traffic = TrafficSet.of([(protocol, IntervalSet(((number, number),)))])
        yield PortOwners(traffic, labelled, union_of_pods((labelled, look_alikes(lost, context))))


def _note_lost(name: str, lost: Sequence[Pod], context: Context, notes: Notes) -> None:
    notes.find(
        "POL-NAMED-PORT",
        f'port "{name}": no labels tell {lost[0]} from pods without this port, so some flows to such pods are denied',
        effect=context.changes(Effect.NARROWS),
        on_intent=Effect.NARROWS,
        result=Result.CHANGED,
    )


def as_peer_set(peers: Peers, addresses: AddressSet) -> PeerSet:
    """Cilium's peers as a set; `addresses` are those of its blocks."""
    if "all" in peers.entities:
        return ANY_PEER
    return PeerSet(
        union_of_pods((peers.endpoints,)) if peers.endpoints else NO_POD,
        addresses if peers.blocks else AddressSet(),
        "host" in peers.entities,
        "remote-node" in peers.entities,
    )


def _addresses_of(families: Collection[int]) -> AddressSet:
    """All addresses of some IP versions."""
    everything, nothing = AddressSet.everything(), IntervalSet()
    return AddressSet(everything.v4 if 4 in families else nothing, everything.v6 if 6 in families else nothing)


def _backend_traffic(port: tuple[str, str, int | None]) -> TrafficSet:
    """One port of a Service's endpoints; without a number it matches nothing (felix/serviceindex)."""
    _, protocol, number = port
    return NO_TRAFFIC if number is None else TrafficSet.of([(protocol, IntervalSet(((number, number),)))])


def _one_family(rule: CalicoRule) -> bool:
    """Whether the packets of a rule are of one IP version by themselves."""
    return rule.protocol in ICMP_PROTOCOLS


def boxes(pods: PodSet, peers: PeerSet, packets: Packets, ingress: bool, *, sure: bool) -> Region:
    """The flows that surely match, or those that may match."""
    limits = packets.exact if sure else packets.wide
    found = [Box(pods, peers, limits & packets.numbers)]
    for one in packets.names:
        owners = one.exact if sure else one.wide
        own = common_pods(pods, owners) if ingress else pods
        found.append(Box(own, peers if ingress else PeerSet(common_pods(peers.pods, owners)), limits & one.traffic))
    return tuple(box for box in found if box)


def _limits(rule: CalicoRule, unsaid: list[str]) -> tuple[TrafficSet, TrafficSet]:
    """Packets that surely match and that may match as far as anything but `destination.ports` says."""
    source, destination = rule.source, rule.destination
    found = _protocols(rule)
    if destination.not_ports:
        found -= _to_ports(_numbers(destination.not_ports))
    exact, wide = _icmp(rule, found, unsaid)
    if any(isinstance(port, str) for port in destination.not_ports):
        unsaid.append("a name among destination.notPorts")
        exact = NO_TRAFFIC
    if source.ports or source.not_ports:
        unsaid.append("source.ports" if source.ports else "source.notPorts")
        exact = NO_TRAFFIC
    return exact, wide


def _numbered(rule: CalicoRule) -> TrafficSet:
    """What the numbers among the destination's ports say."""
    return _to_ports(_numbers(rule.destination.ports)) if rule.destination.ports else ANY_TRAFFIC


def _to_ports(numbers: IntervalSet) -> TrafficSet:
    return TrafficSet.of((protocol, numbers) for protocol in PORT_PROTOCOLS)


def _numbers(ports: Sequence[PortRange | str]) -> IntervalSet:
    return IntervalSet.of((port.low, port.high) for port in ports if isinstance(port, PortRange))


def _protocols(rule: CalicoRule) -> TrafficSet:
    found = ANY_TRAFFIC
    if rule.protocol is not None:
        found = _protocol(rule.protocol)
    elif rule.icmp is not None or rule.not_icmp is not None:
        found = TrafficSet.whole(*ICMP_PROTOCOLS)
    if rule.not_protocol is not None:
        found -= _protocol(rule.not_protocol)
    return found


def _protocol(name: str) -> TrafficSet:
    if name in (*PORT_PROTOCOLS, *ICMP_PROTOCOLS):
        return TrafficSet.whole(name)
    number = PROTOCOL_NUMBERS.get(name) or int(name)
    return TrafficSet.of([(OTHER, IntervalSet(((number, number),)))])


def _icmp(rule: CalicoRule, found: TrafficSet, unsaid: list[str]) -> tuple[TrafficSet, TrafficSet]:
    """The packets that surely match the rule's ICMP conditions and those that may."""
    exact = wide = found
    if rule.icmp is not None and rule.icmp.type is not None:
        one = IntervalSet(((rule.icmp.type, rule.icmp.type),))
        exact = wide = found & TrafficSet.of((protocol, one) for protocol in ICMP_PROTOCOLS)
        if rule.icmp.code is not None:
            unsaid.append("icmp.code")
            exact = NO_TRAFFIC
    if rule.not_icmp is not None and rule.not_icmp.type is not None:
        one = IntervalSet(((rule.not_icmp.type, rule.not_icmp.type),))
        less = TrafficSet.of((protocol, one) for protocol in ICMP_PROTOCOLS)
        exact -= less
        if rule.not_icmp.code is None:
            wide -= less
        else:
            unsaid.append("notICMP.code")
    return exact, wide
