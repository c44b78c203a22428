"""The folder of pinned maps and links, which outlive the agent and let the next one go on."""

from __future__ import annotations

import ctypes
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from migrate.audit.kernel import ProbeError
from migrate.audit.layout import LAYOUT

BPFFS = Path("/sys/fs/bpf")
_NAME = "cilium-migrate"


@dataclass(frozen=True, slots=True)
class PinFolder:
    """A folder that this process alone works in. `lock` is the descriptor that says so.

    `swept` are the folders of other layouts that were found and taken away, with the records in their tables.
    """

    path: Path
    lock: int
    swept: tuple[str, ...] = ()

    def close(self) -> None:
        """Let others work in it."""
        os.close(self.lock)

    def remove(self) -> None:
        """Take everything in it away; what is only held by a pin ends."""
        for folder in sorted(self.path.parent.iterdir()):
            _remove(folder)
        self.path.parent.rmdir()


def open_folder(bpffs: Path = BPFFS) -> PinFolder:
    """The folder of this layout, made where it is missing; bpffs is mounted where it is not.

    Raises OSError when there can be none, and ProbeError when another audit has it.
    """
    if not is_bpffs(bpffs):
        mount_bpffs(bpffs)
    parent = bpffs / _NAME
    parent.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ProbeError(f"{parent}: another audit runs on this node; stop it first: migrate audit stop") from None
    others = sorted(folder for folder in parent.iterdir() if folder.name != LAYOUT)
    for folder in others:
        _remove(folder)
    path = parent / LAYOUT
    path.mkdir(mode=0o700, exist_ok=True)
    return PinFolder(path, lock, tuple(folder.name for folder in others))


def pinned(bpffs: Path) -> list[Path]:
    """All that is of ours there, of any layout, with its folders."""
    parent = bpffs / _NAME
    return [parent, *sorted(parent.rglob("*"))] if parent.exists() else []


def _remove(folder: Path) -> None:
    for pinned in folder.iterdir():
        pinned.unlink()
    folder.rmdir()


def is_bpffs(path: Path) -> bool:
    """Whether a bpf filesystem is mounted right there."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    wanted = os.path.realpath(path)
    last = [line for line in mounts if line.split()[4] == wanted][-1:]
    return any(line.partition(" - ")[2].split()[0] == "bpf" for line in last)


def mount_bpffs(path: Path) -> None:
    """Mount one, as the kernel's documents have it. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", 0, b"mode=0700"):
        code = ctypes.get_errno()
        raise OSError(code, f"cannot mount bpffs: {os.strerror(code)}", str(path))
