"""Keeps the probe at every pod's veth, and keeps account of when it saw them.

Netlink tells of new veths; a full comparison each ten seconds finds what was not told. One thread uses a follower, in
the node's network namespace. Times are nanoseconds since 1970.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from migrate.audit.kernel import Probe, ProbeError
from migrate.audit.layout import Control
from migrate.audit.naming import Named, Names, Naming
from migrate.audit.veths import (
    Event,
    EventsLostError,
    HooksGone,
    HostLinks,
    Link,
    LinkEvents,
    LinkGone,
    LinkTold,
    Pods,
)

_HOOKS = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it does what costs the node something."""

    links_per_second: float = 20
    """Of the first attach and of repairs: each waits for all processors while it holds the kernel's network lock."""
    reconcile_seconds: float = 10
    """Between full comparisons with what is there."""
    rest: float = 100
    """Checking positions takes one part in so many of the time, or less."""
    repair_seconds: float = 5
    """Between two tries to get a veth's programs back in their place: another program may want it too."""
    learn_seconds: float = 5
    """Between two looks at what pods send whose address nothing else tells."""


class Coverage(Names, Protocol):
    """What the recording keeps of the veths; see `Store`."""

    def veth(self, ifindex: int, name: str, appeared: int, since: int) -> int: ...
    def end_veth(self, veth: int, until: int) -> None: ...
    def open_veths(self) -> dict[int, tuple[int, str]]: ...
    def last_epoch(self) -> tuple[int, int] | None: ...
    def gap(self, veth: int, since: int, reason: str) -> None: ...
    def end_gap(self, veth: int, until: int) -> None: ...
    def loss(self, at: int, kind: str, count: int, detail: str) -> None: ...


@dataclass(slots=True)
class _Watched:
    """A veth and its number in the recording. `seen` is when its programs were last known to be in place."""

    number: int
    link: Link
    seen: int
    in_gap: bool = False
    repaired: float = 0.0


