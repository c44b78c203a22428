"""The flow space of a cluster under some engines, cut into pieces that no rule in play can tell apart.

Ends are grouped into classes: pods by the labels, ports and addresses that rules read, nodes likewise, the outside by
the prefix partition of all CIDRs. Packets are cut by protocol, port, source port, ICMP type and code. Nothing is
sampled: every member of a class gets the same verdict as its representative.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.flow import End, EndKind
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import Addresses, AllOf, AnyOf, At, Except, Nodes, Place, Pods, Predicate
from migrate.model.selectors import NEGATIVE, Operator, Requirement, Selector, requirements
from migrate.verify.bits import bits, union

NamedPorts: TypeAlias = frozenset[tuple[str, str, int]]
"""The ports that a pod names: name, protocol and number."""
NamedNumbers: TypeAlias = frozenset[tuple[str, int]]
"""Names and numbers of those for one protocol."""

_TOP = {4: 2**32 - 1, 6: 2**128 - 1}


@dataclass(slots=True)
class Reads:
    """What rules look at: label keys, address boundaries, named ports. Filled before the space is cut."""

    keys: set[tuple[Scope, str]] = field(default_factory=set)
    node_keys: set[str] = field(default_factory=set)
    cuts: dict[int, set[int]] = field(default_factory=lambda: {4: {0}, 6: {0}})
    inside_cuts: dict[int, set[int]] = field(default_factory=lambda: {4: {0}, 6: {0}})
    names: set[str] = field(default_factory=set)

    def selector(self, selector: Selector) -> None:
        """Note the labels that a selector over pods reads."""
        for requirement in requirements(selector):
            self.keys.add((requirement.scope, requirement.key))

    def predicate(self, predicate: Predicate, outside_only: bool = False) -> None:
        """Note what a predicate reads; addresses of the outside alone do not split pods and nodes."""
        if isinstance(predicate, Pods):
            self.selector(predicate.selector)
        elif isinstance(predicate, Nodes):
            self.node_keys |= {requirement.key for requirement in requirements(predicate.selector)}
        elif isinstance(predicate, Addresses):
            self._addresses(predicate.addresses, outside_only)
        elif isinstance(predicate, AllOf):
            only = outside_only or any(_outside_only(term) for term in predicate.terms)
            for term in predicate.terms:
                self.predicate(term, only)
        elif isinstance(predicate, AnyOf):
            for term in predicate.terms:
                self.predicate(term, outside_only)
        elif isinstance(predicate, Except):
            self.predicate(predicate.term, outside_only)

    def _addresses(self, addresses: AddressSet, outside_only: bool) -> None:
        for family, ranges in ((4, addresses.v4), (6, addresses.v6)):
            points = {point for low, high in ranges for point in (low, high + 1) if point <= _TOP[family]}
            self.cuts[family] |= points
            if not outside_only:
                self.inside_cuts[family] |= points


def _outside_only(predicate: Predicate) -> bool:
    """Whether the predicate can only hold outside the cluster."""
    if isinstance(predicate, AnyOf):
        return bool(predicate.terms) and all(_outside_only(term) for term in predicate.terms)
    return predicate == At(Place.OUTSIDE)


@dataclass(frozen=True, slots=True)
class PodClass:
    """Pods that no rule can tell apart. `ends` are indexes of the class's ends, one per IP family it has."""

    pods: tuple[Pod, ...]
    ends: tuple[int, ...]
    node_class: int | None
    named_ports: NamedPorts

    @property
    def sample(self) -> Pod:
        """The first pod, which stands for all."""
        return self.pods[0]


@dataclass(frozen=True, slots=True)
class NodeClass:
    """Nodes that no rule can tell apart."""

    nodes: tuple[Node, ...]

    @property
    def sample(self) -> Node:
        """The first node."""
        return self.nodes[0]


@dataclass(frozen=True, slots=True)
class SpaceEnd:
    """One end of the space: an End that stands for a class, and how many pods, nodes or addresses it stands for.

    `place` is OWN_NODE or OTHER_NODE for nodes, which are two ends each: as seen from pods on and off them.
    `owner` is the index of the class among those of pods or nodes, -1 outside.
    """

    end: End
    place: Place
    size: int
    owner: int


