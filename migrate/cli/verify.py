"""`migrate verify`: whether two policy states admit the same flows, over the whole flow space of a cluster."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.model.documents import Cause, Verification


class EngineName(Enum):
    """Whose meaning policies are given."""

    KUBERNETES = "kubernetes"
    NPM = "npm"
    NPM_WINDOWS = "npm-windows"
    CALICO = "calico"
    CILIUM = "cilium"
    NONE = "none"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot that gives the cluster.")]
Before = Annotated[Path | None, typer.Option("--before", help="Folder of objects: the first state.")]
After = Annotated[Path | None, typer.Option("--after", help="Folder of objects: the second state.")]
BeforeEngine = Annotated[
    EngineName | None, typer.Option("--before-engine", help="Default: what enforces today; for folders kubernetes.")
]
AfterEngine = Annotated[
    EngineName | None, typer.Option("--after-engine", help="Default: cilium; for folders kubernetes.")
]
Target = Annotated[str | None, typer.Option("--target", help="Profile of Cilium; default: that of the translation.")]


def verify(
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    before: Before = None,
    after: After = None,
    before_engine: BeforeEngine = None,
    after_engine: AfterEngine = None,
    target: Target = None,
    output: options.Output = options.OutputFormat.TABLE,
) -> None:
    """Compare what is enforced today with the translation, or two folders, over all flows of the cluster.

    Each cause of changed flows comes with one concrete flow and the deciding rule on both sides. Exit status 1 when
    they differ, 4 when something could not be read or is not modelled, so that nothing is proved.
    """
    from migrate.cli.emit import document_text, emit
    from migrate.compared import VerifyRequest
    from migrate.workflow import run_verify

    if (before is None) is not (after is None):
        raise InputError("--before and --after go together; give both folders or none")
    request = VerifyRequest(
        folder=folder,
        snapshot=snapshot,
        before=before,
        after=after,
        before_engine=None if before_engine is None else before_engine.value,
        after_engine=None if after_engine is None else after_engine.value,
        target=target,
    )
    done = run_verify(request)
    emit(_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    raise typer.Exit(_status(done))


def _status(done: Verification) -> ExitStatus:
    if done.result == "different":
        return ExitStatus.FINDINGS
    return ExitStatus.FINE if done.complete else ExitStatus.INCOMPLETE


def _text(done: Verification) -> str:
    from rich import box
    from rich.table import Table

    from migrate.cli.emit import plain, table_text

    size = f"{done.classes} classes of pods, {done.ends} ends, {done.packets} kinds of packets"
    lines = [plain(f"{done.result}: {done.before} | {done.after}", "bold"), plain(size)]
    lines += [plain(f"not modelled, so nothing is proved about it: {place}") for place in done.left_out]
    table = Table("change", "flow", "before", "after", "pods", box=box.SIMPLE_HEAD)
    for cause in done.causes:
        pods = f"{cause.source_pods} to {cause.destination_pods}"
        table.add_row(*map(plain, (cause.change, _flow(cause), _why(cause, False), _why(cause, True), pods)))
    return table_text(*lines, *([table] if done.causes else []))


def _flow(cause: Cause) -> str:
    flow = cause.counterexample
    return f"{flow.source} to {flow.destination} {flow.protocol} {flow.port}"


def _why(cause: Cause, after: bool) -> str:
    decided = cause.after if after else cause.before
    return f"{cause.side}: " + (f"{decided.object} {decided.rule}" if decided.object else decided.reason)
