"""Puts the programs at both directions of interfaces: by TCX links, or before kernel 6.6 by clsact filters."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from migrate.audit import libbpf
from migrate.audit.kernel import ProbeError
from migrate.audit.layout import Direction
from migrate.audit.libbpf import KernelRefusalError

_TCX = {Direction.FROM_POD: 46, Direction.TO_POD: 47}
_WAY = {Direction.FROM_POD: "ingress", Direction.TO_POD: "egress"}
_PIN = {Direction.FROM_POD: "from", Direction.TO_POD: "to"}
_BEFORE_OTHERS = 1 << 3
_LOOPBACK = 1
_LINK_IFINDEX = slice(16, 20)


class Hooks(Protocol):
    """One way to put the programs at interfaces."""

    name: str

    def attach(self, ifindex: int, name: str) -> None:
        """Both directions; nothing happens where they are attached already. Raises ProbeError."""

    def detach(self, ifindex: int) -> None:
        """Take both directions away, if they are there."""

    def misplaced(self, ifindex: int) -> str:
        """Why the programs do not see every packet; else empty."""

    def resume(self) -> None:
        """What an earlier process left goes on with the programs of this one; what is stale goes."""

    def close(self) -> None:
        """Let go of what this process holds."""

    def remove(self) -> None:
        """Take everything away."""


def has_tcx() -> bool:
    """Whether this kernel has TCX links (6.6 and newer)."""
    try:
        libbpf.programs_at(_LOOPBACK, _TCX[Direction.FROM_POD])
    except KernelRefusalError as error:
        return error.errno != errno.EINVAL
    return True


class TcxHooks:
    """Links in front of all others. Pinned, they stay when the process dies; without a folder they end with it."""

    name = "tcx"

    def __init__(self, programs: dict[Direction, int], folder: Path | None) -> None:
        self._programs = programs
        self._folder = folder
        self._held: dict[tuple[int, Direction], int] = {}

    def attach(self, ifindex: int, name: str) -> None:
        """Both directions; nothing happens where they are attached already. Raises ProbeError."""
        for direction in Direction:
            try:
                if not self._is_attached(ifindex, direction):
                    self._link(ifindex, direction)
            except OSError as error:
                self.detach(ifindex)
                raise ProbeError(_attach_text(name, ifindex, error)) from error

    def detach(self, ifindex: int) -> None:
        """Take both directions away, if they are there."""
        for direction in Direction:
            held = self._held.pop((ifindex, direction), None)
            if held is not None:
                _end(held)
            if self._folder is not None:
                _unpin(self._pin(ifindex, direction))

    def misplaced(self, ifindex: int) -> str:
        """Why the programs do not see every packet; else empty."""
        for direction in Direction:
            try:
                running = libbpf.programs_at(ifindex, _TCX[direction])
            except KernelRefusalError as error:
                return _gone_text(direction, error)
            ours = libbpf.program_id(self._programs[direction])
            if ours not in running:
                return f"{_WAY[direction]}: its link is gone"
            if running[0] != ours:
                return f"{_WAY[direction]}: {libbpf.program_name(running[0])} runs before it"
        return ""

    def resume(self) -> None:
        """Pinned links go on with the programs of this process; those of interfaces that are gone go."""
        for pinned in sorted(self._folder.glob("link-*")) if self._folder is not None else ():
            way = pinned.name.rpartition("-")[2]
            direction = next(direction for direction in Direction if _PIN[direction] == way)
            link = libbpf.open_pin(pinned)
            try:
                libbpf.update_link(link, self._programs[direction])
            except KernelRefusalError:  # its interface is gone
                pinned.unlink()
            finally:
                os.close(link)

    def close(self) -> None:
        """Let go of what this process holds."""
        for held in self._held.values():
            _end(held)
        self._held.clear()

    def remove(self) -> None:
        """Take all links away."""
        for ifindex, _ in list(self._held):
            self.detach(ifindex)
        for pinned in sorted(self._folder.glob("link-*")) if self._folder is not None else ():
            _unpin(pinned)

    def _pin(self, ifindex: int, direction: Direction) -> Path:
        return (self._folder or Path()) / f"link-{ifindex}-{_PIN[direction]}"

    def _is_attached(self, ifindex: int, direction: Direction) -> bool:
        """An index is used again after its interface is gone; the old link then has no interface any more."""
        if self._folder is None:
            held = self._held.get((ifindex, direction))
            return held is not None and _ifindex_of(held) == ifindex
        try:
            link = libbpf.open_pin(self._pin(ifindex, direction))
        except KernelRefusalError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        try:
            return _ifindex_of(link) == ifindex
        finally:
            os.close(link)

    def _link(self, ifindex: int, direction: Direction) -> None:
        link = libbpf.create_link(self._programs[direction], ifindex, _TCX[direction], _BEFORE_OTHERS)
        if self._folder is None:
            stale = self._held.pop((ifindex, direction), None)
            if stale is not None:
                _end(stale)
            self._held[ifindex, direction] = link
            return
        try:
            path = self._pin(ifindex, direction)
            _unpin(path)
            libbpf.pin(link, path)
        finally:
            os.close(link)


def _end(link: int) -> None:
    """Detach a link and let go of it."""
    try:
        with suppress(KernelRefusalError):  # its interface is gone
            libbpf.detach_link(link)
    finally:
        os.close(link)


def _unpin(pinned: Path) -> None:
    """End the link that is pinned there, if any."""
    try:
        link = libbpf.open_pin(pinned)
    except KernelRefusalError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    _end(link)
    pinned.unlink()


def _ifindex_of(link: int) -> int:
    """The interface of a link; 0 when it is gone."""
    return int.from_bytes(libbpf.object_info(link)[_LINK_IFINDEX], "little")


def _attach_text(name: str, ifindex: int, error: OSError) -> str:
    if error.errno == errno.ENODEV:
        return f"interface {name} (index {ifindex}) is gone"
    return f"interface {name} (index {ifindex}): the kernel did not take the probe: {error.strerror}"


def _gone_text(direction: Direction, error: OSError) -> str:
    if error.errno == errno.ENODEV:
        return f"{_WAY[direction]}: the interface is gone"
    return f"{_WAY[direction]}: the kernel does not say what runs there: {error.strerror}"


def tcx_names(ifindex: int, direction: Direction) -> list[str]:
    """The names of the programs among TCX links, in the order in which they run; none on kernels without them."""
    running: list[int] = []
    with suppress(KernelRefusalError):
        running = libbpf.programs_at(ifindex, _TCX[direction])
    return [libbpf.program_name(number) for number in running]


def foreign_tcx(ifindex: int, direction: Direction) -> str:
    """The name of the first program among TCX links, which run before all filters; else empty."""
    return next(iter(tcx_names(ifindex, direction)), "")
