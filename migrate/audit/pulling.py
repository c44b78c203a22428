"""A recording copied over a slow and breaking line, again and again, each time only what is new. Both ends of it.

The copy takes the rows between two marks in one transaction with the mark, so that it can be cut anywhere, and goes on
from there. Rows are added and changed in a recording, never removed. Its table `seen` is of use on the node only, and
so is `written`: both stay there.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import migrate
from migrate.audit.frames import Arriving, Header, Mark, PullError, Rows, Sending
from migrate.audit.recording import (
    SCHEMA,
    About,
    FileLock,
    check_readable,
    check_version,
    failure,
    open_file,
    writer_of,
)
from migrate.audit.revisions import REVISED, ROW_OF
from migrate.errors import InputError
from migrate.model.agent_documents import PROTOCOL

__all__ = ("PullError", "Pulled", "pulled_revision", "receive", "send")

_ROWS = 2000
"""In a frame."""
_FIRST_RANGE, _LONGEST_RANGE = 20_000, 640_000
"""Rows between two marks. Each range is a look at the whole recording, so that they grow and get fewer."""
_WHOLE = ("meta", "segment", "counter")
"""Tables of a few rows, which are always sent."""
_BY_ROWID = frozenset(("gap", "loss", "owner", "backend", "connection", "translated"))
"""Tables without a key that tells every two rows apart."""
_PULLED = "pulled_revision"
"""In meta of a copy: it has everything up to there."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to: the copy's revision, rows that were new or changed, and bytes on the line."""

    revision: int
    rows: int
    octets: int


def send(recording: Path, since: int, write: Callable[[bytes], None]) -> None:
    """Write what a recording has that its copy of revision `since` has not. Its agent may write to it meanwhile.

    All is of one moment, and is on the disk before it is sent, so that no power cut takes back what a copy has. Raises
    PullError where there is no recording that can be sent.
    """
    with _unchanging(recording) as connection:
        header = _header(connection, since)
        _sync(recording)
        sending = Sending(write)
        sending.header(header)
        for low, high in _ranges(connection, since, header.revision):
            for table, condition in _parts(low, high, since):
                for rows in _rows(connection, table, condition):
                    sending.frame(rows)
            sending.frame(Mark(high, high == header.revision))


def receive(chunks: Iterable[bytes], store: Path) -> Pulled:
    """Add what `send` wrote to the copy at `store`, which is made where there is none.

    Raises PullError when it is cut off, damaged, of another version or does not fit to the copy, and InputError where
    the copy cannot be written. In any case the next pull goes on from `pulled_revision`: a copy of a recording that the
    node has no more is put aside, with .old-1 or a higher number behind its name.
    """
    arriving = Arriving(chunks)
    header = _understood(arriving.header())
    with _alone(store):
        _put_aside_another(store, header)
        _check_since(store, header)
        with closing(_copy(store, header)) as connection:
            revision, rows = _fill(store, connection, arriving)
            with suppress(sqlite3.Error):  # somebody reads it: it stays as it is, and whole
                connection.execute("PRAGMA journal_mode = DELETE")
    return Pulled(revision, rows, arriving.octets)


def pulled_revision(store: Path) -> int:
    """What to ask for: the copy has everything up to there. 0 where there is none.

    Raises InputError for a file that is no recording.
    """
    return int(_meta(store).get(_PULLED, "0"))


@contextmanager
def _unchanging(recording: Path) -> Iterator[sqlite3.Connection]:
    """The recording as it is now, however long it is read."""
    if not recording.exists() or not recording.stat().st_size:
        raise PullError(f"{recording}: nothing is recorded yet; look at the agent's status")
    check_readable(recording)
    try:
        with closing(_open_to_read(recording)) as connection:
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("BEGIN")
            check_version(recording, connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < SCHEMA:
                text = f"recorded by an older version of this program (schema {version}, this one sends {SCHEMA})"
                raise PullError(f"{recording}: {text}; let an agent of this version go on with it, then pull")
            yield connection
    except sqlite3.Error as error:
        raise PullError(f"{recording}: cannot be read ({error}); look at the node's disk") from error


def _open_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _header(connection: sqlite3.Connection, since: int) -> Header:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    return Header(
        protocol=PROTOCOL,
        tool_version=migrate.__version__,
        schema=SCHEMA,
        run=meta.get("run", ""),
        node=meta.get("node", ""),
        cluster=meta.get("cluster", ""),
        created=int(meta.get("created", "0")),
        wanted_seconds=int(meta.get("wanted_seconds", "0")),
        since=since,
        revision=int(meta.get("revision", "0")),
    )


def _sync(recording: Path) -> None:
    """What was written until now outlasts a power cut; its writer only sees to that from time to time."""
    for path in (recording.with_name(recording.name + "-wal"), recording):
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise PullError(f"{path}: not safe on the disk ({error.strerror}); look at the node's disk") from error
            finally:
                os.close(descriptor)


def _ranges(connection: sqlite3.Connection, since: int, last: int) -> Iterator[tuple[int, int]]:
    """Ranges of revisions that follow each other (without the first, with the last one), not too many rows in each."""
    rows: Counter[int] = Counter()
    for table in (*REVISED, "written"):
        query = f"SELECT revision FROM {table} WHERE revision > ? AND revision < ?"
        rows.update(revision for (revision,) in connection.execute(query, (since, last)))
    low, high, count, most = since, since, 0, _FIRST_RANGE
    for revision in sorted(rows):
        if count and count + rows[revision] > most:
            yield low, high
            low, count, most = high, 0, min(2 * most, _LONGEST_RANGE)
        high = revision
        count += rows[revision]
    yield low, last


def _parts(low: int, high: int, since: int) -> Iterator[tuple[str, str]]:
    """The tables of a range, and which of their rows. Where all is sent, also rows of which no revision is known."""
    if low == since:
        yield from ((table, "TRUE") for table in _WHOLE)
    for table, row in ROW_OF.items():
        known = f"{row} {{}} (SELECT row FROM written WHERE part = '{table}' AND revision {{}})"
        yield (
            table,
            known.format("IN", f"> {low} AND revision <= {high}") if low else known.format("NOT IN", f"> {high}"),
        )
    for table in REVISED:
        yield table, f"revision > {low} AND revision <= {high}" if low else f"revision <= {high}"


def _rows(connection: sqlite3.Connection, table: str, condition: str) -> Iterator[Rows]:
    columns = _columns(connection, table)
    found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {condition}")
    while rows := found.fetchmany(_ROWS):
        yield Rows(table, columns, rows)


def _columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    names = tuple(str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})"))
    return ("rowid", *names) if table in _BY_ROWID else names


