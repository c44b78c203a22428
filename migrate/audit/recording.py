"""The file audit.db: made whole or not at all, checked before it is used, and written by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from migrate.errors import InputError

FILE_NAME = "audit.db"
APPLICATION_ID = 0x6D696741
"""Marks our files among all SQLite files."""
SCHEMA = 2
"""The version of schema.sql."""

_CREATING = re.compile(r"^CREATE TABLE (?P<table>\w+) .*?;$", re.DOTALL | re.MULTILINE)
_ADDED_COLUMNS = (
    ("segment", "node TEXT NOT NULL DEFAULT ''"),
    *((table, "revision INTEGER NOT NULL DEFAULT 0") for table in ("flow", "translated", "dropped")),
)
"""What the tables of schema 1 do not have."""
_MAGIC = b"SQLite format 3\0"
_ANOTHER = "choose another file, or move this one away"
_BUSY_SECONDS = 2.0
_LOG_BYTES, _CACHE_BYTES = 4 << 20, 8 << 20


@dataclass(frozen=True, slots=True)
class About:
    """What a recording is of; a file goes on only for the same node and cluster (the digest of the snapshot)."""

    node: str
    cluster: str
    wanted_seconds: int
    tool_version: str
    created: int
    """Nanoseconds since 1970."""


class FileLock:
    """`<file>-lock`, which holds the process id of the writer. Raises InputError where another process has it."""

    def __init__(self, path: Path) -> None:
        self._recording = path
        self._path = path.with_name(path.name + "-lock")
        try:
            self._descriptor = self._take()
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}; {_advice(error)}") from error

    def _take(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            with suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == self._path.stat().st_ino:
                    return descriptor
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{self._recording}: another audit is running (pid {writer}); stop it first: migrate audit stop"
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise

    def release(self) -> None:
        """Let others write. The name goes while the lock is held, so that nobody's new lock is taken away."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def writer_of(path: Path) -> int | None:
    """The process id of the audit that writes the recording at `path` now."""
    try:
        descriptor = os.open(path.with_name(path.name + "-lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def open_file(path: Path, about: About, schema: str) -> sqlite3.Connection:
    """A connection to the recording, which is made where there is none. Raises InputError where it cannot be used."""
    check_readable(path)
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise failure(path, error) from error
    try:
        if _is_empty(connection):
            _create(connection, about, schema)
        check_ours(path, connection)
        _check_same(path, connection, about)
        if _pragma(connection, "user_version") < SCHEMA:
            _upgrade(connection, schema)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_BYTES >> 10}")
    except sqlite3.Error as error:
        connection.close()
        raise failure(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_readable(path: Path) -> None:
    """Raises InputError where a file is at `path` that is not SQLite's."""
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
    if start and start != _MAGIC:
        raise InputError(f"{path}: no recording of an audit (not a SQLite file); {_ANOTHER}")


def check_ours(path: Path, connection: sqlite3.Connection) -> None:
    """Raises InputError where the file is another program's, of a newer version, or damaged."""
    check_version(path, connection)
    told = [str(line) for (line,) in connection.execute("PRAGMA quick_check(1)")]
    if told != ["ok"]:
        raise InputError(f"{path}: the recording is damaged ({told[0].splitlines()[-1]}); {_ANOTHER}")


def check_version(path: Path, connection: sqlite3.Connection) -> None:
    """Raises InputError where the file is another program's, or of a newer version."""
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise InputError(f"{path}: a database of another program, no recording of an audit; {_ANOTHER}")
    version = _pragma(connection, "user_version")
    if version > SCHEMA:
        raise InputError(
            f"{path}: written by a newer version of this program (schema {version}, this one knows {SCHEMA}); "
            "use that version"
        )


def failure(path: Path, error: sqlite3.Error) -> InputError:
    """What an error of SQLite means for the user."""
    if is_full(path, error):
        return InputError(f"{path}: the disk is full; free space or choose another place")
    code = _code(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(f"{path}: the recording is damaged ({error}); {_ANOTHER}")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return InputError(f"{path}: cannot be written ({error}); check the path and its rights")
    if is_locked(error):
        return InputError(f"{path}: another program keeps it locked; end that one")
    return InputError(f"{path}: writing failed ({error}); check the disk")


def is_full(path: Path, error: sqlite3.Error) -> bool:
    """Whether there was no room for a write. Some writes beside the file itself only tell of an I/O error."""
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return True
    return code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and free_bytes(path) < 1 << 16


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another program kept the file locked."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def free_bytes(path: Path) -> int:
    """The room that is left on the disk of a file."""
    state = os.statvfs(path.parent)
    return state.f_bavail * state.f_frsize


def _create(connection: sqlite3.Connection, about: About, schema: str) -> None:
    """In one transaction: a process that is killed leaves an empty file, which the next one fills."""
    entries = {
        "schema": str(SCHEMA),
        "tool_version": about.tool_version,
        "node": about.node,
        "cluster": about.cluster,
        "wanted_seconds": str(about.wanted_seconds),
        "created": str(about.created),
    }
    connection.executescript(
        f"BEGIN IMMEDIATE; {schema}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"
    )
    connection.executemany("INSERT INTO meta VALUES (?, ?)", entries.items())
    connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection, schema: str) -> None:
    """A recording that an older version began gets what this one keeps more, in one transaction."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    new = [made[0] for made in _CREATING.finditer(schema) if made["table"] not in tables]
    added = [f"ALTER TABLE {table} ADD COLUMN {column};" for table, column in _ADDED_COLUMNS]
    connection.executescript(f"BEGIN IMMEDIATE; {' '.join((*added, *new))} PRAGMA user_version = {SCHEMA}; COMMIT;")


def _check_same(path: Path, connection: sqlite3.Connection, about: About) -> None:
    known = dict(connection.execute("SELECT key, value FROM meta"))
    if known.get("cluster") != about.cluster:
        raise InputError(
            f"{path}: a recording for the snapshot of another cluster ({known.get('cluster')}, not {about.cluster}); "
            "use that snapshot, or another file"
        )
    if known.get("node") != about.node:
        raise InputError(f"{path}: a recording of node {known.get('node')}, this is {about.node}; {_ANOTHER}")


def _is_empty(connection: sqlite3.Connection) -> bool:
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    return int(tables) == 0 and _pragma(connection, "application_id") == 0


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    ((value,),) = connection.execute(f"PRAGMA {name}")
    return int(value)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary error code; errors of the Python module have none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _advice(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "free space or choose another place"
    return "check the path and its rights"