class Space:
    """All ends of a cluster as bits of an integer; bit i is `ends[i]`."""

    def __init__(self, cluster: Cluster, reads: Reads) -> None:
        self.cluster = cluster
        self._cuts = {family: sorted(points) for family, points in reads.cuts.items()}
        self._inside = {family: sorted(points) for family, points in reads.inside_cuts.items()}
        self._keys = {scope: sorted(key for found, key in reads.keys if found is scope) for scope in Scope}
        self._names = frozenset(reads.names)
        self._api_server = frozenset((address.version, int(address)) for address in cluster.api_server)
        self.ends: list[SpaceEnd] = []
        self.node_classes = self._group_nodes(sorted(reads.node_keys))
        self._class_of_node = {
            node.name: index for index, group in enumerate(self.node_classes) for node in group.nodes
        }
        self.pod_classes = self._group_pods()
        self._add_nodes()
        self._add_outside()

    def alike(self, first: Address, second: Address) -> bool:
        """Whether no rule can tell two addresses of pods or nodes apart."""
        return self._trait(first) == self._trait(second)

    def _trait(self, address: Address) -> tuple[int, int, bool]:
        family, number = address.version, int(address)
        return (family, bisect_right(self._inside[family], number), (family, number) in self._api_server)

    def _group_nodes(self, keys: Sequence[str]) -> tuple[NodeClass, ...]:
        groups: dict[object, list[Node]] = {}
        for node in self.cluster.nodes:
            addresses = frozenset(self._trait(address) for address in node.addresses)
            labels = tuple(node.labels.get(key) for key in keys)
            groups.setdefault((addresses, labels), []).append(node)
        return tuple(NodeClass(tuple(nodes)) for nodes in groups.values())

    def _group_pods(self) -> tuple[PodClass, ...]:
        groups: dict[object, list[Pod]] = {}
        known: dict[tuple[int, ...], object] = {}
        for pod in self.cluster.pods:
            if pod.host_network or not pod.addresses:
                continue
            # Many pods share one value of their labels and of their ports: those are looked at once.
            shared = id(pod.labels), id(pod.namespace_labels), id(pod.service_account_labels), id(pod.named_ports)
            if (read := known.get(shared)) is None:
                read = known[shared] = (self._values(pod), self._ports(pod))
            traits = tuple([self._trait(address) for address in pod.addresses])
            key = (read, traits if len(traits) == 1 else tuple(sorted(traits)), self._class_of_node.get(pod.node or ""))
            groups.setdefault(key, []).append(pod)
        return tuple(self._pod_class(index, pods) for index, pods in enumerate(groups.values()))

    def _values(self, pod: Pod) -> tuple[str | None, ...]:
        """The values of the labels in play."""
        labels = [(dict(pod.labels_of(scope).pairs), keys) for scope, keys in self._keys.items()]
        return tuple([values.get(key) for values, keys in labels for key in keys])

    def _ports(self, pod: Pod) -> NamedPorts:
        return frozenset([(p.name, p.protocol, p.port) for p in pod.named_ports if p.name in self._names])

    def _pod_class(self, owner: int, pods: list[Pod]) -> PodClass:
        sample = pods[0]
        indexes: list[int] = []
        for family in sorted({address.version for address in sample.addresses}):
            address = next(a for a in sample.addresses if a.version == family)
            end = End(EndKind.POD, address, pod=sample, api_server=self._trait(address)[2])
            indexes.append(len(self.ends))
            self.ends.append(SpaceEnd(end, Place.POD, len(pods), owner))
        return PodClass(tuple(pods), tuple(indexes), self._class_of_node.get(sample.node or ""), self._ports(sample))

    def _add_nodes(self) -> None:
        for index, group in enumerate(self.node_classes):
            for place in (Place.OWN_NODE, Place.OTHER_NODE):
                first = {self._trait(address): address for address in reversed(group.sample.addresses)}
                for _, address in sorted(first.items()):
                    end = End(EndKind.NODE, address, node=group.sample, api_server=self._trait(address)[2])
                    self.ends.append(SpaceEnd(end, place, len(group.nodes), index))

    def _add_outside(self) -> None:
        """One end per piece of each family that has an address nobody in the cluster owns."""
        owned: dict[int, list[int]] = {4: [], 6: []}
        for addresses in (
            *(pod.addresses for pod in self.cluster.pods),
            *(node.addresses for node in self.cluster.nodes),
        ):
            for address in addresses:
                owned[address.version].append(int(address))
        taken = {family: set(numbers) for family, numbers in owned.items()}
        outside_api = [a for a in dict.fromkeys(self.cluster.api_server) if int(a) not in taken[a.version]]
        for address in outside_api:
            end = End(EndKind.OUTSIDE, address, api_server=True)
            self.ends.append(SpaceEnd(end, Place.OUTSIDE, 1, -1))
        for family in (4, 6):
            known = sorted(taken[family].union(int(a) for a in outside_api if a.version == family))
            for low, high in _pieces(self._cuts[family], _TOP[family]):
                first = _first_free(low, high, known)
                if first is not None:
                    inside = bisect_right(known, high) - bisect_left(known, low)
                    end = End(EndKind.OUTSIDE, IPv4Address(first) if family == 4 else IPv6Address(first))
                    self.ends.append(SpaceEnd(end, Place.OUTSIDE, high - low + 1 - inside, -1))

    @cached_property
    def everything(self) -> int:
        """All ends."""
        return (1 << len(self.ends)) - 1

    @cached_property
    def families(self) -> dict[int, int]:
        """The ends of each IP family."""
        return {
            family: bits(i for i, end in enumerate(self.ends) if end.end.address.version == family) for family in (4, 6)
        }

    @cached_property
    def pods(self) -> int:
        """All ends that are pods."""
        return bits(i for i, end in enumerate(self.ends) if end.place is Place.POD)

    def at(self, place: Place) -> int:
        """The ends at a place; ITSELF is no end of its own."""
        if place is Place.API_SERVER:
            return bits(index for index, entry in enumerate(self.ends) if entry.end.api_server)
        return bits(index for index, entry in enumerate(self.ends) if entry.place is place)

    def with_label(self, requirement: Requirement) -> int:
        """The pods for which a requirement holds."""
        if requirement.operator in NEGATIVE:
            return self.pods & ~self.with_label(requirement.negated())
        values = self._labels[requirement.scope, requirement.key]
        if requirement.operator is Operator.IN:
            return union(values.get(value, 0) for value in requirement.values)
        key = requirement.key
        return union(ends for value, ends in values.items() if requirement.matches(Labels(((key, value),))))

    @cached_property
    def _labels(self) -> dict[tuple[Scope, str], dict[str, int]]:
        """For each label key in play the pods by value."""
        found: dict[tuple[Scope, str], dict[str, list[int]]] = {(s, k): {} for s in Scope for k in self._keys[s]}
        for pod_class in self.pod_classes:
            for (scope, key), values in found.items():
                value = pod_class.sample.labels_of(scope).get(key)
                if value is not None:
                    values.setdefault(value, []).extend(pod_class.ends)
        return {key: {value: bits(ends) for value, ends in values.items()} for key, values in found.items()}

    @cached_property
    def by_named_ports(self) -> dict[NamedPorts, int]:
        """All ends by the ports that they name."""
        found: dict[NamedPorts, list[int]] = {}
        for pod_class in self.pod_classes:
            found.setdefault(pod_class.named_ports, []).extend(pod_class.ends)
        named = {ports: bits(ends) for ports, ends in found.items()}
        return named | {frozenset(): named.get(frozenset(), 0) | self.everything & ~self.pods}

    def inside(self, addresses: AddressSet) -> int:
        """The ends that have one of the addresses, which are made of pieces between cuts."""
        found = 0
        for family, ranges in ((4, addresses.v4), (6, addresses.v6)):
            below = self._below[family]
            found |= union(below[high + 1] & ~below[low] for low, high in ranges)
        return found

    @cached_property
    def _below(self) -> dict[int, dict[int, int]]:
        """For each family and cut the ends with lower addresses."""
        return {family: dict(self._sums(family)) for family in (4, 6)}

    def _sums(self, family: int) -> Iterator[tuple[int, int]]:
        pairs = [(int(e.end.address), i) for i, e in enumerate(self.ends) if e.end.address.version == family]
        pairs.sort()
        found, position = 0, 0
        for cut in (*self._cuts[family], _TOP[family] + 1):
            start, position = position, bisect_left(pairs, (cut, 0), lo=position)
            found |= bits(index for _, index in pairs[start:position])
            yield cut, found

    def seen_from(self, pod_class: PodClass) -> int:
        """The ends that exist for pods of a class: their own node, and others if there are any."""
        found = self._seen.get(pod_class.node_class)
        if found is None:
            found = bits(i for i, end in enumerate(self.ends) if self._exists(end, pod_class.node_class))
            self._seen[pod_class.node_class] = found
        return found

    @cached_property
    def _seen(self) -> dict[int | None, int]:
        return {}

    def _exists(self, end: SpaceEnd, own: int | None) -> bool:
        if end.place is Place.OWN_NODE:
            return end.owner == own
        if end.place is Place.OTHER_NODE:
            return end.owner != own or end.size > 1
        return True


def _pieces(cuts: Sequence[int], top: int) -> Iterable[tuple[int, int]]:
    for index, low in enumerate(cuts):
        yield low, (cuts[index + 1] - 1 if index + 1 < len(cuts) else top)


def _first_free(low: int, high: int, taken: Sequence[int]) -> int | None:
    """The lowest address of a piece that nobody owns; 0.0.0.0 and :: are passed over where they can be."""
    candidate = low if low else min(1, high)
    start = bisect_left(taken, candidate)
    candidate += bisect_right(range(start, len(taken)), candidate - start, key=lambda index: taken[index] - index)
    return candidate if candidate <= high else None
