"""`migrate lint`: policies written by hand for Cilium, checked against a target and, when given, a snapshot."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.cli.translate import FailOn, FailOnOption
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.model.documents import Lint


_FAILING = {FailOn.BLOCKER: ("blocker",), FailOn.WARNING: ("warning", "blocker"), FailOn.NEVER: ()}


class LintFormat(Enum):
    """How the findings are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    SARIF = "sarif"


Snapshot = Annotated[
    Path | None,
    typer.Option("--snapshot", help="Snapshot that shows pods, nodes and Services.", show_default=False),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", help="Target profile, such as aks-1.36; default: by the snapshot, else the newest Cilium."
    ),
]
Format = Annotated[LintFormat, typer.Option("--output", "-o", help="table, json, yaml or sarif.")]


def lint(
    filename: options.Filename = None,
    target: Target = None,
    snapshot: Snapshot = None,
    fail_on: FailOnOption = FailOn.BLOCKER,
    output: Format = LintFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Check CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies, and NetworkPolicies meant for Cilium.

    Exit status 1 with findings at --fail-on, 4 when something could not be read.
    """
    from migrate.cli.emit import emit, hint
    from migrate.workflow import run_lint

    if not filename:
        raise InputError("there is nothing to check; give files or folders with -f, or -f - for standard input")
    stdin = None if sys.stdin is None else sys.stdin.buffer
    done, reason = run_lint(filename, target, snapshot, stdin=stdin)
    hint(f"target {done.target}: {reason}", quiet)
    emit(_text(done, output))
    raise typer.Exit(_status(done, fail_on, quiet))


def _text(done: Lint, output: LintFormat) -> str:
    from migrate.cli.emit import document_text
    from migrate.cli.lint_sarif import lint_sarif

    if output is LintFormat.SARIF:
        return lint_sarif(done)
    if output is LintFormat.TABLE:
        return _table(done)
    return document_text(done, options.OutputFormat(output.value))


def _table(done: Lint) -> str:
    from rich import box
    from rich.table import Column, Table

    from migrate.cli.emit import plain, table_text

    summary = f"{_amount(done.objects, 'object')}, {_amount(len(done.findings), 'finding')}"
    columns = [Column(name, overflow="fold") for name in ("severity", "id", "where", "field", "what")]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for finding in sorted(done.findings, key=lambda finding: finding.severity.rank):
        place = finding.at or finding.subject or ""
        row = (finding.severity.value, finding.id, str(place), finding.field or "", finding.detail)
        table.add_row(*map(plain, row))
    return table_text(plain(summary, "bold"), *([table] if done.findings else []))


def _amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _status(done: Lint, fail_on: FailOn, quiet: bool) -> ExitStatus:
    """What is proved bad goes before incomplete."""
    from migrate.cli.emit import hint

    failing = [finding for finding in done.findings if finding.severity.value in _FAILING[fail_on]]
    if failing:
        what = f"{_amount(len(failing), 'finding')} of severity {' or '.join(_FAILING[fail_on])}"
        hint(f"{what}; migrate explain-rule ID says what to do", quiet)
        return ExitStatus.FINDINGS
    if not done.complete:
        hint("incomplete: not everything could be read", quiet)
        return ExitStatus.INCOMPLETE
    return ExitStatus.FINE
