"""The probe as libbpf loads it: maps and links pinned, so that a new process goes on where a killed one was."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from migrate.audit import libbpf
from migrate.audit.attach import Hooks, TcxHooks, has_tcx
from migrate.audit.drops import Drops, open_drops
from migrate.audit.filters import ClsactHooks
from migrate.audit.kernel import ProbeError, Sizes, Table
from migrate.audit.layout import Control, Counter, Direction
from migrate.audit.libbpf import BpfObject, KernelRefusalError, Map
from migrate.audit.pins import BPFFS, PinFolder, is_bpffs, open_folder
from migrate.audit.rights import is_administrator

TABLES = ("flows0", "flows1", "coarse")
MAPS = (*TABLES, "connections", "stats", "ctl")
PROGRAMS = {Direction.FROM_POD: "from_pod", Direction.TO_POD: "to_pod"}
_HOOKS = ("tcx", "clsact")
# Older kernels allocate such entries in the way of the packet.
_FLEXIBLE_TABLES_SINCE = (6, 1)
_CHARGED_TO_CGROUPS_SINCE = (5, 11)
_OFFERS_CONNTRACK_SINCE = (6, 1)
BTF = Path("/sys/kernel/btf/vmlinux")
"""The types of the kernel's own structs."""
_NO_BTF = f"the kernel has no BTF ({BTF})"


class Programs(Protocol):
    """What a loader has put into the kernel."""

    def names(self, kind: str) -> list[str]:
        """The names of its "map"s."""

    def map(self, name: str) -> Map:
        """A map, with a descriptor of its own."""

    def program(self, name: str) -> int:
        """The descriptor of a program; it is the loader's."""

    def close(self) -> None:
        """Let go of all its descriptors."""


Load = Callable[[Path | None], tuple[Programs, tuple[str, ...]]]
"""Loads the programs with the maps that are pinned in a folder; also notes of what is not there."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one load of the programs gave."""

    loaded: Programs
    maps: Mapping[str, Map]
    hooks: Hooks
    drops: Drops | None
    folder: PinFolder | None


class LibbpfProbe:
    """See `Probe`. What is pinned goes on when the process dies."""

    def __init__(self, loader: str, parts: _Parts, resumed: bool, notes: tuple[str, ...]) -> None:
        self._parts = parts
        self._open = True
        self._removed = False
        self.loader = loader
        self.flows: tuple[Table, Table] = parts.maps["flows0"], parts.maps["flows1"]
        self.coarse: Table = parts.maps["coarse"]  # one table for all epochs: its rows only ever grow
        self.translations: Table | None = parts.maps.get("translations")
        self.drops: Table | None = parts.drops.table if parts.drops is not None else None
        self._barrier: tuple[Map, Map] | None = None
        self.resumed = resumed
        self.notes = notes
        self.attached_by = parts.hooks.name

    def maps(self, *names: str) -> list[Map]:
        """Maps by their names in bpf/core.h."""
        return [self._parts.maps[name] for name in names]

    def program(self, direction: Direction) -> int:
        """The descriptor of a program."""
        return self._parts.loaded.program(PROGRAMS[direction])

    def control(self, entry: Control) -> int:
        """A value of the control array."""
        return int.from_bytes(self._parts.maps["ctl"].get(_index(entry)) or b"", "little")

    def set_control(self, entry: Control, value: int) -> None:
        """Set a value of the control array."""
        self._parts.maps["ctl"].put(_index(entry), value.to_bytes(8, "little"))

    def barrier(self) -> None:
        """Return when no program runs any more that began before the call.

        The kernel waits for that before an update of a map in a map comes back.
        """
        if self._barrier is None:
            inner = libbpf.create_map(libbpf.ARRAY, "migrate_inner")
            self._barrier = inner, libbpf.create_map(libbpf.ARRAY_OF_MAPS, "migrate_barrier", inner)
        inner, outer = self._barrier
        outer.put(_index(0), inner.descriptor.to_bytes(4, "little"))

    def counters(self) -> Mapping[Counter, int]:
        """The kernel's counters, summed over all CPUs."""
        size = 8 * libbpf.possible_cpus()
        counted = {}
        for counter in Counter:
            data = self._parts.maps["stats"].get(_index(counter), size) or b""
            counted[counter] = sum(int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8))
        return counted

    def attach(self, ifindex: int, name: str) -> None:
        """Both directions of an interface; nothing happens where it is attached already. Raises ProbeError."""
        self._parts.hooks.attach(ifindex, name)
        if self._parts.drops is not None:
            self._parts.drops.watch(ifindex)

    def detach(self, ifindex: int) -> None:
        """Take both directions away, if they are there."""
        if self._parts.drops is not None:
            self._parts.drops.forget(ifindex)
        self._parts.hooks.detach(ifindex)

    def misplaced(self, ifindex: int) -> str:
        """Why the programs of an interface do not see every packet: hooks gone, another one in front; else empty."""
        return self._parts.hooks.misplaced(ifindex)

    def close(self) -> None:
        """Let go of the descriptors; pinned programs and maps stay and go on."""
        if self._open:
            self._open = False
            self._parts.hooks.close()
            self._close_maps()
            if self._parts.folder is not None:
                self._parts.folder.close()

    def remove(self) -> None:
        """Take everything out of the kernel: links, filters, pins. Once: later another may use the place."""
        if self._removed:
            return
        self._removed = True
        try:
            self._parts.hooks.remove()
        finally:
            if self._parts.folder is not None:
                self._parts.folder.remove()
            self.close()

    def _close_maps(self) -> None:
        for map_ in (*self._parts.maps.values(), *(self._barrier or ())):
            map_.close()
        if self._parts.drops is not None:
            self._parts.drops.close()
        self._parts.loaded.close()


