"""What stands behind the addresses and node ports of Services, and before the ports of pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.audit.layout import bytes_of
from migrate.errors import InputError
from migrate.model.cluster import Cluster, Service, ServicePort
from migrate.model.flow import PROTOCOL_NAMES, End, ServiceTarget
from migrate.sources.endpoints import Backend
from migrate.verify.question import Port
from migrate.verify.question_ends import Directory, Scene
from migrate.verify.question_services import Behind

_COMES_IN = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Hit:
    """A Service's port that a packet goes to, with its ready backends of one IP family. `reason`: why it has none.

    `node_port`: it came to a node's port.
    """

    service: Service
    entry: ServicePort | None
    targets: tuple[ServiceTarget, ...]
    reason: str = ""
    node_port: bool = False

    @property
    def name(self) -> str:
        """Namespace and name."""
        return f"{self.service.namespace}/{self.service.name}"

    @property
    def keeps_source(self) -> bool:
        """externalTrafficPolicy Local."""
        return self.service.external_traffic_policy == "Local"


class Services:
    """All Services of a snapshot."""

    def __init__(self, cluster: Cluster, backends: Sequence[Backend]) -> None:
        self._directory = Directory(Scene(cluster, tuple(backends)))
        self._by_address = {bytes_of(a): service for service in cluster.services for a in service.addresses}
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
        return frozenset(self._by_address)

    def at(self, address: bytes, version: int, protocol: int, port: int) -> Hit | None:
        """The Service that a packet to an address goes to; None where it is no Service's."""
        name = PROTOCOL_NAMES.get(protocol, "")
        service = self._by_address.get(address)
        if service is None:
            known = self._node_ports.get((name, port)) if address in self._nodes else None
            return None if known is None else self._hit(*known, version, node_port=True)
        for entry in service.ports:
            if (entry.protocol, entry.port) == (name, port):
                return self._hit(service, entry, version)
        return Hit(service, None, (), f"Service {service.namespace}/{service.name} has no such port")

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
        """The Services that lead to a port of a pod."""
        if self._before is None:
            self._before = {}
            for key, hit in self._all():
                self._before.setdefault(key, []).append(hit)
        return self._before.get((str(end.pod), PROTOCOL_NAMES.get(protocol, ""), port), [])

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
