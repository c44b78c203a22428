"""Our own recording, made after the cutover, as observations: what Cilium drops gets no answer there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from migrate.audit.replay import Line
from migrate.cutover.compare import Compared, Prediction
from migrate.cutover.meaning import Meant
from migrate.cutover.observed import Ends, Observation
from migrate.cutover.said import Said
from migrate.model.cutover_documents import AuditSaid, CutoverClass, Observed
from migrate.model.documents import DecidedBy
from migrate.model.flow import ICMP, ICMPV6, TCP

_Class = tuple[CutoverClass, Observed, str]


def compared_lines(lines: Iterable[Line], said: Said, name: str) -> Iterator[Compared]:
    """What each line of the recording says of the prediction; `name` is that of the recording."""
    for line in lines:
        if not line.kind and line.asked.topic != "icmp_error":
            yield _compared(line, said, name)


def _compared(line: Line, said: Said, name: str) -> Compared:
    outcome, asked = line.outcome, line.asked
    packet = asked.packet
    icmp = (packet.port, packet.code) if packet.protocol in (ICMP, ICMPV6) else None
    seen = Observation(Ends(None, None, None, None, packet.protocol, packet.port, icmp))
    seen.times, seen.first, seen.last, seen.evidence = line.events, line.first, line.last, name
    egress, ingress = outcome.side != "egress", outcome.side != "ingress"
    decided = outcome.decided
    prediction = Prediction(outcome.future, outcome.flow, egress, ingress, decided, decided, outcome.reason)
    meant = Meant((), asked.ends, packet, asked.service, asked.reason)
    bare = Compared(seen, meant, prediction, "not_judged", "unknown")
    before = said.of(*bare.ends, bare.traffic)
    what, observed, reason = _class(line, before)
    _count(seen, observed, "egress" if line.outgoing else "ingress")
    return Compared(seen, meant, prediction, what, observed, before, outcome.side, _by(line, what), reason)


def _by(line: Line, what: CutoverClass) -> DecidedBy:
    return DecidedBy(reason="the policies let it pass") if what == "missed_drop" else line.outcome.decided


def _count(seen: Observation, observed: Observed, side: Literal["egress", "ingress"]) -> None:
    if observed == "allowed":
        seen.passed[side] = seen.times
    elif observed == "dropped":
        seen.dropped[side] = seen.times


def _class(line: Line, before: AuditSaid) -> _Class:
    """Only an answer shows that something passed; only what never arrived while somebody watched was dropped."""
    future = line.outcome.future
    works = line.answered > 0 or line.refused > 0
    fitting: CutoverClass = "new_traffic" if before == "never_seen" else "as_predicted"
    if future == "unknown":
        return "not_judged", "unknown", line.outcome.reason or line.asked.reason
    if works:
        return ("missed_allow", "allowed", "it was answered") if future == "would_drop" else (fitting, "allowed", "")
    if line.today == "denied":
        if future == "would_allow":
            return "missed_drop", "dropped", "it never arrived, while its destination was watched"
        return fitting, "dropped", ""
    if future == "would_drop":
        return fitting, "unanswered", ""
    if before == "would_allow" and line.asked.packet.protocol == TCP:
        return "missed_drop", "unanswered", "it was let through before, and nobody answers it now"
    return "not_judged", "unanswered", "nobody answered it; whether Cilium dropped it is not known"
