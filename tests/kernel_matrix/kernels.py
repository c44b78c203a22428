"""Debian's kernels, fetched by apt without installing anything, and kept in the user's cache folder by version."""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WANTED_MODULES = (
    "veth",
    "sch_ingress",
    "cls_bpf",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_compat",
    "nft_counter",
    "xt_nat",
    "xt_tcpudp",
)
"""What the checks use of the kernel that Debian builds as modules; a kernel that has one built in has no file of it."""
_CHOICE = hashlib.sha256(" ".join(WANTED_MODULES).encode()).hexdigest()[:8]
"""In the names of what is kept, so that other wishes are met."""
_META_PACKAGE = "linux-image-cloud-amd64"
_A_WEEK = 7 * 24 * 3600
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"


class KernelUnavailableError(Exception):
    """A kernel cannot be had on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An image, and modules in the order in which they can be loaded."""

    image: Path
    modules: tuple[Path, ...]


def debian_kernel(suite: str) -> Kernel:
    """The kernel of a Debian suite: from the cache, looked up again after a week. Raises KernelUnavailableError."""
    folder = Path.home() / ".cache" / "cilium-migrate" / "kernels" / suite
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        current = folder / "current"
        if not _is_fresh(current):
            _renew(suite, folder, current)
        kept = current.resolve()
    order = (kept / "order").read_text().split()
    return Kernel(kept / "vmlinuz", tuple(kept / name for name in order))


def _is_fresh(current: Path) -> bool:
    return _is_usable(current) and time.time() - current.lstat().st_mtime < _A_WEEK


def _is_usable(current: Path) -> bool:
    return current.resolve().name.endswith(_CHOICE) and current.exists()


def _renew(suite: str, folder: Path, current: Path) -> None:
    """Let `current` point at the suite's newest kernel; without a network the one that is there stays."""
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            apt = _Apt(Path(scratch), suite)
            package = apt.newest_package()
            kept = folder / f"{package}.{_CHOICE}"
            if not kept.exists():
                _unpack(apt.download(package), Path(scratch), kept)
            link = Path(scratch) / "current"
            link.symlink_to(kept.name)
            link.replace(current)
    except subprocess.CalledProcessError as error:
        if _is_usable(current):
            return
        said = f"{error.stdout}\n{error.stderr}".strip().splitlines()
        raise KernelUnavailableError(f"the kernel of Debian's {suite}: {' / '.join(said[-3:])}") from error


class _Apt:
    """apt with a state of its own that knows one suite, of the mirror that this machine uses for Debian."""

    def __init__(self, scratch: Path, suite: str) -> None:
        self._scratch = scratch
        for name in ("state/lists/partial", "cache/archives/partial", "packages"):
            (scratch / name).mkdir(parents=True)
        (scratch / "status").touch()
        trusted = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        (scratch / "sources.list").write_text(f"deb {trusted}{_mirror()} {suite} main\n")
        self._run("apt-get", "update")

    def newest_package(self) -> str:
        """The package that the suite's meta package names, with its version in the name."""
        shown = self._run("apt-cache", "show", "--no-all-versions", _META_PACKAGE)
        found = re.search(r"^Depends:.*?(linux-image-\d\S*)", shown, re.MULTILINE)
        if found is None:
            raise KernelUnavailableError(f"{_META_PACKAGE} names no kernel: {shown.strip()[:200]}")
        return found[1]

    def download(self, package: str) -> list[Path]:
        """The files of a package and of those that have its image and modules, where they are apart."""
        shown = self._run("apt-cache", "show", "--no-all-versions", package)
        parts = re.findall(r"(linux-(?:binary|modules)-\d\S*) \(=", shown)
        self._run("apt-get", "download", package, *parts)
        return sorted((self._scratch / "packages").glob("*.deb"))

    def _run(self, program: str, *arguments: str) -> str:
        settings = {
            "Dir::State": self._scratch / "state",
            "Dir::State::status": self._scratch / "status",
            "Dir::Cache": self._scratch / "cache",
            "Dir::Etc::sourcelist": self._scratch / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::Check-Valid-Until": "false",
            "APT::Sandbox::User": "",
        }
        given = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return _run(program, *given, *arguments, folder=self._scratch / "packages")


def _mirror() -> str:
    """The first place from where this machine takes Debian's packages. Raises KernelUnavailableError."""
    if shutil.which("apt-get") is None:
        raise KernelUnavailableError("no apt")
    for line in _run("apt-get", "indextargets", "--format", _MIRROR_FORMAT, "Identifier: Packages").splitlines():
        origin, label, address = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return address
    raise KernelUnavailableError("apt knows no mirror of Debian (or needs `apt-get update`)")


def _run(*command: str, folder: Path = Path()) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def _unpack(packages: list[Path], scratch: Path, made: Path) -> None:
    """Keep the image and the wanted modules; `made` appears whole or not at all."""
    whole, kept = scratch / "whole", scratch / "kept"
    for package in packages:
        _run("dpkg-deb", "-x", str(package), str(whole))
    kept.mkdir()
    shutil.copy(next(path for path in whole.rglob("vmlinuz*") if path.is_file()), kept / "vmlinuz")
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in whole.rglob("*.ko*")}
    order = [name for module in WANTED_MODULES for name in _with_needed(module, files)]
    for name in dict.fromkeys(order):
        (kept / name).write_bytes(_plain(files[name]))
    (kept / "order").write_text("\n".join(dict.fromkeys(order)))
    kept.replace(made)


def _with_needed(module: str, files: dict[str, Path]) -> Iterator[str]:
    """A module behind those that it needs; none that is built in."""
    if module not in files:
        return
    needed = re.search(rb"\0depends=([^\0]*)\0", _plain(files[module]))
    for name in needed[1].decode().split(",") if needed is not None else ():
        yield from _with_needed(name.replace("-", "_"), files)
    yield module


def _plain(module: Path) -> bytes:
    return lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
