"""The documents of an audit: a recording under one revision of the policies, and the difference of two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import migrate
from migrate.audit import words
from migrate.audit.coverage import balance, coverage, losses, never_watched, shortfalls, too_short
from migrate.audit.coverage_nodes import hour_coverage, namespace_coverage, node_coverage
from migrate.audit.judge import Revision
from migrate.audit.lives import lives
from migrate.audit.reading import Reading
from migrate.audit.replay import Line, Replay, Scene
from migrate.audit.results import grouped, tally
from migrate.audit.standing import standing
from migrate.model.audit_documents import (
    Audit,
    AuditDifference,
    AuditEnd,
    ChangedDrop,
    ObservedGroup,
    Topic,
    TopicResult,
    UnseenRule,
)
from migrate.model.cluster import Pod
from migrate.model.flow import ICMP, ICMPV6, TCP, UDP, Direction
from migrate.model.ruleset import Provenance

_Traffic: TypeAlias = tuple[AuditEnd, AuditEnd, str, int, int, str]
_DIRECTIONS: dict[Direction, Literal["egress", "ingress"]] = {
    Direction.EGRESS: "egress",
    Direction.INGRESS: "ingress",
}
_CARRIED = (TCP, UDP, ICMP, ICMPV6)
"""Protocols that Cilium carries for every pod, if policies let it."""


def replay(reading: Reading, revision: Revision, scene: Scene) -> Audit:
    """The recording judged under a revision of the policies."""
    return audit_of(Replay(reading, revision, scene))


def audit_of(replay: Replay) -> Audit:
    """The document of a replay; it reads all records where that was not done yet."""
    lines = replay.lines or replay.run()
    new = [line for line in lines if not line.kind]
    others = [line for line in lines if line.kind > 1]
    doubts = replay.judge.doubts()
    reading, world, traffic = replay.reading, replay.world, replay.traffic()
    alive = lives(reading)
    pods = coverage(alive, world, traffic)
    nodes = node_coverage(reading, world, pods, traffic)
    incomplete = (
        *shortfalls(reading, pods, nodes),
        *never_watched(reading, world),
        *too_short(reading, nodes),
        *(f"not modelled: {doubt}" for doubt in doubts),
    )
    interval = reading.interval()
    connections = standing(replay, lines)
    drops = grouped(line for line in new if line.verdict == "would_drop")
    return Audit(
        tool_version=migrate.__version__,
        node=reading.node,
        policies=replay.revision.name,
        since=None if interval is None else words.moment(interval[0]),
        until=None if interval is None else words.moment(interval[1]),
        complete=not incomplete,
        incomplete=incomplete,
        result=_result(drops, any(one.effect == "cut" for one in connections), lines),
        tally=tally(lines),
        balance=balance(reading),
        coverage=pods,
        nodes=nodes,
        namespaces=namespace_coverage(pods, world),
        hours=hour_coverage(alive, traffic, interval),
        losses=losses(reading),
        would_drop=drops,
        probes=_topic(new, "probe"),
        dns=_topic(new, "dns"),
        api_server=_topic(new, "api_server"),
        cloud_metadata=_topic(new, "cloud_metadata"),
        other_node_clients=_topic(new, "other_node_client"),
        connections=connections,
        denied_today=grouped(line for line in new if line.verdict == "denied_today"),
        never_seen=_never_seen(replay),
        ambiguous=grouped(line for line in new if line.verdict == "unknown"),
        not_judged=grouped(others),
        other_protocols=grouped(line for line in new if line.asked.packet.protocol not in _CARRIED),
        assumptions=tuple(f"{pod}: {said}" for pod, said in sorted(replay.world.assumptions.items())),
        left_out=doubts,
    )


def _result(
    drops: Sequence[ObservedGroup], cut: bool, lines: Sequence[Line]
) -> Literal["would_drop", "clean", "nothing_seen"]:
    if drops or cut:
        return "would_drop"
    return "clean" if lines else "nothing_seen"


def _topic(lines: Iterable[Line], topic: Topic) -> TopicResult:
    chosen = [line for line in lines if line.asked.topic == topic]
    return TopicResult(tally=tally(chosen), groups=grouped(chosen))


def _never_seen(replay: Replay) -> tuple[UnseenRule, ...]:
    """Rules that allow watched pods something, where no watched pod was seen to use them."""
    seen: dict[tuple[Provenance, Direction], bool] = {}
    workloads: dict[tuple[Provenance, Direction], set[str]] = {}
    for pod in _judged_pods(replay):
        for direction in Direction:
            for place, used in replay.judge.allowing(pod, direction):
                key = place, direction
                seen[key] = seen.get(key, False) or used
                workloads.setdefault(key, set()).add(f"{pod.namespace}/{pod.workload or pod.name}")
    found = (
        UnseenRule(
            object=str(place.ref),
            rule=place.field,
            at=None if place.at is None else str(place.at),
            direction=_DIRECTIONS[direction],
            workloads=tuple(sorted(workloads[place, direction])),
        )
        for (place, direction), used in seen.items()
        if not used
    )
    return tuple(sorted(found, key=lambda one: (one.object, one.rule, one.direction, one.at or "")))


def _judged_pods(replay: Replay) -> Iterator[Pod]:
    """The watched pods as they were judged."""
    imported = replay.reading.imported()
    names = {f"{veth.namespace}/{veth.pod}" for veth in replay.reading.veths() if veth.id not in imported}
    return (pod for pod in replay.world.cluster.pods if str(pod) in names and not pod.host_network)


def difference(before: Audit, after: Audit) -> AuditDifference:
    """What the second revision drops of the same recording and the first does not, the other way round, and changes."""
    first, second = _by_traffic(before.would_drop), _by_traffic(after.would_drop)
    changes = (_change(first[traffic], second[traffic]) for traffic in second if traffic in first)
    return AuditDifference(
        tool_version=migrate.__version__,
        node=after.node,
        before=before.policies,
        after=after.policies,
        complete=before.complete and after.complete,
        newly_dropped=tuple(group for group in after.would_drop if _traffic(group) not in first),
        no_longer_dropped=tuple(group for group in before.would_drop if _traffic(group) not in second),
        changed=tuple(change for change in changes if change is not None),
    )


def _by_traffic(groups: Iterable[ObservedGroup]) -> dict[_Traffic, list[ObservedGroup]]:
    found: dict[_Traffic, list[ObservedGroup]] = {}
    for group in groups:
        found.setdefault(_traffic(group), []).append(group)
    return found


def _traffic(group: ObservedGroup) -> _Traffic:
    """Which traffic a group is, whoever decides it."""
    return group.source, group.destination, group.protocol, group.port, group.icmp_code, group.service


def _change(before: Sequence[ObservedGroup], after: Sequence[ObservedGroup]) -> ChangedDrop | None:
    """None where the same rules drop as many connections; where rules stand in files does not count."""
    events, events_before = (sum(group.events for group in groups) for groups in (after, before))
    deciders, deciders_before = ({_decider(group) for group in groups} for groups in (after, before))
    if (events, deciders) == (events_before, deciders_before):
        return None
    decided = tuple(dict.fromkeys(group.decided_by for group in before))
    return ChangedDrop(groups=tuple(after), events=events, events_before=events_before, decided_before=decided)


def _decider(group: ObservedGroup) -> tuple[str, str | None, str | None]:
    return group.side, group.decided_by.object, group.decided_by.rule
