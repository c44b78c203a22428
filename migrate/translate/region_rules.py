"""Regions of flows as Cilium's rules: few, readable, one canonical form per meaning.

Facts (measured on Cilium 1.18.8 and 1.20.2): ICMP type 0 means the whole family, so it stands for that and never for
itself; an ingress deny that names the entity host would also cut the kubelet's probes, which Calico never polices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from migrate.model.addresses import AddressSet, Network
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.selectors import Conjunction
from migrate.translate.objects import ANYONE, Block, CiliumRule, IcmpType, Peers, Port
from migrate.translate.profiles import Profile
from migrate.translate.regions import (
    ANY_PEER,
    ANY_TRAFFIC,
    EVERY_POD,
    ICMP_PROTOCOLS,
    OTHER,
    PORT_PROTOCOLS,
    Box,
    PeerSet,
    PodSet,
    TrafficSet,
    union_of_pods,
)
from migrate.translate.selectors import ANY_NAMESPACE, in_namespaces

_ICMP_FAMILY = {"ICMP": "IPv4", "ICMPv6": "IPv6"}
_LAST_TYPE = 254
_TYPES = IntervalSet(((1, _LAST_TYPE),))
_FEW = 20


def by_pods(boxes: Iterable[Box]) -> dict[PodSet, list[Box]]:
    """Boxes by the pods that they are about, joined where they differ in peers or in traffic only."""
    found: dict[PodSet, list[Box]] = {}
    for box in boxes:
        found.setdefault(box.pods, []).append(box)
    return {pods: _joined(some) for pods, some in found.items()}


def _joined(boxes: Sequence[Box]) -> list[Box]:
    by_traffic: dict[TrafficSet, PeerSet] = {}
    for box in boxes:
        by_traffic[box.traffic] = by_traffic.get(box.traffic, PeerSet()) | box.peers
    by_peers: dict[PeerSet, TrafficSet] = {}
    for traffic, peers in by_traffic.items():
        by_peers[peers] = by_peers.get(peers, TrafficSet()) | traffic
    return [Box(boxes[0].pods, peers, traffic) for peers, traffic in by_peers.items()]


def rules_of(
    boxes: Iterable[Box], direction: Direction, namespace: str | None, profile: Profile, *, deny: bool = False
) -> list[CiliumRule]:
    """The rules for boxes of the same pods, in a CNP of a namespace or (None) in a CCNP."""
    found: list[CiliumRule] = []
    for box in boxes:
        peers = box.peers
        if deny and direction is Direction.INGRESS:
            peers = PeerSet(peers.pods, peers.addresses, False, peers.other_nodes)
        ends = written_peers(peers, namespace)
        if not ends:
            continue
        if box.traffic == ANY_TRAFFIC:
            found.append(CiliumRule(direction, ends, deny=deny))
            continue
        ports, icmp = _ports(box.traffic, profile), _icmp(box.traffic, profile)
        if ports or icmp:
            found.append(CiliumRule(direction, ends, ports or None, icmp or None, deny=deny))
    return found


def written_peers(peers: PeerSet, namespace: str | None) -> Peers:
    """Peers in Cilium's words."""
    if peers == ANY_PEER:
        return ANYONE
    entities: list[str] = []
    if peers.own_node:
        entities.append("host")
    if peers.other_nodes:
        entities.append("remote-node")
    blocks: tuple[Block, ...] = ()
    if peers.addresses == AddressSet.everything():
        entities.append("world")
    else:
        blocks = blocks_of(peers.addresses)
    return Peers(_endpoints(peers.pods, namespace), blocks, tuple(entities))


def _endpoints(pods: PodSet, namespace: str | None) -> tuple[Conjunction, ...]:
    if pods == EVERY_POD:
        return ((ANY_NAMESPACE,),)
    return tuple(in_namespaces(conjunction) for conjunction in union_of_pods((pods,)))


def blocks_of(addresses: AddressSet) -> tuple[Block, ...]:
    """Addresses as prefixes with exceptions where that is shorter than prefixes alone."""
    found: list[Block] = []
    for networks in (addresses.v4, addresses.v6):
        four = networks is addresses.v4
        part = AddressSet(networks, IntervalSet()) if four else AddressSet(IntervalSet(), networks)
        found += _blocks(part, 4 if four else 6)
    return tuple(found)


def _blocks(addresses: AddressSet, family: int) -> list[Block]:
    plain = addresses.networks()
    if len(plain) < 2:
        return [Block(network) for network in plain]
    around = _around(plain, family)
    holes = (AddressSet.of([around]) - addresses).networks()
    if len(holes) + 1 < len(plain):
        return [Block(around, holes)]
    return [Block(network) for network in plain]


def _around(networks: Sequence[Network], family: int) -> Network:
    """The smallest prefix that holds all of the networks."""
    low = min(int(network.network_address) for network in networks)
    high = max(int(network.broadcast_address) for network in networks)
    bits = 32 if family == 4 else 128
    length = bits - (low ^ high).bit_length()
    start = low >> (bits - length) << (bits - length)
    return IPv4Network((start, length)) if family == 4 else IPv6Network((start, length))


def _ports(traffic: TrafficSet, profile: Profile) -> tuple[Port, ...]:
    found: list[Port] = []
    for protocol in PORT_PROTOCOLS:
        if protocol == "SCTP" and not profile.sctp:
            continue
        if traffic.holds_all(protocol):
            found.append(Port(protocol, 0))
            continue
        for low, high in traffic.values(protocol):
            first = max(low, 1)
            if first <= high:
                found.append(Port(protocol, first, high if high > first else None))
    return tuple(found)


def _icmp(traffic: TrafficSet, profile: Profile) -> tuple[IcmpType, ...]:
    if not profile.icmp_rules:
        return ()
    return tuple(
        IcmpType(_ICMP_FAMILY[protocol], kind) for protocol in ICMP_PROTOCOLS for kind in _types(traffic, protocol)
    )


def _types(traffic: TrafficSet, protocol: str) -> Iterable[int]:
    if traffic.holds_all(protocol):
        return (0,)
    ranges = traffic.values(protocol)
    return (kind for low, high in ranges for kind in range(max(low, 1), min(high, _LAST_TYPE) + 1))


def said(traffic: TrafficSet, profile: Profile) -> TrafficSet:
    """What of some traffic rules can name."""
    if traffic == ANY_TRAFFIC:
        return traffic
    found = TrafficSet.of((p, v) for p, v in traffic.parts if p in PORT_PROTOCOLS and (p != "SCTP" or profile.sctp))
    if profile.icmp_rules:
        types = ((p, v) for p, v in traffic.parts if p in ICMP_PROTOCOLS)
        found |= TrafficSet.of((p, v if traffic.holds_all(p) else v & _TYPES) for p, v in types)
    return found


def lost_words(lost: TrafficSet) -> str:
    """Traffic that cannot be named, for a message."""
    return ", ".join(_lost_word(protocol, values) for protocol, values in lost.parts)


def _lost_word(protocol: str, values: IntervalSet) -> str:
    if protocol in ICMP_PROTOCOLS and values != TrafficSet.whole(protocol).values(protocol):
        return f"{protocol} type {' and '.join(_range(low, high) for low, high in values)}"
    if protocol == OTHER:
        few = values.size() < _FEW
        return (
            f"IP protocol {', '.join(_range(*r) for r in values)}" if few else "protocols other than TCP, UDP and ICMP"
        )
    return protocol


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
