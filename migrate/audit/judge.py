"""Single flows under one revision of the policies, by the engine of `migrate verify`.

A flow that differs from an earlier one in nothing that rules look at costs a look-up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, Pod
from migrate.model.documents import DecidedBy
from migrate.model.flow import Direction, End, EndKind, Flow, Packet, Word
from migrate.model.ruleset import Action, Chain, HostEngine, Place, Provenance, Rule, carries, holds
from migrate.verify.compile import Compiled, Forms, read_engine, read_named_ports
from migrate.verify.ends import Ends
from migrate.verify.engines import Built
from migrate.verify.packets import PacketReads, Packets
from migrate.verify.services import judge
from migrate.verify.sides import Side as Said
from migrate.verify.simulate import Simulator
from migrate.verify.simulation import decided_by
from migrate.verify.space import Reads, Space
from migrate.verify.ways import Ways

Side: TypeAlias = Literal["", "egress", "ingress"]
"""The side that denies a flow; empty where none does."""
Future: TypeAlias = Literal["would_drop", "would_allow", "unknown"]
_IPV4 = b"\0" * 10 + b"\xff\xff"
_IPV4_FIRST = 0xFFFF << 32
_FlowKey: TypeAlias = tuple[int, Address, int, Address, Packet]
_SIDES: dict[Direction, Literal["egress", "ingress"]] = {Direction.EGRESS: "egress", Direction.INGRESS: "ingress"}


@dataclass(frozen=True, slots=True)
class Revision:
    """Policies to judge by: what people call them, their engine, and the way of connections through Services there."""

    name: str
    built: Built
    ways: Ways


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the policies say of a flow, the side and the rule that decide a denial, and the flow itself."""

    future: Future
    flow: Flow | None = None
    side: Side = ""
    decided: DecidedBy = DecidedBy()
    reason: str = ""


