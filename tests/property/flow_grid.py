"""Concrete flows of a small cluster around every border that its rules draw, and where the class engine puts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from random import Random

from migrate.model.addresses import parse_address
from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP, End, EndKind, Flow, Packet
from migrate.model.ruleset import Place, ends_of
from migrate.verify.compare import Change, Comparison
from migrate.verify.simulate import Simulator

_UDPLITE, _GRE = 136, 47
_FAMILY = {ICMP: 4, ICMPV6: 6}
_LOWEST = {4: "0.0.0.1", 6: "::1"}
_HIGHEST = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}


@dataclass(frozen=True)
class Grid:
    """All ends of a cluster with the addresses outside that are given, and all packets with the numbers given."""

    cluster: Cluster
    outside: tuple[str, ...] = ()
    ports: tuple[int, ...] = (0, 80, 65535)
    source_ports: tuple[int, ...] = (0,)
    types: tuple[int, ...] = (0, 8, 255)
    codes: tuple[int, ...] = (0,)

    @cached_property
    def ends(self) -> tuple[End, ...]:
        """Every pod and node by each address, then the outside."""
        inside = ends_of(self.cluster)
        server = self.cluster.api_server
        wanted = {str(parse_address(text)) for text in (*self.outside, *map(str, server), *_LOWEST.values())}
        others = [parse_address(text) for text in sorted({*wanted, *_HIGHEST.values()}) if text not in inside]
        return (*inside.values(), *(End(EndKind.OUTSIDE, one, api_server=one in server) for one in others))

    @cached_property
    def packets(self) -> tuple[Packet, ...]:
        """Every protocol that rules tell apart, and one that they do not, at every number."""
        numbers = product((TCP, UDP, SCTP), self.ports, self.source_ports)
        messages = product((ICMP, ICMPV6), self.types, self.codes)
        return (
            *(Packet(protocol, port, source) for protocol, port, source in numbers),
            *(Packet(protocol, kind, code=code) for protocol, kind, code in messages),
            *(Packet(protocol) for protocol in (0, _GRE, _UDPLITE, 255)),
        )

    def flows(self, chance: Random, packets: int) -> Iterator[Flow]:
        """Each pair of ends that can talk and that a pod is part of, with some of the packets."""
        for source, destination in product(self.ends, self.ends):
            version = source.address.version
            if version != destination.address.version or not _policed(source, destination):
                continue
            possible = [packet for packet in self.packets if _FAMILY.get(packet.protocol, version) == version]
            for packet in chance.sample(possible, min(packets, len(possible))):
                yield Flow(source, destination, packet)

    def swap(self, flow: Flow, first: Pod, second: Pod) -> Flow:
        """The same flow with another pod in place of one."""
        source, destination = (self._instead(end, first, second) for end in (flow.source, flow.destination))
        return Flow(source, destination, flow.packet)

    def _instead(self, end: End, first: Pod, second: Pod) -> End:
        if end.pod != first:
            return end
        (found,) = (e for e in self.ends if e.pod == second and e.address.version == end.address.version)
        return found


def _policed(source: End, destination: End) -> bool:
    """Whether one end is a pod, and the other is not the same pod."""
    if source.pod is None and destination.pod is None:
        return False
    return source.pod != destination.pod


def boxes_with(flow: Flow, comparison: Comparison, changes: Iterable[Change]) -> list[Change]:
    """The boxes of changed flows that a flow lies in."""
    source = _bit(flow.source, flow.destination, comparison)
    destination = _bit(flow.destination, flow.source, comparison)
    packet = 1 << comparison.packets.where(flow.packet)
    return [box for box in changes if box.sources & source and box.destinations & destination and box.packets & packet]


def _bit(end: End, peer: End, comparison: Comparison) -> int:
    """The one bit that stands for an end, seen from its peer."""
    space = comparison.space
    if end.pod is not None:
        (group,) = (group for group in space.pod_classes if end.pod in group.pods)
        (index,) = (i for i in group.ends if space.ends[i].end.address.version == end.address.version)
        return 1 << index
    if end.node is not None:
        return _node_bit(end, peer, comparison)
    return _outside_bit(end, comparison)


def _node_bit(end: End, peer: End, comparison: Comparison) -> int:
    space = comparison.space
    place = Place.OWN_NODE if end.node_name == peer.node_name else Place.OTHER_NODE
    found = [
        1 << index
        for index, entry in enumerate(space.ends)
        if entry.place is place
        and end.node in space.node_classes[entry.owner].nodes
        and space.alike(entry.end.address, end.address)
    ]
    (bit,) = found
    return bit


def _outside_bit(end: End, comparison: Comparison) -> int:
    """The piece with the greatest first address that is not above; an API server's address is a piece of its own."""
    pieces = [
        (int(entry.end.address), index)
        for index, entry in enumerate(comparison.space.ends)
        if entry.place is Place.OUTSIDE
        and entry.end.address.version == end.address.version
        and entry.end.api_server == end.api_server
        and entry.end.address <= end.address  # type: ignore[operator]
    ]
    return 1 << max(pieces)[1]


def verdicts(flow: Flow, before: Simulator, after: Simulator) -> tuple[str, str]:
    """What both engines say."""
    return before.answer(flow).verdict, after.answer(flow).verdict
