"""Durations in Go's form, and how long to watch to see every CronJob."""

import pytest

from migrate.audit.cycles import cron_cycles, longest_wait
from migrate.audit.durations import duration_text, parse_duration
from migrate.errors import InputError
from migrate.model.raw import Json, RawObject

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("24h", 24 * HOUR, id="hours"),
        pytest.param("1h30m", 5400, id="hours and minutes"),
        pytest.param("90m", 5400, id="more minutes than an hour has"),
        pytest.param("1.5h", 5400, id="parts of an hour"),
        pytest.param("20s", 20, id="seconds"),
        pytest.param("1500ms", 2, id="milliseconds, rounded to seconds"),
        pytest.param("+2m", 120, id="a plus sign is Go's too"),
    ],
)
def test_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        pytest.param("24", "24h for hours", id="a number without a unit"),
        pytest.param("0", "such as 24h", id="zero"),
        pytest.param("0s", "such as 24h", id="zero seconds"),
        pytest.param("-1h", "such as 24h", id="a time that is over"),
        pytest.param("", "such as 24h", id="nothing"),
        pytest.param("1d", "units h, m and s", id="days are not Go's"),
        pytest.param("1h 30m", "units h, m and s", id="a space inside"),
        pytest.param("h", "units h, m and s", id="a unit without a number"),
        pytest.param("500ms", "between 1s and", id="shorter than a second"),
        pytest.param("9999h", "between 1s and", id="longer than a year"),
    ],
)
def test_what_is_no_duration_says_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(InputError, match=advice):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1s", "1m", "1h30m", "25h1m1s", "168h"])
def test_duration_text_reads_back(text: str) -> None:
    assert duration_text(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        pytest.param("* * * * *", 60, id="each minute"),
        pytest.param("*/15 * * * *", 900, id="each quarter of an hour"),
        pytest.param("0 22,2 * * *", 20 * HOUR, id="twice in a night: the day is longer"),
        pytest.param("0 3 * * 1-5", 3 * DAY, id="on working days: from Friday to Monday"),
        pytest.param("0 3 * * mon-FRI", 3 * DAY, id="names of days"),
        pytest.param("0 9 ? * ?", DAY, id="a question mark is a star"),
        pytest.param("0 4 1 * *", 31 * DAY, id="monthly: the longest month"),
        pytest.param("0 0 31 * *", 61 * DAY, id="on the 31st: months without one are skipped"),
        pytest.param("0 0 13 * 5", 7 * DAY, id="day of month or day of week, when both are given"),
        pytest.param("0 0 1 JAN,jul *", 184 * DAY, id="names of months"),
        pytest.param("0 0 29 2 *", 2921 * DAY, id="29 February: the year 2100 has none"),
        pytest.param("@daily", DAY, id="a name for a schedule"),
        pytest.param("@every 1h30m", 5400, id="a span instead of a schedule"),
        pytest.param("TZ=Europe/Berlin 30 2 * * 0", 7 * DAY, id="a time zone in front"),
    ],
)
def test_longest_wait_between_two_runs(schedule: str, seconds: int) -> None:
    assert longest_wait(schedule) == seconds


def cron_job(name: str, schedule: str, *, suspend: bool = False) -> RawObject:
    spec: dict[str, Json] = {"schedule": schedule, "suspend": suspend}
    metadata: dict[str, Json] = {"namespace": "shop", "name": name}
    return RawObject({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec})


def test_the_cronjob_that_waits_longest_is_named() -> None:
    jobs = [
        cron_job("backup", "0 3 * * *"),
        cron_job("invoices", "0 4 1 * *"),
        cron_job("old", "0 0 1 1 *", suspend=True),
    ]
    found = cron_cycles(jobs)
    assert found.longest is not None
    assert (found.longest.job.name, found.longest.seconds) == ("invoices", 31 * DAY)
    assert not found.unreadable


def test_a_schedule_that_cannot_be_read_is_told_and_the_others_count() -> None:
    found = cron_cycles([cron_job("backup", "0 3 * * *"), cron_job("odd", "every day"), cron_job("no", "61 * * * *")])
    assert found.longest is not None
    assert found.longest.job.name == "backup"
    assert [text.split(":")[0] for text in found.unreadable] == ["CronJob shop/odd", "CronJob shop/no"]


def test_without_cronjobs_there_is_no_cycle() -> None:
    assert cron_cycles([]).longest is None
