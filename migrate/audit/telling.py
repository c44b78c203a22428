"""What watches hear, on its way to the thread that writes the recording. All times are nanoseconds since 1970."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from queue import SimpleQueue
from typing import NamedTuple, Protocol, TypeAlias

from migrate.audit.layout import Address

_UNCERTAIN = (
    "addresses that got or lost their pod while no agent ran: when is not known, and until then both may have had it"
)


class Held(NamedTuple):
    """An address, and who has it: a pod, node or service."""

    address: Address
    kind: str
    namespace: str
    name: str
    uid: str


class Standing(NamedTuple):
    """A port of a Service, and one of the addresses that stand behind it.

    A node port has the address 0.0.0.0 or :: in place of the Service's, since it is one of every node.
    """

    namespace: str
    service: str
    address: Address
    protocol: int
    port: int
    target: Address
    target_port: int


Fact: TypeAlias = Held | Standing
"""Something that is so from some time until another."""


class Owners(Protocol):
    """What the recording keeps of addresses; see `Store`."""

    def own(self, address: Address, kind: str, namespace: str, name: str, uid: str, since: int) -> None: ...
    def disown(self, address: Address, uid: str, until: int) -> None: ...
    def stand_behind(self, standing: Standing, since: int) -> None: ...
    def stand_no_more(self, standing: Standing, until: int) -> None: ...
    def loss(self, at: int, kind: str, count: int, detail: str) -> None: ...
    def note(self, key: str, value: str) -> None: ...


class OpenOwners(Owners, Protocol):
    """Also what is so by what was recorded before."""

    def open_facts(self) -> frozenset[Fact]: ...
    def noted(self, key: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Began:
    """A fact holds. `first`: it did when it was asked for the first time, so that its begin is not known."""

    fact: Fact
    since: int
    first: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A fact holds no more."""

    fact: Fact
    until: int


@dataclass(frozen=True, slots=True)
class Listed:
    """Everything was asked for the first time, and these facts held."""

    at: int
    facts: Collection[Fact]


@dataclass(frozen=True, slots=True)
class Lost:
    """Something was not heard."""

    at: int
    kind: str
    count: int
    detail: str


Change: TypeAlias = Began | Ended | Listed | Lost


class Telling:
    """Changes in the order in which they were heard; any thread puts them, one takes them."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self.clock = clock
        self._changes: SimpleQueue[Change] = SimpleQueue()
        self._before: frozenset[Fact] = frozenset()
        self._heard = 0

    def put(self, change: Change) -> None:
        """From any thread."""
        self._changes.put(change)

    def resume(self, before: frozenset[Fact], heard: int) -> None:
        """Go on with a recording in which some facts hold, and that was last written at `heard`.

        What changed since then did so at an unknown time, within which both the old and the new count.
        """
        self._before, self._heard = before, heard

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""
        while not self._changes.empty():
            self._tell(store, self._changes.get_nowait())

    def _tell(self, store: Owners, change: Change) -> None:
        if isinstance(change, Began):
            since = max(change.since, self._heard) if change.first and self._before else change.since
            begin(store, change.fact, since)
        elif isinstance(change, Ended):
            end(store, change.fact, change.until)
        elif isinstance(change, Lost):
            store.loss(change.at, change.kind, change.count, change.detail)
        else:
            self._compare(store, frozenset(change.facts))

    def _compare(self, store: Owners, listed: frozenset[Fact]) -> None:
        before, self._before = self._before, frozenset()
        if not before:
            return
        now = self.clock()
        for fact in before - listed:
            end(store, fact, now)
        changed = len(before ^ listed)
        if changed:
            store.loss(now, "owners-uncertain", changed, _UNCERTAIN)


def begin(store: Owners, fact: Fact, since: int) -> None:
    """Write that a fact holds."""
    if isinstance(fact, Held):
        store.own(*fact, since)
    else:
        store.stand_behind(fact, since)


def end(store: Owners, fact: Fact, until: int) -> None:
    """Write that a fact holds no more."""
    if isinstance(fact, Held):
        store.disown(fact.address, fact.uid, until)
    else:
        store.stand_no_more(fact, until)
