"""`migrate audit merge`: recordings of many nodes as one."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError


class MergeFormat(Enum):
    """What recordings are merged into."""

    AUDIT_DB = "audit.db"
    PARQUET = "parquet"


Stores = Annotated[
    list[Path], typer.Argument(help="Recordings, folders of them (*.db), or a working folder with audit/.")
]
Format = Annotated[MergeFormat, typer.Option("--format", help="One recording, or a folder of Parquet files.")]
OutputFile = Annotated[
    Path | None, typer.Option("--output-file", help="The merged recording; default: audit.db in the working folder.")
]
OutputFolder = Annotated[Path | None, typer.Option("--output-dir", help="A new folder for the Parquet files.")]
Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder, where audit.db goes.")]


def merge(
    stores: Stores,
    format_: Format = MergeFormat.AUDIT_DB,
    output_file: OutputFile = None,
    output_dir: OutputFolder = None,
    folder: Folder = options.WORKING_FOLDER,
    quiet: options.Quiet = False,
) -> None:
    """Make one recording of those of several nodes of a cluster, to be judged as one.

    What cannot be used is named and left out, and makes the result incomplete: exit status 4.
    """
    from migrate.audit.merged import merge as merge_stores
    from migrate.cli.emit import emit, hint

    if (format_ is MergeFormat.PARQUET) != (output_dir is not None) or (output_dir and output_file):
        raise InputError("--format parquet goes with --output-dir, and a merged recording with --output-file")
    paths = [path for given in stores for path in stores_of(given)]
    if output_dir is not None:
        from migrate.audit.merged_parquet import merge_into_parquet

        done = merge_into_parquet(paths, output_dir)
    else:
        done = merge_stores(paths, output_file or folder / "audit.db")
    for note in done.notes:
        hint(note, quiet)
    watched = len(done.watched)
    nodes = f"{watched} node{'' if watched == 1 else 's'}"
    emit(f"{done.path}: {done.records:,} records of {nodes}\n")
    if done.left_out:
        raise typer.Exit(ExitStatus.INCOMPLETE)


def stores_of(given: Path) -> list[Path]:
    """The recordings that a path stands for. Raises InputError where there are none."""
    if not given.is_dir():
        return [given]
    place = given / "audit" if (given / "audit").is_dir() else given
    found = sorted(place.glob("*.db"))
    if not found:
        raise InputError(f"{place}: no recordings (*.db) are in this folder; name them, or another folder")
    return found
