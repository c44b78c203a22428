"""The veths of this node's network namespace and the addresses of the pods behind them, as the kernel tells them.

It reads netlink itself: pyroute2 would add 16 MiB to the 22 MiB of an agent.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, TypeAlias

from migrate.audit import netlink
from migrate.audit.layout import Address
from migrate.audit.netlink import Message, Netlink, attribute, attributes

_NEW_LINK, _DELETE_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_NEW_ROUTE, _GET_ROUTE = 24, 26
_DELETE_QDISC = 37
_LINKS, _TRAFFIC_CONTROL, _ROUTES_V4, _ROUTES_V6 = 1, 1 << 3, 1 << 6, 1 << 10
_V4, _V6 = 2, 10
_BRIDGE = 7
"""A message of this family is of a bridge's port: its end is not the end of the link."""
_LINK_HEADER = struct.Struct("=BxHiII")
_LINK_NAME, _LINK_PEER, _LINK_INFO, _LINK_NAMESPACE = 3, 5, 18, 37
_INFO_KIND = 1
_ROUTE_HEADER = struct.Struct("=BBBBBBBBI")
_ROUTE_DESTINATION, _ROUTE_INTERFACE = 1, 4
_UNICAST = 1
_ADDRESS_HEADER = struct.Struct("=BBBBI")
_ADDRESS, _LOCAL_ADDRESS, _OF_NAMESPACE = 1, 2, 10
_EVERYWHERE = 0
_QDISC_HEADER = struct.Struct("=Bxxxi")


@dataclass(frozen=True, slots=True)
class PodName:
    """A pod, as the API names it."""

    namespace: str
    name: str
    uid: str


class Pods(Protocol):
    """The pods of this node."""

    def pod_at(self, address: Address) -> PodName | None:
        """The pod that has this address for itself; None: none is known, or not yet."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `peer_namespace` is the kernel's number for the namespace of a veth's other end; None: this one."""

    index: int
    name: str
    kind: str
    peer: int
    peer_namespace: int | None

    @property
    def is_of_pod(self) -> bool:
        """Whether it is the host's side of a veth. Both ends are here while a veth is being made."""
        return self.kind == "veth" and self.peer_namespace is not None


@dataclass(frozen=True, slots=True)
class LinkTold:
    """An interface is new or has changed."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkGone:
    """An interface is gone, or in another namespace now."""

    index: int


@dataclass(frozen=True, slots=True)
class RouteTold:
    """A single address is behind an interface."""

    address: Address
    index: int


@dataclass(frozen=True, slots=True)
class HooksGone:
    """Somebody took a queueing discipline away, and the filters in it."""

    index: int


Event: TypeAlias = LinkTold | LinkGone | RouteTold | HooksGone


class EventsLostError(Exception):
    """The kernel had more to tell than the socket could hold."""


class LinkEvents:
    """What changes, from the moment it is made."""

    def __init__(self) -> None:
        self._kernel = Netlink(netlink.ROUTE, _LINKS | _TRAFFIC_CONTROL | _ROUTES_V4 | _ROUTES_V6)

    def fileno(self) -> int:
        """The descriptor, to wait for."""
        return self._kernel.fileno()

    def read(self) -> list[Event]:
        """What was told and not read yet. Raises EventsLostError."""
        try:
            return [event for message in self._kernel.events() if (event := _event(message)) is not None]
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            raise EventsLostError from error

    def close(self) -> None:
        """Listen no more."""
        self._kernel.close()


class HostLinks:
    """What is there now. Raises OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._kernel = Netlink(netlink.ROUTE)
        self._addresses = Netlink(netlink.ROUTE)
        self._addresses.check_strictly()

    def close(self) -> None:
        """Let go of the sockets."""
        self._kernel.close()
        self._addresses.close()

    def veths(self) -> dict[int, Link]:
        """The veths of pods, by index."""
        messages = self._kernel.dump(_GET_LINK, _LINK_HEADER.pack(0, 0, 0, 0, 0))
        links = (_link(message.data) for message in messages)
        return {link.index: link for link in links if link.is_of_pod}

    def link(self, index: int) -> Link | None:
        """One interface."""
        message = self._kernel.get(_GET_LINK, _LINK_HEADER.pack(0, 0, index, 0, 0))
        return None if message is None else _link(message.data)

    def routes(self) -> Iterator[RouteTold]:
        """All single addresses that a route sends to an interface."""
        for family in (_V4, _V6):
            for message in self._kernel.dump(_GET_ROUTE, _ROUTE_HEADER.pack(family, *bytes(7), 0)):
                route = _route(message.data)
                if route is not None:
                    yield route

    def uplinks(self) -> frozenset[int]:
        """The interfaces of default routes: of a node that is a container itself they can be veths too."""
        found = set()
        for family in (_V4, _V6):
            for message in self._kernel.dump(_GET_ROUTE, _ROUTE_HEADER.pack(family, *bytes(7), 0)):
                if message.data[1] == 0 and (index := _interface(message.data)):
                    found.add(index)
        return frozenset(found)

    def peer_addresses(self, link: Link) -> list[Address]:
        """The addresses at the other end of a veth; none where the kernel does not tell (it does from 4.20 on)."""
        if link.peer_namespace is None:
            return []
        target = attribute(_OF_NAMESPACE, struct.pack("=i", link.peer_namespace))
        found: list[Address] = []
        try:
            for family in (_V4, _V6):
                body = _ADDRESS_HEADER.pack(family, 0, 0, 0, link.peer) + target
                for message in self._addresses.dump(_GET_ADDRESS, body):
                    found += _addresses(message, link.peer)
        except OSError:
            return []  # the pod is gone, or another user's
        return found


