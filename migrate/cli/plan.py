"""`migrate plan`: the cutover runbook of a working folder, and whether what it rests on still holds."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.model.plan_documents import PlanCheck
    from migrate.readiness.route import Wishes
    from migrate.scan.taking import ScanInputs

RUNBOOK = "runbook.md"


class PlanFormat(Enum):
    """The forms of a plan."""

    MARKDOWN = "markdown"
    JSON = "json"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Place = Annotated[
    Path | None, typer.Option("--output-file", help="Where the plan goes; runbook.md in the working folder if not.")
]
Format = Annotated[PlanFormat, typer.Option("--output", "-o", help="markdown; or json, which goes to stdout.")]
Overlay = Annotated[
    bool, typer.Option("--overlay", help="Also move pods of the node subnet to Azure CNI Overlay. Cannot be undone.")
]
ThroughNone = Annotated[
    bool, typer.Option("--through-none", help="Take the old policy engine away in a step of its own first.")
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Write nothing; say what changed since, by a scan now, and what no longer holds."),
]
Fresh = Annotated[
    Path | None, typer.Option("--snapshot", help="With --check: a fresh snapshot, in place of a scan now.")
]


def plan(
    folder: Folder = options.WORKING_FOLDER,
    output: Format = PlanFormat.MARKDOWN,
    output_file: Place = None,
    overlay: Overlay = False,
    through_none: ThroughNone = False,
    check: Check = False,
    snapshot: Fresh = None,
    filename: options.Filename = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    az_json: options.AzJson = None,
    quiet: options.Quiet = False,
) -> None:
    """Write the cutover runbook: conditions, commands in order, what is open meanwhile, the way back of each step.

    Beside it go plan.json for the report, a backup of the old policies and the scripts. migrate never runs any of it.
    Exit status 4 when the plan rests on something that is not known. With --check 1 when something that was proved
    or audited no longer holds, 4 when the fresh scan is not complete.
    """
    from migrate.readiness.route import Wishes

    inputs = options.scan_inputs(filename, context, kubeconfig, None, False, None, None, az_json)
    if check:
        _refuse({"--overlay": overlay, "--through-none": through_none}, "is about the runbook, not about --check")
        if snapshot is not None and (filename or context or kubeconfig or az_json):
            raise InputError("--snapshot is a scan already; leave out -f, --context, --kubeconfig and --az-json")
        _check(folder, inputs, snapshot, output, output_file, quiet)
        return
    given = {"--snapshot": snapshot, "-f": filename, "--context": context, "--kubeconfig": kubeconfig}
    _refuse({**given, "--az-json": az_json}, "reads a cluster anew, which goes with --check")
    _write(folder, output, output_file, Wishes(overlay, through_none), quiet)


def _refuse(given: dict[str, object], why: str) -> None:
    for name, value in given.items():
        if value:
            raise InputError(f"{name} {why}; leave one of them out or add the other")


def _write(folder: Path, output: PlanFormat, output_file: Path | None, wishes: Wishes, quiet: bool) -> None:
    from migrate.cli.emit import document_text, hint
    from migrate.files import write_atomic
    from migrate.readiness.documents import PLAN
    from migrate.workflow import run_plan

    made, runbook = run_plan(folder, options.now(), wishes)
    write_atomic(folder / PLAN, document_text(made, options.OutputFormat.JSON).encode())
    text = runbook if output is PlanFormat.MARKDOWN else document_text(made, options.OutputFormat.JSON)
    place = output_file or (folder / RUNBOOK if output is PlanFormat.MARKDOWN else None)
    _put(text, place)
    for unknown in made.incomplete:
        hint(f"not known: {unknown}", quiet)
    if not made.complete:
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _check(
    folder: Path,
    inputs: ScanInputs,
    fresh: Path | None,
    output: PlanFormat,
    output_file: Path | None,
    quiet: bool,
) -> None:
    from migrate.cli.emit import document_text, reading_progress
    from migrate.cli.plan_text import check_text
    from migrate.workflow import run_plan_check

    stdin = None if sys.stdin is None else sys.stdin.buffer
    with reading_progress(quiet) as progress:
        found = run_plan_check(folder, inputs, fresh, options.now(), stdin=stdin, progress=progress)
    text = check_text(found) if output is PlanFormat.MARKDOWN else document_text(found, options.OutputFormat.JSON)
    _put(text, output_file)
    raise typer.Exit(_status(found))


def _status(found: PlanCheck) -> ExitStatus:
    if found.result == "broken":
        return ExitStatus.FINDINGS
    return ExitStatus.FINE if found.complete else ExitStatus.INCOMPLETE


def _put(text: str, place: Path | None) -> None:
    """A result on stdout, or in a file whose path is printed."""
    from migrate.cli.emit import emit
    from migrate.files import write_atomic

    if place is None:
        emit(text)
        return
    write_atomic(place.absolute(), text.encode())
    emit(f"{place.absolute()}\n")
