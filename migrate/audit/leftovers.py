"""Takes away what a killed agent left in the kernel, without loading anything."""

from __future__ import annotations

from pathlib import Path

from migrate.audit.attach import TcxHooks
from migrate.audit.filters import ClsactHooks
from migrate.audit.pins import BPFFS, is_bpffs, open_folder


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
