"""Findings of `migrate lint` as SARIF 2.1.0."""

from __future__ import annotations

from migrate.model.documents import Lint
from migrate.readiness.rules import load_rules
from migrate.report.sarif import Problem, Tool, sarif_text


def lint_sarif(done: Lint) -> str:
    """The document as text."""
    problems = [Problem(finding, finding.severity.value) for finding in done.findings]
    return sarif_text(Tool("migrate lint", done.tool_version), problems, load_rules(), {"target": done.target})
