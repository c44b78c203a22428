"""A report as Markdown, for the summary of a pull request or of a workflow's step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from migrate.readiness.traffic import ends_text, watch_line
from migrate.report import words
from migrate.report.comparison import causes_of
from migrate.report.document import FindingGroup, Report
from migrate.report.traffic_rows import by_weight

_MOST = 10
_SPECIAL = re.compile(r"([\\`*_\[\]|~])")
_CODE = re.compile(r"`([^`<>&@|]*)`")


def report_markdown(report: Report) -> str:
    """The report as text, at most some dozens of lines, with the rest counted."""
    lines = [
        f"## {plain(report.answer.word)}",
        "",
        f"**{plain(report.cluster or 'Unnamed cluster')}**, {plain(', '.join(report.engines) or 'unknown engine')} "
        f"to {plain(report.target or 'no target yet')}. {plain(report.answer.sentence)}",
        *_numbers(report),
        *_first(report),
        *_blockers(report),
        *_since(report),
        *_changes(report),
        *_traffic(report),
        *_deadlines(report),
        *_unmeasured(report),
        "",
        f"<sub>Made by migrate {plain(report.tool_version)} on {report.generated}.</sub>",
    ]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text that Markdown and HTML read as itself, on one line; nobody is mentioned by it."""
    return _escaped(" ".join(text.split()))


def _escaped(line: str) -> str:
    html = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", html).replace("@", "&#64;")


def _prose(text: str) -> str:
    """Our own words: what stands between backticks is code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(f"`{part}`" if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _numbers(report: Report) -> Iterator[str]:
    found = report.summary.findings
    cells = [("Blockers", found.blocker), ("Warnings", found.warning), ("Accepted", report.summary.accepted)]
    if report.audit is not None:
        cells.append(("Would-be drops", len(report.audit.would_drop)))
    cells += [("Policies", report.summary.policies), ("Proved", sum(row.proof != "none" for row in report.policies))]
    yield ""
    yield _row(name for name, _ in cells)
    yield _row("---:" for _ in cells)
    yield _row(str(number) for _, number in cells)
    yield ""
    for line in report.answer.evidence:
        yield f"- {words.EVIDENCE_SIGNS[line.state]} **{plain(line.topic)}:** {_prose(line.text)}"


def _first(report: Report) -> Iterator[str]:
    yield from ("", "### What to do first", "")
    for number, step in enumerate(report.answer.first, start=1):
        about = f" ({plain(step.about)})" if step.about else ""
        yield f"{number}. **{plain(step.title)}**{about}: {_prose(step.detail)}"


def _blockers(report: Report) -> Iterator[str]:
    blockers = [group for group in report.findings if group.severity == "blocker" and not group.accepted]
    if not blockers:
        return
    yield from ("", "### Blockers", "", _row(("Finding", "Where", "Detail")), _row(("---", "---", "---")))
    rows = [(group, finding) for group in blockers for finding in group.findings]
    for group, finding in rows[: 2 * _MOST]:
        where = str(finding.at or finding.subject or "the cluster")
        yield _row((_titled(group), plain(where), plain(finding.detail)))
    yield from _more(rows, 2 * _MOST)


def _titled(group: FindingGroup) -> str:
    return f"{plain(group.id)}: {plain(group.title)}"


def _since(report: Report) -> Iterator[str]:
    since = report.since
    if since is None:
        return
    yield from ("", f"### Since the report of {since.generated}", "")
    yield f"It said: {plain(since.word)}."
    yield ""
    listed = [
        f"- new {one.severity}: {plain(one.id)}, {plain(one.object)}: {plain(one.detail)}" for one in since.new_findings
    ]
    listed += [f"- gone {one.severity}: {plain(one.id)}, {plain(one.object)}" for one in since.gone_findings]
    listed += [f"- new would-be drop: {plain(one)}" for one in since.new_drops]
    listed += [f"- gone would-be drop: {plain(one)}" for one in since.gone_drops]
    listed += [
        f"- {plain(one.object)}: {one.before or 'not there'} → {one.after or 'not there'}" for one in since.policies
    ]
    yield from listed[: 2 * _MOST] or ["Nothing changed."]
    yield from _more(listed, 2 * _MOST)


def _changes(report: Report) -> Iterator[str]:
    causes = causes_of(report)
    if not causes:
        return
    yield from ("", "### Changed connections", "")
    for cause in causes[:_MOST]:
        sign = "−" if cause.lost else "+"
        yield f"- **{sign}** {plain(cause.headline)}: for example {plain(cause.example)}"
    yield from _more(causes, _MOST)


def _traffic(report: Report) -> Iterator[str]:
    audit = report.audit
    if audit is None:
        return
    yield from ("", "### Live traffic", "", f"{plain(_sentence(watch_line(audit)))}.", "")
    if not audit.would_drop:
        yield "No traffic that was seen would be dropped."
        return
    yield _row(("Would be dropped", "Connections"))
    yield _row(("---", "---:"))
    for group in by_weight(audit)[:_MOST]:
        yield _row((plain(ends_text(group)), str(group.events)))
    yield from _more(audit.would_drop, _MOST)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _deadlines(report: Report) -> Iterator[str]:
    if report.deadlines:
        yield from ("", "### Deadlines", "")
    for item in report.deadlines:
        left = f"in {item.days} days" if item.days > 0 else f"past by {-item.days} days"
        yield f"- {item.date} ({left}): {plain(item.title)}"


def _unmeasured(report: Report) -> Iterator[str]:
    yield from ("", "<details><summary>Not measured</summary>", "")
    yield from (f"- {_prose(gap)}" for gap in report.unmeasured)
    if report.unchecked:
        ids = ", ".join(plain(rule.id) for rule in report.unchecked[:_MOST])
        more = f" and {len(report.unchecked) - _MOST} more" if len(report.unchecked) > _MOST else ""
        yield f"- Rules not checked: {ids}{more}"
    yield from ("", "</details>")


def _more(rows: Sequence[object], shown: int) -> Iterator[str]:
    if len(rows) > shown:
        yield from ("", f"{len(rows) - shown} more are in the whole report.")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
