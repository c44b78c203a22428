"""Pods as the API tells of them while an audit runs: who has which address, from when until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from migrate.audit.layout import Address
from migrate.audit.telling import Began, Ended, Fact, Held, Listed, Lost, OpenOwners, Owners, Telling
from migrate.audit.veths import PodName
from migrate.audit.watching import Pace, Watch, Watched
from migrate.model.addresses import parse_address
from migrate.scan.connection import Connection
from migrate.sources.cluster import FINISHED

PODS = "/api/v1/pods"
NOT_TOLD = "pods-not-told"


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None


class _Ip(msgspec.Struct, frozen=True):
    ip: str | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    host_network: bool | None = None


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str | None = None
    pod_ips: tuple[_Ip, ...] | None = msgspec.field(default=None, name="podIPs")


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec | None = None
    status: _Status | None = None


class _Named(msgspec.Struct, frozen=True):
    """What is read of an object that is not as the API describes it."""

    metadata: _Meta = _Meta()


class PodsKeeper:
    """The pods that a watch tells of."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._held: dict[str, dict[Address, Held]] = {}
        self._by_address: dict[Address, PodName] = {}
        self._seen: set[str] = set()
        self._first = True

    def pod_at(self, address: Address) -> PodName | None:
        """The pod that has this address for itself."""
        return self._by_address.get(address)

    def listing(self, since: int) -> None:
        """A list begins."""
        self._seen.clear()

    def found(self, data: bytes, since: int) -> None:
        """A pod of a list."""
        uid = self._take(data, since)
        if uid:
            self._seen.add(uid)

    def listed(self) -> None:
        """Who was not found has gone."""
        for uid in self._held.keys() - self._seen:
            self._set(uid, (), 0)
        if self._first:
            held = tuple(fact for facts in self._held.values() for fact in facts.values())
            self._telling.put(Listed(self._telling.clock(), held))
            self._first = False
        self._seen.clear()

    def changed(self, data: bytes, *, gone: bool) -> None:
        """A pod is new, other than before, or gone."""
        uid = self._take(data, self._telling.clock(), gone=gone)
        if gone and uid:
            self._set(uid, (), 0)

    def lost(self, at: int, count: int, detail: str) -> None:
        """Nothing was heard."""
        self._telling.put(Lost(at, NOT_TOLD, count, detail))

    def _take(self, data: bytes, since: int, *, gone: bool = False) -> str:
        """Returns the pod's uid; one that is odd stays as it was."""
        try:
            pod = msgspec.json.decode(data, type=_Pod)
        except msgspec.DecodeError as error:
            return odd(self._telling, data, error)
        uid = pod.metadata.uid or ""
        if uid and not gone:
            self._set(uid, _facts(pod), since)
        return uid

    def _set(self, uid: str, facts: tuple[Held, ...], since: int) -> None:
        before = self._held.get(uid, {})
        now = {fact.address: fact for fact in facts}
        for address, fact in now.items():
            if address not in before:
                self._by_address[address] = PodName(fact.namespace, fact.name, uid)
                self._telling.put(Began(fact, since, self._first))
        for address, fact in before.items():
            if address not in now:
                known = self._by_address.get(address)
                if known is not None and known.uid == uid:
                    del self._by_address[address]
                self._telling.put(Ended(fact, self._telling.clock()))
        if now:
            self._held[uid] = now
        else:
            self._held.pop(uid, None)


class WatchedPods:
    """All pods of a cluster by the API. Those of its snapshot that the API does not list are gone."""

    def __init__(self, connection: Connection, clock: Callable[[], int] = time.time_ns) -> None:
        self._telling = Telling(clock)
        self._keeper = PodsKeeper(self._telling)
        self._watch = Watch(connection, Watched(PODS), self._keeper, clock)

    def start(self) -> None:
        """List all pods, then watch them. Raises RequestError when that is refused or nobody answers."""
        self._watch.start(self._watch.list())

    def close(self) -> None:
        """Stop; the thread ends with its last answer."""
        self._watch.close()

    def pod_at(self, address: Address) -> PodName | None:
        """The pod that has this address for itself."""
        return self._keeper.pod_at(address)

    def resume(self, store: OpenOwners, heard: int) -> None:
        """Go on with a recording that was last written at `heard`: who came or went since did so at an unknown time."""
        self._telling.resume(pods_of(store.open_facts()), heard)

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""
        self._telling.tell(store)


def watch_of_node(connection: Connection, node: str, keeper: PodsKeeper, clock: Callable[[], int], pace: Pace) -> Watch:
    """A watch of the pods of one node."""
    selector = f"fieldSelector={quote(f'spec.nodeName={node}', safe='')}"
    return Watch(connection, Watched(PODS, selector, few=True), keeper, clock, pace)


def pods_of(facts: frozenset[Fact]) -> frozenset[Fact]:
    """Those facts that are of pods."""
    return frozenset(fact for fact in facts if isinstance(fact, Held) and fact.kind == "pod")


def named(data: bytes) -> tuple[str, str]:
    """The uid of an odd object, and its namespace and name, as far as it says them."""
    try:
        meta = msgspec.json.decode(data, type=_Named).metadata
    except msgspec.DecodeError:
        return "", "without a name"
    return meta.uid or "", f"{meta.namespace or ''}/{meta.name or ''}"


def odd(telling: Telling, data: bytes, error: msgspec.DecodeError) -> str:
    """Record that an object could not be read. Returns its uid, as far as it says it."""
    uid, name = named(data)
    detail = f"{name}: not as the API describes it ({error}); it stays as it was known"
    telling.put(Lost(telling.clock(), "objects-not-read", 1, detail))
    return uid


def address_in(text: str | None) -> Address | None:
    """The address that an object has as text; None for what is none."""
    try:
        return parse_address(text) if text else None
    except ValueError:
        return None


def _facts(pod: _Pod) -> tuple[Held, ...]:
    """The addresses that a running pod has for itself."""
    meta, status = pod.metadata, pod.status or _Status()
    if (pod.spec is not None and pod.spec.host_network) or status.phase in FINISHED:
        return ()
    addresses = (address_in(entry.ip) for entry in status.pod_ips or ())
    name = ("pod", meta.namespace or "default", meta.name or "", meta.uid or "")
    return tuple(Held(address, *name) for address in addresses if address is not None)
