"""Recordings read: audit.db as typed values, without changing it. The agent may write to it meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import msgspec

from migrate.audit.layout import address_of
from migrate.audit.recording import FILE_NAME, check_ours, check_readable, check_version
from migrate.errors import InputError
from migrate.model.addresses import Address

FlowRow: TypeAlias = tuple[int, int, int, int, int, bytes, bytes, int, int, int, int, int, int, int, int, int, int]
"""A row of `flow` in the order of its columns; plain, since there are hundreds of thousands."""
OpenedRow: TypeAlias = tuple[int, int, bytes, bytes, int, int, int, int, int, int]
"""Spot, hour, source, destination, first, last, events, answered, refused and source port of a row of `flow`."""
_SPOT = (
    "((((veth * 4 + kind) * 4 + coarse) * 256 + protocol) * 65536 + port) * 4 + (source = destination) * 2 + direction"
)
IMPORTED = "import"
"""How interfaces were found that were not watched: another program told of them. So says `attach` of their segments."""
_IMPORTED = f"SELECT id FROM veth WHERE found_by = '{IMPORTED}'"
_UNSAID = f"NOT (answered OR kind OR coarse) AND veth IN ({_IMPORTED})"
_OPENED = f"events > 0 AND (direction OR answered OR kind OR coarse) AND NOT ({_UNSAID})"
_UNANSWERED = f"events > 0 AND (NOT (direction OR answered OR kind OR coarse) OR {_UNSAID})"
TO_ITSELF, TO_POD = 2, 1
"""Bits of a spot: source and destination are one address; the flow came in."""
_COLUMNS = (
    "veth, hour, direction, kind, coarse, source, destination, protocol, port, first, last, events, octets, "
    "answered, refused, retransmitted, source_port"
)
_TABLES = frozenset(
    ("meta", "segment", "veth", "gap", "flow", "translated", "dropped", "epoch", "counter", "loss", "owner")
)


def spot_of(row: FlowRow) -> int:
    """Interface, direction, kind, coarseness, protocol and port of a record as one number."""
    veth, _, direction, kind, coarse, source, destination, protocol, port, *_ = row
    ends = (source == destination) * TO_ITSELF + direction
    return ((((veth * 4 + kind) * 4 + coarse) * 256 + protocol) * 65536 + port) * 4 + ends


def veth_of(spot: int) -> int:
    """The interface of a spot."""
    return spot >> 30


def row_of(opened: OpenedRow) -> FlowRow:
    """The record, but for its octets and retransmissions, which are 0."""
    spot, hour, source, destination, first, last, events, answered, refused, source_port = opened
    head = (veth_of(spot), hour, spot & TO_POD, spot >> 28 & 3, spot >> 26 & 3, source, destination)
    traffic = (spot >> 18 & 255, spot >> 2 & 65535)
    return (*head, *traffic, first, last, events, 0, answered, refused, 0, source_port)


class Segment(NamedTuple):
    """One run of an agent on one boot. Times are nanoseconds since 1970; `ended` is None when it died or runs.

    `node` is empty where nobody said whose it is.
    """

    id: int
    boot_id: str
    kernel: str
    loader: str
    attach: str
    started: int
    ended: int | None
    notes: tuple[str, ...]
    node: str = ""


class Veth(NamedTuple):
    """One life of a watched interface, and the pod behind it as far as known."""

    id: int
    segment: int
    ifindex: int
    name: str
    namespace: str | None
    pod: str | None
    uid: str | None
    appeared: int
    since: int
    until: int | None
    node: str = ""


class NodeState(NamedTuple):
    """A node of a merged recording; `state` is watched or not_watched, `skew` in nanoseconds."""

    name: str
    state: str
    reason: str
    tool_version: str
    skew: int


class Gap(NamedTuple):
    """Time in which a veth was not seen."""

    veth: int
    since: int
    until: int | None
    reason: str


class Translated(NamedTuple):
    """The true ends of a record with the address of a Service or node."""

    veth: int
    source: bytes
    destination: bytes
    protocol: int
    port: int
    original_source: Address
    original_destination: Address
    original_port: int
    backend: Address | None
    backend_port: int | None
    times: int


class Dropped(NamedTuple):
    """Packets of one flow that the old engine dropped."""

    veth: int
    hour: int
    source: bytes
    destination: bytes
    protocol: int
    port: int
    first: int
    last: int
    events: int


class Owner(NamedTuple):
    """Who had an address from `since` (0: before the audit) until `until` (None: still)."""

    address: Address
    kind: str
    namespace: str
    name: str
    uid: str
    since: int
    until: int | None


class BackendRow(NamedTuple):
    """What stood behind a port of a Service from `since` (0: before the audit) until `until` (None: still).

    `address` is the Service's; 0.0.0.0 or ::: that of any node, for a node port.
    """

    namespace: str
    service: str
    address: Address
    protocol: int
    port: int
    target: Address
    target_port: int
    since: int
    until: int | None


class Loss(NamedTuple):
    """What was not kept or not seen, counted."""

    at: int
    kind: str
    number: int
    detail: str
    segment: int = 0


class Connection(NamedTuple):
    """A connection of the node's connection table at the start or the end of a segment."""

    segment: int
    moment: str
    protocol: int
    source: Address
    source_port: int
    destination: Address
    port: int
    backend: Address
    backend_port: int
    client: Address


