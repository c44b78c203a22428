"""What stands behind the Services of a cluster, as the API tells of it while an audit runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

import msgspec

from migrate.audit.layout import Address
from migrate.audit.telling import Began, Ended, Fact, Held, Lost, Standing, Telling
from migrate.audit.watched_pods import address_in, named, odd
from migrate.model.addresses import parse_address
from migrate.model.flow import PROTOCOL_NUMBERS
from migrate.sources.cluster import SERVICE_NAME

SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
ANY_NODE = {4: parse_address("0.0.0.0"), 6: parse_address("::")}
"""In place of a Service's address: a node port is one of every node."""
_COMES_IN = ("NodePort", "LoadBalancer")
_Key: TypeAlias = tuple[str, str]
"""Namespace and name."""


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None


class _Port(msgspec.Struct, frozen=True, rename="camel"):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    ports: tuple[_Port, ...] | None = None


class _Ingress(msgspec.Struct, frozen=True):
    ip: str | None = None


class _Balancer(msgspec.Struct, frozen=True):
    ingress: tuple[_Ingress, ...] | None = None


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    load_balancer: _Balancer | None = None


class _Service(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec | None = None
    status: _Status | None = None


class _Conditions(msgspec.Struct, frozen=True):
    ready: bool | None = None


class _Endpoint(msgspec.Struct, frozen=True):
    addresses: tuple[str, ...] | None = None
    conditions: _Conditions | None = None


class _Slice(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Meta = _Meta()
    address_type: str | None = None
    endpoints: tuple[_Endpoint, ...] | None = None
    ports: tuple[_Port, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Front:
    """The addresses of a Service, and its ports: name, protocol, number and number on nodes (0: none)."""

    uid: str
    addresses: tuple[Address, ...]
    ports: tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Behind:
    """The ready addresses of one slice, and their ports by name and protocol; None is the Service's own number."""

    service: _Key
    targets: tuple[Address, ...]
    ports: tuple[tuple[str, str, int | None], ...]


class ServicesKeeper:
    """Services with what stands behind them. Two watches tell of it, by way of `services` and `slices`."""

    def __init__(self, telling: Telling, whole: Callable[[str], None]) -> None:
        self.telling, self.lock = telling, Lock()
        self._fronts: dict[_Key, _Front] = {}
        self._behind: dict[_Key, _Behind] = {}
        self._slices_of: dict[_Key, set[_Key]] = {}
        self._facts: dict[_Key, frozenset[Fact]] = {}
        self.services = Part(self, "services-not-told", self._take_service, self._drop_service, lambda: whole(SERVICES))
        self.slices = Part(self, "endpoints-not-told", self._take_slice, self._drop_slice, lambda: whole(SLICES))

    def facts(self) -> Iterator[Fact]:
        """All that holds now."""
        with self.lock:
            return iter([fact for facts in self._facts.values() for fact in facts])

    def _take_service(self, data: bytes, since: int) -> _Key:
        service = msgspec.json.decode(data, type=_Service)
        key = _key(service.metadata)
        self._fronts[key] = _front(service)
        self._refresh(key, since)
        return key

    def _drop_service(self, key: _Key) -> None:
        self._fronts.pop(key, None)
        self._refresh(key, 0)

    def _take_slice(self, data: bytes, since: int) -> _Key:
        found = msgspec.json.decode(data, type=_Slice)
        key = _key(found.metadata)
        behind = _behind_of(found)
        before = self._behind.get(key)
        if before is not None and (behind is None or behind.service != before.service):
            self._drop_slice(key)
        if behind is not None:
            self._behind[key] = behind
            self._slices_of.setdefault(behind.service, set()).add(key)
            self._refresh(behind.service, since)
        return key

    def _drop_slice(self, key: _Key) -> None:
        behind = self._behind.pop(key, None)
        if behind is not None:
            slices = self._slices_of[behind.service]
            slices.discard(key)
            if not slices:
                del self._slices_of[behind.service]
            self._refresh(behind.service, 0)

    def _refresh(self, key: _Key, since: int) -> None:
        before, now = self._facts.get(key, frozenset()), frozenset(self._facts_of(key))
        for fact in sorted(now - before, key=str):
            self.telling.put(Began(fact, since))
        for fact in sorted(before - now, key=str):
            self.telling.put(Ended(fact, self.telling.clock()))
        if now:
            self._facts[key] = now
        else:
            self._facts.pop(key, None)

    def _facts_of(self, key: _Key) -> Iterator[Fact]:
        front = self._fronts.get(key)
        if front is None:
            return
        for address in front.addresses:
            yield Held(address, "service", *key, front.uid)
        slices = [self._behind[name] for name in self._slices_of.get(key, ())]
        for behind in slices:
            for target in behind.targets:
                yield from _standing(key, front, behind, target)


class Part:
    """One of the two watches, with objects that are known by namespace and name. Each has a thread of its own."""

    def __init__(
        self,
        keeper: ServicesKeeper,
        kind: str,
        take: Callable[[bytes, int], _Key],
        drop: Callable[[_Key], None],
        whole: Callable[[], None],
    ) -> None:
        self._keeper, self._telling, self._kind = keeper, keeper.telling, kind
        self._take, self._drop, self._whole = take, drop, whole
        self._known: set[_Key] = set()
        self._seen: set[_Key] = set()

    def listing(self, since: int) -> None:
        """A list begins."""
        self._seen.clear()

    def found(self, data: bytes, since: int) -> None:
        """An object of a list."""
        self._seen.add(self._taken(data, since))

    def listed(self) -> None:
        """What was not found is gone."""
        with self._keeper.lock:
            for key in self._known - self._seen:
                self._drop(key)
        self._known = set(self._seen)
        self._seen.clear()
        self._whole()

    def changed(self, data: bytes, *, gone: bool) -> None:
        """An object is new, other than before, or gone."""
        if gone:
            key = _name_in(data)
            self._known.discard(key)
            with self._keeper.lock:
                self._drop(key)
        else:
            self._known.add(self._taken(data, self._telling.clock()))

    def lost(self, at: int, count: int, detail: str) -> None:
        """Nothing was heard."""
        self._telling.put(Lost(at, self._kind, count, detail))

    def _taken(self, data: bytes, since: int) -> _Key:
        try:
            with self._keeper.lock:
                return self._take(data, since)
        except msgspec.DecodeError as error:
            odd(self._telling, data, error)
            return _name_in(data)


def _name_in(data: bytes) -> _Key:
    namespace, _, name = named(data)[1].partition("/")
    return namespace, name


def _key(meta: _Meta) -> _Key:
    return meta.namespace or "", meta.name or ""


def _front(service: _Service) -> _Front:
    spec, status = service.spec or _Spec(), service.status or _Status()
    ingress = (status.load_balancer.ingress if status.load_balancer is not None else None) or ()
    texts = (spec.cluster_ip, *(spec.cluster_ips or ()), *(spec.external_ips or ()), *(one.ip for one in ingress))
    addresses = dict.fromkeys(address for text in texts if (address := address_in(text)) is not None)
    comes_in = spec.type in _COMES_IN
    ports = tuple(
        (entry.name or "", entry.protocol or "TCP", entry.port or 0, (entry.node_port or 0) if comes_in else 0)
        for entry in spec.ports or ()
    )
    return _Front(service.metadata.uid or "", tuple(addresses), ports)


def _behind_of(found: _Slice) -> _Behind | None:
    """None for a slice that belongs to no Service, or has names in place of addresses."""
    service = (found.metadata.labels or {}).get(SERVICE_NAME)
    if not service or found.address_type == "FQDN":
        return None
    ready = (one for one in found.endpoints or () if one.conditions is None or one.conditions.ready is not False)
    targets = (address_in(text) for one in ready for text in one.addresses or ())
    ports = tuple((entry.name or "", entry.protocol or "TCP", entry.port) for entry in found.ports or ())
    return _Behind((found.metadata.namespace or "", service), tuple(t for t in targets if t is not None), ports)


def _standing(key: _Key, front: _Front, behind: _Behind, target: Address) -> Iterator[Standing]:
    """A target at each port of a Service that leads to it, at the Service's addresses of its IP family."""
    own = [address for address in front.addresses if address.version == target.version]
    for name, protocol, number, on_nodes in front.ports:
        known = PROTOCOL_NUMBERS.get(protocol)
        for port in (port for found, of, port in behind.ports if (found, of) == (name, protocol)):
            to = (target, number if port is None else port)
            for address in own if known is not None else ():
                yield Standing(*key, address, known or 0, number, *to)
            if own and known is not None and on_nodes:
                yield Standing(*key, ANY_NODE[target.version], known, on_nodes, *to)