class Judge:
    """Asks one revision about flows of one cluster.

    Ends and packets that no rule tells apart are asked about once. Where an engine polices nodes too, each flow is.
    """

    def __init__(self, revision: Revision, cluster: Cluster) -> None:
        engine = revision.built.engine
        self.revision = revision
        self.simulator = Simulator(engine, cluster, hosts=True, known=self._chain)
        reads, packets = Reads(), PacketReads()
        read_engine(engine, reads, packets)
        read_named_ports(cluster.pods, reads, packets)
        self.space, self.packets = Space(cluster, reads), Packets(packets)
        self.compiled = Compiled(engine, self.space, Ends(self.space), self.packets, Forms())
        self.reads_source_ports = packets.source_ports != {0}
        self._one_by_one = isinstance(engine, HostEngine)
        self._pods = {
            (id(pod), self.space.ends[end].end.address.version): (number, end)
            for number, group in enumerate(self.space.pod_classes)
            for end in group.ends
            for pod in group.pods
        }
        self._outside = {family: self._pieces(family) for family in (4, 6)}
        self._nodes: dict[tuple[str, Address, bool], int | None] = {}
        self._asked: dict[tuple[int, int, int], Outcome] = {}
        self._owned = frozenset(a for pod in cluster.pods for a in pod.addresses).union(
            a for node in cluster.nodes for a in node.addresses
        )
        self._defaults: dict[tuple[int, Direction], Outcome] = {}
        self._denials: dict[tuple[int, Direction], list[tuple[int, int]]] = {}
        self._seen: dict[tuple[int, Direction], dict[int, int]] = {}
        self._singly: dict[_FlowKey, tuple[Flow, Outcome]] = {}

    def _pieces(self, family: int) -> tuple[list[int], list[int]]:
        """The outside of a family: the lowest address of each piece that nobody owns, and the piece's index."""
        found = sorted(
            (int(entry.end.address), index)
            for index, entry in enumerate(self.space.ends)
            if entry.place is Place.OUTSIDE and entry.end.address.version == family and not entry.end.api_server
        )
        return [first for first, _ in found], [index for _, index in found]

    def index(self, end: End, other: End) -> int | None:
        """The end of the space that stands for an end as `other` sees it; None where only the end itself does."""
        if self._one_by_one:
            return None
        if end.kind is EndKind.POD:
            found = self._pods.get((id(end.pod), end.address.version))
            return None if found is None or end.pod is None or end.address not in end.pod.addresses else found[1]
        if end.kind is EndKind.NODE:
            return self._node(end, other)
        if end.api_server or end.address in self._owned:
            return None
        return self._piece(end.address.version, int(end.address))

    def _chain(self, pod: Pod, direction: Direction) -> Chain | None:
        """That of its class."""
        place = self._pods.get((id(pod), 4)) or self._pods.get((id(pod), 6))
        return None if place is None else self.compiled.chain(place[0], direction)

    def bounds(self) -> Iterator[int]:
        """Where pieces of the outside begin, as numbers of IPv6 addresses."""
        if not self._one_by_one:
            yield from (_IPV4_FIRST + low for low in self._outside[4][0])
            yield from self._outside[6][0]

    def piece(self, address: bytes) -> int | None:
        """The end of the space that stands for an address that nobody owns; None where only the address itself does."""
        if self._one_by_one:
            return None
        mapped = address.startswith(_IPV4)
        return self._piece(4, int.from_bytes(address[12:])) if mapped else self._piece(6, int.from_bytes(address))

    def _piece(self, version: int, number: int) -> int | None:
        lows, indexes = self._outside[version]
        position = bisect_right(lows, number) - 1
        return indexes[position] if position >= 0 else None

    def _node(self, end: End, other: End) -> int | None:
        own = end.node_name is not None and end.node_name == other.node_name
        key = (end.node_name or "", end.address, own)
        if key not in self._nodes:
            self._nodes[key] = self._find_node(end, Place.OWN_NODE if own else Place.OTHER_NODE)
        return self._nodes[key]

    def _find_node(self, end: End, place: Place) -> int | None:
        if end.node is None or end.address not in end.node.addresses:
            return None
        for index, entry in enumerate(self.space.ends):
            known = entry.place is place and end.node in self.space.node_classes[entry.owner].nodes
            if known and self.space.alike(entry.end.address, end.address):
                return index
        return None

    def outcome(self, flow: Flow) -> Outcome:
        """What the policies say of a flow."""
        if flow.via is not None:
            return self._through(flow)
        source, destination = flow.source, flow.destination
        first, second = self.index(source, destination), self.index(destination, source)
        if first is None or second is None or (source.pod is not None and source.pod is destination.pod):
            return self._single(flow)
        atom = self.packets.where(flow.packet)
        key = (first, second, atom)
        found = self._asked.get(key)
        if found is None:
            found = self._asked[key] = self._of_classes(flow, first, second, atom)
        return Outcome(found.future, flow, found.side, found.decided, found.reason)

    def _of_classes(self, flow: Flow, source: int, destination: int, atom: int) -> Outcome:
        """By the classes' forms; only a denial is put to the engine itself, which names the rule."""
        leaves = self._asks(flow.source, Direction.EGRESS, destination, atom)
        arrives = self._asks(flow.destination, Direction.INGRESS, source, atom)
        if leaves and arrives:
            return Outcome("would_allow", flow)
        direction = Direction.INGRESS if leaves else Direction.EGRESS
        own, peer = (flow.destination, source) if leaves else (flow.source, destination)
        place = (self._pods[id(own.pod), own.address.version][0], direction)
        if self._by_a_rule(place, peer, atom):
            return self._one(flow)
        if place not in self._defaults:
            self._defaults[place] = self._one(flow)
        found = self._defaults[place]
        return Outcome("would_drop", flow, found.side, found.decided)

    def _by_a_rule(self, place: tuple[int, Direction], peer: int, atom: int) -> bool:
        """Whether a rule may decide what a class denies; else it is what happens when none matches, always the same."""
        terms = self._denials.get(place)
        if terms is None:
            pod = self.space.pod_classes[place[0]].sample
            rules = (rule for stage in self.simulator.chain(pod, place[1]).stages for rule in stage.rules)
            denying = (rule for rule in rules if rule.action is not Action.ALLOW)
            terms = self._denials[place] = [term for rule in denying for term in self.compiled.reach(rule, *place)]
        return any(atoms >> atom & 1 and ends >> peer & 1 for atoms, ends in terms)

    def _asks(self, own: End, direction: Direction, peer: int, atom: int) -> bool:
        """Whether a side lets a flow pass, which is noted as seen."""
        if own.kind is not EndKind.POD:
            return True
        number = self._pods[id(own.pod), own.address.version][0]
        seen = self._seen.setdefault((number, direction), {})
        seen[atom] = seen.get(atom, 0) | 1 << peer
        return bool(self._peers(number, direction, atom) >> peer & 1)

    def _peers(self, number: int, direction: Direction, atom: int) -> int:
        """The ends with which a class may exchange a packet."""
        for atoms, ends in self.compiled.pieces(number, direction):
            if atoms >> atom & 1:
                return ends
        return 0

    def _single(self, flow: Flow) -> Outcome:
        """A flow that no class stands for."""
        source, destination = flow.source, flow.destination
        key = (id(source.pod), source.address, id(destination.pod), destination.address, flow.packet)
        found = self._singly.get(key)
        if found is None:
            found = self._singly[key] = flow, self._one(flow)
        return found[1]

    def _one(self, flow: Flow) -> Outcome:
        answer = self.simulator.answer(flow)
        if answer.egress is Word.DENY:
            return Outcome("would_drop", flow, "egress", decided_by(answer.egress, answer.egress_decision))
        if answer.ingress is Word.DENY:
            return Outcome("would_drop", flow, "ingress", decided_by(answer.ingress, answer.ingress_decision))
        return Outcome("would_allow", flow)

    def _through(self, flow: Flow) -> Outcome:
        """A flow through a Service, of which not all may be known."""
        assert flow.via is not None
        self._single(Flow(flow.source, flow.via.targets[0].end, _to(flow)))
        judged = judge(self.simulator, flow, flow.via, self.revision.ways)
        if judged.verdict == "unknown":
            return Outcome("unknown", flow, reason="; ".join(dict.fromkeys(judged.reasons.values())))
        for direction, side in judged.sides.items():
            if side is not None and side.word is Word.DENY:
                return Outcome("would_drop", flow, _SIDES[direction], _decided(side))
        return Outcome("would_drop" if judged.verdict == "deny" else "would_allow", flow)

    def from_anywhere(self, destination: End, packet: Packet) -> Literal["all", "some", "none"]:
        """How many of all addresses outside the cluster a pod lets in."""
        indexes = self._outside[destination.address.version][1]
        place = self._pods.get((id(destination.pod), destination.address.version))
        if place is None or self._one_by_one:
            flows = (Flow(self.space.ends[index].end, destination, packet) for index in indexes)
            let_in = [self._one(flow).future == "would_allow" for flow in flows]
        else:
            peers = self._peers(place[0], Direction.INGRESS, self.packets.where(packet))
            let_in = [bool(peers >> index & 1) for index in indexes]
        return "all" if all(let_in) else "some" if any(let_in) else "none"

    def doubts(self) -> tuple[str, ...]:
        """What of the policies is not modelled, so that it might decide otherwise."""
        built = self.revision.built
        not_modelled = (place for place in built.left_out if place not in built.on_nodes)
        return tuple(sorted({str(place).strip() for place in (*not_modelled, *built.engine.unknown)}))

    def allowing(self, pod: Pod, direction: Direction) -> list[tuple[Provenance, bool]]:
        """The rules that allow a pod something, and whether any flow that was asked about is among it."""
        found: list[tuple[Provenance, bool]] = []
        for stage in self.simulator.chain(pod, direction).stages:
            for rule in stage.rules:
                if rule.action is Action.ALLOW and rule.provenance is not None:
                    found.append((rule.provenance, self._used(rule, pod, direction)))
        return found

    def _used(self, rule: Rule, pod: Pod, direction: Direction) -> bool:
        for version in (4, 6):
            place = self._pods.get((id(pod), version))
            seen = self._seen.get((place[0], direction)) if place else None
            if place and seen:
                for atoms, ends in self.compiled.reach(rule, place[0], direction):
                    if any(atoms >> atom & 1 and ends & peers for atom, peers in seen.items()):
                        return True
        return any(_matches(rule, flow, pod, direction) for flow, _ in self._singly.values())


def _matches(rule: Rule, flow: Flow, pod: Pod, direction: Direction) -> bool:
    own, peer = flow.source, flow.destination
    if direction is Direction.INGRESS:
        own, peer = peer, own
    if own.pod is not pod:
        return False
    carried = any(carries(traffic, flow.packet, flow.source, flow.destination) for traffic in rule.traffic)
    return carried and holds(rule.peer, peer, own)


def _to(flow: Flow) -> Packet:
    assert flow.via is not None
    packet = flow.packet
    return Packet(packet.protocol, flow.via.targets[0].port, packet.source_port, packet.code)


def _decided(side: Said) -> DecidedBy:
    return decided_by(side.word, side.decision)


def combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Flows that all take place: one that is denied is enough."""
    for word in ("would_drop", "unknown"):
        for outcome in outcomes:
            if outcome.future == word:
                return outcome
    return outcomes[0]
