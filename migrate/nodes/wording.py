"""Lists for people."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from migrate.model.addresses import AddressSet
from migrate.model.finding import Finding
from migrate.model.intervals import IntervalSet
from migrate.model.words import one_line

_SHOWN = 3
_NETWORKS = 6
_LONGEST = 120
_DETAIL = 2000
"""Characters of a finding's detail."""


def first_few(names: Iterable[str], shown: int = _SHOWN) -> str:
    """The first names, and how many more there are. What hostile dumps have for a name is cut."""
    several = [clean(name) for name in names]
    more = f" and {len(several) - shown} more" if len(several) > shown else ""
    return ", ".join(several[:shown]) + more


def clean(text: str) -> str:
    """A text of a dump on one line: without control characters, cut at 120."""
    shown = one_line(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def printable(finding: Finding) -> Finding:
    """The finding with a detail that fits on a line of a terminal: a dump may hold anything where names stand."""
    detail = one_line(finding.detail, "\N{REPLACEMENT CHARACTER}")
    return msgspec.structs.replace(finding, detail=detail if len(detail) <= _DETAIL else f"{detail[:_DETAIL]} ...")


def ranges(addresses: AddressSet) -> str:
    """Addresses as prefixes, or as all but some where that is shorter; "none" of an empty set."""
    everything = AddressSet.everything()
    families = AddressSet(
        everything.v4 if addresses.v4 else IntervalSet(), everything.v6 if addresses.v6 else IntervalSet()
    )
    own, others = addresses.networks(), (families - addresses).networks()
    if len(others) < len(own):
        return f"all addresses but {first_few(map(str, others), _NETWORKS)}" if others else "all addresses"
    return first_few(map(str, own), _NETWORKS) or "none"
