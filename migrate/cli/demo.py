"""`migrate demo`: the whole way from a cluster to a report, on a sample cluster that ships with the program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.cli.plan import RUNBOOK
from migrate.errors import InputError

if TYPE_CHECKING:
    from migrate.scan.taking import ScanInputs

Folder = Annotated[
    Path | None, typer.Option("--output-dir", help="Working folder; a new one among the temporary files if not given.")
]


def demo(output_dir: Folder = None, quiet: options.Quiet = False) -> None:
    """Scan, translate, verify, plan and report on a built-in sample cluster; prints where the report is.

    The sample is an AKS cluster with Azure NPM whose policies are not all fit for Cilium. Exit status 0 even so.
    """
    from migrate.cli.emit import emit, hint

    folder = (output_dir or _new_folder()).absolute()
    now = options.now()
    for line in _stages(folder, now):
        hint(line, quiet)
    emit(f"{folder / 'report.html'}\n")


def _stages(folder: Path, now: datetime) -> Iterator[str]:
    """Do one stage after the other; a line about each as it is done."""
    from migrate.cli.emit import document_text
    from migrate.compared import VerifyRequest
    from migrate.files import write_atomic
    from migrate.readiness.documents import PLAN
    from migrate.readiness.route import Wishes
    from migrate.verify.verification import Wanted
    from migrate.workflow import (
        TranslateRequest,
        run_plan,
        run_report,
        run_scan,
        run_translate,
        run_verify,
        write_translation,
    )

    inputs, taken = _sample(), options.rfc3339(now)
    snapshot = run_scan(inputs, folder, taken, progress=_silent)
    yield f"scan: {len(snapshot.objects)} objects of the sample cluster"
    request = TranslateRequest(snapshot=folder / "snapshot.jsonl.gz", inputs=inputs)
    done = run_translate(request, taken, progress=_silent)
    write_translation(folder, done)
    translation = done.outcome.translation
    yield f"translate: {len(translation.results)} policies for {translation.target} ({done.target_reason})"
    verification = run_verify(VerifyRequest(folder), Wanted(matrix="namespace")).document
    yield f"verify: {verification.result}; {len(verification.causes)} causes of change, each with a flow"
    plan, runbook = run_plan(folder, now, Wishes())
    write_atomic(folder / PLAN, document_text(plan, options.OutputFormat.JSON).encode())
    write_atomic(folder / RUNBOOK, runbook.encode())
    yield f"plan: {len(plan.steps)} steps, in {RUNBOOK}"
    made = run_report(folder, now)
    write_atomic(folder / "report.html", made.html())
    number = made.report.summary.findings.blocker
    yield f"report: {number} blocker{'' if number == 1 else 's'}, as the sample is meant to have"


def _new_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="cilium-migrate-demo-"))
    except OSError as error:
        raise InputError(f"no temporary folder: {error}; choose one with --output-dir") from error


def _sample() -> ScanInputs:
    from migrate.resources import data
    from migrate.scan.taking import ScanInputs

    sample = Path(os.path.normpath(str(data("samples") / "demo")))
    return ScanInputs(paths=(str(sample / "cluster"),), az_json=sample / "az.json")


def _silent(kind: str, read: int, total: int | None) -> None:
    """The sample is read in no time."""
