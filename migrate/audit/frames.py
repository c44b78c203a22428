"""How a recording goes over a line: a preamble, then frames of a length, a checksum and compressed bytes.

The first frame is a header as JSON; the others are rows, and marks: all rows up to a revision have been sent. The
checksum is a CRC-32 over the frame and all frames before it: it tells of bytes that are cut, lost, doubled or another
program's. It is no signature; who may be at the other end is for the line's own encryption.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from migrate.errors import ClusterError

PREAMBLE: Final = b"cilium-migrate recording\n"
_FRAME = struct.Struct(">II")
_MOST_BYTES = 16 << 20
"""Of a frame, packed or not."""
_SHOWN_BYTES = 200
"""Of what is no recording, in an error."""


class PullError(ClusterError):
    """What came is not all, or cannot be added to the copy. What was whole is kept."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. A reader of another protocol understands `protocol` and `tool_version`.

    `created` tells recordings apart that a node had one after the other. `revision` is the last one that is sent, and
    `since` the one that the reader has; `schema` is that of the tables.
    """

    protocol: int
    tool_version: str
    schema: int = 0
    run: str = ""
    node: str = ""
    cluster: str = ""
    created: int = 0
    wanted_seconds: int = 0
    since: int = 0
    revision: int = 0


class Rows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """Rows that are put in place of those with the same key. Their values are numbers, texts, bytes and nothing."""

    table: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


class Mark(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """All rows up to a revision have been sent; `is_last` when there are no more."""

    revision: int
    is_last: bool


Frame: TypeAlias = Rows | Mark


class Sending:
    """Frames on their way out."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._check = 0

    def header(self, header: Header) -> None:
        """The first one."""
        self._write(PREAMBLE)
        self._send(msgspec.json.encode(header))

    def frame(self, frame: Frame) -> None:
        """The next one."""
        self._send(msgspec.msgpack.encode(frame))

    def _send(self, body: bytes) -> None:
        packed = zlib.compress(body)
        self._check = zlib.crc32(packed, self._check)
        self._write(_FRAME.pack(len(packed), self._check) + packed)


class Arriving:
    """Frames on their way in, from chunks of any size. Raises PullError where they cannot be what was sent."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._check = 0
        self.octets = 0
        """Bytes that came."""

    def header(self) -> Header:
        """The first one."""
        self._fill(len(PREAMBLE))
        if not self._buffer.startswith(PREAMBLE):
            self._fill(_SHOWN_BYTES)
            shown = " ".join(self._buffer[:_SHOWN_BYTES].decode(errors="replace").split())
            raise PullError(f"the agent did not send a recording, but {shown!r}; look at its log")
        self._take(len(PREAMBLE))
        try:
            return msgspec.json.decode(self._body(), type=Header)
        except msgspec.DecodeError as error:
            raise self._damaged(str(error)) from error

    def frames(self) -> Iterator[Frame]:
        """The others, up to the last mark."""
        decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
        while True:
            try:
                frame = decoder.decode(self._body())
            except msgspec.DecodeError as error:
                raise self._damaged(str(error)) from error
            yield frame
            if isinstance(frame, Mark) and frame.is_last:
                return

    def _body(self) -> bytes:
        size, check = _FRAME.unpack(self._take(_FRAME.size))
        if size > _MOST_BYTES:
            raise self._damaged("a frame is too long")
        packed = self._take(size)
        self._check = zlib.crc32(packed, self._check)
        if self._check != check:
            raise self._damaged("a checksum is wrong")
        return self._unpacked(packed)

    def _unpacked(self, packed: bytes) -> bytes:
        unpacking = zlib.decompressobj()
        try:
            body = unpacking.decompress(packed, _MOST_BYTES)
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if not unpacking.eof or unpacking.unused_data:
            raise self._damaged("a frame has another length than what is in it")
        return body

    def _take(self, size: int) -> bytes:
        if not self._fill(size):
            raise PullError(f"cut off after {self.octets} bytes; what came before is kept, pull again")
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self, size: int) -> bool:
        """Whether so many bytes are there, in the end."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self.octets += len(chunk)
            self._buffer += chunk
        return True

    def _damaged(self, why: str) -> PullError:
        return PullError(f"damaged before byte {self.octets} ({why}); what came before is kept, pull again")
