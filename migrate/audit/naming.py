"""Which pod is behind a veth: the pod that has the address to which the veth leads.

The address comes from a route to the veth (Calico, Azure in transparent mode), from the veth's other end, or, where
neither tells, from what the pod sends. A name is only given when the API knows the address.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from migrate.audit import conntrack
from migrate.audit.conntrack import Connection, Ends
from migrate.audit.kernel import Probe, ProbeError
from migrate.audit.layout import Address, Control, Direction, address_of
from migrate.audit.veths import HostLinks, Link, PodName, Pods, RouteTold

ROUTE, PEER, LEARNED = "route", "peer", "learned"
AT_ATTACH = "attach"
"""The moment of connections that stood when the probe came to a pod."""

_RANK = (ROUTE, PEER, LEARNED)
_INDEX, _KIND = slice(32, 36), 39
_MOST_SOURCES = 16
_REMEMBER_SECONDS = 600.0
"""How long a name is waited for after a veth has ended: the API tells of a short-lived pod later than the kernel."""
_ONE_BY_ONE = 8
_SLICE_SECONDS = 0.02


class Names(Protocol):
    """What the recording keeps of pods; see `Store`."""

    def name_veth(self, veth: int, namespace: str, pod: str, uid: str, found_by: str) -> None: ...
    def connections(self, moment: str, connections: Iterable[Connection]) -> None: ...


@dataclass(slots=True)
class Named:
    """A veth that is to get a name: its number in the recording, and the addresses behind it by how they were found."""

    number: int
    link: Link
    addresses: dict[Address, str] = field(default_factory=dict)
    sources: set[bytes] = field(default_factory=set)
    pod: PodName | None = None
    ended: float | None = None


class Naming:
    """Finds names for veths, and the connections that stood when the probe came to them."""

    def __init__(self, probe: Probe, store: Names, pods: Pods, host: HostLinks, learn_seconds: float = 5) -> None:
        self._probe = probe
        self._store = store
        self._pods = pods
        self._host = host
        self._living: dict[int, Named] = {}
        self._ended: list[Named] = []
        self._learn_seconds = learn_seconds
        self._next_learning = 0.0
        self._to_look_up: deque[Address] = deque()
        self._search: Iterator[Connection | None] | None = None
        self._found: dict[Ends, Connection] = {}

    def add(self, named: Named) -> None:
        """A veth is watched from now on."""
        self._living[named.link.index] = named
        self.ask_peer(named.link)

    def end(self, index: int) -> None:
        """A veth is gone. Its name may still be found."""
        named = self._living.pop(index)
        if named.pod is None:
            named.ended = time.monotonic()
            self._ended.append(named)
            self._next_learning = 0.0

    def route(self, route: RouteTold) -> None:
        """A route to a single address was told of."""
        named = self._living.get(route.index)
        if named is not None:
            self._know(named, route.address, ROUTE)

    def read_routes(self) -> None:
        """All routes, while there are veths without an address."""
        if any(not named.addresses for named in self._living.values()):
            for route in self._host.routes():
                self.route(route)

    def ask_peer(self, link: Link) -> None:
        """The other end of a veth, while there is no address of it."""
        named = self._living[link.index]
        if not named.addresses:
            for address in self._host.peer_addresses(link):
                self._know(named, address, PEER)

    def learn(self, *, at_once: bool = False) -> None:
        """Addresses that pods send from, out of the records of the running epoch, while no other way tells.

        The other ends are asked once more first: the kernel tells nobody out here when one gets its address.
        """
        now = time.monotonic()
        if (now < self._next_learning and not at_once) or not self._without_address():
            return
        self._next_learning = now + self._learn_seconds
        for living in list(self._living.values()):
            self.ask_peer(living.link)
        silent = self._without_address()
        by_index = {named.link.index.to_bytes(4, "little"): named for named in silent}
        for batch in self._probe.flows[self._probe.control(Control.ACTIVE) & 1].batches():
            for key, _ in batch:
                named = by_index.get(key[_INDEX])
                if named is not None and key[_KIND] & 1 == Direction.FROM_POD and len(named.sources) < _MOST_SOURCES:
                    named.sources.add(key[:16])

    def _without_address(self) -> list[Named]:
        return [named for named in (*self._living.values(), *self._ended) if not named.addresses]

    def resolve(self) -> None:
        """Names for the veths that have none yet."""
        taken = {address for named in self._living.values() for address in named.addresses}
        for named in (*self._living.values(), *self._ended):
            if named.pod is None:
                if not named.addresses:
                    self._accept_source(named, taken)
                self._name(named)
        self._correct()
        oldest = time.monotonic() - _REMEMBER_SECONDS
        self._ended = [named for named in self._ended if named.pod is None and (named.ended or 0) > oldest]

    def _correct(self) -> None:
        """A pod may get the address of one that is only going: who has it in the end is behind the newest veth."""
        claimed: set[Address] = set()
        for named in sorted(self._living.values(), key=lambda named: -named.number):
            if named.pod is not None and not claimed & named.addresses.keys():
                self._name(named)
            claimed |= named.addresses.keys()

    def look_up_connections(self) -> bool:
        """Go on for a moment with finding the connections of pods that are new here; False: there is nothing to do."""
        if self._search is None and not self._to_look_up:
            return False
        if self._search is None:
            self._search = self._begin_search()
        end = time.monotonic() + _SLICE_SECONDS
        try:
            for found in self._search:
                if found is not None and found.is_open:
                    ends = Ends(found.protocol, found.source, found.source_port, found.destination, found.port)
                    self._found[ends] = found
                if time.monotonic() > end:
                    return True
        except ProbeError:
            pass  # what this kernel cannot tell was said when the audit began
        self._search = None
        if self._found and not self._to_look_up:
            self._store.connections(AT_ATTACH, self._found.values())
            self._found = {}
        return True

    def _begin_search(self) -> Iterator[Connection | None]:
        """One address after the other, or all connections once when there are many addresses. None: not of interest."""
        if len(self._to_look_up) <= _ONE_BY_ONE:
            return conntrack.of_pod(self._to_look_up.popleft())
        wanted = frozenset(self._to_look_up)
        self._to_look_up.clear()
        return (found if wanted & {found.source, found.backend} else None for found in conntrack.dump())

    def _know(self, named: Named, address: Address, found_by: str) -> None:
        if address in named.addresses:
            if found_by == ROUTE:
                named.addresses[address] = ROUTE
            return
        named.addresses[address] = found_by
        self._to_look_up.append(address)
        self._name(named)

    def _accept_source(self, named: Named, taken: set[Address]) -> None:
        """A pod may send what is not its own; only an address that the API knows and no other veth has is believed."""
        for source in sorted(named.sources):
            address = address_of(source)
            if address not in taken and self._pods.pod_at(address) is not None:
                self._know(named, address, LEARNED)
                return

    def _name(self, named: Named) -> None:
        for address, found_by in sorted(named.addresses.items(), key=lambda item: _RANK.index(item[1])):
            pod = self._pods.pod_at(address)
            if pod is not None:
                if pod == named.pod:
                    return
                named.pod = pod
                self._store.name_veth(named.number, pod.namespace, pod.name, pod.uid, found_by)
                return
