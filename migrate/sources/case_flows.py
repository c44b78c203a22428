"""The flows of a case: names to ends, an address to whoever owns it, and the way through a Service (`via`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from migrate.model.addresses import parse_address
from migrate.model.cluster import Cluster, Node, Pod, ServicePort
from migrate.model.flow import (
    ICMP,
    ICMPV6,
    PROTOCOL_NAMES,
    PROTOCOL_NUMBERS,
    End,
    EndKind,
    Flow,
    Packet,
    ServiceTarget,
    Via,
)
from migrate.sources.case_services import CaseService, CaseServices, number_in
from migrate.sources.fields import Fields

_FAMILY_OF = {ICMP: 4, ICMPV6: 6}
_END_KINDS = ("pod", "node", "ip")
_SERVICE = "service"
_NO_PAIR = "its ends have no addresses of one IP family that the protocol can use"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a flow says of its way: the Service (known or not), the node port and the entry node.

    `any_backend`: no backend is named, so that every one of the Service is meant. `by_other_address`: it is reached by
    an external or a balancer's IP.
    """

    fields: Fields
    service: str = ""
    known: CaseService | None = None
    node_port: int | None = None
    by_node_port: bool = False
    entry: Node | None = None
    any_backend: bool = False
    by_other_address: bool = False

    @property
    def external(self) -> bool:
        """Whether it is said that the flow comes in at a node."""
        return self.by_node_port or self.entry is not None


