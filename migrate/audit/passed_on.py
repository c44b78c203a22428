"""Who came to a pod by a node port of another node, as the recording of that node tells.

That node puts its own address in place of the client's. Its pods' records have the translation of what they sent, and
its connection table has the connections that were open when somebody looked, those of clients outside too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from migrate.audit.layout import bytes_of
from migrate.audit.reading import Connection, FlowRow, Reading, Translated, Veth
from migrate.model.addresses import Address

_TranslatedKey: TypeAlias = tuple[int, bytes, bytes, int, int]
_Target: TypeAlias = tuple[str, bytes, int, int]
"""Node that passed it on, the backend's address, protocol and port."""


class Original(NamedTuple):
    """The ends of a connection as the client opened it."""

    original_source: Address
    original_destination: Address
    original_port: int


@dataclass(frozen=True, slots=True)
class Clients:
    """The connections that are known behind a record; `all_of_them`: there were no others."""

    ends: tuple[Original, ...] = ()
    all_of_them: bool = False


class PassedOn:
    """What the recordings of nodes have of connections that they passed on to pods of other nodes."""

    def __init__(
        self,
        reading: Reading,
        veths: Mapping[int, Veth],
        translated: Mapping[_TranslatedKey, list[Translated]],
        node_addresses: frozenset[Address],
    ) -> None:
        self._reading, self._veths, self._rows = reading, veths, translated
        self._node_addresses = node_addresses
        self._totals: dict[_TranslatedKey, int] = {}

    def clients(self, node: str, row: FlowRow) -> Clients:
        """Of a record that came to a pod with the address of another node."""
        counts = self._known.get((node, row[6], row[7], row[8]))
        if not counts:
            return Clients()
        return Clients(tuple(counts), sum(counts.values()) == self._total(row))

    @cached_property
    def _known(self) -> dict[_Target, dict[Original, int]]:
        """Connections by where they went; those of pods from their translations, the others as they stood open."""
        found: dict[_Target, dict[Original, int]] = {}
        for node, one in self._sent_by_pods():
            target = (node, bytes_of(one.backend or one.original_destination), one.protocol, one.backend_port or 0)
            original = Original(one.original_source, one.original_destination, one.original_port)
            _count(found, target, original, one.times)
        sources = {(target[0], original.original_source) for target, counts in found.items() for original in counts}
        for node, stood in self._opened():
            if (node, stood.source) not in sources:
                target = (node, bytes_of(stood.backend), stood.protocol, stood.backend_port)
                _count(found, target, Original(stood.source, stood.destination, stood.port), 1)
        return found

    def _sent_by_pods(self) -> Iterator[tuple[str, Translated]]:
        """To node ports; by the address of a Service a pod's own address stays, unless it calls itself."""
        for rows in self._rows.values():
            for one in rows:
                veth = self._veths.get(one.veth)
                if veth is not None and one.backend is not None and one.original_destination in self._node_addresses:
                    yield veth.node, one

    def _opened(self) -> Iterator[tuple[str, Connection]]:
        """With a node's address in place of the client's, and opened while a run went on: not there when it began."""
        nodes = {segment.id: segment.node for segment in self._reading.segments()}
        before: set[Connection] = set()
        later: dict[Connection, None] = {}
        for one in self._reading.connections():
            if one.source == one.client or one.client not in self._node_addresses:
                continue
            bare = one._replace(moment="")
            if one.moment == "start":
                before.add(bare)
            else:
                later[bare] = None
        return ((nodes.get(one.segment, ""), one) for one in later if one not in before)

    def _total(self, row: FlowRow) -> int:
        """Connections of such a record in all hours."""
        key = (row[0], *row[5:9])
        if key not in self._totals:
            self._totals[key] = self._reading.arrived(key)
        return self._totals[key]


def _count(found: dict[_Target, dict[Original, int]], target: _Target, original: Original, times: int) -> None:
    counts = found.setdefault(target, {})
    counts[original] = counts.get(original, 0) + times
