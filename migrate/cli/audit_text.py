"""A judged recording as text of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from migrate.cli.audit_coverage import coverage_lines
from migrate.cli.emit import decided_text, plain, table_text, wrapped
from migrate.cli.listing import kinds_of_traffic, listed, paragraphs
from migrate.model.audit_documents import (
    Audit,
    AuditDifference,
    ChangedDrop,
    ObservedGroup,
    StandingConnection,
    TopicResult,
)
from migrate.model.words import counted, packet_text
from migrate.readiness.traffic import watch_line, where_text

_BARS = " ▁▂▃▄▅▆▇█"
_RESULTS = {
    "would_drop": "WOULD DROP",
    "clean": "nothing that was seen would be dropped",
    "nothing_seen": "NOTHING SEEN: no traffic was recorded that could be judged",
}
_EFFECTS = {
    "cut": "Cilium denies it, whoever speaks first",
    "cut_unless_client_speaks": "goes on only if the client speaks first after the cutover",
    "cut_unless_server_speaks": "goes on only if the server speaks first after the cutover",
    "unknown": "not known",
}


def audit_text(audit: Audit) -> str:
    """What was watched and lost, the result, what would be dropped, each class of traffic, and how sure all that is."""
    first, head, *rest = (wrapped(watch_line(audit), "  "), *_lines(audit))
    return table_text(*map(plain, first), plain(head, "bold"), *(plain(line) for line in rest))


def difference_text(found: AuditDifference) -> str:
    """What two revisions of the policies would drop, one and not the other."""
    newly, no_longer, changed = len(found.newly_dropped), len(found.no_longer_dropped), len(found.changed)
    lines = [
        f"newly dropped: {newly} kinds of traffic, no longer dropped: {no_longer}, dropped otherwise: {changed}",
        f"before  {found.before}",
        f"after   {found.after}",
        *kinds_of_traffic("Newly dropped", found.newly_dropped, _group),
        *kinds_of_traffic("No longer dropped", found.no_longer_dropped, _group),
        *kinds_of_traffic("Dropped by both, otherwise", found.changed, _change),
    ]
    if not found.complete:
        lines += ["", "incomplete: see what each revision says of the recording"]
    return table_text(plain(lines[0], "bold"), *(plain(line) for line in lines[1:]))


def _change(number: int, change: ChangedDrop) -> Iterator[str]:
    group = change.groups[0]
    ends = f"{group.source} → {group.destination} {packet_text(group)}"
    yield from wrapped(f"{number}. {ends}: {change.events_before:,} before, {change.events:,} now", "   ")
    was = "; ".join(map(decided_text, change.decided_before))
    now = "; ".join(map(decided_text, dict.fromkeys(one.decided_by for one in change.groups)))
    yield from wrapped(now, " " * 11, "   by      " if now == was else "   now by  ")
    if now != was:
        yield from wrapped(was, " " * 11, "   was by  ")


def connections_of(groups: Iterable[ObservedGroup]) -> int:
    """The connections of some groups together."""
    return sum(group.events for group in groups)


def _lines(audit: Audit) -> Iterator[str]:
    several = not audit.node and len(audit.nodes) > 1
    where = where_text(audit) if several else audit.node or "?"
    yield from wrapped(_headline(audit))
    yield from wrapped(f"{'' if several else 'node '}{where}, {audit.since or '?'} to {audit.until or '?'}", "  ")
    yield from wrapped(f"judged by {audit.policies}", "  ")
    yield from kinds_of_traffic("Would be dropped", audit.would_drop, _group)
    yield from _standing(audit.connections)
    yield ""
    yield from _topic("Probes of kubelet and load balancers", audit.probes)
    yield from _topic("DNS", audit.dns)
    yield from _topic("API server", audit.api_server)
    yield from _topic("Cloud metadata", audit.cloud_metadata)
    yield from _topic("Node ports, by way of other nodes", audit.other_node_clients)
    yield from kinds_of_traffic("Already denied today", audit.denied_today, _group)
    yield from kinds_of_traffic("Not certain: several owners or ways", audit.ambiguous, _group)
    yield from _never_seen(audit)
    yield from coverage_lines(audit)
    yield from paragraphs(
        ("incomplete", audit.incomplete),
        ("not read or not modelled", audit.left_out),
        ("assumed", audit.assumptions),
    )


def _headline(audit: Audit) -> str:
    text = _RESULTS[audit.result]
    if audit.would_drop:
        kinds, events = counted(len(audit.would_drop), "kind"), counted(connections_of(audit.would_drop), "connection")
        text += f": {kinds} of traffic that passes today, {events}"
    return text if audit.complete else f"{text} (incomplete)"


def _group(number: int, group: ObservedGroup) -> Iterator[str]:
    through = f" through {group.service}" if group.service else ""
    side = f" at {group.side}" if group.side else ""
    ends = f"{group.source} → {group.destination} {packet_text(group)}{through}"
    yield from wrapped(f"{number}. {ends}: {counted(group.events, 'connection')}{side}", "   ")
    said = decided_text(group.decided_by) or group.reason
    if said:
        yield from wrapped(f"by      {said}", " " * 11, "   ")
    yield f"   seen    {group.first} to {group.last}"
    if len(group.hours) > 1:
        yield f"   hours   {_histogram(group.hours)}"
    yield from wrapped(f"such as {group.example.source} to {group.example.destination}", " " * 11, "   ")


def _histogram(hours: dict[str, int]) -> str:
    """One bar for each hour of the day in UTC, from 0 to 23."""
    of_day = [0] * 24
    for hour, events in hours.items():
        of_day[int(hour[-2:])] += events
    top = max(of_day) or 1
    return "0" + "".join(_BARS[-(-events * (len(_BARS) - 1) // top)] for events in of_day) + "24 UTC"


def _topic(title: str, topic: TopicResult) -> Iterator[str]:
    tally = topic.tally
    if not tally.records:
        yield f"{title}: none seen"
        return
    counts = (
        (tally.would_drop, "would be dropped"),
        (tally.would_allow, "allowed"),
        (tally.denied_today, "denied today"),
        (tally.unknown, "not known"),
    )
    yield from wrapped(f"{title}: {', '.join(f'{number:,} {word}' for number, word in counts if number)}", "  ")


def _standing(connections: Sequence[StandingConnection]) -> Iterator[str]:
    if not connections:
        return
    yield ""
    yield f"Long-lived connections at risk: {counted(len(connections), 'kind')}"
    yield from listed(connections, _connection)


def _connection(_: int, one: StandingConnection) -> list[str]:
    ends = f"{one.client} → {one.server} {one.protocol}/{one.port}, {one.count} of them"
    return wrapped(f"{ends}: {_EFFECTS[one.effect]}", "  ", "- ")


def _never_seen(audit: Audit) -> Iterator[str]:
    if audit.never_seen:
        yield ""
        rules = counted(len(audit.never_seen), "rule")
        told = f"Allowed by the policies that judge here, and never seen: {rules}, which -o json shows."
        yield from wrapped(f"{told} That makes none of them needless.")
