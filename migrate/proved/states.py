"""Both sides of a translation: the policies' text, and Cilium with the written files, read back like any others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import msgspec

from migrate.compared import counts, intent_engine, state
from migrate.model.cluster import Cluster
from migrate.model.documents import EmittedObject, Result, TranslationResult
from migrate.model.flow import Direction
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import At, Chain, Engine, Place, Predicate, Provenance, Subject
from migrate.scan.files import read_files
from migrate.sources import calico
from migrate.sources.calico_tiers import DEFAULT_TIER
from migrate.sources.cluster import read_cluster
from migrate.sources.endpoints import BACKEND_KINDS
from migrate.translate.engine import Outcome
from migrate.translate.kinds import CALICO_POLICIES, CILIUM_GROUP
from migrate.translate.objects import CIDR_GROUP
from migrate.translate.profiles import Profile
from migrate.verify.verification import State

_GOOD = (Result.KEPT, Result.EXACT, Result.EXACT_HERE)
_KUBERNETES = "networking.k8s.io"
_FOLDER = "cilium/"
_SETTINGS = "FelixConfiguration"


@dataclass(frozen=True, slots=True)
class OwnNodePoliced:
    """An engine for which a pod's connections to its own node are like any others."""

    engine: Engine

    @property
    def subjects(self) -> Sequence[Subject]:
        """Those of the engine."""
        return self.engine.subjects

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """That of the engine."""
        return self.engine.chain(direction, policies)

    @property
    def exempt(self) -> dict[Direction, Predicate]:
        """Of egress only the pod itself."""
        return {**self.engine.exempt, Direction.EGRESS: At(Place.ITSELF)}

    @property
    def unknown(self) -> tuple[Provenance, ...]:
        """What the engine does not know."""
        return self.engine.unknown


@dataclass(frozen=True, slots=True)
class Unit:
    """Results that share written objects, their sources, and what there will be in place of them."""

    results: tuple[TranslationResult, ...]
    before: tuple[RawObject, ...]
    after: tuple[RawObject, ...]

    @property
    def claims_equal(self) -> bool:
        """Whether all of it is said to mean the same, be it here only."""
        return all(result.result in _GOOD for result in self.results)

    @property
    def for_any_pods(self) -> bool:
        """Whether all of it is said to mean the same for any pods."""
        return all(is_for_any_pods(result) for result in self.results)


def is_for_any_pods(result: TranslationResult) -> bool:
    """Whether a result claims to hold beyond this snapshot."""
    return result.result is Result.EXACT or (result.result is Result.KEPT and not result.assumptions)


class Sides:
    """The units of a translation, and both states for any of them.

    `written` are the objects of cilium/, read back. `by_source` and `by_written` are the units' results by the names,
    as documents print them, of sources and objects.
    `order_decides`: what a policy means depends on others, so that units cannot be taken apart.
    """

    def __init__(self, outcome: Outcome, objects: Sequence[RawObject], profile: Profile) -> None:
        translation = outcome.translation
        self.profile = profile
        self.cluster = read_cluster(objects, complete=translation.complete)
        counting = [raw for raw in objects if counts(raw) and raw.ref.group != CILIUM_GROUP]
        self._engine = intent_engine(counting, translation.engines)
        groups = (_KUBERNETES, *(calico.GROUPS if self._engine == "calico" else ()))
        sources = {raw.ref: raw for raw in counting if raw.ref.group in groups and raw.ref.kind in CALICO_POLICIES}
        around = [raw for raw in counting if raw.ref not in sources and _is_around(raw, self._engine)]
        written = {raw.ref: raw for raw in read_back(outcome, _FOLDER)}
        self.written = tuple(written.values())
        beside = {_ref(item) for item in translation.objects} & written.keys()
        self._around = list(_as_text(around, guarded=bool(beside)))
        self.beside = frozenset(map(str, beside))
        self._shared = [raw for ref, raw in written.items() if ref in beside or ref.kind == CIDR_GROUP]
        self._backends = [raw for raw in counting if raw.ref.kind in BACKEND_KINDS]
        self.units = tuple(_units(translation.results, sources, written))
        self.by_source: dict[str, list[TranslationResult]] = {}
        self.by_written: dict[str, list[TranslationResult]] = {}
        for result in (result for unit in self.units for result in unit.results):
            self.by_source.setdefault(str(result.source), []).append(result)
            for name in written_as(result):
                self.by_written.setdefault(name, []).append(result)
        self.order_decides = self._engine == "calico" and _order_decides(sources.values(), self._around)

    @property
    def depends_on_others(self) -> bool:
        """Whether policies refer to further objects, such as network sets."""
        return any(raw.ref.kind != _SETTINGS for raw in self._around)

    def states(
        self, units: Iterable[Unit], cluster: Cluster, profile: Profile, *, today: bool = True
    ) -> tuple[State, State]:
        """The text and the future of some units over a cluster; `today`: with what stands behind its Services."""
        chosen = list(units)
        backends = self._backends if today else ()
        text = [*(raw for unit in chosen for raw in unit.before), *self._around, *backends]
        future = [*(raw for unit in chosen for raw in unit.after), *self._shared, *backends]
        return (
            state("the policies' text", self._engine, text, cluster, profile),
            state("Cilium with the written objects", "cilium", future, cluster, profile),
        )


