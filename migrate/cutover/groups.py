"""Compared observations as groups: the same workloads, port, class and deciding rule are one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from migrate.audit import words
from migrate.cutover.compare import Compared
from migrate.cutover.observed import Point
from migrate.cutover.said import Said, traffic_of
from migrate.model.audit_documents import AuditEnd
from migrate.model.cutover_documents import (
    CLASSES,
    AuditSaid,
    CutoverClass,
    CutoverGroup,
    CutoverTally,
    NotConfirmed,
    Observed,
    Predicted,
)
from migrate.model.documents import DecidedBy, FlowExample

_MOST_NODES = 20


class _Head(NamedTuple):
    """What makes a group."""

    outcome: CutoverClass
    observed: Observed
    predicted: Predicted
    audit: AuditSaid
    source: AuditEnd
    destination: AuditEnd
    traffic: tuple[str, int, int]
    service: str
    side: Point
    decided: DecidedBy
    reason: str


@dataclass(slots=True)
class _Sum:
    """What the observations of a group have together."""

    example: FlowExample
    evidence: str
    dropped: int = 0
    passed: int = 0
    times: int = 0
    first: int = 0
    last: int = 0
    nodes: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, compared: Compared) -> None:
        seen = compared.seen
        self.dropped += seen.denied + sum(seen.otherwise.values())
        self.passed += sum(seen.passed.values())
        self.times += seen.times
        if seen.first:
            self.first, self.last = min(self.first or seen.first, seen.first), max(self.last, seen.last)
        self.nodes |= seen.nodes
        self.policies |= seen.policies
        for reasons in (seen.reasons, seen.otherwise):
            for reason, times in reasons.items():
                self.reasons[reason] = self.reasons.get(reason, 0) + times


def grouped(compared: Iterable[Compared]) -> tuple[CutoverGroup, ...]:
    """All as groups: the worst class first, then those with most events."""
    sums: dict[_Head, _Sum] = {}
    for one in compared:
        head = _head(one)
        found = sums.get(head)
        if found is None:
            found = sums[head] = _Sum(one.example, one.seen.evidence)
        found.add(one)
    return tuple(sorted((_group(head, found) for head, found in sums.items()), key=_order))


def tally(compared: Iterable[Compared], replies: int, trace: int) -> CutoverTally:
    """Events by class."""
    counts = dict.fromkeys(CLASSES, 0)
    for one in compared:
        counts[one.outcome] += one.seen.times
    return CutoverTally(**counts, replies=replies, trace=trace)


def not_confirmed(said: Said, compared: Iterable[Compared]) -> Iterator[NotConfirmed]:
    """Would-be drops of which nothing was seen after the cutover."""
    seen = {(*one.ends, *one.traffic) for one in compared}
    for group in said.dropped:
        if traffic_of(group) not in seen:
            yield NotConfirmed(
                source=group.source,
                destination=group.destination,
                protocol=group.protocol,
                port=group.port,
                icmp_code=group.icmp_code,
                events=group.events,
                decided_by=group.decided_by,
            )


def moment(nanoseconds: int) -> str:
    """RFC 3339; empty where no time was told."""
    return words.moment(nanoseconds) if nanoseconds else ""


def _head(one: Compared) -> _Head:
    return _Head(
        one.outcome,
        one.observed,
        one.prediction.future,
        one.audit,
        *one.ends,
        one.traffic,
        one.meant.service,
        one.side,
        one.decided,
        one.reason,
    )


def _group(head: _Head, found: _Sum) -> CutoverGroup:
    name, port, code = head.traffic
    return CutoverGroup(
        outcome=head.outcome,
        observed=head.observed,
        predicted=head.predicted,
        audit=head.audit,
        source=head.source,
        destination=head.destination,
        protocol=name,
        port=port,
        icmp_code=code,
        service=head.service,
        side=head.side,
        decided_by=head.decided,
        drop_reason=max(sorted(found.reasons), key=lambda reason: found.reasons[reason], default=""),
        reported=tuple(sorted(found.policies)),
        dropped=found.dropped,
        passed=found.passed,
        times=found.times,
        first=moment(found.first),
        last=moment(found.last),
        nodes=tuple(sorted(found.nodes)[:_MOST_NODES]),
        example=found.example,
        evidence=found.evidence,
        reason=head.reason,
        do=_do(head),
    )


def _do(head: _Head) -> str:
    """What to do about a missed prediction; empty for all else."""
    if head.outcome == "missed_drop":
        return _do_drop(head)
    if head.outcome == "missed_allow":
        by = _rule(head.decided)
        place = f"{by} should deny it" if head.decided.object else f"it should be denied at {head.side} ({by})"
        return f"{place}: see that the policy is in the cluster as translated and that the endpoint enforces it"
    return ""


def _do_drop(head: _Head) -> str:
    if head.predicted == "would_drop":
        return "the policies were changed after the audit: see whether that was meant; the policy to add is suggested"
    if head.decided.object:
        return f"{_rule(head.decided)} admits it: apply it again, and see that the agents imported it"
    return f"no translated policy denies it at {head.side}: look for one in the cluster that should not be there"


def _rule(decided: DecidedBy) -> str:
    if decided.object is None:
        return decided.reason
    return f"{decided.object} {decided.rule}" + (f" ({decided.at})" if decided.at else "")


def _order(group: CutoverGroup) -> tuple[object, ...]:
    by = group.decided_by
    traffic = (group.protocol, group.port, group.icmp_code, group.service, group.side, group.observed, group.audit)
    said = (group.reason, group.predicted, by.object or "", by.rule or "", by.at or "", by.reason)
    return (CLASSES.index(group.outcome), -group.times, group.source, group.destination, *traffic, *said)
