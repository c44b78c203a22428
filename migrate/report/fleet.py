"""Many clusters' working folders as one table, the worst first. A folder that cannot be read is a row that says why."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import msgspec

import migrate
from migrate.errors import InputError, MigrateError
from migrate.readiness.documents import AUDIT, NODES, PLAN, SNAPSHOT, VERIFICATION
from migrate.readiness.rules import load_rules
from migrate.readiness.traffic import watched_share_of_all
from migrate.readiness.verdict import State
from migrate.report.document import Deadline, Report
from migrate.report.made import make_report
from migrate.report.words import STATE_ANSWERS
from migrate.translate.documents import TRANSLATION

FleetState = Literal["unreadable", State]
_DOCUMENTS = (SNAPSHOT, TRANSLATION, VERIFICATION, NODES, AUDIT, PLAN)
_ORDER: tuple[FleetState, ...] = ("blocked", "unreadable", "incomplete", "decide_first", "no_blocker_found")
_DEADLINES = 5
_FEW = 8
"""Folders up to which other processes cost more than they save."""
_WITHIN = "migration"


class FleetDeadline(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A date that concerns a cluster; `days` from now to it, not above 0 once it is past."""

    title: str
    date: str
    days: int


class FleetRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One working folder.

    `state` is that of its report, or "unreadable" with the reason in `problem`. What is None is not known: a number of
    would-be drops (kinds of traffic) without an audit, `missed` predictions without a check after the cutover, the
    watched share of all pods' time (0 to 1), ages in days. `missing` are documents that are not there, `outdated` those
    that were made from other policies or another snapshot than those of now. `page` is its report in HTML, relative to
    the folder, where there is one.
    """

    folder: str
    cluster: str | None = None
    state: FleetState
    word: str
    problem: str = ""
    complete: bool = False
    engines: tuple[str, ...] = ()
    target: str | None = None
    policies: int | None = None
    blockers: int | None = None
    warnings: int | None = None
    would_drop: int | None = None
    missed: int | None = None
    watched: float | None = None
    snapshot_taken: str | None = None
    snapshot_days: int | None = None
    audit_until: str | None = None
    audit_days: int | None = None
    deadlines: tuple[FleetDeadline, ...] = ()
    missing: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    first: str = ""
    page: str | None = None


class Fleet(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """All of them as of `generated` (RFC 3339), the worst first; `states` counts them by state."""

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Fleet"] = "Fleet"
    tool_version: str
    generated: str
    complete: bool
    states: dict[FleetState, int]
    rows: tuple[FleetRow, ...]

    def json(self) -> bytes:
        """The document, indented, with a newline at its end."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


@dataclass(frozen=True, slots=True)
class _Task:
    """A folder to look at, as of a moment."""

    folder: Path
    name: str
    now: datetime


def make_fleet(folders: Sequence[Path], now: datetime) -> Fleet:
    """The table of these folders. Raises InputError when there is none."""
    found = list(dict.fromkeys(each for folder in folders for each in _working_folders(folder)))
    if not found:
        raise InputError("--fleet: no folder is named; give the working folders, such as: migrate report --fleet */")
    tasks = [_Task(folder, str(folder), now) for folder in found]
    rows = tuple(sorted(_rows(tasks), key=_order))
    return Fleet(
        tool_version=migrate.__version__,
        generated=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        complete=all(row.complete for row in rows),
        states={state: sum(row.state == state for row in rows) for state in _ORDER},
        rows=rows,
    )


def _working_folders(named: Path) -> Iterator[Path]:
    """What a name stands for: a pattern, a working folder, the folder around it, or one with many of these."""
    if not named.exists() and glob.has_magic(str(named)):
        matching = sorted(path for path in Path(named.anchor).glob(_pattern(named)) if path.is_dir())
        if not matching:
            yield named
        for one in matching:
            yield from _working_folders(one)
        return
    if _has_documents(named) or not named.is_dir():
        yield named
    elif _has_documents(named / _WITHIN):
        yield named / _WITHIN
    else:
        below = sorted(path for path in _below(named) if path.is_dir() and not path.name.startswith("."))
        yield from (path / _WITHIN if _has_documents(path / _WITHIN) else path for path in below)
        if not below:
            yield named


