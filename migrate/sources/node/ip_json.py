"""What `ip -j` prints of links, addresses and routes → typed values.

An entry that is no such thing is a complaint, and the others are used. Fields of newer versions are ignored: nothing
of what is read here depends on them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from migrate.errors import InputError
from migrate.model.addresses import parse_address, parse_network
from migrate.model.node_machine import Link, LinkAddress, Route
from migrate.model.refs import Location

_Entry = TypeVar("_Entry", bound=msgspec.Struct)
_Value = TypeVar("_Value")
_AGAIN = "take the dump again"


class _LinkData(msgspec.Struct, frozen=True):
    """The parts of a link that depend on its kind."""

    port: int | None = None
    id: int | None = None
    external: bool = False
    nf_call_iptables: int | None = None


class _LinkInfo(msgspec.Struct, frozen=True):
    info_kind: str = ""
    info_data: _LinkData = _LinkData()


class _LinkEntry(msgspec.Struct, frozen=True):
    ifname: str
    mtu: int = 0
    flags: tuple[str, ...] = ()
    master: str | None = None
    linkinfo: _LinkInfo = _LinkInfo()


class _AddressInfo(msgspec.Struct, frozen=True):
    local: str | None = None
    prefixlen: int | None = None


class _AddressEntry(msgspec.Struct, frozen=True):
    ifname: str | None = None
    addr_info: tuple[_AddressInfo, ...] = ()


class _Hop(msgspec.Struct, frozen=True):
    dev: str | None = None
    gateway: str | None = None


class _RouteEntry(msgspec.Struct, frozen=True):
    dst: str
    type: str = "unicast"
    dev: str | None = None
    gateway: str | None = None
    table: str | int = "main"
    protocol: str | int = ""
    metric: int = 0
    nexthops: tuple[_Hop, ...] = ()


def salvage_links(body: bytes, source: str) -> tuple[tuple[Link, ...], tuple[InputError, ...]]:
    """Links, and what is wrong with the rest."""
    return _salvage(body, source, _LinkEntry, lambda entry: (_link(entry),))


def salvage_addresses(body: bytes, source: str) -> tuple[tuple[LinkAddress, ...], tuple[InputError, ...]]:
    """Addresses of all interfaces, and what is wrong with the rest."""
    return _salvage(body, source, _AddressEntry, _addresses)


def salvage_routes(body: bytes, source: str, family: int) -> tuple[tuple[Route, ...], tuple[InputError, ...]]:
    """Routes of one family (4 or 6), and what is wrong with the rest. One with several next hops is several routes."""
    return _salvage(body, source, _RouteEntry, lambda entry: _routes(entry, family))


def _salvage(
    body: bytes, source: str, shape: type[_Entry], read: Callable[[_Entry], tuple[_Value, ...]]
) -> tuple[tuple[_Value, ...], tuple[InputError, ...]]:
    place = Location(source, None)
    if not body.strip():
        return (), ()
    try:
        entries = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return (), (InputError(f"{place}: is no JSON list as ip prints it: {error}; {_AGAIN}"),)
    found: list[_Value] = []
    complaints: list[InputError] = []
    for number, entry in enumerate(entries, start=1):
        try:
            found += read(msgspec.json.decode(entry, type=shape))
        except (ValueError, RecursionError) as error:
            complaints.append(InputError(f"{place}: entry {number} cannot be read: {error}; {_AGAIN}"))
    return tuple(found), tuple(complaints)


def _link(entry: _LinkEntry) -> Link:
    data, kind = entry.linkinfo.info_data, entry.linkinfo.info_kind
    return Link(
        name=entry.ifname,
        kind=kind,
        mtu=entry.mtu,
        up="UP" in entry.flags,
        master=entry.master,
        port=data.port,
        tunnel=data.id,
        shared=data.external,
        filters=bool(data.nf_call_iptables) if kind == "bridge" else None,
    )


def _addresses(entry: _AddressEntry) -> tuple[LinkAddress, ...]:
    return tuple(
        LinkAddress(entry.ifname or "", ipaddress.ip_interface(f"{info.local}/{info.prefixlen}"))
        for info in entry.addr_info
        if info.local and info.prefixlen is not None
    )


def _routes(entry: _RouteEntry, family: int) -> tuple[Route, ...]:
    everything = "0.0.0.0/0" if family == 4 else "::/0"
    destination = parse_network(everything if entry.dst == "default" else entry.dst)
    return tuple(
        Route(
            destination=destination,
            device=hop.dev,
            gateway=parse_address(hop.gateway) if hop.gateway else None,
            table=str(entry.table),
            kind=entry.type,
            protocol=str(entry.protocol),
            metric=entry.metric,
        )
        for hop in _hops(entry)
    )


def _hops(entry: _RouteEntry) -> Iterator[_Hop]:
    yield from entry.nexthops or (_Hop(entry.dev, entry.gateway),)
