"""What one engine says of one flow at both ends, and why."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import Direction, End, EndKind, Flow, Word
from migrate.model.ruleset import Action, Chain, Decision, Engine, decide, holds
from migrate.model.selectors import matches


@dataclass(frozen=True, slots=True)
class Side:
    """What one end says; `decision` is None where nothing polices it."""

    word: Word
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine says of a flow. `verdict` is allow or deny."""

    egress: Word
    ingress: Word
    egress_decision: Decision | None
    ingress_decision: Decision | None

    @property
    def verdict(self) -> str:
        """deny when one of the two sides denies."""
        return "deny" if Word.DENY in (self.egress, self.ingress) else "allow"


class Simulator:
    """Asks one engine about flows of one cluster; chains are worked out once per set of policies."""

    def __init__(self, engine: Engine, cluster: Cluster) -> None:
        self._engine = engine
        self._exempt = engine.exempt
        self._chains: dict[tuple[Direction, tuple[int, ...]], Chain] = {}
        self._selecting: dict[tuple[str, Direction], tuple[int, ...]] = {}

    def answer(self, flow: Flow) -> Answer:
        """Both sides of the flow; both are always worked out, also when the first one denies."""
        egress = self._side(Direction.EGRESS, flow.source, flow.destination, flow)
        ingress = self._side(Direction.INGRESS, flow.destination, flow.source, flow)
        return Answer(egress.word, ingress.word, egress.decision, ingress.decision)

    def _side(self, direction: Direction, own: End, peer: End, flow: Flow) -> Side:
        if own.kind is not EndKind.POD or own.pod is None or holds(self._exempt[direction], peer, own):
            return Side(Word.UNENFORCED, None)
        decision = decide(self.chain(own.pod, direction), own, peer, flow.packet, direction)
        if not decision.enforced:
            return Side(Word.UNENFORCED, None)
        return Side(Word.ALLOW if decision.action is Action.ALLOW else Word.DENY, decision)

    def chain(self, pod: Pod, direction: Direction) -> Chain:
        """The chain of a pod in one direction."""
        key = (str(pod), direction)
        selecting = self._selecting.get(key)
        if selecting is None:
            selecting = tuple(
                index
                for index, subject in enumerate(self._engine.subjects)
                if direction in subject.directions and matches(subject.selector, pod)
            )
            self._selecting[key] = selecting
        found = self._chains.get((direction, selecting))
        if found is None:
            found = self._engine.chain(direction, selecting)
            self._chains[direction, selecting] = found
        return found
