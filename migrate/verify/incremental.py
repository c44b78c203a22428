"""Reusing the last verification of a folder where nothing changed that it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

import migrate
from migrate.files import file_digest, files_below
from migrate.model.documents import Verification


def digest(options: Sequence[str], paths: Iterable[Path]) -> str:
    """Of the program's version, some options, and the names and bytes of files, and of all files below folders.

    Raises InputError for a file that cannot be read. A path without anything counts too.
    """
    found = hashlib.sha256()
    for text in (migrate.__version__, *options):
        found.update(text.encode() + b"\0")
    for path in paths:
        for file in files_below(path):
            found.update(b"\1" + str(file).encode(errors="surrogateescape") + b"\0" + file_digest(file))
        found.update(b"\2")
    return found.hexdigest()


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
