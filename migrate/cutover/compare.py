"""Each observation against what the policies say of it, and what the audit said before: classes, the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from migrate.audit.judge import Judge
from migrate.audit.words import audit_end, example, of_flow, protocol
from migrate.cutover.drops import find_reason
from migrate.cutover.meaning import Meaning, Meant
from migrate.cutover.observed import Observation, Point
from migrate.cutover.said import Said
from migrate.model.audit_documents import AuditEnd
from migrate.model.cutover_documents import AuditSaid, CutoverClass, Observed, Predicted
from migrate.model.documents import DecidedBy, FlowExample
from migrate.model.flow import SCTP, TCP, UDP, EndKind, Flow, Word
from migrate.verify.simulation import decided_by

_EPHEMERAL = 32768
"""Linux takes ports from here on for the client's end (ip_local_port_range)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the policies say of an observation. `egress` and `ingress`: whether that side lets it pass, and why."""

    future: Predicted
    flow: Flow | None = None
    egress: bool = True
    ingress: bool = True
    by_egress: DecidedBy = DecidedBy()
    by_ingress: DecidedBy = DecidedBy()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """An observation with its class. `side` is where the difference or the denial is, and `decided` the rule there."""

    seen: Observation
    meant: Meant
    prediction: Prediction
    outcome: CutoverClass
    observed: Observed
    audit: AuditSaid = ""
    side: Point = ""
    decided: DecidedBy = DecidedBy()
    reason: str = ""

    @property
    def ends(self) -> tuple[AuditEnd, AuditEnd]:
        """Workloads, nodes or places."""
        flow = self.prediction.flow
        first, second = self.meant.ends if flow is None else (flow.source, flow.destination)
        return audit_end(first), audit_end(second)

    @property
    def traffic(self) -> tuple[str, int, int]:
        """Protocol, port behind the Service, and code of ICMP."""
        flow = self.prediction.flow
        packet = self.meant.packet if flow is None else flow.packet
        return protocol(packet.protocol), packet.port, packet.code

    @property
    def example(self) -> FlowExample:
        """One concrete flow."""
        flow = self.prediction.flow
        return example(*self.meant.ends, self.meant.packet) if flow is None else of_flow(flow)


