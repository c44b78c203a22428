"""Packets, and what is known of one on its way through a node's rules. None always means: nothing tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, TypeAlias

from migrate.model.addresses import Address
from migrate.model.flow import ICMP, ICMPV6, TCP
from migrate.model.node_state import ConnectionMarkChange, ConnectionMarkCopy, MarkChange, MarkCopy

State: TypeAlias = Literal["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"]

ALL_BITS = 0xFFFFFFFF
_OPENING = {ICMP: frozenset({8, 13, 15, 17}), ICMPV6: frozenset({128, 139})}
"""ICMP types that connection tracking takes for the first packet of a connection; others that no connection is known
for are INVALID. Source: valid_new in Linux 6.12, net/netfilter/nf_conntrack_proto_icmp.c and _icmpv6.c."""
_NEVER_TRACKED = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
"""ICMPv6 types of neighbours and multicast listeners. Source: noct_valid_new in nf_conntrack_proto_icmpv6.c."""


class Way(Enum):
    """Where a packet goes, seen from the node: from one interface to another, to a process of its own, or from one."""

    THROUGH = "through the node"
    IN = "into the node"
    OUT = "out of the node"


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it comes to a node, or leaves a process of it; by default the first one of a connection.

    `destination` is the one on the wire: before the node's own DNAT. Ports are those of TCP, UDP and the like, `icmp`
    is type and code. The devices are names of the node's interfaces. A mark is what the packet, or its connection, has
    at the start: a connection that stands may have any. `reply`: the packet goes back to who opened the connection.
    """

    source: Address
    destination: Address
    protocol: int
    way: Way = Way.THROUGH
    source_port: int | None = None
    destination_port: int | None = None
    icmp: tuple[int, int] | None = None
    came_by: str | None = None
    leaves_by: str | None = None
    state: State = "NEW"
    reply: bool | None = False
    mark: int | None = 0
    connection_mark: int | None = 0
    flags: frozenset[str] | None = None

    @property
    def tracked_as(self) -> State:
        """The state that connection tracking gives the packet."""
        if self.state != "NEW" or self.icmp is None or self.protocol not in _OPENING:
            return self.state
        if self.protocol == ICMPV6 and self.icmp[0] in _NEVER_TRACKED:
            return "UNTRACKED"
        return "NEW" if self.icmp[0] in _OPENING[self.protocol] else "INVALID"

    @property
    def tcp_flags(self) -> frozenset[str] | None:
        """The TCP flags that are set: of a first packet SYN, where nothing else is said."""
        if self.flags is not None or self.protocol != TCP or self.state != "NEW":
            return self.flags
        return frozenset({"SYN"})


@dataclass(frozen=True, slots=True)
class Ends:
    """Addresses as numbers, and ports, of a connection's first packet."""

    source: int | None
    destination: int | None
    source_port: int | None
    destination_port: int | None


@dataclass(frozen=True, slots=True)
class Passing:
    """A packet somewhere on its way: all that rules ask about it, and change.

    Devices are "" where the packet has none (yet). `state` is INVALID before connection tracking saw the packet.
    `original` are the ends as they were before any translation. `translated` holds DNAT and SNAT where an address was
    really replaced; `mapped`: a rule of the hook has done so, or said that it stays. `delivered`: a translation leads
    to the node itself. `touched` are IP sets that rules have changed on the way.
    """

    version: int
    protocol: int
    ends: Ends
    original: Ends
    icmp: tuple[int, int] | None
    flags: frozenset[str] | None
    reply: bool | None
    mark: int | None
    connection_mark: int | None
    came_by: str | None = None
    leaves_by: str | None = None
    state: State = "INVALID"
    translated: frozenset[str] = frozenset()
    mapped: bool = False
    delivered: bool = False
    touched: frozenset[str] = frozenset()

    @classmethod
    def of(cls, packet: Packet) -> Passing:
        """The packet before the first rule."""
        ends = Ends(int(packet.source), int(packet.destination), packet.source_port, packet.destination_port)
        return cls(
            packet.source.version,
            packet.protocol,
            ends,
            ends,
            packet.icmp,
            packet.tcp_flags,
            packet.reply,
            packet.mark,
            packet.connection_mark,
        )

    @property
    def has_connection(self) -> bool:
        """Whether the packet belongs to a tracked connection."""
        return self.state in ("NEW", "ESTABLISHED", "RELATED")

    def marked(self, change: MarkChange) -> Passing:
        """The packet behind a MARK rule."""
        return replace(self, mark=_changed(self.mark, change.value, change.mask))

    def connection_marked(self, change: ConnectionMarkChange) -> Passing:
        """The packet behind a CONNMARK rule that sets bits."""
        if not self.has_connection:
            return self
        return replace(self, connection_mark=_changed(self.connection_mark, change.value, change.mask))

    def copied(self, copy: ConnectionMarkCopy) -> Passing:
        """The packet behind a CONNMARK rule that saves or restores. Source: net/netfilter/xt_connmark.c."""
        if not self.has_connection:
            return self
        if copy.way is MarkCopy.SAVE:
            saved = None if self.mark is None else self.mark & copy.packet_mask
            return replace(self, connection_mark=_changed(self.connection_mark, saved, copy.connection_mask))
        restored = None if self.connection_mark is None else self.connection_mark & copy.connection_mask
        return replace(self, mark=_changed(self.mark, restored, copy.packet_mask))


def _changed(mark: int | None, value: int | None, mask: int) -> int | None:
    """(mark without the bits of the mask) xor value; a mark of which some bits are not known is not known."""
    if value is None:
        return None
    if mask == ALL_BITS:
        return value
    return None if mark is None else (mark & ~mask & ALL_BITS) ^ value
