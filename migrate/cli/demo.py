"""`migrate demo`: the whole way from a cluster to a report, on a sample cluster that ships with the program."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import InputError

if TYPE_CHECKING:
    from migrate.scan.taking import ScanInputs

Folder = Annotated[
    Path | None, typer.Option("--output-dir", help="Working folder; a new one among the temporary files if not given.")
]


def demo(output_dir: Folder = None, quiet: options.Quiet = False) -> None:
    """Scan, translate and report on a built-in sample cluster; prints where the report is.

    The sample is an AKS cluster with Azure NPM whose policies are not all fit for Cilium. Exit status 0 even so.
    """
    from migrate.cli.emit import emit, hint
    from migrate.files import write_atomic
    from migrate.workflow import TranslateRequest, run_report, run_scan, run_translate, write_translation

    folder = (output_dir or _new_folder()).absolute()
    inputs, now = _sample(), options.now()
    taken = options.rfc3339(now)
    snapshot = run_scan(inputs, folder, taken, progress=_silent)
    hint(f"scan: {len(snapshot.objects)} objects of the sample cluster", quiet)
    request = TranslateRequest(snapshot=folder / "snapshot.jsonl.gz", inputs=inputs)
    done = run_translate(request, taken, progress=_silent)
    write_translation(folder, done)
    translation = done.outcome.translation
    hint(f"translate: {len(translation.results)} policies for {translation.target} ({done.target_reason})", quiet)
    made = run_report(folder, now)
    report = folder / "report.html"
    write_atomic(report, made.html())
    hint(f"report: {made.report.summary.findings.blocker} blockers, as the sample is meant to have some", quiet)
    emit(f"{report}\n")


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
