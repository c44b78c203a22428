"""What one engine says of one flow at both ends, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import Direction, EndKind, Flow, Word
from migrate.model.ruleset import Chain, Decision, Engine, holds
from migrate.verify.nodes import NodeSides
from migrate.verify.pairs import Pairs
from migrate.verify.sides import FREE, Side, said
from migrate.verify.subjects import Subjects

__all__ = ["Answer", "Side", "Simulator"]


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


KnownChains: TypeAlias = Callable[[Pod, Direction], Chain | None]


class Simulator:
    """Asks one engine about flows of one cluster; chains are worked out once per set of policies.

    `hosts`: with what the engine does on nodes, if it does something there. `known` gives chains of pods
    that are there already, or None.
    """

    def __init__(
        self, engine: Engine, cluster: Cluster, *, hosts: bool = False, known: KnownChains = lambda pod, direction: None
    ) -> None:
        self._engine = engine
        self._known = known
        self._nodes = NodeSides(engine, cluster) if hosts else None
        self._exempt = engine.exempt
        self._subjects = Subjects(engine.subjects)
        self._pairs = Pairs()
        self._chains: dict[tuple[Direction, tuple[int, ...]], Chain] = {}
        self._selecting: dict[tuple[str, Direction], tuple[int, ...]] = {}

    def answer(self, flow: Flow) -> Answer:
        """Both sides of the flow; both are always worked out, also when the first one denies."""
        egress, ingress = self.side(Direction.EGRESS, flow), self.side(Direction.INGRESS, flow)
        return Answer(egress.word, ingress.word, egress.decision, ingress.decision)

    def side(self, direction: Direction, flow: Flow, *, everyone: bool = False) -> Side:
        """One side of the flow. `everyone`: peers that are never policed in this direction are, this time."""
        own, peer = flow.source, flow.destination
        if direction is Direction.INGRESS:
            own, peer = peer, own
        if own.kind is EndKind.NODE and self._nodes is not None:
            return self._nodes.of_node(direction, own, peer, flow)
        if own.kind is not EndKind.POD or own.pod is None:
            return FREE
        if not everyone and holds(self._exempt[direction], peer, own):
            return FREE
        pod = own.pod
        by_policy = said(self._pairs.decide(lambda: self.chain(pod, direction), own, peer, flow.packet, direction))
        return by_policy if self._nodes is None else self._nodes.beside_pod(direction, own, peer, flow, by_policy)

    def chain(self, pod: Pod, direction: Direction) -> Chain:
        """The chain of a pod in one direction."""
        known = self._known(pod, direction)
        if known is not None:
            return known
        selecting = self.selecting(pod, direction)
        found = self._chains.get((direction, selecting))
        if found is None:
            found = self._engine.chain(direction, selecting)
            self._chains[direction, selecting] = found
        return found

    def selecting(self, pod: Pod, direction: Direction) -> tuple[int, ...]:
        """The policies that select a pod for one direction, as indexes into the engine's subjects."""
        key = (str(pod), direction)
        found = self._selecting.get(key)
        if found is None:
            found = self._selecting[key] = tuple(self._subjects.selecting(pod, direction))
        return found
