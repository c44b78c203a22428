"""What an agent tells the recording beside the flows: veths, gaps, losses, owners of addresses, connections."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from migrate.audit import revisions
from migrate.audit.flow_rows import HOUR
from migrate.audit.layout import Address, address_of, bytes_of
from migrate.audit.telling import Fact, Held, Standing
from migrate.audit.writing import Statement, Value, Writing


@dataclass(frozen=True, slots=True)
class FlowEnds:
    """A flow without its initiator's port; `port` is the responder's, for ICMP type << 8 | code."""

    source: Address
    destination: Address
    protocol: int
    port: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the lives of veths was watched. `blind`: veths that are alive and not seen now."""

    veths: int
    alive: int
    blind: int
    watched_seconds: float
    life_seconds: float


class StandingConnection(Protocol):
    """A connection as connection tracking has it."""

    @property
    def protocol(self) -> int: ...
    @property
    def source(self) -> Address: ...
    @property
    def source_port(self) -> int: ...
    @property
    def destination(self) -> Address: ...
    @property
    def port(self) -> int: ...
    @property
    def backend(self) -> Address: ...
    @property
    def backend_port(self) -> int: ...
    @property
    def client(self) -> Address: ...


@dataclass(slots=True)
class Life:
    """One life of a veth, as far as the choice of its rows needs it."""

    veth: int
    appeared: int
    name: str
    open: bool = True


