"""The flows that a question is about: every source with every destination, after service translation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from migrate.errors import InputError
from migrate.model.cluster import NamedPort
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NAMES, PROTOCOL_NUMBERS, TCP, EndKind, Flow, Packet
from migrate.verify.question import Port, parse_end, parse_port
from migrate.verify.question_ends import Directory, Party, Scene
from migrate.verify.question_services import Behind, Target, selects

MOST_FLOWS = 2_000
"""So many flows are answered one by one in a moment; larger questions are cut to the first ones, and say so."""

MOST_WAYS = 5_000
"""So many nodes of entry are asked about, of all flows of a question together; larger questions are cut likewise."""

HIDDEN = (
    "externalTrafficPolicy is Cluster: the node that takes a connection from outside may put its own address in the "
    "place of the client's, and then policies see the node"
)
_FAMILY_OF = {ICMP: 4, ICMPV6: 6}


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the flows that it means. `doubts` say why the answer may be another one on the wire."""

    source: str
    destination: str
    port: str
    flows: tuple[Flow, ...]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def ask(source: str, destination: str, port: str, scene: Scene) -> Question:
    """The flows from one end to another. Raises InputError for what is not there or makes no sense."""
    names, asked = (parse_end(source), parse_end(destination)), parse_port(port)
    directory = Directory(scene)
    sender, receiver = (directory.party(name) for name in names)
    if sender.service is not None:
        raise InputError(f"{source}: a Service opens no connections; name a pod or a workload behind it")
    behind = None if receiver.service is None else Behind(receiver.service, directory)
    if behind is not None:
        targets, notes = behind.targets(asked)
    else:
        _check_node_port(receiver, asked, scene)
        targets, notes = _targets(receiver, asked), _hints(receiver, asked, directory)
    flows = _pair(sender, targets, alone=behind is None and len(targets) <= 1)
    if not flows:
        raise InputError(_no_flow(sender, receiver, targets, asked))
    said = (*sender.notes, *receiver.notes, *notes, *_families(flows))
    if len(flows) > MOST_FLOWS:
        said = (*said, f"of {len(flows)} flows the first {MOST_FLOWS} were asked about")
    found = Question(sender.title, receiver.title, port, flows[:MOST_FLOWS], tuple(dict.fromkeys(said)))
    return found if behind is None else _on_the_way(found, behind, sender, asked)