def _understood(header: Header) -> Header:
    """Raises PullError for what another version sent."""
    here, there = migrate.__version__, header.tool_version
    if (header.protocol, header.schema) == (PROTOCOL, SCHEMA):
        return header
    raise PullError(
        f"the agent is of version {there} (protocol {header.protocol}, schema {header.schema}), this is {here} "
        f"(protocol {PROTOCOL}, schema {SCHEMA}); pull with version {there}"
    )


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Only this process writes to the copy."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{store.parent}: cannot be made: {error.strerror}; choose another place") from error
    if (other := writer_of(store)) is not None:
        raise PullError(f"{store}: process {other} writes it; wait for its end, or stop it")
    lock = FileLock(store)
    try:
        yield
    finally:
        lock.release()


def _put_aside_another(store: Path, header: Header) -> None:
    """What cannot be the same recording's beginning: it was created at another time, or it had more."""
    known = _meta(store)
    if not known:
        return
    if known.get("node", "") != header.node:
        text = f"a copy of the recording of node {known.get('node', '')}, and this is of {header.node}"
        raise PullError(f"{store}: {text}; pull each node into a file of its own")
    is_same = int(known.get("created", "0")) == header.created
    if is_same and int(known.get(_PULLED, "0")) <= header.revision:
        return
    try:
        with closing(sqlite3.connect(store)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        store.rename(_free_name(store))
    except sqlite3.Error as error:
        raise failure(store, error) from error
    except OSError as error:
        raise InputError(f"{store}: cannot be put aside: {error.strerror}; move it away") from error


def _free_name(store: Path) -> Path:
    number = 1
    while (path := store.with_name(f"{store.name}.old-{number}")).exists():
        number += 1
    return path


def _check_since(store: Path, header: Header) -> None:
    """Raises PullError where something would be missing in between."""
    if header.since > (there := pulled_revision(store)):
        text = f"the copy has everything up to revision {there}, and what came begins after {header.since}"
        raise PullError(f"{store}: {text}; pull again from {there}")


def _copy(store: Path, header: Header) -> sqlite3.Connection:
    about = About(header.node, header.cluster, header.wanted_seconds, header.tool_version, header.created)
    schema = resources.files("migrate.audit").joinpath("schema.sql").read_text(encoding="utf-8")
    return open_file(store, about, schema)


def _fill(store: Path, connection: sqlite3.Connection, arriving: Arriving) -> tuple[int, int]:
    """The revision of the last mark, and how many rows came up to there."""
    revision = rows = 0
    try:
        connection.execute("BEGIN IMMEDIATE")
        for frame in arriving.frames():
            if isinstance(frame, Rows):
                _put(store, connection, frame)
                rows += len(frame.rows)
                continue
            revision = frame.revision
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_PULLED, str(revision)))
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise failure(store, error) from error
    return revision, rows


def _put(store: Path, connection: sqlite3.Connection, frame: Rows) -> None:
    names = ", ".join(frame.columns)
    if frame.table not in (*_WHOLE, *ROW_OF, *REVISED) or frame.columns != _columns(connection, frame.table):
        raise PullError(f"{store}: no place for the columns {names} of {frame.table}; pull with the agent's version")
    values = ", ".join("?" * len(frame.columns))
    try:
        connection.executemany(f"INSERT OR REPLACE INTO {frame.table} ({names}) VALUES ({values})", frame.rows)
    except (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.IntegrityError, OverflowError) as error:
        raise PullError(f"{store}: rows of {frame.table} that do not fit ({error}); look at the agent's log") from error


def _meta(store: Path) -> dict[str, str]:
    """Empty where there is no copy."""
    if not store.exists() or not store.stat().st_size:
        return {}
    check_readable(store)
    try:
        with closing(_open_to_read(store)) as connection:
            check_version(store, connection)
            return dict(connection.execute("SELECT key, value FROM meta"))
    except sqlite3.Error as error:
        raise failure(store, error) from error