def open_libbpf_probe(
    objects: Path, sizes: Sizes, *, bpffs: Path | None = BPFFS, hooks: str | None = None, extras: bool = True
) -> LibbpfProbe:
    """Load the probe, or go on with what a killed process left pinned. `bpffs` None: nothing is pinned.

    `hooks` is tcx or clsact; None takes TCX where the kernel has it. Without `extras` neither conntrack nor drops are
    asked. Raises ProbeError.
    """
    return assemble(
        "libbpf",
        lambda pins: _load_best(objects, sizes, pins, extras),
        sizes,
        objects if extras else None,
        bpffs,
        hooks,
    )


def assemble(
    loader: str, load: Load, sizes: Sizes, extras: Path | None, bpffs: Path | None, hooks: str | None
) -> LibbpfProbe:
    """A probe of what `load` loads; `extras` is the folder of the object that sees drops. Raises ProbeError."""
    with ExitStack() as undo:
        folder, notes = _pin_folder(bpffs)
        pins = folder.path if folder is not None else None
        if folder is not None:
            undo.callback(folder.close)
        resumed = pins is not None and all((pins / name).exists() for name in MAPS)
        if pins is not None and not resumed:
            _clear(pins)
        loaded, more = load(pins)
        undo.callback(loaded.close)
        maps = {name: loaded.map(name) for name in loaded.names("map")}
        for map_ in maps.values():
            undo.callback(map_.close)
        placed = _hooks(loaded, _chosen_hooks(hooks, pins), pins)
        _pin_maps(maps, pins, placed.name)
        drops, still_more = _open_drops(extras, maps, pins) if extras is not None else (None, ())
        placed.resume()
        undo.pop_all()
    said = (*notes, *_size_notes(maps, sizes), *more, *still_more)
    return LibbpfProbe(loader, _Parts(loaded, maps, placed, drops, folder), resumed, said)


def _pin_folder(bpffs: Path | None) -> tuple[PinFolder | None, tuple[str, ...]]:
    if bpffs is None:
        return None, ()
    mounted = is_bpffs(bpffs)
    try:
        folder = open_folder(bpffs)
    except OSError as error:
        note = f"no bpf filesystem at {bpffs} ({error.strerror}): recording ends with the agent instead of going on"
        return None, (note,)
    notes = [] if mounted else [f"bpffs was not mounted at {bpffs}; it is now, and stays so"]
    notes += [f"tables of another version ({name}) were left and are gone, unread" for name in folder.swept]
    return folder, tuple(notes)


def _load_best(objects: Path, sizes: Sizes, pins: Path | None, extras: bool) -> tuple[BpfObject, tuple[str, ...]]:
    """The probe that asks conntrack, or the one that does not and a note why. Raises ProbeError."""
    note: tuple[str, ...] = ()
    if extras:
        try:
            return _load(objects / "ct.bpf.o", sizes, pins), note
        except ProbeError as error:
            why = _why_no_functions(str(error))
            note = (f"translated addresses are not seen in the kernel, but asked for by netlink: {why}",)
    return _load(objects / "probe.bpf.o", sizes, pins), note