def _on_the_way(question: Question, behind: Behind, sender: Party, port: Port) -> Question:
    """The question with the way through a Service, where it may change what policies see."""
    doubts = behind.doubts(sender)
    if not behind.hides(sender):
        return replace(question, doubts=doubts)
    families = {flow.source.address.version: flow for flow in question.flows}
    nodes = [len(behind.entries(flow)) for flow in families.values()]
    if not all(nodes):
        return replace(question, doubts=(*doubts, f"{HIDDEN}, and the snapshot has no nodes to ask for"))
    notes = [*question.notes, f"{HIDDEN}; asked for each node and both addresses, so what depends on that is unknown"]
    most = max(1, MOST_WAYS // max(nodes))
    if len(question.flows) > most:
        notes.append(f"of {len(question.flows)} flows the first {most} were asked about")
    flows = tuple(behind.through(flow, port) for flow in question.flows[:most])
    return replace(question, flows=flows, notes=tuple(notes), doubts=doubts)


def _check_node_port(receiver: Party, port: Port, scene: Scene) -> None:
    """Raises InputError for a node port: connections to it end at pods, not at the node."""
    if port.number is None or all(member.end.kind is not EndKind.NODE for member in receiver.members):
        return
    for service in scene.cluster.services:
        for entry in service.ports:
            if (entry.node_port, PROTOCOL_NUMBERS.get(entry.protocol)) == (port.number, port.protocol):
                place = f"{service.namespace}/{service.name}"
                raise InputError(
                    f"{port.text}: on every node it is the node port of Service {place}, which leads to pods; ask for "
                    f"svc/{place} {entry.protocol}/{entry.port}"
                )


def _pair(sender: Party, targets: Iterable[Target], *, alone: bool) -> tuple[Flow, ...]:
    """Pairs of one IP family that the protocol has. `alone`: a pod that asks for itself by name is meant."""
    found: list[Flow] = []
    for target in targets:
        end, packet = target.member.end, target.packet
        for member in sender.members:
            version = member.end.address.version
            itself = member.end.pod is not None and member.end.pod == end.pod
            fits = _FAMILY_OF.get(packet.protocol, version) == version == end.address.version
            if fits and (alone or not itself):
                found.append(Flow(member.end, end, packet))
    return tuple(found)


def _no_flow(sender: Party, receiver: Party, targets: Sequence[Target], port: Port) -> str:
    what = f"{sender.title} to {receiver.title} {port.text}"
    if port.is_icmp and all(t.member.end.address.version != _FAMILY_OF[t.packet.protocol] for t in targets):
        other = "ICMPv6" if port.protocol == ICMP else "ICMP"
        return f"{what}: {receiver.title} has no address that the protocol goes to; write {other}"
    if {m.end.pod for m in sender.members} == {t.member.end.pod for t in targets}:
        return f"{what}: only the pod itself is there, and through a Service it comes with its node's address"
    return f"{what}: the two have no addresses of one IP family, so nothing can flow; ask for other ends"


def _families(flows: tuple[Flow, ...]) -> list[str]:
    if len({flow.source.address.version for flow in flows}) == 2:
        return ["both ends have IPv4 and IPv6 addresses; both families were asked about"]
    return []


def _targets(receiver: Party, port: Port) -> list[Target]:
    found: list[Target] = []
    for member in receiver.members:
        found += [Target(member, packet) for packet in _packets(member.ports, port)]
    if not found:
        raise InputError(_no_such_name(receiver, port))
    protocols = {target.packet.protocol for target in found}
    if len(protocols) > 1:
        names = " or ".join(f"{PROTOCOL_NAMES[protocol]}/{port.name}" for protocol in sorted(protocols))
        raise InputError(f"{port.text}: {receiver.title} has a port of that name for more protocols; write {names}")
    return found


def _packets(ports: Iterable[NamedPort], asked: Port) -> list[Packet]:
    if asked.number is not None:
        return [Packet(asked.protocol or TCP, asked.number, code=asked.code)]
    named = {(PROTOCOL_NUMBERS.get(port.protocol, 0), port.port) for port in ports if port.name == asked.name}
    return [Packet(protocol, number) for protocol, number in sorted(named) if asked.protocol in (None, protocol)]


def _no_such_name(receiver: Party, port: Port) -> str:
    named = {f"{p.name} ({p.protocol}/{p.port})" for member in receiver.members for p in member.ports}
    if not named:
        return f"{port.text}: {receiver.title} names none of its ports; give a number, such as TCP/443"
    return f"{port.text}: {receiver.title} has no port of that name; it has {', '.join(sorted(named))}"


def _hints(receiver: Party, port: Port, directory: Directory) -> list[str]:
    """Services in front of the pods that take the asked port for another one: the usual mistake with these numbers."""
    found: list[str] = []
    pods = [member.end.pod for member in receiver.members if member.end.pod is not None]
    for service in directory.scene.cluster.services if port.number is not None else ():
        if not pods or not selects(service, pods[0]):
            continue
        for entry in service.ports:
            same = (PROTOCOL_NUMBERS.get(entry.protocol), entry.port) == (port.protocol, port.number)
            if same and entry.target not in (None, entry.port) and not service.headless:
                place = f"svc/{service.namespace}/{service.name}"
                found.append(
                    f"this asks for port {entry.port} of the pods themselves; as a port of the Service, which goes to "
                    f"their port {entry.target}, ask for {place}"
                )
    return found
