"""The chain of a load balancer's address in mode nftables: everybody but some sources is dropped."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from migrate.model.addresses import AddressSet, Network, parse_address, parse_network
from migrate.model.intervals import IntervalSet
from migrate.model.raw import Json, as_map
from migrate.sources.node.nft_names import NftRule


def let_in(rule: NftRule, family: int) -> AddressSet:
    """The sources that a rule of the form `ip saddr != { ... } drop` does not drop; all where it has another form."""
    everything = AddressSet.everything()
    allowed = AddressSet(everything.v4) if family == 4 else AddressSet(v6=everything.v6)
    parts = [_decoded(part) for part in rule.parts]
    if not any("drop" in part for part in parts):
        return allowed
    for part in parts:
        match = as_map(part.get("match"))
        if match.get("op") == "!=" and as_map(as_map(match.get("left")).get("payload")).get("field") == "saddr":
            return _sources(match.get("right"))
    return AddressSet()


def _decoded(part: msgspec.Raw) -> dict[str, Json]:
    try:
        return as_map(msgspec.json.decode(part))
    except (msgspec.DecodeError, RecursionError):
        return {}


def _sources(value: Json) -> AddressSet:
    found = AddressSet()
    several = as_map(value).get("set", value)
    for entry in several if isinstance(several, list) else [several]:
        found |= _range(entry) if "range" in as_map(entry) else AddressSet.of(_networks(entry))
    return found


def _networks(entry: Json) -> Iterator[Network]:
    prefix = as_map(as_map(entry).get("prefix"))
    text = f"{prefix.get('addr')}/{prefix.get('len')}" if prefix else str(entry)
    try:
        yield parse_network(text)
    except ValueError:
        return


def _range(entry: Json) -> AddressSet:
    """nft joins neighbouring prefixes to a range."""
    ends = as_map(entry).get("range")
    try:
        low, high = (parse_address(str(end)) for end in (ends if isinstance(ends, list) else ()))
    except ValueError:
        return AddressSet()
    several = IntervalSet.of([(int(low), int(high))])
    return AddressSet(several) if low.version == 4 else AddressSet(v6=several)
