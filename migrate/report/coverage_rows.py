"""What an audit watched, by node, namespace, hour and run, as rows of words."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.audit_documents import CronCoverage, HourCoverage, NamespaceCoverage, NodeCoverage, Watching
from migrate.model.words import counted

_WORDS: dict[Watching, str] = {"traffic": "traffic seen", "quiet": "quiet", "not_watched": "not watched"}
_ORDER: dict[Watching, int] = {"not_watched": 0, "quiet": 1, "traffic": 2}
_SHOWN = 12


def node_cells(nodes: Sequence[NodeCoverage]) -> tuple[tuple[str, ...], ...]:
    """Node, state, share of its pods' time, pods, quiet ones, connections, lost flows, remarks."""
    return tuple(
        (
            node.name,
            _WORDS[node.state],
            _share(node.watched_seconds, node.alive_seconds),
            f"{node.pods:,}",
            f"{node.quiet_pods:,}",
            f"{node.connections:,}",
            f"{node.lost:,}",
            _remarks(node),
        )
        for node in sorted(nodes, key=lambda one: (_ORDER[one.state], one.name))
    )


def _remarks(node: NodeCoverage) -> str:
    parts = [node.reason] if node.reason else []
    if abs(node.skew_seconds) >= 1:
        how = "ahead" if node.skew_seconds > 0 else "behind"
        parts.append(f"its clock was {abs(node.skew_seconds):.0f} s {how}; its times are shifted")
    if node.quiet_hours:
        parts.append(f"{counted(len(node.quiet_hours), 'hour')} quiet")
    if node.unwatched_hours:
        parts.append(f"{counted(len(node.unwatched_hours), 'hour')} not watched")
    return "; ".join(parts)


def namespace_cells(namespaces: Sequence[NamespaceCoverage]) -> tuple[tuple[str, ...], ...]:
    """Namespace, state, share of its pods' time, pods, quiet ones, those that were not watched, connections."""
    return tuple(
        (
            one.namespace or "pods that are not known",
            _WORDS[one.state],
            _share(one.watched_seconds, one.alive_seconds),
            f"{one.pods:,}",
            f"{one.quiet_pods:,}",
            f"{one.not_watched_pods:,}",
            f"{one.connections:,}",
        )
        for one in sorted(namespaces, key=lambda one: (_ORDER[one.state], one.namespace))
    )


def run_cells(jobs: Sequence[CronCoverage]) -> tuple[tuple[str, ...], ...]:
    """CronJob, schedule, runs by it, those with a watched pod, those with traffic; the least seen first."""
    ordered = sorted(jobs, key=lambda one: (one.with_traffic >= (one.expected or 1), one.job))
    return tuple(
        (
            one.job,
            one.schedule,
            "not readable" if one.expected is None else f"{one.expected:,}",
            f"{one.seen:,}",
            f"{one.with_traffic:,}",
        )
        for one in ordered
    )


def quiet_hours(hours: Sequence[HourCoverage]) -> str:
    """The hours in which pods were watched and nothing was seen, and those in which none was watched."""
    found = (("quiet", "quiet"), ("not_watched", "not watched"))
    told = [(word, [one.hour for one in hours if one.state == state]) for state, word in found]
    parts = (f"{counted(len(names), 'hour')} {word}: {_some(names)}" for word, names in told if names)
    text = "; ".join(parts)
    return f"{text} (UTC)." if text else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _share(watched: float, alive: float) -> str:
    """Never rounded up to all of it."""
    if not alive:
        return "–"
    share = min(watched / alive, 1.0)
    return "100 %" if share >= 1 else f"{min(100 * share, 99.99):.2f} %"
