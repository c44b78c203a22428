"""`migrate plan`: the cutover runbook of a working folder, and whether what it rests on still holds."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus

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


def plan(
    folder: Folder = options.WORKING_FOLDER,
    output: Format = PlanFormat.MARKDOWN,
    output_file: Place = None,
    overlay: Overlay = False,
    through_none: ThroughNone = False,
) -> None:
    """Write the cutover runbook: conditions, commands in order, what is open meanwhile, the way back of each step.

    Beside it go a backup of the old policies and the scripts that it names. Nothing of it is ever run by migrate.
    Exit status 4 when the plan rests on something that is not known.
    """
    from migrate.cli.emit import document_text, emit
    from migrate.files import write_atomic
    from migrate.readiness.route import Wishes
    from migrate.workflow import run_plan

    made, runbook = run_plan(folder, options.now(), Wishes(overlay, through_none))
    text = runbook if output is PlanFormat.MARKDOWN else document_text(made, options.OutputFormat.JSON)
    if output is PlanFormat.JSON and output_file is None:
        emit(text)
    else:
        path = (output_file or folder / RUNBOOK).absolute()
        write_atomic(path, text.encode())
        emit(f"{path}\n")
    if not made.complete:
        raise typer.Exit(ExitStatus.INCOMPLETE)
