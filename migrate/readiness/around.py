"""What Azure says beside the cluster itself, when it was given: its CLI, quota, networks, routes and filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.raw import Json, RawObject
from migrate.readiness.aks import release_of
from migrate.readiness.documents import Documents
from migrate.scan.azure_folder import GROUP_KIND, NETWORK_KIND, TABLE_KIND, USAGE_KIND, VERSION_KIND
from migrate.scan.inventory.look import dig, items, text, texts

_ANYBODY = ("*", "any", "0.0.0.0/0")
_INSIDE = "virtualnetwork"


@dataclass(frozen=True, slots=True)
class Filter:
    """A rule of a security group. Ends are addresses and tags in lower case; `whole`: all protocols and ports."""

    raw: RawObject
    index: int
    name: str
    denies: bool
    inbound: bool
    priority: int
    whole: bool
    sources: tuple[str, ...]
    destinations: tuple[str, ...]

    def touches(self, sources: Side, destinations: Side) -> bool:
        """Whether it is about anything that goes from one side to the other."""
        return sources.meets(self.sources) and destinations.meets(self.destinations)

    def holds(self, sources: Side, destinations: Side) -> bool:
        """Whether it is about everything that goes from one side to the other."""
        return self.whole and sources.inside(self.sources) and destinations.inside(self.destinations)


@dataclass(frozen=True, slots=True)
class Side:
    """The nodes, or the pods. Azure's tag for the virtual network means nodes, and pods of an overlay it does not."""

    name: str
    ranges: tuple[Network, ...]
    in_network: bool

    def meets(self, ends: tuple[str, ...]) -> bool:
        """Whether a part of the side is among the ends of a rule."""
        if self._named(ends):
            return True
        return any(
            one.version == other.version and _overlap(one, other) for one in _ranges(ends) for other in self.ranges
        )

    def inside(self, ends: tuple[str, ...]) -> bool:
        """Whether the whole side is among the ends of a rule."""
        return self._named(ends) or AddressSet.of(self.ranges) <= AddressSet.of(_ranges(ends))

    def _named(self, ends: tuple[str, ...]) -> bool:
        return any(end in _ANYBODY or (end == _INSIDE and self.in_network) for end in ends)


def cli_version(documents: Documents) -> str:
    """The version of the Azure CLI; empty when nobody said it."""
    said = next((text(raw, "spec", "azure-cli") for raw in documents.by_kind.get(VERSION_KIND, ())), "")
    return said if release_of(said) is not None else ""


def free_quota(documents: Documents) -> Mapping[str, int]:
    """What is free of each quota of the region, by its name in lower case; empty when nobody said it."""
    found: dict[str, int] = {}
    for raw in documents.by_kind.get(USAGE_KIND, ()):
        for entry in items(dig(raw.data, "spec", "usages")):
            name, used, limit = (
                dig(entry, "name", "value"),
                _count(dig(entry, "currentValue")),
                _count(dig(entry, "limit")),
            )
            if isinstance(name, str) and used is not None and limit is not None:
                found[name.lower()] = limit - used
    return found


def networks(documents: Documents) -> Iterator[tuple[Network, str]]:
    """The address spaces of virtual networks and of those that are peered with them, with whose they are."""
    for raw in documents.by_kind.get(NETWORK_KIND, ()):
        for range_ in _ranges(texts(raw, "spec", "addressSpace", "addressPrefixes")):
            yield range_, f"the virtual network {raw.ref.name}"
        for index, peering in enumerate(items(dig(raw.data, "spec", "virtualNetworkPeerings"))):
            for key in ("remoteAddressSpace", "remoteVirtualNetworkAddressSpace"):
                place = ("spec", "virtualNetworkPeerings", index, key, "addressPrefixes")
                for range_ in _ranges(texts(raw, *place)):
                    yield range_, f"the peered network behind {dig(peering, 'name')}"


def routes(documents: Documents) -> Iterator[tuple[RawObject, int, str, Network]]:
    """The routes of the given tables: table, number, name and destination."""
    for raw in documents.by_kind.get(TABLE_KIND, ()):
        for index in range(len(items(dig(raw.data, "spec", "routes")))):
            place = ("spec", "routes", index)
            for range_ in _ranges((text(raw, *place, "addressPrefix"),)):
                yield raw, index, text(raw, *place, "name"), range_


def has_routes(documents: Documents) -> bool:
    """Whether a route table was given."""
    return bool(documents.by_kind.get(TABLE_KIND))


def filters(documents: Documents) -> list[Filter]:
    """The rules of the given security groups, in the order in which they decide."""
    found = [
        _filter(raw, index)
        for raw in documents.by_kind.get(GROUP_KIND, ())
        for index in range(len(items(dig(raw.data, "spec", "securityRules"))))
    ]
    return sorted(found, key=lambda rule: (rule.raw.ref.name, rule.inbound, rule.priority))


def has_filters(documents: Documents) -> bool:
    """Whether a security group was given."""
    return bool(documents.by_kind.get(GROUP_KIND))


def _filter(raw: RawObject, index: int) -> Filter:
    place = ("spec", "securityRules", index)
    return Filter(
        raw=raw,
        index=index,
        name=text(raw, *place, "name"),
        denies=text(raw, *place, "access").lower() == "deny",
        inbound=text(raw, *place, "direction").lower() == "inbound",
        priority=_count(dig(raw.data, *place, "priority")) or 0,
        whole=text(raw, *place, "protocol").lower() in ("*", "any") and "*" in _ports(raw, place),
        sources=_ends(raw, place, "source"),
        destinations=_ends(raw, place, "destination"),
    )


def _ends(raw: RawObject, place: tuple[str | int, ...], side: str) -> tuple[str, ...]:
    one = text(raw, *place, f"{side}AddressPrefix")
    several = texts(raw, *place, f"{side}AddressPrefixes")
    return tuple(each.lower() for each in (*((one,) if one else ()), *several))


def _ports(raw: RawObject, place: tuple[str | int, ...]) -> tuple[str, ...]:
    return (text(raw, *place, "destinationPortRange"), *texts(raw, *place, "destinationPortRanges"))


def _overlap(one: Network, other: Network) -> bool:
    return one[0] in other or other[0] in one


def _ranges(given: tuple[str, ...]) -> list[Network]:
    """The ranges among texts; tags of services are none."""
    found: list[Network] = []
    for each in given:
        try:
            found.append(parse_network(each))
        except ValueError:
            continue
    return found


def _count(value: Json) -> int | None:
    """A whole number, which some commands print as text."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
