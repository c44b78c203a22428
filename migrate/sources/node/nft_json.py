"""`nft -j list ruleset` → tables, chains, rules and sets of nftables.

What iptables-nft writes shows here too, but without the names of its sets and without its comments: those tables are
read from iptables-save. Facts: libnftables-json(5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from migrate.errors import InputError
from migrate.model.addresses import Address, Network, parse_address
from migrate.model.node_state import Counters
from migrate.model.raw import Json, as_list, as_map, as_number, as_text

_AGAIN = "take the dump again"
_VERDICTS = ("accept", "drop", "return", "continue", "jump", "goto", "queue")
_SETS = ("set", "map")

NftAtom: TypeAlias = "Address | Network | tuple[Address, Address] | int | tuple[int, int] | str"
"""A value, a prefix, or two ends of a range; anything else as text."""


@dataclass(frozen=True, slots=True)
class NftVerdict:
    """What ends a packet's way through a chain, or (jump, goto) the chain it goes on to."""

    kind: str
    chain: str | None = None


@dataclass(frozen=True, slots=True)
class NftElement:
    """An entry of a set, with one atom for each part of a concatenation; of a map, with what it leads to."""

    key: tuple[NftAtom, ...]
    verdict: NftVerdict | None = None
    data: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class NftMatch:
    """A condition. `left` is what is looked at ("ip saddr", "meta l4proto", "ct state", "meta mark & 0x10000").

    `values` are what is compared with; `set` is a named set's name instead.
    """

    left: str
    negated: bool = False
    values: tuple[NftAtom, ...] = ()
    set: str | None = None


@dataclass(frozen=True, slots=True)
class NftVmap:
    """What is looked at leads to a verdict: by a named map, or by entries that stand in the rule."""

    left: str
    map: str | None = None
    entries: tuple[NftElement, ...] = ()


@dataclass(frozen=True, slots=True)
class NftLog:
    """A line in the kernel's log, or a message to a group."""

    prefix: str = ""
    group: int | None = None


@dataclass(frozen=True, slots=True)
class NftMangle:
    """What is looked at becomes a value, as nft writes both."""

    left: str
    value: str


@dataclass(frozen=True, slots=True)
class NftOther:
    """Another statement, by its name and as JSON."""

    name: str
    text: str


NftStatement: TypeAlias = NftMatch | NftVmap | NftVerdict | NftLog | NftMangle | NftOther