class Comparer:
    """Judges observations by one revision of the policies."""

    def __init__(self, judge: Judge, meaning: Meaning, said: Said) -> None:
        self._judge, self._meaning, self._said = judge, meaning, said

    def compare(self, seen: Observation) -> Compared:
        """One observation with its class."""
        meant = self._meaning.of(seen)
        prediction = self.predict(meant)
        observed = _observed(seen, prediction)
        compared = Compared(seen, meant, prediction, "not_judged", observed)
        problem = self._problem(seen, meant, prediction, observed)
        if problem:
            return replace(compared, reason=problem)
        return self._classed(compared)

    def predict(self, meant: Meant) -> Prediction:
        """What the policies say of the flows that it may be; unknown where they do not agree."""
        if not meant.flows:
            return Prediction("unknown", reason=meant.reason)
        found = [self._of(flow) for flow in meant.flows]
        if len({one.future for one in found}) > 1:
            said = "; ".join(dict.fromkeys(f"{_WORDS[one.future]} as {one.flow}" for one in found[:4]))
            why = f"through {meant.service}" if meant.service else "its address had several owners"
            return Prediction("unknown", found[0].flow, reason=f"{why}, and the answers differ: {said}")
        return found[0]

    def _of(self, flow: Flow) -> Prediction:
        outcome = self._judge.outcome(flow)
        if outcome.future == "would_drop":
            return self._both_sides(flow)
        return Prediction(outcome.future, flow, reason=outcome.reason)

    def _both_sides(self, flow: Flow) -> Prediction:
        answer = self._judge.simulator.answer(flow)
        return Prediction(
            "would_drop" if answer.verdict == "deny" else "would_allow",
            flow,
            answer.egress is not Word.DENY,
            answer.ingress is not Word.DENY,
            decided_by(answer.egress, answer.egress_decision),
            decided_by(answer.ingress, answer.ingress_decision),
        )

    def _problem(self, seen: Observation, meant: Meant, prediction: Prediction, observed: Observed) -> str:
        """Why nothing can be said; empty where something can."""
        if observed == "dropped_otherwise":
            return _other_drops(seen)
        if observed == "unknown":
            return "the program tells neither that it passed nor that it was dropped"
        if prediction.future == "unknown":
            return prediction.reason or "what the policies say of it is not known"
        if prediction.future == "would_drop" and self._may_answer(seen, meant):
            if observed in ("dropped", "audited"):
                return "it may answer a connection that stood before Cilium did, which has to be opened again"
            return "it may answer a connection that the other end opened, which the policies let pass"
        return ""

    def _may_answer(self, seen: Observation, meant: Meant) -> bool:
        """A packet of which nobody knows who opened, where the other way round would be let through."""
        ends = seen.ends
        if seen.openers or ends.protocol not in (TCP, UDP, SCTP):
            return False
        if not (ends.port >= _EPHEMERAL > seen.source_port > 0):
            return False
        packet = replace(meant.packet, port=seen.source_port)
        backwards = replace(meant, flows=tuple(Flow(f.destination, f.source, packet) for f in meant.flows))
        return self.predict(backwards).future == "would_allow"

    def _classed(self, compared: Compared) -> Compared:
        prediction, observed = compared.prediction, compared.observed
        said = self._said.of(*compared.ends, compared.traffic)
        compared = replace(compared, audit=said)
        denied = observed in ("dropped", "audited")
        promised = said == "would_allow" and self._said.other_policies
        if denied and (prediction.future == "would_allow" or promised):
            return self._missed_drop(compared)
        if prediction.future == "would_drop" and not denied:
            return self._passed(compared)
        outcome: CutoverClass = "new_traffic" if said == "never_seen" else "as_predicted"
        return self._denied(replace(compared, outcome=outcome)) if denied else replace(compared, outcome=outcome)

    def _missed_drop(self, compared: Compared) -> Compared:
        """With the rule that lets it pass at the side where it was dropped."""
        seen, flow = compared.seen, compared.prediction.flow
        assert flow is not None
        prediction = self._both_sides(flow)
        side = _most(seen.dropped) or _most(seen.audited)
        if not side:
            side = "ingress" if flow.destination.kind is EndKind.POD else "egress"
        decided = prediction.by_ingress if side == "ingress" else prediction.by_egress
        passed = sum(seen.passed.values())
        reason = f"{passed} others of the same passed" if seen.passed.get(side) else ""
        if compared.prediction.future == "would_drop":
            reason = "the audit said that it would pass; by the policies of now it is dropped"
        return replace(compared, outcome="missed_drop", side=side, decided=decided, reason=reason)

    def _passed(self, compared: Compared) -> Compared:
        """What should be dropped and was seen to pass, unless only the side was passed that lets it."""
        prediction = compared.prediction
        side: Point = "egress" if not prediction.egress else "ingress"
        decided = prediction.by_egress if side == "egress" else prediction.by_ingress
        if compared.observed == "left" and prediction.egress:
            outcome: CutoverClass = "new_traffic" if compared.audit == "never_seen" else "as_predicted"
            reason = "it was let out at its source, as said; nothing tells of the other end"
            return replace(compared, outcome=outcome, side=side, decided=decided, reason=reason)
        denied = compared.seen.denied
        reason = f"{denied} others of the same were dropped" if denied else ""
        return replace(compared, outcome="missed_allow", side=side, decided=decided, reason=reason)

    def _denied(self, compared: Compared) -> Compared:
        """What was dropped as said, with the rule; a drop at the other side than said is told."""
        prediction = compared.prediction
        side: Point = "egress" if not prediction.egress else "ingress"
        decided = prediction.by_egress if side == "egress" else prediction.by_ingress
        at = _most(compared.seen.dropped) or _most(compared.seen.audited)
        is_said = not at or not (prediction.egress if at == "egress" else prediction.ingress)
        reason = "" if is_said else f"dropped at {at}, and the policies deny it at {side}"
        return replace(compared, side=side, decided=decided, reason=reason)


_WORDS: dict[Predicted, str] = {"would_drop": "dropped", "would_allow": "passes", "unknown": "not known"}


def _observed(seen: Observation, prediction: Prediction) -> Observed:
    """What happened to it as a whole.

    Passing the source's side is not yet arriving where the destination is a pod. Where the policies drop it and some
    of it did arrive, that counts; where they let it pass and some of it was dropped, that does.
    """
    arrived = bool(seen.passed.get("ingress"))
    left = bool(seen.passed.get("egress") or seen.passed.get(""))
    to_pod = prediction.flow is not None and prediction.flow.destination.kind is EndKind.POD
    has_arrived = arrived or (left and not to_pod and prediction.ingress)
    if prediction.future == "would_drop" and _got_through(seen, prediction, arrived=has_arrived):
        return "allowed"
    if seen.dropped:
        return "dropped"
    if seen.audited:
        return "audited"
    if has_arrived:
        return "allowed"
    if seen.otherwise:
        return "dropped_otherwise"
    return "left" if left else "unknown"


def _got_through(seen: Observation, prediction: Prediction, *, arrived: bool) -> bool:
    """Whether something got past the side that denies it, other than into a drop at the other side."""
    if arrived:
        return True
    past_egress = not prediction.egress and bool(seen.passed.get("egress"))
    return past_egress and not seen.dropped.get("ingress") and not seen.audited.get("ingress")


def _most(counts: dict[Point, int]) -> Point:
    """The side with most of them; empty where none was told."""
    return max(sorted(counts), key=lambda side: counts[side], default="")


def _other_drops(seen: Observation) -> str:
    """What dropped it, in words."""
    told = max(sorted(seen.otherwise), key=lambda reason: seen.otherwise[reason])
    known = find_reason(told)
    if known is None:
        return f"dropped for {told}, a reason that this version does not know"
    if known.by == "needs_auth":
        return f"dropped for {known.name}: {known.says}"
    return f"dropped for {known.name}, which no policy decides: {known.says}"


def compared_all(comparer: Comparer, observations: Iterable[Observation]) -> list[Compared]:
    """All observations with their classes."""
    return [comparer.compare(seen) for seen in observations]
