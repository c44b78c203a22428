"""What an audit found, as rows of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from migrate.model.audit_documents import Audit, ObservedGroup, PodCoverage, StandingConnection, Tally
from migrate.model.words import packet_text
from migrate.report.comparison import decided_text
from migrate.report.coverage_rows import namespace_cells, node_cells, quiet_hours, run_cells
from migrate.report.hours import Watch, hours_picture, hours_words, pod_letters, watch_of
from migrate.report.tables import Shown, first_page

DROPS = 100
OTHERS = 50
_KINDS = ("kind of traffic", "kinds of traffic")
_EFFECTS = {
    "cut": "Cilium denies it, whoever speaks first",
    "cut_unless_client_speaks": "goes on only if the client speaks first after the cutover",
    "cut_unless_server_speaks": "goes on only if the server speaks first after the cutover",
    "unknown": "not known",
}
_TOPICS = (
    ("Probes of kubelet and load balancers", "probes"),
    ("DNS", "dns"),
    ("API server", "api_server"),
    ("Cloud metadata", "cloud_metadata"),
    ("Node ports, by way of other nodes", "other_node_clients"),
)
TOPIC_TITLES = {
    "": "",
    "probe": "probe",
    "dns": "DNS",
    "api_server": "API server",
    "cloud_metadata": "cloud metadata",
    "other_node_client": "node port",
    "mid_stream": "middle of a connection",
    "icmp_error": "ICMP error",
    "coarse": "far end not kept",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """One class of traffic, with its connections by verdict."""

    title: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class Covered:
    """A pod and how much of its time was watched."""

    pod: str
    workload: str
    share: str
    picture: str
    gaps: str


@dataclass(frozen=True, slots=True)
class TrafficView:
    """Everything that the page says of an audit. `drops` beyond the first page are data for the script."""

    cells: tuple[tuple[str, ...], ...]
    drops: Shown[tuple[str, ...]]
    scale: str
    step: int
    topics: tuple[Topic, ...]
    connections: Shown[tuple[str, ...]]
    others: tuple[tuple[str, str, str, Shown[tuple[str, ...]]], ...]
    unseen: Shown[tuple[str, ...]]
    coverage: Shown[Covered]
    gaps: int
    nodes: Shown[tuple[str, ...]]
    namespaces: Shown[tuple[str, ...]]
    runs: Shown[tuple[str, ...]]
    quiet_hours: str


def traffic_view(audit: Audit) -> TrafficView:
    """The page's view of an audit."""
    watch = watch_of(audit)
    cells = tuple(_drop_cells(group, watch) for group in by_weight(audit))
    standing = tuple(_standing_cells(one) for one in audit.connections)
    unseen = tuple(
        (one.object, one.rule, one.direction, ", ".join(one.workloads[:3]) + (" …" if one.workloads[3:] else ""))
        for one in audit.never_seen
    )
    pods = sorted(audit.coverage, key=lambda pod: (_share(pod), pod.namespace or "", pod.pod or "", pod.interface))
    return TrafficView(
        cells=cells,
        drops=first_page(cells, _KINDS, DROPS),
        scale=_scale(watch),
        step=watch.clock.step if watch else 1,
        topics=tuple(Topic(title, getattr(audit, name).tally) for title, name in _TOPICS),
        connections=first_page(standing, ("kind of connection", "kinds of connections"), OTHERS),
        others=tuple(
            (
                anchor,
                title,
                why,
                first_page(tuple(map(_plain_cells, groups)), ("kind of traffic", "kinds of traffic"), OTHERS),
            )
            for anchor, title, why, groups in _others(audit)
            if groups
        ),
        unseen=first_page(unseen, ("rule", "rules"), OTHERS),
        coverage=first_page(tuple(_covered(pod, watch) for pod in pods), ("pod", "pods"), OTHERS),
        gaps=sum(bool(pod.gaps) or pod.watched_seconds < pod.alive_seconds for pod in pods),
        nodes=first_page(node_cells(audit.nodes), ("node", "nodes"), OTHERS),
        namespaces=first_page(namespace_cells(audit.namespaces), ("namespace", "namespaces"), OTHERS),
        runs=first_page(run_cells(audit.cron_jobs), ("CronJob", "CronJobs"), OTHERS),
        quiet_hours=quiet_hours(audit.hours),
    )