class Facts(Writing):
    """The part of a store that takes single facts. All times are nanoseconds since 1970."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self._segment = 0
        self._next_veth = 1
        self._lives: dict[int, list[Life]] = defaultdict(list)

    def veth(self, ifindex: int, name: str, appeared: int, since: int) -> int:
        """The number of a watched veth; the same one while it lives, also after a restart."""
        for life in self._lives[ifindex]:
            if life.open and life.name == name:
                return life.veth
        life = Life(self._next_veth, appeared, name)
        self._next_veth += 1
        self._lives[ifindex].append(life)
        self._write(
            "INSERT INTO veth (id, segment, ifindex, name, appeared, since) VALUES (?, ?, ?, ?, ?, ?)",
            life.veth,
            self._segment,
            ifindex,
            name,
            appeared,
            since,
        )
        return life.veth

    def name_veth(self, veth: int, namespace: str, pod: str, uid: str, found_by: str) -> None:
        """Which pod a veth is of; `found_by` is route, peer or learned."""
        self._write(
            "UPDATE veth SET namespace = ?, pod = ?, uid = ?, found_by = ? WHERE id = ?",
            namespace,
            pod,
            uid,
            found_by,
            veth,
        )

    def end_veth(self, veth: int, until: int) -> None:
        """A veth is gone, or watched no more."""
        self.end_gap(veth, until)
        self._write("UPDATE veth SET until = max(since, ?) WHERE id = ? AND until IS NULL", until, veth)
        for lives in self._lives.values():
            for life in lives:
                if life.veth == veth:
                    life.open = False

    def open_veths(self) -> dict[int, tuple[int, str]]:
        """The watched veths that have not ended: number to ifindex and name."""
        return {
            life.veth: (ifindex, life.name) for ifindex, lives in self._lives.items() for life in lives if life.open
        }

    def ended_interfaces(self) -> frozenset[int]:
        """Indices of interfaces that were watched and are not any more."""
        lives = self._lives.items()
        return frozenset(ifindex for ifindex, known in lives if known and not any(life.open for life in known))

    def gap(self, veth: int, since: int, reason: str) -> None:
        """A watched veth is not seen from now on; one gap at a time."""
        self._write(
            "INSERT INTO gap (veth, since, reason) SELECT ?1, ?2, ?3 "
            "WHERE NOT EXISTS (SELECT 1 FROM gap WHERE veth = ?1 AND until IS NULL)",
            veth,
            since,
            reason,
        )

    def end_gap(self, veth: int, until: int) -> None:
        """A watched veth is seen again."""
        self._write("UPDATE gap SET until = max(since, ?) WHERE veth = ? AND until IS NULL", until, veth)

    def coverage(self, now: int) -> Coverage:
        """Of this run until now, as far as it is written."""
        ((veths, alive, watched, lives),) = self._rows(
            "SELECT count(*), count(*) - count(until), coalesce(sum(coalesce(until, ?1) - since), 0), "
            "coalesce(sum(coalesce(until, ?1) - min(appeared, since)), 0) FROM veth WHERE segment = ?2",
            now,
            self._segment,
        )
        ((blind, unseen),) = self._rows(
            "SELECT count(*) - count(gap.until), coalesce(sum(coalesce(gap.until, ?1) - gap.since), 0) "
            "FROM gap JOIN veth ON veth.id = gap.veth WHERE segment = ?2",
            now,
            self._segment,
        )
        seen = int(str(watched)) - int(str(unseen))
        return Coverage(int(str(veths)), int(str(alive)), int(str(blind)), seen / 1e9, int(str(lives)) / 1e9)

    def loss(self, at: int, kind: str, count: int, detail: str) -> None:
        """Something was not kept or not seen. Losses of one kind and detail are added up over each hour."""
        self._write_all(self._loss_statements(at, kind, count, detail))

    def _loss_statements(self, at: int, kind: str, count: int, detail: str) -> list[Statement]:
        hour = at // HOUR
        same = f"segment = ?1 AND kind = ?2 AND detail = ?3 AND at / {HOUR} = ?4"
        known = (self._segment, kind, detail, hour)
        return [
            (
                f"INSERT INTO loss SELECT ?1, ?5, ?2, 0, ?3 WHERE NOT EXISTS (SELECT 1 FROM loss WHERE {same})",
                (*known, at),
            ),
            (f"UPDATE loss SET count = count + ?5 WHERE {same}", (*known, count)),
        ]

    def own(self, address: Address, kind: str, namespace: str, name: str, uid: str, since: int) -> None:
        """Somebody has an address: pod, node or service. Said again while it is so, it changes nothing."""
        self._write(
            "INSERT OR IGNORE INTO owner SELECT ?1, ?2, ?3, ?4, ?5, ?6, NULL WHERE NOT EXISTS (SELECT 1 FROM owner "
            "WHERE address = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4 AND uid = ?5 AND until IS NULL)",
            bytes_of(address),
            kind,
            namespace,
            name,
            uid,
            since,
        )

    def disown(self, address: Address, uid: str, until: int) -> None:
        """An address is somebody's no more."""
        query = "UPDATE owner SET until = max(since, ?) WHERE address = ? AND uid = ? AND until IS NULL"
        self._write(query, until, bytes_of(address), uid)

    def open_facts(self) -> frozenset[Fact]:
        """Who has which address, and what stands behind which Service."""
        columns = "address, kind, namespace, name, uid"
        owners = self._connection.execute(f"SELECT {columns} FROM owner WHERE until IS NULL")
        columns = "namespace, service, address, protocol, port, target, target_port"
        standing = self._connection.execute(f"SELECT {columns} FROM backend WHERE until IS NULL")
        return frozenset(
            (
                *(Held(address_of(row[0]), *row[1:]) for row in owners),
                *(Standing(a, b, address_of(c), d, e, address_of(f), g) for a, b, c, d, e, f, g in standing),
            )
        )

    def stand_behind(self, standing: Standing, since: int) -> None:
        """An address stands behind a port of a Service. Said again while it is so, it changes nothing."""
        self._write(
            "INSERT OR IGNORE INTO backend SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL WHERE NOT EXISTS "
            f"(SELECT 1 FROM backend WHERE {_SAME_STANDING} AND until IS NULL)",
            *_packed(standing),
            since,
        )

    def stand_no_more(self, standing: Standing, until: int) -> None:
        """An address stands behind a port of a Service no more."""
        query = f"UPDATE backend SET until = max(since, ?8) WHERE {_SAME_STANDING} AND until IS NULL"
        self._write(query, *_packed(standing), until)

    def noted(self, key: str) -> str:
        """A fact about the whole recording; empty where none is kept."""
        return next((str(value) for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", key)), "")

    def connections(self, moment: str, connections: Iterable[StandingConnection]) -> None:
        """The connections that stood at a moment: start or end."""
        self._write_all(
            (
                "INSERT INTO connection VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._segment,
                    moment,
                    found.protocol,
                    bytes_of(found.source),
                    found.source_port,
                    bytes_of(found.destination),
                    found.port,
                    bytes_of(found.backend),
                    found.backend_port,
                    bytes_of(found.client),
                ),
            )
            for found in connections
        )

    def has_connections(self, moment: str) -> bool:
        """Whether there are connections of that moment in this run."""
        query = "SELECT 1 FROM connection WHERE segment = ? AND moment = ? LIMIT 1"
        return bool(self._rows(query, self._segment, moment))

    def translated(
        self,
        veth: int,
        seen: FlowEnds,
        original: FlowEnds,
        backend: tuple[Address, int] | None = None,
        times: int = 1,
    ) -> None:
        """A recorded flow's ends before translation as connection tracking has them, and the backend behind them."""
        self._write_all(translated_statements(veth, seen, original, backend, times))

    def dropped(self, veth: int, ends: FlowEnds, first: int, last: int, events: int) -> None:
        """Packets of a flow that the old engine dropped."""
        self._write_all([dropped_statement(veth, ends, first, last, events)])


_SAME_STANDING = (
    "namespace = ?1 AND service = ?2 AND address = ?3 AND protocol = ?4 AND port = ?5 AND target = ?6 "
    "AND target_port = ?7"
)


def _packed(standing: Standing) -> tuple[Value, ...]:
    namespace, service, address, protocol, port, target, target_port = standing
    return (namespace, service, bytes_of(address), protocol, port, bytes_of(target), target_port)


def translated_statements(
    veth: int, seen: FlowEnds, original: FlowEnds, backend: tuple[Address, int] | None, times: int
) -> list[Statement]:
    """What adds to a row of the table translated."""
    values: tuple[Value, ...] = (
        veth,
        bytes_of(seen.source),
        bytes_of(seen.destination),
        seen.protocol,
        seen.port,
        bytes_of(original.source),
        bytes_of(original.destination),
        original.port,
        bytes_of(backend[0]) if backend else None,
        backend[1] if backend else None,
    )
    same = (
        "veth = ?1 AND source = ?2 AND destination = ?3 AND protocol = ?4 AND port = ?5 AND original_source = ?6 "
        "AND original_destination = ?7 AND original_port = ?8 AND backend IS ?9"
    )
    return [
        (
            "INSERT INTO translated SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, 0 "
            f"WHERE NOT EXISTS (SELECT 1 FROM translated WHERE {same})",
            values,
        ),
        (
            f"UPDATE translated SET times = times + ?11, backend_port = ?10, revision = {revisions.REVISION} "
            f"WHERE {same}",
            (*values, times),
        ),
    ]


def dropped_statement(veth: int, ends: FlowEnds, first: int, last: int, events: int) -> Statement:
    """What adds to a row of the table dropped."""
    return (
        f"INSERT INTO dropped VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {revisions.REVISION}) ON CONFLICT DO UPDATE SET "
        "first = min(first, excluded.first), last = max(last, excluded.last), events = events + excluded.events, "
        "revision = excluded.revision",
        (
            veth,
            last // HOUR,
            bytes_of(ends.source),
            bytes_of(ends.destination),
            ends.protocol,
            ends.port,
            first,
            last,
            events,
        ),
    )