class FlowReader:
    """Reads flows against one cluster and its Services."""

    def __init__(self, cluster: Cluster, services: CaseServices) -> None:
        self._cluster = cluster
        self._services = services
        self._pods = {str(pod): pod for pod in cluster.pods}
        self._nodes = {node.name: node for node in cluster.nodes}

    def read(self, fields: Fields) -> Flow | None:
        """A flow; None with a problem noted when it names nothing or cannot exist."""
        asked = self._asked(fields)
        sources = self._ends(fields, "src")
        destinations = () if asked is not None and asked.any_backend else self._ends(fields, "dst")
        fields.ignore("egress", "ingress", "verdict", "tieSensitive")
        packet = _packet(fields, port_needed=asked is None or not asked.any_backend)
        fields.close()
        if packet is None or not sources:
            return None
        if asked is not None:
            return self._through(asked, sources, destinations, packet)
        for source, destination in _pairs(sources, destinations, packet):
            return Flow(source, destination, packet)
        if destinations:
            fields.invalid(_NO_PAIR)
        return None

    # The way through a Service.

    def _asked(self, fields: Fields) -> _Asked | None:
        """The Service that a flow goes through: by `via`, as its `dst`, or by the address that `dst` gives."""
        via, name = fields.child("via"), self._service_as_destination(fields)
        any_backend = bool(name) or not fields.has("dst")
        if via is None and not name:
            return None
        if via is None:
            known, other = self._known(fields, name, "dst"), self._is_other_address(fields)
            return _Asked(fields, name, known, any_backend=True, by_other_address=other)
        name = via.text(_SERVICE) or name
        number, node = via.raw("nodePort"), via.text("node")
        asked = _Asked(
            fields=fields,
            service=name,
            known=self._known(via, name, _SERVICE) if name else None,
            node_port=None if isinstance(number, bool) else number_in(via, "nodePort", 1, 65535),
            by_node_port=number is not None and number is not False,
            entry=self._nodes.get(node),
            any_backend=any_backend,
        )
        if node and asked.entry is None:
            via.invalid(f"node {node} is not in the case", "node")
        if not (name or node or asked.by_node_port):
            via.invalid("must name a service, a nodePort or a node")
        via.close()
        return asked

    def _service_as_destination(self, fields: Fields) -> str:
        plain = fields.raw("dst")
        if not isinstance(plain, dict):
            return ""
        if plain.get(_SERVICE) is not None:
            child = Fields(fields.reading, plain, (*fields.path, "dst"))
            name = child.text(_SERVICE)
            child.close()
            return name
        try:
            return self._services.at(parse_address(str(plain.get("ip")))) or ""
        except ValueError:
            return ""

    def _is_other_address(self, fields: Fields) -> bool:
        plain = fields.raw("dst")
        text = plain.get("ip") if isinstance(plain, dict) else None
        return isinstance(text, str) and self._services.is_other_address(parse_address(text))

    def _known(self, fields: Fields, name: str, key: str) -> CaseService | None:
        known = self._services.named(name)
        if known is None and self._services:
            fields.invalid(f"service {name} is not in the case", key)
        return known

    def _through(
        self, asked: _Asked, sources: Sequence[End], destinations: Sequence[End], packet: Packet
    ) -> Flow | None:
        if asked.any_backend:
            packet, targets = self._targets(asked, packet)
        else:
            targets = self._given(asked, destinations, packet)
        for source, first in _pairs(sources, [target.end for target in targets], packet):
            family = source.address.version
            chosen = tuple(t for t in targets if t.end == first or (asked.any_backend and _version(t) == family))
            whole = packet if len(chosen) > 1 else replace(packet, port=chosen[0].port)
            return Flow(source, first, whole, self._via(asked, source, chosen))
        if targets:
            asked.fields.invalid(_NO_PAIR)
        return None

    def _given(self, asked: _Asked, destinations: Sequence[End], packet: Packet) -> Sequence[ServiceTarget]:
        """The backend that the flow names, which must stand behind the Service if that is known."""
        found = [ServiceTarget(end, packet.port) for end in destinations]
        if asked.known is None or not asked.known.service.ports:
            return found
        behind = {
            target.end for port in asked.known.service.ports for target in self._services.targets(asked.known, port)
        }
        if found and not behind.intersection(destinations):
            asked.fields.invalid(f"{found[0].end} is no backend of service {asked.service}", "dst")
        return [target for target in found if target.end in behind]

    def _targets(self, asked: _Asked, packet: Packet) -> tuple[Packet, Sequence[ServiceTarget]]:
        """The packet as it is sent to the Service, and everything it may be passed on to."""
        if asked.known is None:
            if not self._services:
                asked.fields.invalid("must name the backend, since the case holds no services", "dst")
            return packet, ()
        port = _service_port(asked, packet)
        if port is None:
            asked.fields.invalid(f"service {asked.service} has no such port", "port")
            return packet, ()
        targets = self._services.targets(asked.known, port)
        if not targets:
            asked.fields.invalid(f"service {asked.service} has no known backends; name one", "dst")
        return replace(packet, port=port.port), targets

    def _via(self, asked: _Asked, source: End, targets: tuple[ServiceTarget, ...]) -> Via:
        known, outside = asked.known, source.kind is EndKind.OUTSIDE
        external = asked.external or (outside and known is not None and known.service.type != "ClusterIP")
        nodes = self._cluster.nodes if asked.entry is None else (asked.entry,)
        ends = [self._services.end(a) for node in nodes for a in node.addresses if a.version == source.address.version]
        entries = tuple({end.node_name: end for end in reversed(ends)}.values()) if external else ()
        return Via(
            service=asked.service,
            targets=targets,
            external=external,
            entries=tuple(reversed(entries)),
            node_port=self._node_port(asked, targets) if external else None,
            keeps_source=external and known is not None and known.service.external_traffic_policy == "Local",
            not_modelled=_not_modelled(asked, outside=outside, external=external, entered=bool(entries)),
        )

    def _node_port(self, asked: _Asked, targets: tuple[ServiceTarget, ...]) -> int | None:
        """The number of the node port, if it is said or follows from the Service."""
        if asked.node_port is not None or asked.known is None:
            return asked.node_port
        ports = asked.known.service.ports
        numbers = {port.node_port for port in ports if targets[0] in self._services.targets(asked.known, port)}
        return numbers.pop() if len(numbers) == 1 else None

    # Ends.

    def _ends(self, fields: Fields, key: str) -> Sequence[End]:
        """The ends that `src` or `dst` may mean: one for each address of what it names."""
        child = fields.child(key)
        named = [kind for kind in _END_KINDS if child is not None and child.has(kind)]
        if child is None or len(named) != 1:
            fields.invalid(f"must name one end by {', '.join(_END_KINDS)}", key)
            return ()
        kind, name = named[0], child.text(named[0])
        child.close()
        try:
            found = [self._services.end(parse_address(name))] if kind == "ip" else self._owned(kind, name)
        except ValueError:
            child.invalid(f'"{name}" is not an IP address', kind)
            return ()
        if found is None:
            child.invalid(f"{kind} {name} is not in the case", kind)
        elif not found:
            child.invalid(f"{kind} {name} has no address", kind)
        return found or ()

    def _owned(self, kind: str, name: str) -> Sequence[End] | None:
        """The ends of a pod or node; None when there is none of that name. On the host's network a pod is its node."""
        owner = self._pods.get(name) if kind == "pod" else self._nodes.get(name)
        if isinstance(owner, Pod) and owner.host_network:
            owner = self._nodes.get(owner.node or "", owner)
        return None if owner is None else [self._services.end(address) for address in owner.addresses]


