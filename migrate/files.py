"""Writing files so that nothing is ever half-written or lands outside its folder, and telling whether they changed."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from migrate.errors import InputError


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` whole at the end of the block, or not at all.

    Raises InputError when the place cannot be written (no rights, no space left) or is no place for a file.
    """
    _refuse_special(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".migrate-", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        os.replace(name, path)
    except OSError as error:
        raise InputError(f"{path}: writing failed: {error.strerror}; free space or choose another place") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _refuse_special(path: Path) -> None:
    """Refuse what is there and no file: it would be replaced, which takes /dev/null or /dev/stdout from everybody."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: a folder; give the path of a file")
    if not stat.S_ISREG(mode) or path.parent.resolve() == Path("/dev"):
        raise InputError(f"{path}: a pipe or device, which a file cannot replace; give the path of a file")


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises InputError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; change its rights") from error


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all. Raises InputError as `atomic_file` does."""
    with atomic_file(path) as stream:
        stream.write(content)


def files_below(path: Path) -> Iterator[Path]:
    """A file itself, or all files below a folder in the order of their paths; nothing where nothing is."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    elif path.exists():
        yield path


def file_digest(path: Path) -> bytes:
    """SHA-256 of the bytes of a file. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
