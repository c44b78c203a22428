"""The tables, chains and sets that `nft -j list ruleset` names, without their meaning; rules stay as text.

What Calico writes in this form is read elsewhere; here it is enough to tell who has tables on a node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from migrate.errors import InputError
from migrate.model.refs import Location

_OF_IPTABLES = frozenset(("filter", "nat", "mangle", "raw", "security"))


class NftPart(msgspec.Struct, frozen=True):
    """A table, set or map by its name."""

    name: str
    family: str
    table: str = ""


class NftChain(NftPart, frozen=True):
    """A chain. Of a base chain `hook` is where it sits, and `type` is filter, nat or route."""

    hook: str = ""
    type: str = ""


class NftRule(msgspec.Struct, frozen=True):
    """A rule. `parts` are its matches and statements in their order, each a JSON object with one key."""

    family: str
    table: str
    chain: str
    handle: int = 0
    comment: str = ""
    parts: tuple[msgspec.Raw, ...] = msgspec.field(default=(), name="expr")


class _Entry(msgspec.Struct, frozen=True):
    table: NftPart | None = None
    chain: NftChain | None = None
    set: NftPart | None = None
    map: NftPart | None = None
    rule: NftRule | None = None


class _Listing(msgspec.Struct, frozen=True):
    nftables: list[msgspec.Raw]


@dataclass(slots=True)
class NftNames:
    """What stands in nftables, apart from what iptables-nft writes there itself."""

    source: str
    tables: list[NftPart] = field(default_factory=list)
    chains: list[NftChain] = field(default_factory=list)
    sets: list[NftPart] = field(default_factory=list)
    rules: list[NftRule] = field(default_factory=list)

    @property
    def at(self) -> Location:
        """The file; nft writes everything into one line."""
        return Location(self.source, None)


def salvage_nft(body: bytes, source: str) -> tuple[NftNames, tuple[InputError, ...]]:
    """Everything but iptables' own tables, and what is wrong with the rest."""
    found = NftNames(source)
    if not body.strip():
        return found, ()
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except msgspec.ValidationError:
        return found, (InputError(f'{source}: has no list "nftables"; take the dump again'),)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return found, (InputError(f"{source}: is no JSON of nft: {error}; take the dump again"),)
    complaints: list[InputError] = []
    for number, raw in enumerate(listing.nftables, start=1):
        try:
            _add(found, msgspec.json.decode(raw, type=_Entry))
        except (ValueError, RecursionError) as error:
            complaints.append(InputError(f"{source}: entry {number} cannot be read: {error}; take the dump again"))
    return found, tuple(complaints)


def _add(found: NftNames, entry: _Entry) -> None:
    for part, several in ((entry.table, found.tables), (entry.set, found.sets), (entry.map, found.sets)):
        if part is not None and not _is_iptables(part.family, part.table or part.name):
            several.append(part)
    if entry.chain is not None and not _is_iptables(entry.chain.family, entry.chain.table):
        found.chains.append(entry.chain)
    if entry.rule is not None and not _is_iptables(entry.rule.family, entry.rule.table):
        found.rules.append(entry.rule)


def _is_iptables(family: str, table: str) -> bool:
    return family in {"ip", "ip6"} and table in _OF_IPTABLES
