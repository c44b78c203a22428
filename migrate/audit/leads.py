"""Which agents led a cluster's audit and when, and one timeline of what all of them kept.

An agent that dies leaves open what held then; who led next kept it from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

LEADS = "leads"
"""The key under which a recording's table meta keeps them."""


class Lead(NamedTuple):
    """One agent's time as the leader, in nanoseconds since 1970.

    Who came before led until `since` at least; `listed`: everything was known (None: never); `until` None: still.
    """

    since: int
    listed: int | None
    until: int | None


class Interval(NamedTuple):
    """From when until when something held; None: still."""

    since: int
    until: int | None


def read_leads(text: str) -> tuple[Lead, ...]:
    """The leads that a recording notes. What is no such list is none."""
    try:
        return tuple(msgspec.json.decode(text, type=list[Lead])) if text else ()
    except msgspec.DecodeError:
        return ()


def write_leads(leads: Iterable[Lead]) -> str:
    """Text for `read_leads`."""
    return msgspec.json.encode(list(leads)).decode()


_Fact = TypeVar("_Fact")


def joined(
    leads: Mapping[str, Iterable[Lead]], kept: Mapping[str, Iterable[tuple[_Fact, Interval]]]
) -> dict[_Fact, tuple[Interval, ...]]:
    """What each node's agent kept as the leader (`kept`), as one timeline.

    What one left open, or closed late, ends where the next one knew everything; what held over a change of the leader
    is one interval. All times are of one clock: correct those of nodes whose clocks differ before.
    """
    found: dict[_Fact, list[Interval]] = {}
    for node, facts in kept.items():
        leader = Leader.of(node, leads)
        for fact, interval in facts:
            found.setdefault(fact, []).append(leader.cut(interval))
    return {fact: merged(intervals) for fact, intervals in found.items()}


class Leader(NamedTuple):
    """When one agent led, and when others that did knew everything."""

    own: Sequence[Lead]
    others: Sequence[int]

    @classmethod
    def of(cls, node: str, leads: Mapping[str, Iterable[Lead]]) -> Leader:
        """Node `node`'s agent among all that ever led."""
        others = (one.listed for name, all_of in leads.items() if name != node for one in all_of if one.listed)
        return cls(sorted(leads.get(node, ()), key=lambda one: one.since), sorted(others))

    def cut(self, interval: Interval) -> Interval:
        """An interval of one lead ends where the next one of another agent knew everything."""
        lead = next((one for one in reversed(self.own) if one.since <= interval.since), Lead(0, None, None))
        knew = max(lead.since, lead.listed or 0)
        replaced = next((listed for listed in self.others if listed > knew), None)
        if replaced is None or (interval.until is not None and interval.until <= replaced):
            return interval
        return Interval(interval.since, max(interval.since, replaced))


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same times as disjoint intervals, in their order."""
    found: list[Interval] = []
    for interval in sorted(intervals, key=lambda one: one.since):
        last = found[-1] if found else None
        if last is None or (last.until is not None and last.until < interval.since):
            found.append(interval)
        elif last.until is not None and (interval.until is None or interval.until > last.until):
            found[-1] = Interval(last.since, interval.until)
    return tuple(found)
