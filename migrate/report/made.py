"""A report that was made, and the forms it can be written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import structs

from migrate.model.plan_documents import Plan
from migrate.readiness.documents import PLAN, Input, input_of, read_folder, read_optional
from migrate.readiness.rules import Rule
from migrate.report.document import Report
from migrate.report.html import render_html, render_index
from migrate.report.junit import report_junit
from migrate.report.markdown import report_markdown
from migrate.report.policies import Levels
from migrate.report.sarif import report_sarif
from migrate.report.since import read_report, since
from migrate.report.source_view import PairReader
from migrate.report.split import Part, narrowed, parts_of
from migrate.report.view import build_view

_STALE = "Runbook: it was made from another snapshot than this report; run `migrate plan` again."


@dataclass(frozen=True, slots=True)
class MadeReport:
    """The document, and what the page needs beyond it: the policies' texts and the severities of their findings.

    `title` names the part of the cluster that it is about; empty for all of it.
    """

    report: Report
    pairs: PairReader
    levels: Levels
    title: str = ""

    def html(self) -> bytes:
        """The page. Raises InputError when a translated object cannot be read."""
        return render_html(self.report, self.pairs, self.levels, self.title)

    def index(self, by: str, parts: Sequence[tuple[Part, MadeReport]]) -> bytes:
        """The page that leads to the parts."""
        return render_index(self.report, by, [(part, one.report) for part, one in parts])

    def json(self) -> bytes:
        """The document, indented, with a newline at its end."""
        return msgspec.json.format(msgspec.json.encode(self.report), indent=2) + b"\n"

    def parts(self, by: str) -> tuple[tuple[Part, MadeReport], ...]:
        """Reports on parts of the cluster. Raises InputError when `by` means none."""
        found = parts_of(self.report, self.pairs.objects.values(), by)
        return tuple((part, replace(self, report=narrowed(self.report, part), title=part.title)) for part in found)

    def sarif(self) -> bytes:
        """The findings as SARIF 2.1.0."""
        return report_sarif(self.report, self.levels.rules).encode()

    def junit(self, *, warnings_fail: bool = False) -> bytes:
        """The report as JUnit XML."""
        return report_junit(self.report, warnings_fail=warnings_fail).encode()

    def markdown(self) -> bytes:
        """The report as a summary in Markdown."""
        return report_markdown(self.report).encode()


def make_report(folder: Path, rules: Mapping[str, Rule], now: datetime, baseline: Path | None = None) -> MadeReport:
    """The report on a working folder as of `now`, against an earlier one if there is a `baseline`.

    Raises InputError when the folder holds no document, and for a baseline that is no report.
    """
    old = None if baseline is None else read_report(baseline)
    documents = read_folder(folder)
    report = _with_plan(build_view(documents, rules, now), _plan(folder))
    if old is not None:
        report = structs.replace(report, since=since(old, report))
    return MadeReport(
        report=report,
        pairs=PairReader(documents.folder, documents.by_ref),
        levels=Levels(rules, frozenset(report.accepted)),
    )


def _plan(folder: Path) -> tuple[Plan, Input] | None:
    """The runbook in the working folder, if `migrate plan` was run. Raises InputError when it cannot be used."""
    plan = read_optional(folder / PLAN, Plan)
    if plan is None:
        return None
    return plan, input_of(folder / PLAN, "Plan", plan.tool_version, plan.made, plan.complete)


def _with_plan(report: Report, found: tuple[Plan, Input] | None) -> Report:
    """The report with the runbook; one of another snapshot is shown, and named among what cannot be relied on."""
    if found is None:
        return report
    plan, read = found
    snapshots = {document.sha256 for document in report.inputs if document.kind == "Snapshot"}
    stale = () if plan.snapshot_sha256 in snapshots else (_STALE,)
    return structs.replace(report, plan=plan, inputs=(*report.inputs, read), unmeasured=(*stale, *report.unmeasured))
