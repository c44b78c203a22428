"""Sets of flows as unions of boxes (pods × peers × packets), closed under intersection and subtraction.

Pods are told apart by label only, so that a result also holds for pods that do not exist yet. Peers are split into
kinds that Cilium never confuses: pods, addresses outside, the pod's own node, other nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.addresses import AddressSet
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Scope
from migrate.model.selectors import Conjunction, Operator, Requirement, TooManyTermsError, simplify
from migrate.sources.kubernetes import NAMESPACE_NAME

PodSet: TypeAlias = tuple[Conjunction, ...]
"""Pods for which one of the conjunctions holds; `((),)` is every pod, `()` none."""

EVERY_POD: PodSet = ((),)
NO_POD: PodSet = ()
CAP = 128
"""The most conjunctions that a set of pods may have before it is given up."""

_effort: ContextVar[list[int] | None] = ContextVar("effort", default=None)


@contextmanager
def limited(steps: int) -> Iterator[None]:
    """Within this, sets are given up (TooManyTermsError) after so many comparisons of two conjunctions.

    The same input is given up at the same place on every machine.
    """
    token = _effort.set([steps])
    try:
        yield
    finally:
        _effort.reset(token)


def _spend() -> None:
    left = _effort.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise TooManyTermsError("more steps than the cap")


def _implied(requirement: Requirement, conjunction: Conjunction) -> bool:
    """Whether every pod of the conjunction fulfils the requirement."""
    if requirement.operator in _DECIDABLE and requirement in conjunction:
        return True
    return simplify((*conjunction, requirement.negated())) is None or _always(requirement)


_DECIDABLE = (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)
"""Operators that contradict their own negation in the normal form."""


def _always(requirement: Requirement) -> bool:
    """Whether all pods fulfil it: each is in a namespace."""
    named = requirement.scope is Scope.NAMESPACE and requirement.key == NAMESPACE_NAME
    return named and requirement.operator is Operator.EXISTS


def covers(wider: Conjunction, narrower: Conjunction) -> bool:
    """Whether every pod of the narrower conjunction is one of the wider."""
    _spend()
    return all(_implied(requirement, narrower) for requirement in wider)


def union_of_pods(sets: Iterable[PodSet]) -> PodSet:
    """Pods that are in any of the sets, without conjunctions that another one covers."""
    unique = sorted({c for one in sets for c in one}, key=lambda c: (len(c), [r.sort_key() for r in c]))
    kept: list[Conjunction] = []
    for candidate in unique:
        if not any(covers(other, candidate) for other in kept):
            kept = [other for other in kept if not covers(candidate, other)]
            kept.append(candidate)
    return tuple(_join_values(kept))


def _join_values(conjunctions: list[Conjunction]) -> list[Conjunction]:
    """The same pods with alternatives that differ in the values of one In made one."""
    found = list(conjunctions)
    merged = True
    while merged:
        merged = False
        for i, first in enumerate(found):
            for j in range(i + 1, len(found)):
                both = _joined(first, found[j])
                if both is not None:
                    found[i] = both
                    del found[j]
                    merged = True
                    break
            if merged:
                break
    return found


def _joined(first: Conjunction, second: Conjunction) -> Conjunction | None:
    _spend()
    mine, theirs = set(first) - set(second), set(second) - set(first)
    if len(mine) != 1 or len(theirs) != 1:
        return None
    (a,), (b,) = mine, theirs
    if (a.scope, a.key) != (b.scope, b.key) or a.operator is not Operator.IN or b.operator is not Operator.IN:
        return None
    rest = [r for r in first if r is not a and r != a]
    values = a.values + b.values
    return tuple(sorted((*rest, Requirement(a.key, Operator.IN, values, a.scope)), key=Requirement.sort_key))


def common_pods(first: PodSet, second: PodSet) -> PodSet:
    """Pods that are in both sets. Raises TooManyTermsError above the cap."""
    if first == EVERY_POD:
        return second
    if second == EVERY_POD:
        return first
    both = tuple(c for a in first for b in second if (c := _both(a, b)) is not None)
    return _capped(union_of_pods((both,)))


def _both(first: Conjunction, second: Conjunction) -> Conjunction | None:
    _spend()
    return None if _exclude(first, second) else simplify(first + second)


def _exclude(first: Conjunction, second: Conjunction) -> bool:
    """Whether two conjunctions ask for different values of one label: a quick sign that no pod is in both."""
    return any(
        one.operator is Operator.IN
        and other.operator is Operator.IN
        and one.key == other.key
        and one.scope is other.scope
        and not any(value in other.values for value in one.values)
        for one in first
        for other in second
    )


def _meet(first: PodSet, second: PodSet) -> bool:
    """Whether some pod may be in both sets."""
    if EVERY_POD in (first, second):
        return bool(first and second)
    return any(_both(a, b) is not None for a in first for b in second)


def pods_without(pods: PodSet, taken: PodSet) -> PodSet:
    """Pods of the first set that are not in the second. Raises TooManyTermsError above the cap."""
    left = pods
    for conjunction in taken:
        parts = [_without(one, conjunction) for one in left]
        left = _capped(union_of_pods(parts))
    return left


def _without(pods: Conjunction, taken: Conjunction) -> PodSet:
    _spend()
    if _exclude(pods, taken) or simplify(pods + taken) is None:
        return (pods,)
    found: list[Conjunction] = []
    for requirement in taken:
        if _implied(requirement, pods):
            continue
        part = simplify((*pods, requirement.negated()))
        if part is not None:
            found.append(part)
    return tuple(found)


def _capped(pods: PodSet) -> PodSet:
    if len(pods) > CAP:
        raise TooManyTermsError(f"more than {CAP} alternatives")
    return pods


@dataclass(frozen=True, slots=True)
class PeerSet:
    """The other ends: pods by label, addresses outside the cluster, the pod's own node, other nodes."""

    pods: PodSet = NO_POD
    addresses: AddressSet = AddressSet()
    own_node: bool = False
    other_nodes: bool = False

    def __and__(self, other: PeerSet) -> PeerSet:
        return PeerSet(
            common_pods(self.pods, other.pods),
            self.addresses & other.addresses,
            self.own_node and other.own_node,
            self.other_nodes and other.other_nodes,
        )

    def __sub__(self, other: PeerSet) -> PeerSet:
        return PeerSet(
            pods_without(self.pods, other.pods),
            self.addresses - other.addresses,
            self.own_node and not other.own_node,
            self.other_nodes and not other.other_nodes,
        )

    def __or__(self, other: PeerSet) -> PeerSet:
        return PeerSet(
            union_of_pods((self.pods, other.pods)),
            self.addresses | other.addresses,
            self.own_node or other.own_node,
            self.other_nodes or other.other_nodes,
        )

    def __bool__(self) -> bool:
        return bool(self.addresses or self.has_insiders)

    @property
    def has_insiders(self) -> bool:
        """Whether there are pods or nodes among them."""
        return bool(self.pods or self.own_node or self.other_nodes)


