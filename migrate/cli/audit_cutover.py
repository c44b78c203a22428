"""`migrate audit verify-cutover`: whether Cilium does what was predicted of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.audited import Place
    from migrate.model.cutover_documents import CutoverCheck

Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot from before the cutover.")]
PoliciesDir = Annotated[
    Path | None, typer.Option("--policies", help="What was predicted: a working folder, or a folder of manifests.")
]
Before = Annotated[
    Path | None, typer.Option("--audit", help="The recording from before; default: audit.db in the folder.")
]
Target = Annotated[str | None, typer.Option("--target", help="Profile of Cilium; default: that of the translation.")]
Flows = Annotated[
    list[Path] | None,
    typer.Option("--flows", help="Flows of Hubble (JSON lines), or lines of cilium-dbg monitor; repeat it."),
]
Recordings = Annotated[
    list[Path] | None,
    typer.Option("--recording", help="A recording of migrate audit made after the cutover; repeat it."),
]
Agents = Annotated[
    Path | None,
    typer.Option("--agents", help="What agents said: a folder for each node with endpoints.json, maps.json, ..."),
]
After = Annotated[Path | None, typer.Option("--after", help="A snapshot taken after the cutover (migrate scan).")]
Duration = Annotated[
    str | None,
    typer.Option("--duration", help="With --context: watch for so long, such as 10m; default: what Hubble still has."),
]
Last = Annotated[int, typer.Option("--last", min=1, help="With --context: so many flows of each node.")]
CiliumNamespace = Annotated[str, typer.Option("--cilium-namespace", help="Where the cilium pods are.")]
Suggested = Annotated[
    Path | None, typer.Option("--output-dir", help="A folder for the policies that let through what is dropped.")
]


def verify_cutover(
    flows: Flows = None,
    recording: Recordings = None,
    agents: Agents = None,
    after: After = None,
    cluster_context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    duration: Duration = None,
    last: Last = 20_000,
    cilium_namespace: CiliumNamespace = "kube-system",
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    policies: PoliciesDir = None,
    audit: Before = None,
    target: Target = None,
    output_dir: Suggested = None,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """After the cutover: compare what Cilium does with what was predicted of it.

    Reads flows of Hubble, lines of cilium-dbg monitor, a recording of migrate audit, and what agents say of endpoints
    and policies: from files, or with --context or --kubeconfig by running these programs in the cilium pods.
    Exit status 1 for a missed prediction or policies that are not in force, 4 when not everything was seen.
    """
    from migrate.audit.durations import parse_duration
    from migrate.audited import Place
    from migrate.checked_cutover import CutoverRequest, run_check
    from migrate.cli.emit import reading_progress
    from migrate.cutover.asking import Wanted
    from migrate.scan.connection import ConnectionOptions

    if not folder.is_dir() and snapshot is None:
        raise InputError(f"{folder}: no such folder; name the working folder of before the cutover with --dir")
    asked = ConnectionOptions(cluster_context, kubeconfig) if cluster_context or kubeconfig else None
    if duration is not None and asked is None:
        raise InputError("--duration watches a cluster: give --context or --kubeconfig too")
    request = CutoverRequest(
        Place(folder, snapshot, policies, audit, target),
        flows=tuple(flows or ()),
        recordings=tuple(recording or ()),
        states=agents,
        after=after,
        cluster=asked,
        wanted=Wanted(cilium_namespace, last, None if duration is None else parse_duration(duration)),
    )
    with reading_progress(quiet) as progress:
        check = run_check(request, options.now(), progress)
    _finish(check, request.place, output_dir, output, quiet)


def _finish(
    check: CutoverCheck, place: Place, output_dir: Path | None, output: options.OutputFormat, quiet: bool
) -> NoReturn:
    """Keep and print the result, and end with its status; it is printed also where it cannot be kept."""
    from migrate.checked_cutover import write_check
    from migrate.cli.cutover_text import check_text, write_suggested
    from migrate.cli.emit import document_text, emit, hint

    failure: InputError | None = None
    try:
        written = write_check(place, check)
        if written is not None:
            hint(f"wrote {written}, which migrate report reads", quiet)
        for path in write_suggested(check, output_dir) if output_dir is not None else ():
            hint(f"wrote {path}", quiet)
    except InputError as error:
        failure = error
    emit(check_text(check) if output is options.OutputFormat.TABLE else document_text(check, output))
    if failure is not None:
        raise failure
    if check.result in ("missed", "findings"):
        raise typer.Exit(ExitStatus.FINDINGS)
    whole = check.complete and check.result != "nothing_seen"
    raise typer.Exit(ExitStatus.FINE if whole else ExitStatus.INCOMPLETE)
