"""How far a recording is, without judging it."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from migrate.audit.reading import IMPORTED, Reading, Segment
from migrate.audit.recording import writer_of
from migrate.audit.times import rfc3339


class AuditStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`migrate audit status`. Seconds are of recording; `left_seconds` is 0 when the audit is finished.

    `running` is the process that records now, None when none does. `new_flows` is what the kernel counted.
    `nodes` are those of a merged recording that were watched, `not_watched` the others with the reason; `node` is empty
    where there are several, and the seconds are those of the node that was recorded longest.
    `judged`: whether audit.json is in the folder; `outdated` is what has changed since it was made.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["AuditStatus"] = "AuditStatus"
    recording: str
    node: str
    running: int | None
    since: str | None
    until: str | None
    wanted_seconds: int
    recorded_seconds: int
    left_seconds: int
    runs: int
    bytes: int
    new_flows: int
    exact: int
    coarse: int
    lost: int
    watched_pods: int
    open_gaps: int
    losses: dict[str, int]
    notes: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    not_watched: dict[str, str] = {}
    judged: bool = False
    outdated: tuple[str, ...] = ()


def status_of(reading: Reading) -> AuditStatus:
    """The state of a recording; another process may be writing it."""
    running = writer_of(reading.path)
    segments, sums, interval = reading.segments(), reading.sums().values(), reading.interval()
    last = None if interval is None else (time.time_ns() if running else interval[1])
    by_node: dict[str, list[Segment]] = {}
    for segment in segments:
        if segment.attach != IMPORTED:
            by_node.setdefault(segment.node, []).append(segment)
    wanted = _wanted(reading)
    recorded = max((recorded_seconds(tuple(runs), last) for runs in by_node.values()), default=0)
    nodes = reading.node_rows()
    losses: dict[str, int] = {}
    for loss in reading.losses():
        losses[loss.kind] = losses.get(loss.kind, 0) + loss.number
    return AuditStatus(
        recording=str(reading.path),
        node=reading.node,
        running=running,
        since=None if interval is None else rfc3339(interval[0]),
        until=None if last is None else rfc3339(last),
        wanted_seconds=wanted,
        recorded_seconds=recorded,
        left_seconds=max(0, wanted - recorded),
        runs=len(segments),
        bytes=reading.path.stat().st_size,
        new_flows=sum(one.new for one in sums),
        exact=sum(one.rows for one in sums),
        coarse=sum(one.coarse for one in sums),
        lost=sum(one.lost for one in sums),
        watched_pods=sum(1 for veth in reading.veths() if veth.until is None),
        open_gaps=sum(1 for gap in reading.gaps() if gap.until is None),
        losses=losses,
        nodes=tuple(node.name for node in nodes if node.state == "watched"),
        not_watched={node.name: node.reason for node in nodes if node.state != "watched"},
        notes=tuple(dict.fromkeys(note for segment in segments for note in segment.notes)),
    )


def recorded_seconds(segments: tuple[Segment, ...], last: int | None) -> int:
    """How long was recorded in all runs; one that has not ended counts up to `last`, the last sign of life."""
    ends = ((one.started, last if one.ended is None else one.ended) for one in segments)
    return round(sum(end - start for start, end in ends if end is not None and end > start) / 1e9)


def _wanted(reading: Reading) -> int:
    text = reading.meta.get("wanted_seconds", "")
    return int(text) if text.isdecimal() else 0
