"""The records that the programs in bpf/ write, byte for byte; `LAYOUT` changes whenever one of them does.

The C side is bpf/probe.h, and tests compare both. Integers are in the order of the machine, ports in host order.
IPv4 addresses are ::ffff:a.b.c.d. Times are nanoseconds since boot (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address


class Direction(IntEnum):
    """Which hook of a pod's host-side veth saw the packet: tc ingress is what the pod sends."""

    FROM_POD = 0
    TO_POD = 1


class Kind(IntEnum):
    """Why there is a record."""

    NEW = 0
    """A SYN, or the first packet of a UDP, SCTP, ICMP or other flow after 60 s of silence."""
    MID_STREAM = 1
    """A sampled TCP segment of a connection whose SYN was not seen."""
    ICMP_ERROR = 3
    """An ICMP error; it answers a flow and opens none."""


COARSE = 1 << 4
"""In `kind`: the flow table was full; the far end (FROM_POD: the destination, TO_POD: the source) is cut to /16
(IPv6: /32) and the port is 0."""


class Counter(IntEnum):
    """Indices of the per-CPU array `stats`. NEW is the sum of `events` in all tables, and LOST."""

    PACKETS = 0
    NEW = 1
    CREATED = 2
    FULL = 3
    COARSE = 4
    LOST = 5
    CONNECTION_CREATED = 6
    CONNECTION_FAILED = 7
    CONNECTION_EXPIRED = 8
    SHORT = 9
    NOT_IP = 10
    LATER_FRAGMENT = 11
    REPLY = 12
    REPLY_LOST = 13
    RETRANSMITTED = 14
    AFTER_DEADLINE = 15
    TRANSLATION_LOST = 16
    DROP_LOST = 17


class Control(IntEnum):
    """Indices of the array `ctl` of u64."""

    ACTIVE = 0
    """The flow table that is written: 0 or 1."""
    SAMPLING = 1
    """Mask of the random sampling of mid-stream segments; all ones for none."""
    SEQUENCE = 2
    """The number of the running epoch; ACTIVE is its lowest bit."""
    DEADLINE = 3
    """Nanoseconds since boot after which nothing is recorded any more."""


@dataclass(frozen=True, slots=True, order=True)
class FlowKey:
    """Which flow: without the initiator's port. `port` is the responder's, for ICMP type << 8 | code."""

    source: Address
    destination: Address
    ifindex: int
    port: int
    protocol: int
    direction: Direction
    kind: Kind
    coarse: bool = False

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s16sIHBB")

    @classmethod
    def unpack(cls, data: bytes) -> FlowKey:
        """From 40 bytes."""
        source, destination, ifindex, port, protocol, kind = cls.FORMAT.unpack(data)
        return cls(
            address_of(source),
            address_of(destination),
            ifindex,
            port,
            protocol,
            Direction(kind & 1),
            Kind((kind & (COARSE - 1)) >> 1),
            bool(kind & COARSE),
        )

    def pack(self) -> bytes:
        """To 40 bytes."""
        kind = self.direction | self.kind << 1 | (COARSE if self.coarse else 0)
        source, destination = bytes_of(self.source), bytes_of(self.destination)
        return self.FORMAT.pack(source, destination, self.ifindex, self.port, self.protocol, kind)


@dataclass(frozen=True, slots=True)
class FlowValue:
    """What was seen of it. `source_port` is the last initiator's. Retransmitted SYNs are not among `events`."""

    first: int
    last: int
    events: int
    octets: int
    answered: int
    refused: int
    source_port: int
    retransmitted: int

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQQQIIHHI")

    @classmethod
    def unpack(cls, data: bytes) -> FlowValue:
        """From 48 bytes."""
        first, last, events, octets, answered, refused, source_port, _, retransmitted = cls.FORMAT.unpack(data)
        return cls(first, last, events, octets, answered, refused, source_port, retransmitted)

    def pack(self) -> bytes:
        """To 48 bytes."""
        return self.FORMAT.pack(
            self.first,
            self.last,
            self.events,
            self.octets,
            self.answered,
            self.refused,
            self.source_port,
            0,
            self.retransmitted,
        )


@dataclass(frozen=True, slots=True)
class Translation:
    """The true ends of a flow of which the node translates addresses, as conntrack had them at its first packet.

    `backend` is who answers. At the client it is what stands behind a Service's address; at the pod it is the pod.
    """

    flow: FlowKey
    original_source: Address
    original_destination: Address
    backend: Address
    original_port: int
    backend_port: int
    first: int
    last: int
    times: int

    KEY: ClassVar[struct.Struct] = struct.Struct("=40s16s16s16sHH4x")
    VALUE: ClassVar[struct.Struct] = struct.Struct("=QQQ")

    @classmethod
    def unpack(cls, key: bytes, value: bytes) -> Translation:
        """From 96 and 24 bytes."""
        flow, source, destination, backend, port, backend_port = cls.KEY.unpack(key)
        addresses = address_of(source), address_of(destination), address_of(backend)
        return cls(FlowKey.unpack(flow), *addresses, port, backend_port, *cls.VALUE.unpack(value))


def address_of(data: bytes) -> Address:
    """An address from its 16 bytes."""
    address = IPv6Address(data)
    return address.ipv4_mapped or address


def bytes_of(address: Address) -> bytes:
    """The 16 bytes of an address."""
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


CONNECTION = (struct.Struct("=16s16sIHHB3x"), struct.Struct("=QBBBB4x"))
"""Key and value of the kernel's memory of connections, which only the programs read."""

LAYOUT = hashlib.sha256(
    repr(
        (
            (FlowKey.FORMAT.format, FlowValue.FORMAT.format, *(part.format for part in CONNECTION)),
            (Translation.KEY.format, Translation.VALUE.format),
            (list(Kind), list(Counter), list(Control), COARSE),
        )
    ).encode()
).hexdigest()[:12]
"""Names the folder of pinned objects, so that an agent never reads records of another layout."""
