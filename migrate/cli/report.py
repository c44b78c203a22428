"""`migrate report`: the documents of a working folder as an HTML page, or in forms for machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.report.made import MadeReport

_SUMMARY = "GITHUB_STEP_SUMMARY"


class ReportFormat(Enum):
    """The forms of a report."""

    HTML = "html"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    MARKDOWN = "markdown"


_ENDINGS = {ReportFormat.JUNIT: "xml", ReportFormat.MARKDOWN: "md"}


class FailOn(Enum):
    """From which severity on findings give exit status 1."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NEVER = "never"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Place = Annotated[
    Path | None, typer.Option("--output-file", help="Where the report goes; report.html in the working folder if not.")
]
Format = Annotated[
    ReportFormat,
    typer.Option("--output", "-o", help="html; or json, sarif, junit or markdown, which go to stdout."),
]
Fail = Annotated[FailOn, typer.Option("--fail-on", help="Exit with 1 for findings of this severity or graver.")]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", help="An earlier report in JSON: say what changed since it was made.")
]
SplitBy = Annotated[
    str | None,
    typer.Option(
        "--split-by",
        metavar="namespace|label=KEY",
        help="One report for each namespace, or for each value of a label of namespaces; needs --output-dir.",
    ),
]
Parts = Annotated[Path | None, typer.Option("--output-dir", help="Folder for the reports of --split-by.")]
Redact = Annotated[
    bool, typer.Option("--redact", help="Pseudonyms for names and addresses, as `migrate redact` makes them.")
]
FleetOption = Annotated[
    bool, typer.Option("--fleet", help="One table of many clusters, the worst first: name their working folders.")
]
Clusters = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[DIR]...", help="With --fleet: working folders, folders with many, or quoted patterns."),
]
StepSummary = Annotated[
    bool, typer.Option("--github-summary", help=f"Add the summary in Markdown to the file that ${_SUMMARY} names.")
]


def report(
    folders: Clusters = None,
    fleet: FleetOption = False,
    folder: Folder = options.WORKING_FOLDER,
    output_file: Place = None,
    output: Format = ReportFormat.HTML,
    fail_on: Fail = FailOn.NEVER,
    baseline: Baseline = None,
    split_by: SplitBy = None,
    output_dir: Parts = None,
    github_summary: StepSummary = False,
    redact: Redact = False,
) -> None:
    """Write the readiness report: may we cut over, what stands in the way, what became of each policy.

    Exit status 1 for findings at --fail-on, 4 when a document says that something could not be read,
    or a result with --redact is not that of the original. With --fleet a folder that cannot be read is a row too.
    """
    if fleet:
        if baseline or split_by or output_dir or github_summary or redact or folder != options.WORKING_FOLDER:
            raise InputError("--fleet goes with --output, --output-file and --fail-on only; name the folders after it")
        from migrate.cli.report_fleet import write_fleet

        raise typer.Exit(write_fleet(folders or [], options.now(), output.value, output_file, fail_on.value))
    if folders:
        raise InputError(f"{folders[0]}: name the working folder with --dir, or many with --fleet")
    from migrate.cli.emit import hint
    from migrate.workflow import run_report

    if (split_by is None) != (output_dir is None):
        raise InputError("--split-by and --output-dir go together: give both, or neither")
    if split_by is not None and output_file is not None:
        raise InputError("--split-by writes many files: give --output-dir alone, without --output-file")
    if redact and baseline is not None:
        raise InputError("--redact: a baseline has the real names; redact both folders, and compare their reports")
    with _source(folder, redact=redact) as (source, differs):
        made = run_report(source, options.now(), baseline)
        if split_by is not None and output_dir is not None:
            _write_parts(made, split_by, output_dir, output, fail_on)
        else:
            place = output_file or folder / ("report-redacted.html" if redact else "report.html")
            _write(made, output, place if output is ReportFormat.HTML else output_file, fail_on)
        if github_summary:
            _append_summary(made)
    for line in differs:
        hint(f"not as in the original: {line}", quiet=False)
    raise typer.Exit(_status(made, fail_on) or (ExitStatus.INCOMPLETE if differs else ExitStatus.FINE))


@contextmanager
def _source(folder: Path, *, redact: bool) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder to report on, and in what its results are not those of the original.

    It is the working folder, or a redacted one that lasts as long as this.
    """
    if not redact:
        yield folder, ()
        return
    from migrate.redacted import KEY_FILE, redact_documents, redaction_key

    with TemporaryDirectory(prefix="migrate-redact-") as place:
        key = redaction_key(folder / KEY_FILE)
        done = redact_documents(folder, Path(place) / "migration", key, options.now())
        yield done.folder, done.differs


def _write(made: MadeReport, output: ReportFormat, place: Path | None, fail_on: FailOn) -> None:
    """Into a file, or to stdout if there is none."""
    from migrate.cli.emit import emit
    from migrate.files import write_atomic

    text = _bytes(made, output, fail_on)
    if place is None:
        emit(text.decode())
        return
    write_atomic(place.absolute(), text)
    emit(f"{place.absolute()}\n")


def _write_parts(made: MadeReport, by: str, folder: Path, output: ReportFormat, fail_on: FailOn) -> None:
    """One file for each part, and a page that leads to them; prints their paths."""
    from migrate.cli.emit import emit
    from migrate.files import write_atomic

    parts = made.parts(by)
    paths = []
    for part, one in parts:
        paths.append((folder / f"{part.file}.{_ENDINGS.get(output, output.value)}").absolute())
        write_atomic(paths[-1], _bytes(one, output, fail_on))
    if output is ReportFormat.HTML:
        paths.append((folder / "index.html").absolute())
        write_atomic(paths[-1], made.index(by, parts))
    emit("".join(f"{path}\n" for path in paths))


def _bytes(made: MadeReport, output: ReportFormat, fail_on: FailOn) -> bytes:
    match output:
        case ReportFormat.HTML:
            return made.html()
        case ReportFormat.JSON:
            return made.json()
        case ReportFormat.SARIF:
            return made.sarif()
        case ReportFormat.JUNIT:
            return made.junit(warnings_fail=fail_on is FailOn.WARNING)
        case ReportFormat.MARKDOWN:
            return made.markdown()


def _append_summary(made: MadeReport) -> None:
    """Adds to the step's summary. Raises InputError where no workflow has made the file."""
    place = os.environ.get(_SUMMARY)
    if not place:
        raise InputError(f"--github-summary: ${_SUMMARY} is not set; it is, in a step of a GitHub workflow")
    try:
        with Path(place).open("ab") as stream:
            stream.write(made.markdown())
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {error.strerror}") from error


def _status(made: MadeReport, fail_on: FailOn) -> ExitStatus:
    """What is proved bad goes before incomplete."""
    tally = made.report.summary.findings
    if (fail_on is not FailOn.NEVER and tally.blocker) or (fail_on is FailOn.WARNING and tally.warning):
        return ExitStatus.FINDINGS
    return ExitStatus.FINE if made.report.complete else ExitStatus.INCOMPLETE
