"""`migrate audit import`: what other programs saw of the cluster's traffic, beside what was recorded here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from migrate.model.import_documents import AuditImport, ImportedFile

Files = Annotated[list[Path], typer.Argument(help="Logs, as they are or packed by gzip or zstd.", show_default=False)]
Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot.")]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot that gives the cluster.")]
FormatName = Annotated[
    str | None, typer.Option("--format", help="Which program wrote them; default: told by their content.")
]
Node = Annotated[str | None, typer.Option("--node", help="The node of logs that name none.")]
Since = Annotated[str | None, typer.Option("--since", help="From then on, such as 2026-11-21T10:00:00Z.")]
Until = Annotated[str | None, typer.Option("--until", help="Until then.")]
Prefixes = Annotated[
    list[str] | None,
    typer.Option(
        "--log-prefix", help="What Calico's Log rules write before a packet; default: calico-packet. Repeat it."
    ),
]


def import_(
    files: Files,
    format_: FormatName = None,
    node: Node = None,
    since: Since = None,
    until: Until = None,
    log_prefix: Prefixes = None,
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Take in what other programs saw of the pods' traffic.

    Flows of Hubble, Retina or ACNS, Calico's Log lines and flow logs, cilium monitor, and NPM's metrics. Each file
    becomes a recording of its own in the folder, which migrate audit merge joins with those of the nodes and migrate
    audit replay --audit judges. The same file twice changes nothing. Nothing of it counts as watched.
    Exit status 4 when a file is cut off, has lines that cannot be read, or says itself that it has lost some.
    """
    from migrate.audited import Place
    from migrate.cli.emit import document_text, emit, hint
    from migrate.imported import ImportRequest, run_import

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run migrate scan first, or name the working folder with --dir")
    place = Place(folder, snapshot)
    span = _moment("--since", since), _moment("--until", until)
    done = run_import(ImportRequest(place, files, format_, node, *span, log_prefix or ()))
    emit(import_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    if any(one.recording for one in done.files):
        hint(
            "migrate audit merge joins this with the recordings of nodes; migrate audit replay --audit judges it", quiet
        )
    raise typer.Exit(ExitStatus.FINE if done.complete else ExitStatus.INCOMPLETE)


def _moment(option: str, text: str | None) -> int | None:
    from migrate.evidence.values import rfc3339

    if text is None:
        return None
    try:
        return rfc3339(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}; write it as 2026-11-21T10:00:00Z") from error


def import_text(done: AuditImport) -> str:
    """For each file what was used of it, and a table of what was not."""
    from migrate.cli.emit import plain, table_text

    parts: list[RenderableType] = []
    for one in done.files:
        parts += [plain(line) for line in _lines(one)]
        if one.not_used:
            parts.append(_not_used(one))
    return table_text(*parts)


def _lines(one: ImportedFile) -> Iterator[str]:
    if not one.format:
        yield f"NOT USED  {one.broken}"
        return
    yield f"{one.file}: {one.format}" + (", imported before; nothing was done" if one.again else "")
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in one.by_verdict.items())
    yield f"lines       {one.lines:,}"
    yield f"flows       {one.flows:,}" + (f": {verdicts}" if verdicts else "")
    if one.flows:
        yield f"time        {one.since} to {one.until}"
        yield f"pods        {one.pods:,} on {len(one.nodes):,} {'node' if len(one.nodes) == 1 else 'nodes'}"
        yield f"recording   {one.recording}"
    if one.broken:
        yield f"INCOMPLETE  read up to line {one.lines:,}: {one.broken}"
    for counter in one.counters[:20]:
        yield f"counter     {counter.name}{{{', '.join(counter.labels)}}} {counter.value:,}"
    for text in one.cannot_tell:
        yield f"cannot say  {text}"


def _not_used(one: ImportedFile) -> Table:
    from migrate.cli.tables import table

    rows = [(f"{why.count:,}", why.kind, why.reason, why.first, why.detail) for why in one.not_used]
    return table("Not used", ("count", "kind", "reason", "first", "detail"), rows)
