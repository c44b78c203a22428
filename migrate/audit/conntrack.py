"""The kernel's connection tracking, read by netlink: what stands, and the true ends of a translated connection.

It has a parser of its own because pyroute2's takes about 0.5 ms for each entry, fifty times as long.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from migrate.audit import netlink
from migrate.audit.kernel import ProbeError
from migrate.audit.layout import Address
from migrate.audit.netlink import Netlink, attribute, attributes, nest

ESTABLISHED = 3
"""State of a TCP connection in conntrack, by nf_conntrack_tcp.h."""
SEEN_REPLY, ASSURED, CONFIRMED, SOURCE_TRANSLATED, DESTINATION_TRANSLATED = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
"""Bits of `status`."""

_GET = 0x0101
_FAMILIES = (2, 10)
_ICMP, _TCP, _ICMPV6 = 1, 6, 58
_ICMP_ANSWER = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
_ICMPV6_ANSWER = {128: 129, 129: 128}
# nfnetlink_conntrack.h
_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_INFO, _ZONE, _FILTER = 1, 2, 3, 4, 18, 25
_FILTER_FLAGS = {_ORIGINAL: 1, _REPLY: 2}
_FILTER_SOURCE = 1 << 0
_TUPLE_ADDRESSES, _TUPLE_PROTOCOL = 1, 2
_V4_SOURCE, _V4_DESTINATION, _V6_SOURCE, _V6_DESTINATION = 1, 2, 3, 4
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ICMP_ID, _ICMP_TYPE, _ICMP_CODE = 4, 5, 6
_ICMPV6_ID, _ICMPV6_TYPE, _ICMPV6_CODE = 7, 8, 9
_TCP_INFO, _TCP_STATE = 1, 1
_FAMILY_HEADER = 4
# Both ends with ports, in the order in which the kernel writes them; other protocols have other lengths.
_V4_PORTS, _V6_PORTS = (struct.Struct(f">8x{size}s4x{size}s8xB3x4xH2x4xH2x") for size in (4, 16))
_WITH_PORTS = frozenset({_TCP, 17, 33, 132, 136})


@dataclass(frozen=True, slots=True)
class Ends:
    """A packet's ends. For ICMP `source_port` is the id and `port` is type << 8 | code."""

    protocol: int
    source: Address
    source_port: int
    destination: Address
    port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """One tracked connection: from `source` to `destination` as its initiator sees it, from `client` to `backend` as
    the pod behind the translation does. `state` is of TCP, 0 for others."""

    protocol: int
    source: Address
    source_port: int
    destination: Address
    port: int
    backend: Address
    backend_port: int
    client: Address
    client_port: int
    status: int
    state: int
    zone: int

    @property
    def is_open(self) -> bool:
        """Whether it still stands. What is closed stays in the kernel's table for minutes."""
        return self.protocol != _TCP or self.state == ESTABLISHED


def dump() -> Iterator[Connection]:
    """All connections of this network namespace, IPv4 and IPv6. Raises ProbeError."""
    for family in _FAMILIES:
        yield from _dump(family, b"")


def of_pod(address: Address) -> Iterator[Connection]:
    """Those that the address opened, or that go to it, also behind a translation. Raises ProbeError.

    For IPv4 the kernel filters (5.8 and newer); its filter of IPv6 addresses gives all others instead (seen on 6.18).
    """
    if address.version == 6:
        found_here = _dump(_FAMILIES[1], b"", address.packed)
        yield from (found for found in found_here if address in (found.source, found.backend))
        return
    for found in _dump(_FAMILIES[0], _filter(address, _ORIGINAL)):
        if found.source == address:
            yield found
    for found in _dump(_FAMILIES[0], _filter(address, _REPLY)):
        if found.backend == address != found.source:
            yield found


def original_of(seen: Ends, zone: int = 0) -> Connection | None:
    """The connection of which a pod sees these ends: who opened it, and to which address.

    None: the kernel does not know it, or not any more. Raises ProbeError.
    """
    return _get(_REPLY, _answering(seen), zone)


def translation_of(opened: Ends, zone: int = 0) -> Connection | None:
    """The connection that was opened with these ends: which backend serves it. Raises ProbeError."""
    return _get(_ORIGINAL, opened, zone)


def _get(kind: int, ends: Ends, zone: int) -> Connection | None:
    zone_attribute = attribute(_ZONE, struct.pack(">H", zone)) if zone else b""
    body = _family(_FAMILIES[ends.source.version == 6]) + _tuple(kind, ends) + zone_attribute
    try:
        with Netlink(netlink.NETFILTER) as kernel:
            message = kernel.get(_GET, body)
    except OSError as error:
        raise _unreadable(error) from error
    return None if message is None else _connection(message.data)


def _dump(family: int, wanted: bytes, within: bytes = b"") -> Iterator[Connection]:
    """Entries in which the bytes `within` are nowhere are passed over unread."""
    try:
        with Netlink(netlink.NETFILTER) as kernel:
            for data in _entries(kernel, family, wanted):
                connection = _connection(data) if within in data else None
                if connection is not None:
                    yield connection
    except OSError as error:
        raise _unreadable(error) from error


def _entries(kernel: Netlink, family: int, wanted: bytes) -> Iterator[bytes]:
    """An old kernel that does not know the filter gives all."""
    try:
        for message in kernel.dump(_GET, _family(family) + wanted):
            yield message.data
    except OSError as error:
        if not wanted or error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        for message in kernel.dump(_GET, _family(family)):
            yield message.data


