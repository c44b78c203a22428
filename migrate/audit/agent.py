"""The loop of an audit on one node: follow the pods, empty the tables, tell how it goes, and leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from migrate.audit.drain import Drain
from migrate.audit.facts import Coverage, StandingConnection
from migrate.audit.kernel import Probe, ProbeError, Sizes, Table
from migrate.audit.layout import Control, Counter
from migrate.audit.store import Balance, Level, Start, Store
from migrate.audit.writing import NotWrittenError

_SECOND = 1_000_000_000
_WAKE = 1.0
"""Seconds between two looks at the clock, at most."""
_LONGEST_EPOCH = 300.0
_FULL_SHARE = 0.75
_COST_SHARE = 100
"""An epoch lasts so many times what emptying the tables took of a CPU, or longer."""
_CROWDED_COST_SHARE = 20
"""Likewise while the table would overflow."""


class Follower(Protocol):
    """Keeps the probe attached to the pods, and tells the store. Times are nanoseconds since 1970."""

    def start(self, now: int) -> None:
        """Attach to what is there."""

    def wait(self, seconds: float) -> None:
        """Attach to what comes, for so long."""

    def check(self, now: int) -> None:
        """Compare all with what is really there."""

    def close(self, now: int) -> None:
        """The audit ends."""


class Tracing(Protocol):
    """Asks who opened what, while connection tracking still knows it."""

    def begin(self) -> None:
        """What stands already is not of interest."""

    def look(self) -> None:
        """At the running epoch, if it is time."""

    def settle(self, number: int, table: Table) -> None:
        """All of an epoch."""

    def end(self) -> None:
        """There are no more epochs."""


class Stop(Protocol):
    """A threading.Event, or what looks like one."""

    def is_set(self) -> bool:
        """Whether the audit shall end now."""


class Ending(StrEnum):
    """Why an audit ended."""

    RUNNING = ""
    COMPLETE = "complete"
    STOPPED = "stopped"
    STORE_FULL = "store-full"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run. `seconds` are counted from the begin of the run, also of one that goes on after a kill.

    When no epoch has ended for `forgotten_after` seconds, the kernel stops recording by itself.
    """

    start: Start
    seconds: float
    connections: Callable[[], Iterable[StandingConnection]] | None = None
    tracing: Tracing | None = None
    capacity: int = Sizes().flows
    sampling: int = 63
    shortest_epoch: float = 10.0
    forgotten_after: float = 900.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How the audit goes. Figures are of this run, also of its part before a kill."""

    at: int
    """Nanoseconds since 1970."""
    seconds: float
    seconds_left: float
    balance: Balance
    """As of the last epoch, apart from `missing`, which is in the kernel."""
    counters: Mapping[Counter, int]
    """The kernel's, now."""
    new_per_second: float
    epochs: int
    period: float
    """Seconds from the last epoch to the next."""
    cost: float
    """Seconds of a CPU that the last epoch took."""
    coverage: Coverage
    size: int
    """Bytes of the recording."""
    level: Level
    is_waiting: bool
    """The disk is full; the records wait in the kernel."""
    unwritten: int
    """New flows that could not be written at the end, as the disk was full."""
    ending: Ending = Ending.RUNNING


def run_agent(
    settings: Settings,
    probe: Probe,
    store: Store,
    follower: Follower,
    progress: Callable[[Progress], None],
    stop: Stop,
) -> Progress:
    """Audit until the time is over, the store is full or `stop` is set; what it was at the end.

    Takes the probe out of the kernel in any case; only a process that is killed leaves it. The caller closes the
    store. Raises InputError when the recording cannot be written any more, other than for want of room.
    """
    try:
        agent = _Agent(settings, probe, store, follower)
        agent.start()
        while not (ending := agent.ending(stop)):
            agent.turn()
            progress(agent.progress())
        agent.finish()
        last = agent.progress(ending)
        progress(last)
        return last
    finally:
        probe.remove()


@dataclass(slots=True)
class _Pace:
    """Moments, in seconds since boot."""

    end: float = 0.0
    epoch: float = 0.0
    due: float = 0.0
    asked: float = 0.0


@dataclass(slots=True)
class _Figures:
    """What the last look at the kernel and the store gave."""

    balance: Balance = field(default_factory=lambda: Balance(0, 0, 0, 0, 0))
    counters: Mapping[Counter, int] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=lambda: Coverage(0, 0, 0, 0.0, 0.0))
    new_per_second: float = 0.0
    epochs: int = 0
    unwritten: int = 0


