"""`migrate verify`: whether two policy states admit the same flows, over the whole flow space of a cluster."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.cli.options import EngineName
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.model.documents import Verification


class ProofKind(Enum):
    """For which pods the answer has to hold."""

    SNAPSHOT = "snapshot"
    WITNESS = "witness"


class MatrixBy(Enum):
    """What a row of the connectivity matrix is."""

    NAMESPACE = "namespace"
    WORKLOAD = "workload"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot that gives the cluster.")]
Before = Annotated[Path | None, typer.Option("--before", help="Folder of objects: the first state.")]
After = Annotated[Path | None, typer.Option("--after", help="Folder of objects: the second state.")]
BeforeEngine = Annotated[
    EngineName | None,
    typer.Option("--before-engine", help="Default: what enforces today; for folders kubernetes."),
]
AfterEngine = Annotated[
    EngineName | None, typer.Option("--after-engine", help="Default: cilium; for folders kubernetes.")
]
Target = Annotated[str | None, typer.Option("--target", help="Profile of Cilium; default: that of the translation.")]
Intent = Annotated[bool, typer.Option("--intent", help="Compare the policies' text with what enforces them today.")]
Proof = Annotated[
    ProofKind | None,
    typer.Option(
        "--proof",
        help="For which pods: those of the snapshot, or any (witness). Default: first those, then any if quick.",
    ),
]
By = Annotated[MatrixBy | None, typer.Option("--matrix", help="Add who reaches whom before and after.")]
Incremental = Annotated[
    bool, typer.Option("--incremental", help="Take the last result of the working folder if nothing has changed.")
]


def verify(
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    before: Before = None,
    after: After = None,
    before_engine: BeforeEngine = None,
    after_engine: AfterEngine = None,
    target: Target = None,
    intent: Intent = False,
    proof: Proof = None,
    matrix: By = None,
    incremental: Incremental = False,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Compare what is enforced today with the translation, or two folders, over all flows of the cluster.

    Each cause of changed flows comes with one concrete flow and the deciding rule on both sides. Exit status 1 when
    they differ, 4 when something could not be read or is not modelled, so that nothing is proved.
    """
    from migrate.cli.emit import document_text, emit, hint
    from migrate.cli.verify_text import verification_text
    from migrate.compared import VerifyRequest
    from migrate.verify.verification import Wanted
    from migrate.workflow import run_verify

    _check(before, after, intent=intent, incremental=incremental)
    request = VerifyRequest(
        folder=folder,
        snapshot=snapshot,
        before=before,
        after=after,
        before_engine=None if before_engine is None else before_engine.value,
        after_engine=None if after_engine is None else after_engine.value,
        target=target,
        intent=intent,
    )
    wanted = Wanted(None if proof is None else proof.value, None if matrix is None else matrix.value)
    done = run_verify(request, wanted, incremental=incremental)
    if done.reused:
        hint("nothing changed since the last verification, which is shown again", quiet)
    table = output is options.OutputFormat.TABLE
    emit(verification_text(done.document) if table else document_text(done.document, output))
    raise typer.Exit(_status(done.document))


def _check(before: Path | None, after: Path | None, *, intent: bool, incremental: bool) -> None:
    if (before is None) is not (after is None):
        raise InputError("--before and --after go together; give both folders or none")
    if before is not None and (intent or incremental):
        name = "--intent" if intent else "--incremental"
        raise InputError(f"{name} is about a working folder, not about --before and --after; leave one of them out")


def _status(done: Verification) -> ExitStatus:
    if done.result == "different":
        return ExitStatus.FINDINGS
    return ExitStatus.FINE if done.result == "equivalent" else ExitStatus.INCOMPLETE
