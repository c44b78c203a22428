"""The table of many clusters as a page, and its words for the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from migrate.readiness.documents import SNAPSHOT
from migrate.report.fleet import Fleet, FleetRow, FleetState
from migrate.report.html import asset, digest, environment

STATE_WORDS: Mapping[FleetState, str] = MappingProxyType(
    {
        "unreadable": "Unreadable",
        "blocked": "Blocked",
        "incomplete": "Incomplete",
        "decide_first": "Decide first",
        "no_blocker_found": "No blocker found",
    }
)
_LEVELS: Mapping[FleetState, str] = MappingProxyType(
    {
        "unreadable": "blocker",
        "blocked": "blocker",
        "incomplete": "warning",
        "decide_first": "warning",
        "no_blocker_found": "info",
    }
)


def render_fleet(fleet: Fleet, beside: Path) -> bytes:
    """The page, whose links to reports lead there from the folder `beside`."""
    css = asset("report.css")
    policy = f"default-src 'none'; style-src '{digest(css)}'"
    return (
        environment()
        .get_template("fleet.html.j2")
        .render(
            fleet=fleet,
            css=css,
            content_policy=policy,
            rows=[(row, cells(row), _LEVELS[row.state], _link(row, beside)) for row in fleet.rows],
            words=STATE_WORDS,
        )
        .encode()
    )


def cells(row: FleetRow) -> tuple[str, ...]:
    """State, missed predictions, blockers, warnings, would-be drops, watched, ages of snapshot and audit, deadline."""
    state = STATE_WORDS[row.state] + ("" if row.complete or row.state in ("unreadable", "incomplete") else " *")
    numbers = (row.missed, row.blockers, row.warnings, row.would_drop)
    nearest = min(row.deadlines, key=lambda one: one.days, default=None)
    return (
        state,
        *("–" if number is None else f"{number:,}" for number in numbers),
        _share(row.watched),
        _age(row.snapshot_days, there=row.state != "unreadable" and SNAPSHOT not in row.missing),
        _age(row.audit_days, there=row.audit_until is not None),
        "–" if nearest is None else nearest.date,
    )


def deadline_text(row: FleetRow) -> str:
    """All dates that concern it."""
    return "; ".join(f"{one.title} {one.date} ({_left(one.days)})" for one in row.deadlines)


def _left(days: int) -> str:
    if days <= 0:
        return f"{-days:,} days ago"
    return f"in {days:,} days"


def _share(share: float | None) -> str:
    """Never rounded up to all of it."""
    if share is None:
        return "–"
    return "100 %" if share >= 1 else f"{min(100 * share, 99.9):.1f} %"


def _age(days: int | None, *, there: bool) -> str:
    if days is None:
        return "?" if there else "–"
    return "today" if days == 0 else f"{days:,} d"


def _link(row: FleetRow, beside: Path) -> str:
    """A path from the page to the report of a folder; empty where there is none."""
    if row.page is None:
        return ""
    target = (Path(row.folder) / row.page).resolve()
    return quote(os.path.relpath(target, beside.resolve()))
