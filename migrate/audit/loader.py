"""Loads the probe, after naming what this machine lacks for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from migrate.audit import libbpf
from migrate.audit.attach import has_tcx
from migrate.audit.bcc_probe import open_bcc_probe
from migrate.audit.compile import CompileError, build_objects
from migrate.audit.kernel import Probe, ProbeError, Sizes
from migrate.audit.libbpf_probe import BTF, open_libbpf_probe
from migrate.audit.pins import BPFFS, is_bpffs
from migrate.audit.rights import missing_capabilities
from migrate.resources import data

LOADERS = ("libbpf", "bcc")
_OLDEST = (5, 10)
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


@dataclass(frozen=True, slots=True)
class Piece:
    """Something the probe asks for and this machine does not have. What is not `required` only makes it see less."""

    name: str
    required: bool
    text: str


def open_probe(sizes: Sizes, loader: str = "libbpf", *, bpffs: Path | None = BPFFS, hooks: str | None = None) -> Probe:
    """Load the probe, or go on with what a killed process left pinned under `bpffs` (None: pin nothing).

    Nothing is recorded until the control DEADLINE is set to a time to come. `hooks` is tcx or clsact; None takes TCX
    where the kernel has it. Raises ProbeError naming all that is missing.
    """
    if loader not in LOADERS:
        raise ProbeError(f"no loader {loader}; there are: {', '.join(LOADERS)}")
    required = [piece.text for piece in missing_pieces(bpffs) if piece.required]
    if required:
        raise ProbeError("the probe cannot run here: " + "; ".join(required))
    if loader == "bcc":
        return open_bcc_probe(sources(), sizes, extras=objects(), bpffs=bpffs, hooks=hooks)
    return open_libbpf_probe(objects(), sizes, bpffs=bpffs, hooks=hooks)


def sources() -> Path:
    """The folder of the programs' text."""
    return Path(str(data("bpf"))).resolve()


def objects() -> Path:
    """The folder of the compiled programs; in a checkout they are compiled when they are missing or old.

    Raises ProbeError when that is not possible.
    """
    folder = sources()
    if folder.parent.name == "_data":
        return folder
    try:
        build_objects(folder)
    except CompileError as error:
        raise ProbeError(str(error)) from error
    return folder


def missing_pieces(bpffs: Path | None = BPFFS) -> list[Piece]:
    """What this machine lacks, the required first."""
    found = [*_missing_rights(), *_missing_library(), *_missing_in_kernel()]
    if bpffs is not None and not is_bpffs(bpffs):
        found.append(Piece("bpffs", False, f"no bpf filesystem is mounted at {bpffs}: the probe mounts one if it may"))
    return sorted(found, key=lambda piece: not piece.required)


def _missing_rights() -> list[Piece]:
    return [
        Piece(name, True, f"no {name}: run it as root or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
        for name in missing_capabilities()
    ]


def _missing_library() -> list[Piece]:
    try:
        libbpf.library()
    except ProbeError as error:
        return [Piece("libbpf", True, str(error))]
    return []


def _missing_in_kernel() -> list[Piece]:
    found, release = [], os.uname().release
    if libbpf.kernel_version() < _OLDEST:
        found.append(Piece("kernel", True, f"kernel {release} is too old: the probe needs 5.10 or newer"))
    if not BTF.exists():
        text = f"no BTF ({BTF}): translated addresses and today's drops are not seen in the kernel"
        found.append(Piece("BTF", False, text))
    if _LOCKDOWN.exists() and "[confidentiality]" in _LOCKDOWN.read_text():
        found.append(
            Piece("lockdown", False, "the kernel is locked down (confidentiality): today's drops are not seen")
        )
    if not _may_ask_for_tcx():
        text = f"no TCX links (they need kernel 6.6 or newer, this is {release}): clsact filters are used"
        found.append(Piece("TCX", False, text))
    return found


def _may_ask_for_tcx() -> bool:
    try:
        return has_tcx()
    except ProbeError:
        return libbpf.kernel_version() >= (6, 6)
