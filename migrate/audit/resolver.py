"""From a record to the flows it stands for: the ends, and the way through Services and other nodes.

A record of an interface has the addresses that are seen there: of a Service where a pod sends, of a node where that
node put its own address in place of the client's. What the kernel's translation said (`translated` rows) settles who
is meant; without it every possibility is kept, and the record is ambiguous where they do not agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.audit.layout import address_of, bytes_of
from migrate.audit.passed_on import Original, PassedOn
from migrate.audit.reading import FlowRow, Reading, Translated
from migrate.audit.services import Hit, Services, comes_in
from migrate.audit.world import Who, World
from migrate.model.addresses import parse_address
from migrate.model.audit_documents import Topic
from migrate.model.flow import ICMP, ICMPV6, TCP, UDP, End, EndKind, Flow, Packet, ServiceTarget, Via

CLOUD = {
    parse_address("169.254.169.254"): "the cloud's metadata service",
    parse_address("fd00:ec2::254"): "the cloud's metadata service",
    parse_address("168.63.129.16"): "Azure's platform (health probes, DNS, agents)",
}
"""Addresses that mean the same in every cluster of a cloud."""
_PLATFORM = parse_address("168.63.129.16")
_DNS_PORT = 53
_TranslatedKey: TypeAlias = tuple[int, bytes, bytes, int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a record stands for. One of the `alternatives` is what happened; all flows of an alternative took place.

    Without alternatives nothing can be said, and `reason` says why; `ends` then are for people to read.
    """

    alternatives: tuple[tuple[Flow, ...], ...] = ()
    topic: Topic = ""
    service: str = ""
    reason: str = ""
    world: bool = False
    """Another alternative: any address outside, whose connection a node passed on."""
    ends: tuple[End | None, End | None] = (None, None)
    packet: Packet = field(default=Packet(0))
    unsure: str = ""
    """Why there may be more flows than an alternative has; one that is denied is enough all the same."""


