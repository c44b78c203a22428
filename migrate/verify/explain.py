"""One flow on several truths: what each end says in each, and why, in words that stand on their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from migrate.model.cluster import Cluster, Pod
from migrate.model.documents import AskedPolicy, DecidedBy, ExplainedSide, ExplainedTruth
from migrate.model.flow import Direction, End, EndKind, Flow, Via, Word
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import (
    Action,
    Chain,
    Decision,
    HostEngine,
    Provenance,
    Rule,
    Subject,
    decide,
    first_match,
    holds,
)
from migrate.model.selectors import matches
from migrate.verify import explain_words as words
from migrate.verify.engines import Built
from migrate.verify.services import Judged, judge
from migrate.verify.simulate import Side, Simulator
from migrate.verify.simulation import decided_by
from migrate.verify.ways import Ways, kubernetes

TruthName = Literal["intent", "enforced", "future"]
Verdict = Literal["allow", "deny", "unknown"]
_OF_NODES = ("HostEndpoint", "FelixConfiguration")


@dataclass(frozen=True, slots=True)
class Truth:
    """One truth about the policies of a cluster: an engine over its objects.

    `who` is the subject of its sentences ("Azure NPM"), `reading` says what was read. `refused` are policies that have
    no part in it, each with the reason and with what it would select where that is known. `written_for` names for
    objects of the translation the policy that each stands for.
    """

    name: TruthName
    who: str
    reading: str
    built: Built
    refused: Mapping[ObjectRef, tuple[str, Subject | None]] = field(default_factory=dict)
    written_for: Mapping[str, str] = field(default_factory=dict)
    ways: Ways = kubernetes
    unknown: str = ""


class Explainer:
    """Answers for one truth."""

    def __init__(self, truth: Truth, cluster: Cluster) -> None:
        self.truth = truth
        self._engine = truth.built.engine
        self._simulator = Simulator(self._engine, cluster, hosts=True)
        other = truth.built.alternative
        self._other = None if other is None else Simulator(other(), cluster, hosts=True)
        left_out = (place for place in truth.built.left_out if place not in truth.built.on_nodes)
        self._unknown = (*left_out, *self._engine.unknown)

    def explain(self, flow: Flow) -> ExplainedTruth:
        """The verdict on a flow with both sides. A side that denies decides, whatever is not known of the other."""
        if self.truth.unknown:
            nothing = ExplainedSide(word="unknown", reason=self.truth.unknown, decided_by=DecidedBy())
            return self._told(nothing, nothing)
        if flow.via is not None:
            return self._through(flow, flow.via)
        answer = self._simulator.answer(flow)
        other = answer if self._other is None else self._other.answer(flow)
        egress = self._side(Direction.EGRESS, flow, answer.egress, answer.egress_decision)
        ingress = self._side(Direction.INGRESS, flow, answer.ingress, answer.ingress_decision)
        return self._told(
            self._noted(egress, differs=other.egress is not answer.egress),
            self._noted(ingress, differs=other.ingress is not answer.ingress),
        )

    def _told(self, egress: ExplainedSide, ingress: ExplainedSide, otherwise: Verdict = "allow") -> ExplainedTruth:
        """Both sides with their verdict; `otherwise` where none denies and all is known."""
        said = {egress.word, ingress.word}
        verdict = "unknown" if "unknown" in said else otherwise
        return ExplainedTruth(
            truth=self.truth.name,
            reading=self.truth.reading,
            verdict="deny" if "deny" in said else verdict,
            egress=egress,
            ingress=ingress,
        )

    def _through(self, flow: Flow, via: Via) -> ExplainedTruth:
        """A flow that a node passes on: known where all that policies may see of it leads to the same."""
        direct = self.explain(replace(flow, via=None))
        judged = judge(self._simulator, flow, via, self.truth.ways)
        other = judged if self._other is None else judge(self._other, flow, via, self.truth.ways)
        egress = self._any_way(Direction.EGRESS, direct.egress, judged, other)
        ingress = self._any_way(Direction.INGRESS, direct.ingress, judged, other)
        doubtful = "unknown" in (direct.egress.word, direct.ingress.word)
        told = self._told(egress, ingress)
        if doubtful or other.verdict != judged.verdict:
            return told
        return msgspec.structs.replace(told, verdict=judged.verdict)

    def _any_way(self, direction: Direction, direct: ExplainedSide, judged: Judged, other: Judged) -> ExplainedSide:
        """One side: as with the client's own address where that is no different, else by what was judged."""
        found, second = judged.sides[direction], other.sides[direction]
        if direct.word == "unknown":
            return direct
        if found is None or second is None or found.word is not second.word:
            reason = judged.reasons.get(direction) or other.reasons.get(direction) or self.truth.built.differs
            return ExplainedSide(word="unknown", reason=words.depends(reason, judged.verdict), decided_by=DecidedBy())
        return direct if found.word.value == direct.word else _passed_by_node(found)

    def _noted(self, side: ExplainedSide, *, differs: bool) -> ExplainedSide:
        """A side, with a remark where another release of the engine says otherwise."""
        if not differs or side.word == "unknown":
            return side
        return msgspec.structs.replace(side, reason=f"{side.reason}; this {self.truth.built.differs}")

    def _side(self, direction: Direction, flow: Flow, word: Word, decision: Decision | None) -> ExplainedSide:
        own, peer = _ends(flow, direction)
        if own.pod is None:
            return self._no_pod(own, flow, direction, decision)
        doubtful = [place for place in self._unknown if place.ref.namespace in (None, own.pod.namespace)]
        if doubtful:
            return ExplainedSide(word="unknown", reason=words.not_known(doubtful), decided_by=DecidedBy())
        refused = tuple(self._refused(own.pod, direction))
        if holds(self._engine.exempt[direction], peer, own):
            reason = words.exempt(self.truth.who, own, peer)
            return _unenforced(reason, reason)
        if word is Word.UNENFORCED or decision is None:
            return _unenforced(words.free(own, direction), "no policy selects this end", refused)
        chain = self._simulator.chain(own.pod, direction)
        if decide(chain, own, peer, flow.packet, direction) != decision:
            return _decided(words.on_node(decision, flow), decision)
        return self._by_chain(chain, direction, flow, decision, refused)

    def _no_pod(self, own: End, flow: Flow, direction: Direction, decision: Decision | None) -> ExplainedSide:
        """A node or the outside: only Calico's host endpoints police nodes."""
        doubtful = [place for place in self._unknown if _is_about_nodes(place, policed=decision is not None)]
        if own.kind is EndKind.NODE and doubtful:
            return ExplainedSide(word="unknown", reason=words.not_known(doubtful), decided_by=DecidedBy())
        if decision is not None:
            return _decided(words.on_node(decision, flow), decision)
        _, peer = _ends(flow, direction)
        reason = words.free_node(own, peer) if isinstance(self._engine, HostEngine) else words.not_a_pod(own)
        return _unenforced(reason, "this end is no pod")

    def _by_chain(
        self, chain: Chain, direction: Direction, flow: Flow, decision: Decision, refused: tuple[AskedPolicy, ...]
    ) -> ExplainedSide:
        asked = tuple(self._asked(flow, direction, decision, chain)) if decision.rule is None else ()
        if decision.rule is not None:
            reason = words.by_rule(decision.rule, decision.action) + self._origin(decision.rule)
        else:
            reason = words.by_default(decision, [policy.object for policy in asked], flow, direction)
        return msgspec.structs.replace(
            _decided(reason, decision),
            stage=decision.stage if any(s.stage == decision.stage for s in self._engine.subjects) else "",
            passed=tuple(self._passed(flow, direction, decision, chain)),
            policies=(*asked, *refused),
        )

    def _origin(self, rule: Rule) -> str:
        """What an object of the translation stands for."""
        source = self.truth.written_for.get(str(rule.provenance.ref)) if rule.provenance else None
        return f", written for {source}" if source else ""

    def _asked(self, flow: Flow, direction: Direction, decision: Decision, chain: Chain) -> Iterator[AskedPolicy]:
        """The policies of the deciding stage, and what in each comes nearest to the flow."""
        own, _ = _ends(flow, direction)
        places = [s.provenance for s in self._selecting(own, direction) if s.stage in ("", decision.stage)]
        rules = [rule for stage in chain.stages for rule in stage.rules if rule.provenance is not None]
        for place in dict.fromkeys(place for place in places if place is not None):
            its = [rule for rule in rules if rule.provenance is not None and rule.provenance.ref == place.ref]
            yield words.near_miss(place, its, flow, direction)

    def _passed(self, flow: Flow, direction: Direction, decision: Decision, chain: Chain) -> Iterator[str]:
        """The stages with policies of this end that came before the deciding one."""
        own, peer = _ends(flow, direction)
        named = {subject.stage for subject in self._selecting(own, direction)} - {""}
        for stage in chain.stages:
            if stage.name == decision.stage:
                return
            if stage.name in named:
                rule = first_match(stage, own, peer, flow.packet, flow.source, flow.destination)
                yield words.passed_on(stage.name, rule)

    def _selecting(self, own: End, direction: Direction) -> list[Subject]:
        indexes = () if own.pod is None else self._simulator.selecting(own.pod, direction)
        return [self._engine.subjects[index] for index in indexes]

    def _refused(self, pod: Pod, direction: Direction) -> Iterator[AskedPolicy]:
        """Policies that would select a pod and are not taken."""
        for ref, (outcome, subject) in sorted(self.truth.refused.items(), key=lambda item: item[0].sort_key()):
            near = ref.namespace in (None, pod.namespace)
            if near and (subject is None or (direction in subject.directions and matches(subject.selector, pod))):
                place = subject.provenance if subject is not None else None
                yield AskedPolicy(
                    object=str(ref),
                    outcome=outcome,
                    ignored=True,
                    at=None if place is None or place.at is None else str(place.at),
                )


