"""`migrate audit`: which of the real traffic of a node Cilium would drop; records now, judges now and later."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from migrate.cli import audit_cluster, audit_import, options
from migrate.cli.audit_agent import agent_app
from migrate.cli.audit_cutover import verify_cutover
from migrate.cli.audit_deploy import deploy
from migrate.cli.audit_merge import merge
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.audit.suggest import Needed
    from migrate.audited import Place
    from migrate.deployed import DeployRequest
    from migrate.model.audit_documents import Audit
    from migrate.recorded import PreparedAudit
    from migrate.scan.connection import ConnectionOptions

audit_app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
audit_app.command()(deploy)
audit_app.command("import")(audit_import.import_)
audit_app.add_typer(agent_app, name="agent", hidden=True)
audit_app.command()(audit_cluster.attach)
audit_app.command("verify-cutover")(verify_cutover)
_STOP_PATIENCE = 60.0


class Loader(Enum):
    """What loads the probe into the kernel."""

    LIBBPF = "libbpf"
    BCC = "bcc"


class ExportFormat(Enum):
    """How records are written for other programs."""

    JSON = "json"
    PARQUET = "parquet"
    HUBBLE = "hubble"
    HINTS = "hints"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot that gives the cluster.")]
PoliciesDir = Annotated[
    Path | None,
    typer.Option("--policies", help="What judges the traffic: a working folder, or a folder of manifests."),
]
Recording = Annotated[Path | None, typer.Option("--audit", help="The recording; default: audit.db in the folder.")]
Target = Annotated[str | None, typer.Option("--target", help="Profile of Cilium; default: that of the translation.")]
Duration = Annotated[
    str | None, typer.Option("--duration", help="How long, such as 24h or 1h30m; default: 24h, or what is left.")
]
UntilCron = Annotated[
    bool, typer.Option("--until-cron", help="As long as the longest wait between two runs of a CronJob.")
]
LoaderOption = Annotated[Loader, typer.Option("--loader", help="What loads the probe into the kernel.")]
MaxSize = Annotated[str, typer.Option("--max-size", help="Limit of the recording, such as 500MiB.")]
Node = Annotated[str | None, typer.Option("--node", help="The snapshot's node that this machine is.")]
Bpffs = Annotated[
    Path,
    typer.Option("--bpffs", readable=False, help="bpf filesystem that keeps the probe when this program is killed."),
]
Before = Annotated[
    Path | None, typer.Option("--before", help="Another folder of policies, to say what differs between the two.")
]
Format = Annotated[
    ExportFormat, typer.Option("--format", help="JSON lines, Parquet, flows as Hubble prints them, or a hint file.")
]
OutputFile = Annotated[Path | None, typer.Option("--output-file", help="Where to; default: standard output.")]
OutputFolder = Annotated[Path | None, typer.Option("--output-dir", help="A folder for one file for each policy.")]
Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", "-n", help="Accept only what is dropped at pods of these namespaces; repeat it."),
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept", help="Accept only flows with this text in them, as shop/web or TCP/5432; repeat it."),
]

Image = Annotated[
    str | None,
    typer.Option("--image", help="Image of the agents, by digest, to begin with.", rich_help_panel="A cluster"),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before agents are deployed.", rich_help_panel="A cluster")
]


@audit_app.callback(invoke_without_command=True)
def audit(
    context: typer.Context,
    duration: Duration = None,
    until_cron: UntilCron = False,
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    policies: PoliciesDir = None,
    recording: Recording = None,
    target: Target = None,
    node: Node = None,
    loader: LoaderOption = Loader.LIBBPF,
    max_size: MaxSize = "1GiB",
    bpffs: Bpffs = Path("/sys/fs/bpf"),
    cluster_context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    image: Image = None,
    namespace: audit_cluster.AgentNamespace = "cilium-migrate",
    yes: Yes = False,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Record real traffic beside the old engine, and say what of it Cilium would drop.

    On a node it records that node's pods, as root, and never touches a packet. Ctrl-C ends it, keeps everything and
    reports; the same command goes on with it. With --kubeconfig or --context the cluster tells which pods come and go.

    From a machine that is none of the snapshot's nodes, --context or --kubeconfig mean the whole cluster: agents of
    --image are deployed to its nodes, followed until the time is over, and taken away. Ctrl-C leaves them at work.

    Exit status 1 when something would be dropped, 4 when coverage or losses leave that open, 3 when the node cannot be
    probed or the cluster does not answer.
    """
    if context.invoked_subcommand is not None:
        return
    from migrate.audit.durations import parse_duration
    from migrate.audit.sizes import parse_size
    from migrate.cli.emit import hint
    from migrate.recorded import AuditRequest, prepare_audit
    from migrate.scan.connection import ConnectionOptions

    seconds = None if duration is None else parse_duration(duration)
    place = _place(folder, snapshot, policies, recording, target)
    asked = ConnectionOptions(cluster_context, kubeconfig) if cluster_context or kubeconfig else None
    size = parse_size(max_size)
    if asked is not None and _is_from_outside(place, node):
        deploying = None if image is None else _deploying(place, image, seconds, namespace, size, asked, until_cron)
        done = audit_cluster.audit_cluster(
            place, deploying, cluster_context, kubeconfig, namespace, yes=yes, quiet=quiet
        )
        _finish(done, place, output, quiet)
    request = AuditRequest(place, seconds, until_cron, node, loader.value, size, bpffs, asked)
    done = _recorded(prepare_audit(request), quiet)
    if place.document is None:
        hint("audit.json is not written: it is for the working folder's own snapshot and translation alone", quiet)
    _finish(done, place, output, quiet)


