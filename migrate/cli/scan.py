"""`migrate scan`: an inventory of a cluster, or of a folder of its objects."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

import typer

from migrate.cli import options
from migrate.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from migrate.model.documents import Fact, KindCount, SnapshotHeader
    from migrate.model.finding import Finding


def scan(
    filename: options.Filename = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    as_user: options.AsUser = None,
    as_group: options.AsGroup = None,
    az_json: options.AzJson = None,
    output_dir: options.OutputDir = options.WORKING_FOLDER,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Take an inventory of a cluster's policies and data plane. Only reads; writes snapshot.jsonl.gz.

    Exit status 4 when something could not be read.
    """
    from migrate.cli.emit import document_text, emit, hint, reading_progress
    from migrate.scan.snapshot import FILE_NAME
    from migrate.workflow import run_scan

    inputs = options.scan_inputs(filename, context, kubeconfig, namespace, all_namespaces, as_user, as_group, az_json)
    taken = options.rfc3339(options.now())
    with reading_progress(quiet) as progress:
        snapshot = run_scan(inputs, output_dir, taken, stdin=_stdin(), progress=progress)
    hint(f"wrote {output_dir / FILE_NAME} with {len(snapshot.objects)} objects", quiet)
    header = snapshot.header
    emit(_tables(header) if output is options.OutputFormat.TABLE else document_text(header, output))
    if not header.complete:
        hint("incomplete: the findings say what could not be read", quiet)
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _stdin() -> BinaryIO | None:
    """Standard input; None when the caller closed it."""
    return None if sys.stdin is None else sys.stdin.buffer


def _tables(header: SnapshotHeader) -> str:
    from migrate.cli.emit import plain, table_text

    version = f", Kubernetes {header.server_version}" if header.server_version else ""
    state = "complete" if header.complete else "incomplete"
    tables = [_facts(header.facts), _kinds(header.kinds), *([_findings(header.findings)] if header.findings else [])]
    return table_text(plain(f"{header.name} ({header.origin}{version}), {state}", "bold"), *tables)


def _facts(facts: Sequence[Fact]) -> Table:
    rows = [(fact.topic, fact.value, fact.state, "; ".join(_statements(fact))) for fact in facts]
    return _table("Facts", ("topic", "value", "state", "evidence"), rows)


def _statements(fact: Fact) -> Iterator[str]:
    if fact.detail:
        yield fact.detail
    for evidence in fact.evidence:
        yield f"{evidence.object} {evidence.field}={evidence.value}"


def _kinds(kinds: Sequence[KindCount]) -> Table:
    rows = [(kind.kind, kind.api_version, kind.status, str(kind.count)) for kind in kinds if kind.status != "absent"]
    return _table("Objects", ("kind", "version", "status", "count"), rows)


def _findings(findings: Sequence[Finding]) -> Table:
    rows = [(finding.id, finding.detail, str(finding.at or "")) for finding in findings]
    return _table("Findings", ("id", "what", "where"), rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Column, Table

    from migrate.cli.emit import plain

    # Evidence is there to be read and copied: it is wrapped, never cut.
    headings = [Column(column, overflow="fold") for column in columns]
    table = Table(*headings, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(plain, row))
    return table