def _pairs(sources: Sequence[End], destinations: Sequence[End], packet: Packet) -> Iterator[tuple[End, End]]:
    """Pairs of one IP family that the protocol can use, in the order of the sources' addresses."""
    family = _FAMILY_OF.get(packet.protocol)
    for source in sources:
        for destination in destinations:
            if source.address.version == destination.address.version and family in (None, source.address.version):
                yield source, destination


def _version(target: ServiceTarget) -> int:
    return target.end.address.version


def _service_port(asked: _Asked, packet: Packet) -> ServicePort | None:
    """The Service's port that is meant: by its number, by the node port, or because there is only one."""
    assert asked.known is not None
    ports = [p for p in asked.known.service.ports if p.protocol == PROTOCOL_NAMES.get(packet.protocol)]
    if asked.fields.has("port"):
        by_number = [p for p in ports if packet.port == p.port or (asked.external and packet.port == p.node_port)]
        return by_number[0] if by_number else None
    if asked.node_port is not None:
        ports = [p for p in ports if p.node_port in (None, asked.node_port)]
    return ports[0] if len(ports) == 1 else None


def _not_modelled(asked: _Asked, *, outside: bool, external: bool, entered: bool) -> str:
    known = asked.known
    if asked.by_other_address and not outside:
        return "the way of a client in the cluster by an external or a balancer's IP"
    if known is not None and known.not_modelled:
        return known.not_modelled
    if known is not None and outside and known.not_modelled_outside:
        return known.not_modelled_outside
    if outside and not external:
        return "the way of a client outside the cluster to a cluster IP; say by which nodePort or node it comes"
    if external and not entered:
        return "the way in, since no node of the case has an address of this IP family"
    return ""


def _packet(fields: Fields, *, port_needed: bool) -> Packet | None:
    protocol = fields.text("protocol", "TCP")
    number = PROTOCOL_NUMBERS.get(protocol)
    port = number_in(fields, "port", 0, 255 if number in _FAMILY_OF else 65535)
    icmp_type = number_in(fields, "icmpType", 0, 255)
    source_port, code = number_in(fields, "srcPort", 0, 65535), number_in(fields, "icmpCode", 0, 255)
    if number is None:
        fields.invalid(f'"{protocol}" is not one of {", ".join(PROTOCOL_NUMBERS)}', "protocol")
        return None
    if port_needed and not fields.has("port") and not fields.has("icmpType"):
        fields.invalid("must be given: the destination port, or for ICMP the type", "port")
    return Packet(number, (icmp_type if port is None else port) or 0, source_port or 0, code or 0)