def _filter(address: Address, side: int) -> bytes:
    """By the source of a side. The kernel wants flags for both."""
    asked = nest(side, nest(_TUPLE_ADDRESSES, attribute(_V4_SOURCE, address.packed)))
    wanted = {_ORIGINAL: 0, _REPLY: 0} | {side: _FILTER_SOURCE}
    flags = (attribute(_FILTER_FLAGS[one], struct.pack("=I", value)) for one, value in wanted.items())
    return asked + nest(_FILTER, *flags)


def _family(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _answering(seen: Ends) -> Ends:
    """The ends of an answer to it."""
    if seen.protocol in (_ICMP, _ICMPV6):
        answers = _ICMP_ANSWER if seen.protocol == _ICMP else _ICMPV6_ANSWER
        kind = answers.get(seen.port >> 8, seen.port >> 8)
        return Ends(seen.protocol, seen.destination, seen.source_port, seen.source, kind << 8 | seen.port & 0xFF)
    return Ends(seen.protocol, seen.destination, seen.port, seen.source, seen.source_port)


def _tuple(kind: int, ends: Ends) -> bytes:
    first = _V4_SOURCE if ends.source.version == 4 else _V6_SOURCE
    addresses = nest(
        _TUPLE_ADDRESSES, attribute(first, ends.source.packed), attribute(first + 1, ends.destination.packed)
    )
    number = attribute(_NUMBER, bytes([ends.protocol]))
    if ends.protocol in (_ICMP, _ICMPV6):
        first = _ICMP_ID if ends.protocol == _ICMP else _ICMPV6_ID
        values = (struct.pack(">H", ends.source_port), bytes([ends.port >> 8]), bytes([ends.port & 0xFF]))
        ports = b"".join(attribute(first + offset, value) for offset, value in enumerate(values))
    else:
        ports = attribute(_SOURCE_PORT, struct.pack(">H", ends.source_port))
        ports += attribute(_DESTINATION_PORT, struct.pack(">H", ends.port))
    return nest(kind, addresses, nest(_TUPLE_PROTOCOL, number, ports))


def _connection(data: bytes) -> Connection | None:
    """None for an entry without both tuples."""
    original = reply = None
    status = state = zone = 0
    for kind, start, end in attributes(data, _FAMILY_HEADER, len(data)):
        if kind == _ORIGINAL:
            original = _ends(data, start, end)
        elif kind == _REPLY:
            reply = _ends(data, start, end)
        elif kind == _STATUS:
            status = int.from_bytes(data[start:end], "big")
        elif kind == _ZONE:
            zone = int.from_bytes(data[start:end], "big")
        elif kind == _PROTOCOL_INFO:
            state = _tcp_state(data, start, end)
    if original is None or reply is None:
        return None
    # An answer to ICMP has the same id, and another type.
    icmp = original.protocol in (_ICMP, _ICMPV6)
    backend_port, client_port = (original.port, reply.source_port) if icmp else (reply.source_port, reply.port)
    return Connection(
        original.protocol,
        original.source,
        original.source_port,
        original.destination,
        original.port,
        reply.source,
        backend_port,
        reply.destination,
        client_port,
        status,
        state,
        zone,
    )


def _ends(data: bytes, start: int, end: int) -> Ends | None:
    layout = {_V4_PORTS.size: _V4_PORTS, _V6_PORTS.size: _V6_PORTS}.get(end - start)
    if layout is not None:
        source, destination, protocol, source_port, port = layout.unpack_from(data, start)
        if protocol in _WITH_PORTS:
            if layout is _V4_PORTS:
                return Ends(protocol, IPv4Address(source), source_port, IPv4Address(destination), port)
            return Ends(protocol, IPv6Address(source), source_port, IPv6Address(destination), port)
    return _any_ends(data, start, end)


def _any_ends(data: bytes, start: int, end: int) -> Ends | None:
    source: Address | None = None
    destination: Address | None = None
    found: dict[int, int] = {}
    for group, first, last in attributes(data, start, end):
        for kind, at, stop in attributes(data, first, last):
            value = data[at:stop]
            if group == _TUPLE_PROTOCOL:
                found[kind] = int.from_bytes(value, "big")
            elif kind in (_V4_SOURCE, _V6_SOURCE):
                source = IPv4Address(value) if kind == _V4_SOURCE else IPv6Address(value)
            else:
                destination = IPv4Address(value) if kind == _V4_DESTINATION else IPv6Address(value)
    if source is None or destination is None:
        return None
    return Ends(found.get(_NUMBER, 0), source, _source_port(found), destination, _port(found))


def _source_port(found: dict[int, int]) -> int:
    return found.get(_SOURCE_PORT, found.get(_ICMP_ID, found.get(_ICMPV6_ID, 0)))


def _port(found: dict[int, int]) -> int:
    if _DESTINATION_PORT in found:
        return found[_DESTINATION_PORT]
    kind = found.get(_ICMP_TYPE, found.get(_ICMPV6_TYPE, 0))
    return kind << 8 | found.get(_ICMP_CODE, found.get(_ICMPV6_CODE, 0))


def _tcp_state(data: bytes, start: int, end: int) -> int:
    for protocol, first, last in attributes(data, start, end):
        if protocol == _TCP_INFO:
            for kind, at, _ in attributes(data, first, last):
                if kind == _TCP_STATE:
                    return data[at]
    return 0


def _unreadable(error: OSError) -> ProbeError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return ProbeError("connection tracking: the kernel does not let this process read it; it needs CAP_NET_ADMIN")
    return ProbeError(
        f"connection tracking cannot be read ({error.strerror}): the kernel needs nf_conntrack and nf_conntrack_netlink"
    )
