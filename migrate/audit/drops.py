"""Watches what netfilter drops of the pods of a node today, with the kernel's tracepoint kfree_skb."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from migrate.audit import libbpf
from migrate.audit.kernel import ProbeError
from migrate.audit.libbpf import BpfObject, KernelRefusalError, Map

_SHARED = ("connections", "stats", "ctl")
_OWN = ("drop_ctl", "watched", "drops")
_LINK = "drop-link"
_REASON, _BEGIN, _END, _NAMESPACE = 0, 1, 2, 3
_OWN_NAMESPACE = Path("/proc/thread-self/ns/net")
_TRACEPOINT = "kfree_skb"
_SYMBOLS = Path("/proc/kallsyms")
_PLACE = "nf_hook_slow"


@dataclass(frozen=True, slots=True)
class Drops:
    """The loaded part that counts drops by flow, in `table`."""

    table: Map
    watched: Map
    settings: Map
    link: int

    @property
    def seen_by(self) -> str:
        """How it knows netfilter's drops: by the kernel's "reason", or by the "place" in its text."""
        return "reason" if _number(self.settings.get(_index(_REASON))) else "place"

    def watch(self, ifindex: int) -> None:
        """Count drops of packets that came from this interface or would have left by it."""
        self.watched.put(_index(ifindex), _index(1))

    def forget(self, ifindex: int) -> None:
        """Count them no longer."""
        self.watched.delete([_index(ifindex)])

    def close(self) -> None:
        """Let go of the descriptors."""
        for map_ in (self.table, self.watched, self.settings):
            map_.close()
        os.close(self.link)


def open_drops(objects: Path, shared: Mapping[str, Map], folder: Path | None, place: str = "") -> Drops:
    """Load it beside the probe whose maps are `shared`, or go on with what is pinned in `folder`.

    `place` names a function of the kernel: what it frees counts as dropped. Else netfilter's reason decides, or before
    5.17, where the kernel gives none, the place nf_hook_slow. Raises ProbeError when this kernel has no way.
    """
    pinned = {name: folder / name for name in (*_OWN, _LINK)} if folder is not None else {}
    if pinned and all(path.exists() for path in pinned.values()):
        maps = {name: Map(libbpf.open_pin(pinned[name])) for name in _OWN}
        return Drops(maps["drops"], maps["watched"], maps["drop_ctl"], libbpf.open_pin(pinned[_LINK]))
    for path in pinned.values():
        path.unlink(missing_ok=True)
    try:
        made = _load(objects / "drop.bpf.o", shared, place)
    except KernelRefusalError as error:
        raise ProbeError(f"this kernel does not take it: {error.strerror}") from error
    descriptors = (made.settings.descriptor, made.watched.descriptor, made.table.descriptor, made.link)
    for path, descriptor in zip(pinned.values(), descriptors, strict=False):
        libbpf.pin(descriptor, path)
    return made


def _load(path: Path, shared: Mapping[str, Map], place: str) -> Drops:
    loaded = BpfObject(path)
    try:
        for name in _SHARED:
            loaded.reuse(name, shared[name])
        loaded.load()
        settings = loaded.map("drop_ctl")
        settings.put(_index(_NAMESPACE), _OWN_NAMESPACE.stat().st_ino.to_bytes(8, "little"))
        link = None if place else _attach_by_reason(loaded, settings)
        if link is None:
            link = _attach_by_place(loaded, settings, place or _PLACE)
        return Drops(loaded.map("drops"), loaded.map("watched"), settings, link)
    finally:
        loaded.close()


def _attach_by_reason(loaded: BpfObject, settings: Map) -> int | None:
    """None where the kernel has no reasons: its tracepoint has one argument less."""
    reason = libbpf.kernel_enum("skb_drop_reason").get("SKB_DROP_REASON_NETFILTER_DROP")
    if reason is None:
        return None
    settings.put(_index(_REASON), reason.to_bytes(8, "little"))
    try:
        return libbpf.open_raw_tracepoint(_TRACEPOINT, loaded.program("drop_by_reason"))
    except KernelRefusalError as error:
        if error.errno != errno.EINVAL:
            raise
    settings.put(_index(_REASON), bytes(8))
    return None


def _attach_by_place(loaded: BpfObject, settings: Map, name: str) -> int:
    begin, end = _place(name)
    settings.put(_index(_BEGIN), begin.to_bytes(8, "little"))
    settings.put(_index(_END), end.to_bytes(8, "little"))
    return libbpf.open_raw_tracepoint(_TRACEPOINT, loaded.program("drop_by_place"))


def _place(wanted: str) -> tuple[int, int]:
    """Where a function of the kernel begins and ends. Raises ProbeError."""
    symbols = _SYMBOLS.read_bytes() if _SYMBOLS.exists() else b""  # one text, as the lines take ten times its room
    found = re.search(rb"^(\w+) \w %s$" % wanted.encode(), symbols, re.MULTILINE)
    begin = found[1] if found is not None else b""
    if not begin.strip(b"0"):
        raise ProbeError(f"{_SYMBOLS} does not say where {wanted} is; it takes root to read, or CAP_SYSLOG")
    places = re.findall(rb"^\w+", symbols, re.MULTILINE)  # as long as each other, so they compare like numbers
    return int(begin, 16), int(min(place for place in places if place > begin), 16)


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", "little")
