"""`migrate report`: the documents of a working folder as one HTML file, or as JSON."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus


class ReportFormat(Enum):
    """The forms of a report."""

    HTML = "html"
    JSON = "json"


class FailOn(Enum):
    """From which severity on findings give exit status 1."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NEVER = "never"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Place = Annotated[
    Path | None, typer.Option("--output-file", help="Where the report goes; report.html in the working folder if not.")
]
Format = Annotated[ReportFormat, typer.Option("--output", "-o", help="html; or json, which goes to stdout.")]
Fail = Annotated[FailOn, typer.Option("--fail-on", help="Exit with 1 for findings of this severity or graver.")]


def report(
    folder: Folder = options.WORKING_FOLDER,
    output_file: Place = None,
    output: Format = ReportFormat.HTML,
    fail_on: Fail = FailOn.NEVER,
) -> None:
    """Write the readiness report: may we cut over, what stands in the way, what became of each policy.

    Exit status 1 for findings at --fail-on, 4 when a document says that something could not be read.
    """
    from migrate.cli.emit import emit
    from migrate.files import write_atomic
    from migrate.workflow import run_report

    made = run_report(folder, options.now())
    if output is ReportFormat.JSON and output_file is None:
        emit(made.json().decode())
    else:
        path = (output_file or folder / "report.html").absolute()
        write_atomic(path, made.json() if output is ReportFormat.JSON else made.html())
        emit(f"{path}\n")
    tally = made.report.summary.findings
    if (fail_on is not FailOn.NEVER and tally.blocker) or (fail_on is FailOn.WARNING and tally.warning):
        raise typer.Exit(ExitStatus.FINDINGS)
    if not made.report.complete:
        raise typer.Exit(ExitStatus.INCOMPLETE)
