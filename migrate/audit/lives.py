"""Lives of watched interfaces: how long each was there, and in which times it was seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from migrate.audit.reading import Gap, Reading, Veth


class Life(NamedTuple):
    """An interface that was there until a moment; `watched` are the times in which it was seen, in order."""

    veth: Veth
    until: int
    gaps: tuple[Gap, ...]
    watched: tuple[tuple[int, int], ...]

    @property
    def appeared(self) -> int:
        """When it came up, as far as known."""
        return min(self.veth.appeared, self.veth.since)


def lives(reading: Reading) -> tuple[Life, ...]:
    """All of a recording. One that has no end lived as long as its run, or as the recording.

    What other programs told of was not watched, and is not among them.
    """
    interval, imported = reading.interval(), reading.imported()
    end = interval[1] if interval else 0
    ended = {segment.id: segment.ended for segment in reading.segments()}
    gaps: dict[int, list[Gap]] = {}
    for gap in reading.gaps():
        gaps.setdefault(gap.veth, []).append(gap)
    watched = (veth for veth in reading.veths() if veth.id not in imported)
    return tuple(_life(veth, gaps.get(veth.id, []), ended.get(veth.segment) or end) for veth in watched)


def _life(veth: Veth, gaps: list[Gap], end: int) -> Life:
    until = veth.until or max(end, veth.since)
    return Life(veth, until, tuple(gaps), tuple(_watched(veth.since, until, gaps)))


def _watched(since: int, until: int, gaps: Iterable[Gap]) -> list[tuple[int, int]]:
    """Where gaps overlap, the time is missing once."""
    times, reached = [], since
    for gap in sorted(gaps, key=lambda gap: gap.since):
        if gap.since > reached:
            times.append((reached, min(gap.since, until)))
        reached = max(reached, min(gap.until or until, until))
    if until > reached:
        times.append((reached, until))
    return times
