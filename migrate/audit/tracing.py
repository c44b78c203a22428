"""Who really opened what has a node's address, and what serves a Service: asked of conntrack, connection by connection.

Where the programs in the kernel see translations themselves, only what those do not explain is asked for: connections
of the node's own processes. Elsewhere (older kernels, the loader bcc) all are. What conntrack knows no more is a loss.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from migrate.audit import conntrack
from migrate.audit.conntrack import Connection, Ends
from migrate.audit.facts import FlowEnds
from migrate.audit.kernel import Probe, ProbeError, Table
from migrate.audit.layout import COARSE, Address, Control, Direction, FlowKey, FlowValue, Kind, Translation, bytes_of

NOT_TRACED = "not-traced"
"""The kind of loss."""

_PROTOCOLS = frozenset((6, 17, 132))
_SOURCE, _DESTINATION, _PROTOCOL, _KIND = slice(0, 16), slice(16, 32), 38, 39
_NEW = Kind.NEW << 1
_REST = 200
"""Looking takes one part in so many of the time, or less."""
_SHORTEST_REST = 3.0
"""Seconds. Conntrack forgets a connection that was reset after ten."""
_ADDRESSES_HOLD = 10.0
_MOST_PORTS = 4096
_TRANSLATED = conntrack.SOURCE_TRANSLATED | conntrack.DESTINATION_TRANSLATED


_ONE_BY_ONE = 8
"""So many pods are asked about one after the other; of more, all connections are read once."""
_Served: TypeAlias = tuple[Address, int, int]
_Tracked: TypeAlias = dict[tuple[Direction, int, Address, Address, int], dict[int, Connection]]


class Traces(Protocol):
    """What the recording keeps of it; see `Store`."""

    def trace(
        self, ifindex: int, seen: FlowEnds, original: FlowEnds, backend: tuple[Address, int] | None = None
    ) -> None: ...
    def loss(self, at: int, kind: str, count: int, detail: str) -> None: ...
    def ended_interfaces(self) -> frozenset[int]: ...


@dataclass(slots=True)
class _Flow:
    """New connections of one flow: those in the running table, all, those that are explained; their own ports."""

    table: int = -1
    in_table: int = 0
    seen: int = 0
    known: int = 0
    last_port: int = 0
    waiting: int = 0
    ports: set[int] = field(default_factory=set)


class Tracing:
    """`begin`, then `look` at a table as often as is convenient; it paces itself unless it is the last chance."""

    def __init__(
        self,
        probe: Probe,
        store: Traces,
        own: Callable[[], frozenset[Address]],
        services: Iterable[Address] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._probe = probe
        self._store = store
        self._own = own
        self._clock = clock
        self._services = frozenset(map(bytes_of, services))
        self._addresses: frozenset[bytes] = frozenset()
        self._asked = 0.0
        self._next = 0.0
        self._flows: dict[bytes, _Flow] = defaultdict(_Flow)
        self._before: dict[bytes, int] = {}
        self._standing: dict[_Served, set[int]] = defaultdict(set)
        self._silent = False

    def begin(self) -> None:
        """What stands already was not opened in any of the flows to come."""
        self._refresh()
        if self._probe.translations is not None:
            number = self._probe.control(Control.SEQUENCE)
            for epoch in (number - 1, number):  # of a killed agent, and told by the kernel as far as can be
                self._count(epoch, self._probe.flows[epoch & 1])
            self._before = self._told_by_kernel()
            for flow in self._flows.values():
                flow.seen = 0
        try:
            for one in conntrack.dump():
                if bytes_of(one.client) in self._addresses:
                    self._standing[one.backend, one.protocol, one.backend_port].add(one.client_port)
        except ProbeError:
            self._silent = True  # what this kernel cannot tell is said when the audit begins

    def look(self) -> None:
        """At the table that is written, if it is time."""
        if time.monotonic() >= self._next:
            number = self._probe.control(Control.SEQUENCE)
            self.settle(number, self._probe.flows[number & 1])

    def settle(self, number: int, table: Table) -> None:
        """All that the table of an epoch (by its number) has."""
        if self._silent:
            return
        began = time.process_time()
        if time.monotonic() >= self._asked + _ADDRESSES_HOLD:
            self._refresh()
        try:
            self._take(number, table)
        except ProbeError:
            self._silent = True
        self._next = time.monotonic() + max(_SHORTEST_REST, _REST * (time.process_time() - began))

    def end(self) -> None:
        """What was missing at the last look is lost."""
        for data, flow in self._flows.items():
            self._lose(FlowKey.unpack(data), flow.waiting)
            flow.waiting = 0

    def _refresh(self) -> None:
        self._addresses = frozenset(map(bytes_of, self._own()))
        self._asked = time.monotonic()
        gone = self._store.ended_interfaces()
        for data in [data for data in self._flows if FlowKey.unpack(data).ifindex in gone]:
            del self._flows[data]

    def _count(self, number: int, table: Table) -> None:
        """What a table has more than when it was last looked at."""
        for data, value in self._rows(table):
            found = FlowValue.unpack(value)
            flow = self._flows[data]
            if flow.table != number:
                flow.table, flow.in_table = number, 0
            flow.seen += found.events - flow.in_table
            flow.in_table, flow.last_port = found.events, found.source_port

    def _take(self, number: int, table: Table) -> None:
        self._count(number, table)
        told = self._told_by_kernel()
        several: list[tuple[FlowKey, _Flow, int]] = []
        for data, flow in self._flows.items():
            missing = flow.seen - flow.known - (told.get(data, 0) - self._before.get(data, 0))
            if missing <= 0:
                flow.waiting = 0
                continue
            key = FlowKey.unpack(data)
            one = self._last(key, flow) if missing == 1 else None
            if one is None:
                several.append((key, flow, missing))
            else:
                self._explain(key, flow, [one], missing)
        tracked = self._tracked([key for key, _, _ in several])
        for key, flow, missing in several:
            self._explain(key, flow, _new_ones(key, flow, tracked, self._standing), missing)

    def _rows(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """Those with an address of the node's where the client's may have been, or with one of a Service."""
        targets = self._services | self._addresses if self._probe.translations is None else frozenset[bytes]()
        for batch in table.batches():
            for key, value in batch:
                kind = key[_KIND]
                if kind & COARSE or kind & ~1 != _NEW or key[_PROTOCOL] not in _PROTOCOLS:
                    continue
                if key[_SOURCE] in self._addresses if kind & 1 == Direction.TO_POD else key[_DESTINATION] in targets:
                    yield key, value

    def _told_by_kernel(self) -> dict[bytes, int]:
        """How often the programs themselves saw each flow translated."""
        told: dict[bytes, int] = {}
        for batch in self._probe.translations.batches() if self._probe.translations is not None else ():
            for key, value in batch:
                flow, times = key[:40], Translation.VALUE.unpack(value)[2]
                told[flow] = told.get(flow, 0) + times
        return told

    def _last(self, key: FlowKey, flow: _Flow) -> Connection | None:
        """The last one of a flow, whose ports are known, if it is not explained yet."""
        if flow.last_port in flow.ports:
            return None
        seen = Ends(key.protocol, key.source, flow.last_port, key.destination, key.port)
        is_received = key.direction is Direction.TO_POD
        one = conntrack.original_of(seen) if is_received else conntrack.translation_of(seen)
        if one is None or self._is_told(one):
            return None
        flow.ports.add(flow.last_port)
        return one

    def _tracked(self, keys: Sequence[FlowKey]) -> _Tracked:
        """The connections of the pods of some flows, by the ends of the flow and the port of who opened them."""
        pods = {key.destination if key.direction is Direction.TO_POD else key.source for key in keys}
        few = len(pods) <= _ONE_BY_ONE
        tracked: _Tracked = defaultdict(dict)
        for one in (one for pod in pods for one in conntrack.of_pod(pod)) if few else conntrack.dump():
            if not self._is_told(one):
                received = Direction.TO_POD, one.protocol, one.client, one.backend, one.backend_port
                sent = Direction.FROM_POD, one.protocol, one.source, one.destination, one.port
                tracked[received][one.client_port] = tracked[sent][one.source_port] = one
        return tracked

    def _is_told(self, one: Connection) -> bool:
        return self._probe.translations is not None and bool(one.status & _TRANSLATED)

    def _explain(self, key: FlowKey, flow: _Flow, found: Sequence[Connection], missing: int) -> None:
        """What was missing at the last look already, and is not found now, will not be found any more."""
        for one in found:
            seen = FlowEnds(key.source, key.destination, key.protocol, key.port)
            original = FlowEnds(one.source, one.destination, one.protocol, one.port)
            backend = (one.backend, one.backend_port) if key.direction is Direction.FROM_POD else None
            self._store.trace(key.ifindex, seen, original, backend)
        flow.known += len(found)
        left = max(0, missing - len(found))
        lost = min(left, flow.waiting)
        flow.waiting = left - lost
        flow.known += lost
        self._lose(key, lost)

    def _lose(self, key: FlowKey, count: int) -> None:
        """Only the address of the node stands for several; a Service's backends are known from elsewhere."""
        if count and key.direction is Direction.TO_POD:
            text = "connections with the node's address: conntrack did not know any more who had opened them"
            self._store.loss(self._clock(), NOT_TRACED, count, text)


def _new_ones(key: FlowKey, flow: _Flow, tracked: _Tracked, standing: Mapping[_Served, set[int]]) -> list[Connection]:
    """Those of a flow that were not there before."""
    now = tracked.get((key.direction, key.protocol, key.source, key.destination, key.port), {})
    known = flow.ports
    if key.direction is Direction.TO_POD:
        known = known | standing.get((key.destination, key.protocol, key.port), set())
    found = [one for port, one in now.items() if port not in known]
    flow.ports = set(now) if len(now) <= _MOST_PORTS else set()
    return found
