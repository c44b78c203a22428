"""What a translation claims, shown on its own output, or claimed no longer.

Over the snapshot every changed flow must be one that a result declares. Where the claim is one for any pods, made-up
pods must show no difference. Policies that only add allows are proved one by one, since a union of equals is equal;
where order decides, all of them together. Of a pod's connections to its own node, which the text of NetworkPolicies
always allows, POL-EGRESS-OWN-NODE speaks apart, and SCTP that the target drops is declared for the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal, TypeAlias

import msgspec

from migrate.model.addresses import AddressSet, parse_network
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.documents import Cause, Result, TranslationResult
from migrate.model.labels import Scope
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Engine
from migrate.model.selectors import Operator, Requirement
from migrate.proved.causes import Judge, UndeclaredError, declares, declares_change
from migrate.proved.served import ServedPorts
from migrate.proved.shapes import shape_of
from migrate.proved.states import OwnNodePoliced, Sides, Unit, is_for_any_pods, with_sctp
from migrate.proved.today import against_today
from migrate.scan.collector import collector_off
from migrate.sources.calico import GROUPS as CALICO_GROUPS
from migrate.translate.engine import Outcome, OutputFile
from migrate.translate.kinds import NETWORK_SETS
from migrate.translate.profiles import Profile
from migrate.translate.selectors import possible
from migrate.verify.compile import read_engine
from migrate.verify.engines import Built
from migrate.verify.packets import PacketReads
from migrate.verify.space import Reads, Space
from migrate.verify.verification import State
from migrate.verify.witness import make_witnesses
from migrate.verify.witness_labels import TooManyError

__all__ = ["UndeclaredError", "proved"]

MOST_KINDS = 250
"""Kinds of made-up pods up to which a policy is tried, or all together whose order decides."""
MOST_MADE = 50_000
"""Kinds of made-up pods that one proof may take in all."""
HERE_ONLY = "shown for this snapshot only"
NOT_SHOWN = "not proved"

_SAYS_EXACT, _SAYS_HERE = "; result exact: ", "; result exact_here: "
Proof: TypeAlias = Literal["none", "witness", "snapshot"]
_ORDER: tuple[Proof, ...] = ("none", "snapshot", "witness")
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_NODE = Node("node", addresses=(ip_address("172.31.255.250"), ip_address("fdff::250")))
_OF_CALICO = (*NETWORK_SETS, "Tier", "Profile")


def proved(outcome: Outcome, objects: Sequence[RawObject], profile: Profile) -> Outcome:
    """The outcome with what could be shown of each result, and with the flows that change.

    `exact` becomes `exact_here` where it could not be shown for any pods. Raises UndeclaredError for a changed flow
    that nobody declares.
    """
    with collector_off():
        sides = Sides(outcome, objects, profile)
        shown = _shown(sides)
        today = against_today(outcome, objects, sides)
    found = {result.source: _judged(result, shown) for unit in sides.units for result in unit.results}
    asked = (result for unit in sides.units for result in unit.results if is_for_any_pods(result))
    weakest = min((found[result.source].proof for result in asked), key=_ORDER.index, default=_ORDER[-1])
    results = tuple(
        found[result.source] if result.source in found else _beside(result, sides, weakest)
        for result in outcome.translation.results
    )
    return Outcome(
        msgspec.structs.replace(outcome.translation, results=results, changes=shown.general, against_today=today),
        tuple(_with_headers(outcome, results)),
    )


def _with_headers(outcome: Outcome, results: Sequence[TranslationResult]) -> Iterator[OutputFile]:
    """The files, whose comments say the result too."""
    pairs = zip(outcome.translation.results, results, strict=True)
    lowered = {item.file for before, after in pairs if before.result is not after.result for item in after.objects}
    for file in outcome.files:
        exact = file.path in lowered
        yield replace(file, text=file.text.replace(_SAYS_EXACT, _SAYS_HERE)) if exact else file


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was found out: changes by result and for the cluster, and why something is not shown.

    `pods` says whether there are some to show it for. `unread` has reasons why nothing is shown of a source, `missing`
    why nothing is shown for any pods.
    """

    changes: dict[ObjectRef, tuple[Cause, ...]]
    general: tuple[Cause, ...]
    pods: bool
    unread: dict[ObjectRef, str]
    missing: dict[ObjectRef, str]


