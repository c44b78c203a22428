"""What an audit of live traffic says about the cutover: findings by namespace, and what it leaves open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from migrate.model.audit_documents import Audit, AuditEnd, ObservedGroup, PodCoverage, StandingConnection
from migrate.model.finding import Effect, Finding
from migrate.model.refs import ObjectRef
from migrate.model.words import counted, packet_text

_Touching = TypeVar("_Touching", ObservedGroup, StandingConnection)


def would_be_drops(audit: Audit) -> Iterator[Finding]:
    """One finding for each namespace with traffic that passes today and that Cilium would drop."""
    for namespace, groups in _by_namespace((group.source, group.destination, group) for group in audit.would_drop):
        greatest = max(groups, key=lambda group: group.events)
        kinds = counted(len(groups), "kind")
        events = counted(sum(group.events for group in groups), "connection")
        detail = f"{kinds} of traffic with {events} would be dropped, most of all {ends_text(greatest)}"
        yield _finding("AUD-WOULD-DROP", namespace, detail)


def cut_connections(audit: Audit) -> Iterator[Finding]:
    """One finding for each namespace with long-lived connections that the cutover may cut."""
    there = ((one.client, one.server, one) for one in audit.connections)
    for namespace, connections in _by_namespace(there):
        number = sum(one.count for one in connections)
        first = connections[0]
        example = f"{first.client} → {first.server} {first.protocol}/{first.port}"
        detail = f"{counted(number, 'long-lived connection')} may be cut, such as {example}"
        yield _finding("AUD-CONNECTION-CUT", namespace, detail)


def _by_namespace(
    there: Iterable[tuple[AuditEnd, AuditEnd, _Touching]],
) -> list[tuple[str | None, list[_Touching]]]:
    """What touches each namespace; None for what touches none."""
    found: dict[str | None, list[_Touching]] = defaultdict(list)
    for source, destination, item in there:
        names = sorted({end.namespace for end in (source, destination) if end.namespace})
        for namespace in names or (None,):
            found[namespace].append(item)
    return sorted(found.items(), key=lambda pair: pair[0] or "")


def _finding(identity: str, namespace: str | None, detail: str) -> Finding:
    subject = None if namespace is None else ObjectRef("v1", "Namespace", None, namespace)
    return Finding(id=identity, detail=detail, effect=Effect.NARROWS, subject=subject)


def ends_text(group: ObservedGroup) -> str:
    """Who speaks to whom, and how."""
    return f"{group.source} → {group.destination} {packet_text(group)}"


def watched_share(coverage: Sequence[PodCoverage]) -> float | None:
    """The share of the pods' time that was watched, from 0 to 1; None when no pod was there."""
    alive = sum(pod.alive_seconds for pod in coverage)
    return min(sum(pod.watched_seconds for pod in coverage) / alive, 1.0) if alive else None


def watched_share_of_all(audit: Audit) -> float | None:
    """`watched_share` over all pods that are known, so that pods of nodes that nobody watched count as not watched."""
    share = watched_share(audit.coverage)
    seen = sum(one.pods for one in audit.namespaces)
    known = seen + sum(one.not_watched_pods for one in audit.namespaces)
    return share if share is None or not seen else share * seen / known


def coverage_text(audit: Audit) -> str:
    """Nodes, pods and the share of their time that was watched, never rounded up to all of it; how many were quiet."""
    nodes = f"{where_text(audit)} watched, " if len(audit.nodes) > 1 and not audit.node else ""
    share = watched_share(audit.coverage)
    if share is None:
        return f"{nodes}no pod was watched"
    shown = "100" if share >= 1 else f"{min(100 * share, 99.99):.2f}"
    quiet = sum(pod.state == "quiet" for pod in audit.coverage)
    silent = f", {quiet:,} of them quiet" if quiet else ""
    return f"{nodes}{shown} % of the time of {counted(len(audit.coverage), 'pod')} watched{silent}"


def where_text(audit: Audit) -> str:
    """Which node it is of, or how many."""
    if audit.node or not audit.nodes:
        return audit.node or "one node"
    seen, known = len(watched_nodes(audit)), len(audit.nodes)
    return counted(known, "node") if seen == known else f"{seen:,} of {counted(known, 'node')}"


def watched_nodes(audit: Audit) -> frozenset[str]:
    """The nodes with a recording. Documents of older versions name one."""
    if not audit.nodes:
        return frozenset((audit.node,) if audit.node else ())
    return frozenset(node.name for node in audit.nodes if node.state != "not_watched")


def watch_line(audit: Audit) -> str:
    """What was watched and what was lost, in one line."""
    lost = sum(loss.count for loss in audit.losses)
    others = f"; {counted(lost, 'thing')} more not kept or not seen" if lost else ""
    where = f"node {audit.node}: " if audit.node else ""
    return f"watched {span_text(audit)}: {where}{coverage_text(audit)}; {loss_text(audit)}{others}"


def loss_text(audit: Audit) -> str:
    """Where the new flows that the kernel counted are."""
    balance = audit.balance
    told = f"of {balance.new:,} new flows {balance.rows:,} exact, {balance.coarse:,} coarse, {balance.lost:,} lost"
    return told if balance.holds else f"{told}; these do not add up"


def hours_of(audit: Audit) -> float | None:
    """How long every watched node was recorded at least, in hours; never more than from the first start to the end.

    None when nothing was recorded, whatever other programs told.
    """
    if audit.since is None or audit.until is None or (audit.nodes and not watched_nodes(audit)):
        return None
    span = (datetime.fromisoformat(audit.until) - datetime.fromisoformat(audit.since)).total_seconds()
    nodes = (node for node in audit.nodes if node.state != "not_watched" and node.recorded_seconds > 0)
    return min([span, *(node.recorded_seconds for node in nodes)]) / 3600


def span_text(audit: Audit) -> str:
    """How long the audit went on, in words."""
    hours = hours_of(audit)
    if hours is None:
        return "for no time at all"
    return f"for {hours:.1f} hours" if hours >= 1 else f"for {round(hours * 60)} minutes"


def audit_holes(audit: Audit | None) -> Iterator[str]:
    """Why the audit is not a whole answer."""
    if audit is None:
        return
    if audit.result == "nothing_seen":
        yield "Live traffic: the audit saw nothing that could be judged."
    elif not audit.complete:
        more = f"; and {len(audit.incomplete) - 2} more reasons" if len(audit.incomplete) > 2 else ""
        why = "; ".join(audit.incomplete[:2]) or "it says so of itself"
        yield f"Live traffic: the audit is incomplete: {why}{more}."


def beyond_audit(audit: Audit | None) -> str:
    """What of the live traffic nobody has looked at."""
    if audit is None:
        return "Live traffic: no audit was made, so whether a connection that is in use would be dropped is unknown."
    return (
        f"Live traffic beyond the audit: it watched pods of {where_text(audit)} {span_text(audit)}. "
        "What was not seen there, on other nodes or at other times is unknown."
    )
