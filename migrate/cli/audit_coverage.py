"""Coverage of a judged recording as text: nodes, what was quiet, and the runs of CronJobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrate.cli.emit import wrapped
from migrate.cli.listing import listed
from migrate.model.audit_documents import Audit, CronCoverage, NodeCoverage
from migrate.model.words import counted

_NAMES = 5


def coverage_lines(audit: Audit) -> Iterator[str]:
    """Sections of it, each behind an empty line."""
    if len(audit.nodes) > 1 and not audit.node:
        yield from _nodes(audit.nodes)
    yield from _quiet(audit)
    yield from _runs(audit.cron_jobs)


def _nodes(nodes: Sequence[NodeCoverage]) -> Iterator[str]:
    """Those that were not watched first, then by name."""
    yield ""
    yield "Nodes"
    ordered = sorted(nodes, key=lambda node: (node.state != "not_watched", node.name))
    yield from listed(ordered, lambda _, node: wrapped(f"- {node.name}: {_node_text(node)}", "  "))


def _node_text(node: NodeCoverage) -> str:
    if node.state == "not_watched":
        return f"NOT WATCHED: {node.reason}"
    share = min(node.watched_seconds / node.alive_seconds, 1.0) if node.alive_seconds else 1.0
    shown = "100" if share >= 1 else f"{min(100 * share, 99.99):.2f}"
    parts = [f"{shown} % of the time of {counted(node.pods, 'pod')}"]
    if node.quiet_pods:
        parts.append(f"{node.quiet_pods:,} of them quiet")
    parts.append("quiet: nothing was seen" if node.state == "quiet" else counted(node.connections, "connection"))
    if node.lost:
        parts.append(f"{node.lost:,} lost")
    if abs(node.skew_seconds) >= 1:
        parts.append(f"its clock {abs(node.skew_seconds):.0f} s {'ahead' if node.skew_seconds > 0 else 'behind'}")
    return ", ".join(parts) + (f" ({node.reason})" if node.reason else "")


def _quiet(audit: Audit) -> Iterator[str]:
    pods = [f"{pod.namespace}/{pod.pod}" for pod in audit.coverage if pod.state == "quiet" and pod.pod]
    spaces = [one.namespace for one in audit.namespaces if one.state == "quiet" and one.namespace]
    unwatched = [one.namespace for one in audit.namespaces if one.state == "not_watched" and one.namespace]
    hours = [one.hour for one in audit.hours if one.state == "quiet"]
    found = ((pods, "pod"), (spaces, "whole namespace"), (hours, "hour"))
    if any(names for names, _ in found):
        yield ""
        yield from wrapped("Watched and quiet, so that what they do at other times is not known:", "  ")
        for names, word in found:
            if names:
                yield from wrapped(f"- {counted(len(names), word)}: {_some(names)}", "  ")
    if unwatched:
        yield ""
        yield from wrapped(f"No pod was watched in {counted(len(unwatched), 'namespace')}: {_some(unwatched)}", "  ")


def _runs(jobs: Sequence[CronCoverage]) -> Iterator[str]:
    """CronJobs of which not every run was seen at work."""
    lacking = [job for job in jobs if not job.expected or job.with_traffic < job.expected]
    if lacking:
        yield ""
        yield from wrapped("CronJobs of which not every run was seen with traffic, or that had none to run:", "  ")
    yield from listed(lacking, _job)


def _job(_: int, job: CronCoverage) -> list[str]:
    of = "a schedule that cannot be read" if job.expected is None else counted(job.expected, "run")
    seen = f"{job.seen} watched, {job.with_traffic} with traffic"
    return wrapped(f"- {job.job} ({job.schedule}): of {of} {seen}", "  ")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
