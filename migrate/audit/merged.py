"""Recordings of many nodes as one audit.db, on the clock of who reads them.

One store after the other is attached and copied in the order of its keys, so that memory does not grow with their
number. Times are shifted by each node's skew. A record stays in its hour, or goes to another whole hour: it is a sum
over one hour of its node's clock, and cannot be cut.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import resources
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import migrate
from migrate.audit.flow_rows import HOUR
from migrate.audit.leads import LEADS, Interval, Lead, Leader, read_leads
from migrate.audit.merge_intervals import Told, united
from migrate.audit.merge_sources import IMPORT, LeftOut, NodeRow, Source, read_sources
from migrate.audit.reading import open_recording
from migrate.audit.recording import APPLICATION_ID, SCHEMA, failure, is_full, writer_of
from migrate.errors import InputError

__all__ = ["Merged", "NodeRow", "merge"]

_TIMES = frozenset(("started", "ended", "appeared", "since", "until", "first", "last", "at"))
_COPIED = (
    ("segment", "id"),
    ("veth", "id"),
    ("gap", "veth, since, reason, rowid"),
    ("flow", "veth, hour, direction, kind, coarse, source, destination, protocol, port"),
    ("translated", "veth, rowid"),
    ("dropped", "veth, hour, source, destination, protocol, port"),
    ("epoch", "segment, sequence"),
    ("counter", "segment, name"),
    ("loss", "rowid"),
    ("connection", "rowid"),
)
"""Tables with the order in which they are copied: that of their keys."""
_TIMELINES = {
    "owner": ("address", "kind", "namespace", "name", "uid"),
    "backend": ("namespace", "service", "address", "protocol", "port", "target", "target_port"),
}
"""Tables of times in which something was so, with what makes it the same thing."""
_OWN = "(kind = 'pod' AND (namespace, name, uid) IN (SELECT namespace, pod, uid FROM store.veth))"
_OF_A_NODE = frozenset(
    (
        *("node", "nodes", "revision", "created", "skew", "wanted_seconds", "schema", "tool_version"),
        *(IMPORT, "import_options", "import_notes"),
        LEADS,
    )
)
"""Keys of meta that a merged recording has its own values for, or that are of one store alone."""
_CACHE_KIB = 16 << 10


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to. `nodes` are all that are known, by name; `records` are rows of flows."""

    path: Path
    nodes: tuple[NodeRow, ...]
    records: int
    left_out: tuple[LeftOut, ...]

    @property
    def watched(self) -> tuple[NodeRow, ...]:
        """The nodes of which there is a recording."""
        return tuple(node for node in self.nodes if node.state == "watched")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out and what was shifted, in sentences."""
        out = (f"{one.path.name} is left out: {one.reason}" for one in self.left_out)
        skewed = (node for node in self.watched if abs(node.skew) >= 10**9)
        return (*out, *(_skew_text(node) for node in skewed))


def merge(stores: Sequence[Path], into: Path, nodes: Sequence[NodeRow] = ()) -> Merged:
    """Make one recording of those of several nodes; the same stores make the same file, in whatever order.

    `nodes` are the nodes of the cluster as far as known, with the skew of their clocks. Stores that are damaged or of a
    newer version are left out, and named in the table of nodes. Raises InputError where nothing can be merged, the
    stores are of different clusters, or `into` cannot be written or holds something else.
    """
    if into.resolve() in {path.resolve() for path in stores}:
        raise InputError(f"{into}: one of the recordings to merge; name another file for the result")
    _check_place(into)
    sources, left_out = read_sources(stores, {node.name: node.skew for node in nodes})
    with _written_beside(into) as path, closing(_created(path)) as new:
        try:
            taken, damaged = _copied(new, path, sources)
            left_out = sorted((*left_out, *damaged), key=lambda one: one.path.name)
            if not taken:
                raise InputError(f"no recording could be merged: {_why(left_out)}")
            new.execute("BEGIN")
            leaders = _leaders(taken)
            for timeline, key in _TIMELINES.items():
                _write_timeline(new, timeline, key, leaders)
            rows = _node_rows(taken, left_out, nodes)
            new.executemany("INSERT INTO node VALUES (?, ?, ?, ?, ?)", map(_cells, rows))
            new.executemany("INSERT INTO meta VALUES (?, ?)", sorted(_meta(taken, rows).items()))
            ((records,),) = new.execute("SELECT count(*) FROM flow")
            new.execute("COMMIT")
        except sqlite3.Error as error:
            raise failure(into, error) from error
    return Merged(into, rows, records, tuple(left_out))


def _why(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return "none was given"
    more = f", and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    return "; ".join(f"{one.path}: {one.reason}" for one in left_out[:3]) + more


def _check_place(into: Path) -> None:
    """Raises InputError where something would be lost that is not a merged recording."""
    if writer_of(into) is not None:
        raise InputError(f"{into}: an audit is writing it; end it first: migrate audit stop")
    for log in (into.with_name(into.name + end) for end in ("-wal", "-journal")):
        if log.exists():
            raise InputError(f"{log}: the log of another recording; choose another file, or move this one away")
    if not into.exists():
        return
    with open_recording(into) as reading:
        if not reading.node_rows() and "nodes" not in reading.meta:
            text = f"the recording of {reading.node or 'a node'} itself, not one that was merged"
            raise InputError(f"{into}: {text}; choose another file, or move this one away")


@contextmanager
def _written_beside(into: Path) -> Iterator[Path]:
    """A path that becomes `into` at the end of the block, or goes."""
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".migrate-", suffix=".db", dir=into.parent)
    except OSError as error:
        raise InputError(f"{into}: cannot be written: {error.strerror}; choose another place") from error
    try:
        yield Path(name)
        os.fchmod(handle, 0o644)
        os.fsync(handle)
        os.replace(name, into)
    except OSError as error:
        raise InputError(f"{into}: writing failed: {error.strerror}; free space or choose another place") from error
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            os.unlink(name)


def _created(path: Path) -> sqlite3.Connection:
    """An empty recording. A crash leaves nothing of it, so that it needs no log on the disk."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
    for pragma in ("journal_mode = MEMORY", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")
    schema = resources.files("migrate.audit").joinpath("schema.sql").read_text(encoding="utf-8")
    connection.executescript(
        f"BEGIN; {schema}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT;"
    )
    for timeline, key in _TIMELINES.items():
        columns = ", ".join((*key, "since", "until", "alive", "own", "told_by"))
        connection.execute(f"CREATE TEMP TABLE told_{timeline} ({columns})")
    return connection


def _copied(new: sqlite3.Connection, path: Path, sources: Iterable[Source]) -> tuple[list[Source], list[LeftOut]]:
    """Those of the sources that could be copied, and those that turned out to be damaged on the way."""
    taken, damaged = [], []
    for source in sources:
        try:
            _copy(new, source)
        except InputError as error:
            damaged.append(LeftOut(source.path, source.node, str(error)))
        except sqlite3.Error as error:
            if is_full(path, error):
                raise
            text = f"the recording is damaged ({error}); use a copy of it"
            damaged.append(LeftOut(source.path, source.node, text))
        else:
            taken.append(source)
    return taken, damaged


def _copy(new: sqlite3.Connection, source: Source) -> None:
    """All of a store in one transaction, or nothing."""
    new.execute("ATTACH ? AS store", (f"{source.path.as_uri()}?mode=ro",))
    try:
        new.execute("BEGIN")
        try:
            _copy_tables(new, source)
            new.execute("COMMIT")
        except BaseException:
            new.execute("ROLLBACK")
            raise
    finally:
        new.execute("DETACH store")


def _copy_tables(new: sqlite3.Connection, source: Source) -> None:
    values = {
        "segments": _greatest(new, "segment"),
        "veths": _greatest(new, "veth"),
        "skew": source.skew,
        "hours": (source.skew + HOUR // 2) // HOUR,
        "node": source.node,
    }
    for table, order in _COPIED:
        there = _columns(new, "store", table)
        columns = [name for name in _columns(new, "main", table) if name in there or name == "node"]
        made = ", ".join(_expression(table, name, name in there) for name in columns)
        new.execute(
            f"INSERT INTO main.{table} ({', '.join(columns)}) SELECT {made} FROM store.{table} ORDER BY {order}", values
        )
    ((alive,),) = new.execute(
        "SELECT coalesce(max(moment), 0) FROM (SELECT started AS moment FROM store.segment UNION ALL "
        "SELECT ended FROM store.segment WHERE ended IS NOT NULL UNION ALL SELECT ended FROM store.epoch)"
    )
    for timeline, key in _TIMELINES.items():
        if _columns(new, "store", timeline):
            own = _OWN if timeline == "owner" else "0"
            times = "CASE since WHEN 0 THEN 0 ELSE since - :skew END, until - :skew, :alive"
            query = f"INSERT INTO told_{timeline} SELECT {', '.join(key)}, {times}, {own}, :node FROM store.{timeline}"
            new.execute(query, {**values, "alive": alive - source.skew})


def _columns(connection: sqlite3.Connection, database: str, table: str) -> list[str]:
    return [str(row[1]) for row in connection.execute(f"PRAGMA {database}.table_info({table})")]


def _expression(table: str, name: str, is_there: bool) -> str:
    """What a column of the merged recording is made of."""
    if name == "node":
        return "CASE node WHEN '' THEN :node ELSE node END" if is_there else ":node"
    if name == "revision":
        return "0"
    if (table, name) == ("segment", "id") or name == "segment":
        return f"{name} + :segments"
    if (table, name) == ("veth", "id") or name == "veth":
        return f"{name} + :veths"
    if name == "hour":
        return "hour - :hours"
    return f"{name} - :skew" if name in _TIMES else name


def _greatest(connection: sqlite3.Connection, table: str) -> int:
    ((greatest,),) = connection.execute(f"SELECT coalesce(max(id), 0) FROM main.{table}")
    return int(greatest)


def _leaders(taken: Sequence[Source]) -> dict[str, Leader]:
    """When which node's agent kept what is one for the whole cluster, on the reader's clock."""
    leads: dict[str, list[Lead]] = {}
    for source in taken:
        told = read_leads(source.meta.get(LEADS, ""))
        leads.setdefault(source.node, []).extend(Lead(*_shifted(lead, source.skew)) for lead in told)
    return {node: Leader.of(node, leads) for node in leads}


def _shifted(lead: Lead, skew: int) -> tuple[int, int | None, int | None]:
    since, listed, until = lead
    return since - skew, None if listed is None else listed - skew, None if until is None else until - skew


def _write_timeline(new: sqlite3.Connection, timeline: str, key: Sequence[str], leaders: Mapping[str, Leader]) -> None:
    columns = ", ".join((*key, "since", "until"))
    told = new.execute(f"SELECT * FROM told_{timeline} ORDER BY {', '.join(key)}, own DESC, since, until, alive")
    end = len(key)
    marks = ", ".join("?" * (end + 2))
    write = f"INSERT INTO main.{timeline} ({columns}) VALUES ({marks})"
    for thing, rows in groupby(told, key=itemgetter(slice(0, end))):
        intervals = united([_told(row[end:], leaders) for row in rows])
        new.executemany(write, ((*thing, *interval) for interval in intervals))


def _told(row: tuple[int, int | None, int, int, str], leaders: Mapping[str, Leader]) -> Told:
    """What a leader left open, or closed late, ends where the next one knew everything: of later it knows nothing."""
    since, until, alive, own, by = row
    if own or by not in leaders:
        return Told(since, until, alive, bool(own))
    since, cut = leaders[by].cut(Interval(since, until))
    return Told(since, cut, alive if cut is None or cut == until else cut)


def _node_rows(taken: Sequence[Source], left_out: Sequence[LeftOut], nodes: Sequence[NodeRow]) -> tuple[NodeRow, ...]:
    """Every node once: as it was said, and as its recordings say."""
    found = {node.name: node for node in nodes}
    for row in (row for source in taken for row in source.nodes):
        known = found.setdefault(row.name, row)
        if row.state == "watched" and known.state != "watched":
            found[row.name] = replace(row, reason=known.reason or row.reason)
    watching = [source for source in taken if not source.is_import]
    for source in watching:
        names = {run[0] for run in source.runs} - {row.name for row in source.nodes}
        for name in sorted(names or ({source.node} if not source.nodes else set())):
            known = found.get(name, NodeRow(name, skew=source.skew))
            version = known.tool_version or source.meta.get("tool_version", "")
            seen = "watched" if name in names else "not_watched"
            reason = known.reason or ("" if name in names else "nothing was recorded there")
            found[name] = replace(known, state=seen, reason=reason, tool_version=version, skew=source.skew)
    for one in left_out:
        if one.node:
            known = found.get(one.node, NodeRow(one.node, "not_watched"))
            reasons = dict.fromkeys(filter(None, (known.reason, f"{one.path.name} is left out: {one.reason}")))
            found[one.node] = replace(known, reason="; ".join(reasons))
    is_taken = {run[0] for source in watching for run in source.runs} | {
        row.name for source in watching for row in source.nodes if row.state == "watched"
    }
    stated = (replace(row, state="watched" if row.name in is_taken else "not_watched") for row in found.values())
    return tuple(sorted(map(_with_reason, stated), key=lambda row: row.name))


def _with_reason(row: NodeRow) -> NodeRow:
    return row if row.reason or row.state == "watched" else replace(row, reason="there is no recording of it")


def _cells(row: NodeRow) -> tuple[str, str, str, str, int]:
    return row.name, row.state, row.reason, row.tool_version, row.skew


def _meta(taken: Sequence[Source], rows: Sequence[NodeRow]) -> dict[str, str]:
    """Of the whole: what all stores say alike, the longest time that was asked for, and when the first one began."""
    first, *others = (source.meta for source in taken)
    same = {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}
    kept = {key: value for key, value in same.items() if key not in _OF_A_NODE}
    clusters = {source.cluster for source in taken} - {""}
    wanted = [int(text) for source in taken if (text := source.meta.get("wanted_seconds", "")).isdecimal()]
    created = [int(text) for source in taken if (text := source.meta.get("created", "")).isdecimal()]
    watched = [row.name for row in rows if row.state == "watched"]
    return {
        **kept,
        "schema": str(SCHEMA),
        "tool_version": migrate.__version__,
        "node": watched[0] if len(watched) == 1 else "",
        "nodes": json.dumps(watched),
        "cluster": min(clusters, default=""),
        "wanted_seconds": str(max(wanted, default=0)),
        **({"created": str(min(created))} if created else {}),
    }


def _skew_text(node: NodeRow) -> str:
    seconds = node.skew / 1e9
    how = "ahead of" if seconds > 0 else "behind"
    return f"the clock of {node.name} was {abs(seconds):.0f} s {how} this one: its times are shifted by that"
