"""A report that was made, and the two forms it can be written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import structs

from migrate.errors import InputError
from migrate.model.plan_documents import Plan
from migrate.readiness.documents import read_folder
from migrate.readiness.rules import Rule
from migrate.report.document import Report
from migrate.report.html import render_html
from migrate.report.policies import Levels
from migrate.report.since import read_report, since
from migrate.report.source_view import PairReader
from migrate.report.view import build_view

PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class MadeReport:
    """The document, and what the page needs beyond it: the policies' texts and the severities of their findings."""

    report: Report
    pairs: PairReader
    levels: Levels

    def html(self) -> bytes:
        """The page. Raises InputError when a translated object cannot be read."""
        return render_html(self.report, self.pairs, self.levels)

    def json(self) -> bytes:
        """The document, indented, with a newline at its end."""
        return msgspec.json.format(msgspec.json.encode(self.report), indent=2) + b"\n"


def make_report(folder: Path, rules: Mapping[str, Rule], now: datetime, baseline: Path | None = None) -> MadeReport:
    """The report on a working folder as of `now`, against an earlier one if there is a `baseline`.

    Raises InputError when the folder holds no document, and for a baseline that is no report.
    """
    old = None if baseline is None else read_report(baseline)
    documents = read_folder(folder)
    report = build_view(documents, rules, now, _plan(folder))
    if old is not None:
        report = structs.replace(report, since=since(old, report))
    return MadeReport(
        report=report,
        pairs=PairReader(documents.folder, documents.by_ref()),
        levels=Levels(rules, frozenset(report.accepted)),
    )


def _plan(folder: Path) -> Plan | None:
    """The runbook in the working folder, if `migrate plan` was run. Raises InputError when it cannot be used."""
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no plan of this version: {error}; run `migrate plan` again") from error
