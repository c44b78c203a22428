"""`migrate report --fleet`: many clusters in one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from datetime import datetime

    from migrate.report.fleet import Fleet

PAGE = "fleet.html"
_HEADS = (
    *("CLUSTER", "STATE", "MISSED", "BLOCKERS", "WARNINGS", "DROPS", "WATCHED"),
    *("SNAPSHOT", "AUDIT", "DEADLINE", "FOLDER"),
)
_FEW = 3


def write_fleet(folders: list[Path], now: datetime, output: str, place: Path | None, fail_on: str) -> ExitStatus:
    """The table on stdout and as a page, or the document; the status that the command ends with."""
    from migrate.cli.emit import emit, hint
    from migrate.files import write_atomic
    from migrate.report.fleet import make_fleet
    from migrate.report.fleet_page import render_fleet

    if output not in ("html", "json"):
        raise InputError(f"--fleet: there is no {output} of many clusters; take html or json")
    fleet = make_fleet(folders, now)
    if output == "json":
        if place is None:
            emit(fleet.json().decode())
        else:
            write_atomic(place.absolute(), fleet.json())
        return _status(fleet, fail_on)
    page = (place or Path(PAGE)).absolute()
    write_atomic(page, render_fleet(fleet, page.parent))
    emit(fleet_text(fleet))
    hint(f"wrote {page}", quiet=False)
    return _status(fleet, fail_on)


def fleet_text(fleet: Fleet) -> str:
    """The table for a terminal, the worst first, with the reason below what could not be read."""
    from rich.table import Table

    from migrate.cli.emit import plain, table_text
    from migrate.model.words import counted
    from migrate.report.fleet_page import cells

    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(_HEADS):
        table.add_column(name, justify="right" if 2 <= number <= 8 else "left", no_wrap=number > 0, overflow="fold")
    for each in fleet.rows:
        table.add_row(plain(each.cluster or "?"), *map(plain, cells(each)), plain(each.folder))
    counts = ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in fleet.states.items() if number)
    head = plain(f"{counted(len(fleet.rows), 'cluster')}: {counts}", "bold")
    return table_text(head, table, *(plain(line) for line in _notes(fleet)))


def _notes(fleet: Fleet) -> Iterator[str]:
    without: dict[tuple[str, ...], list[str]] = {}
    for row in fleet.rows:
        if row.problem:
            yield f"{row.folder}: {row.problem}"
        elif row.missing:
            without.setdefault(row.missing, []).append(row.folder)
        if row.outdated:
            yield f"{row.folder}: out of date: {', '.join(row.outdated)}"
    for missing, folders in without.items():
        more = f" and {len(folders) - _FEW} more" if len(folders) > _FEW else ""
        yield f"not there: {', '.join(missing)} ({', '.join(folders[:_FEW])}{more})"
    if any(not row.complete and row.state != "unreadable" for row in fleet.rows):
        yield "*: a document says of itself that something could not be read"


def _status(fleet: Fleet, fail_on: str) -> ExitStatus:
    """What is proved bad goes before incomplete."""
    blockers = any(row.blockers for row in fleet.rows)
    warnings = any(row.warnings for row in fleet.rows)
    if (fail_on != "never" and blockers) or (fail_on == "warning" and warnings):
        return ExitStatus.FINDINGS
    return ExitStatus.FINE if fleet.complete else ExitStatus.INCOMPLETE
