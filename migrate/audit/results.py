"""Lines of a replay as groups: the same workloads, port, verdict and deciding rule are one group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from migrate.audit import words
from migrate.audit.judge import Future, Side
from migrate.audit.layout import address_of
from migrate.audit.replay import MOST_ADDRESSES, Line
from migrate.model.audit_documents import AuditEnd, AuditVerdict, ObservedGroup, Tally, Topic
from migrate.model.documents import DecidedBy, FlowExample


class _Head(NamedTuple):
    """What makes a group."""

    verdict: AuditVerdict
    topic: Topic
    source: AuditEnd
    destination: AuditEnd
    protocol: str
    port: int
    icmp_code: int
    service: str
    side: Side
    decided_by: DecidedBy
    future: Future
    reason: str


@dataclass(slots=True)
class _Sum:
    """The records of a group, by where they were seen: at the source, at the destination."""

    example: FlowExample
    events: list[int] = field(default_factory=lambda: [0, 0])
    hours: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    answered: list[int] = field(default_factory=lambda: [0, 0])
    refused: list[int] = field(default_factory=lambda: [0, 0])
    records: int = 0
    first: int = 1 << 63
    last: int = 0
    addresses: set[bytes] = field(default_factory=set)

    def add(self, line: Line) -> None:
        where = 0 if line.outgoing else 1
        self.events[where] += line.events
        hours = self.hours[where]
        for hour, events in line.hours.items():
            hours[hour] = hours.get(hour, 0) + events
        self.answered[where] += line.answered
        self.refused[where] += line.refused
        self.records += line.records
        self.first, self.last = min(self.first, line.first), max(self.last, line.last)


def grouped(lines: Iterable[Line]) -> tuple[ObservedGroup, ...]:
    """All lines as groups, those with most connections first."""
    sums: dict[_Head, _Sum] = {}
    for line in lines:
        head = _head(line)
        found = sums.get(head)
        if found is None:
            found = sums[head] = _Sum(example_of(line))
        found.add(line)
        if "outside" in (head.source.kind, head.destination.kind):
            found.addresses |= line.addresses
    return tuple(sorted((_group(head, found) for head, found in sums.items()), key=_order))


def tally(lines: Iterable[Line]) -> Tally:
    """Records and connections by verdict. What opens no connection counts as not judged."""
    records, events = 0, dict.fromkeys(("would_drop", "would_allow", "unknown", "denied_today", "not_judged"), 0)
    for line in lines:
        records += line.records
        events["not_judged" if line.kind else line.verdict] += line.events
    return Tally(records=records, **events)


def example_of(line: Line) -> FlowExample:
    """One concrete flow of a line."""
    if line.outcome.flow is not None:
        return words.of_flow(line.outcome.flow)
    return words.example(*line.asked.ends, line.asked.packet)


def _head(line: Line) -> _Head:
    flow, asked, outcome = line.outcome.flow, line.asked, line.outcome
    ends = asked.ends if flow is None else (flow.source, flow.destination)
    packet = asked.packet if flow is None else words.arriving(flow)
    return _Head(
        line.verdict,
        asked.topic,
        words.audit_end(ends[0]),
        words.audit_end(ends[1]),
        words.protocol(packet.protocol),
        packet.port,
        packet.code,
        asked.service,
        outcome.side,
        outcome.decided,
        outcome.future,
        outcome.reason,
    )


def _group(head: _Head, found: _Sum) -> ObservedGroup:
    where = found.events[1] > found.events[0]
    hours = found.hours[where]
    addresses = sorted(found.addresses)
    return ObservedGroup(
        **head._asdict(),
        events=max(found.events),
        seen_at_source=found.events[0],
        seen_at_destination=found.events[1],
        answered=found.answered[where],
        refused=found.refused[where],
        records=found.records,
        first=words.moment(found.first),
        last=words.moment(found.last),
        hours={words.hour(number): hours[number] for number in sorted(hours)},
        example=found.example,
        addresses=tuple(str(address_of(data)) for data in addresses[:MOST_ADDRESSES]),
        more_addresses=len(addresses) > MOST_ADDRESSES,
    )


def _order(group: ObservedGroup) -> tuple[object, ...]:
    by = group.decided_by
    traffic = (group.protocol, group.port, group.icmp_code, group.service, group.verdict, group.topic, group.side)
    said = (group.reason, by.object or "", by.rule or "", by.at or "", by.reason, group.future)
    return (-group.events, group.source, group.destination, *traffic, *said)
