"""Dates after which something that a cluster uses is no longer supported (rules/deadlines.yaml)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache

import msgspec

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.resources import data, read_yaml


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fact that shows the use of something; `value` is a glob."""

    topic: str
    value: str

    def holds(self, fact: Fact) -> bool:
        """Whether the fact is it, and in force."""
        return fact.topic == self.topic and fact.state == "active" and fnmatchcase(fact.value, self.value)


class Superseded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A date that a document once gave and that holds no more."""

    date: datetime.date
    source: str
    source_date: datetime.date
    reason: str


class Deadline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A date, what ends on it, and where that is said.

    `images_removed` is the day from which node images are gone, so that a node can no longer be made anew.
    It applies when any of `matches` holds, and `cloud` is the cluster's (when given).
    """

    what: str
    title: str
    date: datetime.date
    meaning: str
    matches: tuple[Match, ...]
    source: str
    source_date: datetime.date
    cloud: str = ""
    images_removed: datetime.date | None = None
    superseded: tuple[Superseded, ...] = ()


class AppliedDeadline(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline that concerns this cluster. `days_left` is negative once the date is past."""

    deadline: Deadline
    days_left: int
    images_days_left: int | None
    evidence: tuple[Evidence, ...]
    uses: tuple[str, ...]

    @property
    def past(self) -> bool:
        """Whether support has ended: the date is the first day without it."""
        return self.days_left <= 0

    @property
    def sentence(self) -> str:
        """What ends when, as one sentence."""
        day = self.deadline.date.isoformat()
        if self.past:
            return f"{self.deadline.title}: support ended on {day}, {_days(-self.days_left)} ago"
        return f"{self.deadline.title}: support ends on {day}, in {_days(self.days_left)}"


@cache
def load_deadlines() -> tuple[Deadline, ...]:
    """All deadlines that are known, the earliest first."""
    return tuple(sorted(read_yaml(data("rules") / "deadlines.yaml", tuple[Deadline, ...]), key=_order))


def applying(facts: Sequence[Fact], today: datetime.date) -> tuple[AppliedDeadline, ...]:
    """The deadlines of what the facts show to be in use, the earliest first."""
    found = [_apply(deadline, facts, today) for deadline in load_deadlines()]
    return tuple(applied for applied in found if applied is not None)


def findings(applied: Iterable[AppliedDeadline]) -> tuple[Finding, ...]:
    """A finding for each deadline; the graver one where nodes can no longer be made from their image."""
    return tuple(sorted((_finding(each) for each in applied), key=Finding.sort_key))


def _finding(each: AppliedDeadline) -> Finding:
    known = each.deadline
    source = f"source {known.source} of {known.source_date.isoformat()}"
    if each.images_days_left is None or each.images_days_left > 0:
        return Finding(id="CLU-DEADLINE", detail=f"{each.sentence} ({source})", effect=Effect.NONE)
    gone = f"node images of {', '.join(each.uses)} are gone since {known.images_removed}"
    return Finding(id="CLU-OS-IMAGE-GONE", detail=f"{gone}; {each.sentence} ({source})", effect=Effect.NONE)


def _apply(deadline: Deadline, facts: Sequence[Fact], today: datetime.date) -> AppliedDeadline | None:
    cloud = Match(topic="cloud", value=deadline.cloud)
    if deadline.cloud and not any(cloud.holds(fact) for fact in facts):
        return None
    using = [fact for fact in facts if any(match.holds(fact) for match in deadline.matches)]
    if not using:
        return None
    gone = deadline.images_removed
    return AppliedDeadline(
        deadline=deadline,
        days_left=(deadline.date - today).days,
        images_days_left=None if gone is None else (gone - today).days,
        evidence=tuple(one for fact in using for one in fact.evidence),
        uses=tuple(fact.value for fact in using),
    )


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _order(deadline: Deadline) -> tuple[datetime.date, str]:
    return deadline.date, deadline.what