class Follower:
    """`start`, then `wait` between epochs and `check` at each; `close` ends the account of every veth.

    It is made before the probe's deadline is set again, so that it sees whether the probe had stopped.
    """

    def __init__(
        self,
        probe: Probe,
        store: Coverage,
        pods: Pods,
        *,
        clock: Callable[[], int] = time.time_ns,
        pace: Pace | None = None,
    ) -> None:
        self._probe = probe
        self._store = store
        self._clock = clock
        self._pace = pace or Pace()
        self._events = LinkEvents()
        self._host = HostLinks()
        self._naming = Naming(probe, store, pods, self._host, self._pace.learn_seconds)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        for descriptor in (self._events.fileno(), self._wake):
            self._poll.register(descriptor, select.POLLIN)
        self._watched: dict[int, _Watched] = {}
        self._lined_up: dict[int, Link] = {}
        self._half_made: dict[int, int] = {}
        self._ended_unread: set[int] = set()
        self._uplinks: frozenset[int] = frozenset()
        self._started = self._read_up_to = clock()
        self._is_first = True
        self._stopped_at = _deadline_passed(probe, self._started)
        self._next_attach = self._next_reconcile = self._next_check = 0.0

    @property
    def watched(self) -> int:
        """How many veths the probe is at."""
        return len(self._watched)

    @property
    def queued(self) -> int:
        """How many are to be attached to, or have lost their programs, and wait for their turn."""
        return len(self._lined_up)

    def fileno(self) -> int:
        """The descriptor on which the kernel tells of changes."""
        return self._events.fileno()

    def start(self, now: int) -> None:
        """Go on with what is attached, and line up the rest; they are attached to during `wait`.

        What came while there was no agent may have come right after its last epoch.
        """
        last = self._store.last_epoch()
        self._started = last[1] if last else now
        self._is_first = last is None
        self._uplinks = self._host.uplinks()
        links = {index: link for index, link in self._host.veths().items() if index not in self._uplinks}
        self._next_reconcile = time.monotonic() + self._pace.reconcile_seconds
        before = self._end_vanished(links, now)
        for link in links.values():
            is_in_place = not self._probe.misplaced(link.index)
            if link.index in before:
                self._go_on(link, now, is_in_place)
            elif is_in_place:
                self._attach(link, now)
            else:
                self._lined_up[link.index] = link
        self._naming.read_routes()

    def wait(self, seconds: float) -> None:
        """Attach to what is told of, and to what is lined up, for this long or until `wake`."""
        end = time.monotonic() + seconds
        while True:
            self._read_events()
            self._attach_next()
            left = end - time.monotonic()
            if left <= 0 or self._sleep(left):
                break
        self._naming.learn()

    def wake(self) -> None:
        """End the `wait` that runs, or the next. Signal handlers and other threads may call it, also after `close`."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def check(self, now: int) -> None:
        """Whether the programs are where they were put, and whether any veth was missed; names for those without.

        To be called while the records of the epoch are still in the kernel, as they tell of addresses.
        """
        clock = time.monotonic()
        if clock >= self._next_check:
            for watched in list(self._watched.values()):
                self._check_position(watched, now)
            self._next_check = time.monotonic() + self._pace.rest * (time.monotonic() - clock)
        if clock >= self._next_reconcile:
            self._reconcile(now)
        self._naming.learn(at_once=True)
        self._naming.resolve()

    def close(self, now: int) -> None:
        """End the account of every veth. What is attached stays; the probe takes it away."""
        self._read_events()
        self._naming.learn(at_once=True)
        self._naming.resolve()
        for link in (link for index, link in self._lined_up.items() if index not in self._watched):
            self._never_watched(link, self._started, now)
        for watched in self._watched.values():
            self._store.end_veth(watched.number, now)
        self._watched.clear()
        self._lined_up.clear()
        self._events.close()
        self._host.close()
        descriptor, self._wake = self._wake, -1
        os.close(descriptor)

    def _end_vanished(self, links: dict[int, Link], now: int) -> frozenset[int]:
        """End those of an earlier agent that are gone. The indices of those that are still there."""
        remaining = set()
        for number, (index, name) in self._store.open_veths().items():
            if index in links and links[index].name == name:
                remaining.add(index)
            else:
                self._store.end_veth(number, now)
                self._probe.detach(index)
        return frozenset(remaining)

    def _go_on(self, link: Link, now: int, is_in_place: bool) -> None:
        """It was watched by an agent that died. Its programs may have gone then, or have stopped later."""
        watched = self._watch(link, now, now)
        if not is_in_place:
            watched.in_gap = True
            self._store.gap(watched.number, self._started, "no agent, and no programs")
            self._lined_up[link.index] = link
            return
        if self._stopped_at:
            self._store.gap(watched.number, self._stopped_at, "no agent, and the probe stopped by itself")
        self._store.end_gap(watched.number, now)
        with suppress(ProbeError):  # it is gone, which is still to be read
            self._probe.attach(link.index, link.name)  # the probe of this process knows it then

    def _sleep(self, seconds: float) -> bool:
        """Until there is something to do; whether it was asked to stop."""
        if not self._poll.poll(0):
            until_next = max(0.0, self._next_attach - time.monotonic()) if self._lined_up else seconds
            if not self._naming.look_up_connections():
                self._poll.poll(max(0, min(seconds, until_next)) * 1000)
                self._read_up_to = self._clock()
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return False
        return True

    def _read_events(self) -> None:
        """What was told since the last time came at that time or later."""
        earliest = self._read_up_to
        try:
            events = self._events.read()
        except EventsLostError:
            self._read_up_to = self._clock()
            self._store.loss(self._clock(), "link-events", 1, "the kernel told of more changes than could be read")
            self._reconcile(self._clock(), earliest)
            return
        self._read_up_to = self._clock()
        for event in _settled(events):
            self._take(event, earliest)

    def _take(self, event: Event, earliest: int) -> None:
        if isinstance(event, LinkTold):
            self._take_link(event.link, earliest)
        elif isinstance(event, LinkGone):
            self._take_gone(event.index, earliest)
        elif isinstance(event, HooksGone):
            if event.index in self._watched:
                self._check_position(self._watched[event.index], self._clock())
        else:
            self._naming.route(event)

    def _take_link(self, link: Link, earliest: int) -> None:
        watched = self._watched.get(link.index)
        if watched is not None:
            if watched.link.name != link.name and link.is_of_pod:
                self._rename(watched, link)
            self._naming.ask_peer(link)
        elif link.kind == "veth" and not link.is_of_pod:
            self._half_made[link.peer] = link.index
        elif link.index in self._lined_up:
            self._lined_up[link.index] = link
        elif link.is_of_pod and link.index not in self._uplinks | self._ended_unread:
            self._attach(link, earliest)

    def _take_gone(self, index: int, earliest: int) -> None:
        """The end of a veth, or of a peer here: it went to its pod, and the veth is whole."""
        half = self._half_made.pop(index, None)
        if half is not None:
            link = self._host.link(half)
            if link is not None:
                self._take_link(link, earliest)
        self._ended_unread.discard(index)
        self._take_end(index, self._clock())

    def _attach_next(self) -> None:
        """The next in the line, when its turn has come."""
        if self._lined_up and time.monotonic() >= self._next_attach:
            link = self._lined_up.pop(next(iter(self._lined_up)))
            if link.index in self._watched:
                self._repair(self._watched[link.index])
            else:
                self._attach(link, None if self._is_first else self._started)
            self._next_attach = time.monotonic() + _HOOKS / self._pace.links_per_second

    def _attach(self, link: Link, appeared: int | None) -> None:
        """`appeared` is None for what was there before the audit, which begins when it is watched."""
        try:
            self._probe.attach(link.index, link.name)
        except ProbeError as error:
            now = self._clock()
            if self._host.link(link.index) is None:
                self._ended_unread.add(link.index)
                self._never_watched(link, self._started if appeared is None else appeared, now)
                return
            watched = self._watch(link, appeared, now)
            watched.in_gap = True
            self._store.gap(watched.number, now, str(error))
            return
        self._watch(link, appeared, self._clock())

    def _watch(self, link: Link, appeared: int | None, since: int) -> _Watched:
        appeared = since if appeared is None else min(appeared, since)
        number = self._store.veth(link.index, link.name, appeared, since)
        watched = _Watched(number, link, since)
        self._watched[link.index] = watched
        self._naming.add(Named(number, link))
        return watched

    def _never_watched(self, link: Link, appeared: int, now: int) -> None:
        """It was gone before the programs were there: its whole life counts as not watched."""
        self._store.end_veth(self._store.veth(link.index, link.name, min(appeared, now), now), now)

    def _rename(self, watched: _Watched, link: Link) -> None:
        """The recording knows a veth by index and name."""
        now = self._clock()
        self._store.end_veth(watched.number, now)
        self._naming.end(link.index)
        self._watch(link, now, now)

    def _take_end(self, index: int, now: int) -> None:
        lined_up = self._lined_up.pop(index, None)
        watched = self._watched.pop(index, None)
        if watched is not None:
            self._store.end_veth(watched.number, now)
            self._naming.end(index)
            self._probe.detach(index)
        elif lined_up is not None:
            self._never_watched(lined_up, self._started, now)

    def _check_position(self, watched: _Watched, now: int) -> None:
        """A gap begins where the programs were last known to be in place."""
        reason = self._probe.misplaced(watched.link.index)
        if not reason:
            self._in_place(watched, now)
            return
        if self._host.link(watched.link.index) is None:
            return  # its end is still to be read
        if not watched.in_gap:
            self._store.gap(watched.number, watched.seen, reason)
            watched.in_gap = True
        if time.monotonic() >= watched.repaired + self._pace.repair_seconds:
            self._lined_up[watched.link.index] = watched.link

    def _repair(self, watched: _Watched) -> None:
        """Take them away and put them there again, which is in front of all others."""
        link = watched.link
        watched.repaired = time.monotonic()
        try:
            self._probe.detach(link.index)
            self._probe.attach(link.index, link.name)
        except ProbeError:
            return  # the gap stays open, and the next check tries again
        if not self._probe.misplaced(link.index):
            self._in_place(watched, self._clock())

    def _in_place(self, watched: _Watched, now: int) -> None:
        watched.seen = now
        if watched.in_gap:
            self._store.end_gap(watched.number, now)
            watched.in_gap = False

    def _reconcile(self, now: int, earliest: int | None = None) -> None:
        """Compare with what is there. What was missed came after the last comparison at the earliest."""
        appeared = self._read_up_to if earliest is None else earliest
        links = {index: link for index, link in self._host.veths().items() if index not in self._uplinks}
        for index in [index for index in (*self._watched, *self._lined_up) if index not in links]:
            self._ended_unread.add(index)
            self._take_end(index, now)
        for index, link in links.items():
            if index not in self._watched and index not in self._lined_up:
                self._attach(link, appeared)
        self._naming.read_routes()
        self._next_reconcile = time.monotonic() + self._pace.reconcile_seconds


def _settled(events: Iterable[Event]) -> list[Event]:
    """Of the many messages about one veth the last that has its pod on the other end, at the place of the first.

    A veth that came and went in the meantime stays: its life has to be accounted for.
    """
    kept: dict[tuple[type[Event], object], Event] = {}
    for event in events:
        if isinstance(event, LinkTold):
            key = LinkTold, event.link.index
            if key not in kept or event.link.is_of_pod:
                kept[key] = event
        else:
            kept[type(event), event] = event
    return list(kept.values())


def _deadline_passed(probe: Probe, now: int) -> int:
    """When the probe of an agent that died stopped by itself; 0: it did not. `now` and the result are since 1970."""
    deadline, since_boot = probe.control(Control.DEADLINE), time.monotonic_ns()
    return now - (since_boot - deadline) if 0 < deadline < since_boot else 0