@dataclass(frozen=True, slots=True)
class NftRule:
    """A rule. `index` counts from 1 in its chain."""

    index: int
    handle: int | None = None
    comment: str | None = None
    counters: Counters | None = None
    statements: tuple[NftStatement, ...] = ()

    @property
    def targets(self) -> tuple[NftVerdict, ...]:
        """Verdicts that stand in the rule itself."""
        return tuple(statement for statement in self.statements if isinstance(statement, NftVerdict))


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain. A base chain has a `hook`, with its priority and policy."""

    name: str
    hook: str | None = None
    kind: str | None = None
    priority: int | None = None
    policy: str | None = None
    rules: tuple[NftRule, ...] = ()


@dataclass(frozen=True, slots=True)
class NftSet:
    """A named set, or a map with `is_map`. `types` has one name for each part of a key."""

    name: str
    is_map: bool
    types: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    elements: tuple[NftElement, ...] = ()


@dataclass(frozen=True, slots=True)
class NftTable:
    """A table of one family (ip, ip6, inet, arp, bridge, netdev)."""

    family: str
    name: str
    chains: tuple[NftChain, ...] = ()
    sets: tuple[NftSet, ...] = ()

    def chain(self, name: str) -> NftChain | None:
        """The chain of that name."""
        return next((chain for chain in self.chains if chain.name == name), None)

    def set_named(self, name: str) -> NftSet | None:
        """The set or map of that name."""
        return next((found for found in self.sets if found.name == name), None)


@dataclass(frozen=True, slots=True)
class NftRuleset:
    """All tables of a dump, in its order."""

    source: str
    tables: tuple[NftTable, ...] = ()

    def table(self, family: str, name: str) -> NftTable | None:
        """The table of a family and name."""
        return next((table for table in self.tables if (table.family, table.name) == (family, name)), None)


def read_nft_json(body: bytes, source: str) -> NftRuleset:
    """All tables of a dump; an empty one has none. Raises InputError with the file."""
    if not body.strip():
        return NftRuleset(source)
    try:
        value: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{source}: is no JSON of nft: {error}; {_AGAIN}") from error
    parts = value.get("nftables") if isinstance(value, dict) else None
    if not isinstance(parts, list):
        raise InputError(f'{source}: has no list "nftables"; {_AGAIN}')
    reader = _Reader()
    try:
        for part in parts:
            reader.take(as_map(part))
    except RecursionError as error:
        raise InputError(f"{source}: an expression is nested too deep; {_AGAIN}") from error
    return NftRuleset(source, tuple(table.closed() for table in reader.tables.values()))


@dataclass(slots=True)
class _OpenChain:
    made: NftChain
    rules: list[NftRule] = field(default_factory=list)

    def closed(self) -> NftChain:
        made = self.made
        return NftChain(made.name, made.hook, made.kind, made.priority, made.policy, tuple(self.rules))


@dataclass(slots=True)
class _OpenTable:
    family: str
    name: str
    chains: dict[str, _OpenChain] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)

    def closed(self) -> NftTable:
        chains = tuple(chain.closed() for chain in self.chains.values())
        return NftTable(self.family, self.name, chains, tuple(self.sets.values()))


@dataclass(slots=True)
class _Reader:
    """Takes the objects of a dump one after another."""

    tables: dict[tuple[str, str], _OpenTable] = field(default_factory=dict)

    def take(self, part: Mapping[str, Json]) -> None:
        for kind, value in part.items():
            entry = as_map(value)
            if kind == "table":
                self._table(_text(entry, "family"), _text(entry, "name"))
            elif kind in ("chain", "rule", *_SETS):
                table = self._table(_text(entry, "family"), _text(entry, "table"))
                self._part(table, kind, entry)

    def _table(self, family: str, name: str) -> _OpenTable:
        return self.tables.setdefault((family, name), _OpenTable(family, name))

    def _part(self, table: _OpenTable, kind: str, entry: Mapping[str, Json]) -> None:
        if kind == "chain":
            made = _chain(entry)
            table.chains.setdefault(made.name, _OpenChain(made)).made = made
        elif kind == "rule":
            name = _text(entry, "chain")
            chain = table.chains.setdefault(name, _OpenChain(NftChain(name)))
            chain.rules.append(_rule(entry, len(chain.rules) + 1))
        else:
            found = _set(entry, is_map=kind == "map")
            table.sets[found.name] = found


def _chain(entry: Mapping[str, Json]) -> NftChain:
    return NftChain(
        name=_text(entry, "name"),
        hook=_text(entry, "hook") or None,
        kind=_text(entry, "type") or None,
        priority=as_number(entry.get("prio")),
        policy=_text(entry, "policy") or None,
    )


def _rule(entry: Mapping[str, Json], index: int) -> NftRule:
    statements: list[NftStatement] = []
    counters: Counters | None = None
    for part in as_list(entry.get("expr")):
        for name, value in as_map(part).items():
            if name == "counter" and isinstance(value, dict):
                counters = Counters(as_number(value.get("packets")) or 0, as_number(value.get("bytes")) or 0)
            else:
                statements.append(_statement(name, value))
    comment = _text(entry, "comment") or None
    return NftRule(index, as_number(entry.get("handle")), comment, counters, tuple(statements))


def _statement(name: str, value: Json) -> NftStatement:
    if name in _VERDICTS:
        return _verdict(name, value)
    entry = as_map(value)
    if name == "match":
        return _match(entry)
    if name == "vmap":
        data = entry.get("data")
        named = data[1:] if isinstance(data, str) and data.startswith("@") else None
        entries = tuple(_elements(as_map(data).get("set"), is_map=True)) if named is None else ()
        return NftVmap(_left(entry.get("key")), named, entries)
    if name == "log":
        return NftLog(_text(entry, "prefix"), as_number(entry.get("group")))
    if name == "mangle":
        return NftMangle(_left(entry.get("key")), _left(entry.get("value")))
    return NftOther(name, _json(value))


def _verdict(name: str, value: Json) -> NftVerdict:
    return NftVerdict(name, _text(as_map(value), "target") or None)


def _match(entry: Mapping[str, Json]) -> NftMatch:
    left, negated = _left(entry.get("left")), entry.get("op") == "!="
    right = entry.get("right")
    if isinstance(right, str) and right.startswith("@"):
        return NftMatch(left, negated, set=right[1:])
    values = as_map(right).get("set") if isinstance(right, dict) and "set" in right else right
    several = values if isinstance(values, list) else [values]
    operator = entry.get("op")
    if operator not in ("==", "!=", "in", None):
        left = f"{left} {operator}"
    return NftMatch(left, negated, tuple(_atom(value) for value in several))


def _left(value: Json) -> str:
    """An expression in short: ip saddr, meta iifname, ct state, meta mark & 0x10000."""
    if isinstance(value, bool) or value is None:
        return _json(value)
    if isinstance(value, int):
        return hex(value) if value > 9 else str(value)
    if isinstance(value, str):
        return value
    for name, inner in as_map(value).items():
        entry = as_map(inner)
        if name == "payload":
            return f"{_text(entry, 'protocol')} {_text(entry, 'field')}"
        if name in ("meta", "ct", "fib"):
            return " ".join(("ct" if name == "ct" else name, _text(entry, "key") or _text(entry, "result")))
        if name in ("&", "|", "^") and isinstance(inner, list):
            return f" {name} ".join(_left(part) for part in inner)
        if name == "concat" and isinstance(inner, list):
            return " . ".join(_left(part) for part in inner)
    return _json(value)


def _set(entry: Mapping[str, Json], *, is_map: bool) -> NftSet:
    types = entry.get("type")
    return NftSet(
        name=_text(entry, "name"),
        is_map=is_map,
        types=tuple(part for part in (types if isinstance(types, list) else [types]) if isinstance(part, str)),
        flags=tuple(flag for flag in as_list(entry.get("flags")) if isinstance(flag, str)),
        elements=tuple(_elements(entry.get("elem"), is_map=is_map)),
    )


def _elements(value: Json, *, is_map: bool) -> Iterator[NftElement]:
    for entry in as_list(value):
        if is_map and isinstance(entry, list) and len(entry) == 2:
            key, comment = _unwrapped(entry[0])
            verdict = next((_verdict(k, v) for k, v in as_map(entry[1]).items() if k in _VERDICTS), None)
            yield NftElement(_key(key), verdict, None if verdict else _left(entry[1]), comment)
        else:
            key, comment = _unwrapped(entry)
            yield NftElement(_key(key), comment=comment)


def _unwrapped(value: Json) -> tuple[Json, str | None]:
    """An element that has a comment or a counter stands in a mapping."""
    inner = as_map(value).get("elem")
    if isinstance(inner, dict):
        return inner.get("val"), _text(inner, "comment") or None
    return value, None


def _key(value: Json) -> tuple[NftAtom, ...]:
    parts = as_map(value).get("concat")
    return tuple(_atom(part) for part in parts) if isinstance(parts, list) else (_atom(value),)


def _atom(value: Json) -> NftAtom:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return parse_address(value)
        except ValueError:
            return value
    entry = as_map(value)
    prefix = as_map(entry.get("prefix"))
    try:
        if prefix:
            return ipaddress.ip_network(f"{_text(prefix, 'addr')}/{as_number(prefix.get('len'))}", strict=False)
    except ValueError:
        return _json(value)
    ends = entry.get("range")
    if isinstance(ends, list) and len(ends) == 2:
        low, high = _atom(ends[0]), _atom(ends[1])
        if isinstance(low, int) and isinstance(high, int):
            return (low, high)
        if isinstance(low, Address) and isinstance(high, Address):
            return (low, high)
    return _json(value)


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def _text(owner: Mapping[str, Json], key: str) -> str:
    return as_text(owner.get(key))
