"""What stands behind a Service: which pods a connection to it goes to, and on which of their ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from migrate.errors import InputError
from migrate.model.cluster import Pod, Service, ServicePort
from migrate.model.flow import PROTOCOL_NAMES, PROTOCOL_NUMBERS, TCP, End, EndKind, Flow, Packet, ServiceTarget, Via
from migrate.model.selectors import And, Operator, Requirement, matches
from migrate.sources.endpoints import Backend
from migrate.verify.question import Port
from migrate.verify.question_ends import Directory, Member, Party


@dataclass(frozen=True, slots=True)
class Target:
    """Where a packet goes, once the port is known."""

    member: Member
    packet: Packet


class Behind:
    """The backends of one Service: by its EndpointSlices, or by its selector where the snapshot has none of them."""

    def __init__(self, service: Service, directory: Directory) -> None:
        self._service = service
        self._place = f"{service.namespace}/{service.name}"
        self._directory = directory
        self._slices = [b for b in directory.scene.backends if (b.namespace, b.service) == self._key]

    @property
    def _key(self) -> tuple[str, str]:
        return (self._service.namespace, self._service.name)

    @property
    def _headless(self) -> bool:
        return self._service.headless

    def targets(self, asked: Port) -> tuple[list[Target], list[str]]:
        """Where connections to a port go, and what to know about that. Raises InputError when nowhere."""
        entry = self._entry(asked)
        protocol = PROTOCOL_NUMBERS.get(entry.protocol, TCP)
        direct = asked.number if self._headless else None
        found = [
            Target(member, Packet(protocol, number))
            for member, numbers in self._members(entry)
            for number in ([direct] if direct else numbers)
        ]
        if not found:
            raise InputError(
                f"Service {self._place}: nothing stands behind its port {_port(entry)} (no pod that is ready), so no "
                "policy is asked; look at its selector and its EndpointSlices"
            )
        return found, self._notes(entry, found)

    def doubts(self, sender: Party) -> tuple[str, ...]:
        """Why a connection does not come in at all."""
        if self._service.type in ("LoadBalancer", "NodePort") or not _is_outside(sender):
            return ()
        return (f"Service {self._place} is of type {self._service.type}: connections from outside do not come in",)

    def hides(self, sender: Party) -> bool:
        """Whether policies may see another source than the one that was asked about: the node that passes it on."""
        comes_in = _is_outside(sender) and self._service.type in ("LoadBalancer", "NodePort")
        return comes_in and self._service.external_traffic_policy != "Local"

    def entries(self, flow: Flow) -> tuple[End, ...]:
        """The nodes that a flow may come in at."""
        return self._directory.node_ends(flow.source.address.version)

    def through(self, flow: Flow, asked: Port) -> Flow:
        """The flow with its way, in at any node."""
        target = ServiceTarget(flow.destination, flow.packet.port)
        number = self._entry(asked).node_port
        via = Via(self._place, (target,), external=True, entries=self.entries(flow), node_port=number)
        return replace(flow, via=via)

    def _entry(self, asked: Port) -> ServicePort:
        """The port of the Service that is meant. A headless Service has none of its own: every number goes through."""
        if asked.is_icmp:
            raise InputError(f"{asked.text}: a Service passes ports on, not ICMP; ask for a pod behind {self._place}")
        for entry in self._service.ports:
            known = entry.name == asked.name if asked.name else entry.port == asked.number
            if known and asked.protocol in (None, PROTOCOL_NUMBERS.get(entry.protocol)):
                return entry
        if self._headless and asked.number:
            return ServicePort(PROTOCOL_NAMES[asked.protocol or TCP], asked.number)
        ports = ", ".join(map(_port, self._service.ports)) or "none"
        behind = [e for e in self._service.ports if e.target == asked.number and asked.number]
        also = f"; {asked.number} is the pods' port behind {_port(behind[0])}" if behind else ""
        raise InputError(f"{asked.text}: Service {self._place} has no such port; its ports: {ports}{also}")

    def _members(self, entry: ServicePort) -> Iterator[tuple[Member, list[int]]]:
        if self._slices:
            for backend in self._slices:
                if backend.ready:
                    yield self._directory.member_at(backend.address), _numbers(backend, entry)
            return
        for pod in self._directory.scene.cluster.pods:
            if selects(self._service, pod):
                for member in self._directory.members_of_pod(pod):
                    yield member, _resolved(entry, member)

    def _notes(self, entry: ServicePort, found: list[Target]) -> list[str]:
        protocol = entry.protocol
        numbers = sorted({target.packet.port for target in found})
        to = ", ".join(f"{protocol}/{number}" for number in numbers)
        count = len({str(target.member.end) for target in found})
        many = f"{count} backends" if count > 1 else "its backend"
        addresses = f" ({', '.join(map(str, self._service.addresses))})" if self._service.addresses else ""
        if self._headless:
            notes = [f"Service {self._place} is headless: names lead to {many} directly, and the port stays {to}"]
        else:
            notes = [
                f"Service {self._place}{addresses} sends {protocol}/{entry.port} to {to} of {many}; policies see "
                "the backend, not the Service"
            ]
        waiting = sum(not backend.ready for backend in self._slices)
        if waiting:
            notes.append(f"{waiting} more behind it are not ready and get nothing")
        if not self._slices:
            notes.append("backends are those that its selector finds: the snapshot has no EndpointSlice of it")
        return notes


def _is_outside(sender: Party) -> bool:
    return any(member.end.kind is EndKind.OUTSIDE for member in sender.members)


def selects(service: Service, pod: Pod) -> bool:
    """Whether a Service's selector finds a pod."""
    if service.selector is None or service.namespace != pod.namespace:
        return False
    terms = tuple(Requirement(key, Operator.IN, (value,)) for key, value in service.selector.items())
    return matches(And(terms), pod)


def _port(entry: ServicePort) -> str:
    name = f"{entry.name} " if entry.name else ""
    return f"{name}({entry.protocol}/{entry.port})" if name else f"{entry.protocol}/{entry.port}"


def _numbers(backend: Backend, entry: ServicePort) -> list[int]:
    """The port of one backend; a slice without its number leaves it to the Service."""
    found = [number for name, protocol, number in backend.ports if (name, protocol) == (entry.name, entry.protocol)]
    return [entry.port if number is None else number for number in found]


def _resolved(entry: ServicePort, member: Member) -> list[int]:
    """The number that targetPort means on one pod; none when the pod has no port of that name."""
    if isinstance(entry.target, str):
        return [p.port for p in member.ports if (p.name, p.protocol) == (entry.target, entry.protocol)]
    return [entry.target or entry.port]