def _ends(flow: Flow, direction: Direction) -> tuple[End, End]:
    """The end that is policed in a direction, and its peer."""
    return (flow.destination, flow.source) if direction is Direction.INGRESS else (flow.source, flow.destination)


def _is_about_nodes(place: Provenance, *, policed: bool) -> bool:
    """Whether what is not known there may change what holds for a node; on one that is `policed` also cluster-wide."""
    if place.ref.kind in _OF_NODES or place.field.endswith("nodeSelector"):
        return True
    return policed and place.ref.namespace is None


def _passed_by_node(side: Side) -> ExplainedSide:
    """What is said of a connection that has another source than its client by then."""
    if side.decision is None:
        return _unenforced(words.UNSEEN, words.UNSEEN)
    return _decided(words.from_entry(side.decision), side.decision)


def _decided(reason: str, decision: Decision) -> ExplainedSide:
    word = Word.ALLOW if decision.action is Action.ALLOW else Word.DENY
    return ExplainedSide(word=word.value, reason=reason, decided_by=decided_by(word, decision))


def _unenforced(reason: str, kind: str, refused: tuple[AskedPolicy, ...] = ()) -> ExplainedSide:
    """A free end; `kind` is the reason without names, the same for all ends that are free for it."""
    return ExplainedSide(word="unenforced", reason=reason, decided_by=DecidedBy(reason=kind), policies=refused)