ANY_PEER = PeerSet(EVERY_POD, AddressSet.everything(), True, True)
NOBODY = PeerSet()

PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")
ICMP_PROTOCOLS = ("ICMP", "ICMPv6")
OTHER = "other"
_NAMED = (1, 6, 17, 58, 132)
_WHOLE = {
    **dict.fromkeys(PORT_PROTOCOLS, IntervalSet(((0, 65535),))),
    **dict.fromkeys(ICMP_PROTOCOLS, IntervalSet(((0, 255),))),
    OTHER: IntervalSet(((0, 255),)) - IntervalSet.of((number, number) for number in _NAMED),
}


@dataclass(frozen=True, slots=True)
class TrafficSet:
    """Packets by protocol: destination ports, ICMP types, or the numbers of protocols that have neither."""

    parts: tuple[tuple[str, IntervalSet], ...] = ()

    @classmethod
    def of(cls, parts: Iterable[tuple[str, IntervalSet]]) -> TrafficSet:
        """The union of parts."""
        found: dict[str, IntervalSet] = {}
        for protocol, values in parts:
            found[protocol] = found.get(protocol, IntervalSet()) | values
        return cls(tuple(sorted((protocol, values) for protocol, values in found.items() if values)))

    @classmethod
    def whole(cls, *protocols: str) -> TrafficSet:
        """All packets of some protocols."""
        return cls.of((protocol, _WHOLE[protocol]) for protocol in protocols)

    def values(self, protocol: str) -> IntervalSet:
        """What is in the set of one protocol."""
        return dict(self.parts).get(protocol, IntervalSet())

    def holds_all(self, protocol: str) -> bool:
        """Whether every packet of a protocol is in the set."""
        return self.values(protocol) == _WHOLE[protocol]

    def __and__(self, other: TrafficSet) -> TrafficSet:
        return TrafficSet.of((protocol, values & other.values(protocol)) for protocol, values in self.parts)

    def __sub__(self, other: TrafficSet) -> TrafficSet:
        return TrafficSet.of((protocol, values - other.values(protocol)) for protocol, values in self.parts)

    def __or__(self, other: TrafficSet) -> TrafficSet:
        return TrafficSet.of((*self.parts, *other.parts))

    def __bool__(self) -> bool:
        return bool(self.parts)