class _Agent:
    def __init__(self, settings: Settings, probe: Probe, store: Store, follower: Follower) -> None:
        self._settings = settings
        self._probe = probe
        self._store = store
        self._follower = follower
        tracing = settings.tracing
        self._drain = Drain(probe, store) if tracing is None else Drain(probe, store, tracing.settle)
        self._pace = _Pace()
        self._figures = _Figures()

    def start(self) -> None:
        """Begin a run, or go on with one."""
        goes_on = self._store.segment(self._settings.start)
        elapsed = (self._now() - self._store.started()) / _SECOND
        self._pace.end = time.monotonic() + self._settings.seconds - max(elapsed, 0.0)
        self._probe.set_control(Control.SAMPLING, self._settings.sampling)
        self._drain.begin(goes_on)
        self._set_deadline()
        self._follower.start(self._now())
        if self._settings.tracing is not None:
            self._settings.tracing.begin()
        if not self._store.has_connections("start"):
            self._take_connections("start")
        self._look()
        self._pace.epoch = time.monotonic()
        self._pace.due = self._pace.epoch + self._settings.shortest_epoch

    def ending(self, stop: Stop) -> Ending:
        """Why it is over, if it is."""
        if stop.is_set():
            return Ending.STOPPED
        if self._store.level == Level.KNOWN:
            return Ending.STORE_FULL
        return Ending.COMPLETE if time.monotonic() >= self._pace.end else Ending.RUNNING

    def turn(self) -> None:
        """A second at most; an epoch when it is due, or when its table is nearly full."""
        left = min(self._pace.due, self._pace.end) - time.monotonic()
        self._follower.wait(max(0.0, min(_WAKE, left)))
        self._look()
        if self._settings.tracing is not None:
            self._settings.tracing.look()
        if time.monotonic() >= self._pace.due or self._is_crowded():
            self._follower.check(self._now())
            self._end_epoch()

    def finish(self) -> None:
        """Write what is left; what cannot be written is counted."""
        self._follower.check(self._now())
        self._follower.close(self._now())
        try:
            self._drain.finish()
        except NotWrittenError:
            text = "new flows that were in the kernel at the end, and could not be written"
            self._figures.unwritten = self._drain.remaining()
            self._store.loss(self._now(), "disk-full", self._figures.unwritten, text)
        if self._settings.tracing is not None:
            self._settings.tracing.end()
        self._take_connections("end")
        self._store.end()
        self._figures.counters = self._probe.counters()
        self._measure()

    def progress(self, ending: Ending = Ending.RUNNING) -> Progress:
        """How it goes."""
        figures = self._figures
        left = max(0.0, self._pace.end - time.monotonic())
        return Progress(
            at=self._now(),
            seconds=self._settings.seconds,
            seconds_left=left,
            balance=figures.balance,
            counters=figures.counters,
            new_per_second=figures.new_per_second,
            epochs=figures.epochs,
            period=self._pace.due - self._pace.epoch,
            cost=self._drain.cost,
            coverage=figures.coverage,
            size=self._store.size(),
            level=self._store.level,
            is_waiting=self._store.is_waiting,
            unwritten=figures.unwritten,
            ending=ending,
        )

    def _end_epoch(self) -> None:
        try:
            self._drain.epoch()
        except NotWrittenError:
            self._store.flush()
        self._set_deadline()
        self._pace.epoch = time.monotonic()
        wanted = max(self._settings.shortest_epoch, _COST_SHARE * self._drain.cost)
        self._pace.due = self._pace.epoch + min(wanted, _LONGEST_EPOCH)
        self._figures.epochs += 1
        self._measure()

    def _is_crowded(self) -> bool:
        """Most of the table is used; more rows would get coarser. Not asked for while the disk is full."""
        if self._drain.created(self._figures.counters) < _FULL_SHARE * self._settings.capacity:
            return False
        pause = max(_WAKE, _CROWDED_COST_SHARE * self._drain.cost)
        return not self._store.is_waiting and time.monotonic() - self._pace.epoch >= pause

    def _set_deadline(self) -> None:
        now = time.monotonic()
        deadline = min(self._pace.end, now + self._settings.forgotten_after)
        self._probe.set_control(Control.DEADLINE, max(0, int(deadline * _SECOND)))

    def _take_connections(self, moment: str) -> None:
        if self._settings.connections is None:
            return
        try:
            self._store.connections(moment, self._settings.connections())
        except ProbeError as error:
            self._store.loss(self._now(), "no-connections", 0, str(error))

    def _look(self) -> None:
        """The kernel's counters, and how many new flows there were in a second since the last look."""
        now = time.monotonic()
        if now - self._pace.asked < _WAKE / 2:
            return
        counters, before = self._probe.counters(), self._figures.counters
        new = counters[Counter.NEW] - before.get(Counter.NEW, counters[Counter.NEW])
        self._figures.new_per_second = new / (now - self._pace.asked)
        self._figures.counters = counters
        self._pace.asked = now

    def _measure(self) -> None:
        self._figures.balance = self._drain.balance()
        self._figures.coverage = self._store.coverage(self._now())

    def _now(self) -> int:
        return self._store.clock.realtime()
