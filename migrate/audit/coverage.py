"""How much of a node's traffic a recording has: watched time of each pod, losses, and the kernel's own count."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.audit import words
from migrate.audit.reading import Gap, Reading, Veth
from migrate.audit.world import World
from migrate.model.audit_documents import AuditLoss, Balance, CoverageGap, PodCoverage

_SECOND = 1_000_000_000


def coverage(reading: Reading, world: World) -> tuple[PodCoverage, ...]:
    """Every life of a watched interface, by pod."""
    interval = reading.interval()
    end = interval[1] if interval else 0
    gaps: dict[int, list[Gap]] = {}
    for gap in reading.gaps():
        gaps.setdefault(gap.veth, []).append(gap)
    ended = {segment.id: segment.ended for segment in reading.segments()}
    found = (_of(veth, gaps.get(veth.id, []), ended.get(veth.segment) or end, world) for veth in reading.veths())
    return tuple(sorted(found, key=lambda one: (one.namespace or "", one.pod or "", one.interface, one.alive_seconds)))


def _of(veth: Veth, gaps: list[Gap], end: int, world: World) -> PodCoverage:
    """Where gaps overlap, the time is missing once."""
    until = veth.until or max(end, veth.since)
    unseen, reached = 0, veth.since
    for gap in sorted(gaps, key=lambda gap: gap.since):
        start, stop = max(gap.since, reached), min(gap.until or until, until)
        unseen += max(0, stop - start)
        reached = max(reached, stop)
    pod = world.pod(veth.namespace, veth.pod) if veth.namespace and veth.pod else None
    return PodCoverage(
        namespace=veth.namespace,
        pod=veth.pod,
        workload=(pod.workload or "") if pod is not None else "",
        interface=veth.name,
        alive_seconds=_seconds(until - min(veth.appeared, veth.since)),
        watched_seconds=_seconds(until - veth.since - unseen),
        gaps=tuple(
            CoverageGap(
                since=words.moment(gap.since),
                until=None if gap.until is None else words.moment(gap.until),
                reason=gap.reason,
            )
            for gap in gaps
        ),
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


def shortfalls(reading: Reading, world: World) -> Iterator[str]:
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
    pods = coverage(reading, world)
    partly = [one for one in pods if one.watched_seconds < one.alive_seconds]
    if partly:
        missing = sum(one.alive_seconds - one.watched_seconds for one in partly)
        yield f"{len(partly)} of {len(pods)} interfaces were not watched all the time ({missing:.1f} s are missing)"
    unnamed = sum(one.pod is None for one in pods)
    if unnamed:
        yield f"{unnamed} interfaces could not be traced to a pod"
    yield from _unwatched(reading, world)
    wanted, interval = reading.meta.get("wanted_seconds", ""), reading.interval()
    seconds = (interval[1] - interval[0]) / _SECOND if interval else 0.0
    if wanted.isdecimal() and seconds < int(wanted) - 1:
        yield f"it ended after {seconds:.0f} s of {wanted} s"


def _unwatched(reading: Reading, world: World) -> Iterator[str]:
    """Pods of the node that nothing was attached to."""
    known = {(veth.namespace, veth.pod) for veth in reading.veths()}
    pods = [
        str(pod)
        for pod in world.snapshot.pods
        if pod.node == reading.node
        and not pod.host_network
        and pod.addresses
        and (pod.namespace, pod.name) not in known
    ]
    if pods:
        more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
        yield f"{len(pods)} pods of the snapshot on this node were never watched: {', '.join(pods[:3])}{more}"


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / _SECOND, 3)
