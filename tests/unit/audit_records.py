"""Records as the kernel has them, and recordings to write them to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path

from migrate.audit.flow_rows import Record
from migrate.audit.layout import Counter, Direction, FlowKey, FlowValue, Kind
from migrate.audit.recording import About
from migrate.audit.store import DEFAULT_MAX_SIZE, Start, Store, open_store
from migrate.audit.writing import Clock

SECOND = 1_000_000_000
BOOT = 1_700_000_000 * SECOND
"""When the machine of the tests came up, in nanoseconds since 1970."""
UPTIME = 7200 * SECOND
ABOUT = About("node-1", "digest-of-a-cluster", 86_400, "0.1", BOOT)
START = Start("boot-1", "layout-1", "6.18", "libbpf", "tcx")
RESTART = Start("boot-1", "layout-1", "6.18", "libbpf", "tcx", same_tables=True)


class Hands:
    """The two clocks of a machine, moved by hand."""

    def __init__(self) -> None:
        self.uptime = UPTIME
        self.boot = BOOT

    def clock(self) -> Clock:
        """As a store takes it."""
        return Clock(lambda: self.boot + self.uptime, lambda: self.uptime)


def record(
    source: str = "10.0.0.1",
    destination: str = "10.0.0.2",
    port: int = 80,
    *,
    ifindex: int = 7,
    events: int = 1,
    first: int = UPTIME,
    last: int = UPTIME,
    direction: Direction = Direction.FROM_POD,
    coarse: bool = False,
) -> Record:
    """A record of TCP connections; times are nanoseconds since boot."""
    key = FlowKey(ip_address(source), ip_address(destination), ifindex, port, 6, direction, Kind.NEW, coarse)
    return key.pack(), FlowValue(first, last, events, 60 * events, events, 0, 40_000, 0).pack()


def counters(new: int, lost: int = 0) -> Mapping[Counter, int]:
    """All counters of the kernel."""
    return dict.fromkeys(Counter, 0) | {Counter.NEW: new, Counter.LOST: lost}


@contextmanager
def a_store(
    path: Path, start: Start = START, max_size: int = DEFAULT_MAX_SIZE, hands: Hands | None = None
) -> Iterator[Store]:
    """A recording with a run that has begun and a watched veth of index 7."""
    store = open_store(path, ABOUT, max_size, (hands or Hands()).clock())
    try:
        store.segment(start)
        store.veth(7, "veth7", BOOT + UPTIME, BOOT + UPTIME)
        yield store
    finally:
        store.close()


def told(path: Path, query: str) -> list[tuple[object, ...]]:
    """What another process reads from the recording."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return list(connection.execute(query))


def number(path: Path, query: str) -> int:
    """A number that another process reads from the recording."""
    ((value,),) = told(path, query)
    assert isinstance(value, int)
    return value


def told_pairs(path: Path, query: str) -> dict[object, object]:
    """Two columns that another process reads from the recording."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(query).fetchall())