def own_addresses() -> frozenset[Address]:
    """The addresses of this network namespace, without those that only hold on one link or for itself."""
    found: list[Address] = []
    with Netlink(netlink.ROUTE) as kernel:
        for family in (_V4, _V6):
            for message in kernel.dump(_GET_ADDRESS, _ADDRESS_HEADER.pack(family, 0, 0, 0, 0)):
                found += _addresses(message, _ADDRESS_HEADER.unpack_from(message.data)[4])
    return frozenset(found)


def _event(message: Message) -> Event | None:
    if message.kind in (_NEW_LINK, _DELETE_LINK) and message.data[0] != _BRIDGE:
        link = _link(message.data)
        return LinkTold(link) if message.kind == _NEW_LINK else LinkGone(link.index)
    if message.kind == _NEW_ROUTE:
        return _route(message.data)
    if message.kind == _DELETE_QDISC:
        return HooksGone(_QDISC_HEADER.unpack_from(message.data)[1])
    return None


def _link(data: bytes) -> Link:
    index = _LINK_HEADER.unpack_from(data)[2]
    name = kind = ""
    peer, namespace = 0, None
    for found, start, end in attributes(data, _LINK_HEADER.size, len(data)):
        if found == _LINK_NAME:
            name = _text(data[start:end])
        elif found == _LINK_PEER:
            (peer,) = struct.unpack_from("=i", data, start)
        elif found == _LINK_NAMESPACE:
            (namespace,) = struct.unpack_from("=i", data, start)
        elif found == _LINK_INFO:
            inner = attributes(data, start, end)
            kind = next((_text(data[first:last]) for detail, first, last in inner if detail == _INFO_KIND), "")
    return Link(index, name, kind, peer, namespace)


def _route(data: bytes) -> RouteTold | None:
    """None for what is not one address behind one interface."""
    family, length, _, _, _, _, _, kind, _ = _ROUTE_HEADER.unpack_from(data)
    if kind != _UNICAST or (family, length) not in ((_V4, 32), (_V6, 128)):
        return None
    found = attributes(data, _ROUTE_HEADER.size, len(data))
    destination = next((data[start:end] for kind, start, end in found if kind == _ROUTE_DESTINATION), b"")
    index = _interface(data)
    return RouteTold(_address(destination), index) if destination and index else None


def _interface(data: bytes) -> int:
    """The interface of a route; 0 where it has none or many."""
    for found, start, _ in attributes(data, _ROUTE_HEADER.size, len(data)):
        if found == _ROUTE_INTERFACE:
            return int(struct.unpack_from("=I", data, start)[0])
    return 0


def _addresses(message: Message, index: int) -> Iterator[Address]:
    """Those of one interface that are not of its link alone. A point-to-point one has its own beside its peer's."""
    if message.kind != _NEW_ADDRESS:
        return
    _, _, _, scope, found_index = _ADDRESS_HEADER.unpack_from(message.data)
    if scope != _EVERYWHERE or found_index != index:
        return
    data = message.data
    found = {kind: data[start:end] for kind, start, end in attributes(data, _ADDRESS_HEADER.size, len(data))}
    own = found.get(_LOCAL_ADDRESS, found.get(_ADDRESS))
    if own:
        yield _address(own)


def _address(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