def _why_no_functions(error: str) -> str:
    if not BTF.exists():
        return _NO_BTF
    if "not found in kernel or module BTFs" not in error:
        return error
    if libbpf.kernel_version() < _OFFERS_CONNTRACK_SINCE:
        return f"kernel {os.uname().release} has no functions for it (they need 6.1 or newer)"
    if not is_administrator():
        return "the kernel shows the functions of its module nf_conntrack to CAP_SYS_ADMIN only"
    return "the kernel has no functions for it; is its module nf_conntrack loaded?"


def _load(path: Path, sizes: Sizes, pins: Path | None) -> BpfObject:
    """Into the kernel, with those of its maps that are pinned already."""
    loaded = BpfObject(path)
    try:
        _set_sizes(loaded, sizes)
        for name in loaded.names("map"):
            if pins is not None and (pins / name).exists():
                existing = Map(libbpf.open_pin(pins / name))
                loaded.reuse(name, existing)
                existing.close()
        loaded.load()
    except KernelRefusalError as error:
        loaded.close()
        raise ProbeError(_load_text(path, error)) from error
    return loaded


def _pin_maps(maps: Mapping[str, Map], pins: Path | None, hooks: str) -> None:
    if pins is not None:
        for name, map_ in {f"by-{hooks}": maps["ctl"], **maps}.items():
            if not (pins / name).exists():
                libbpf.pin(map_.descriptor, pins / name)


def _size_notes(maps: Mapping[str, Map], sizes: Sizes) -> tuple[str, ...]:
    """The tables of a killed process keep their sizes."""
    kept = Sizes(maps["flows0"].entries, maps["coarse"].entries, maps["connections"].entries)
    return () if kept == sizes else (f"the tables that were there keep their sizes: {kept.flows} flows",)


def _clear(pins: Path) -> None:
    """A process that died while it pinned left a part; nothing was attached then."""
    for pinned in pins.iterdir():
        pinned.unlink()


def _open_drops(objects: Path, maps: Mapping[str, Map], pins: Path | None) -> tuple[Drops | None, tuple[str, ...]]:
    try:
        return open_drops(objects, maps, pins), ()
    except ProbeError as error:
        return None, (f"what netfilter drops today is not seen: {error if BTF.exists() else _NO_BTF}",)


def _set_sizes(loaded: BpfObject, sizes: Sizes) -> None:
    entries = (sizes.flows, sizes.flows, sizes.coarse, sizes.connections)
    for name, wanted in zip((*TABLES, "connections"), entries, strict=True):
        loaded.set_entries(name, wanted)
    for name in TABLES:
        loaded.set_flags(name, table_flags())


def table_flags() -> int:
    """Whether rows take memory only as they come."""
    return libbpf.NO_PREALLOCATION if libbpf.kernel_version() >= _FLEXIBLE_TABLES_SINCE else 0


def _chosen_hooks(wanted: str | None, pins: Path | None) -> str:
    """Those of an earlier process go on, as both kinds would count everything twice; a pin of a map says which."""
    used = next((name for name in _HOOKS if pins is not None and (pins / f"by-{name}").exists()), None)
    if used is not None and wanted not in (None, used):
        raise ProbeError(f"the probe is attached by {used} already, by a process that died; stop it first")
    return used or wanted or ("tcx" if has_tcx() else "clsact")


def _hooks(loaded: Programs, chosen: str, pins: Path | None) -> Hooks:
    programs = {direction: loaded.program(name) for direction, name in PROGRAMS.items()}
    if chosen == "tcx":
        return TcxHooks(programs, pins)
    return ClsactHooks(programs)


def _load_text(path: Path, error: KernelRefusalError) -> str:
    if error.errno == errno.EPERM and libbpf.kernel_version() < _CHARGED_TO_CGROUPS_SINCE:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] // 1024
        return (
            f"{path.name}: before 5.11 kernels count the tables as locked memory, and this process may lock "
            f"{limit} KiB; raise `ulimit -l`, or give it CAP_SYS_RESOURCE"
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            f"{path.name}: the kernel does not let this process load it ({error.strerror}); "
            "it needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root"
        )
    if error.errno == errno.ENOMEM:
        return f"{path.name}: no memory for the tables ({error.strerror}); make them smaller or raise the memory limit"
    return f"{path.name}: this kernel ({os.uname().release}) does not take it: {error.strerror}"


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")
