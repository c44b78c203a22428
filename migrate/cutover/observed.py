"""What other programs saw Cilium do, added up: flows between the same ends on the same port are one observation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from migrate.cutover.drops import is_by_policy
from migrate.evidence.seen import SeenFlow, SeenPod, Unread
from migrate.model.addresses import Address
from migrate.model.cutover_documents import CutoverSource

Point: TypeAlias = Literal["egress", "ingress", ""]
"""The side at which a policy was asked; empty where it was not told."""
_Key = TypeVar("_Key", Point, str)
_MOST_POLICIES = 8


class Ends(NamedTuple):
    """What one observation is of. `port` is the responder's, `icmp` type and code."""

    source: Address | None
    destination: Address | None
    source_pod: SeenPod | None
    destination_pod: SeenPod | None
    protocol: int
    port: int
    icmp: tuple[int, int] | None


@dataclass(slots=True)
class Observation:
    """What became of it, in numbers of events by the point at which a policy was asked.

    `otherwise` are drops that no policy made, by their reason; `other` is all that says neither. `openers` counts
    those of which it is known that they open a connection. Times are nanoseconds since 1970, 0 where none was told.
    `evidence` is the place of the first drop, or of the first event.
    """

    ends: Ends
    passed: dict[Point, int] = field(default_factory=dict)
    dropped: dict[Point, int] = field(default_factory=dict)
    audited: dict[Point, int] = field(default_factory=dict)
    otherwise: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    other: int = 0
    openers: int = 0
    times: int = 0
    first: int = 0
    last: int = 0
    source_port: int = 0
    nodes: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    evidence: str = ""
    _shows_drop: bool = False

    def add(self, flow: SeenFlow) -> None:
        """Count one flow."""
        self.times += flow.times
        self.openers += flow.times if flow.is_reply is False else 0
        self.source_port = flow.source_port
        is_drop = flow.verdict in ("dropped", "audit")
        if not self.evidence or (is_drop and not self._shows_drop):
            self.evidence, self._shows_drop = flow.at_line, is_drop
        if flow.at:
            self.first = min(self.first or flow.at, flow.at)
            self.last = max(self.last, flow.at)
        if flow.node:
            self.nodes.add(flow.node)
        if len(self.policies) < _MOST_POLICIES:
            self.policies.update(flow.policies)
        self._count(flow)

    def _count(self, flow: SeenFlow) -> None:
        match flow.verdict:
            case "forwarded":
                _more(self.passed, flow.direction, flow.times)
            case "audit":
                _more(self.audited, flow.direction, flow.times)
            case "dropped" if is_by_policy(flow.dropped_by):
                _more(self.dropped, flow.direction, flow.times)
                _more(self.reasons, flow.dropped_by, flow.times)
            case "dropped":
                _more(self.otherwise, flow.dropped_by, flow.times)
            case _:
                self.other += flow.times

    @property
    def denied(self) -> int:
        """Events in which a policy denied it, or would have if policies were enforced."""
        return sum(self.dropped.values()) + sum(self.audited.values())


def _more(counts: dict[_Key, int], key: _Key, times: int) -> None:
    counts[key] = counts.get(key, 0) + times


@dataclass(slots=True)
class _Told:
    """What one source told."""

    kind: Literal["hubble", "monitor"] = "hubble"
    flows: int = 0
    lost: int = 0
    unreadable: int = 0
    first: int = 0
    last: int = 0


@dataclass(slots=True)
class Watched:
    """All that was seen. `nodes` counts flows by node; `problems` says why something may be missing, with numbers."""

    observations: dict[Ends, Observation] = field(default_factory=dict)
    replies: int = 0
    trace: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    _sources: dict[str, _Told] = field(default_factory=dict)

    def take(self, name: str, told: Iterable[SeenFlow | Unread]) -> None:
        """Everything that a source tells."""
        source = self._sources.setdefault(name, _Told())
        for one in told:
            if isinstance(one, Unread):
                self._miss(source, name, one)
            else:
                self._add(source, one)

    def _miss(self, source: _Told, name: str, unread: Unread) -> None:
        if unread.kind == "no_flow":
            return
        if unread.kind == "lost":
            source.lost += unread.times
        else:
            source.unreadable += unread.times
        text = f"{name}: {unread.reason}"
        self.problems[text] = self.problems.get(text, 0) + unread.times

    def _add(self, source: _Told, flow: SeenFlow) -> None:
        source.kind = "hubble" if flow.origin == "hubble" else "monitor"
        source.flows += flow.times
        if flow.at:
            source.first, source.last = min(source.first or flow.at, flow.at), max(source.last, flow.at)
            self.first, self.last = min(self.first or flow.at, flow.at), max(self.last, flow.at)
        if flow.node:
            self.nodes[flow.node] = self.nodes.get(flow.node, 0) + flow.times
        if flow.is_reply:
            self.replies += flow.times
            return
        if flow.verdict == "unknown":
            self.trace += flow.times
            return
        ends = Ends(
            flow.source,
            flow.destination,
            flow.source_pod,
            flow.destination_pod,
            flow.protocol,
            flow.port,
            flow.icmp,
        )
        known = self.observations.get(ends)
        if known is None:
            known = self.observations[ends] = Observation(ends)
        known.add(flow)

    def sources(self, moment: Callable[[int], str]) -> tuple[CutoverSource, ...]:
        """What each source told, in the order in which they were read."""
        return tuple(
            CutoverSource(
                name=name,
                kind=told.kind,
                flows=told.flows,
                lost=told.lost,
                unreadable=told.unreadable,
                since=moment(told.first),
                until=moment(told.last),
            )
            for name, told in self._sources.items()
        )
