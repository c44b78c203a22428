"""What stood behind the addresses of Services in the time of a record, as agents were told while they recorded.

Times are nanoseconds since 1970. What held at any time of a record counts for it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.audit.layout import bytes_of
from migrate.audit.reading import BackendRow, Owner
from migrate.model.addresses import parse_address

_ANY_NODE = frozenset(map(parse_address, ("0.0.0.0", "::")))
_LATE = 30_000_000_000
"""Nanoseconds for which a node may send to a backend that is not yet there, or not any more, for who was told."""
_Name: TypeAlias = tuple[str, str]
"""Namespace and name of a Service."""
State: TypeAlias = tuple[int, int, int, int]


@dataclass(slots=True)
class _Told:
    """What was told of one address, or of all node ports. `moments` are the times at which something changed."""

    owners: list[Owner] = field(default_factory=list)
    rows: dict[tuple[int, int], list[BackendRow]] = field(default_factory=dict)
    moments: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Then:
    """What stood behind a port. `other`: what stood there only at other times, by address and port."""

    name: _Name
    rows: tuple[BackendRow, ...]
    other: frozenset[tuple[bytes, int]]


class ServiceTimes:
    """The timeline of Services of one recording; it is empty where no agent kept one."""

    def __init__(self, rows: Iterable[BackendRow], owners: Iterable[Owner]) -> None:
        self._told: dict[bytes, _Told] = {}
        self._on_nodes = _Told()
        self.rows = tuple(rows)
        for row in self.rows:
            told = self._on_nodes if row.address in _ANY_NODE else self._told.setdefault(bytes_of(row.address), _Told())
            told.rows.setdefault((row.protocol, row.port), []).append(row)
            told.moments += _changes(row.since, row.until)
        for owner in owners:
            if owner.kind == "service":
                told = self._told.setdefault(bytes_of(owner.address), _Told())
                told.owners.append(owner)
                told.moments += _changes(owner.since, owner.until)
        for told in (*self._told.values(), self._on_nodes):
            told.moments = sorted(set(told.moments))

    @property
    def addresses(self) -> frozenset[bytes]:
        """The addresses that a Service ever had."""
        return frozenset(self._told)

    @property
    def on_nodes(self) -> frozenset[_Name]:
        """The Services that have node ports."""
        return frozenset((row.namespace, row.service) for rows in self._on_nodes.rows.values() for row in rows)

    def state(self, address: bytes, is_node: bool, first: int, last: int) -> State | None:
        """The same for records that lie alike between the changes of an address; None where nothing ever changed."""
        told = self._told.get(address) or (self._on_nodes if is_node else None)
        if told is None or not told.moments:
            return None
        found = told.moments
        return (
            bisect_left(found, first),
            bisect_right(found, last),
            bisect_left(found, first - _LATE),
            bisect_right(found, last + _LATE),
        )

    def at(self, address: bytes, protocol: int, port: int, first: int, last: int) -> Then | None:
        """What stood behind a port of an address that Services had; None where nothing was told of it."""
        told = self._told.get(address)
        return None if told is None else _then(told, protocol, port, first, last)

    def at_node(self, protocol: int, port: int, first: int, last: int) -> Then | None:
        """What stood behind a node port; None where nothing was told of it."""
        known = (protocol, port) in self._on_nodes.rows
        return _then(self._on_nodes, protocol, port, first, last) if known else None

    def front_of(self, row: BackendRow) -> int:
        """The Service's own port that leads to the target of a node port."""
        same = (row.namespace, row.service, row.protocol, row.target, row.target_port)
        fronts = (other for other in self.rows if other.address not in _ANY_NODE)
        ports = (
            other.port
            for other in fronts
            if (other.namespace, other.service, other.protocol, other.target, other.target_port) == same
        )
        return next(ports, row.port)


def _then(told: _Told, protocol: int, port: int, first: int, last: int) -> Then | None:
    rows = told.rows.get((protocol, port), [])
    standing = [row for row in rows if _overlaps(row, first, last)]
    around = [row for row in rows if _overlaps(row, first - _LATE, last + _LATE)]
    owner = _owner(told.owners, first, last)
    if not standing and (owner is None or not _overlaps(owner, first, last)):
        standing = _nearest(rows, first, last)
    name = (owner.namespace, owner.name) if owner is not None else None
    names = [name] if name is not None else [(row.namespace, row.service) for row in standing or rows[:1]]
    if not names:
        return None
    known = frozenset((bytes_of(row.target), row.target_port) for row in rows)
    close = frozenset((bytes_of(row.target), row.target_port) for row in around)
    return Then(names[0], tuple(standing), known - close)


def _owner(owners: list[Owner], first: int, last: int) -> Owner | None:
    """Who had the address then, or nearest to it."""
    return min(owners, key=lambda owner: (_distance(owner, first, last), -owner.since), default=None)


def _nearest(rows: list[BackendRow], first: int, last: int) -> list[BackendRow]:
    """The rows that are nearest to a time in which the Service was not there, for all that was told."""
    nearest = min((_distance(row, first, last) for row in rows), default=0)
    return [row for row in rows if _distance(row, first, last) == nearest]


def _distance(told: Owner | BackendRow, first: int, last: int) -> int:
    if _overlaps(told, first, last):
        return 0
    return told.since - last if told.since > last else first - (told.until or 0)


def _overlaps(told: Owner | BackendRow, first: int, last: int) -> bool:
    return told.since <= last and (told.until is None or told.until >= first)


def _changes(since: int, until: int | None) -> Iterator[int]:
    """Ends count with the moment itself, as begins do."""
    if since:
        yield since
    if until is not None:
        yield until
