"""What a Linux node's packet filter holds: tables, chains, rules, as iptables-save prints them.

`line` counts from 1 in the dump that the value came from. Text that is not understood stays, as `Unread`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from migrate.model.addresses import Address, Network
from migrate.model.refs import Location


class End(Enum):
    """An end of a packet."""

    SOURCE = "src"
    DESTINATION = "dst"
    EITHER = "either"


class Backend(Enum):
    """Where iptables keeps its rules. A node has both, and only one of them is in use."""

    NFT = "nft"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted since the rule was written or the counters were last set to zero."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class AddressIs:
    """-s, -d: the address lies in a network."""

    end: End
    network: Network
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AddressBetween:
    """iprange: the address lies between two, inclusive."""

    end: End
    low: Address
    high: Address
    negated: bool = False


@dataclass(frozen=True, slots=True)
class DeviceIs:
    """-i (SOURCE), -o (DESTINATION): the interface. A name that ends in + stands for all that begin so.

    `bridged` is physdev's: the port of a bridge by which the packet came or leaves.
    """

    end: End
    name: str
    negated: bool = False
    bridged: bool = False

    def holds(self, device: str) -> bool:
        """Whether a packet that has this interface fits."""
        if self.name.endswith("+"):
            return device.startswith(self.name[:-1]) is not self.negated
        return (device == self.name) is not self.negated


@dataclass(frozen=True, slots=True)
class ProtocolIs:
    """-p: the protocol number. 0 is any protocol."""

    number: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsLaterFragment:
    """-f: a second or later fragment of an IPv4 packet."""

    negated: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    """The packet's ends, one per dimension, are in an IP set; with `exceptions_only` (--return-nomatch) as nomatch."""

    name: str
    ends: tuple[End, ...]
    negated: bool = False
    exceptions_only: bool = False
    updates: bool = True


@dataclass(frozen=True, slots=True)
class Comment:
    """Text that says what the rule is for. It holds for every packet."""

    text: str


@dataclass(frozen=True, slots=True)
class MarkIs:
    """The bits of `mask` of the packet's mark (of its connection's, when `connection`) are those of `value`."""

    value: int
    mask: int
    negated: bool = False
    connection: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionIn:
    """The connection is in one of the states (NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED, SNAT, DNAT)."""

    states: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionStatusIn:
    """The connection has one of the status bits (EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED), or NONE of them."""

    statuses: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionDirection:
    """The packet goes as the connection's first one did (`original`), or back."""

    original: bool


@dataclass(frozen=True, slots=True)
class TrackedAddressIs:
    """An address of the connection's first packet (`original`), or of the reply that is expected."""

    original: bool
    end: End
    network: Network
    negated: bool = False


@dataclass(frozen=True, slots=True)
class TrackedPortIs:
    """A port of the connection's first packet (`original`), or of the reply that is expected."""

    original: bool
    end: End
    low: int
    high: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class PortIn:
    """The port is in one of the inclusive ranges. They stand as written: not sorted, perhaps overlapping."""

    end: End
    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class TcpFlagsAre:
    """Of the TCP flags in `looked_at`, exactly those in `present` are set."""

    looked_at: tuple[str, ...]
    present: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IcmpIs:
    """The ICMP (or ICMPv6) type, and the code when it is not None; type None is any."""

    type: int | None
    code: int | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AddressTypeIs:
    """The routing table says of the address that it is LOCAL, UNICAST, BROADCAST and so on.

    `limit` asks only about the interface by which the packet came ("in") or leaves ("out").
    """

    end: End
    types: tuple[str, ...]
    negated: bool = False
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class BridgeState:
    """physdev: the packet came by a bridge's port ("in"), leaves by one ("out"), or is not routed ("bridged")."""

    state: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class OwnerIs:
    """The local process that sent the packet has a user ("uid") or group ("gid") in the range."""

    kind: str
    low: int
    high: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class RandomShare:
    """A share of the packets, from 0 to 1, taken by chance."""

    probability: float
    negated: bool = False


@dataclass(frozen=True, slots=True)
class EveryNth:
    """One packet in `every`, the first of them number `packet`, counted from 0."""

    every: int
    packet: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """An option that is known, and that nothing but the packet itself or the kernel's memory can answer.

    Several options of one match (limit, recent, hashlimit) have their meaning together.
    """

    name: str
    values: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """Text of a rule that this program does not understand, as it stands in the dump."""

    text: str


Condition: TypeAlias = (
    AddressIs
    | AddressBetween
    | DeviceIs
    | ProtocolIs
    | IsLaterFragment
    | InSet
    | Comment
    | MarkIs
    | ConnectionIn
    | ConnectionStatusIn
    | ConnectionDirection
    | TrackedAddressIs
    | TrackedPortIs
    | PortIn
    | TcpFlagsAre
    | IcmpIs
    | AddressTypeIs
    | BridgeState
    | OwnerIs
    | RandomShare
    | EveryNth
    | Option
    | Unread
)


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions of one `-m module`, all of which must hold; module "" is the rule's own (-s, -d, -i, -o, -p, -f)."""

    module: str
    conditions: tuple[Condition, ...] = ()


