"""A node's dump as lines of text, so that the log of a pod is enough to bring it out.

    cilium-migrate-bundle 1 LINES BYTES SHA256     of the compressed dump
    b 0 BASE64                                     LINES lines, numbered from 0
    cilium-migrate-bundle end

A log may have begun after the first lines (the kubelet rotates it), end early (the connection or the pod is gone), and
hold other lines (what programs said on stderr). All of that is noticed, and other lines are set aside.

Compressed by gzip, the dump is its files one after the other, the description (node.json) first: a line of JSON with
the name and the size in bytes, then the file.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from migrate.errors import ClusterError
from migrate.model.node_documents import NodeManifest
from migrate.nodes.files import MANIFEST, printed_as

_BYTES_PER_LINE = 3072
"""4 KiB of base64: container runtimes cut lines at 16 KiB."""
_MOST_COMPRESSED = 64 << 20
_MOST_UNPACKED = 512 << 20
_KEPT_LINES = 20
_LONGEST_KEPT = 500
_FIRST = re.compile(rb"cilium-migrate-bundle 1 (\d{1,9}) (\d{1,9}) ([0-9a-f]{64})")
_BODY = re.compile(rb"b (\d{1,9}) ([A-Za-z0-9+/]+={0,2})")
_LAST = b"cilium-migrate-bundle end"


class BundleError(ClusterError):
    """The lines that came are no whole dump; the message says what is missing."""


class _Frame(msgspec.Struct, frozen=True):
    """Stands before each file."""

    name: str
    size: int


def bundle_text(manifest: NodeManifest, bodies: Mapping[str, bytes]) -> str:
    """A dump as lines of text."""
    files = {MANIFEST: msgspec.json.encode(manifest), **bodies}
    packed = gzip.compress(b"".join(_framed(files)), mtime=0)
    pieces = [packed[at : at + _BYTES_PER_LINE] for at in range(0, len(packed), _BYTES_PER_LINE)]
    first = f"cilium-migrate-bundle 1 {len(pieces)} {len(packed)} {hashlib.sha256(packed).hexdigest()}"
    body = (f"b {number} {base64.b64encode(piece).decode()}" for number, piece in enumerate(pieces))
    return "\n".join((first, *body, _LAST.decode(), ""))


def _framed(files: Mapping[str, bytes]) -> Iterator[bytes]:
    for name in files:
        yield msgspec.json.encode(_Frame(name, len(files[name]))) + b"\n" + files[name]


class BundleReader:
    """Takes the lines of a log one by one. `said` are the last lines that belong to no bundle."""

    def __init__(self) -> None:
        self.said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._announced: tuple[int, int, str] | None = None
        self._pieces: dict[int, bytes] = {}
        self._size = 0
        self._ended = False

    def add(self, line: bytes) -> None:
        """Take a line, without its line break. Raises BundleError when the dump would be larger than any node's."""
        line = line.rstrip(b"\r")
        if (first := _FIRST.fullmatch(line)) is not None:
            self._announced = (int(first[1]), int(first[2]), first[3].decode())
            self._pieces.clear()
            self._size = 0
            self._ended = False
        elif (body := _BODY.fullmatch(line)) is not None:
            self._add_piece(int(body[1]), body[2])
        elif line == _LAST:
            self._ended = True
        elif line:
            self.said.append(line[:_LONGEST_KEPT].decode(errors="replace"))

    @property
    def whole(self) -> bool:
        """Whether the last line was seen and none is missing."""
        return self._ended and self._announced is not None and len(self._pieces) == self._announced[0]

    def files(self) -> dict[str, bytes]:
        """The files of the dump by name. Raises BundleError when lines are missing or damaged."""
        return dict(_unpacked(self._packed()))

    def _add_piece(self, number: int, text: bytes) -> None:
        try:
            piece = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise BundleError(f"line {number} of the dump is damaged ({error}); read the node again") from error
        self._size += len(piece) - len(self._pieces.get(number, b""))
        if self._size > _MOST_COMPRESSED:
            raise BundleError(
                f"the dump is larger than {_MOST_COMPRESSED >> 20} MiB, which no node's is; it is not used"
            )
        self._pieces[number] = piece

    def _packed(self) -> bytes:
        if self._announced is None:
            raise BundleError(self._no_beginning())
        lines, size, digest = self._announced
        missing = next((number for number in range(lines) if number not in self._pieces), None)
        if missing is not None:
            raise BundleError(f"the log is cut: {len(self._pieces)} of {lines} lines came, line {missing} is missing")
        packed = b"".join(self._pieces[number] for number in range(lines))
        if len(packed) != size or hashlib.sha256(packed).hexdigest() != digest:
            raise BundleError("the dump is damaged: its SHA-256 is not the one that was announced; read the node again")
        return packed

    def _no_beginning(self) -> str:
        if self._pieces or self._ended:
            where = f"with line {min(self._pieces)} of the dump" if self._pieces else "in the last line of the dump"
            return f"the log begins {where}: the kubelet had rotated it before it was read; read this node again"
        last = f'; the last line is "{self.said[-1]}"' if self.said else " and nothing else"
        return f"the log holds no dump{last}"


def _unpacked(packed: bytes) -> Iterator[tuple[str, bytes]]:
    stream = io.BytesIO(_inflated(packed))
    seen: set[str] = set()
    while line := stream.readline():
        try:
            frame = msgspec.json.decode(line, type=_Frame)
        except msgspec.DecodeError as error:
            raise BundleError(f"the dump is made otherwise than this version reads it: {error}") from error
        expected = printed_as(frame.name) is not None and frame.name not in seen if seen else frame.name == MANIFEST
        if not expected:
            raise BundleError(f"the dump holds {frame.name!r} where no dump has it; use an image of this version")
        body = stream.read(max(0, frame.size))
        if len(body) != frame.size:
            raise BundleError(f"the dump ends within {frame.name}; use an image of this version")
        yield frame.name, body
        seen.add(frame.name)
    if not seen:
        raise BundleError("the dump is empty; use an image of this version")


def _inflated(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        body = unpacking.decompress(packed, _MOST_UNPACKED)
    except zlib.error as error:
        raise BundleError(f"the dump cannot be unpacked: {error}; read the node again") from error
    if unpacking.unconsumed_tail:
        raise BundleError(f"the dump is larger than {_MOST_UNPACKED >> 20} MiB, which no node's is; it is not used")
    if not unpacking.eof:
        raise BundleError("the dump cannot be unpacked: it ends early; read the node again")
    return body