def _shown(sides: Sides) -> _Shown:
    before, after = sides.states(sides.units, sides.cluster, sides.profile)
    unread = _unread(before, after, sides)
    comparison = ServedPorts(before.built.engine, after.built.engine, sides.cluster)
    pods = bool(comparison.space.pod_classes)
    _check_snapshot(sides)
    declared = Judge(sides, drops_sctp=not sides.profile.sctp).declared(comparison)
    changes = {source: tuple(causes) for source, causes in declared.by_source.items()}
    missing = _Witnesses(sides).missing()
    return _Shown(changes, tuple(declared.general), pods, unread, missing)


def _unread(before: State, after: State, sides: Sides) -> dict[ObjectRef, str]:
    """Sources of which not everything is modelled; all of them where an object is not that may touch each."""
    sources = {result.source: result for unit in sides.units for result in unit.results}
    whole = [place for state in (before, after) for place in state.built.left_out if place not in state.built.on_nodes]
    if whole:
        return dict.fromkeys(sources, f"{str(whole[0]).strip()} is not modelled")
    owners = {str(raw.ref): unit for unit in sides.units for raw in (*unit.before, *unit.after)}
    found: dict[ObjectRef, str] = {}
    for place in (*before.built.engine.unknown, *after.built.engine.unknown):
        unit = owners.get(str(place.ref))
        for result in unit.results if unit is not None else sources.values():
            found[result.source] = f"{str(place).strip()} is not modelled"
    return found


def _check_snapshot(sides: Sides) -> None:
    """Raise UndeclaredError when what is said to mean the same does not, for the pods of the snapshot."""
    units = sides.units if sides.order_decides else [unit for unit in sides.units if unit.claims_equal]
    states = sides.states(units, sides.cluster, with_sctp(sides.profile))
    comparison = ServedPorts(*_engines(states), sides.cluster)
    Judge(sides, declares if sides.order_decides else _nobody).declared(comparison)


def _nobody(result: TranslationResult, cause: Cause) -> bool:
    return False


def _engines(states: tuple[State, State]) -> tuple[Engine, Engine]:
    """Both engines, in neither of which a pod's own node is a matter of course where it sends to it."""
    before, after = states
    return OwnNodePoliced(before.built.engine), after.built.engine


