"""Pods as the API tells of them while an audit runs: who has which address, from when until when.

A thread lists and then watches; what it learns goes into the recording from the thread that writes it (`tell`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Literal, TypeAlias
from urllib.parse import quote

import msgspec

from migrate.audit.known_pods import OpenOwners, Owners
from migrate.audit.layout import Address
from migrate.audit.veths import PodName
from migrate.model.addresses import parse_address
from migrate.scan.connection import Connection, RequestError
from migrate.sources.cluster import FINISHED

_PODS = "/api/v1/pods"
_PAGE = 500
_WATCH_SECONDS = 60
"""Shorter than what a connection may be silent for."""
_AGAIN_SECONDS = 5.0
_GONE = 410
_UNCERTAIN = (
    "addresses that got or lost their pod while no agent ran: when is not known, and until then both may have had it"
)


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""


class _Ip(msgspec.Struct, frozen=True):
    ip: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    pod_ips: tuple[_Ip, ...] = msgspec.field(default=(), name="podIPs")


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    host_network: bool = False


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_token: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    items: tuple[_Pod, ...] = ()
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


@dataclass(frozen=True, slots=True)
class _Change:
    """A pod has an address now, or has it no more, or (trouble) the API did not answer."""

    kind: Literal["own", "disown", "trouble"]
    at: int
    pod: PodName = PodName("", "", "")
    address: Address | None = None
    text: str = ""


_Key: TypeAlias = tuple[Address, str]


class WatchedPods:
    """All pods of a cluster by the API. Those of its snapshot that the API does not list are gone."""

    def __init__(self, connection: Connection, clock: Callable[[], int] = time.time_ns) -> None:
        self._connection = connection
        self._clock = clock
        self._changes: SimpleQueue[_Change] = SimpleQueue()
        self._first: list[_Change] = []
        self._known: dict[_Key, PodName] = {}
        self._by_address: dict[Address, PodName] = {}
        self._heard = 0
        self._ended = threading.Event()

    def start(self) -> None:
        """List all pods, then watch them. Raises RequestError when that is refused or nobody answers."""
        threading.Thread(target=self._run, args=(self._list(),), name="pods", daemon=True).start()

    def close(self) -> None:
        """Stop; the thread ends with its last answer."""
        self._ended.set()

    def pod_at(self, address: Address) -> PodName | None:
        """The pod that has this address for itself."""
        return self._by_address.get(address)

    def resume(self, store: OpenOwners, heard: int) -> None:
        """Go on with a recording that was last written at `heard`: who came or went since did so at an unknown time.

        Within that time both who had an address before and who has it now count as its owners.
        """
        before = store.open_owners()
        listed, others = set[_Key](), list[_Change]()
        while not self._changes.empty():
            change = self._changes.get_nowait()
            if change.kind == "own" and not change.at and change.address is not None:
                listed.add((change.address, change.pod.uid))
                change = replace(change, at=heard) if before else change
            others.append(change)
        vanished = before - listed
        now = self._clock()
        for address, uid in vanished:
            store.disown(address, uid, now)
        changed = len(vanished) + len(listed - before) if before else 0
        if changed:
            store.loss(now, "owners-uncertain", changed, _UNCERTAIN)
        self._first = others

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""
        while self._first or not self._changes.empty():
            change = self._first.pop(0) if self._first else self._changes.get_nowait()
            if change.address is None:
                store.loss(change.at, "pods-not-told", 1, change.text)
            elif change.kind == "own":
                pod = change.pod
                store.own(change.address, "pod", pod.namespace, pod.name, pod.uid, change.at)
            else:
                store.disown(change.address, change.pod.uid, change.at)

    def _run(self, version: str) -> None:
        while not self._ended.is_set():
            try:
                version = self._watch(version) if version else self._list()
            except RequestError as error:
                if error.status != _GONE:
                    self._changes.put(_Change("trouble", self._clock(), text=str(error)))
                    self._ended.wait(_AGAIN_SECONDS)
                version = ""

    def _list(self) -> str:
        """All pods; who is not among them any more has gone. Returns from where to watch.

        Who is new may have come at any time since the server was last heard of.
        """
        seen: set[_Key] = set()
        since, began = self._heard, self._clock()
        version = ""
        for page in self._pages():
            for pod in page.items:
                seen |= self._take(pod, since)
            version = page.metadata.resource_version
        for key in self._known.keys() - seen:
            self._disown(key)
        self._heard = began
        return version

    def _pages(self) -> Iterator[_List]:
        token = ""
        while True:
            more = f"&continue={quote(token, safe='')}" if token else ""
            page = _decoded(self._connection.get(f"{_PODS}?limit={_PAGE}{more}"))
            yield page
            token = page.metadata.continue_token
            if not token:
                return

    def _watch(self, version: str) -> str:
        """Changes until the server ends the answer; an empty version asks for a new list."""
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_SECONDS}&resourceVersion={version}"
        for line in self._connection.lines(f"{_PODS}?{query}"):
            if self._ended.is_set():
                break
            self._heard = self._clock()
            event = msgspec.json.decode(line, type=_Event)
            if event.type == "ERROR":
                return ""
            pod = msgspec.json.decode(event.object, type=_Pod)
            version = pod.metadata.resource_version or version
            if event.type in ("ADDED", "MODIFIED", "DELETED"):
                self._changed(pod, gone=event.type == "DELETED")
        return version

    def _changed(self, pod: _Pod, *, gone: bool) -> None:
        held = set() if gone else self._take(pod, self._clock())
        for key in [key for key in self._known if key[1] == pod.metadata.uid]:
            if key not in held:
                self._disown(key)

    def _take(self, pod: _Pod, since: int) -> set[_Key]:
        """The addresses that a running pod has for itself."""
        if pod.spec.host_network or pod.status.phase in FINISHED:
            return set()
        meta = pod.metadata
        name = PodName(meta.namespace, meta.name, meta.uid)
        keys = {(address, meta.uid) for entry in pod.status.pod_ips if (address := _address(entry.ip)) is not None}
        for key in keys - self._known.keys():
            self._known[key] = self._by_address[key[0]] = name
            self._changes.put(_Change("own", since, name, key[0]))
        return keys

    def _disown(self, key: _Key) -> None:
        name = self._known.pop(key)
        if self._by_address.get(key[0]) == name:
            del self._by_address[key[0]]
        self._changes.put(_Change("disown", self._clock(), name, key[0]))


def _decoded(data: bytes) -> _List:
    try:
        return msgspec.json.decode(data, type=_List)
    except msgspec.DecodeError as error:
        raise RequestError(f"{_PODS}: an answer that is no list of pods ({error}); try again") from error


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None
