"""Writes the recording audit.db. What cannot be written now waits in memory; what is lost is counted.

Each epoch of the kernel is one transaction with its number, so that a process killed anywhere counts nothing twice.
All times are nanoseconds since 1970. One thread uses a store.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources
from itertools import islice
from pathlib import Path

from migrate.audit.facts import Facts, FlowEnds, Life, dropped_statement, translated_statements
from migrate.audit.flow_rows import (
    ADD_FLOW,
    ADD_TO_KNOWN_FLOW,
    EVENTS,
    FlowRow,
    Record,
    coarser,
    flow_rows,
    grown,
    grown_translations,
)
from migrate.audit.layout import Address, Counter, Direction, FlowKey, FlowValue
from migrate.audit.recording import About, FileLock, free_bytes, open_file
from migrate.audit.writing import SYSTEM_CLOCK, Clock, NotWrittenError, Statement
from migrate.errors import InputError

DEFAULT_MAX_SIZE = 1 << 30
SMALLEST_MAX_SIZE = 1 << 20

_COARSE_FROM, _FULL_FROM = 0.85, 0.95
_DISK_MARGIN = 16 << 20
_JUMP = 1_000_000_000
_NO_ROOM = {
    Counter.REPLY_LOST: ("replies-lost", "answers and resets of new flows that had no room in the kernel's tables"),
    Counter.TRANSLATION_LOST: ("translations-lost", "true ends of translated flows that had no room in the kernel"),
    Counter.DROP_LOST: ("drops-lost", "packets that netfilter dropped, and whose flows had no room in the kernel"),
}
_LOOK_AT_SIZE = 128
"""Rows between two looks at the size of the file."""


class Level(IntEnum):
    """How much of an epoch is kept."""

    EXACT = 0
    COARSE = 1
    """Flows that are new in this hour get coarser rows."""
    KNOWN = 2
    """Only flows that have a row already; all others are counted as lost."""


@dataclass(frozen=True, slots=True)
class Start:
    """How an agent starts. `same_tables`: the kernel's tables are those that an agent before it left."""

    boot_id: str
    layout: str
    kernel: str
    loader: str
    attach: str
    notes: Sequence[str] = ()
    same_tables: bool = False


@dataclass(slots=True)
class Committed:
    """What an epoch came to: rows and events read from the kernel, and how many events were cut or not kept."""

    rows: int = 0
    events: int = 0
    coarse_events: int = 0
    cut: int = 0
    unstored: int = 0
    level: Level = Level.EXACT


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the kernel's new flows of a run are: rows + coarse + lost = new, once the tables are drained.

    `unstored` of the rows and coarse rows were read, but there was no room for them in the recording.
    """

    rows: int
    coarse: int
    lost: int
    new: int
    unstored: int

    @property
    def missing(self) -> int:
        """What is still in the kernel's tables, or went down with an agent."""
        return self.new - self.rows - self.coarse - self.lost


@dataclass(frozen=True, slots=True)
class _Epoch:
    sequence: int
    rows: Iterable[Record]
    growing: Mapping[str, Mapping[bytes, bytes]]
    counters: Mapping[Counter, int]
    ended: int