audit_app.command()(merge)


@audit_app.command()
def status(
    folder: Folder = options.WORKING_FOLDER,
    recording: Recording = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: audit_cluster.AgentNamespace = "cilium-migrate",
    output: options.Output = options.OutputFormat.TABLE,
) -> None:
    """Say how far a recording is: running or not, time left, what was kept and lost.

    With --context or --kubeconfig, or in a folder that follows a cluster: how all its agents do, node by node.
    """
    from migrate.audited import run_status
    from migrate.cli.audit_status import status_text
    from migrate.cli.emit import document_text, emit

    if audit_cluster.means_a_cluster(folder, recording, context, kubeconfig):
        audit_cluster.cluster_status(_cluster_place(folder), context, kubeconfig, namespace, output)
    done = run_status(_place(folder, None, None, recording, None))
    emit(status_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))


@audit_app.command()
def stop(
    folder: Folder = options.WORKING_FOLDER,
    recording: Recording = None,
    bpffs: Bpffs = Path("/sys/fs/bpf"),
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: audit_cluster.AgentNamespace = "cilium-migrate",
    discard: audit_cluster.Discard = None,
    force: audit_cluster.Force = False,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """End the audit that runs; it keeps everything and reports where it was started.

    Of an audit that was killed, what it left in the kernel is taken away, with what was not written yet.
    With --context or --kubeconfig, or in a folder that follows a cluster: end that of the cluster. All agents write
    what they have, it is pulled into the working folder, and everything is taken off the nodes and out of the cluster;
    exit status 4 when something is left.
    """
    from migrate.audit.stopping import stop_audit
    from migrate.cli.emit import hint

    if audit_cluster.means_a_cluster(folder, recording, context, kubeconfig):
        place = _cluster_place(folder)
        audit_cluster.cluster_stop(place, context, kubeconfig, namespace, discard, force, output, quiet)
    path = _place(folder, None, None, recording, None).audit_db
    removed = stop_audit(path, _STOP_PATIENCE, bpffs)
    if removed:
        hint(f"the audit was killed before; gone from the kernel: {', '.join(removed)}", quiet)
    hint(f"stopped; {path} has what was recorded, and migrate audit replay judges it", quiet)


@audit_app.command()
def replay(
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    policies: PoliciesDir = None,
    before: Before = None,
    recording: Recording = None,
    target: Target = None,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Judge a recording again, under any revision of the policies; with --before say what two revisions differ in.

    Under the folder's own translation the result also goes into audit.json there, for migrate report.
    Exit status 1 when something would be dropped (with --before: newly dropped, or more of it), 4 when the recording is
    incomplete.
    """
    from migrate.audited import run_difference, run_judged
    from migrate.cli.audit_text import difference_text
    from migrate.cli.emit import document_text, emit

    place = _place(folder, snapshot, policies, recording, target)
    if before is None:
        _finish(run_judged(place), place, output, quiet)
    found = run_difference(place, before)
    emit(difference_text(found) if output is options.OutputFormat.TABLE else document_text(found, output))
    if found.newly_dropped or any(change.events > change.events_before for change in found.changed):
        raise typer.Exit(ExitStatus.FINDINGS)
    raise typer.Exit(ExitStatus.FINE if found.complete else ExitStatus.INCOMPLETE)


@audit_app.command()
def export(
    format_: Format = ExportFormat.JSON,
    output_file: OutputFile = None,
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    policies: PoliciesDir = None,
    recording: Recording = None,
    target: Target = None,
) -> None:
    """Write all records with their verdicts for other programs.

    `--format hubble` is read by: hubble observe --input-file FILE --verdict AUDIT
    `--format hints` has the outside addresses that were called, for: migrate translate --suggest fqdn --hints FILE
    """
    from migrate.audited import run_export, run_hints
    from migrate.cli.audit_export import write_text, writer

    if format_ is ExportFormat.HINTS:
        write_text(run_hints(_place(folder, snapshot, policies, recording, target)), output_file)
        return
    run_export(_place(folder, snapshot, policies, recording, target), writer(format_.value, output_file))


@audit_app.command()
def suggest(
    namespace: Namespaces = None,
    accept: Accept = None,
    output_dir: OutputFolder = None,
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    policies: PoliciesDir = None,
    recording: Recording = None,
    target: Target = None,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Propose the smallest policies that let through what was seen and would be dropped.

    Each names just one workload and the ports that were seen, and is judged by the recording and by migrate verify.
    Nothing applies them. Exit status 1 when something would still be dropped.
    """
    from migrate.audited import run_suggest
    from migrate.cli.audit_suggest import suggestions_text, write_suggestions
    from migrate.cli.emit import document_text, emit, hint

    place = _place(folder, snapshot, policies, recording, target)
    done = run_suggest(place, lambda flow: _is_accepted(flow, namespace or [], accept or []))
    if output_dir is not None:
        for path in write_suggestions(done, output_dir):
            hint(f"wrote {path}", quiet)
    emit(suggestions_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    if done.dropped_after:
        raise typer.Exit(ExitStatus.FINDINGS)
    raise typer.Exit(ExitStatus.FINE if done.complete else ExitStatus.INCOMPLETE)


def _place(
    folder: Path, snapshot: Path | None, policies: Path | None, recording: Path | None, target: str | None
) -> Place:
    from migrate.audited import Place

    if not folder.is_dir() and (snapshot is None or recording is None):
        raise InputError(f"{folder}: no such folder; run migrate scan first, or name the working folder with --dir")
    return Place(folder, snapshot, policies, recording, target)


def _cluster_place(folder: Path) -> Place:
    """Where what is pulled from a cluster goes; there need not be a snapshot."""
    from migrate.audited import Place

    return Place(folder)


def _is_from_outside(place: Place, node: str | None) -> bool:
    from migrate.watched import is_from_outside

    return is_from_outside(place, node)


def _deploying(
    place: Place,
    image: str,
    seconds: int | None,
    namespace: str,
    max_size: int,
    cluster: ConnectionOptions,
    until_cron: bool,
) -> DeployRequest:
    """What is put into a cluster that no audit runs in."""
    import time

    from migrate.collect.manifest import checked_namespace
    from migrate.control.settings import checked_agent_image
    from migrate.deployed import DEFAULT_SECONDS, DeployRequest

    if until_cron:
        raise InputError("--until-cron is for one node; give --duration for a cluster")
    return DeployRequest(
        place=place,
        image=checked_agent_image(image, allow_tag=False),
        began=time.time_ns(),
        seconds=seconds or DEFAULT_SECONDS,
        namespace=checked_namespace(namespace, "--namespace"),
        max_size=max_size,
        cluster=cluster,
    )


def _is_accepted(flow: Needed, namespaces: list[str], texts: list[str]) -> bool:
    pod = flow.subject.pod
    if namespaces and (pod is None or pod.namespace not in namespaces):
        return False
    return not texts or any(text in str(flow) for text in texts)


def _recorded(prepared: PreparedAudit, quiet: bool) -> Audit:
    """Record with a view of it in the terminal; signals end it, and it reports."""
    from threading import Event

    from migrate.cli.audit_live import ended_by_signals, live_view
    from migrate.cli.emit import hint
    from migrate.recorded import run_audit

    for note in prepared.notes:
        hint(note, quiet)
    stop = Event()
    with ended_by_signals(stop.set), live_view(prepared, quiet) as show:
        done, notes = run_audit(prepared, show, stop)
    for note in notes:
        hint(note, quiet)
    return done


def _finish(done: Audit, place: Place, output: options.OutputFormat, quiet: bool) -> NoReturn:
    """Keep and print a judged recording, and end with its status: what is proved bad goes before incomplete.

    It is printed also where it cannot be kept, which is an error then.
    """
    from migrate.audited import write_document
    from migrate.cli.audit_text import audit_text
    from migrate.cli.emit import document_text, emit, hint

    failure: InputError | None = None
    try:
        written = write_document(place, done)
        if written is not None:
            hint(f"wrote {written}, which migrate report reads", quiet)
    except InputError as error:
        failure = error
    emit(audit_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    if failure is not None:
        raise failure
    if done.result == "would_drop":
        hint("migrate audit suggest proposes policies for what would be dropped", quiet)
        raise typer.Exit(ExitStatus.FINDINGS)
    raise typer.Exit(ExitStatus.FINE if done.complete else ExitStatus.INCOMPLETE)
