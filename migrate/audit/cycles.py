"""How long one must watch to see every CronJob run: the longest time between two runs of each.

Schedules are those of Kubernetes: five fields, names of months and days, "?", "@daily" and its like, "@every 1h30m".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice, pairwise, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from migrate.audit.durations import parse_duration
from migrate.errors import InputError
from migrate.model.audit_documents import CronCoverage, PodCoverage
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
_OF_A_RUN = re.compile(r"(?P<job>.+)-(?P<minute>\d{6,10})-[a-z0-9]{5}")
_ZONE = re.compile(r"(?:CRON_)?TZ=(?P<zone>\S+)")
_MOST_RUNS = 100_000


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


def cycle_coverage(
    objects: Iterable[RawObject], pods: Iterable[PodCoverage], since: datetime, until: datetime
) -> tuple[CronCoverage, ...]:
    """The runs of all CronJobs that are not suspended, between two moments in UTC, and those with a watched pod.

    Jobs of a CronJob are named after it and the minute, since 1970, for which they were made
    (`getJobName` in kubernetes/pkg/controller/cronjob/utils.go).
    """
    runs: dict[str, dict[int, bool]] = {}
    for pod in pods:
        found = _OF_A_RUN.fullmatch(pod.pod or "")
        if found is not None and pod.watched_seconds:
            of_job = runs.setdefault(f"{pod.namespace}/{found['job']}", {})
            minute = int(found["minute"])
            of_job[minute] = of_job.get(minute, False) or pod.state == "traffic"
    jobs = (raw for raw in objects if (raw.ref.kind, raw.ref.group) == ("CronJob", "batch"))
    told = (_coverage(raw, runs.get(f"{raw.ref.namespace}/{raw.ref.name}", {}), since, until) for raw in jobs)
    return tuple(sorted((one for one in told if one is not None), key=lambda one: one.job))


def _coverage(raw: RawObject, runs: Mapping[int, bool], since: datetime, until: datetime) -> CronCoverage | None:
    spec = as_map(raw.data.get("spec"))
    if spec.get("suspend") is True:
        return None
    schedule = str(spec.get("schedule"))
    try:
        expected: int | None = runs_between(schedule, str(spec.get("timeZone") or ""), since, until)
    except (InputError, CronSimError):
        expected = None
    job = f"{raw.ref.namespace}/{raw.ref.name}"
    return CronCoverage(job=job, schedule=schedule, expected=expected, seen=len(runs), with_traffic=sum(runs.values()))


def runs_between(schedule: str, zone: str, since: datetime, until: datetime) -> int:
    """How often a schedule runs from a moment on and before another one, both in UTC; at most 100,000.

    `zone` is a time zone's name; without it the schedule is taken for UTC, which controllers mostly run in. Runs of
    "@every" are counted from the first moment on. Raises InputError or CronSimError for what is no schedule or zone.
    """
    fields, named = _without_zone(schedule), _ZONE.match(schedule.strip())
    if fields.startswith("@every "):
        seconds = parse_duration(fields.removeprefix("@every ").strip(), "@every")
        return int((until - since).total_seconds() // max(1, seconds))
    name = zone or (named["zone"] if named is not None else "") or "UTC"
    try:
        place = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"{name!r}: no time zone that is known here") from error
    first = since.astimezone(place) - timedelta(seconds=1)
    moments = CronSim(" ".join(_five(fields)), first)
    return sum(1 for _ in islice(takewhile(lambda moment: moment < until, moments), _MOST_RUNS))
