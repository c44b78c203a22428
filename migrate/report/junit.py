"""A report as JUnit XML, which build servers show as tests: what stands in the way is a failure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from migrate.model.finding import Finding
from migrate.report.document import FindingGroup, Report
from migrate.translate.accepted import object_of

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Case:
    """One test: `outcome` is failure, skipped or empty for one that passes."""

    group: str
    name: str
    outcome: str = ""
    message: str = ""
    text: str = ""


def report_junit(report: Report, *, warnings_fail: bool) -> str:
    """The report as text. Warnings are failures if they are to fail; what nobody could check is skipped."""
    suites = (
        ("verdict", [_verdict(report, warnings_fail=warnings_fail)]),
        ("findings", list(_findings(report, warnings_fail=warnings_fail))),
        ("policies", list(_policies(report))),
        ("not checked", list(_unchecked(report))),
    )
    root = ElementTree.Element("testsuites", name="migrate report")
    for name, cases in suites:
        root.append(_suite(name, cases))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _verdict(report: Report, *, warnings_fail: bool) -> _Case:
    answer = report.answer
    failing = answer.state in ("blocked", "incomplete") or (warnings_fail and answer.state == "decide_first")
    return _Case("verdict", "may we cut over", "failure" if failing else "", answer.word, answer.sentence)


def _findings(report: Report, *, warnings_fail: bool) -> Iterator[_Case]:
    failing = {"blocker", "warning"} if warnings_fail else {"blocker"}
    for group in report.findings:
        outcome = "skipped" if group.accepted else "failure" if group.severity in failing else ""
        for finding in group.findings:
            message = f"accepted: {group.title}" if group.accepted else group.title
            name = " ".join(filter(None, (object_of(finding), finding.field)))
            yield _Case(group.id, name, outcome, message, _text(group, finding))


def _text(group: FindingGroup, finding: Finding) -> str:
    place = f"{finding.at}: " if finding.at else ""
    return f"{group.severity}: {place}{finding.detail}\n\nDo: {group.do}"


def _policies(report: Report) -> Iterator[_Case]:
    for row in report.policies:
        outcome = "failure" if row.worst == "blocker" else ""
        yield _Case(row.source.kind, str(row.source), outcome, f"{row.standing}, with blockers")


def _unchecked(report: Report) -> Iterator[_Case]:
    for rule in report.unchecked:
        yield _Case(rule.id, rule.title, "skipped", f"lacks {'; '.join(rule.lacks)}")


def _suite(name: str, cases: Iterable[_Case]) -> ElementTree.Element:
    kept = list(cases)
    counts = {outcome: sum(case.outcome == outcome for case in kept) for outcome in ("failure", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(kept)),
        failures=str(counts["failure"]),
        errors="0",
        skipped=str(counts["skipped"]),
    )
    for case in kept:
        node = ElementTree.SubElement(suite, "testcase", classname=_clean(case.group), name=_clean(case.name))
        if case.outcome:
            said = ElementTree.SubElement(node, case.outcome, message=_clean(case.message))
            said.text = _clean(case.text)
        elif case.text:
            ElementTree.SubElement(node, "system-out").text = _clean(case.text)
    return suite


def _clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _NOT_XML.sub("�", text)
