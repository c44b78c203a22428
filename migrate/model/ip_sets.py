"""IP sets of a node and their members, as ipset save prints them. `line` counts from 1 in the dump."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.addresses import Address, Network
from migrate.model.node_state import Counters
from migrate.model.refs import Location


@dataclass(frozen=True, slots=True)
class AddressSpan:
    """Addresses from one to another, inclusive."""

    low: Address
    high: Address


@dataclass(frozen=True, slots=True)
class ProtocolPort:
    """A protocol number and an inclusive range of ports; None where the protocol has no ports."""

    protocol: int
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ProtocolIcmp:
    """An ICMP or ICMPv6 message; None where the name of the type is not known to this program."""

    protocol: int
    name: str
    type: int | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class SetName:
    """A set that is a member of another."""

    name: str


@dataclass(frozen=True, slots=True)
class DeviceName:
    """An interface; `bridged` is a port of a bridge."""

    name: str
    bridged: bool = False


@dataclass(frozen=True, slots=True)
class MacAddress:
    """A link-layer address in lower case."""

    text: str


@dataclass(frozen=True, slots=True)
class MarkBits:
    """A packet's mark."""

    value: int


Part: TypeAlias = (
    Network | AddressSpan | ProtocolPort | ProtocolIcmp | SetName | DeviceName | MacAddress | MarkBits | tuple[int, int]
)
"""One dimension of a member. Addresses are networks of one; a bare port range is of a bitmap:port set."""


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a set. With `nomatch` it is an exception from larger networks of the set.

    `timeout` is the number of seconds that were left, None when the entry stays. `options` are those that have no
    field of their own (skbmark and the like).
    """

    line: int
    parts: tuple[Part, ...]
    nomatch: bool = False
    timeout: int | None = None
    counters: Counters | None = None
    comment: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IpSet:
    """A set. `kind` is its type as ipset names it (hash:ip,port); a list:set has no family.

    `timeout` is what entries get when none is given, in seconds; 0 is for ever, None a set without timeouts.
    `unread` are words of its creation that this program does not know.
    """

    name: str
    kind: str
    line: int
    family: int | None = None
    timeout: int | None = None
    options: tuple[tuple[str, str | None], ...] = ()
    members: tuple[Member, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What a member consists of: ("ip", "port") of hash:ip,port."""
        return tuple(self.kind.partition(":")[2].split(","))


@dataclass(frozen=True, slots=True)
class IpSets:
    """All sets of a dump, in its order."""

    source: str
    sets: tuple[IpSet, ...] = ()

    def by_name(self) -> Mapping[str, IpSet]:
        """All sets by their names."""
        return {found.name: found for found in self.sets}

    def at(self, part: IpSet | Member) -> Location:
        """The file and line of a part."""
        return Location(self.source, part.line)
