"""Nodes, and the pods of those of them where no agent runs, as the API tells of them while an audit runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock

import msgspec

from migrate.audit.layout import Address
from migrate.audit.telling import Began, Ended, Fact, Held, Lost, Telling
from migrate.audit.watched_pods import address_in, named, odd
from migrate.model.agent_documents import RUN_LABEL, AgentSettings
from migrate.sources.cluster import FINISHED

NODES = "/api/v1/nodes"
PATIENCE = 60_000_000_000
"""Nanoseconds that an agent may take to come up, or to come back, until another one keeps the pods of its node."""
_ADDRESSES = ("InternalIP", "ExternalIP")


class _Labels(msgspec.Struct, frozen=True):
    run: str | None = msgspec.field(default=None, name=RUN_LABEL)


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    labels: _Labels | None = None
    deletion_timestamp: str | None = None


class _Address(msgspec.Struct, frozen=True):
    type: str | None = None
    address: str | None = None


class _NodeStatus(msgspec.Struct, frozen=True):
    addresses: tuple[_Address, ...] | None = None


class _Node(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    status: _NodeStatus | None = None


class _Ip(msgspec.Struct, frozen=True):
    ip: str | None = None


class _Condition(msgspec.Struct, frozen=True):
    type: str | None = None
    status: str | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    host_network: bool | None = None
    node_name: str | None = None


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str | None = None
    pod_ips: tuple[_Ip, ...] | None = msgspec.field(default=None, name="podIPs")
    conditions: tuple[_Condition, ...] | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec | None = None
    status: _PodStatus | None = None


class NodesKeeper:
    """The addresses of nodes."""

    def __init__(self, telling: Telling, whole: Callable[[], None]) -> None:
        self._telling, self._whole = telling, whole
        self._known: dict[str, frozenset[Held]] = {}
        self._seen: set[str] = set()

    def facts(self) -> Iterator[Fact]:
        """All that holds now."""
        return (fact for facts in list(self._known.values()) for fact in facts)

    def listing(self, since: int) -> None:
        """A list begins."""
        self._seen.clear()

    def found(self, data: bytes, since: int) -> None:
        """A node of a list."""
        self._seen.add(self._take(data, since))

    def listed(self) -> None:
        """What was not found is gone."""
        for uid in self._known.keys() - self._seen:
            self._set(uid, frozenset(), 0)
        self._seen.clear()
        self._whole()

    def changed(self, data: bytes, *, gone: bool) -> None:
        """A node is new, other than before, or gone."""
        if gone:
            self._set(named(data)[0], frozenset(), 0)
        else:
            self._take(data, self._telling.clock())

    def lost(self, at: int, count: int, detail: str) -> None:
        """Nothing was heard."""
        self._telling.put(Lost(at, "nodes-not-told", count, detail))

    def _take(self, data: bytes, since: int) -> str:
        try:
            node = msgspec.json.decode(data, type=_Node)
        except msgspec.DecodeError as error:
            return odd(self._telling, data, error)
        meta = node.metadata
        texts = (entry.address for entry in (node.status or _NodeStatus()).addresses or () if entry.type in _ADDRESSES)
        name = ("node", "", meta.name or "", meta.uid or "")
        self._set(name[3], frozenset(Held(a, *name) for text in texts if (a := address_in(text)) is not None), since)
        return name[3]

    def _set(self, uid: str, now: frozenset[Held], since: int) -> None:
        before = self._known.get(uid, frozenset())
        for fact in sorted(now - before, key=str):
            self._telling.put(Began(fact, since))
        for fact in sorted(before - now, key=str):
            self._telling.put(Ended(fact, self._telling.clock()))
        if now:
            self._known[uid] = now
        else:
            self._known.pop(uid, None)


@dataclass(slots=True)
class _Life:
    """A pod, from when it had its addresses; `told`: it is in the recording."""

    node: str
    namespace: str
    name: str
    addresses: tuple[Address, ...]
    since: int
    told: bool = False


@dataclass(slots=True)
class _Place:
    """A node as far as pods go. `alone_since`: since when it may have had no agent; None: it has one.

    `waits_from` is when that was noticed.
    """

    alone_since: int | None
    waits_from: int
    pods: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    is_kept: bool = False


class LonelyPodsKeeper:
    """The pods of nodes without a running agent. Of all others it only remembers who has which address.

    A node counts once it has been without one for a minute, since agents come up one after the other; then its
    pods are kept from when it was first seen without. `node` is the one of this agent.
    """

    def __init__(
        self,
        telling: Telling,
        settings: AgentSettings,
        node: str,
        whole: Callable[[], None],
        patience: int = PATIENCE,
    ) -> None:
        self._telling, self._whole, self._patience = telling, whole, patience
        self._agents, self._node = (settings.namespace, settings.run), node
        self._lives: dict[str, _Life] = {}
        self._agent_nodes: dict[str, str] = {}
        self._places: dict[str, _Place] = {}
        self._seen: set[str] = set()
        self._lock = Lock()
        self._since = 0
        self._is_listed = False

    def facts(self) -> Iterator[Fact]:
        """All that holds now and was told."""
        with self._lock:
            return iter([fact for uid, life in self._lives.items() if life.told for fact in _facts(uid, life)])

    @property
    def lonely(self) -> tuple[str, ...]:
        """The nodes whose pods are kept."""
        with self._lock:
            return tuple(sorted(name for name, place in self._places.items() if place.is_kept))

    def settle(self) -> None:
        """Begin to keep the pods of nodes that have been without an agent for long enough."""
        now = self._telling.clock()
        with self._lock:
            for place in self._places.values() if self._is_listed else ():
                if not place.is_kept and place.alone_since is not None and now - place.waits_from >= self._patience:
                    place.is_kept = True
                    for uid in sorted(place.pods):
                        self._begin(uid, self._lives[uid], place.alone_since)

    def listing(self, since: int) -> None:
        """A list begins."""
        self._since = since
        self._seen.clear()

    def found(self, data: bytes, since: int) -> None:
        """A pod of a list."""
        with self._lock:
            self._seen.add(self._take(data, since))

    def listed(self) -> None:
        """Who was not found has gone."""
        with self._lock:
            for uid in (self._lives.keys() | self._agent_nodes.keys()) - self._seen:
                self._drop(uid, self._since)
            self._seen.clear()
            self._is_listed = True
        self._whole()

    def changed(self, data: bytes, *, gone: bool) -> None:
        """A pod is new, other than before, or gone."""
        with self._lock:
            if gone:
                self._drop(named(data)[0], self._telling.clock())
            else:
                self._take(data, self._telling.clock())

    def lost(self, at: int, count: int, detail: str) -> None:
        """Nothing was heard."""
        self._telling.put(Lost(at, "pods-of-others-not-told", count, detail))

    def _take(self, data: bytes, since: int) -> str:
        try:
            pod = msgspec.json.decode(data, type=_Pod)
        except msgspec.DecodeError as error:
            return odd(self._telling, data, error)
        uid, spec = pod.metadata.uid or "", pod.spec or _Spec()
        if spec.node_name and spec.node_name != self._node:
            self._set_agent(uid, spec.node_name if self._is_agent(pod) else "", since)
            self._set(uid, _life(pod, spec, since))
        return uid

    def _is_agent(self, pod: _Pod) -> bool:
        """Whether an agent of this run works in it. Its kubelet, or who misses that, says when it is not ready."""
        meta, status = pod.metadata, pod.status or _PodStatus()
        if (meta.namespace, (meta.labels or _Labels()).run) != self._agents or meta.deletion_timestamp:
            return False
        unready = any(one.type == "Ready" and one.status != "True" for one in status.conditions or ())
        return status.phase == "Running" and not unready

    def _place(self, node: str, since: int) -> _Place:
        return self._places.setdefault(node, _Place(since, self._telling.clock()))

    def _set_agent(self, uid: str, node: str, since: int) -> None:
        before = self._agent_nodes.get(uid, "")
        if before == node:
            return
        if before:
            del self._agent_nodes[uid]
            place = self._places[before]
            place.agents.discard(uid)
            if not place.agents:
                place.alone_since, place.waits_from = since, self._telling.clock()
            self._forget(before)
        if node:
            self._agent_nodes[uid] = node
            place = self._place(node, since)
            place.agents.add(uid)
            place.alone_since = None
            self._leave(place)

    def _leave(self, place: _Place) -> None:
        """The node's own agent keeps its pods from now on."""
        for uid in sorted(place.pods) if place.is_kept else ():
            self._end(uid, self._lives[uid])
        place.is_kept = False

    def _set(self, uid: str, life: _Life | None) -> None:
        before = self._lives.get(uid)
        if before is not None and life is not None and (before.node, before.addresses) == (life.node, life.addresses):
            return
        if before is not None:
            self._remove(uid, before)
        if life is not None:
            self._lives[uid] = life
            place = self._place(life.node, life.since)
            place.pods.add(uid)
            if place.is_kept and place.alone_since is not None:
                self._begin(uid, life, place.alone_since)

    def _drop(self, uid: str, since: int) -> None:
        self._set_agent(uid, "", since)
        self._set(uid, None)

    def _remove(self, uid: str, life: _Life) -> None:
        """Also what nobody kept yet is told, if no agent was there to do it."""
        place = self._places[life.node]
        if self._is_listed and not life.told and place.alone_since is not None:
            self._begin(uid, life, place.alone_since)
        self._end(uid, life)
        place.pods.discard(uid)
        del self._lives[uid]
        self._forget(life.node)

    def _forget(self, node: str) -> None:
        place = self._places[node]
        if not place.pods and not place.agents:
            del self._places[node]

    def _begin(self, uid: str, life: _Life, alone_since: int) -> None:
        life.told = True
        for fact in _facts(uid, life):
            self._telling.put(Began(fact, max(life.since, alone_since)))

    def _end(self, uid: str, life: _Life) -> None:
        if life.told:
            life.told = False
            for fact in _facts(uid, life):
                self._telling.put(Ended(fact, self._telling.clock()))


def _life(pod: _Pod, spec: _Spec, since: int) -> _Life | None:
    """None for a pod that has no address for itself, or no more."""
    meta, status = pod.metadata, pod.status or _PodStatus()
    addresses = tuple(found for entry in status.pod_ips or () if (found := address_in(entry.ip)) is not None)
    if spec.host_network or status.phase in FINISHED or not addresses:
        return None
    return _Life(spec.node_name or "", meta.namespace or "default", meta.name or "", addresses, since)


def _facts(uid: str, life: _Life) -> list[Held]:
    return [Held(address, "pod", life.namespace, life.name, uid) for address in life.addresses]
