"""Logs of any size read line by line: as they are, packed by gzip or zstd, and as PowerShell redirects them (UTF-16).

What is cut off in the middle is read up to there, and `broken` says so.
"""

from __future__ import annotations

import codecs
import hashlib
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from migrate.errors import InputError
from migrate.evidence.numbered import LONGEST_LINE
from migrate.evidence.values import brief

_CHUNK = 1 << 18
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class SourceFile:
    """A file of evidence. `broken` is why it was not read to its end, once `lines` has given the last one."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            raise InputError(f"{path}: {what}; name the files with the logs")
        self.path = path
        self.broken = ""

    def lines(self) -> Iterator[bytes]:
        """Every line with its line end. Of one that is too long, just so much that it shows. Raises InputError."""
        self.broken = ""
        try:
            with self.path.open("rb") as stream:
                yield from split_lines(_narrow(self._unpacked(stream)))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}; check the file and its rights") from error

    def _unpacked(self, stream: IO[bytes]) -> Iterator[bytes]:
        start = stream.read(4)
        stream.seek(0)
        if start.startswith(_GZIP):
            return self._gunzipped(stream)
        return self._unzstd() if start == _ZSTD else iter(lambda: stream.read(_CHUNK), b"")

    def _gunzipped(self, stream: IO[bytes]) -> Iterator[bytes]:
        """All members one after another, also the part of a last one that is cut."""
        packed = stream.read(_CHUNK)
        while packed:
            unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            while packed and not unpacker.eof:
                try:
                    yield unpacker.decompress(packed, _CHUNK)
                except zlib.error as error:
                    self.broken = f"its gzip data is damaged ({error})"
                    return
                packed = unpacker.unconsumed_tail or unpacker.unused_data or stream.read(_CHUNK)
            yield unpacker.flush()
            if not unpacker.eof:
                self.broken = "its gzip data is cut off"
                return
            packed = packed.lstrip(b"\0")
            if packed and not packed.startswith(_GZIP[: len(packed)]):
                self.broken = "other data follows its gzip data"
                return

    def _unzstd(self) -> Iterator[bytes]:
        """By the program zstd, as Python has nothing for it."""
        program = shutil.which("zstd")
        if program is None:
            raise InputError(f"{self.path}: packed by zstd, and there is no program zstd here; install it or unpack it")
        with subprocess.Popen(
            [program, "-dcq", "--", str(self.path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            try:
                yield from iter(lambda: _read(child.stdout), b"")
                said = child.stderr.read(2000).decode(errors="replace")
            finally:
                with suppress(ProcessLookupError):
                    child.terminate()
        if child.returncode:
            self.broken = f"its zstd data is damaged or cut off ({brief(said.strip())})"


def _read(stream: IO[bytes] | None) -> bytes:
    return stream.read(_CHUNK) if stream is not None else b""


def _narrow(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """UTF-16 as UTF-8; everything else as it is."""
    first = next((chunk for chunk in chunks if chunk), b"")
    if not first.startswith(_WIDE):
        yield first
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
    yield decoder.decode(first).encode(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(errors="replace")


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of pieces of a file. No more of a line is ever kept than shows that it is too long."""
    rest, is_skipping = b"", False
    for chunk in chunks:
        pieces = (rest + chunk).split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            if not is_skipping:
                yield piece + b"\n"
            is_skipping = False
        if len(rest) > LONGEST_LINE:
            if not is_skipping:
                yield rest[: LONGEST_LINE + 1]
            rest, is_skipping = b"", True
    if rest and not is_skipping:
        yield rest


def digest(path: Path) -> str:
    """Names the content of a file. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the file and its rights") from error
