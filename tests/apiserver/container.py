"""What a container runtime makes of a pod's container, as far as it decides what `migrate scan node` can see.

The process is in the network namespace of a node, has the user and the capabilities of the pod's spec and no more, a
root that it cannot write to, and the node's root, read-only too, where the spec mounts it. Run as a program it becomes
the container.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from tests.apiserver.admin import Object

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _NEW_NETWORK = 0x20000, 0x40000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000


def in_namespace(network: str, work: Path) -> Callable[[Object], Sequence[str]]:
    """The process of a pod on a node whose network namespace has this name. `work` is an empty folder."""

    def command(pod: Object) -> Sequence[str]:
        spec = cast("Object", pod["spec"])
        return [sys.executable, __file__, network, str(work), json.dumps(spec)]

    return command


def _main() -> None:
    network, work, text = sys.argv[1:]
    spec = json.loads(text)
    [container] = spec["containers"]
    assert spec["hostNetwork"] is True
    assert spec.get("hostPID", False) is False
    with open(f"/run/netns/{network}") as namespace:  # noqa: PTH123
        _check(_LIBC.setns(namespace.fileno(), _NEW_NETWORK), "setns")
    _check(_LIBC.unshare(_NEW_MOUNTS), "unshare")
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    root = _root(Path(work), spec, container)
    os.chroot(root)
    os.chdir("/")
    _become(spec, container)


def _root(work: Path, spec: dict[str, list[dict[str, dict[str, str]]]], container: dict[str, object]) -> Path:
    """The container's files: this machine's (they have the program), with the node's root mounted as the spec says."""
    others = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    _mount("tmpfs", str(work), "tmpfs", 0)
    root, upper, spare = (work / name for name in ("root", "upper", "spare"))
    for folder in (root, upper, spare):
        folder.mkdir()
    _mount("overlay", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={spare}")
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
    for mount in cast("list[dict[str, object]]", container["volumeMounts"]):
        place = root / str(mount["mountPath"]).lstrip("/")
        place.mkdir()
        _mount(str(paths[mount["name"]]), str(place), None, _BIND | _RECURSIVE)  # type: ignore[index]
        _mount("sysfs", f"{place}/sys", "sysfs", _READ_ONLY)  # as a node of this network namespace has it
        for inner in ("bpf", "cgroup"):
            _mount(f"/sys/fs/{inner}", f"{place}/sys/fs/{inner}", None, _BIND | _RECURSIVE)
        assert mount["readOnly"] is True
        _mount("none", str(place), None, _BIND | _REMOUNT | _READ_ONLY)
    for other in sorted(set(others) - {"/"}):
        place = root / other.lstrip("/")
        if place.exists():
            _mount(other, str(place), None, _BIND)
    rights = cast("dict[str, object]", container["securityContext"])
    assert rights["readOnlyRootFilesystem"] is True
    _mount("none", str(root), None, _BIND | _REMOUNT | _READ_ONLY)
    return root


def _become(spec: dict[str, dict[str, object]], container: dict[str, dict[str, object]]) -> None:
    rights = container["securityContext"]
    assert rights["privileged"] is False
    assert rights["allowPrivilegeEscalation"] is False
    capabilities = cast("dict[str, list[str]]", rights["capabilities"])
    assert capabilities["drop"] == ["ALL"]
    bounding = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities["add"])])
    user, group = (str(spec["securityContext"][name]) for name in ("runAsUser", "runAsGroup"))
    program, *arguments = cast("list[str]", container["command"])
    assert program == "migrate"
    python = [sys.executable, "-m", "migrate", *arguments]
    setpriv = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--inh-caps", "-all"]
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    os.execvp("setpriv", [*setpriv, "--bounding-set", bounding, "--no-new-privs", *python])


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _check(_LIBC.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def _check(status: int, what: str) -> None:
    if status:
        raise OSError(ctypes.get_errno(), what)


if __name__ == "__main__":
    _main()
