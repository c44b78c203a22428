"""Reusing the last verification of a folder where nothing changed that it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

import migrate
from migrate.errors import InputError
from migrate.model.documents import Verification

_CHUNK = 1 << 20


def digest(options: Sequence[str], paths: Iterable[Path]) -> str:
    """Of the program's version, some options, and the names and bytes of files, and of all files below folders.

    Raises InputError for a file that cannot be read. A path without anything counts too.
    """
    found = hashlib.sha256()
    for text in (migrate.__version__, *options):
        found.update(text.encode() + b"\0")
    for path in paths:
        for file in _files(path):
            found.update(b"\1" + str(file).encode(errors="surrogateescape") + b"\0" + _bytes_digest(file))
        found.update(b"\2")
    return found.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    elif path.exists():
        yield path


def _bytes_digest(file: Path) -> bytes:
    found = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}; check the path and its rights") from error
    return found.digest()


def reusable(path: Path, inputs: str) -> Verification | None:
    """The verification at `path` if it was made from the same inputs; None when there is none that can be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Verification)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.inputs == inputs else None


def encode(verification: Verification) -> bytes:
    """The document as it is written: indented JSON, the same bytes for the same value."""
    return msgspec.json.format(msgspec.json.encode(verification), indent=2) + b"\n"