class Resolver:
    """Looks records of one recording up. `probes` are the ports that the kubelet asks, by pod."""

    def __init__(
        self, reading: Reading, world: World, services: Services, probes: Mapping[str, frozenset[int]] | None = None
    ) -> None:
        self.world, self._services, self._probes = world, services, probes
        self._veths = {veth.id: veth for veth in reading.veths()}
        self._translated: dict[_TranslatedKey, list[Translated]] = {}
        for row in reading.translated():
            self._translated.setdefault(row[:5], []).append(row)
        nodes = frozenset(address for node in world.snapshot.nodes for address in node.addresses)
        self._passed_on = PassedOn(reading, self._veths, self._translated, nodes)

    def node_of(self, veth: int) -> str:
        """The node that an interface is on."""
        known = self._veths.get(veth)
        return (known.node if known is not None else "") or self.world.node

    def own(self, veth: int, address: bytes, first: int, last: int) -> Who:
        """The pod behind an interface, at the address that a record has."""
        known = self._veths.get(veth)
        who = self.world.who(address, first, last)
        if known is None or known.namespace is None or known.pod is None:
            return who
        for end in who.ends:
            if end.pod is not None and (end.pod.namespace, end.pod.name) == (known.namespace, known.pod):
                return Who((end,))
        pod = self.world.pod(known.namespace, known.pod)
        if pod is None:
            return Who((), f"{known.namespace}/{known.pod}: not in the snapshot, so its labels are not known")
        return Who((End(EndKind.POD, address_of(address), pod=pod),))

    def asked(self, row: FlowRow) -> Asked:
        """What a record stands for."""
        outgoing = row[2] == 0
        own_bytes, peer_bytes = (row[5], row[6]) if outgoing else (row[6], row[5])
        own = self.own(row[0], own_bytes, row[9], row[10])
        packet = packet_of(row[7], row[8], row[16])
        if row[4]:
            return Asked(topic="coarse", reason=_COARSE, ends=_placed(own, None, outgoing), packet=packet)
        if len(own.ends) != 1:
            return Asked(reason=own.reason or "the pod of the interface is not known", packet=packet)
        if row[3] == 3 or _is_neighbour_discovery(packet):
            reason = _ERROR if row[3] == 3 else _NEIGHBOURS
            who = self.world.who(peer_bytes, row[9], row[10])
            return Asked(topic="icmp_error", reason=reason, ends=_placed(own, who, outgoing), packet=packet)
        return self._sent(row, own.ends[0], packet) if outgoing else self._received(row, own.ends[0], packet)

    def _sent(self, row: FlowRow, own: End, packet: Packet) -> Asked:
        hit = self._service_of(row, own) if row[3] == 0 else None
        if hit is not None:
            return self._to_service(row, own, packet, hit)
        who = self.world.who(row[6], row[9], row[10])
        alternatives = tuple((Flow(own, end, packet),) for end in who.ends)
        peer = who.ends[0] if who.ends else None
        topic = _topic_sent(peer, packet) if peer is not None else ""
        return Asked(alternatives, topic, reason=who.reason, ends=(own, peer), packet=packet)

    def _service_of(self, row: FlowRow, own: End) -> Hit | None:
        return self._services.at(row[6], own.address.version, *row[7:11])

    def _to_service(self, row: FlowRow, own: End, packet: Packet, hit: Hit) -> Asked:
        """Every ready backend has to be let through, and those that the kernel's translation named."""
        topic = _topic_service(hit, packet)
        targets = dict.fromkeys((*hit.targets, *self._backends(row, hit)))
        entry = self.world.who(row[6], row[9], row[10]).ends
        flows = tuple(self._way(own, target, packet, hit, entry) for target in targets)
        peer = flows[0].destination if flows else None
        alternatives = (flows,) if flows else ()
        reason = hit.reason if not flows else ""
        return Asked(alternatives, topic, hit.name, reason, ends=(own, peer), packet=packet, unsure=hit.unsure)

    def _backends(self, row: FlowRow, hit: Hit) -> Iterator[ServiceTarget]:
        """What the kernel chose, at any time: but for what is known to have stood there only at other times."""
        for translated in self._translated.get((row[0], *row[5:9]), ()):
            if translated.backend is None:
                continue
            if (bytes_of(translated.backend), translated.backend_port or translated.original_port) not in hit.other:
                for end in self.world.who(bytes_of(translated.backend), row[9], row[10]).ends:
                    yield ServiceTarget(end, translated.backend_port or translated.original_port)

    def _way(self, own: End, target: ServiceTarget, packet: Packet, hit: Hit, entry: tuple[End, ...]) -> Flow:
        """By the cluster IP as after translation; the way matters for node ports, and where a pod reaches itself."""
        direct = Packet(packet.protocol, target.port, packet.source_port)
        if hit.node_port and entry and hit.entry is not None:
            via = Via(hit.name, (target,), True, entry[:1], hit.entry.node_port, hit.keeps_source)
            return Flow(own, target.end, Packet(packet.protocol, hit.entry.port, packet.source_port), via)
        if own.pod is not None and own.pod == target.end.pod:
            return Flow(own, target.end, direct, Via(hit.name, (target,)))
        return Flow(own, target.end, direct)

    def _received(self, row: FlowRow, own: End, packet: Packet) -> Asked:
        who = self.world.who(row[5], row[9], row[10])
        peer = who.ends[0] if who.ends else None
        if row[3] == 0 and len(who.ends) == 1 and peer is not None and peer.kind is EndKind.NODE:
            return self._from_node(row, peer, own, packet)
        alternatives = tuple((Flow(end, own, packet),) for end in who.ends)
        topic = _topic_received(peer, packet) if peer is not None else ""
        return Asked(alternatives, topic, reason=who.reason, ends=(peer, own), packet=packet)

    def _from_node(self, row: FlowRow, node: End, own: End, packet: Packet) -> Asked:
        """A node's own process, or somebody whose address the node replaced by its own."""
        before = self._services.before(own, packet.protocol, packet.port)
        direct, topic = Flow(node, own, packet), self._topic_node(row[0], node, own, packet)
        ends = (node, own)
        if node.node_name != self.node_of(row[0]):
            return self._from_other_node(row, direct, topic, before)
        known = self._translated.get((row[0], *row[5:9]), ())
        if known:
            flows = tuple(dict.fromkeys(self._original(found, row, node, own, packet) for found in known))
            sources = {flow.source.kind for flow in flows}
            return Asked(
                (flows,), topic if sources == {EndKind.NODE} else "", ends=(flows[0].source, own), packet=packet
            )
        alternatives = [(direct,)]
        if before:
            target = ServiceTarget(own, packet.port)
            alternatives.append((Flow(own, own, packet, Via(before[0].name, (target,))),))
        asks = packet.port in (self._probes or {}).get(str(own.pod), ())
        return Asked(
            tuple(alternatives[: 1 if asks else None]),
            topic,
            ends=ends,
            packet=packet,
            world=comes_in(before) and not asks,
        )

    def _from_other_node(self, row: FlowRow, direct: Flow, topic: Topic, before: list[Hit]) -> Asked:
        """A process there, or the client of a node port, whom only that node knows; Cilium may see either address.

        Clients that the recording of that node names did come; where they are not all, the others may be anybody.
        """
        ends = (direct.source, direct.destination)
        if not comes_in(before):
            return Asked(((direct,),), topic, ends=ends, packet=direct.packet)
        found = self._passed_on.clients(direct.source.node_name or "", row)
        named = tuple(self._original(one, row, direct.source, direct.destination, direct.packet) for one in found.ends)
        if found.all_of_them:
            ends = (named[0].source, direct.destination)
            return Asked((named,), "", before[0].name, ends=ends, packet=direct.packet)
        outside = Flow(End(EndKind.OUTSIDE, direct.source.address), direct.destination, direct.packet)
        alternatives = ((*named, direct), (*named, outside))
        return Asked(alternatives, "other_node_client", before[0].name, _OTHER_NODE, ends=ends, packet=direct.packet)

    def _original(self, found: Translated | Original, row: FlowRow, node: End, own: End, packet: Packet) -> Flow:
        """The flow before a node replaced its client's address."""
        if bytes_of(found.original_source) == row[5]:
            return Flow(node, own, packet)
        if found.original_source == own.address:
            target = ServiceTarget(own, packet.port)
            return Flow(own, own, packet, Via("", (target,)))
        ends = self.world.who(bytes_of(found.original_source), row[9], row[10]).ends
        source = ends[0] if ends else End(EndKind.OUTSIDE, found.original_source)
        if source.kind is EndKind.NODE:
            return Flow(source, own, packet)
        entry = self.world.who(bytes_of(found.original_destination), row[9], row[10]).ends or (node,)
        entries = entry if entry[0].kind is EndKind.NODE else (node,)
        via = Via("", (ServiceTarget(own, packet.port),), True, entries, found.original_port)
        return Flow(source, own, packet, via)

    def _topic_node(self, veth: int, node: End, own: End, packet: Packet) -> Topic:
        if node.node_name != self.node_of(veth):
            return "api_server" if node.api_server else ""
        if self._probes is not None and packet.port not in self._probes.get(str(own.pod), ()):
            return ""
        return "probe" if packet.protocol in (TCP, UDP) else ""


