"""`migrate translate`: policies of a snapshot, a live cluster or files, to Cilium's."""

from __future__ import annotations

import sys
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from rich.table import Table

    from migrate.workflow import Translated, TranslateRequest


class Mode(Enum):
    """What is done with Kubernetes NetworkPolicies, which Cilium also reads itself."""

    REWRITE = "rewrite"
    SUPPLEMENT = "supplement"
    KEEP = "keep"


class FailOn(Enum):
    """The least severity of findings that makes the exit status 1."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NEVER = "never"


_FAILING = {FailOn.BLOCKER: ("blocker",), FailOn.WARNING: ("warning", "blocker"), FailOn.NEVER: ()}


class Engine(Enum):
    """What enforces policy today."""

    NPM = "npm-linux"
    NPM_WINDOWS = "npm-windows"
    CALICO = "calico"
    NONE = "none"


class Output(Enum):
    """What is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Snapshot = Annotated[
    Path | None, typer.Option("--snapshot", help="snapshot.jsonl.gz of an earlier scan.", show_default=False)
]
Target = Annotated[
    str | None,
    typer.Option("--target", help="Target profile, such as aks-1.36 or cilium-1.20; default: by the snapshot."),
]
NetworkPolicyMode = Annotated[
    Mode,
    typer.Option(
        "--networkpolicy",
        help="rewrite all NetworkPolicies; supplement: keep them and add what Cilium needs; keep: change nothing.",
    ),
]
BeforeEngine = Annotated[
    list[Engine] | None,
    typer.Option("--before-engine", help="What enforces policy today; default: by the snapshot.", show_default=False),
]
FailOnOption = Annotated[FailOn, typer.Option("--fail-on", help="Findings of this severity make the exit status 1.")]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Folder that gets cilium/ and translation.json; default: migration."),
]
OutputOption = Annotated[
    Output | None,
    typer.Option(
        "--output", "-o", help="table: a summary; json: translation.json; yaml: all objects, and no default folder."
    ),
]
Diff = Annotated[
    Path | None,
    typer.Option("--diff", help="Print what changed against an earlier run's output in this folder, in place of -o."),
]


def translate(
    snapshot: Snapshot = None,
    filename: options.Filename = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    as_user: options.AsUser = None,
    as_group: options.AsGroup = None,
    az_json: options.AzJson = None,
    target: Target = None,
    networkpolicy: NetworkPolicyMode = Mode.REWRITE,
    before_engine: BeforeEngine = None,
    fail_on: FailOnOption = FailOn.BLOCKER,
    output_dir: OutputDir = None,
    output: OutputOption = None,
    diff: Diff = None,
    quiet: options.Quiet = False,
) -> None:
    """Translate policies to Cilium's; each source object gets a result and its findings.

    Without -f, --snapshot and cluster options it reads the snapshot in --output-dir.

    Exit status 1 with findings at --fail-on, 4 when something could not be read.
    """
    from migrate.workflow import TranslateRequest

    read = bool(filename or context or kubeconfig or namespace or all_namespaces or as_user or as_group)
    if snapshot is not None and read:
        raise InputError("--snapshot is the whole input; give it without -f, -n, -A and the options for a cluster")
    if az_json is not None and not read:
        raise InputError("--az-json goes with -f or a cluster; for a snapshot give it to migrate scan")
    if diff is not None and output is not None:
        raise InputError("--diff and -o both say what to print; give one of them")
    folder = output_dir or options.WORKING_FOLDER
    inputs = options.scan_inputs(filename, context, kubeconfig, namespace, all_namespaces, as_user, as_group, az_json)
    request = TranslateRequest(
        snapshot=None if read else snapshot or folder / "snapshot.jsonl.gz",
        inputs=inputs,
        target=target,
        networkpolicy=networkpolicy.value,
        engines=None if before_engine is None else tuple(sorted(engine.value for engine in before_engine)),
    )
    _run(request, folder, output_dir is not None, fail_on, output or Output.TABLE, diff, quiet)


def _run(
    request: TranslateRequest,
    folder: Path,
    folder_given: bool,
    fail_on: FailOn,
    output: Output,
    diff: Path | None,
    quiet: bool,
) -> None:
    from migrate.cli.emit import emit, hint, reading_progress
    from migrate.workflow import difference_lines, run_translate, write_translation

    with reading_progress(quiet) as progress:
        done = run_translate(request, options.rfc3339(options.now()), stdin=_stdin(), progress=progress)
    hint(f"target {done.outcome.translation.target}: {done.target_reason}", quiet)
    lines = difference_lines(diff, done) if diff is not None else None
    if output is not Output.YAML or folder_given:
        write_translation(folder, done)
        hint(f"wrote {_amount(len(done.outcome.files), 'object')} and translation.json to {folder}", quiet)
    emit("".join(f"{line}\n" for line in lines) if lines is not None else _text(done, output))
    raise typer.Exit(_status(done, fail_on, quiet))


def _stdin() -> BinaryIO | None:
    return None if sys.stdin is None else sys.stdin.buffer


def _text(done: Translated, output: Output) -> str:
    from migrate.cli.emit import document_text

    if output is Output.JSON:
        return document_text(done.outcome.translation, options.OutputFormat.JSON)
    if output is Output.YAML:
        return "".join(f"---\n{file.text}" for file in done.outcome.files)
    return _tables(done)


def _tables(done: Translated) -> str:
    from migrate.cli.emit import plain, table_text

    results = done.outcome.translation.results
    counts = Counter(result.result.value for result in results)
    summary = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no policies"
    return table_text(plain(f"{_amount(len(results), 'source object')}: {summary}", "bold"), *_findings(done))


def _findings(done: Translated) -> list[Table]:
    from rich import box
    from rich.table import Column, Table

    from migrate.cli.emit import plain

    found = sorted(done.findings(), key=lambda finding: (done.severity(finding).rank, finding.sort_key()))
    if not found:
        return []
    columns = [Column(name, overflow="fold") for name in ("severity", "id", "where", "what")]
    table = Table(*columns, title="Findings", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for finding in found:
        place = f"{finding.subject or ''} {finding.field or ''}".strip()
        table.add_row(*map(plain, (done.severity(finding).value, finding.id, place, finding.detail)))
    return [table]


def _amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _status(done: Translated, fail_on: FailOn, quiet: bool) -> ExitStatus:
    """What is proved bad goes before incomplete."""
    from migrate.cli.emit import hint

    failing = [finding for finding in done.findings() if done.severity(finding).value in _FAILING[fail_on]]
    if failing:
        what = f"{_amount(len(failing), 'finding')} of severity {' or '.join(_FAILING[fail_on])}"
        hint(f"{what}; migrate explain-rule ID says what to do", quiet)
        return ExitStatus.FINDINGS
    if not done.outcome.translation.complete:
        hint("incomplete: not everything of the cluster was read", quiet)
        return ExitStatus.INCOMPLETE
    return ExitStatus.FINE
