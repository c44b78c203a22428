"""Ids of findings about Windows nodes, and how lists of things are told in them."""

from __future__ import annotations

from collections.abc import Iterable

DRIFT = "NODE-HNS-DRIFT"
REFUSED = "NODE-HNS-REFUSED"
INVERTED = "NODE-HNS-INVERTED"
SHARED_ID = "NODE-HNS-SHARED-ID"
BASE = "NODE-HNS-BASE"
DENIES = "NODE-HNS-2025"
DISAGREE = "NODE-HNS-DISAGREE"
FOREIGN = "NODE-HNS-OTHER-CLUSTER"
LEFT = "NODE-HNS-LEFTOVER"
_MOST = 4


def listed(things: Iterable[object], mark: str = ", ") -> str:
    """Some things by name, of many the first ones and how many more there are."""
    texts = [str(thing) for thing in things]
    more = [f"{len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return mark.join(texts[:_MOST] + more)
