"""What the node's own files say of the machine: kernel, modules, mounts, settings, sockets, traces of plugins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path

import msgspec

from migrate.collect.host import Host
from migrate.collect.outcome import AbsentError
from migrate.resources import data, read_yaml

BPFFS = "/sys/fs/bpf"
SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/bridge",
    "net/netfilter",
    "net/ipv4/conf",
)
"""Below /proc/sys: files, and folders with all below them."""
_MOST_PATHS = 200_000


class _Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A path that a network plugin makes on a node; `path` may end in a pattern of the shell."""

    path: str
    of: str
    source: str


class _Traces(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    as_of: date
    paths: tuple[_Trace, ...]


@cache
def traces() -> tuple[str, ...]:
    """Paths and patterns of what network plugins leave on a node (rules/node/paths.yaml)."""
    known = read_yaml(data("rules").joinpath("node", "paths.yaml"), _Traces)
    return tuple(sorted({trace.path for trace in known.paths}))


def kernel() -> str:
    """As `uname -srvm`."""
    about = os.uname()
    return f"{about.sysname} {about.release} {about.version} {about.machine}\n"


def booted() -> int | None:
    """Seconds since 1970 at which the machine started; None where the kernel does not say."""
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[:1] == ["btime"]:
            return int(words[1])
    return None


def whole(*paths: str) -> str:
    """The files of /proc, one after the other. Raises AbsentError when the first is not there."""
    texts = []
    for number, path in enumerate(paths):
        try:
            texts.append(Path(path).read_text(errors="surrogateescape"))
        except FileNotFoundError:
            if number == 0:
                raise AbsentError(f"there is no {path}") from None
    return "".join(texts)


def mounts(host: Host) -> str:
    """/proc/mounts; for a pod only what it sees below the node's root, with the node's paths. Raises OSError."""
    text = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    if host.is_own:
        return text
    root = str(host.root.resolve())
    kept = (line.split(" ") for line in text.splitlines())
    below = [words for words in kept if words[1] == root or words[1].startswith(f"{root}/")]
    return "".join(" ".join([words[0], words[1].removeprefix(root) or "/", *words[2:]]) + "\n" for words in below)


def first_mount(host: Host, filesystem: str, at: str | None = None) -> str | None:
    """Where a kind of filesystem is mounted first, or whether at `at`."""
    for line in mounts(host).splitlines():
        _, place, kind = line.split(" ")[:3]
        if kind == filesystem and at in (None, place):
            return place
    return None


def btf(host: Host) -> str:
    """The path of the kernel's own types. Raises AbsentError."""
    if not host.exists("/sys/kernel/btf/vmlinux"):
        raise AbsentError("this kernel shows no types of its own (built without CONFIG_DEBUG_INFO_BTF)")
    return "/sys/kernel/btf/vmlinux\n"


def pinned(host: Host) -> str:
    """The paths below the bpf filesystem. Raises AbsentError, and OSError when a folder cannot be read."""
    if first_mount(host, "bpf", BPFFS) is None:
        raise AbsentError(f"no bpf filesystem is mounted at {BPFFS}")
    root = host.place(BPFFS)
    found = sorted(BPFFS + path.removeprefix(str(root)) for path in _below(root))
    return "".join(f"{path}\n" for path in found)


def _below(root: Path) -> Iterator[str]:
    for count, (folder, inner, files) in enumerate(os.walk(root, onerror=_raise)):
        yield from (f"{folder}/{name}" for name in (*inner, *files))
        if count > _MOST_PATHS:
            raise OSError(0, f"more than {_MOST_PATHS} folders")


def _raise(error: OSError) -> None:
    raise error


def paths(host: Host) -> str:
    """Those of the known paths that are there."""
    return "".join(f"{path}\n" for path in sorted({found for trace in traces() for found in host.matching(trace)}))


def settings() -> str:
    """As `sysctl` prints them: a dot for each folder, and a slash for a dot in the name of a link."""
    root = Path("/proc/sys")
    found = sorted(path for name in SETTINGS for path in _files(root / name))
    return "".join(f"{_setting(path.relative_to(root))} = {value}\n" for path in found for value in _values(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for inner in path.iterdir():
            yield from _files(inner)
    elif path.exists():
        yield path


def _setting(path: Path) -> str:
    return ".".join(part.replace(".", "/") for part in path.parts)


def _values(path: Path) -> list[str]:
    """One for each line; none where the kernel does not let it be read, or the link is gone."""
    try:
        return path.read_text(errors="replace").rstrip("\n").split("\n")
    except OSError:
        return []
