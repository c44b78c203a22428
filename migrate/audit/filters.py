"""Puts the programs at interfaces as clsact filters, for kernels that have no TCX links."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from migrate.audit import libbpf, netlink
from migrate.audit.attach import foreign_tcx
from migrate.audit.kernel import ProbeError
from migrate.audit.layout import Direction
from migrate.audit.netlink import Netlink, attributes

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_PARENT = {Direction.FROM_POD: 0xFFFFFFF2, Direction.TO_POD: 0xFFFFFFF3}
_WAY = {Direction.FROM_POD: "ingress", Direction.TO_POD: "egress"}
_NAME = {Direction.FROM_POD: "migrate_from_pod", Direction.TO_POD: "migrate_to_pod"}
"""Names of our filters; behind a colon follows the number of the program, which pyroute2 does not read."""
_FIRST = 1
_ALL_PROTOCOLS = 3  # ETH_P_ALL
_GET_QDISC, _GET_FILTER = 38, 46
_HEADER = struct.Struct("=B3xiIII")
"""Of messages on traffic control: family, interface, handle, parent, and what depends on the kind."""
_KIND, _OPTIONS, _BPF_NAME = 1, 2, 7


@dataclass(frozen=True, slots=True)
class _Filter:
    """A filter as the kernel lists it; `name` is empty for kinds other than bpf."""

    handle: int
    kind: str
    name: str


class ClsactHooks:
    """Filters of preference 1. They stay when the process dies, as the interface holds them.

    Reading goes past pyroute2, which takes milliseconds for each interface; the kernel lists no filters of several.
    """

    name = "clsact"

    def __init__(self, programs: dict[Direction, int]) -> None:
        self._programs = programs

    @cached_property
    def _route(self) -> IPRoute:
        from pyroute2 import IPRoute

        return IPRoute()

    @cached_property
    def _kernel(self) -> Netlink:
        return Netlink(netlink.ROUTE)

    def attach(self, ifindex: int, name: str) -> None:
        """Both directions; nothing happens where they are attached already. Raises ProbeError."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            self._add_clsact(ifindex)
            for direction in Direction:
                self._add_filter(ifindex, direction)
        except NetlinkError as error:
            self.detach(ifindex)
            where = f"interface {name} (index {ifindex})"
            if error.code == errno.ENODEV:
                raise ProbeError(f"{where} is gone") from error
            raise ProbeError(f"{where}: the kernel did not take the probe's filter: {error}") from error

    def detach(self, ifindex: int) -> None:
        """Take both filters away, and the clsact discipline when nothing else is in it."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            for direction in Direction:
                for filter_ in self._ours(ifindex, direction):
                    self._change("del-filter", ifindex, direction, filter_.handle)
            if self._has_clsact(ifindex) and not any(self._filters(ifindex, direction) for direction in Direction):
                self._route.tc("del", "clsact", ifindex)
        except NetlinkError as error:
            if error.code not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                raise ProbeError(f"interface {ifindex}: the probe's filter does not go: {error}") from error

    def misplaced(self, ifindex: int) -> str:
        """Why the programs do not see every packet; else empty."""
        for direction in Direction:
            first = foreign_tcx(ifindex, direction)
            filters = self._filters(ifindex, direction)
            ours = self._name(direction)
            if all(filter_.name != ours for filter_ in filters):
                return f"{_WAY[direction]}: its filter is gone"
            if filters[0].name != ours:
                first = first or filters[0].name or f"a {filters[0].kind} filter"
            if first:
                return f"{_WAY[direction]}: {first} runs before it"
        return ""

    def resume(self) -> None:
        """Filters of an earlier process go on with the programs of this one."""
        for ifindex in self._interfaces():
            for direction in Direction:
                for filter_ in self._ours(ifindex, direction):
                    self._change("replace-filter", ifindex, direction, filter_.handle)

    def close(self) -> None:
        """Let go of the sockets."""
        for name in ("_route", "_kernel"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def remove(self) -> None:
        """Take all filters of ours away."""
        self.remove_all()

    def remove_all(self) -> list[int]:
        """Take all filters of ours away; the interfaces that had some."""
        try:
            attached = self.attached()
            for ifindex in attached:
                self.detach(ifindex)
            return attached
        finally:
            self.close()

    def attached(self) -> list[int]:
        """The interfaces that have filters of ours."""
        ways = tuple(Direction)
        return [ifindex for ifindex in self._interfaces() if any(any(self._ours(ifindex, way)) for way in ways)]

    def _interfaces(self) -> list[int]:
        """Those with a clsact discipline."""
        found = self._kernel.dump(_GET_QDISC, _HEADER.pack(0, 0, 0, 0, 0))
        return sorted({_HEADER.unpack_from(message.data)[1] for message in found if _kind(message.data) == "clsact"})

    def _has_clsact(self, ifindex: int) -> bool:
        """The kernel may list those of all interfaces, whichever is asked for."""
        return ifindex in self._interfaces()

    def _add_clsact(self, ifindex: int) -> None:
        if not self._has_clsact(ifindex):
            self._route.tc("add", "clsact", ifindex)

    def _add_filter(self, ifindex: int, direction: Direction) -> None:
        ours = list(self._ours(ifindex, direction))
        if not ours:
            self._change("add-filter", ifindex, direction, 0)
        elif ours[0].name != self._name(direction):
            self._change("replace-filter", ifindex, direction, ours[0].handle)

    def _change(self, command: str, ifindex: int, direction: Direction, handle: int) -> None:
        """Among filters of one preference the kernel runs the newest first."""
        described: dict[str, object] = {"parent": _PARENT[direction], "prio": _FIRST, "protocol": _ALL_PROTOCOLS}
        if command != "del-filter":
            described |= {"fd": self._programs[direction], "name": self._name(direction), "direct_action": True}
        self._route.tc(command, "bpf", ifindex, handle, **described)

    def _name(self, direction: Direction) -> str:
        return f"{_NAME[direction]}:{libbpf.program_id(self._programs[direction])}"

    def _ours(self, ifindex: int, direction: Direction) -> Iterator[_Filter]:
        return (found for found in self._filters(ifindex, direction) if found.name.startswith(_NAME[direction]))

    def _filters(self, ifindex: int, direction: Direction) -> list[_Filter]:
        """In the order in which they run."""
        try:
            listed = list(self._kernel.dump(_GET_FILTER, _HEADER.pack(0, ifindex, 0, _PARENT[direction], 0)))
        except OSError:
            return []
        return [found for message in listed if (found := _filter_of(message.data)).handle]


def _filter_of(data: bytes) -> _Filter:
    kind, name = _kind(data), ""
    for found, start, end in attributes(data, _HEADER.size, len(data)):
        if found == _OPTIONS and kind == "bpf":
            inner = attributes(data, start, end)
            name = next((_text(data[first:last]) for option, first, last in inner if option == _BPF_NAME), "")
    return _Filter(_HEADER.unpack_from(data)[2], kind, name)


def _kind(data: bytes) -> str:
    found = attributes(data, _HEADER.size, len(data))
    return next((_text(data[start:end]) for kind, start, end in found if kind == _KIND), "")


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
