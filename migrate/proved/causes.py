"""Who declares a change: the results of the policies whose rules decide its example on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from migrate.model.cluster import Pod
from migrate.model.documents import Cause, Result, TranslationResult
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Engine
from migrate.proved.states import Sides
from migrate.verify.causes import find_changes
from migrate.verify.compare import Comparison
from migrate.verify.simulate import Simulator
from migrate.verify.witness import traits

_OWN_NODE = "POL-EGRESS-OWN-NODE"
_SCTP = "POL-SCTP"
_PODS, _NODES = "POL-IPBLOCK-PODS", "POL-IPBLOCK-NODES"
_DECLARING = (Result.CHANGED, Result.UNSUPPORTED)


class UndeclaredError(AssertionError):
    """The written objects change a flow that no result declares: a bug of ours."""


@dataclass(slots=True)
class Declared:
    """Changes by the results that declare them, and those that are declared for the cluster as a whole."""

    by_source: dict[ObjectRef, list[Cause]] = field(default_factory=dict)
    general: list[Cause] = field(default_factory=list)


def declares_change(result: TranslationResult) -> bool:
    """Whether a result says that flows change."""
    return result.result in _DECLARING


def declares(result: TranslationResult, cause: Cause) -> bool:
    """Whether a finding of the result is about such a change; what became of an unsupported policy is all open."""
    if result.result is not Result.CHANGED:
        return result.result is Result.UNSUPPORTED
    effect = Effect.NARROWS if cause.change == "newly_denied" else Effect.WIDENS
    other = "spec.ingress" if cause.side == "egress" else "spec.egress"
    spoken = {
        finding.id
        for finding in result.findings
        if finding.effect_on_intent in (effect, Effect.UNKNOWN) and not (finding.field or "").startswith(other)
    }
    peers = cause.destinations if cause.side == "egress" else cause.sources
    without = {_OWN_NODE} | ({_PODS} if peers.nodes or peers.outside else set())
    without |= {_NODES} if peers.pods or peers.outside else set()
    both = {_PODS, _NODES} <= spoken and not peers.outside
    return both or bool(spoken - without)


class Judge:
    """Finds for each change of a comparison the results that declare it.

    `drops_sctp`: the agents of the second state drop all SCTP, which is declared for the cluster.
    """

    def __init__(
        self,
        sides: Sides,
        declares: Callable[[TranslationResult, Cause], bool] = declares,
        *,
        drops_sctp: bool = False,
    ) -> None:
        self._sides = sides
        self._declares = declares
        self._drops_sctp = drops_sctp

    def declared(self, comparison: Comparison) -> Declared:
        """All changes by who declares them. Raises UndeclaredError for one that nobody does."""
        found = Declared()
        if comparison.equal:
            return found
        pods = {f"pod {pod}": pod for pod in comparison.space.cluster.pods}
        engines = [side.engine for side in (comparison.before, comparison.after)]
        simulators = [(engine, Simulator(engine, comparison.space.cluster)) for engine in engines]
        for cause in find_changes(comparison, traits).causes:
            selecting = _Selecting(cause, pods, simulators)
            results = [*self._deciding(cause)] or self._by_default(cause, selecting)
            declaring = dict.fromkeys(result.source for result in results if self._declaring(result, cause))
            for source in declaring:
                found.by_source.setdefault(source, []).append(cause)
            if not declaring:
                self._check_general(cause, selecting)
                found.general.append(cause)
        return found

    def _declaring(self, result: TranslationResult, cause: Cause) -> bool:
        speaks = not self._is_sctp(cause) or _has(result, _SCTP)
        return speaks and self._declares(result, cause)

    def _deciding(self, cause: Cause) -> Iterator[TranslationResult]:
        """The declaring results among those whose rules decide the example."""
        before = self._sides.by_source.get(cause.before.object or "", ())
        after = self._sides.by_written.get(cause.after.object or "", ())
        yield from (result for result in (*before, *after) if self._declares(result, cause))

    def _by_default(self, cause: Cause, selecting: _Selecting) -> list[TranslationResult]:
        """Where no rule decides on one side: the results of the policies that select the end.

        What a rule allowed before is denied by default only where its own policy was not said as it is claimed, or one
        that Calico asks earlier.
        """
        ruled = cause.before.object is not None and not self._sides.order_decides
        if ruled and (cause.change == "newly_denied" or cause.after.object is not None):
            return []
        before, after = selecting.names()
        found = [result for name in before for result in self._sides.by_source.get(name, ())]
        return found + [result for name in after for result in self._sides.by_written.get(name, ())]

    def _check_general(self, cause: Cause, selecting: _Selecting) -> None:
        if cause.after.object in self._sides.beside or self._is_sctp(cause):
            return
        if _may_be_own_node(cause, selecting.pod) and any(
            _has(result, _OWN_NODE) for name in selecting.names()[0] for result in self._sides.by_source.get(name, ())
        ):
            return
        raise UndeclaredError(undeclared_text(cause))

    def _is_sctp(self, cause: Cause) -> bool:
        return self._drops_sctp and cause.counterexample.protocol == "SCTP"


def _has(result: TranslationResult, finding_id: str) -> bool:
    return any(finding.id == finding_id for finding in result.findings)


class _Selecting:
    """The policies that select the end whose answer changes in the example, by name before and after."""

    def __init__(self, cause: Cause, pods: dict[str, Pod], simulators: list[tuple[Engine, Simulator]]) -> None:
        egress = cause.side == "egress"
        own = cause.counterexample.source if egress else cause.counterexample.destination
        self.pod = pods.get(own)
        self._direction = Direction.EGRESS if egress else Direction.INGRESS
        self._simulators = simulators

    def names(self) -> tuple[list[str], list[str]]:
        """Names as documents print them."""
        before, after = (list(self._of(*simulator)) for simulator in self._simulators)
        return before, after

    def _of(self, engine: Engine, simulator: Simulator) -> Iterator[str]:
        if self.pod is None:
            return
        for index in simulator.selecting(self.pod, self._direction):
            place = engine.subjects[index].provenance
            if place is not None:
                yield str(place.ref)


def _may_be_own_node(cause: Cause, pod: Pod | None) -> bool:
    """Whether the example goes from a pod to its own node, which the text of NetworkPolicies always allows."""
    to_node = cause.side == "egress" and cause.counterexample.destination == f"node {pod.node if pod else ''}"
    return to_node and cause.change == "newly_denied" and cause.before.object is None


def undeclared_text(cause: Cause) -> str:
    """The flow, what decides it, and what to do."""
    flow = cause.counterexample
    what = "is newly denied" if cause.change == "newly_denied" else "is newly allowed"
    more = "".join(f"; {end} is a pod with {', '.join(has)}" for end, has in _traits(cause) if has)
    return (
        f"{flow.source} ({flow.source_address}) -> {flow.destination} ({flow.destination_address}) "
        f"{flow.protocol}/{flow.port} {what}, and no result of the translation says so{more}. Before: "
        f"{_decider(cause, 'before')}. After: {_decider(cause, 'after')}. Nothing was written. This is a bug of "
        "migrate: please report it with this text and these policies; --no-verify writes the translation unproved"
    )


def _traits(cause: Cause) -> Iterable[tuple[str, tuple[str, ...]]]:
    flow = cause.counterexample
    return ((flow.source, flow.source_traits), (flow.destination, flow.destination_traits))


def _decider(cause: Cause, side: str) -> str:
    decided = cause.before if side == "before" else cause.after
    words = [word for word in (decided.object, decided.rule, decided.reason) if word]
    return " ".join(words) or "nothing decides it"
