"""What stands behind the addresses and node ports of Services, and before the ports of pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.audit.layout import bytes_of
from migrate.audit.reading import BackendRow
from migrate.audit.service_times import ServiceTimes, State, Then
from migrate.audit.world import Who, World
from migrate.errors import InputError
from migrate.model.cluster import Cluster, Service, ServicePort
from migrate.model.flow import PROTOCOL_NAMES, End, ServiceTarget
from migrate.sources.endpoints import Backend
from migrate.verify.question import Port
from migrate.verify.question_ends import Directory, Scene
from migrate.verify.question_services import Behind

_COMES_IN = ("NodePort", "LoadBalancer")
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Hit:
    """A Service's port that a packet goes to, with its ready backends of one IP family. `reason`: why it has none.

    `node_port`: it came to a node's port. `unsure`: why not all backends are known. `other`: what stood behind it
    only at other times, by address and port.
    """

    service: Service
    entry: ServicePort | None
    targets: tuple[ServiceTarget, ...]
    reason: str = ""
    node_port: bool = False
    unsure: str = ""
    other: frozenset[tuple[bytes, int]] = frozenset()

    @property
    def name(self) -> str:
        """Namespace and name."""
        return f"{self.service.namespace}/{self.service.name}"

    @property
    def keeps_source(self) -> bool:
        """externalTrafficPolicy Local."""
        return self.service.external_traffic_policy == "Local"


class Services:
    """All Services of a snapshot, and those that agents were told of in the time of a recording.

    `world` says who had the addresses behind these; without it the snapshot does.
    """

    def __init__(
        self,
        cluster: Cluster,
        backends: Sequence[Backend],
        times: ServiceTimes | None = None,
        world: World | None = None,
    ) -> None:
        self._directory = Directory(Scene(cluster, tuple(backends)))
        self._times, self._world = times or ServiceTimes((), ()), world
        self._by_address = {bytes_of(a): service for service in cluster.services for a in service.addresses}
        self._by_name = {(service.namespace, service.name): service for service in cluster.services}
        self._nodes = frozenset(bytes_of(address) for node in cluster.nodes for address in node.addresses)
        self._node_ports = {
            (entry.protocol, entry.node_port): (service, entry)
            for service in cluster.services
            for entry in service.ports
            if entry.node_port is not None
        }
        self._targets: dict[tuple[str, str, ServicePort, int], tuple[tuple[ServiceTarget, ...], str]] = {}
        self._before: dict[tuple[str, str, int], list[Hit]] | None = None

    @property
    def addresses(self) -> frozenset[bytes]:
        """The addresses of all Services."""
        return frozenset(self._by_address) | self._times.addresses

    def state(self, address: bytes, first: int, last: int) -> State | None:
        """The same for all records to an address for which the same stood behind it; None where that never changed."""
        return self._times.state(address, address in self._nodes, first, last)

    def at(self, address: bytes, version: int, protocol: int, port: int, first: int = 0, last: int = 0) -> Hit | None:
        """The Service that a packet to an address went to between two moments; None where it was no Service's."""
        then = self._times.at(address, protocol, port, first, last)
        if then is not None:
            return self._hit_then(then, protocol, port, first, last)
        name = PROTOCOL_NAMES.get(protocol, "")
        service = self._by_address.get(address)
        if service is None:
            return self._at_node(version, protocol, port, first, last) if address in self._nodes else None
        for entry in service.ports:
            if (entry.protocol, entry.port) == (name, port):
                return self._hit(service, entry, version)
        return Hit(service, None, (), f"Service {service.namespace}/{service.name} has no such port")

    def _at_node(self, version: int, protocol: int, port: int, first: int, last: int) -> Hit | None:
        then = self._times.at_node(protocol, port, first, last)
        if then is not None:
            return self._hit_then(then, protocol, port, first, last, node_port=True)
        known = self._node_ports.get((PROTOCOL_NAMES.get(protocol, ""), port))
        return None if known is None else self._hit(*known, version, node_port=True)

    def _hit_then(self, then: Then, protocol: int, port: int, first: int, last: int, *, node_port: bool = False) -> Hit:
        service = self._by_name.get(then.name) or self._late(then.name)
        entry = self._entry(service, then, protocol, port, node_port=node_port)
        targets: list[ServiceTarget] = []
        unsure = ""
        for row in then.rows:
            who = self._who(row, first, last)
            targets += (ServiceTarget(end, row.target_port) for end in who.ends)
            if not who.ends:
                unsure = unsure or f"{row.target} behind Service {service.namespace}/{service.name}: {who.reason}"
        reason = unsure or f"Service {service.namespace}/{service.name}: nothing stood behind its port {port} then"
        found = tuple(dict.fromkeys(targets))
        return Hit(service, entry, found, "" if found else reason, node_port, unsure, then.other)

    def _who(self, row: BackendRow, first: int, last: int) -> Who:
        if self._world is None:
            return Who((self._directory.member_at(row.target).end,))
        return self._world.who(bytes_of(row.target), first, last)

    def _late(self, name: tuple[str, str]) -> Service:
        """A Service that is not in the snapshot, as far as it is known."""
        return Service(*name, "NodePort" if name in self._times.on_nodes else "ClusterIP")

    def _entry(self, service: Service, then: Then, protocol: int, port: int, *, node_port: bool) -> ServicePort | None:
        name = PROTOCOL_NAMES.get(protocol, "")
        for entry in service.ports:
            if (entry.protocol, entry.node_port if node_port else entry.port) == (name, port):
                return entry
        if not then.rows:
            return None
        row = then.rows[0]
        front = self._times.front_of(row) if node_port else port
        return ServicePort(name, front, row.target_port, port if node_port else None)

    def _hit(self, service: Service, entry: ServicePort, version: int, *, node_port: bool = False) -> Hit:
        key = (service.namespace, service.name, entry, version)
        if key not in self._targets:
            self._targets[key] = self._find(service, entry, version)
        return Hit(service, entry, *self._targets[key], node_port=node_port)

    def _find(self, service: Service, entry: ServicePort, version: int) -> tuple[tuple[ServiceTarget, ...], str]:
        asked = Port(f"{entry.protocol}/{entry.port}", None, entry.port, entry.name)
        try:
            found, _ = Behind(service, self._directory).targets(asked)
        except InputError as error:
            return (), str(error).partition(", so no policy")[0]
        targets = (ServiceTarget(one.member.end, one.packet.port) for one in found)
        fitting = tuple(target for target in targets if target.end.address.version == version)
        return (
            fitting,
            "" if fitting else f"Service {service.namespace}/{service.name} has no backend of that IP family",
        )

    def before(self, end: End, protocol: int, port: int) -> list[Hit]:
        """The Services that lead to a port of a pod, or did at any time."""
        if self._before is None:
            self._before = {}
            for key, hit in (*self._all(), *self._all_told()):
                known = self._before.setdefault(key, [])
                if hit.name not in {other.name for other in known}:
                    known.append(hit)
        return self._before.get((str(end.pod), PROTOCOL_NAMES.get(protocol, ""), port), [])

    def _all_told(self) -> Iterator[tuple[tuple[str, str, int], Hit]]:
        for row in self._times.rows:
            name = (row.namespace, row.service)
            hit = Hit(self._by_name.get(name) or self._late(name), None, ())
            until = _FOREVER if row.until is None else row.until
            for end in self._who(row, row.since, until).ends:
                yield (str(end.pod), PROTOCOL_NAMES.get(row.protocol, ""), row.target_port), hit

    def _all(self) -> Iterator[tuple[tuple[str, str, int], Hit]]:
        for service in self._directory.scene.cluster.services:
            for entry in service.ports:
                for version in (4, 6):
                    hit = self._hit(service, entry, version)
                    for target in hit.targets:
                        yield (str(target.end.pod), entry.protocol, target.port), hit


def comes_in(hits: Iterable[Hit]) -> bool:
    """Whether connections from outside reach a pod with a node's address."""
    return any(hit.service.type in _COMES_IN and not hit.keeps_source for hit in hits)