def _pattern(named: Path) -> str:
    return str(named.relative_to(named.anchor)) if named.anchor else str(named)


def _below(folder: Path) -> list[Path]:
    """Nothing where it may not be read; the folder itself then says so in its row."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _has_documents(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _DOCUMENTS)


def _rows(tasks: Sequence[_Task]) -> Iterable[FleetRow]:
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    if len(tasks) <= _FEW or workers == 1:
        return [_row(task) for task in tasks]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [pool.submit(_row, task) for task in tasks]
        rows = []
        for task, future in zip(tasks, futures, strict=True):
            try:
                rows.append(future.result())
            except BrokenProcessPool:
                rows.append(_alone(task))
        return rows


def _alone(task: _Task) -> FleetRow:
    """After a process died, each folder that is left has one of its own, so that only its own row says so."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_row, task).result()
        except BrokenProcessPool:
            return _unreadable(task, "reading it took more than this machine has: the process was ended")


def _row(task: _Task) -> FleetRow:
    try:
        report = make_report(task.folder, load_rules(), task.now).report
    except (MigrateError, OSError, ValueError, RecursionError, MemoryError) as error:
        return _unreadable(task, str(error) or type(error).__name__)
    return _of(report, task)


def _unreadable(task: _Task, problem: str) -> FleetRow:
    missing = tuple(name for name in _DOCUMENTS if not (task.folder / name).is_file())
    word = "Unknown: it could not be read"
    return FleetRow(folder=task.name, state="unreadable", word=word, problem=problem, missing=missing)


def _of(report: Report, task: _Task) -> FleetRow:
    taken = next((one.made for one in report.inputs if one.kind == "Snapshot"), None)
    audit, cutover = report.audit, report.cutover
    page = task.folder / "report.html"
    return FleetRow(
        folder=task.name,
        cluster=report.cluster,
        state=report.answer.state,
        word=STATE_ANSWERS[report.answer.state],
        complete=report.complete,
        engines=report.engines,
        target=report.target,
        policies=report.summary.policies,
        blockers=report.summary.findings.blocker,
        warnings=report.summary.findings.warning,
        would_drop=None if audit is None else len(audit.would_drop),
        missed=None if cutover is None else len(cutover.missed),
        watched=None if audit is None else watched_share_of_all(audit),
        snapshot_taken=taken,
        snapshot_days=_days(taken, task.now),
        audit_until=None if audit is None else audit.until,
        audit_days=None if audit is None else _days(audit.until, task.now),
        deadlines=tuple(map(_deadline, report.deadlines[:_DEADLINES])),
        missing=tuple(name for name in _DOCUMENTS if not (task.folder / name).is_file()),
        outdated=tuple(_outdated(report)),
        first=report.answer.first[0].title if report.answer.first else "",
        page=page.name if page.is_file() else None,
    )


def _outdated(report: Report) -> Iterator[str]:
    read = {one.kind: one.complete for one in report.inputs}
    if report.audit is not None and report.audit.complete and not read.get("Audit", True):
        yield AUDIT
    if any(gap.startswith("Runbook: ") for gap in report.unmeasured):
        yield PLAN


def _deadline(known: Deadline) -> FleetDeadline:
    return FleetDeadline(title=known.title, date=known.date, days=known.days)


def _days(moment: str | None, now: datetime) -> int | None:
    """Whole days from a time to now; None where it is not told or no time."""
    if not moment:
        return None
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (now - (then if then.tzinfo else then.replace(tzinfo=UTC))).days


def _order(row: FleetRow) -> tuple[object, ...]:
    """Missed predictions of clusters that are over already come before everything."""
    nearest = min((one.days for one in row.deadlines), default=1 << 20)
    numbers = (-(row.blockers or 0), -(row.would_drop or 0), -(row.warnings or 0), nearest)
    return (-(row.missed or 0), _ORDER.index(row.state), *numbers, row.cluster or "", row.folder)
