"""Findings as SARIF 2.1.0, which code hosts show beside the lines of a change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias
from urllib.parse import quote

import msgspec

from migrate.model.finding import Finding
from migrate.model.refs import Location
from migrate.readiness.rules import Rule
from migrate.report.document import Report

_Json: TypeAlias = Mapping[str, object]
_LEVELS = {"blocker": "error", "warning": "warning", "info": "note"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding with its severity ("blocker", "warning", "info"). `accepted`: somebody takes it as it is."""

    finding: Finding
    severity: str
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """Who found it."""

    name: str
    version: str


def sarif_text(tool: Tool, problems: Sequence[Problem], rules: Mapping[str, Rule], properties: _Json) -> str:
    """One run as text. An id without a rule is named alone."""
    ids = sorted({problem.finding.id for problem in problems})
    driver = {"name": tool.name, "version": tool.version, "rules": [_rule(one, rules.get(one)) for one in ids]}
    index = {identity: number for number, identity in enumerate(ids)}
    results = [_result(problem, index[problem.finding.id]) for problem in problems]
    run = {"tool": {"driver": driver}, "results": results, "properties": properties}
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def report_sarif(report: Report, rules: Mapping[str, Rule]) -> str:
    """A report's findings. Where a finding has no place of its own, that of its policy stands for it."""
    places = {row.source: row.at for row in report.policies}
    properties = {"state": report.answer.state, "target": report.target, "complete": report.complete}
    problems = [
        Problem(
            _placed(finding, places.get(finding.subject) if finding.subject else None), group.severity, group.accepted
        )
        for group in report.findings
        for finding in group.findings
    ]
    return sarif_text(Tool("migrate report", report.tool_version), problems, rules, properties)


def _placed(finding: Finding, place: Location | None) -> Finding:
    return finding if finding.at is not None or place is None else msgspec.structs.replace(finding, at=place)


def _rule(identity: str, rule: Rule | None) -> _Json:
    if rule is None:
        return {"id": identity}
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why.strip()},
        "help": {"text": rule.do.strip()},
        "defaultConfiguration": {"level": _LEVELS[rule.severity.value]},
    }


def _result(problem: Problem, index: int) -> _Json:
    """One finding; a result without a file has the object's name as its only place."""
    finding = problem.finding
    name = " ".join(_name(finding))
    place: dict[str, object] = {"logicalLocations": [{"fullyQualifiedName": name}]}
    if finding.at is not None:
        place["physicalLocation"] = _physical(finding.at)
    result: dict[str, object] = {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _LEVELS[problem.severity],
        "message": {"text": f"{name}: {finding.detail}" if name else finding.detail},
        "locations": [place],
        "partialFingerprints": {"finding/v1": _fingerprint(finding)},
    }
    if problem.accepted:
        result["suppressions"] = [{"kind": "external", "status": "accepted"}]
    return result


def _name(finding: Finding) -> Iterator[str]:
    yield from filter(None, (str(finding.subject or ""), finding.field))


def _physical(at: Location) -> _Json:
    physical: dict[str, object] = {"artifactLocation": {"uri": _uri(at.file)}}
    if at.line is not None:
        physical["region"] = {"startLine": at.line}
    return physical


def _uri(file: str) -> str:
    """A file as a URI reference; what is relative stays relative."""
    path = PurePosixPath(file)
    return path.as_uri() if path.is_absolute() else quote(file)


def _fingerprint(finding: Finding) -> str:
    """The same as long as it is about the same field of the same object, wherever that moves in its file."""
    return hashlib.sha256("\n".join((finding.id, *_name(finding))).encode()).hexdigest()
