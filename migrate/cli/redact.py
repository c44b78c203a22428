"""`migrate redact`: a working folder with pseudonyms, to be shown to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus

Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the originals.")]
Place = Annotated[Path, typer.Option("--output-dir", help="New folder that gets the redacted documents.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="The key, made when missing; redact.key in the working folder if not.")
]


def redact(
    output_dir: Place,
    folder: Folder = options.WORKING_FOLDER,
    key_file: KeyFile = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a working folder anew with pseudonyms for names and addresses; structure and numbers stay.

    The same key gives the same pseudonyms. Keep it: it never goes into the new folder. Exit status 4 when a result of
    the redacted folder is not that of the original.
    """
    from migrate.cli.emit import emit, hint
    from migrate.redacted import KEY_FILE, redaction_key, run_redact

    key = redaction_key(key_file or folder / KEY_FILE)
    done = run_redact(folder, output_dir, key, options.now())
    emit("".join(f"{done.folder / name}\n" for name in done.written))
    for line in done.differs:
        hint(f"not as in the original: {line}", quiet)
    if done.differs:
        raise typer.Exit(ExitStatus.INCOMPLETE)