_COARSE = "a table was full, so that a part of the record was cut off: who was at the far end is not known"
_ERROR = "an ICMP error answers a connection and opens none"
_NEIGHBOURS = "IPv6 neighbour discovery on the pod's own link; no connection depends on what a policy says of it"
_DISCOVERY = range(133, 138)
"""Router and neighbour solicitations and advertisements, and redirects (RFC 4861)."""
_OTHER_NODE = "the client came in at another node, and only that node knows its address"


def packet_of(protocol: int, port: int, source_port: int) -> Packet:
    """The packet of a record."""
    if protocol in (ICMP, ICMPV6):
        return Packet(protocol, port >> 8, code=port & 255)
    return Packet(protocol, port, source_port)


def _is_neighbour_discovery(packet: Packet) -> bool:
    return packet.protocol == ICMPV6 and packet.port in _DISCOVERY


def _placed(own: Who, peer: Who | None, outgoing: bool) -> tuple[End | None, End | None]:
    """Source and destination for people to read."""
    near = own.ends[0] if own.ends else None
    far = peer.ends[0] if peer is not None and peer.ends else None
    return (near, far) if outgoing else (far, near)


def _topic_sent(peer: End, packet: Packet) -> Topic:
    if packet.protocol in (TCP, UDP) and packet.port == _DNS_PORT:
        return "dns"
    if peer.address in CLOUD:
        return "cloud_metadata"
    return "api_server" if peer.api_server else ""


def _topic_service(hit: Hit, packet: Packet) -> Topic:
    if packet.port == _DNS_PORT and packet.protocol in (TCP, UDP):
        return "dns"
    return "api_server" if hit.name == "default/kubernetes" else ""


def _topic_received(peer: End, packet: Packet) -> Topic:
    if peer.address == _PLATFORM:
        return "probe"
    return "dns" if packet.protocol in (TCP, UDP) and packet.port == _DNS_PORT else ""
