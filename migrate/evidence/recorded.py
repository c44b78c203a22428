"""Evidence of another program as a recording of its own, with the schema of those that agents write.

A segment for each node, whose loader is the program; an interface for each pod, found by "import". None of them counts
as watched: a gap covers each of their lives. What was dropped is in the table dropped; what was let through is a flow
that was answered; of the rest nobody knows, and it is a flow without an answer.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from migrate.audit.facts import FlowEnds, dropped_statement
from migrate.audit.flow_rows import ADD_FLOW, HOUR, FlowRow
from migrate.audit.layout import Direction, address_of, bytes_of
from migrate.audit.reading import IMPORTED
from migrate.audit.recording import About, FileLock, failure, open_file
from migrate.audit.revisions import RAISE
from migrate.errors import InputError
from migrate.evidence.placed import Owner, Record
from migrate.model.addresses import Address

UNFINISHED = ".part"
"""Ends the name of a recording while it is made."""
UNWATCHED = "told by another program, which does not say what it left out"

_MOST_WAITING = 50_000
_MOST_PODS = _MOST_ADDRESSES = 100_000
_MOST_TIMES, _MOST_EVENTS = 1 << 40, 1 << 53
"""Of one entry, and of all of one kind in an hour. Beyond them a program tells nonsense, and sums have 63 bits."""
_ENDS = "source, destination, protocol, port"
_Key = tuple[int, int, int, int, int, bytes, bytes, int, int]
_Span = list[int]
"""The first and the last moment."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a recording is made of: the program, and what names the file's content."""

    program: str
    digest: str


