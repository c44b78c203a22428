"""The options of iptables' matches → conditions. What is in no table here stays text and is flagged."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from migrate.model.node_state import (
    AddressBetween,
    AddressIs,
    AddressTypeIs,
    BridgeState,
    Comment,
    Condition,
    ConnectionDirection,
    ConnectionIn,
    ConnectionStatusIn,
    DeviceIs,
    End,
    EveryNth,
    IcmpIs,
    InSet,
    IsLaterFragment,
    MarkIs,
    Option,
    OwnerIs,
    PortIn,
    ProtocolIs,
    RandomShare,
    TcpFlagsAre,
    TrackedAddressIs,
    TrackedPortIs,
    Unread,
)
from migrate.sources.node.words import network, number_range, protocol_number, quoted, whole_number

Builder = Callable[[Option], Condition]
_STATES = frozenset({"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"})
_STATUSES = frozenset({"NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"})
_FLAGS = frozenset({"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ALL", "NONE"})
_TYPES = frozenset(
    [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
        "THROW",
        "NAT",
        "XRESOLVE",
    ]
)
_SHARE = re.compile(r"(?:0|1)(?:\.\d{1,20})?")
_ALL_BITS = 0xFFFFFFFF


def conditions(module: str, options: tuple[Option, ...]) -> tuple[Condition, ...]:
    """What the options of one `-m module` ask for. Names are without their dashes, values without their quotes."""
    together = _TOGETHER.get(module)
    if together is not None:
        try:
            return together(options)
        except ValueError:
            return tuple(Unread(as_text(option)) for option in options)
    return tuple(_condition(module, option) for option in options)


def as_text(option: Option) -> str:
    """An option as a dump writes it."""
    words = ["!"] if option.negated else []
    words.append(f"-{option.name}" if len(option.name) == 1 else f"--{option.name}")
    return " ".join([*words, *map(quoted, option.values)])


def _condition(module: str, option: Option) -> Condition:
    builder = _OWN.get(option.name) if module == "" else _BUILDERS.get(module, {}).get(option.name)
    if builder is None:
        return option
    try:
        return builder(option)
    except ValueError:
        return Unread(as_text(option))


def _address(end: End) -> Builder:
    return lambda option: AddressIs(end, network(option.values[0]), option.negated)


def _device(end: End, bridged: bool = False) -> Builder:
    return lambda option: DeviceIs(end, option.values[0], option.negated, bridged)


def _protocol(option: Option) -> Condition:
    return ProtocolIs(protocol_number(option.values[0]), option.negated)


_OWN: Mapping[str, Builder] = MappingProxyType(
    {
        "s": _address(End.SOURCE),
        "d": _address(End.DESTINATION),
        "i": _device(End.SOURCE),
        "o": _device(End.DESTINATION),
        "p": _protocol,
        "f": lambda option: IsLaterFragment(option.negated),
    }
)


def _ports(end: End) -> Builder:
    def build(option: Option) -> Condition:
        ranges = tuple(number_range(part) for part in option.values[0].split(","))
        return PortIn(end, ranges, option.negated)

    return build


def _mark(connection: bool) -> Builder:
    def build(option: Option) -> Condition:
        value, slash, mask = option.values[0].partition("/")
        bits = whole_number(mask) if slash else _ALL_BITS
        return MarkIs(whole_number(value), bits, option.negated, connection)

    return build


def _words(text: str, known: frozenset[str]) -> tuple[str, ...]:
    words = tuple(text.split(","))
    if not known.issuperset(words):
        raise ValueError(f"{text!r} holds an unknown word")
    return words


def _states(option: Option) -> Condition:
    return ConnectionIn(_words(option.values[0], _STATES), option.negated)


def _statuses(option: Option) -> Condition:
    return ConnectionStatusIn(_words(option.values[0], _STATUSES), option.negated)


def _direction(option: Option) -> Condition:
    if option.values[0] not in {"ORIGINAL", "REPLY"}:
        raise ValueError("neither direction")
    return ConnectionDirection((option.values[0] == "ORIGINAL") is not option.negated)


def _tracked_address(original: bool, end: End) -> Builder:
    return lambda option: TrackedAddressIs(original, end, network(option.values[0]), option.negated)


def _tracked_port(original: bool, end: End) -> Builder:
    return lambda option: TrackedPortIs(original, end, *number_range(option.values[0]), option.negated)


def _flags(option: Option) -> Condition:
    looked_at, present = (_words(value, _FLAGS) for value in option.values)
    return TcpFlagsAre(looked_at, present, option.negated)


def _icmp(option: Option) -> Condition:
    if option.values[0] == "any" or (option.name == "icmp-type" and option.values[0].partition("/")[0] == "255"):
        return IcmpIs(None, None, option.negated)
    kind, slash, code = option.values[0].partition("/")
    return IcmpIs(whole_number(kind, 255), whole_number(code, 255) if slash else None, option.negated)


def _between(end: End) -> Builder:
    def build(option: Option) -> Condition:
        low, _, high = option.values[0].partition("-")
        return AddressBetween(end, ipaddress.ip_address(low), ipaddress.ip_address(high or low), option.negated)

    return build


def _owner(kind: str) -> Builder:
    return lambda option: OwnerIs(kind, *number_range(option.values[0], _ALL_BITS, "-"), option.negated)


def _bridge(state: str) -> Builder:
    return lambda option: BridgeState(state, option.negated)


_PORTS: Mapping[str, Builder] = {"sport": _ports(End.SOURCE), "dport": _ports(End.DESTINATION)}
_CONNECTION: dict[str, Builder] = {
    "ctstate": _states,
    "ctstatus": _statuses,
    "ctdir": _direction,
    "ctorigsrc": _tracked_address(True, End.SOURCE),
    "ctorigdst": _tracked_address(True, End.DESTINATION),
    "ctreplsrc": _tracked_address(False, End.SOURCE),
    "ctrepldst": _tracked_address(False, End.DESTINATION),
    "ctorigsrcport": _tracked_port(True, End.SOURCE),
    "ctorigdstport": _tracked_port(True, End.DESTINATION),
    "ctreplsrcport": _tracked_port(False, End.SOURCE),
    "ctrepldstport": _tracked_port(False, End.DESTINATION),
}
_BUILDERS: Mapping[str, Mapping[str, Builder]] = MappingProxyType(
    {
        "tcp": {**_PORTS, "tcp-flags": _flags},
        "udp": _PORTS,
        "sctp": _PORTS,
        "dccp": _PORTS,
        "udplite": _PORTS,
        "multiport": {
            "sports": _ports(End.SOURCE),
            "dports": _ports(End.DESTINATION),
            "ports": _ports(End.EITHER),
        },
        "comment": {"comment": lambda option: Comment(option.values[0])},
        "mark": {"mark": _mark(connection=False)},
        "connmark": {"mark": _mark(connection=True)},
        "conntrack": _CONNECTION,
        "state": {"state": _states},
        "icmp": {"icmp-type": _icmp},
        "icmp6": {"icmpv6-type": _icmp},
        "iprange": {"src-range": _between(End.SOURCE), "dst-range": _between(End.DESTINATION)},
        "owner": {"uid-owner": _owner("uid"), "gid-owner": _owner("gid")},
        "physdev": {
            "physdev-in": _device(End.SOURCE, bridged=True),
            "physdev-out": _device(End.DESTINATION, bridged=True),
            "physdev-is-in": _bridge("in"),
            "physdev-is-out": _bridge("out"),
            "physdev-is-bridged": _bridge("bridged"),
        },
    }
)


def _ends(text: str) -> tuple[End, ...]:
    return tuple(End(word) for word in text.split(","))


def _set(options: tuple[Option, ...]) -> tuple[Condition, ...]:
    """--match-set and what changes it; conditions on a member's counters stay options."""
    first, *others = options
    if first.name != "match-set":
        raise ValueError("no set is named")
    asked = {option.name: option.negated for option in others}
    member = InSet(
        first.values[0],
        _ends(first.values[1]),
        first.negated,
        exceptions_only=asked.get("return-nomatch") is False,
        updates=asked.get("update-counters") is not True,
    )
    said = {"return-nomatch", "update-counters"}
    return (member, *(option for option in others if option.name not in said))


