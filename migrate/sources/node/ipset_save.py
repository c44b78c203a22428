"""ipset save → sets with typed members."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from migrate.errors import InputError
from migrate.model.ip_sets import (
    AddressSpan,
    DeviceName,
    IpSet,
    IpSets,
    MacAddress,
    MarkBits,
    Member,
    Part,
    ProtocolIcmp,
    ProtocolPort,
    SetName,
)
from migrate.model.node_state import Counters
from migrate.sources.node.icmp_names import icmp_type
from migrate.sources.node.words import (
    Complaints,
    decoded,
    network,
    number_range,
    numbered_lines,
    protocol_number,
    split_words,
    whole_number,
)

_FLAGS = frozenset({"counters", "comment", "skbinfo", "forceadd", "wildcard"})
_WITH_VALUE = frozenset(
    {"family", "hashsize", "maxelem", "timeout", "size", "range", "netmask", "bitmask", "markmask", "bucketsize"}
    | {"initval"}
)
_KIND = re.compile(r"(?:hash|bitmap|list):[a-z,]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_ICMP = frozenset({1, 58})
_WITH_PORTS = frozenset({6, 17, 132, 136})
_AGAIN = "take the dump again"
_OPTIONS_WITH_VALUE = frozenset({"timeout", "packets", "bytes", "comment", "skbmark", "skbprio", "skbqueue"})


def read_ipset_save(body: bytes, source: str) -> IpSets:
    """All sets of a dump. Raises InputError with file:line."""
    sets, complaints = salvage_ipset_save(body, source)
    if complaints:
        raise complaints[0]
    return sets


def salvage_ipset_save(body: bytes, source: str) -> tuple[IpSets, tuple[InputError, ...]]:
    """What can be used of a dump, and what is wrong with the rest."""
    complaints = Complaints(source)
    text = decoded(body)
    whole = text.rfind("\n") + 1
    opened: dict[str, _OpenSet] = {}
    for number, line in numbered_lines(text[:whole], escapes=False):
        try:
            _take(opened, number, line)
        except ValueError as error:
            complaints.add(number, f"{error}; {_AGAIN}")
    if text[whole:].strip():
        complaints.add(text.count("\n") + 1, f"the dump ends in the middle of a line; {_AGAIN}")
    return IpSets(source, tuple(found.closed() for found in opened.values())), tuple(complaints.found)


@dataclass(slots=True)
class _OpenSet:
    """A set whose members are being read."""

    created: IpSet
    members: list[Member] = field(default_factory=list)

    def closed(self) -> IpSet:
        """The finished value."""
        made = self.created
        members = tuple(self.members)
        return IpSet(made.name, made.kind, made.line, made.family, made.timeout, made.options, members, made.unread)


def _take(opened: dict[str, _OpenSet], number: int, line: str) -> None:
    words = split_words(line, escapes=False)
    if not words or words[0].startswith("#"):
        return
    if words[0] == "create" and len(words) >= 3:
        created = _created(number, words)
        if created.name in opened:
            raise ValueError(f"the set {created.name[:80]} is created twice")
        opened[created.name] = _OpenSet(created)
    elif words[0] == "add" and len(words) >= 3:
        name = words[1]
        if name not in opened:
            raise ValueError(f"a member of {name[:80]}, which is not created above")
        opened[name].members.append(_member(opened[name].created, number, words[2:]))
    else:
        raise ValueError(f"{line[:80]!r} is no line of ipset save")


def _created(number: int, words: list[str]) -> IpSet:
    name, kind, position = words[1], words[2], 3
    if not _KIND.fullmatch(kind):
        raise ValueError(f"{kind[:80]!r} is no type of a set")
    options: dict[str, str | None] = {}
    unread: list[str] = []
    while position < len(words):
        word = words[position]
        if word in _WITH_VALUE and position + 1 < len(words):
            position += 1
            options[word] = words[position]
        elif word in _FLAGS:
            options[word] = None
        else:
            unread.append(word)
        position += 1
    family = {"inet": 4, "inet6": 6}.get(options.get("family") or "")
    if not set(kind.partition(":")[2].split(",")) <= set(_PARTS):
        unread.append(kind)
    timeout = options.get("timeout")
    seconds = None if timeout is None else whole_number(timeout)
    return IpSet(name, kind, number, family, seconds, tuple(options.items()), (), tuple(unread))


def _member(of: IpSet, number: int, words: list[str]) -> Member:
    parts = _parts(of, words[0])
    given: dict[str, str] = {}
    nomatch, rest = False, []
    position = 1
    while position < len(words):
        word = words[position]
        if word in _OPTIONS_WITH_VALUE:
            if position + 1 >= len(words):
                raise ValueError(f"{word} has no value")
            position += 1
            given[word] = words[position].strip('"')
        elif word == "nomatch":
            nomatch = True
        else:
            rest.append(word)
        position += 1
    packets = given.get("packets")
    largest = 2**64 - 1
    counters = (
        None
        if packets is None
        else Counters(whole_number(packets, largest), whole_number(given.get("bytes", "0"), largest))
    )
    timeout = whole_number(given["timeout"]) if "timeout" in given else None
    others = (f"{word} {given[word]}" for word in ("skbmark", "skbprio", "skbqueue") if word in given)
    return Member(number, parts, nomatch, timeout, counters, given.get("comment"), (*others, *rest))


def _parts(of: IpSet, text: str) -> tuple[Part, ...]:
    """The dimensions of a member. Raises ValueError."""
    dimensions = of.dimensions
    pieces = text.split(",", len(dimensions) - 1)
    if len(pieces) < len(dimensions) and of.kind != "bitmap:ip,mac":
        raise ValueError(f"{text[:80]!r} is no member of a set of type {of.kind}")
    found: list[Part] = []
    for dimension, piece in zip(dimensions, pieces, strict=False):
        build = _bare_port if of.kind == "bitmap:port" else _PARTS.get(dimension)
        if build is None:
            raise ValueError(f"sets of type {of.kind} are not known")
        try:
            part = build(piece)
        except ValueError as error:
            raise ValueError(f"{piece[:80]!r} is no {dimension} of a set of type {of.kind}") from error
        if isinstance(part, ipaddress.IPv4Network | ipaddress.IPv6Network) and of.family not in {None, part.version}:
            raise ValueError(f"{piece[:80]!r} is of another family than its set")
        found.append(part)
    return tuple(found)


def _addresses(text: str) -> Part:
    low, dash, high = text.partition("-")
    if not dash:
        return network(text)
    return AddressSpan(ipaddress.ip_address(low), ipaddress.ip_address(high))


def _port(text: str) -> Part:
    name, colon, rest = text.partition(":")
    protocol = protocol_number(name) if colon else 6
    if protocol in _ICMP:
        kind, code = icmp_type(protocol, rest)
        return ProtocolIcmp(protocol, rest, kind, code)
    if protocol in _WITH_PORTS:
        return ProtocolPort(protocol, number_range(rest if colon else text, mark="-"))
    return ProtocolPort(protocol)


def _bare_port(text: str) -> Part:
    return number_range(text, mark="-")


def _device(text: str) -> Part:
    bridged = text.startswith("physdev:")
    return DeviceName(text.removeprefix("physdev:"), bridged)


def _mac(text: str) -> Part:
    if not _MAC.fullmatch(text):
        raise ValueError("no link-layer address")
    return MacAddress(text.lower())


_PARTS: Mapping[str, Callable[[str], Part]] = MappingProxyType(
    {
        "ip": _addresses,
        "net": _addresses,
        "port": _port,
        "mark": lambda text: MarkBits(whole_number(text)),
        "mac": _mac,
        "iface": _device,
        "set": SetName,
    }
)
