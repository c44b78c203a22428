"""Two engines over one space: equal, or the flows for which their answers differ.

Equal numbers of forms prove equality. Else only destinations whose ingress form changed, and sources whose egress
form did, are looked at; a difference that the other direction hides in both states is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from migrate.model.cluster import Cluster
from migrate.model.flow import End, EndKind, Flow
from migrate.model.ruleset import Engine, Place
from migrate.verify.compile import Compiled, Form, Forms, read_engine, read_named_ports
from migrate.verify.packets import PacketReads, Packets
from migrate.verify.space import Reads, Space, SpaceEnd


class ChangeKind(Enum):
    """How the second state differs from the first."""

    NEWLY_DENIED = "newly_denied"
    NEWLY_ALLOWED = "newly_allowed"


@dataclass(frozen=True, slots=True)
class Change:
    """A box of changed flows: every source with every destination for every packet, as bits of the space."""

    kind: ChangeKind
    sources: int
    destinations: int
    packets: int


@dataclass(frozen=True, slots=True)
class _Group:
    """Sources with one pair of egress forms; None: they are no pods, and nothing limits what they send."""

    sources: int
    before: Form | None
    after: Form | None

    @property
    def changed(self) -> bool:
        return self.before is not self.after


class Comparison:
    """Both engines compiled over the space that they need together."""

    def __init__(self, before: Engine, after: Engine, cluster: Cluster) -> None:
        reads, packet_reads = Reads(), PacketReads()
        for engine in (before, after):
            read_engine(engine, reads, packet_reads)
        read_named_ports(cluster.pods, reads, packet_reads)
        self.space = Space(cluster, reads)
        self.packets = Packets(packet_reads)
        self._forms = Forms()
        self.before = Compiled(before, self.space, self.packets, self._forms)
        self.after = Compiled(after, self.space, self.packets, self._forms)

    @property
    def equal(self) -> bool:
        """Whether no class has another form; a difference hidden by the other direction may make this False."""
        return self.before.classes == self.after.classes

    def changes(self) -> Iterator[Change]:
        """All changed flows as disjoint boxes; none when both states admit the same flows."""
        if self.equal:
            return
        groups = self._groups()
        yield from self._to_others(groups)
        for index, pod_class in enumerate(self.space.pod_classes):
            before = self._forms.forms[self.before.classes[index].ingress]
            after = self._forms.forms[self.after.classes[index].ingress]
            chosen = groups if before is not after else [group for group in groups if group.changed]
            for end in pod_class.ends:
                for group in chosen:
                    yield from self._to_pod(end, len(pod_class.pods), before, after, group)

    def _groups(self) -> list[_Group]:
        """All sources by their pair of egress forms."""
        found: dict[tuple[int, int], int] = {}
        for index, pod_class in enumerate(self.space.pod_classes):
            key = (self.before.classes[index].egress, self.after.classes[index].egress)
            for end in pod_class.ends:
                found[key] = found.get(key, 0) | 1 << end
        forms = self._forms.forms
        groups = [_Group(bits, forms[before], forms[after]) for (before, after), bits in found.items()]
        return [*groups, _Group(self.space.everything & ~self.space.pods, None, None)]

    def _to_others(self, groups: Sequence[_Group]) -> Iterator[Change]:
        """Changes towards nodes and the outside, which police nothing themselves."""
        others = self.space.everything & ~self.space.pods
        for group in groups:
            if group.before is None or group.after is None or not group.changed:
                continue
            for family in (4, 6):
                sources = group.sources & self.space.families[family]
                wanted = others & self.space.families[family]
                packets = self.packets.of_family[family]
                if sources:
                    for kind, ends, atoms in _differences(group.before, group.after, wanted, packets):
                        yield Change(kind, sources, ends, atoms)

    def _to_pod(self, end: int, size: int, before: Form, after: Form, group: _Group) -> Iterator[Change]:
        family = self.space.ends[end].end.address.version
        sources = group.sources & self.space.families[family]
        if size == 1:
            sources &= ~(1 << end)
        packets = self.packets.of_family[family]
        sent_before, sent_after = (
            packets if form is None else packets & _atoms_to(form, end) for form in (group.before, group.after)
        )
        for first, first_ends, second_ends in _overlaps(before, after):
            yield from _box(
                end,
                (first & sent_before, first_ends & sources),
                (first & sent_after, second_ends & sources),
            )

    def flow(self, change: Change) -> Flow:
        """One concrete flow of a box: its first source and destination, its most usual packet."""
        source = self.space.ends[_lowest(change.sources)]
        destination = self.space.ends[_lowest(change.destinations)]
        return Flow(*self._concrete(source, destination), self.packets.example(change.packets))

    def _concrete(self, source: SpaceEnd, destination: SpaceEnd) -> tuple[End, End]:
        """Ends that exist together: another pod of the same class, and the node that is meant by its place."""
        if source.end.pod is not None and source.end.pod == destination.end.pod:
            return source.end, self._second_pod(destination)
        if source.end.kind is EndKind.NODE:
            return self._node(source, destination.end), destination.end
        if destination.end.kind is EndKind.NODE:
            return source.end, self._node(destination, source.end)
        return source.end, destination.end

    def _second_pod(self, entry: SpaceEnd) -> End:
        pod = next(c for c in self.space.pod_classes if c.sample == entry.end.pod).pods[1]
        address = next(a for a in pod.addresses if a.version == entry.end.address.version)
        return End(EndKind.POD, address, pod=pod, api_server=entry.end.api_server)

    def _node(self, entry: SpaceEnd, pod_end: End) -> End:
        own = entry.place is Place.OWN_NODE
        nodes = self.space.node_classes[entry.owner].nodes
        node = next(node for node in nodes if (node.name == pod_end.node_name) is own)
        address = next(a for a in node.addresses if self.space.alike(a, entry.end.address))
        return End(EndKind.NODE, address, node=node, api_server=entry.end.api_server)


def _atoms_to(form: Form, end: int) -> int:
    """The packets that an egress form lets through to one end."""
    found = 0
    for atoms, ends in form:
        if ends >> end & 1:
            found |= atoms
    return found


def _overlaps(before: Form, after: Form) -> Iterator[tuple[int, int, int]]:
    """Packets with the ends allowed before and after, for packets with any; disjoint."""
    rest = 0
    for atoms, _ in after:
        rest |= atoms
    for atoms, ends in before:
        for other, other_ends in after:
            if atoms & other:
                yield atoms & other, ends, other_ends
        if atoms & ~rest:
            yield atoms & ~rest, ends, 0
    for atoms, _ in before:
        rest &= ~atoms
    for other, other_ends in after:
        if other & rest:
            yield other & rest, 0, other_ends


def _differences(before: Form, after: Form, wanted: int, packets: int) -> Iterator[tuple[ChangeKind, int, int]]:
    for atoms, ends, other_ends in _overlaps(before, after):
        common = atoms & packets
        if common and ends & ~other_ends & wanted:
            yield ChangeKind.NEWLY_DENIED, ends & ~other_ends & wanted, common
        if common and other_ends & ~ends & wanted:
            yield ChangeKind.NEWLY_ALLOWED, other_ends & ~ends & wanted, common


def _box(end: int, before: tuple[int, int], after: tuple[int, int]) -> Iterator[Change]:
    """What differs between two boxes (packets, sources) towards one end."""
    for kind, (packets, sources), (other_packets, other_sources) in (
        (ChangeKind.NEWLY_DENIED, before, after),
        (ChangeKind.NEWLY_ALLOWED, after, before),
    ):
        if packets & ~other_packets and sources:
            yield Change(kind, sources, 1 << end, packets & ~other_packets)
        if packets & other_packets and sources & ~other_sources:
            yield Change(kind, sources & ~other_sources, 1 << end, packets & other_packets)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
