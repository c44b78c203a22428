"""IP sets that answer at once whether a packet is a member, by the kernel's rules of precedence.

Source: Linux 6.12, net/netfilter/ipset/ (ip_set_hash_gen.h, ip_set_core.c and a file for each type).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP
from migrate.model.ip_sets import (
    AddressSpan,
    DeviceName,
    IpSet,
    IpSets,
    MarkBits,
    Member,
    Part,
    ProtocolIcmp,
    ProtocolPort,
    SetName,
)
from migrate.model.node_state import End
from migrate.nodes.netfilter.passing import ALL_BITS, Passing

Answer: TypeAlias = bool | None
"""Whether something holds for a packet; None where nothing tells."""
Atom: TypeAlias = "int | str | tuple[int, int | None]"
"""A dimension of a packet, to be looked up: an address or mark, a device, or a protocol with its port."""
Key: TypeAlias = "tuple[Atom, ...]"
Widths: TypeAlias = "tuple[int, ...]"

_WITH_PORTS = frozenset({TCP, UDP, SCTP, 136})
_ADDRESS = frozenset({"ip", "net"})
_BITMAP_FAMILY = 4
_UNSEEN = "not looked up yet"
_MOST_KNOWN = 100_000
"""Answers that are kept for a set."""


class Sets:
    """The sets of a node. Those that are not in the dump, or hold what is not understood, give no answer."""

    def __init__(self, sets: IpSets | None) -> None:
        self._sets = {} if sets is None else sets.by_name()
        self._indexes: dict[str, _Index | None] = {}

    def holds(self, name: str, ends: tuple[End, ...], passing: Passing, nomatch_only: bool = False) -> Answer:
        """Whether a packet's ends are a member. `nomatch_only` asks for the exceptions of a set instead."""
        found = self._sets.get(name)
        if found is None or name in passing.touched:
            return None
        if found.kind != "list:set":
            return self._tested(found, ends, passing, nomatch_only)
        answers = [self._of_list(member, ends, passing, nomatch_only) for member in found.members]
        return True if True in answers else None if None in answers or found.unread else False

    def _of_list(self, member: Member, ends: tuple[End, ...], passing: Passing, nomatch_only: bool) -> Answer:
        """What one set of a list says. A list is never a member of another."""
        name = member.parts[0]
        found = self._sets.get(name.name) if isinstance(name, SetName) else None
        if found is None or found.name in passing.touched or found.kind == "list:set":
            return None
        return self._tested(found, ends, passing, nomatch_only)

    def _tested(self, found: IpSet, ends: tuple[End, ...], passing: Passing, nomatch_only: bool) -> Answer:
        if found.name not in self._indexes:
            self._indexes[found.name] = _index(found)
        index = self._indexes[found.name]
        return None if index is None else index.holds(ends, passing, nomatch_only)


@dataclass(slots=True)
class _Index:
    """The members of a set by how wide their networks are, the narrowest first.

    `masks` cut the packet's dimensions before they are looked up, `spans` are members that stand for several keys.
    """

    of: IpSet
    kinds: tuple[str, ...]
    family: int | None
    masks: tuple[int, ...]
    exceptions: bool
    tables: dict[Widths, dict[Key, bool]] = field(default_factory=dict)
    spans: list[Member] = field(default_factory=list)
    devices: dict[int, dict[int, list[Member]]] = field(default_factory=dict)
    order: tuple[Widths, ...] = ()
    known: dict[Key, bool | None] = field(default_factory=dict)

    def holds(self, ends: tuple[End, ...], passing: Passing, nomatch_only: bool) -> Answer:
        """Whether the packet is a member."""
        kinds = self.kinds
        if len(ends) < len(kinds) or self.family not in (None, passing.version) or not self.of.members:
            return False
        found: list[Atom] = []
        for kind, end, mask in zip(kinds, ends, self.masks, strict=False):
            atom = _atom(self.of.kind, kind, end, passing)
            if atom is None or atom is False:
                return atom
            found.append(atom & mask if isinstance(atom, int) else atom)
        key = tuple(found)
        hit = self.known.get(key, _UNSEEN)
        if isinstance(hit, str):
            hit = self._hit_of_device(key) if self.devices else self._hit(key, _bits(passing.version))
            if len(self.known) < _MOST_KNOWN:
                self.known[key] = hit
        if hit is None:
            return False
        return hit is not (nomatch_only and self.exceptions)

    def _hit(self, key: Key, bits: int) -> bool | None:
        """Whether the member that decides is no exception; None when there is none."""
        for widths in self.order:
            cut = tuple(_cut(atom, width, bits) for atom, width in zip(key, widths, strict=True))
            hit = self.tables[widths].get(cut)
            if hit is not None:
                return hit
        return next((not member.nomatch for member in self.spans if _spans(member, key)), None)

    def _hit_of_device(self, key: Key) -> bool | None:
        """As `_hit` for networks with interfaces: the narrowest network decides, whatever its interfaces are."""
        address, device = key
        for width in sorted(self.devices, reverse=True):
            members = self.devices[width].get(int(_cut(address, width, _bits(self.family or 4))))  # type: ignore[arg-type]
            if members is not None:
                hits = [not member.nomatch for member in members if _has_device(member, str(device))]
                return hits[0] if hits else None
        return None