ANY_TRAFFIC = TrafficSet.whole(*_WHOLE)
_MANY_TYPES = 100


def completed(traffic: TrafficSet) -> TrafficSet:
    """Whole protocols in place of all but a few ICMP types, everything in place of most of everything."""
    found = traffic
    for protocol in ICMP_PROTOCOLS:
        if traffic.values(protocol).size() > _MANY_TYPES:
            found |= TrafficSet.whole(protocol)
    return ANY_TRAFFIC if found.holds_all(OTHER) else found


NO_TRAFFIC = TrafficSet()


@dataclass(frozen=True, slots=True)
class Box:
    """All flows of one direction between some pods and some peers with some packets."""

    pods: PodSet
    peers: PeerSet
    traffic: TrafficSet

    def __and__(self, other: Box) -> Box:
        return Box(common_pods(self.pods, other.pods), self.peers & other.peers, self.traffic & other.traffic)

    def __bool__(self) -> bool:
        return bool(self.pods and self.peers and self.traffic)

    def overlaps(self, other: Box) -> bool:
        """Whether some flow may be in both; labels that pods happen to have are not looked at."""
        return bool(self.traffic & other.traffic) and _meet(self.pods, other.pods) and bool(self.peers & other.peers)

    def without(self, other: Box) -> Iterator[Box]:
        """The flows of this box that are not in the other, as boxes that may share flows."""
        if not self.overlaps(other):
            yield self
            return
        inside = common_pods(self.pods, other.pods)
        common_peers = self.peers & other.peers
        parts = (
            Box(pods_without(self.pods, other.pods), self.peers, self.traffic),
            Box(inside, self.peers - other.peers, self.traffic),
            Box(inside, common_peers, self.traffic - other.traffic),
        )
        yield from (part for part in parts if part)


Region: TypeAlias = tuple[Box, ...]
"""Flows that are in any of the boxes."""


def region_without(region: Iterable[Box], taken: Iterable[Box]) -> Region:
    """The flows of a region that are in none of the boxes. Raises TooManyTermsError above the cap."""
    left = tuple(region)
    for box in taken:
        left = tuple(part for one in left for part in one.without(box))
        if len(left) > CAP:
            raise TooManyTermsError(f"more than {CAP} boxes")
    return left


def touching(boxes: Iterable[Box], region: Iterable[Box]) -> Iterator[Box]:
    """The boxes that may share pods with the region, judged by the values of labels only."""
    wanted = [conjunction for box in region for conjunction in box.pods]
    return (box for box in boxes if not all(_exclude(one, other) for one in box.pods for other in wanted))


def common_region(first: Iterable[Box], second: Iterable[Box]) -> Region:
    """The flows that are in both regions."""
    others = tuple(second)
    return tuple(both for one in first for other in others if (both := one & other))