def with_sctp(profile: Profile) -> Profile:
    """The profile with agents that do not drop all SCTP, which is no matter of single policies."""
    return msgspec.structs.replace(profile, sctp=True)


def _is_around(raw: RawObject, engine: str) -> bool:
    """Whether the object is one that Calico's policies refer to, or a setting."""
    return engine == "calico" and raw.ref.group in calico.GROUPS


def _as_text(around: Iterable[RawObject], *, guarded: bool) -> Iterator[RawObject]:
    """What policies rest on, without what Calico's agent drops whatever they say; findings of the cluster tell that.

    `guarded`: an object was written that keeps VXLAN from pods away as the agent does.
    """
    apart: dict[str, Json] = {"defaultEndpointToHostAction": "Accept"}
    if not guarded:
        apart["allowVXLANPacketsFromWorkloads"] = True
    settings = RawObject({"apiVersion": "projectcalico.org/v3", "kind": _SETTINGS, "metadata": {"name": "default"}})
    for raw in around:
        if raw.ref.kind == _SETTINGS and raw.ref.name == "default":
            settings = raw
        else:
            yield raw
    spec = settings.data.get("spec")
    given = spec if isinstance(spec, dict) else {}
    yield replace(settings, data=settings.data | {"spec": given | apart})


def read_back(outcome: Outcome, folder: str) -> list[RawObject]:
    """The objects of a folder that Cilium will get, as the reader of files sees them."""
    translation = outcome.translation
    emitted = [*(item for result in translation.results for item in result.objects), *translation.objects]
    named = {item.file for item in emitted if item.file.startswith(folder)}
    texts = [f"---\n{file.text}" for file in outcome.files if file.path in named]
    return list(read_files(["-"], BytesIO("".join(texts).encode())).objects) if texts else []


def _ref(item: EmittedObject) -> ObjectRef:
    return ObjectRef(item.api_version, item.kind, item.namespace, item.name)


def written_as(result: TranslationResult) -> Iterator[str]:
    """The names, as documents print them, of the objects that a result stands for in the future."""
    yield from (str(_ref(item)) for item in result.objects)
    if result.original == "stays":
        yield str(result.source)


def _units(
    results: Iterable[TranslationResult], sources: dict[ObjectRef, RawObject], written: dict[ObjectRef, RawObject]
) -> Iterator[Unit]:
    for group in _sharing([result for result in results if result.source in sources]):
        refs = dict.fromkeys(_ref(item) for result in group for item in result.objects)
        staying = [sources[result.source] for result in group if result.original == "stays"]
        after = [written[ref] for ref in refs if ref in written and ref.kind != CIDR_GROUP]
        yield Unit(tuple(group), tuple(sources[result.source] for result in group), (*after, *staying))


def _sharing(results: Sequence[TranslationResult]) -> Iterable[list[TranslationResult]]:
    """Results that share a file, directly or over others, together."""
    groups = {index: [result] for index, result in enumerate(results)}
    of_file: dict[str, int] = {}
    for index, result in enumerate(results):
        for item in result.objects:
            other = of_file.get(item.file, index)
            if other != index:
                moved = groups.pop(other)
                groups[index] += moved
                of_file |= {thing.file: index for one in moved for thing in one.objects}
            of_file[item.file] = index
    return groups.values()


def _order_decides(policies: Iterable[RawObject], around: Iterable[RawObject]) -> bool:
    """Whether Calico's policies are more than a union of allows that ends in Deny."""
    read = [calico.read_policy(raw) for raw in policies if raw.ref.group in calico.GROUPS]
    if any(raw.ref.kind == "Tier" and _passes(raw) for raw in around):
        return True
    return any(policy.tier != DEFAULT_TIER for policy in read) or any(
        rule.action not in ("Allow", "Log")
        for policy in read
        for direction in Direction
        for rule in policy.rules(direction)
    )


def _passes(raw: RawObject) -> bool:
    spec = raw.data.get("spec")
    return isinstance(spec, dict) and spec.get("defaultAction") == "Pass"