def _index(found: IpSet) -> _Index | None:
    """A set made ready; None when something of it is not understood."""
    if found.unread:
        return None
    family = _BITMAP_FAMILY if found.kind.startswith("bitmap:ip") else found.family
    index = _Index(found, found.dimensions, family, _masks(found), exceptions="net" in found.dimensions)
    for member in found.members:
        if found.kind == "hash:net,iface":
            network, device = member.parts
            if not isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network):
                return None
            by_address = index.devices.setdefault(network.prefixlen, {})
            by_address.setdefault(int(network.network_address), []).append(member)
            if isinstance(device, DeviceName) and device.bridged:
                return None
            continue
        atoms = [_of_part(part) for part in member.parts]
        if any(isinstance(part, ProtocolIcmp) and part.type is None for part in member.parts):
            return None
        known = [atom for atom in atoms if atom is not None]
        if len(known) < len(atoms):
            index.spans.append(member)
            continue
        widths = tuple(width for _, width in known)
        index.tables.setdefault(widths, {})[tuple(atom for atom, _ in known)] = not member.nomatch
    index.order = tuple(sorted(index.tables, reverse=True))
    return index


def _masks(found: IpSet) -> tuple[int, ...]:
    """For each dimension the bits of a packet's number that count."""
    options = dict(found.options)
    bits = _bits(found.family or 4)
    everything = (1 << bits) - 1
    narrow = everything
    netmask, bitmask, markmask = (options.get(name) for name in ("netmask", "bitmask", "markmask"))
    if netmask:
        narrow = everything ^ ((1 << bits - int(netmask)) - 1) if netmask.isdecimal() else _number(netmask)
    elif bitmask:
        narrow = _number(bitmask)
    marks = ALL_BITS if not markmask else int(markmask, 0)
    return tuple(narrow if kind in _ADDRESS else marks for kind in found.dimensions)


def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))


def _bits(version: int) -> int:
    return 32 if version == 4 else 128


def _cut(atom: Atom, width: int, bits: int) -> Atom:
    """An address without the bits behind a prefix; what is no address has width -1 and stays."""
    if width < 0 or width == bits or not isinstance(atom, int):
        return atom
    return atom >> bits - width << bits - width


def _of_part(part: Part) -> tuple[Atom, int] | None:
    """What a packet must have to be this dimension of a member, and the prefix's width; None for a span."""
    if isinstance(part, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return int(part.network_address), part.prefixlen
    if isinstance(part, ProtocolPort):
        if part.ports is None:
            return (part.protocol, 0), -1
        return ((part.protocol, part.ports[0]), -1) if part.ports[0] == part.ports[1] else None
    if isinstance(part, ProtocolIcmp):
        return (part.protocol, (part.type or 0) << 8 | (part.code or 0)), -1
    if isinstance(part, MarkBits):
        return part.value, -1
    if isinstance(part, tuple):
        return (part[0], -1) if part[0] == part[1] else None
    return None


def _spans(member: Member, key: Key) -> bool:
    return all(_covers(part, atom) for part, atom in zip(member.parts, key, strict=False))


def _covers(part: Part, atom: Atom) -> bool:
    """Whether a dimension of a packet lies in one of a member."""
    if isinstance(part, AddressSpan):
        return isinstance(atom, int) and int(part.low) <= atom <= int(part.high)
    if isinstance(part, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return isinstance(atom, int) and _cut(atom, part.prefixlen, part.max_prefixlen) == int(part.network_address)
    if isinstance(part, ProtocolPort) and part.ports is not None:
        return isinstance(atom, tuple) and atom[0] == part.protocol and part.ports[0] <= (atom[1] or 0) <= part.ports[1]
    if isinstance(part, tuple):
        return isinstance(atom, int) and part[0] <= atom <= part[1]
    plain = _of_part(part)
    return plain is not None and plain[0] == atom


def _has_device(member: Member, device: str) -> bool:
    part = member.parts[1]
    if not isinstance(part, DeviceName):
        return False
    return device.startswith(part.name) if "wildcard" in member.options else device == part.name


def _atom(of: str, kind: str, end: End, passing: Passing) -> Atom | bool | None:
    """A dimension of a packet; None where nothing tells, False where the packet has none such."""
    read = _READ.get(kind)
    if read is None:
        return None
    if of == "bitmap:port":
        ports = _port(end, passing)
        return ports if not isinstance(ports, tuple) else ports[1] if ports[0] in (TCP, UDP) else False
    return read(end, passing)


def _port(end: End, passing: Passing) -> Atom | bool | None:
    """Protocol and port; ICMP has its type and code in the port's place, and protocols without ports have 0."""
    protocol = passing.protocol
    if protocol in (ICMP, ICMPV6):
        return None if passing.icmp is None else (protocol, passing.icmp[0] << 8 | passing.icmp[1])
    if protocol not in _WITH_PORTS:
        return protocol, 0
    port = passing.ends.source_port if end is End.SOURCE else passing.ends.destination_port
    return None if port is None else (protocol, port)


def _address(end: End, passing: Passing) -> Atom | None:
    return passing.ends.source if end is End.SOURCE else passing.ends.destination


def _device(end: End, passing: Passing) -> Atom | bool | None:
    device = passing.came_by if end is End.SOURCE else passing.leaves_by
    return False if device == "" else device


_READ: Mapping[str, Callable[[End, Passing], Atom | bool | None]] = {
    "ip": _address,
    "net": _address,
    "port": _port,
    "iface": _device,
    "mark": lambda _end, passing: passing.mark,
}
