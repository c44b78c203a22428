"""What agents left in the kernel: taken away, and looked for, without loading anything."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from migrate.audit.attach import TcxHooks, tcx_names
from migrate.audit.filters import ClsactHooks
from migrate.audit.layout import Direction
from migrate.audit.libbpf_probe import PROGRAMS
from migrate.audit.pins import BPFFS, is_bpffs, open_folder, pinned


def remove_leftovers(bpffs: Path = BPFFS) -> list[str]:
    """The names of what was there and is gone: pinned links and tables, and filters, of any version.

    Records that nobody has read go with the tables. Raises ProbeError when an audit runs that holds them.
    """
    removed: list[str] = []
    if is_bpffs(bpffs):
        folder = open_folder(bpffs)
        try:
            removed += [f"tables of version {name}" for name in folder.swept]
            removed += sorted(pinned.name for pinned in folder.path.iterdir())
            TcxHooks({}, folder.path).remove()
            folder.remove()
        finally:
            folder.close()
    return removed + [f"filters of interface {ifindex}" for ifindex in ClsactHooks({}).remove_all()]


def leftovers(bpffs: Path = BPFFS) -> list[str]:
    """The names of what is there now, whoever holds it: links and filters at every interface, and pins.

    Raises OSError where the kernel does not tell.
    """
    interfaces = socket.if_nameindex()
    found = [
        f"link of {name} at interface {interface}"
        for index, interface in interfaces
        for direction in Direction
        for name in tcx_names(index, direction)
        if name == PROGRAMS[direction]
    ]
    with closing(ClsactHooks({})) as hooks:
        found += [f"filters of interface {index}" for index in hooks.attached()]
    return found + [f"pin {path}" for path in pinned(bpffs)]
