"""Ids of findings about Windows nodes, and how lists of things are told in them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from migrate.model.finding import Finding

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
_LONGEST = 2000
"""Characters of a finding's detail."""


def listed(things: Iterable[object], mark: str = ", ") -> str:
    """Some things by name, of many the first ones and how many more there are."""
    texts = [str(thing) for thing in things]
    more = [f"{len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return mark.join(texts[:_MOST] + more)


def printable(finding: Finding) -> Finding:
    """The finding with a detail that fits on a line of a terminal: a dump may hold anything where names stand."""
    letters = (letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in finding.detail)
    detail = "".join(letters)
    shown = detail if len(detail) <= _LONGEST else f"{detail[:_LONGEST]} ..."
    return msgspec.structs.replace(finding, detail=shown)
