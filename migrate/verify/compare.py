"""Two engines over one space: equal, or the flows for which their answers differ.

Equal numbers of forms prove equality. Else only groups of ends whose form changed are looked at, each with all groups
at the other side; a difference that the other side hides in both states is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from migrate.model.cluster import Cluster
from migrate.model.flow import Direction, End, EndKind, Flow
from migrate.model.ruleset import Engine, Place
from migrate.verify.bits import bits, lowest
from migrate.verify.compile import Compiled, Form, Forms, read_engine, read_named_ports
from migrate.verify.ends import Ends
from migrate.verify.groups import Group, Groups, View, boxes, within
from migrate.verify.packets import PacketReads, Packets
from migrate.verify.space import Reads, Space, SpaceEnd


class ChangeKind(Enum):
    """How the second state differs from the first."""

    NEWLY_DENIED = "newly_denied"
    NEWLY_ALLOWED = "newly_allowed"


@dataclass(frozen=True, slots=True)
class Change:
    """A box of changed flows: every source with every destination for every packet, as bits of the space.

    Flows of a pod to itself are none. `side` is the direction whose answer changed: in an EGRESS box policies that
    select the sources did, the same ones for all sources; in an INGRESS box those that select the destinations.
    """

    kind: ChangeKind
    side: Direction
    sources: int
    destinations: int
    packets: int


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
        ends = Ends(self.space)
        self.before = Compiled(before, self.space, ends, self.packets, self._forms)
        self.after = Compiled(after, self.space, ends, self.packets, self._forms)

    @property
    def equal(self) -> bool:
        """Whether no class has another form; a difference hidden by the other direction may make this False."""
        return self.before.classes == self.after.classes

    def changes(self) -> Iterator[Change]:
        """All changed flows as disjoint boxes; none when both states admit the same flows."""
        if self.equal:
            return
        for family in (4, 6):
            senders, receivers = self._groups(Direction.EGRESS, family), self._groups(Direction.INGRESS, family)
            for sender in senders.changed:
                yield from self._of_group(Direction.EGRESS, sender, receivers.before, receivers.after)
            for receiver in receivers.changed:
                yield from self._of_group(Direction.INGRESS, receiver, senders.both, senders.both)

    def _of_group(self, side: Direction, group: Group, before: View, after: View) -> Iterator[Change]:
        """What a group loses where the other side lets it through before, and gains where it does after.

        Egress goes first: a flow that it loses or gains is no change of ingress, so that counts where egress
        allows the flow in both states.
        """
        found: dict[tuple[ChangeKind, int, int], int] = {}
        for kind, pieces, view in (
            (ChangeKind.NEWLY_DENIED, group.lost, before),
            (ChangeKind.NEWLY_ALLOWED, group.gained, after),
        ):
            for peers, own, packets in boxes(group.ends, pieces, view):
                found[kind, own, packets] = found.get((kind, own, packets), 0) | peers
        for (kind, own, packets), peers in found.items():
            sources, destinations = (own, peers) if side is Direction.EGRESS else (peers, own)
            if not self.alone(sources, destinations):
                yield Change(kind, side, sources, destinations, packets)

    def alone(self, sources: int, destinations: int) -> bool:
        """Whether both are one and the same pod."""
        return sources == destinations and not sources & sources - 1 and self.space.ends[lowest(sources)].size == 1

    def _groups(self, direction: Direction, family: int) -> Groups:
        """Ends of one family by their forms in both states. What is no pod has one group: nothing polices it."""
        merged: dict[tuple[int, int], list[int]] = {}
        changed: dict[tuple[tuple[int, int], object], list[int]] = {}
        for index, pod_class in enumerate(self.space.pod_classes):
            forms = self.before.form(index, direction), self.after.form(index, direction)
            ends = [end for end in pod_class.ends if self.space.ends[end].end.address.version == family]
            merged.setdefault(forms, []).extend(ends)
            if forms[0] != forms[1]:
                policies = self.before.policies(index, direction), self.after.policies(index, direction)
                changed.setdefault((forms, policies), []).extend(ends)
        free = self._free(family)
        groups = {forms: self._group(forms, bits(ends), family) for forms, ends in merged.items()}
        by_policies = (replace(groups[forms], ends=bits(ends)) for (forms, _), ends in changed.items())
        return Groups.of((*groups.values(), free), tuple(group for group in by_policies if group.lost or group.gained))

    def _group(self, forms: tuple[int, int], ends: int, family: int) -> Group:
        peers, packets = self.space.families[family], self.packets.of_family[family]
        before, after = (within(self._forms.forms[number], packets, peers) for number in forms)
        return Group.of(ends, before, after)

    def _free(self, family: int) -> Group:
        everyone = self.space.families[family]
        anything: Form = ((self.packets.of_family[family], everyone),)
        return Group.of(everyone & ~self.space.pods, anything, anything)

    def flow(self, change: Change) -> Flow:
        """One concrete flow of a box: its first source and destination, its most usual packet."""
        source, destination = lowest(change.sources), lowest(change.destinations)
        if self.alone(1 << source, 1 << destination):
            others = change.destinations & change.destinations - 1
            if others:
                destination = lowest(others)
            else:
                source = lowest(change.sources & change.sources - 1)
        ends = self._concrete(self.space.ends[source], self.space.ends[destination])
        return Flow(*ends, self.packets.example(change.packets))

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
        pod = self.space.pod_classes[entry.owner].pods[1]
        address = next(a for a in pod.addresses if a.version == entry.end.address.version)
        return End(EndKind.POD, address, pod=pod, api_server=entry.end.api_server)

    def _node(self, entry: SpaceEnd, pod_end: End) -> End:
        own = entry.place is Place.OWN_NODE
        nodes = self.space.node_classes[entry.owner].nodes
        node = next(node for node in nodes if (node.name == pod_end.node_name) is own)
        address = next(a for a in node.addresses if self.space.alike(a, entry.end.address))
        return End(EndKind.NODE, address, node=node, api_server=entry.end.api_server)
