"""Findings of `migrate lint` as SARIF 2.1.0, which code hosts show beside the lines of a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from migrate.model.documents import JudgedFinding, Lint
from migrate.model.finding import Severity
from migrate.readiness.rules import Rule, load_rules

_Json: TypeAlias = Mapping[str, object]
_LEVELS = {Severity.BLOCKER: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif_text(done: Lint) -> str:
    """The document as text."""
    ids = sorted({finding.id for finding in done.findings})
    rules = load_rules()
    driver = {
        "name": "migrate lint",
        "version": done.tool_version,
        "rules": [_rule(rules[rule_id]) for rule_id in ids],
    }
    results = [_result(finding, ids.index(finding.id)) for finding in done.findings]
    run = {"tool": {"driver": driver}, "results": results, "properties": {"target": done.target}}
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _rule(rule: Rule) -> _Json:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why.strip()},
        "help": {"text": rule.do.strip()},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: JudgedFinding, index: int) -> _Json:
    """One finding; a result without a file has the object's name as its only place."""
    place: dict[str, object] = {"logicalLocations": [{"fullyQualifiedName": _name(finding)}]}
    if finding.at is not None:
        physical: dict[str, object] = {"artifactLocation": {"uri": finding.at.file}}
        if finding.at.line is not None:
            physical["region"] = {"startLine": finding.at.line}
        place["physicalLocation"] = physical
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{_name(finding)}: {finding.detail}"},
        "locations": [place],
    }


def _name(finding: JudgedFinding) -> str:
    return " ".join(filter(None, (str(finding.subject or ""), finding.field)))