def _other(
    anchor: str, title: str, why: str, groups: Sequence[ObservedGroup]
) -> tuple[str, str, str, Shown[tuple[str, ...]]]:
    return anchor, title, why, first_page(tuple(map(_plain_cells, groups)), _KINDS, OTHERS)


def _others(audit: Audit) -> tuple[tuple[str, str, str, Sequence[ObservedGroup]], ...]:
    return (
        ("denied", "Already denied today", "The old engine drops it too; nothing changes.", audit.denied_today),
        ("ambiguous", "Not certain", "Several owners or ways are possible.", audit.ambiguous),
        ("not-judged", "Not judged", "It opens no connection, such as ICMP errors.", audit.not_judged),
    )


def by_weight(audit: Audit) -> list[ObservedGroup]:
    """The would-be drops, what hurts most first."""
    return sorted(audit.would_drop, key=_weight)


def _weight(group: ObservedGroup) -> tuple[object, ...]:
    """What hurts first: DNS, probes and the API server, then by connections."""
    first = {"dns": 0, "probe": 1, "api_server": 2}.get(group.topic, 3)
    ends = (str(group.source), str(group.destination), group.protocol, group.port, group.side)
    return (first, -group.events, *ends)


def _drop_cells(group: ObservedGroup, watch: Watch | None) -> tuple[str, ...]:
    """The cells of a would-be drop, in the order of its columns; the last is one letter for each hour."""
    packet = packet_text(group) + (f" through {group.service}" if group.service else "")
    topic = TOPIC_TITLES[group.topic]
    return (
        str(group.source),
        str(group.destination),
        f"{packet} ({topic})" if topic else packet,
        f"{group.events:,}",
        group.side or "–",
        decided_text(group.decided_by) if group.decided_by.object else group.decided_by.reason or group.reason,
        watch.letters(group) if watch else "",
    )


def _plain_cells(group: ObservedGroup) -> tuple[str, ...]:
    return (str(group.source), str(group.destination), packet_text(group), f"{group.events:,}", group.reason)


def _standing_cells(one: StandingConnection) -> tuple[str, ...]:
    packet = f"{one.protocol}/{one.port}"
    return (str(one.client), str(one.server), packet, f"{one.count:,}", _EFFECTS[one.effect])


def _share(pod: PodCoverage) -> float:
    return min(pod.watched_seconds / pod.alive_seconds, 1.0) if pod.alive_seconds else 0.0


def _covered(pod: PodCoverage, watch: Watch | None) -> Covered:
    share = _share(pod)
    letters = pod_letters(watch.clock, pod) if watch else ""
    gaps = [f"{gap.since[:16]} to {(gap.until or 'now')[:16]}: {gap.reason}" for gap in pod.gaps[:4]]
    if len(pod.gaps) > 4:
        gaps.append(f"and {len(pod.gaps) - 4} more")
    name = f"{pod.namespace}/{pod.pod}" if pod.pod else f"interface {pod.interface}, pod not known"
    return Covered(
        pod=name,
        workload=pod.workload,
        share="100 %" if share >= 1 else f"{min(100 * share, 99.99):.2f} %",
        picture=hours_picture(letters, f"{share:.0%} of the time watched", "watched") if watch else "",
        gaps="; ".join(gaps) or ("" if share >= 1 else "it was there before the watch began, or after it ended"),
    )


def drop_picture(letters: str, step: int) -> Markup:
    """The hours of a would-be drop."""
    return hours_picture(letters, hours_words(letters, step))


def _scale(watch: Watch | None) -> str:
    """What one bar of the pictures stands for."""
    if watch is None:
        return ""
    clock = watch.clock
    each = "hour" if clock.step == 1 else f"span of {clock.step} hours"
    last = clock.begins(clock.bins)
    return (
        f"One bar for each {each} from {clock.start:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, its height against "
        "the highest of the row. No bar: watched, and nothing seen. A hollow box: nobody watched all of that time."
    )
