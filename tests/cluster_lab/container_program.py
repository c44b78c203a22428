"""Becomes a container of a node, as a container runtime makes it of a pod's spec. Started by runtime.py.

It has the node's network, its own mounts, processes and host name; the capabilities, user and read-only root of the
spec, the node's folders where the spec mounts them, and the node's boot id and clock. Nothing else of the node is its.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import TypedDict

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _NEW_NAMES, _NEW_IPC, _NEW_PROCESSES, _NEW_NETWORK = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_SET_DEATH_SIGNAL = 1
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_SKEW = "skew.so"


class Order(TypedDict):
    """A container that is wanted. `mounts` are sources, targets and whether to read only; `skew` is a file, or "".

    `image` are folders of this machine that have the program, and where they are in the container.
    """

    network: str
    processFile: str
    work: str
    mounts: list[tuple[str, str, bool]]
    bootId: str
    skew: str
    hostName: str
    command: list[str]
    environment: dict[str, str]
    readOnlyRoot: bool
    image: list[tuple[str, str]]


def main() -> None:
    order: Order = json.loads(sys.argv[1])
    _die_with_parent()
    with open(f"/run/netns/{order['network']}") as namespace:  # noqa: PTH123
        _check(_LIBC.setns(namespace.fileno(), _NEW_NETWORK), "setns")
    _check(_LIBC.unshare(_NEW_MOUNTS | _NEW_NAMES | _NEW_IPC | _NEW_PROCESSES), "unshare")
    child = os.fork()
    if child == 0:
        _die_with_parent()
        _become(order)
    Path(order["processFile"]).write_text(str(child))

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    _, status = os.waitpid(child, 0)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _become(order: Order) -> None:
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    root = _root(Path(order["work"]), order)
    name = order["hostName"].encode()
    _check(_LIBC.sethostname(name, len(name)), "sethostname")
    os.chroot(root)
    os.chdir("/")
    environment = dict(order["environment"])
    if order["skew"]:
        environment["LD_PRELOAD"] = f"/{_SKEW}"
    os.execvpe(order["command"][0], order["command"], environment)


def _root(work: Path, order: Order) -> Path:
    """The container's files: this machine's, which have the program, with what the spec mounts."""
    others = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    _mount("tmpfs", str(work), "tmpfs", 0)
    root, upper, spare = (work / name for name in ("root", "upper", "spare"))
    for folder in (root, upper, spare):
        folder.mkdir()
    _mount("overlay", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={spare}")
    for source, target in order["image"]:
        for other in sorted(other for other in others if other != "/" and f"{source}/".startswith(f"{other}/")):
            _mount(other, f"{root}{other}", None, _BIND)
        _bind(source, root / target.lstrip("/"), True)
    if order["skew"]:
        (root / _SKEW).write_bytes(Path(order["skew"]).read_bytes())
    _mount("/dev", f"{root}/dev", None, _BIND)
    _mount("proc", f"{root}/proc", "proc", 0)
    _mount("sysfs", f"{root}/sys", "sysfs", _READ_ONLY)
    _mount(f"{root}/proc/sys", f"{root}/proc/sys", None, _BIND)
    _mount("none", f"{root}/proc/sys", None, _BIND | _REMOUNT | _READ_ONLY)
    _mount(order["bootId"], f"{root}/{_BOOT_ID}", None, _BIND)
    for source, target, read_only in order["mounts"]:
        _bind(source, _place(root, target), read_only)
    if order["readOnlyRoot"]:
        _mount("none", str(root), None, _BIND | _REMOUNT | _READ_ONLY)
    return root


def _bind(source: str, place: Path, read_only: bool) -> None:
    if Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(source, str(place), None, _BIND | _RECURSIVE)
    if read_only:
        _mount("none", str(place), None, _BIND | _REMOUNT | _READ_ONLY)


def _place(root: Path, target: str) -> Path:
    """Where a path of the container is; a link on the way stays inside."""
    inside = subprocess.run(
        ["chroot", str(root), "readlink", "-m", target], check=True, capture_output=True, text=True
    ).stdout.strip()
    return root / inside.lstrip("/")


def _die_with_parent() -> None:
    _check(_LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL), "prctl")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _check(_LIBC.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def _check(status: int, what: str) -> None:
    if status:
        raise OSError(ctypes.get_errno(), what)


if __name__ == "__main__":
    main()
