"""Where the node's files are: this machine's own root, or the place at which a pod sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from migrate.errors import InputError

_MOST_LINKS = 40
"""Symbolic links on one way, as the kernel allows."""


@dataclass(frozen=True, slots=True)
class Host:
    """The node's filesystem, which begins at `root`. Paths are those of the node; its links stay inside of it."""

    root: Path = Path("/")

    @property
    def is_own(self) -> bool:
        """Whether the node's root is that of this process."""
        return self.root.resolve() == Path("/")

    def place(self, path: str, *, follow: bool = True) -> Path:
        """Where a path of the node is for this process; `follow` goes through a link at its end too.

        Raises OSError where links go round.
        """
        waiting, done, links = _parts(path), list[str](), 0
        while waiting:
            part = waiting.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            here = self.root.joinpath(*done, part)
            if (waiting or follow) and here.is_symlink():
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(40, "too many symbolic links", path)
                target = str(here.readlink())
                done = [] if target.startswith("/") else done
                waiting = _parts(target) + waiting
            else:
                done.append(part)
        return self.root.joinpath(*done)

    def exists(self, path: str) -> bool:
        """Whether something is there, be it a link that leads nowhere."""
        try:
            return os.path.lexists(self.place(path, follow=False))
        except OSError:
            return False

    def matching(self, pattern: str) -> Iterator[str]:
        """The paths of the node that a shell makes of a pattern with `*` in its last part, sorted.

        Raises OSError when a folder cannot be read.
        """
        folder, _, last = pattern.rpartition("/")
        if "*" not in last:
            yield from [pattern] if self.exists(pattern) else []
            return
        try:
            names = sorted(entry.name for entry in self.place(folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        yield from (f"{folder}/{name}" for name in names if fnmatchcase(name, last) and not name.startswith("."))


def host_at(root: Path) -> Host:
    """The node whose root is at a path. Raises InputError when that is no folder, or in another network namespace."""
    if not root.is_dir():
        raise InputError(f"--host-root {root}: no such folder; give the place where the node's root is mounted")
    host = Host(root)
    theirs = frozenset() if host.is_own else _shown_links(host)
    if theirs and not theirs & _own_links():
        raise InputError(
            f"--host-root {root}: this process is in another network namespace than the node, so rules and links are "
            "not the node's; give its pod hostNetwork"
        )
    return host


def _shown_links(host: Host) -> frozenset[tuple[str, int, str]]:
    """Name, index and address of the links that the node's sysfs shows; it belongs to the namespace of its mount."""
    found = set()
    for path in host.matching("/sys/class/net/*"):
        link = host.place(path)
        with suppress(OSError, ValueError):
            found.add(
                (path.rpartition("/")[2], int((link / "ifindex").read_text()), (link / "address").read_text().strip())
            )
    return frozenset(entry for entry in found if entry[0] != "lo")


def _own_links() -> frozenset[tuple[str, int, str]]:
    """The same by netlink, for the namespace of this process."""
    from migrate.collect.kernel_messages import Kernel

    kernel = Kernel()
    try:
        known = [(name, index or 0) for index, name in kernel.names.items()]
        addresses = {link.number("index"): link.text("IFLA_ADDRESS") or "" for link in kernel.links}
    finally:
        kernel.close()
    return frozenset((name, index, addresses[index]) for name, index in known)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