class Sums(NamedTuple):
    """The events of one segment: in exact rows, in coarse ones, lost, and all that the kernel counted."""

    rows: int
    coarse: int
    lost: int
    new: int


class Reading:
    """One recording. Every method reads what is there at the time; `meta` is read once."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        entries: Sequence[tuple[str, str]] = connection.execute("SELECT key, value FROM meta").fetchall()
        self.meta: Mapping[str, str] = MappingProxyType(dict(entries))
        self._has_nodes = any(row[1] == "node" for row in self._rows("PRAGMA table_info(segment)"))

    @property
    def node(self) -> str:
        """The node's name; empty when it was not said, or there are several."""
        return self.meta.get("node", "")

    @property
    def is_of_cluster(self) -> bool:
        """Whether it was made of a cluster's nodes, also of those that were not watched; not of one node alone."""
        return len(self.node_rows()) > 1

    def node_rows(self) -> tuple[NodeState, ...]:
        """The nodes of a merged recording, by name; none in the recording of one node."""
        if not self._has_nodes:
            return ()
        columns = "name, state, reason, tool_version, skew"
        return tuple(NodeState(*row) for row in self._rows(f"SELECT {columns} FROM node ORDER BY name"))

    def segments(self) -> tuple[Segment, ...]:
        """All runs, oldest first."""
        node = "node" if self._has_nodes else "''"
        columns = f"id, boot_id, kernel, loader, attach, started, ended, notes, {node}"
        query = f"SELECT {columns} FROM segment ORDER BY started, segment.id"
        return tuple(Segment._make((*row[:7], _notes(row[7]), row[8] or self.node)) for row in self._rows(query))

    def veths(self) -> tuple[Veth, ...]:
        """All lives of interfaces, by id."""
        nodes = {segment.id: segment.node for segment in self.segments()}
        columns = "id, segment, ifindex, name, namespace, pod, uid, appeared, since, until"
        rows = self._rows(f"SELECT {columns} FROM veth ORDER BY id")
        return tuple(Veth._make((*row, nodes.get(row[1], self.node))) for row in rows)

    def imported(self) -> frozenset[int]:
        """The ids of interfaces that were not watched: another program told what was there."""
        return frozenset(veth for (veth,) in self._rows(_IMPORTED))

    def gaps(self) -> tuple[Gap, ...]:
        """All gaps, by veth and time."""
        return tuple(
            Gap(*row) for row in self._rows("SELECT veth, since, until, reason FROM gap ORDER BY veth, since, reason")
        )

    def flows(self) -> Iterator[FlowRow]:
        """All flow records, by veth and hour."""
        return self._rows(f"SELECT {_COLUMNS} FROM flow")

    def opened(self) -> Iterator[OpenedRow]:
        """The records with new flows, in the order of `flows`, without those that `unanswered` has."""
        columns = "hour, source, destination, first, last, events, answered, refused, source_port"
        return self._rows(f"SELECT {_SPOT}, {columns} FROM flow WHERE {_OPENED}")

    def unanswered(self) -> Iterator[FlowRow]:
        """The records of new flows that pods sent, with exact ends, and that nobody answered.

        And those, whatever their direction, of which another program did not say whether they were let through.
        """
        return self._rows(f"SELECT {_COLUMNS} FROM flow WHERE {_UNANSWERED}")

    def answers(self) -> Iterator[tuple[int, bytes, bytes, int, int]]:
        """Interface, source, destination, protocol and port where there were more answers than new flows."""
        return self._rows("SELECT veth, source, destination, protocol, port FROM flow WHERE answered > events")

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """All that is read in this block is of one moment."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    def translated(self) -> Iterator[Translated]:
        """Everything that the kernel's address translation said."""
        columns = "veth, source, destination, protocol, port, original_source, original_destination, original_port"
        for row in self._rows(f"SELECT {columns}, backend, backend_port, times FROM translated"):
            original = address_of(row[5]), address_of(row[6])
            yield Translated._make((*row[:5], *original, row[7], address_of(row[8]) if row[8] else None, *row[9:]))

    def dropped(self) -> Iterator[Dropped]:
        """What the old engine dropped."""
        query = "SELECT veth, hour, source, destination, protocol, port, first, last, events FROM dropped"
        return (Dropped(*row) for row in self._rows(query))

    def delivered(self) -> Iterator[tuple[bytes, bytes, int, int]]:
        """Source, destination, protocol and port of all new flows that came in at a watched pod; many repeat."""
        query = "SELECT source, destination, protocol, port FROM flow WHERE direction = 1 AND kind = 0"
        return self._rows(f"{query} AND coarse = 0 AND NOT ({_UNSAID})")

    def arrived(self, ends: tuple[int, bytes, bytes, int, int]) -> int:
        """How many new flows with an interface, source, destination, protocol and port came in there at all hours."""
        same = "veth = ? AND source = ? AND destination = ? AND protocol = ? AND port = ?"
        query = f"SELECT coalesce(sum(events), 0) FROM flow WHERE direction = 1 AND kind = 0 AND coarse = 0 AND {same}"
        ((events,),) = self._connection.execute(query, ends)
        return int(events)

    def owners(self) -> Iterator[Owner]:
        """Who had which address, by address and time."""
        query = (
            "SELECT address, kind, namespace, name, uid, since, until FROM owner ORDER BY address, since, kind, name"
        )
        return (Owner(address_of(row[0]), *row[1:]) for row in self._rows(query))

    def backends(self) -> Iterator[BackendRow]:
        """What stood behind Services, by Service and time; nothing where a recording has no such table."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'backend'").fetchall():
            return
        columns = "namespace, service, address, protocol, port, target, target_port, since, until"
        for row in self._rows(f"SELECT {columns} FROM backend ORDER BY namespace, service, since, {columns}"):
            yield BackendRow._make((*row[:2], address_of(row[2]), *row[3:5], address_of(row[5]), *row[6:]))

    def losses(self) -> tuple[Loss, ...]:
        """All losses, by time."""
        return tuple(
            Loss(*row) for row in self._rows("SELECT at, kind, count, detail, segment FROM loss ORDER BY at, kind")
        )

    def connections(self) -> Iterator[Connection]:
        """The connections that stood when segments began and ended."""
        columns = "segment, moment, protocol, source, source_port, destination, port, backend, backend_port, client"
        for row in self._rows(f"SELECT {columns} FROM connection ORDER BY {columns}"):
            ends = address_of(row[3]), row[4], address_of(row[5]), row[6], address_of(row[7]), row[8]
            yield Connection._make((*row[:3], *ends, address_of(row[9])))

    def sums(self) -> dict[int, Sums]:
        """For each segment where the kernel's new flows are."""
        events = {
            row[0]: (row[1], row[2])
            for row in self._rows("SELECT segment, sum(events), sum(coarse_events) FROM epoch GROUP BY segment")
        }
        counters: dict[int, dict[str, int]] = {}
        for segment, name, value in self._rows("SELECT segment, name, value FROM counter"):
            counters.setdefault(segment, {})[name.upper()] = value
        found: dict[int, Sums] = {}
        for segment in sorted(events.keys() | counters.keys()):
            counted = counters.get(segment, {})
            found[segment] = Sums(*events.get(segment, (0, 0)), counted.get("LOST", 0), counted.get("NEW", 0))
        return found

    def interval(self) -> tuple[int, int] | None:
        """From the first start to the last sign of life, in nanoseconds since 1970; None when nothing ever ran.

        What other programs told of counts only where nothing else is there.
        """
        for runs in (f"attach <> '{IMPORTED}'", "1"):
            query = f"""
                SELECT min(moment), max(moment) FROM (
                  SELECT started AS moment FROM segment WHERE {runs}
                  UNION ALL SELECT ended FROM segment WHERE ended IS NOT NULL AND {runs}
                  UNION ALL SELECT ended FROM epoch)
            """
            ((first, last),) = self._rows(query)
            if first is not None:
                return first, last
        return None

    def _rows(self, query: str) -> sqlite3.Cursor:
        """Errors while rows are read are told by `open_recording`."""
        return self._connection.execute(query)


@contextmanager
def open_recording(path: Path, *, whole: bool = True) -> Iterator[Reading]:
    """A recording to read. Raises InputError for a file that is none, is damaged, or is of a newer program.

    So do errors while it is read, in the block of the `with`. Not `whole`: damage is only found where it is read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such recording; name the {FILE_NAME} of a run of migrate audit")
    check_readable(path)
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise _failure(path, error) from error
    try:
        (check_ours if whole else check_version)(path, connection)
        _check_tables(path, connection)
        yield Reading(path, connection)
    except sqlite3.DatabaseError as error:
        raise _failure(path, error) from error
    finally:
        connection.close()


def _check_tables(path: Path, connection: sqlite3.Connection) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = ", ".join(sorted(_TABLES - tables))
    if missing:
        raise InputError(f"{path}: the recording is damaged: it lacks {missing}; use a copy of it")


def _failure(path: Path, error: sqlite3.Error) -> InputError:
    if isinstance(error, sqlite3.OperationalError):
        return InputError(f"{path}: cannot be read ({error}); check its rights, or read a copy of it")
    return InputError(f"{path}: the recording is damaged ({error}); use a copy of it")


def _notes(text: str) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.DecodeError:
        return (text,)
