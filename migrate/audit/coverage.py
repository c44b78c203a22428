"""How much of a node's traffic a recording has: watched time of each pod, losses, and the kernel's own count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from migrate.audit import words
from migrate.audit.coverage_nodes import unwatched_nodes
from migrate.audit.lives import Life
from migrate.audit.reading import IMPORTED, Reading
from migrate.audit.world import World
from migrate.model.audit_documents import AuditLoss, Balance, CoverageGap, NodeCoverage, PodCoverage

_SECOND = 1_000_000_000

Traffic: TypeAlias = Mapping[int, Mapping[int, int]]
"""Connections by interface and hour since 1970."""


def coverage(lives: Iterable[Life], world: World, traffic: Traffic) -> tuple[PodCoverage, ...]:
    """Every life of a watched interface, by pod."""
    found = (_of(life, world, sum(traffic.get(life.veth.id, {}).values())) for life in lives)
    return tuple(sorted(found, key=_order))


def _order(one: PodCoverage) -> tuple[object, ...]:
    return one.namespace or "", one.pod or "", one.interface, one.alive_seconds, one.node


def _of(life: Life, world: World, connections: int) -> PodCoverage:
    veth = life.veth
    seen = sum(stop - start for start, stop in life.watched)
    pod = world.pod(veth.namespace, veth.pod) if veth.namespace and veth.pod else None
    return PodCoverage(
        namespace=veth.namespace,
        pod=veth.pod,
        workload=(pod.workload or "") if pod is not None else "",
        interface=veth.name,
        alive_seconds=_seconds(life.until - life.appeared),
        watched_seconds=_seconds(seen),
        gaps=tuple(
            CoverageGap(
                since=words.moment(gap.since),
                until=None if gap.until is None else words.moment(gap.until),
                reason=gap.reason,
            )
            for gap in life.gaps
        ),
        node=veth.node,
        state="traffic" if connections else "quiet" if seen else "not_watched",
        connections=connections,
    )


def losses(reading: Reading) -> tuple[AuditLoss, ...]:
    """What was not kept, one entry for each kind and detail."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for loss in reading.losses():
        found.setdefault((loss.kind, loss.detail), []).append((loss.at, loss.number))
    return tuple(
        AuditLoss(
            kind=kind,
            count=sum(number for _, number in entries),
            first=words.moment(entries[0][0]),
            last=words.moment(entries[-1][0]),
            detail=detail,
        )
        for (kind, detail), entries in sorted(found.items())
    )


def balance(reading: Reading) -> Balance:
    """Where the kernel's new flows are, over all segments."""
    by_segment = reading.sums()
    sums, running = list(by_segment.values()), {one.id for one in reading.segments() if one.ended is None}
    missing = {number: one.new - one.rows - one.coarse - one.lost for number, one in by_segment.items()}
    return Balance(
        rows=sum(one.rows for one in sums),
        coarse=sum(one.coarse for one in sums),
        lost=sum(one.lost for one in sums),
        new=sum(one.new for one in sums),
        holds=all(not short or (short > 0 and number in running) for number, short in missing.items()),
    )


def shortfalls(reading: Reading, pods: Sequence[PodCoverage], nodes: Sequence[NodeCoverage]) -> Iterator[str]:
    """Why the recording does not have everything, one sentence each."""
    summed = balance(reading)
    if not summed.holds:
        where = f"{summed.rows} in exact rows, {summed.coarse} in coarse ones, {summed.lost} lost"
        yield f"the kernel counted {summed.new} new flows, and the recording has {where}"
    if summed.lost:
        yield f"{summed.lost} new flows were lost in the kernel: its tables were full"
    if summed.coarse:
        yield f"{summed.coarse} new flows were recorded without the address at the far end: a table was full"
    for loss in losses(reading):
        yield f"{loss.kind}: {loss.count}" + (f" ({loss.detail})" if loss.detail else "")
    if reading.is_of_cluster:
        yield from unwatched_nodes(nodes)
    partly = [one for one in pods if one.watched_seconds < one.alive_seconds]
    if partly:
        missing = sum(one.alive_seconds - one.watched_seconds for one in partly)
        yield f"{len(partly)} of {len(pods)} interfaces were not watched all the time ({missing:.1f} s are missing)"
    unnamed = sum(one.pod is None for one in pods)
    if unnamed:
        yield f"{unnamed} interfaces could not be traced to a pod"
    programs = sorted({segment.loader for segment in reading.segments() if segment.attach == IMPORTED})
    if programs and not pods:
        yield f"no pod was watched: all of this was told by other programs ({', '.join(programs)})"


def too_short(reading: Reading, nodes: Sequence[NodeCoverage]) -> Iterator[str]:
    """Whether it was recorded for less than was asked for, on a node or all together."""
    text = reading.meta.get("wanted_seconds", "")
    wanted = int(text) if text.isdecimal() else 0
    if not reading.is_of_cluster:
        interval = reading.interval()
        seconds = (interval[1] - interval[0]) / _SECOND if interval else 0.0
        if seconds < wanted - 1:
            yield f"it ended after {seconds:.0f} s of {text} s"
        return
    watched = [node for node in nodes if node.state != "not_watched"]
    short = sorted((node.recorded_seconds, node.name) for node in watched if node.recorded_seconds < wanted - 1)
    if short:
        least = f"the least is {short[0][1]} with {short[0][0]:.0f} s"
        yield f"{len(short)} of {len(watched)} nodes were not recorded for all of {wanted} s; {least}"


def never_watched(reading: Reading, world: World) -> Iterator[str]:
    """Pods of the watched nodes that nothing was attached to."""
    imported = reading.imported()
    known = {(veth.namespace, veth.pod) for veth in reading.veths() if veth.id not in imported}
    nodes = {segment.node for segment in reading.segments() if segment.attach != IMPORTED} | {reading.node}
    pods = [
        str(pod)
        for pod in world.snapshot.pods
        if pod.node in nodes and not pod.host_network and pod.addresses and (pod.namespace, pod.name) not in known
    ]
    if pods:
        more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
        where = "these nodes" if len(nodes - {""}) > 1 else "this node"
        yield f"{len(pods)} pods of the snapshot on {where} were never watched: {', '.join(pods[:3])}{more}"


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / _SECOND, 3)
