"""Dumps in a working folder: one folder for each node, which appears whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from migrate.errors import InputError
from migrate.files import write_atomic
from migrate.model.node_documents import NodeManifest
from migrate.nodes.files import MANIFEST, printed_as

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS subdomain, as Kubernetes names nodes; so it is no way out of a folder either."""


def check_name(name: str, do: str) -> None:
    """Raise InputError where a name is none of a node; `do` says what to do about it."""
    if _NAME.fullmatch(name) is None:
        raise InputError(f"{name!r} is no name of a node (lower-case letters, digits, - and .); {do}")


def write_dump(folder: Path, manifest: NodeManifest, bodies: Mapping[str, bytes]) -> Path:
    """Write a dump into the folder of dumps, in place of an earlier one of that node; the place.

    Raises InputError when that cannot be, and then leaves the earlier one as it was.
    """
    check_name(manifest.name, "its dump has no place")
    place = folder / manifest.name
    _refuse_other(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".migrate-", dir=folder.parent))  # beside: it is never taken for a dump
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}; choose another place") from error
    try:
        for name, body in {**bodies, MANIFEST: _encoded(manifest)}.items():
            write_atomic(made / name, body)
        made.chmod(0o755)
        _replace(place, made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def _encoded(manifest: NodeManifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _refuse_other(place: Path) -> None:
    """Refuse to replace what is no dump."""
    if not place.is_symlink() and not place.exists():
        return
    others = [] if not place.is_dir() else [path.name for path in place.iterdir() if not _is_ours(path)]
    if place.is_symlink() or not place.is_dir() or others:
        what = f"holds {min(others)!r}, which is no part of a dump" if others else "is no folder of a dump"
        raise InputError(f"{place}: {what}; take it away or choose another place")


def _is_ours(path: Path) -> bool:
    return path.is_file() and (path.name == MANIFEST or printed_as(path.name) is not None)


def _replace(place: Path, made: Path) -> None:
    """Put a folder in place of another, which comes back when that fails or is interrupted."""
    earlier = made.with_name(f"{made.name}-earlier")
    try:
        with suppress(FileNotFoundError):
            place.rename(earlier)
        made.rename(place)
    except OSError as error:
        raise InputError(f"{place}: cannot be replaced: {error.strerror}; choose another place") from error
    finally:
        if earlier.is_dir():
            if place.exists():
                shutil.rmtree(earlier, ignore_errors=True)
            else:
                earlier.rename(place)