class _Witnesses:
    """Tries policies over made-up pods; policies of one shape once."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._left = MOST_MADE
        self._known: dict[bytes, str] = {}
        cluster = sides.cluster
        networks = cluster.pod_networks | AddressSet.of(map(parse_network, _PRIVATE))
        nodes = cluster.nodes or (_NODE,)
        self._empty: Cluster = replace(cluster, pods=(), nodes=nodes, pod_networks=networks)

    def missing(self) -> dict[ObjectRef, str]:
        """Why what is claimed for any pods could not be shown for them, by source; the rest is shown."""
        found: dict[ObjectRef, str] = {}
        wanted = [unit for unit in self._sides.units if any(map(is_for_any_pods, unit.results))]
        if wanted and self._sides.order_decides:
            reason = self._tried(self._sides.units)
            return {result.source: reason for unit in wanted for result in unit.results if reason}
        for unit in wanted:
            reason = self._alone(unit) if unit.for_any_pods else "its objects are also those of policies that change"
            found |= {result.source: reason for result in unit.results if reason}
        return found

    def _alone(self, unit: Unit) -> str:
        if self._sides.depends_on_others:
            return self._tried([unit])
        shape = shape_of(unit.before, unit.after)
        if shape not in self._known:
            self._known[shape] = self._tried([unit])
        return self._known[shape]

    def _tried(self, units: Sequence[Unit]) -> str:
        """Why nothing is shown; empty when made-up pods show that nothing changes."""
        states = self._sides.states(units, self._empty, with_sctp(self._sides.profile), today=False)
        whole_cluster = states[0].whole_cluster or states[1].whole_cluster
        if whole_cluster:
            return whole_cluster
        before, after = _engines(states)
        few = replace(self._empty, nodes=_kinds_of_nodes((before, after), self._empty))
        try:
            made = make_witnesses((before, after), few, min(MOST_KINDS, self._left))
        except TooManyError as error:
            return str(error)
        self._left -= made.pods
        worlds = [replace(world, pods=tuple(filter(_may_exist, world.pods))) for world in made.worlds]
        self._check(before, after, worlds)
        return self._of_other_releases(states[0].built, after, worlds)

    def _check(self, before: Engine, after: Engine, worlds: Sequence[Cluster]) -> None:
        together = self._sides.order_decides
        judge = Judge(self._sides, lambda result, _: together and not is_for_any_pods(result))
        for world in worlds:
            judge.declared(ServedPorts(before, after, world))

    def _of_other_releases(self, text: Built, after: Engine, worlds: Sequence[Cluster]) -> str:
        """Why nothing is shown where releases of the engine differ; empty when none does in these flows."""
        if text.alternative is None:
            return ""
        try:
            self._check(OwnNodePoliced(text.alternative()), after, worlds)
        except UndeclaredError:
            return f"the meaning of the policies' text {text.differs}"
        return ""


def _may_exist(pod: Pod) -> bool:
    """Whether an API server takes the pod's labels; policies may ask for others."""
    return all(
        possible((Requirement(key, Operator.IN, (value,), scope),)) is not None
        for scope in Scope
        for key, value in pod.labels_of(scope).items()
    )


def _kinds_of_nodes(engines: Iterable[Engine], cluster: Cluster) -> tuple[Node, ...]:
    """One node of each kind that the engines tell apart."""
    reads, packets = Reads(), PacketReads()
    for engine in engines:
        read_engine(engine, reads, packets)
    return tuple(group.sample for group in Space(cluster, reads).node_classes)


def _judged(result: TranslationResult, shown: _Shown) -> TranslationResult:
    """The result with its proof, as far as it was shown."""
    unread, missing = shown.unread.get(result.source, ""), shown.missing.get(result.source, "")
    here: Proof = "snapshot" if shown.pods and not unread else "none"
    if declares_change(result):
        return msgspec.structs.replace(result, proof=here, changes=shown.changes.get(result.source, ()))
    if is_for_any_pods(result) and not unread and not missing:
        return msgspec.structs.replace(result, proof="witness")
    if result.result is not Result.EXACT:
        return msgspec.structs.replace(result, proof=here)
    return _unshown(result, here, unread or missing)


def _beside(result: TranslationResult, sides: Sides, weakest: Proof) -> TranslationResult:
    """What Calico's policies refer to means no more than they do, and is shown with them; hosts are not compared."""
    if result.result not in (Result.EXACT, Result.EXACT_HERE) or result.source.group not in CALICO_GROUPS:
        return result
    if result.source.kind not in _OF_CALICO:
        return _unshown(result, "none", "what hosts send and receive themselves is not compared")
    if weakest == "witness" or result.result is Result.EXACT_HERE:
        return msgspec.structs.replace(result, proof=weakest)
    return _unshown(result, weakest, "so are policies that refer to it")


def _unshown(result: TranslationResult, proof: Proof, reason: str) -> TranslationResult:
    """The result with less claimed, and why."""
    text = f"{HERE_ONLY if proof == 'snapshot' else NOT_SHOWN}: {reason}"
    return msgspec.structs.replace(
        result, result=Result.EXACT_HERE, proof=proof, assumptions=(*result.assumptions, text)
    )