class ImportedRecording:
    """A recording that is being made. Times are nanoseconds since 1970. Only what `finish` was called for is kept."""

    def __init__(self, path: Path, connection: sqlite3.Connection, origin: Origin) -> None:
        self._path, self._connection, self._origin = path, connection, origin
        self._segments: dict[str, tuple[int, _Span]] = {}
        self._veths: dict[tuple[str, Owner], tuple[int, _Span]] = {}
        self._owners: dict[Address, dict[Owner, _Span]] = {}
        self._flows: dict[_Key, list[int]] = {}
        self._dropped: dict[_Key, list[int]] = {}
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute(RAISE)
        columns = f"hour, {_ENDS}, veth"
        connection.execute(f"CREATE TEMP TABLE stopped ({columns}, PRIMARY KEY ({columns})) WITHOUT ROWID")

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that were named."""
        return tuple(sorted(name for name in self._segments if name))

    @property
    def pods(self) -> int:
        """How many pods have records."""
        return len({owner for _, owner in self._veths})

    def add(self, record: Record, at: int) -> bool:
        """Count a record; False where there are too many pods for one file."""
        key = (record.node, record.owner)
        if key not in self._veths:
            if len(self._veths) >= _MOST_PODS:
                return False
            self._veths[key] = len(self._veths) + 1, [at, at]
        veth, span = self._veths[key]
        _widen(span, at)
        number = len(self._segments) + 1
        _widen(self._segments.setdefault(record.node, (number, [at, at]))[1], at)
        waiting = self._dropped if record.is_dropped else self._flows
        row = waiting.setdefault(_key(veth, record, at), [at, at, 0, 0, 0])
        _widen(row, at)
        row[2] = min(row[2] + min(record.events, _MOST_TIMES), _MOST_EVENTS)
        row[3] = min(row[3] + min(record.answered, _MOST_TIMES), _MOST_EVENTS)
        row[4] = record.source_port
        if len(waiting) >= _MOST_WAITING:
            self._write_waiting()
        return True

    def own(self, address: Address, owner: Owner, at: int) -> None:
        """The program says that a pod has an address."""
        if address in self._owners or len(self._owners) < _MOST_ADDRESSES:
            _widen(self._owners.setdefault(address, {}).setdefault(owner, [at, at]), at)

    def finish(self, meta: dict[str, str], losses: dict[tuple[str, str], int], known: frozenset[Address]) -> None:
        """Write all. `known` are addresses of which the snapshot says the same; losses are by kind and detail."""
        self._write_waiting()
        notes = json.dumps([meta["import_notes"]] if meta.get("import_notes") else [])
        for node, (number, (first, last)) in self._segments.items():
            boot = f"{self._origin.program}/{self._origin.digest}"
            values = (number, boot, "", "", self._origin.program, IMPORTED, first, last, notes, node)
            self._insert("segment", values)
        for (node, owner), (veth, (first, last)) in self._veths.items():
            names = (owner.namespace, owner.name) if owner.name else (None, None)
            life = (veth, self._segments[node][0], 0, f"{IMPORTED}{veth}", *names, None, IMPORTED, first, first, last)
            self._insert("veth", life)
            self._insert("gap", (veth, first, last, UNWATCHED))
        self._write_owners(known)
        self._leave_open_what_did_not_arrive()
        # A connection of which only answers were seen is one, at least.
        self._connection.execute("UPDATE flow SET events = 1 WHERE events = 0")
        end = max(span[1] for _, span in self._segments.values())
        for (kind, detail), count in sorted(losses.items()):
            self._insert("loss", (1, end, kind, min(count, _MOST_EVENTS), detail))
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", sorted(meta.items()))
        self._connection.execute("COMMIT")

    def _write_owners(self, known: frozenset[Address]) -> None:
        for address, owners in self._owners.items():
            if len(owners) == 1 and address in known:
                continue
            for owner, (first, last) in owners.items():
                self._insert("owner", (bytes_of(address), "pod", *owner, "", first, last))

    def _leave_open_what_did_not_arrive(self) -> None:
        """What left a pod and was dropped at its peer in the same hour is not known to work.

        A program tells of a packet at each end by itself: forwarded at the sender's, dropped at the receiver's. Where
        another of its kind was let in there or answered, at whatever time, the sender's word stands.
        """
        execute = self._connection.execute
        let_in = f"SELECT {_ENDS} FROM flow WHERE kind = 0 AND (direction = 1 AND answered > 0 OR answered > events)"
        execute(f"DELETE FROM stopped WHERE ({_ENDS}) IN ({let_in})")
        there = " AND ".join(f"stopped.{name} = flow.{name}" for name in ("hour", *_ENDS.split(", ")))
        execute(
            "UPDATE flow SET answered = 0 WHERE direction = 0 AND kind = 0 "
            f"AND EXISTS (SELECT 1 FROM stopped WHERE {there} AND stopped.veth <> flow.veth)"
        )
        execute("DROP TABLE stopped")

    def _insert(self, table: str, values: tuple[int | str | bytes | None, ...]) -> None:
        self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    def _write_waiting(self) -> None:
        self._connection.executemany(ADD_FLOW, (_flow_row(key, row) for key, row in self._flows.items()))
        for key, (first, last, events, _, _) in self._dropped.items():
            veth, hour, way, _, _, source, destination, protocol, port = key
            ends = FlowEnds(address_of(source), address_of(destination), protocol, port)
            self._connection.execute(*dropped_statement(veth, ends, first, last, events))
            if way == Direction.TO_POD:
                stopped = (hour, source, destination, protocol, port, veth)
                self._connection.execute("INSERT OR IGNORE INTO stopped VALUES (?, ?, ?, ?, ?, ?)", stopped)
        self._flows.clear()
        self._dropped.clear()


def _key(veth: int, record: Record, at: int) -> _Key:
    ends = bytes_of(record.source), bytes_of(record.destination)
    way = int(record.direction is Direction.TO_POD)
    return veth, at // HOUR, way, int(record.kind), 0, *ends, record.protocol, record.port


def _flow_row(key: _Key, row: list[int]) -> FlowRow:
    first, last, events, answered, source_port = row
    return (*key, first, last, events, 0, answered, 0, 0, source_port)


def _widen(span: list[int], at: int) -> None:
    if at < span[0]:
        span[0] = at
    if at > span[1]:
        span[1] = at


@contextmanager
def imported_recording(path: Path, about: About, origin: Origin) -> Iterator[ImportedRecording]:
    """A recording that stands at `path` after the block if it was finished in it, and else leaves nothing.

    Raises InputError where it cannot be written, or another import makes it.
    """
    lock = FileLock(path)
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        unfinished.unlink(missing_ok=True)
        schema = resources.files("migrate.audit").joinpath("schema.sql").read_text(encoding="utf-8")
        connection = open_file(unfinished, about, schema)
        try:
            yield ImportedRecording(unfinished, connection, origin)
            is_whole = not connection.in_transaction
        except sqlite3.Error as error:
            raise failure(path, error) from error
        finally:
            connection.close()
        if is_whole:
            _put(unfinished, path)
    finally:
        for name in (unfinished.name, f"{unfinished.name}-wal", f"{unfinished.name}-shm"):
            with suppress(FileNotFoundError):
                unfinished.with_name(name).unlink()
        lock.release()


def _put(unfinished: Path, path: Path) -> None:
    """All of it is on the disk before it has its name."""
    try:
        descriptor = os.open(unfinished, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(f"{path}: writing failed: {error.strerror}; free space or choose another place") from error