class Store(Facts):
    """The recording of one node, open for writing. Made by `open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: FileLock, max_size: int, clock: Clock) -> None:
        super().__init__(path, connection)
        self.clock = clock
        self.level = Level.EXACT
        """How much of an epoch was kept lately."""
        self.is_waiting = False
        """The last epoch could not be written (no room, or another program's lock), and is still in the kernel."""
        self._lock = lock
        self._max_size = max_size
        self._seen: Mapping[str, Mapping[bytes, bytes]] = {}
        self._bases: Mapping[Counter, int] = {}
        self._offset: int | None = None
        (self._page_size,) = self._numbers("PRAGMA page_size")

    def size(self) -> int:
        """Bytes of the recording, without its log."""
        (pages,) = self._numbers("PRAGMA page_count")
        return pages * self._page_size

    def note(self, key: str, value: str) -> None:
        """Keep a fact about the whole recording."""
        self._write("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", key, value)

    def segment(self, start: Start) -> bool:
        """Begin a run, or go on with the one a killed agent left on the same boot with the same tables: then True.

        One that was killed before it knew the kernel's counters begins again, as nothing was recorded by then.
        A run that cannot go on is ended where it was last heard of, and what it left in the kernel is counted as lost.
        """
        goes_on = False
        for segment, boot_id, layout in self._rows("SELECT id, boot_id, layout FROM segment WHERE ended IS NULL"):
            self._segment = int(str(segment))
            goes_on = start.same_tables and (boot_id, layout) == (start.boot_id, start.layout)
            if not goes_on:
                self._end_dead()
        (self._next_veth,) = (last + 1 for last in self._numbers("SELECT coalesce(max(id), 0) FROM veth"))
        if goes_on:
            self._load()
        else:
            self._begin(start)
        return goes_on and bool(self._bases)

    def end(self) -> None:
        """End the run, its veths and their gaps."""
        if self.given_up:
            text = "facts on pods, addresses or connections that waited for room on the disk, and were too many"
            self.loss(self.clock.realtime(), "facts-lost", self.given_up, text)
        self._end_at(self.clock.realtime())

    def close(self) -> None:
        """Let go of the file. When nothing reads it, it is one file afterwards, which can be copied."""
        self.flush()
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            pass  # somebody reads it, or the disk is full: it stays as it is, and whole
        finally:
            self._connection.close()
            self._lock.release()

    def last_epoch(self) -> tuple[int, int] | None:
        """Number and end of the last epoch of this run that was written."""
        query = "SELECT sequence, ended FROM epoch WHERE segment = ? ORDER BY sequence DESC LIMIT 1"
        found = self._rows(query, self._segment)
        return (int(str(found[0][0])), int(str(found[0][1]))) if found else None

    def is_committed(self, sequence: int) -> bool:
        """Whether an epoch of this run was written."""
        query = "SELECT 1 FROM epoch WHERE segment = ? AND sequence = ?"
        return bool(self._rows(query, self._segment, sequence))

    def balance(self) -> Balance:
        """What was written of the kernel's new flows of this run."""
        segment = self._segment
        (rows,) = self._numbers("SELECT coalesce(sum(events), 0) FROM epoch WHERE segment = ?", segment)
        (coarse,) = self._numbers("SELECT coalesce(sum(coarse_events), 0) FROM epoch WHERE segment = ?", segment)
        (unstored,) = self._numbers(
            "SELECT coalesce(sum(count), 0) FROM loss WHERE segment = ? AND kind = 'store-full'", segment
        )
        return Balance(rows, coarse, self._counted(Counter.LOST), self._counted(Counter.NEW), unstored)

    def _counted(self, counter: Counter) -> int:
        query = "SELECT value FROM counter WHERE segment = ? AND name = ?"
        return next(iter(self._numbers(query, self._segment, counter.name)), 0)

    def started(self) -> int:
        """When this run began."""
        return next(iter(self._numbers("SELECT started FROM segment WHERE id = ?", self._segment)), 0)

    def recorded(self) -> float:
        """Seconds of the runs that have ended."""
        query = "SELECT coalesce(sum(ended - started), 0) FROM segment WHERE ended IS NOT NULL"
        return sum(self._numbers(query)) / 1e9

    def unseen(self, coarse: Iterable[Record]) -> Iterator[Record]:
        """What the kernel's coarse table has more than what was written of it."""
        return grown(coarse, self._seen.get("coarse", {}))

    def trace(
        self, ifindex: int, seen: FlowEnds, original: FlowEnds, backend: tuple[Address, int] | None = None
    ) -> None:
        """The true ends of one connection of an interface that is there now."""
        self.translated(self._veth_at(ifindex, self.clock.realtime()), seen, original, backend)

    def set_base(self, counters: Mapping[Counter, int]) -> None:
        """What the kernel's counters are where the run begins; later values are told from there."""
        self._bases = dict(counters)
        for counter, value in counters.items():
            query = "INSERT INTO counter VALUES (?, ?, 0, ?) ON CONFLICT DO UPDATE SET value = 0, base = excluded.base"
            self._write(query, self._segment, counter.name, value)

    def commit_epoch(
        self,
        sequence: int,
        rows: Iterable[Record],
        counters: Mapping[Counter, int],
        ended: int | None = None,
        coarse: Iterable[Record] = (),
        translations: Iterable[Record] = (),
        drops: Iterable[Record] = (),
    ) -> Committed:
        """Write an epoch: the records of its table, and what those of the other tables have grown by.

        `rows` are read again where less has to be kept. Raises NotWrittenError when the disk has no room: the records
        have to stay in the kernel then, and the same epoch is written later.
        """
        moment = self.clock.realtime() if ended is None else ended
        self._note_jump(moment)
        now = {"coarse": dict(coarse), "translations": dict(translations), "drops": dict(drops)}
        epoch = _Epoch(sequence, rows, now, counters, moment)
        least = Level.COARSE if free_bytes(self.path) < _DISK_MARGIN else Level.EXACT
        while True:
            try:
                committed = self._write_epoch(epoch, least)
            except NotWrittenError as error:
                if error.is_locked or least == Level.COARSE:
                    self._note_waiting(moment, error)
                    raise
                least = Level.COARSE
            else:
                self.level, self.is_waiting = committed.level, False
                return committed

    def _write_epoch(self, epoch: _Epoch, least: Level) -> Committed:
        """All of an epoch, or nothing. Raises NotWrittenError."""
        committed = Committed(level=max(least, self._level_of_size()))
        self.transaction(lambda: self._execute_epoch(epoch, committed))
        self._seen = epoch.growing
        return committed

    def _execute_epoch(self, epoch: _Epoch, committed: Committed) -> None:
        is_disk_short = committed.level > self._level_of_size()
        offset = self.clock.offset()
        for row in self._kept(flow_rows(epoch.rows, offset, self._veth_at), committed):
            committed.events += row[EVENTS]
        coarse = self.unseen(epoch.growing["coarse"].items())
        for row in self._kept(flow_rows(coarse, offset, self._veth_at), committed):
            committed.coarse_events += row[EVENTS]
        self._execute_all(self._translated(epoch, offset))
        self._execute_all(self._dropped(epoch, offset))
        for source, records in epoch.growing.items():
            self._execute_seen(source, records)
        more = list(self._without_room(epoch.counters))
        self._execute_counters(epoch.counters)
        for kind, count, detail in (*self._losses(committed, is_disk_short), *more):
            self._execute_all(self._loss_statements(epoch.ended, kind, count, detail))
        self._connection.execute(
            "INSERT INTO epoch VALUES (?, ?, ?, ?, ?, ?)",
            (self._segment, epoch.sequence, epoch.ended, committed.rows, committed.events, committed.coarse_events),
        )

    def _kept(self, rows: Iterable[FlowRow], committed: Committed) -> Iterator[FlowRow]:
        """The rows, each of them when it was added as well as there was room. The level rises on the way."""
        rest = iter(rows)
        while some := list(islice(rest, _LOOK_AT_SIZE)):
            committed.rows += len(some)
            committed.level = max(committed.level, self._level_of_size())
            if committed.level == Level.EXACT:
                self._connection.executemany(ADD_FLOW, some)
            else:
                self._keep_less(some, committed)
            yield from some

    def _keep_less(self, rows: list[FlowRow], committed: Committed) -> None:
        execute = self._connection.cursor().execute
        for row in rows:
            if execute(ADD_TO_KNOWN_FLOW, row).rowcount:
                continue
            cut = coarser(row)
            if committed.level == Level.COARSE:
                execute(ADD_FLOW, cut)
                committed.cut += row[EVENTS]
            elif execute(ADD_TO_KNOWN_FLOW, cut).rowcount:
                committed.cut += row[EVENTS]
            else:
                committed.unstored += row[EVENTS]

    def _translated(self, epoch: _Epoch, offset: int) -> Iterator[Statement]:
        """At a pod that is called, the backend is the pod itself, which the flow tells already."""
        for found in grown_translations(epoch.growing["translations"].items(), self._seen.get("translations", {})):
            flow, port = found.flow, found.original_port
            seen = FlowEnds(flow.source, flow.destination, flow.protocol, flow.port)
            original = FlowEnds(found.original_source, found.original_destination, flow.protocol, port)
            backend = (found.backend, found.backend_port) if flow.direction == Direction.FROM_POD else None
            veth = self._veth_at(flow.ifindex, found.last + offset)
            yield from translated_statements(veth, seen, original, backend, found.times)

    def _dropped(self, epoch: _Epoch, offset: int) -> Iterator[Statement]:
        for key, value in grown(epoch.growing["drops"].items(), self._seen.get("drops", {})):
            flow, found = FlowKey.unpack(key), FlowValue.unpack(value)
            ends = FlowEnds(flow.source, flow.destination, flow.protocol, flow.port)
            veth = self._veth_at(flow.ifindex, found.last + offset)
            yield dropped_statement(veth, ends, found.first + offset, found.last + offset, found.events)

    def _execute_all(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            self._connection.execute(*statement)

    def _execute_seen(self, source: str, records: Mapping[bytes, bytes]) -> None:
        before = self._seen.get(source, {})
        changed = [(self._segment, source, key, value) for key, value in records.items() if before.get(key) != value]
        gone = [(self._segment, source, key) for key in before.keys() - records.keys()]
        query = "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        self._connection.executemany(query, changed)
        self._connection.executemany("DELETE FROM seen WHERE segment = ? AND source = ? AND key = ?", gone)

    def _execute_counters(self, counters: Mapping[Counter, int]) -> None:
        values = [
            (self._segment, counter.name, value - self._bases.get(counter, 0), self._bases.get(counter, 0))
            for counter, value in counters.items()
        ]
        query = "INSERT INTO counter VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        self._connection.executemany(query, values)

    def _losses(self, committed: Committed, is_disk_short: bool) -> Iterator[tuple[str, int, str]]:
        limit = f"size limit of {self._max_size >> 20} MiB"
        if committed.level > Level.EXACT and is_disk_short:
            yield "disk-coarse", committed.cut, "the disk is nearly full: new flows get coarser rows"
        elif committed.level > Level.EXACT:
            yield "store-coarse", committed.cut, f"the recording nears its {limit}: new flows get coarser rows"
        if committed.level == Level.KNOWN:
            yield "store-full", committed.unstored, f"the recording reached its {limit}: new flows are not kept"

    def _without_room(self, counters: Mapping[Counter, int]) -> Iterator[tuple[str, int, str]]:
        """What the kernel has counted since the last epoch beside new flows, and could not keep."""
        for counter, (kind, text) in _NO_ROOM.items():
            count = counters.get(counter, 0) - self._bases.get(counter, 0) - self._counted(counter)
            if count > 0:
                yield kind, count, text

    def _level_of_size(self) -> Level:
        share = self.size() / self._max_size
        if share >= _FULL_FROM:
            return Level.KNOWN
        return Level.COARSE if share >= _COARSE_FROM else Level.EXACT

    def _veth_at(self, ifindex: int, moment: int) -> int:
        """The veth of an index at a moment. One that nobody told of gets a row without a name."""
        lives = self._lives[ifindex]
        for life in reversed(lives):
            if life.appeared <= moment:
                return life.veth
        return lives[0].veth if lives else self.veth(ifindex, "", moment, moment)

    def _note_jump(self, moment: int) -> None:
        offset = self.clock.offset()
        jump = offset - (offset if self._offset is None else self._offset)
        if abs(jump) >= _JUMP:
            self.loss(moment, "clock-jump", 0, f"the clock was set by {jump / 1e9:+.0f} s")
        self._offset = offset

    def _note_waiting(self, moment: int, error: NotWrittenError) -> None:
        kind = "store-locked" if error.is_locked else "disk-full"
        if not self.is_waiting:
            self.loss(moment, kind, 0, "an epoch could not be written; its records stay in the kernel meanwhile")
        self.is_waiting = True

    def _begin(self, start: Start) -> None:
        (self._segment,) = (last + 1 for last in self._numbers("SELECT coalesce(max(id), 0) FROM segment"))
        self._lives.clear()
        self._seen, self._bases = {}, {}
        self._write(
            "INSERT INTO segment (id, boot_id, layout, kernel, loader, attach, started, notes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self._segment,
            start.boot_id,
            start.layout,
            start.kernel,
            start.loader,
            start.attach,
            self.clock.realtime(),
            json.dumps(list(start.notes)),
        )

    def _load(self) -> None:
        """What this run knew before it was killed."""
        self._lives.clear()
        query = "SELECT ifindex, id, appeared, name, until FROM veth WHERE segment = ? ORDER BY id"
        for ifindex, veth, appeared, name, until in self._rows(query, self._segment):
            life = Life(int(str(veth)), int(str(appeared)), str(name), until is None)
            self._lives[int(str(ifindex))].append(life)
        self._seen = {source: self._seen_of(source) for source in ("coarse", "translations", "drops")}
        bases = self._rows("SELECT name, base FROM counter WHERE segment = ?", self._segment)
        self._bases = {Counter[str(name)]: int(str(base)) for name, base in bases}

    def _seen_of(self, source: str) -> dict[bytes, bytes]:
        rows = self._rows("SELECT key, value FROM seen WHERE segment = ? AND source = ?", self._segment, source)
        return {key: value for key, value in rows if isinstance(key, bytes) and isinstance(value, bytes)}

    def _end_dead(self) -> None:
        last = self.last_epoch()
        missing = self.balance().missing
        (started,) = self._numbers("SELECT started FROM segment WHERE id = ?", self._segment)
        ended = last[1] if last else started
        if missing > 0:
            self.loss(ended, "agent-died", missing, "new flows that were in the kernel when the agent ended, at least")
        self._end_at(ended)

    def _end_at(self, moment: int) -> None:
        of_veths = "UPDATE gap SET until = max(since, ?1) WHERE until IS NULL AND veth IN "
        self._write(of_veths + "(SELECT id FROM veth WHERE segment = ?2)", moment, self._segment)
        self._write("UPDATE veth SET until = max(since, ?) WHERE until IS NULL AND segment = ?", moment, self._segment)
        self._write("UPDATE segment SET ended = ? WHERE id = ?", moment, self._segment)
        for life in (life for lives in self._lives.values() for life in lives):
            life.open = False


def open_store(path: Path, about: About, max_size: int = DEFAULT_MAX_SIZE, clock: Clock = SYSTEM_CLOCK) -> Store:
    """The recording at `path`, made where there is none. `max_size` is in bytes.

    Raises InputError when it is damaged, of another program, node or cluster, written by another audit or a newer
    version, or cannot be written.
    """
    if max_size < SMALLEST_MAX_SIZE:
        raise InputError(f"a size limit of {max_size} bytes is too small for a recording; give at least 1 MiB")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror}; choose another place") from error
    lock = FileLock(path)
    try:
        schema = resources.files("migrate.audit").joinpath("schema.sql").read_text(encoding="utf-8")
        return Store(path, open_file(path, about, schema), lock, max_size, clock)
    except BaseException:
        lock.release()
        raise