def _address_type(options: tuple[Option, ...]) -> tuple[Condition, ...]:
    names = {option.name for option in options}
    limit = "in" if "limit-iface-in" in names else "out" if "limit-iface-out" in names else None
    found: list[Condition] = []
    for option in options:
        if option.name in {"src-type", "dst-type"}:
            types = _words(option.values[0], _TYPES)
            found.append(AddressTypeIs(End(option.name[:3]), types, option.negated, limit))
    if not found:
        raise ValueError("no type is named")
    return tuple(found)


def _statistic(options: tuple[Option, ...]) -> tuple[Condition, ...]:
    given = {option.name: option for option in options}
    mode = given["mode"].values[0] if "mode" in given else ""
    if mode == "random" and "probability" in given:
        share = given["probability"]
        if not _SHARE.fullmatch(share.values[0]):
            raise ValueError("no share")
        return (RandomShare(float(share.values[0]), share.negated),)
    if mode != "nth" or "every" not in given:
        raise ValueError("an unknown mode")
    every, packet = given["every"], given.get("packet")
    first = whole_number(packet.values[0]) if packet else 0
    return (EveryNth(whole_number(every.values[0]), first, every.negated),)


_TOGETHER: Mapping[str, Callable[[tuple[Option, ...]], tuple[Condition, ...]]] = MappingProxyType(
    {"set": _set, "addrtype": _address_type, "statistic": _statistic}
)
