"""The recordings that a merge takes: read, checked, put in order, and left out by name where one cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from migrate.audit.reading import IMPORTED, Reading, open_recording
from migrate.errors import InputError

Run: TypeAlias = tuple[str, str, int]
"""Node, boot and start of a run on the node's own clock, by which the same run is known in two files.

What was measured of the clock differs from one pull to the next, and is not in it.
"""
IMPORT = "import"
"""Key of meta in a recording that was imported."""
_GREATEST = 1 << 62
"""Times and counts beyond it are of no clock and no counter."""
_RANGES = {
    **dict.fromkeys(("port", "source_port", "original_port", "backend_port", "target_port"), (0, 0xFFFF)),
    "protocol": (0, 0xFF),
    "direction": (0, 1),
    "kind": (0, 3),
    "coarse": (0, 2),
    "hour": (0, _GREATEST // (3600 * 10**9)),
}
"""Columns of numbers with the least and the greatest value."""
_UNCHECKED = "seen"
"""It has bytes of the kernel, and is not merged."""
_REFERENCES = {
    "veth": (("segment", "segment"),),
    "gap": (("veth", "veth"),),
    "flow": (("veth", "veth"),),
    "translated": (("veth", "veth"),),
    "dropped": (("veth", "veth"),),
    "epoch": (("segment", "segment"),),
    "counter": (("segment", "segment"),),
    "loss": (("segment", "segment"),),
    "connection": (("segment", "segment"),),
}
"""Columns of tables whose values are ids of another table."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of the cluster and what is known of its recording. `skew` is the node's clock less that of who read it.

    In nanoseconds. `reason` says why it was not watched, or why not all of it.
    """

    name: str
    state: str = "watched"
    reason: str = ""
    tool_version: str = ""
    skew: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A recording that was not taken, and why."""

    path: Path
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A recording to merge. `nodes` are those of its own table where it was merged itself, and `skew` is 0 then."""

    path: Path
    node: str
    cluster: str
    meta: dict[str, str]
    runs: frozenset[Run]
    weight: tuple[int, int, int]
    nodes: tuple[NodeRow, ...]
    skew: int

    @property
    def is_import(self) -> bool:
        """Whether another program told all of it, so that no node was watched for it."""
        return IMPORT in self.meta

    @property
    def order(self) -> tuple[str, list[Run], str]:
        """The same for the same recordings, however they are given."""
        return self.node, sorted(self.runs), self.path.name


def read_sources(paths: Sequence[Path], skews: dict[str, int]) -> tuple[list[Source], list[LeftOut]]:
    """The recordings that can be used, each run once, in the order in which they are merged, and the others.

    Of two files with the same run the one that has more is taken; runs that only the other has are missed with it, and
    the node is named. Raises InputError where they are of two clusters.
    """
    found, left_out = [], []
    for path in sorted(dict.fromkeys(path.resolve() for path in paths)):
        try:
            with open_recording(path) as reading:
                _check_values(path)
                found.append(_source(reading, path, skews))
        except InputError as error:
            left_out.append(LeftOut(path, path.stem, _without_path(error, path)))
    _check_clusters(found)
    taken: list[Source] = []
    again: list[tuple[Source, Source]] = []
    for source in sorted(found, key=lambda one: (one.weight, one.order), reverse=True):
        same = next((other for other in taken if other.runs & source.runs), None)
        if same is None:
            taken.append(source)
        else:
            again.append((source, same))
    known = frozenset[Run]().union(*(source.runs for source in taken))
    left_out += [_overlapping(source, same, source.runs - known) for source, same in again]
    return sorted(taken, key=lambda one: one.order), sorted(left_out, key=lambda one: one.path.name)


def _overlapping(source: Source, same: Source, missed: frozenset[Run]) -> LeftOut:
    """A file that has runs of one that is taken; `missed` are those that no taken file has."""
    if not missed:
        return LeftOut(source.path, "", f"{same.path.name} has the same run, and as much of it or more")
    text = f"{same.path.name} has some of its runs, not all; merge the nodes' own recordings"
    return LeftOut(source.path, min(missed)[0], text)


def _source(reading: Reading, path: Path, skews: dict[str, int]) -> Source:
    nodes = tuple(NodeRow(*row) for row in reading.node_rows())
    node = reading.node or ("" if nodes or IMPORT in reading.meta else path.stem)
    skew = 0 if nodes else skews.get(node, _said_skew(reading))
    segments, sums = reading.segments(), reading.sums().values()
    interval = reading.interval()
    shifted = {row.name: row.skew for row in nodes}
    starts = ((one, 0 if one.attach == IMPORTED else shifted.get(one.node, 0)) for one in segments)
    runs = frozenset((one.node or node, one.boot_id, one.started + back) for one, back in starts)
    revision = reading.meta.get("revision", "")
    events = sum(one.rows + one.coarse for one in sums)
    weight = (len(runs), interval[1] if interval else 0, int(revision) if revision.isdecimal() else events)
    cluster = reading.meta.get("cluster", "")
    return Source(path, node, cluster, dict(reading.meta), runs, weight, nodes, skew)


def _said_skew(reading: Reading) -> int:
    """What who pulled the recording measured, where nobody tells here."""
    text = reading.meta.get("skew", "")
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _check_clusters(sources: Iterable[Source]) -> None:
    by_cluster: dict[str, Source] = {}
    for source in sources:
        if source.cluster:
            by_cluster.setdefault(source.cluster, source)
    if len(by_cluster) > 1:
        first, second, *_ = (source.path for _, source in sorted(by_cluster.items()))
        raise InputError(f"{second}: of another cluster than {first}; merge the recordings of one cluster")


def _without_path(error: InputError, path: Path) -> str:
    """The sentence, with the name of the file alone, so that it says the same wherever the file is."""
    return str(error).removeprefix(f"{path}: ")


def _check_values(path: Path) -> None:
    """Raises InputError where a value is none that an agent writes. SQLite itself keeps any value in any column."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in sorted(tables):
            columns = list(connection.execute(f'PRAGMA table_info("{table}")')) if table != _UNCHECKED else []
            wrong = [test for _, name, kind, needed, _, _ in columns for test in _wrong(name, kind, bool(needed))]
            wrong += [f'"{name}" NOT IN (SELECT id FROM {of})' for name, of in _REFERENCES.get(table, ())]
            query = f'SELECT 1 FROM "{table}" WHERE {" OR ".join(wrong)} LIMIT 1'
            if wrong and connection.execute(query).fetchone() is not None:
                raise InputError(f"{path}: the recording is damaged: its table {table} has values that no agent writes")


def _wrong(name: str, kind: str, needed: bool) -> Iterator[str]:
    """Conditions under which a value is not of its column."""
    null = "" if needed else f' AND "{name}" IS NOT NULL'
    if kind == "INTEGER":
        least, most = _RANGES.get(name, (-_GREATEST, _GREATEST))
        limits = f'"{name}" NOT BETWEEN {least} AND {most}'
        yield f"(typeof(\"{name}\") <> 'integer' OR {limits}){null}"
    elif kind == "BLOB":
        yield f'(typeof("{name}") <> \'blob\' OR length("{name}") <> 16){null}'
    else:
        yield f"typeof(\"{name}\") <> 'text'{null}"
