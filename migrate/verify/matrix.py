"""Who reaches whom before and after, by namespace or by workload, worked out from the forms of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from migrate.errors import InputError
from migrate.model.documents import Matrix
from migrate.model.flow import Direction
from migrate.model.ruleset import Place
from migrate.verify.bits import bits, members, union
from migrate.verify.causes import workload
from migrate.verify.compare import Comparison
from migrate.verify.compile import Compiled, Form

MOST_NAMES = 5_000
NODES, OUTSIDE = "nodes", "outside"
_FAMILIES = (4, 6)


def make_matrix(comparison: Comparison, by: Literal["namespace", "workload"]) -> Matrix:
    """The matrix of both states over the comparison's cluster. Raises InputError when it is too large to be of use."""
    groups = tuple(_groups(comparison, by))
    if len(groups) > MOST_NAMES:
        raise InputError(
            f"the matrix by {by} would have {len(groups)} rows, more than {MOST_NAMES}; take a coarser one"
        )
    before, after = (_Side(comparison, state, groups).rows() for state in (comparison.before, comparison.after))
    return Matrix(by=by, names=tuple(group.name for group in groups), before=before, after=after)


@dataclass(frozen=True, slots=True)
class _Group:
    """What has one name. Of the classes with ends in `single` it has one pod, which does not talk to itself."""

    name: str
    ends: int
    single: int


def _groups(comparison: Comparison, by: str) -> Iterator[_Group]:
    """A class whose pods have several names is part of each."""
    space = comparison.space
    counts: dict[str, Counter[int]] = {}
    for group in space.pod_classes:
        for pod in group.pods:
            name = pod.namespace if by == "namespace" else f"{pod.namespace}/{workload(pod)}"
            counts.setdefault(name, Counter()).update(group.ends)
    for name, count in sorted(counts.items()):
        yield _Group(name, bits(count), bits(end for end, pods in count.items() if pods == 1))
    yield _Group(NODES, space.at(Place.OWN_NODE) | space.at(Place.OTHER_NODE), 0)
    yield _Group(OUTSIDE, space.at(Place.OUTSIDE), 0)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Ends of one family that share a form in some direction: what they let through, and with whom they can talk.

    `full` are the peers with whom they exchange every packet, `any` those with whom they exchange some.
    """

    ends: int
    form: Form
    seen: int
    full: int
    any: int


@dataclass(slots=True)
class _Side:
    """One state. Everything is worked out by kinds of ends, never by pairs of pods."""

    comparison: Comparison
    compiled: Compiled
    groups: tuple[_Group, ...]
    senders: dict[int, list[_Kind]] = field(default_factory=dict)
    receivers: dict[int, list[_Kind]] = field(default_factory=dict)

    def rows(self) -> tuple[str, ...]:
        """One row for each group, with a letter for each group."""
        for family in _FAMILIES:
            self.senders[family] = list(self._kinds(Direction.EGRESS, family))
            self.receivers[family] = list(self._kinds(Direction.INGRESS, family))
        return tuple(self._row(group) for group in self.groups)

    def _kinds(self, direction: Direction, family: int) -> Iterator[_Kind]:
        space, packets = self.comparison.space, self.comparison.packets
        everyone, every = space.families[family], packets.of_family[family]
        merged: dict[tuple[int, int], list[int]] = {}
        samples: dict[tuple[int, int], int] = {}
        for index, group in enumerate(space.pod_classes):
            key = self.compiled.form(index, direction), space.seen_from(group) & everyone
            merged.setdefault(key, []).extend(end for end in group.ends if everyone >> end & 1)
            samples.setdefault(key, index)
        for (number, seen), ends in merged.items():
            form = _within(self.compiled.pieces(samples[number, seen], direction), every, seen)
            yield _Kind(bits(ends), form, seen, _full(form, every), union(peers for _, peers in form))
        free = everyone & ~space.pods
        yield _Kind(free, ((every, space.pods & everyone),), space.pods & everyone, space.pods, space.pods & everyone)

    def _row(self, source: _Group) -> str:
        others, itself = _Reach(), _Reach()
        for family in _FAMILIES:
            for sender in self.senders[family]:
                own = sender.ends & source.ends
                if own:
                    self._to_others(others, sender, own, family)
                    self._to_itself(itself, sender, own, source, family)
        return "".join(_letter(group.ends, itself if group is source else others) for group in self.groups)

    def _to_others(self, found: _Reach, sender: _Kind, own: int, family: int) -> None:
        for receiver in self.receivers[family]:
            able = own & receiver.seen
            if able:
                found.add(sender, receiver, receiver.ends & sender.seen, able)

    def _to_itself(self, found: _Reach, sender: _Kind, own: int, source: _Group, family: int) -> None:
        """Flows inside a group, where a pod that is the only one of its class does not meet itself."""
        for receiver in self.receivers[family]:
            there = receiver.ends & sender.seen & source.ends
            if there:
                alone = there & own & source.single
                found.add(sender, receiver, there & ~alone, own & receiver.seen)
                for end in members(alone):
                    found.add(sender, receiver, 1 << end, own & ~(1 << end) & receiver.seen)


@dataclass(slots=True)
class _Reach:
    """Ends that one of some sources could reach, does reach with some packet, lacks some packet to reach."""

    possible: int = 0
    some: int = 0
    lacking: int = 0

    def add(self, sender: _Kind, receiver: _Kind, ends: int, sources: int) -> None:
        """Flows from some sources of one kind to some ends of another; both can see each other."""
        if not sources:
            return
        self.possible |= ends
        if not sources & receiver.any:
            self.lacking |= ends
            return
        self.lacking |= ends if sources & ~receiver.full else ends & ~sender.full
        self.some |= _reached(sender, receiver, ends, sources)


def _reached(sender: _Kind, receiver: _Kind, ends: int, sources: int) -> int:
    """The ends that one of the sources reaches with some packet that both sides let through."""
    if sources & receiver.full:
        return ends & sender.any
    packets = union(atoms for atoms, peers in receiver.form if peers & sources)
    return ends & union(peers for atoms, peers in sender.form if atoms & packets)


def _letter(ends: int, reach: _Reach) -> str:
    if not ends & reach.possible:
        return " "
    if not ends & reach.some:
        return "-"
    return "s" if ends & reach.lacking else "a"


def _within(form: Form, packets: int, ends: int) -> Form:
    cut = ((atoms & packets, peers & ends) for atoms, peers in form)
    return tuple((atoms, peers) for atoms, peers in cut if atoms and peers)


def _full(form: Form, every: int) -> int:
    """The peers for whom all packets are allowed: those that are in every piece, if the pieces are everything."""
    if union(atoms for atoms, _ in form) != every:
        return 0
    found = -1
    for _, peers in form:
        found &= peers
    return found if form else 0
