"""Changed flows grouped by what decides them, each group with a counterexample and with who is touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from migrate.model.cluster import Pod
from migrate.model.documents import Cause, CauseEnds, DecidedBy
from migrate.model.flow import Direction, EndKind, Flow
from migrate.verify.bits import bits, members
from migrate.verify.compare import Change, ChangeKind, Comparison
from migrate.verify.examples import Traits, example, no_traits
from migrate.verify.simulate import Answer, Simulator
from migrate.verify.simulation import decided_by
from migrate.verify.space import Space


class DisagreementError(AssertionError):
    """The class engine and the walk over the rules give two answers for one flow: a bug of ours."""


@dataclass(slots=True)
class _Found:
    """Changes of one cause, gathered. `peers` are the other ends by the ends whose rules changed."""

    flow: Flow
    before: DecidedBy
    after: DecidedBy
    sources: int = 0
    destinations: int = 0
    peers: dict[int, int] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        """Take in one box."""
        self.sources |= change.sources
        self.destinations |= change.destinations
        own, peers = change.sources, change.destinations
        if change.side is Direction.INGRESS:
            own, peers = peers, own
        self.peers[own] = self.peers.get(own, 0) | peers


@dataclass(frozen=True, slots=True)
class Changes:
    """All changed flows by cause, and how many pairs of pods have any: by causes they may be counted twice."""

    causes: tuple[Cause, ...]
    newly_denied: int
    newly_allowed: int


def find_changes(comparison: Comparison, traits: Traits = no_traits) -> Changes:
    """All changed flows by change, side and deciding rules. Raises DisagreementError when an example does not hold."""
    simulators = [Simulator(side.engine, comparison.space.cluster) for side in (comparison.before, comparison.after)]
    found: dict[tuple[str, str, str, str], _Found] = {}
    for change in comparison.changes():
        flow = comparison.flow(change)
        before, after = (simulator.answer(flow) for simulator in simulators)
        _check(change, flow, before, after)
        decided = _decided(before, change.side), _decided(after, change.side)
        key = (change.kind.value, change.side.value, str(decided[0]), str(decided[1]))
        found.setdefault(key, _Found(flow, *decided)).add(change)
    count = _Counting(comparison.space)
    ordered = sorted(found.items(), key=lambda item: item[0])
    causes = tuple(_cause(key[0], key[1], entry, count, traits) for key, entry in ordered)
    denied, allowed = (_pairs(kind.value, found, count) for kind in ChangeKind)
    return Changes(causes, denied, allowed)


def _pairs(kind: str, found: dict[tuple[str, str, str, str], _Found], count: _Counting) -> int:
    """Pairs of pods with some flow that changes in this way, at either side."""
    sides: dict[str, dict[int, int]] = {direction.value: {} for direction in Direction}
    for (change, side, _, _), entry in found.items():
        if change == kind:
            for own, peers in count.by_class(entry.peers).items():
                sides[side][own] = sides[side].get(own, 0) | peers
    return count.either(sides["egress"], sides["ingress"])


def _check(change: Change, flow: Flow, before: Answer, after: Answer) -> None:
    wanted = ("allow", "deny") if change.kind is ChangeKind.NEWLY_DENIED else ("deny", "allow")
    if (before.verdict, after.verdict) != wanted:
        raise DisagreementError(f"{flow}: {before.verdict} before, {after.verdict} after, not {change.kind.value}")


def _decided(answer: Answer, side: Direction) -> DecidedBy:
    if side is Direction.EGRESS:
        return decided_by(answer.egress, answer.egress_decision)
    return decided_by(answer.ingress, answer.ingress_decision)


def _cause(kind: str, side: str, entry: _Found, count: _Counting, traits: Traits) -> Cause:
    change: Literal["newly_denied", "newly_allowed"] = "newly_denied" if kind == "newly_denied" else "newly_allowed"
    return Cause(
        change=change,
        side="egress" if side == "egress" else "ingress",
        before=entry.before,
        after=entry.after,
        counterexample=example(entry.flow, traits),
        sources=count.ends(entry.sources),
        destinations=count.ends(entry.destinations),
        pod_pairs=count.pairs(count.by_class(entry.peers)),
    )


class _Counting:
    """Counts pods, workloads and namespaces among sets of ends. A pod with two addresses is one pod."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._firsts = bits(group.ends[0] for group in space.pod_classes)
        self._seconds = bits(group.ends[1] for group in space.pod_classes if len(group.ends) > 1)
        self._sizes: dict[int, int] = {}
        self._workloads: dict[int, frozenset[tuple[str, str]]] = {}

    def _pods(self, ends: int) -> int:
        """The first end of each class of pods that has one among the ends; a class's ends stand side by side."""
        return ends & self._firsts | (ends & self._seconds) >> 1

    def _size(self, pods: int) -> int:
        found = self._sizes.get(pods)
        if found is None:
            found = self._sizes[pods] = self._sum(pods)
        return found

    def by_class(self, peers: dict[int, int]) -> dict[int, int]:
        """The pods among the other ends for each class of pods; the peers are given for sets of ends."""
        found: dict[int, int] = {}
        for ends, others in peers.items():
            pods = self._pods(others)
            for own in members(self._pods(ends)):
                found[own] = found.get(own, 0) | pods
        return found

    def pairs(self, by_class: dict[int, int]) -> int:
        """Pairs of two different pods."""
        found = 0
        for own, pods in by_class.items():
            size = self._space.ends[own].size
            found += size * self._size(pods) - (size if pods >> own & 1 else 0)
        return found

    def either(self, receivers: dict[int, int], senders: dict[int, int]) -> int:
        """Pairs that are in one of both: receivers by their sender, and senders by their receiver."""
        both = 0
        by_senders = _turned(senders)
        for destinations, sources in _turned(receivers).items():
            for asking, asked in by_senders.items():
                shared = sources & asking, destinations & asked
                if all(shared):
                    first, second, same = (self._sum(pods) for pods in (*shared, shared[0] & shared[1]))
                    both += first * second - same
        return self.pairs(receivers) + self.pairs(senders) - both

    def _sum(self, pods: int) -> int:
        return sum(self._space.ends[end].size for end in members(pods))

    def ends(self, ends: int) -> CauseEnds:
        """Who is among the ends."""
        pods = self._pods(ends)
        workloads: set[tuple[str, str]] = set()
        for end in members(pods):
            workloads |= self._of_class(self._space.ends[end].owner)
        others = {self._space.ends[end].end.kind for end in members(ends & ~self._space.pods)}
        return CauseEnds(
            pods=self._size(pods),
            workloads=len(workloads),
            namespaces=tuple(sorted({namespace for namespace, _ in workloads})),
            nodes=EndKind.NODE in others,
            outside=EndKind.OUTSIDE in others,
        )

    def _of_class(self, owner: int) -> frozenset[tuple[str, str]]:
        found = self._workloads.get(owner)
        if found is None:
            pods = self._space.pod_classes[owner].pods
            found = self._workloads[owner] = frozenset((pod.namespace, workload(pod)) for pod in pods)
        return found


def _turned(peers: dict[int, int]) -> dict[int, int]:
    """The owners for each set of peers."""
    found: dict[int, list[int]] = {}
    for own, pods in peers.items():
        found.setdefault(pods, []).append(own)
    return {pods: bits(owners) for pods, owners in found.items()}


def workload(pod: Pod) -> str:
    """The owner of a pod such as "Deployment/web", or the pod itself where nothing owns it."""
    return pod.workload or f"Pod/{pod.name}"
