"""snapshot.jsonl.gz: one header line, then one object a line.

Keys and objects are in a fixed order, and no clock goes in: the same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from migrate.errors import InputError
from migrate.files import atomic_file
from migrate.model.documents import API_VERSION, SnapshotHeader
from migrate.model.raw import FieldPath, Json, RawObject

FILE_NAME = "snapshot.jsonl.gz"
_LEVEL = 6
_SCAN_AGAIN = "make a new one with migrate scan"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cluster at one moment, or the objects of some files."""

    header: SnapshotHeader
    objects: Sequence[RawObject]


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. Each of `lines` is a field's path with the number of its line at the end."""

    data: Mapping[str, object] = msgspec.field(name="object")
    source: str | None = None
    lines: list[list[str | int]] = []


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """What every document of this program begins with."""

    api_version: str = ""
    kind: str = ""


def write(path: Path, header: SnapshotHeader, objects: Iterable[RawObject]) -> None:
    """Write a snapshot, whole or not at all. Raises InputError when the place cannot be written."""
    encode = msgspec.json.Encoder(order="sorted").encode
    entries = sorted((_order(raw), encode(_entry(raw))) for raw in objects)
    with atomic_file(path) as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as stream:
        stream.write(encode(header) + b"\n")
        for _, line in entries:
            stream.write(line + b"\n")


def read(path: Path) -> Snapshot:
    """The snapshot at `path`. Raises InputError when it is none, or not whole."""
    try:
        with gzip.open(path, "rb") as stream:
            lines = enumerate(stream, start=1)
            header = _header(path, next(lines, (1, b""))[1])
            return Snapshot(header, tuple(_objects(path, lines)))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {_SCAN_AGAIN}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: no snapshot, or a damaged one ({error}); {_SCAN_AGAIN}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error


def _order(raw: RawObject) -> tuple[str, str, str, str]:
    ref = raw.ref
    return ref.api_version, ref.kind, ref.namespace or "", ref.name


def _entry(raw: RawObject) -> _Entry:
    return _Entry(raw.data, raw.source, [[*path, line] for path, line in raw.lines.items()])


def _header(path: Path, line: bytes) -> SnapshotHeader:
    try:
        envelope = msgspec.json.decode(line, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}:1: no snapshot ({error}); {_SCAN_AGAIN}") from error
    if envelope.kind != "Snapshot":
        raise InputError(f"{path}:1: kind is {envelope.kind!r} where Snapshot should be; {_SCAN_AGAIN}")
    if envelope.api_version != API_VERSION:
        raise InputError(
            f"{path}:1: apiVersion is {envelope.api_version!r}, this program reads {API_VERSION}; "
            "use the version that wrote it, or make a new one with migrate scan"
        )
    try:
        return msgspec.json.decode(line, type=SnapshotHeader)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}:1: the header is damaged ({error}); {_SCAN_AGAIN}") from error


def _objects(path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[RawObject]:
    decode = msgspec.json.Decoder(_Entry).decode
    for number, line in lines:
        try:
            entry = decode(line)
            yield RawObject(cast("dict[str, Json]", entry.data), entry.source, dict(map(_place, entry.lines)))
        except (msgspec.DecodeError, ValueError) as error:
            raise InputError(f"{path}:{number}: the object is damaged ({error}); {_SCAN_AGAIN}") from error


def _place(entry: list[str | int]) -> tuple[FieldPath, int]:
    *path, line = entry
    if not isinstance(line, int):
        raise ValueError(f"{line!r} is no line number")
    return tuple(path), line
