"""Pods under the policies that Cilium will have: who is isolated, and what each can reach then and today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from migrate.futures import ENGINES, engine_over, future_objects
from migrate.model.cluster import Cluster, Pod
from migrate.model.documents import SnapshotHeader, Translation
from migrate.model.finding import Effect
from migrate.model.flow import Direction, End, EndKind, Flow, Packet, Word
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Subject
from migrate.scan.inventory import engines
from migrate.sources.endpoints import BACKEND_KINDS
from migrate.translate.kinds import is_policy
from migrate.translate.profiles import Profile, load_profile
from migrate.verify.simulate import Simulator


@dataclass(frozen=True, slots=True)
class Isolated:
    """Pods that the same policies select and isolate in one direction; `source` is today's object of the first one."""

    pods: tuple[Pod, ...]
    policies: tuple[ObjectRef, ...]
    source: ObjectRef

    @property
    def pod(self) -> Pod:
        """The first of the pods, which stands for all."""
        return self.pods[0]


@dataclass(frozen=True)
class Future:
    """The state after the cutover with all that was written, and today's where the snapshot shows who enforces it."""

    profile: Profile
    objects: Sequence[RawObject]
    _cluster: Cluster
    _after: Simulator
    _subjects: Sequence[Subject]
    _today: Simulator | None
    _sources: Mapping[ObjectRef, ObjectRef]

    @cached_property
    def _isolated(self) -> Mapping[Direction, tuple[Isolated, ...]]:
        return {direction: tuple(self._groups(direction)) for direction in Direction}

    def isolated(self, direction: Direction) -> tuple[Isolated, ...]:
        """Pods that some policy isolates in a direction, in groups."""
        return self._isolated[direction]

    def _groups(self, direction: Direction) -> Iterator[Isolated]:
        groups: dict[tuple[int, ...], list[Pod]] = {}
        for pods in _alike(self._cluster):
            selecting = self._after.selecting(pods[0], direction)
            if selecting and self._after.chain(pods[0], direction).enforced:
                groups.setdefault(selecting, []).extend(pods)
        for selecting, pods in groups.items():
            places = (self._subjects[index].provenance for index in selecting)
            refs = tuple(place.ref for place in places if place is not None)
            yield Isolated(tuple(sorted(pods, key=str)), refs, self._sources.get(refs[0], refs[0]))

    def lets_out(self, pod: Pod, end: End, packet: Packet) -> bool:
        """Whether the pod's own policies let it open a connection to an end."""
        side = self._after.side(Direction.EGRESS, Flow(end_of(pod), end, packet))
        return side.word is not Word.DENY

    def lets_in(self, pod: Pod, end: End, packet: Packet) -> bool:
        """Whether the pod's own policies let an end open a connection to it."""
        return self._after.side(Direction.INGRESS, Flow(end, end_of(pod), packet)).word is not Word.DENY

    def effect(self, direction: Direction, flow: Flow) -> Effect:
        """What it means that one side of a flow will be denied: narrower than today, or the same."""
        if self._today is None:
            return Effect.UNKNOWN
        return Effect.NONE if self._today.side(direction, flow).word is Word.DENY else Effect.NARROWS


def future_of(
    folder: Path,
    header: SnapshotHeader,
    objects: Sequence[RawObject],
    cluster: Cluster,
    translation: Translation,
) -> Future:
    """The future by the files of a translation. Raises InputError when they cannot be read."""
    profile = load_profile(translation.target)
    policies = [raw for raw in objects if is_policy(raw.ref) or raw.ref.kind in BACKEND_KINDS]
    future = future_objects(folder, translation, policies)
    engine = engine_over("cilium", future, cluster, profile).engine
    running = [ENGINES[name] for name in engines(header.facts) if name in ENGINES]
    today = None
    if len(running) == 1:
        today = Simulator(engine_over(running[0], policies, cluster, profile).engine, cluster)
    written = (
        (ObjectRef(item.api_version, item.kind, item.namespace, item.name), result.source)
        for result in translation.results
        for item in result.objects
    )
    return Future(profile, future, cluster, Simulator(engine, cluster), engine.subjects, today, dict(written))


def end_of(pod: Pod) -> End:
    """A pod, by its first address, as an end of flows."""
    return End(EndKind.POD, pod.addresses[0], pod=pod)


def _alike(cluster: Cluster) -> Iterator[list[Pod]]:
    """Pods with addresses of their own, by all that policies may select them by."""
    groups: dict[object, list[Pod]] = {}
    for pod in cluster.pods:
        if pod.addresses and not pod.host_network:
            groups.setdefault((pod.namespace, pod.labels, pod.service_account), []).append(pod)
    yield from groups.values()
