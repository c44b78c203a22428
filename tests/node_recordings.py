"""Recordings of several nodes made at random, and what they hold as plain rows, for tests of the merge."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from tests.recordings import HOUR, SECOND, START, Recording, packed

Rows: TypeAlias = Counter[tuple[object, ...]]
Names: TypeAlias = Mapping[object, tuple[object, ...]]
_PODS = ("shop/a", "shop/b", "shop/c", "bank/d")
_ADDRESSES = ("10.1.0.1", "10.1.0.2", "10.2.0.3", "fd00::4", "198.51.100.9", "10.0.0.1")
_TIMES = frozenset(("started", "ended", "appeared", "since", "until", "first", "last", "at"))
_REFERRING = ("gap", "flow", "translated", "dropped")
_OF_RUNS = ("epoch", "counter", "loss", "connection")


def random_recording(path: Path, node: str, seed: int) -> Path:
    """Any rows in all tables that an agent writes; the same seed makes the same ones."""
    chance = random.Random(seed)
    made = Recording(path, node)
    made.execute("BEGIN")
    made.insert("meta", "cluster", "c1")
    made.insert("meta", "created", str(START + chance.randrange(1000)))
    made.execute("UPDATE segment SET boot_id = ?", f"boot-{seed}")
    veths = [made.veth(chance.choice([*_PODS, None])) for _ in range(chance.randrange(1, 4))]
    seen: set[tuple[object, ...]] = set()
    for _ in range(chance.randrange(30)):
        veth, way, port = chance.choice(veths), chance.choice(("from", "to")), f"TCP/{chance.randrange(1, 4)}"
        source, destination = chance.sample(_ADDRESSES, 2)
        hour, kind = chance.randrange(3), chance.choice((0, 0, 1))
        key = (veth, way, source, destination, port, hour, kind)
        if key not in seen:
            seen.add(key)
            at, events, answered = chance.randrange(3000), chance.randrange(1, 5), chance.randrange(5)
            more = {"events": events, "answered": answered, "hour": hour, "kind": kind, "at": at}
            made.flow(veth, way, source, destination, port, **more)
    for veth in veths:
        source, destination = chance.sample(_ADDRESSES, 2)
        if chance.random() < 0.4:
            made.insert("gap", veth, START + chance.randrange(9) * SECOND, None, "removed")
        if chance.random() < 0.4:
            made.dropped(veth, source, destination, "TCP/9")
        if chance.random() < 0.4:
            made.translated(veth, (source, destination, "TCP/1"), (destination, source, chance.randrange(9)))
    for loss in chance.sample(("disk-full", "clock-jump", "not-traced"), chance.randrange(3)):
        made.insert("loss", 1, START + chance.randrange(9) * SECOND, loss, chance.randrange(5), "said")
    if chance.random() < 0.5:
        made.connection("end", (chance.choice(_ADDRESSES), 40_000), (chance.choice(_ADDRESSES), 80))
    lost = chance.randrange(2)
    made.execute("COMMIT")
    return made.close(lost=lost)


def plain_rows(path: Path, node: str = "", shift: int = 0) -> dict[str, Rows]:
    """The rows of a recording with names instead of numbers, and `shift` nanoseconds added to every time."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        runs = {row["id"]: (row["node"] or node, row["boot_id"]) for row in connection.execute("SELECT * FROM segment")}
        veths = {row["id"]: (*runs[row["segment"]], row["name"]) for row in connection.execute("SELECT * FROM veth")}
        found: dict[str, Rows] = {}
        for table in ("segment", "veth", *_REFERRING, *_OF_RUNS):
            rows = (dict(row) for row in connection.execute(f"SELECT * FROM {table}"))
            found[table] = Counter(_plain(table, row, runs, veths, shift) for row in rows)
    return found


def _plain(table: str, row: dict[str, object], runs: Names, veths: Names, shift: int) -> tuple[object, ...]:
    row.pop("revision", None)
    row.pop("node", None)
    if table == "veth":
        row["id"] = veths[row["id"]]
    if table == "segment":
        row["id"] = runs[row["id"]]
    if "veth" in row:
        row["veth"] = veths[row["veth"]]
    if "segment" in row:
        row["segment"] = runs[row["segment"]]
    for name in _TIMES & row.keys():
        time = row[name]
        row[name] = time + shift if isinstance(time, int) else time
    if isinstance(row.get("hour"), int):
        row["hour"] = int(str(row["hour"])) + round(shift / HOUR)
    return tuple(row.values())


def owners_at(path: Path, address: str, moment: int) -> set[str]:
    """Whom the table of owners names for an address at a moment."""
    query = "SELECT name FROM owner WHERE address = ?1 AND since <= ?2 AND (until IS NULL OR until >= ?2)"
    with closing(sqlite3.connect(path)) as connection:
        return {str(name) for (name,) in connection.execute(query, (packed(address), moment))}