class Ending(Enum):
    """What ends a packet's way through a chain."""

    ACCEPT = "ACCEPT"
    DROP = "DROP"
    RETURN = "RETURN"
    QUEUE = "QUEUE"


@dataclass(frozen=True, slots=True)
class Jump:
    """On to a chain of the same table; when it ends, back behind this rule, or with `final` behind the rule before."""

    chain: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """Drop, and tell the sender with this kind of answer; None is the kernel's usual one."""

    answer: str | None = None


@dataclass(frozen=True, slots=True)
class MarkChange:
    """The packet's mark becomes (mark without the bits of `mask`) xor `value`."""

    value: int
    mask: int

    def applied(self, mark: int) -> int:
        """The mark after the rule."""
        return (mark & ~self.mask & 0xFFFFFFFF) ^ self.value


class MarkCopy(Enum):
    """Which way a mark goes between a packet and its connection."""

    SAVE = "save"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class ConnectionMarkChange:
    """The connection's mark becomes (mark without the bits of `mask`) xor `value`."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class ConnectionMarkCopy:
    """The mark of the packet goes to its connection, or back: only these bits are read and only these are replaced."""

    way: MarkCopy
    packet_mask: int
    connection_mask: int


class Translation(Enum):
    """Which address of a connection is replaced, and by what."""

    DNAT = "DNAT"
    SNAT = "SNAT"
    MASQUERADE = "MASQUERADE"
    REDIRECT = "REDIRECT"


@dataclass(frozen=True, slots=True)
class Translate:
    """Replace an address by one of a range and the port by one of a range; None leaves it or takes the node's own."""

    kind: Translation
    addresses: tuple[Address, Address] | None = None
    ports: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Untracked:
    """The connection is not tracked."""


@dataclass(frozen=True, slots=True)
class Log:
    """A line in the kernel's log, or with a `group` a message to whoever listens there. The packet goes on."""

    prefix: str = ""
    group: int | None = None
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class OtherTarget:
    """A target without a class of its own. `goes_on`: the packet goes on to the next rule; None: it is not known."""

    name: str
    options: tuple[Option | Unread, ...] = ()
    goes_on: bool | None = None


Target: TypeAlias = (
    Ending
    | Jump
    | Reject
    | MarkChange
    | ConnectionMarkChange
    | ConnectionMarkCopy
    | Translate
    | Untracked
    | Log
    | OtherTarget
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a chain. A rule with no target only counts."""

    line: int
    matches: tuple[Match, ...] = ()
    target: Target | None = None
    counters: Counters | None = None
    unread: tuple[str, ...] = ()
    """What of the line is not understood. The rule may hold for fewer packets than it seems, or do something else."""

    @property
    def conditions(self) -> Iterator[Condition]:
        """All conditions in the order of the line."""
        return (condition for match in self.matches for condition in match.conditions)

    @property
    def comments(self) -> tuple[str, ...]:
        """The comments in the order of the line."""
        return tuple(condition.text for condition in self.conditions if isinstance(condition, Comment))


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in their order. `policy` is what happens at the end of one of the kernel's own chains; others have none."""

    name: str
    line: int
    policy: Ending | None = None
    counters: Counters | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """filter, nat, mangle, raw or security. Family 4 or 6 and the backend are None where the dump does not tell.

    Of a table that is not `complete` lines are missing: what it does not hold may still be on the node.
    """

    name: str
    line: int
    family: int | None = None
    backend: Backend | None = None
    version: str | None = None
    chains: tuple[Chain, ...] = ()
    complete: bool = True

    def by_name(self) -> dict[str, Chain]:
        """All chains by their names, made anew."""
        return {chain.name: chain for chain in self.chains}


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that the save program wrote, such as that it cannot show a table that others made."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All tables of a dump, in its order."""

    source: str
    tables: tuple[Table, ...] = ()
    notes: tuple[Note, ...] = ()

    def table(self, name: str, family: int | None = None, backend: Backend | None = None) -> Table | None:
        """The first table of a name that is, or may be, of the family and backend asked for."""
        for table in self.tables:
            wrong = (family and table.family and family != table.family) or (
                backend and table.backend and backend is not table.backend
            )
            if table.name == name and not wrong:
                return table
        return None

    def unread(self) -> Iterator[tuple[Table, Chain, Rule]]:
        """The rules that are not fully understood, in the order of the dump."""
        for table in self.tables:
            for chain in table.chains:
                for rule in chain.rules:
                    if rule.unread:
                        yield table, chain, rule

    def at(self, part: Table | Chain | Rule | Note) -> Location:
        """The file and line of a part."""
        return Location(self.source, part.line)
