"""How long one must watch to see every CronJob run: the longest time between two runs of each.

Schedules are those of Kubernetes: five fields, names of months and days, "?", "@daily" and its like, "@every 1h30m".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, pairwise, takewhile

from cronsim import CronSim, CronSimError

from migrate.audit.durations import parse_duration
from migrate.errors import InputError
from migrate.model.raw import RawObject, as_map
from migrate.model.refs import ObjectRef

_FIRST = datetime(2096, 1, 1)
_YEARS = 12
"""The years up to 2107 hold the longest wait for a 29 February, that from 2096 to 2104."""

_DAY = timedelta(days=1)
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class Cycle:
    """A CronJob with the longest time between two of its runs, in seconds."""

    job: ObjectRef
    schedule: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Cycles:
    """The CronJob that waits longest (None: there are none that run), and schedules that cannot be read."""

    longest: Cycle | None
    unreadable: tuple[str, ...] = ()


def cron_cycles(objects: Iterable[RawObject]) -> Cycles:
    """The cycles of all CronJobs that are not suspended."""
    found, unreadable = [], []
    for raw in objects:
        if raw.ref.kind != "CronJob" or raw.ref.group != "batch":
            continue
        spec = as_map(raw.data.get("spec"))
        if spec.get("suspend") is True:
            continue
        schedule = str(spec.get("schedule"))
        try:
            found.append(Cycle(raw.ref, schedule, longest_wait(schedule)))
        except (InputError, CronSimError) as error:
            unreadable.append(f"{raw.ref}: schedule {schedule!r} cannot be read ({error})")
    found.sort(key=lambda cycle: (-cycle.seconds, str(cycle.job)))
    return Cycles(found[0] if found else None, tuple(unreadable))


def longest_wait(schedule: str) -> int:
    """The longest time between two runs in seconds, without changes of daylight saving time.

    Raises InputError or CronSimError for what is no schedule.
    """
    fields = _without_zone(schedule)
    if fields.startswith("@every "):
        return parse_duration(fields.removeprefix("@every ").strip(), "@every")
    minute, hour, *days = _five(fields)
    times = [moment - _FIRST for moment in _runs(f"{minute} {hour} * * *", _FIRST, _FIRST + _DAY)]
    between_days = _longest_wait_for_a_day(days) - (times[-1] - times[0])
    within_a_day = (later - earlier for earlier, later in pairwise(times))
    return round(max(chain([between_days], within_a_day)).total_seconds())


def _longest_wait_for_a_day(days: list[str]) -> timedelta:
    if days == ["*", "*", "*"]:
        return _DAY
    dates = _runs(" ".join(("0", "0", *days)), _FIRST, _FIRST.replace(year=_FIRST.year + _YEARS))
    return max((later - earlier for earlier, later in pairwise(dates)), default=_YEARS * 366 * _DAY)


def _runs(expression: str, first: datetime, end: datetime) -> Iterable[datetime]:
    """The runs from `first` on and before `end`."""
    return takewhile(lambda moment: moment < end, CronSim(expression, first - timedelta(seconds=1)))


def _five(fields: str) -> list[str]:
    parts = _NAMED.get(fields, fields).split()
    if len(parts) != 5:
        raise InputError(f"{len(parts)} fields where five should be")
    return ["*" + part[1:] if part.startswith("?") else part for part in parts]


def _without_zone(schedule: str) -> str:
    first, _, rest = schedule.strip().partition(" ")
    return rest.strip() if first.startswith(("TZ=", "CRON_TZ=")) else schedule.strip()
