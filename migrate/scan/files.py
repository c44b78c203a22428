"""Reading manifests from files, folders and standard input.

All files are read before anything is refused, so that one run names every problem there is.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from migrate.model.refs import Location
from migrate.scan import json_reader, yaml_reader
from migrate.scan.collector import collector_off
from migrate.scan.manifests import HELM_TEMPLATE, Collector, FileReading, Origin
from migrate.scan.tree import UnreadableError

__all__ = ["FileReading", "read_files"]

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GZIP_MARK = b"\x1f\x8b"


def read_files(paths: Sequence[str], stdin: BinaryIO | None) -> FileReading:
    """The objects of files, of folders with all below them, and for "-" of standard input.

    Of an object that stands in several places the last one counts. Raises InputError with one line per problem.
    """
    collector = Collector()
    read: set[tuple[int, int]] = set()
    with collector_off():
        for path in dict.fromkeys(paths):
            if path == STDIN:
                _read_stdin(stdin, collector)
                continue
            for origin in _files(path, collector):
                identity = _identity(origin, collector)
                if identity is not None and identity not in read:
                    read.add(identity)
                    _read_file(origin, collector)
    if not collector.problems and not collector.seen:
        collector.problems.append(
            f"{', '.join(map(shown, paths))}: no Kubernetes objects there; give files or folders that have some"
        )
    return collector.reading()


def _files(path: str, collector: Collector) -> Iterator[Origin]:
    """The file itself, or the manifests in a folder and below, in the order of their names."""
    if not _is_folder(path):
        yield Origin(shown(path), path)
        return
    waiting, found, before = [path], False, len(collector.problems)
    while waiting:
        place = waiting.pop()
        if _is_folder(place):
            waiting += reversed(_entries(place, place == path, collector))
        elif place.lower().endswith(_SUFFIXES):
            found = True
            yield Origin(shown(place), place, found=True)
    if not found and len(collector.problems) == before:
        collector.problem(
            Origin(shown(path)), None, f"a folder without manifests ({', '.join(_SUFFIXES)}); name another one"
        )


def shown(path: str) -> str:
    """A path as text; file names may hold bytes that are none."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _is_folder(path: str) -> bool:
    """Whether there is a folder; what cannot be told is told when the file is read."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def _entries(folder: str, is_top: bool, collector: Collector) -> list[str]:
    """What a folder holds, but for hidden names; links to folders are not followed, they may lead in circles."""
    if Path(folder).is_symlink() and not is_top:
        collector.skip(Location(shown(folder), None), "a link to a folder; name that folder itself to have it read")
        return []
    try:
        names = sorted(entry.name for entry in Path(folder).iterdir())
    except OSError as error:
        collector.problem(Origin(shown(folder)), None, _why(error))
        return []
    return [os.path.join(folder, name) for name in names if not name.startswith(".")]  # noqa: PTH118 - keeps "./"


def _identity(origin: Origin, collector: Collector) -> tuple[int, int] | None:
    """Which file this is, whatever its path; None, with a problem noted, when it is none that can be read."""
    try:
        status = Path(origin.path).stat()
    except OSError as error:
        collector.problem(origin, None, _why(error))
        return None
    if stat.S_ISREG(status.st_mode):
        return status.st_dev, status.st_ino
    collector.problem(origin, None, "a pipe or device, not a file; pipe it into -f - instead")
    return None


def _why(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "no such file or folder; check the path"
    if error.errno == errno.ELOOP:
        return "a link that leads back to itself; name the file that is meant"
    if error.errno == errno.EACCES:
        return "no right to read it; change its rights or run as its owner"
    return f"cannot be read: {error.strerror}"


def _read_stdin(stdin: BinaryIO | None, collector: Collector) -> None:
    origin = Origin("stdin")
    if stdin is None:
        collector.problem(origin, None, "nothing is connected to standard input; pipe manifests into it")
        return
    with _peekable(stdin) as stream:
        _Reader(stream, origin, collector).read()


@contextmanager
def _peekable(stream: BinaryIO) -> Iterator[io.BufferedReader]:
    buffered = _buffered(stream)
    try:
        yield buffered
    finally:
        buffered.detach()


def _read_file(origin: Origin, collector: Collector) -> None:
    try:
        with Path(origin.path).open("rb") as stream:
            _Reader(stream, origin, collector).read()
    except OSError as error:
        collector.problem(origin, None, _why(error))


class _Reader:
    """One file on its way into the collector."""

    def __init__(self, stream: io.BufferedReader, origin: Origin, collector: Collector) -> None:
        self._stream = stream
        self._origin = origin
        self._collector = collector

    def read(self) -> None:
        """Take all documents over, or note what is wrong with the file."""
        try:
            self._as_utf8()
            start = self._stream.peek().lstrip()
            if self._origin.name.lower().endswith(".json"):
                self._take_json(_rest(self._stream))
            elif start.startswith(b"{") and not start.startswith(b"{{"):
                self._take_json_or_yaml(_rest(self._stream))
            else:
                self._take_yaml(self._stream)
        except UnreadableError as error:
            self._collector.problem(self._origin, error.line, str(error))

    def _as_utf8(self) -> None:
        """Leave the stream at the first character of UTF-8 text. Windows writes UTF-16 when output is redirected."""
        head = self._stream.peek()
        if head.startswith(_GZIP_MARK):
            raise UnreadableError(None, "packed with gzip; unpack it first")
        if head.startswith(codecs.BOM_UTF8):
            self._stream.read(len(codecs.BOM_UTF8))
        elif head.startswith(_UTF16_MARKS):
            try:
                text = _rest(self._stream).decode("utf-16")
            except UnicodeDecodeError as error:
                raise UnreadableError(None, "broken UTF-16 text; save the file as UTF-8") from error
            self._stream = _buffered(io.BytesIO(text.encode()))
        elif b"\0" in head:
            raise UnreadableError(None, "a binary file; give YAML or JSON text")

    def _take_json(self, body: bytes) -> None:
        if body.strip():
            for document in json_reader.read(body):
                self._collector.take(document, self._origin)

    def _take_json_or_yaml(self, body: bytes) -> None:
        """YAML may begin with a brace too."""
        if len(body) > yaml_reader.LARGEST_DOCUMENT:
            self._take_json(body)
            return
        try:
            documents = list(json_reader.read(body))
        except UnreadableError:
            self._take_yaml(_buffered(io.BytesIO(body)))
            return
        for document in documents:
            self._collector.take(document, self._origin)

    def _take_yaml(self, stream: io.BufferedReader) -> None:
        """A broken document does not hide what is wrong with those after it."""
        for chunk in yaml_reader.split(stream):
            try:
                document = yaml_reader.read(chunk)
            except UnreadableError as error:
                if b"{{" in chunk.text:
                    line = chunk.line + chunk.text.count(b"\n", 0, chunk.text.index(b"{{"))
                    raise UnreadableError(line, HELM_TEMPLATE) from error
                self._collector.problem(self._origin, error.line, str(error))
                continue
            if document is not None:
                self._collector.take(document, self._origin)


def _rest(stream: io.BufferedReader) -> bytes:
    body = stream.read(json_reader.LARGEST_FILE + 1)
    if len(body) > json_reader.LARGEST_FILE:
        raise UnreadableError(None, f"larger than {json_reader.LARGEST_FILE >> 30} GiB; scan the cluster itself")
    return body


def _buffered(stream: BinaryIO) -> io.BufferedReader:
    """The stream with a look ahead; it needs no more of a raw stream than to be read."""
    return io.BufferedReader(cast("io.FileIO", stream))
