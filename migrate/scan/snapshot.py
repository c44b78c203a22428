"""snapshot.jsonl.gz: one header line, then one object a line.

Objects are in the order of their identity, keys are sorted (files) or as the API server sends them (clusters), and no
clock goes in: the same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from migrate.errors import InputError
from migrate.files import atomic_file
from migrate.model.documents import API_VERSION, SnapshotHeader
from migrate.model.raw import RawObject
from migrate.scan.collector import collector_off
from migrate.scan.encoded import EncodedObjects, decoded

FILE_NAME = "snapshot.jsonl.gz"
_LEVEL = 6
_BUFFER = 1 << 16
_SCAN_AGAIN = "make a new one with migrate scan"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cluster at one moment, or the objects of some files."""

    header: SnapshotHeader
    objects: Sequence[RawObject]


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """What every document of this program begins with."""

    api_version: str = ""
    kind: str = ""


def write(path: Path, header: SnapshotHeader, objects: Iterable[RawObject]) -> None:
    """Write a snapshot, whole or not at all. Raises InputError when the place cannot be written."""
    encoded = objects if isinstance(objects, EncodedObjects) else EncodedObjects.of(objects)
    with (
        atomic_file(path) as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
        io.BufferedWriter(packed, _BUFFER) as stream,
    ):
        stream.write(msgspec.json.encode(header, order="sorted") + b"\n")
        for line in encoded.lines:
            stream.write(line + b"\n")


def read(path: Path) -> Snapshot:
    """The snapshot at `path`. Raises InputError when it is none, or not whole."""
    try:
        with gzip.open(path, "rb") as stream, collector_off():
            lines = enumerate(stream, start=1)
            header = _header(path, next(lines, (1, b""))[1])
            return Snapshot(header, EncodedObjects(list(_checked(path, lines))))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {_SCAN_AGAIN}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: no snapshot, or a damaged one ({error}); {_SCAN_AGAIN}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error


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


def _checked(path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Each line, when an object can be read from it."""
    for number, line in lines:
        try:
            decoded(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: the object is damaged ({error}); {_SCAN_AGAIN}") from error
        yield line.removesuffix(b"\n")
