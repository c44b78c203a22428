"""Timelines that several agents kept, united: who had an address, and what stood behind a Service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Told(NamedTuple):
    """What one recording says: from `since` (0: since before) until `until` (None: still, when it was last heard of).

    `alive` is that last sign of life. `own`: the agent is that of the pod's own node.
    """

    since: int
    until: int | None
    alive: int
    own: bool = False


def united(told: Sequence[Told]) -> list[tuple[int, int | None]]:
    """Disjoint intervals in their order. An agent of the pod's own node is believed before all others.

    What was open when an agent was last heard of ends when those say that were heard of later.
    """
    ended = [one._replace(until=_end(one, told)) for one in told]
    believed = [one for one in ended if one.own] or ended
    return merged_intervals((one.since, one.until) for one in believed)


def _end(one: Told, told: Iterable[Told]) -> int | None:
    if one.until is not None:
        return one.until
    later = [other.until for other in told if other.alive > one.alive]
    ends = [end for end in later if end is not None]
    return max(one.alive, *ends) if ends and len(ends) == len(later) else None


def merged_intervals(intervals: Iterable[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """Those that overlap or touch as one."""
    merged: list[tuple[int, int | None]] = []
    for since, until in sorted(intervals, key=lambda one: one[0]):
        last = merged[-1] if merged else None
        if last is not None and (last[1] is None or since <= last[1]):
            merged[-1] = (last[0], None if last[1] is None or until is None else max(last[1], until))
        else:
            merged.append((since, until))
    return merged
