"""Packets cut into atoms that no rule in play can tell apart: protocol × port × source port, ICMP type × code.

An atom is one bit; the atoms of a protocol lie side by side, destination ports first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from migrate.model.flow import ICMP, ICMPV6, Packet
from migrate.model.intervals import IntervalSet
from migrate.model.ruleset import PortSet, Traffic
from migrate.verify.bits import bits, lowest, members, union

WITH_PORTS = (6, 17, 132)
_USUAL = (6, 17, ICMP, ICMPV6, 132)
_FAMILY = {ICMP: 4, ICMPV6: 6}


@dataclass(slots=True)
class PacketReads:
    """What rules look at in packets. Filled before the atoms are made; named ports come in as their numbers."""

    ports: set[int] = field(default_factory=lambda: {0})
    source_ports: set[int] = field(default_factory=lambda: {0})
    types: set[int] = field(default_factory=lambda: {0})
    codes: set[int] = field(default_factory=lambda: {0})
    protocols: set[int] = field(default_factory=set)

    def traffic(self, traffic: Traffic) -> None:
        """Note the boundaries of one value."""
        for ports, cuts in (
            (traffic.ports, self.ports),
            (traffic.not_ports, self.ports),
            (traffic.source_ports, self.source_ports),
            (traffic.not_source_ports, self.source_ports),
        ):
            if ports is not None:
                _cut(cuts, ports.numbers, 65535)
        for low, high in traffic.protocols or ():
            self.protocols |= {point for point in (low, high + 1) if point <= 255}
        for kind, code in (*(traffic.icmp or ()), *(traffic.not_icmp or ())):
            _cut(self.types, IntervalSet(((kind, kind),)), 255)
            if code is not None:
                _cut(self.codes, IntervalSet(((code, code),)), 255)

    def number(self, number: int) -> None:
        """Note the number of a named port."""
        for cuts in (self.ports, self.source_ports):
            _cut(cuts, IntervalSet(((number, number),)), 65535)


def _cut(cuts: set[int], numbers: IntervalSet, top: int) -> None:
    cuts |= {point for low, high in numbers for point in (low, high + 1) if point <= top}


@dataclass(frozen=True, slots=True)
class Atom:
    """A box of packets: its lowest corner, its highest port, and how many packets it holds."""

    protocol: int
    port: int
    last_port: int
    source_port: int
    code: int
    size: int

    def packet(self) -> Packet:
        """One packet of it; not one to port 0, which nobody uses, if there is another."""
        port = 1 if self.port == 0 < self.last_port and self.protocol in WITH_PORTS else self.port
        return Packet(self.protocol, port, self.source_port, self.code)


class Packets:
    """All atoms, in order."""

    def __init__(self, reads: PacketReads) -> None:
        self._ports, self._sources = sorted(reads.ports), sorted(reads.source_ports)
        self._types, self._codes = sorted(reads.types), sorted(reads.codes)
        named = {1, 6, 17, 58, 132}
        edges = {0, *reads.protocols, *named, *(number + 1 for number in named)}
        self.protocols = [point for point in sorted(edges) if point <= 255]
        self.atoms: list[Atom] = []
        self._start: dict[int, int] = {}
        for index, protocol in enumerate(self.protocols):
            end = self.protocols[index + 1] if index + 1 < len(self.protocols) else 256
            self._start[protocol] = len(self.atoms)
            self.atoms += self._boxes(protocol, end - protocol)
        self.everything = (1 << len(self.atoms)) - 1
        self._by_usage = [self._of_protocols({protocol}) for protocol in _USUAL]
        self._by_usage.append(self._of_protocols(set(self.protocols) - set(_USUAL)))
        self.of_family = {family: self._family_mask(family) for family in (4, 6)}
        self._masks: dict[Traffic, int] = {}

    def _boxes(self, protocol: int, count: int) -> list[Atom]:
        if protocol in WITH_PORTS:
            return [
                Atom(protocol, port, port + ports - 1, source, 0, ports * sources)
                for port, ports in _sizes(self._ports, 65536)
                for source, sources in _sizes(self._sources, 65536)
            ]
        if protocol in _FAMILY:
            return [
                Atom(protocol, kind, kind + kinds - 1, 0, code, kinds * codes)
                for kind, kinds in _sizes(self._types, 256)
                for code, codes in _sizes(self._codes, 256)
            ]
        return [Atom(protocol, 0, 0, 0, 0, count)]

    def _of_protocols(self, protocols: set[int]) -> int:
        return bits(index for index, atom in enumerate(self.atoms) if atom.protocol in protocols)

    def _family_mask(self, family: int) -> int:
        return bits(i for i, atom in enumerate(self.atoms) if _FAMILY.get(atom.protocol, family) == family)

    def example(self, atoms: int) -> Packet:
        """The packet by which a person knows best what some atoms are about: TCP before UDP before all others."""
        chosen = next(found for protocols in self._by_usage if (found := atoms & protocols))
        return self.atoms[lowest(chosen)].packet()

    def where(self, packet: Packet) -> int:
        """The index of the atom that holds a packet."""
        protocol = self.protocols[bisect_right(self.protocols, packet.protocol) - 1]
        start = self._start[protocol]
        if protocol in WITH_PORTS:
            row = bisect_right(self._ports, packet.port) - 1
            return start + row * len(self._sources) + bisect_right(self._sources, packet.source_port) - 1
        if protocol in _FAMILY:
            row = bisect_right(self._types, packet.port) - 1
            return start + row * len(self._codes) + bisect_right(self._codes, packet.code) - 1
        return start

    def mask(self, traffic: Traffic) -> int:
        """The atoms of a value without port names."""
        found = self._masks.get(traffic)
        if found is None:
            wanted = (p for p in self.protocols if traffic.protocols is None or p in traffic.protocols)
            found = self._masks[traffic] = union(self._of_protocol(protocol, traffic) for protocol in wanted)
        return found

    def _of_protocol(self, protocol: int, traffic: Traffic) -> int:
        start = self._start[protocol]
        if protocol in WITH_PORTS:
            return 0 if traffic.icmp is not None else self._grid(traffic) << start
        if traffic.ports is not None or traffic.source_ports is not None:
            return 0
        if protocol in _FAMILY:
            return self._messages(traffic) << start
        return 0 if traffic.icmp is not None else 1 << start

    def _grid(self, traffic: Traffic) -> int:
        """The atoms of one protocol with ports, the first at bit 0."""
        ports = _pieces(self._ports, traffic.ports, traffic.not_ports)
        sources = _pieces(self._sources, traffic.source_ports, traffic.not_source_ports)
        return union(sources << row * len(self._sources) for row in members(ports))

    def _messages(self, traffic: Traffic) -> int:
        """The atoms of one ICMP protocol, the first at bit 0."""
        found = 0
        for row, kind in enumerate(self._types):
            for column, code in enumerate(self._codes):
                wanted = traffic.icmp is None or _icmp(traffic.icmp, kind, code)
                if wanted and not (traffic.not_icmp and _icmp(traffic.not_icmp, kind, code)):
                    found |= 1 << (row * len(self._codes) + column)
        return found


def _icmp(pairs: tuple[tuple[int, int | None], ...], kind: int, code: int) -> bool:
    return any(kind == wanted and number in (None, code) for wanted, number in pairs)


def _pieces(cuts: list[int], ports: PortSet | None, forbidden: PortSet | None) -> int:
    """The pieces between cuts that are wanted and not forbidden, as bits."""
    wanted = (1 << len(cuts)) - 1 if ports is None else _inside(cuts, ports.numbers)
    return wanted if forbidden is None else wanted & ~_inside(cuts, forbidden.numbers)


def _inside(cuts: list[int], numbers: IntervalSet) -> int:
    ranges = ((bisect_left(cuts, low), bisect_right(cuts, high)) for low, high in numbers)
    return union((1 << last) - (1 << first) for first, last in ranges if first < last)


def _sizes(cuts: list[int], top: int) -> list[tuple[int, int]]:
    ends = [*cuts[1:], top]
    return [(low, end - low) for low, end in zip(cuts, ends, strict=True)]
