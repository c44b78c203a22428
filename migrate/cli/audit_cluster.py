"""`migrate audit` of a whole cluster: attach, status and stop of its agents, and all of it in one command."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.audited import Place
    from migrate.control.state import ClusterWatch
    from migrate.control.stopping import Stopped
    from migrate.deployed import DeployRequest
    from migrate.model.audit_documents import Audit
    from migrate.watched import WatchRequest

_PANEL = "A cluster"
AgentNamespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace of the agents.", rich_help_panel=_PANEL)
]
Interval = Annotated[str, typer.Option("--interval", help="How often agents are asked, such as 60s.")]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=64, help="How many agents are asked at a time.")]
Once = Annotated[bool, typer.Option("--once", help="Pull once what is there, and end.")]
Discard = Annotated[
    list[str] | None,
    typer.Option(
        "--discard", help="A node whose records may be lost if they cannot be had; repeat it.", rich_help_panel=_PANEL
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Records that cannot be had may be lost, of any node.", rich_help_panel=_PANEL)
]
Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder that gets the recordings.")]


def attach(
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: AgentNamespace = "cilium-migrate",
    folder: Folder = options.WORKING_FOLDER,
    interval: Interval = "60s",
    parallel: Parallel = 8,
    once: Once = False,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Follow the audit that runs in a cluster, and pull what its agents record into the working folder.

    Ends when the audit's time is over. Ctrl-C leaves, and the agents go on; the same command comes back, also from
    another machine. What is pulled is in audit.db at the end, for: migrate audit replay
    Exit status 4 when nodes are not watched or not everything of them is here, 130 after Ctrl-C.
    """
    from migrate.audit.durations import parse_duration
    from migrate.audited import Place
    from migrate.cli.emit import document_text, emit
    from migrate.watched import merge_pulled

    request = _request(Place(folder), context, kubeconfig, namespace, parse_duration(interval, "--interval"), parallel)
    stop = Event()
    state = _followed(request, stop, quiet, once=once)
    merged = merge_pulled(request.place)
    _say_what_is_here(request, state, merged is not None, stop.is_set(), quiet)
    if output is not options.OutputFormat.TABLE:
        emit(document_text(state, output))
    if stop.is_set():
        raise typer.Exit(ExitStatus.INTERRUPTED)
    raise typer.Exit(ExitStatus.INCOMPLETE if _is_incomplete(state) else ExitStatus.FINE)


def means_a_cluster(folder: Path, recording: Path | None, context: str | None, kubeconfig: str | None) -> bool:
    """Whether a cluster is meant, and not this machine: it is named, or the folder has a run that is not stopped."""
    from migrate.control.state import read_state

    if context or kubeconfig:
        return True
    state = read_state(folder) if recording is None else None
    return state is not None and state.stopped is None


def cluster_status(
    place: Place, context: str | None, kubeconfig: str | None, namespace: str, output: options.OutputFormat
) -> NoReturn:
    """Ask all agents of a cluster, and print what they say. Status 4 where one does not answer."""
    from migrate.cli.audit_cluster_text import survey_text
    from migrate.cli.emit import document_text, emit
    from migrate.watched import survey

    request = _request(place, context, kubeconfig, namespace)
    state = survey(request)
    name = request.connect().name
    emit(survey_text(state, name) if output is options.OutputFormat.TABLE else document_text(state, output))
    raise typer.Exit(ExitStatus.INCOMPLETE if _is_incomplete(state) else ExitStatus.FINE)


def cluster_stop(
    place: Place,
    context: str | None,
    kubeconfig: str | None,
    namespace: str,
    discard: list[str] | None,
    force: bool,
    output: options.OutputFormat,
    quiet: bool,
) -> NoReturn:
    """End the audit of a cluster, and print how it ended on each node. Status 4 where something is left to do."""
    from migrate.cli.audit_cluster_text import stopped_text
    from migrate.cli.emit import document_text, emit, hint
    from migrate.watched import merge_pulled

    done = _stopped(_request(place, context, kubeconfig, namespace), frozenset(discard or ()), force, quiet)
    if merge_pulled(place) is not None:
        hint(f"{place.audit_db} has what was pulled, and migrate audit replay judges it", quiet)
    emit(stopped_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    raise typer.Exit(ExitStatus.FINE if done.is_clean else ExitStatus.INCOMPLETE)


def audit_cluster(
    place: Place,
    deploy: DeployRequest | None,
    context: str | None,
    kubeconfig: str | None,
    namespace: str,
    *,
    yes: bool,
    quiet: bool,
) -> Audit:
    """All of it: agents are deployed unless they are there, watched, ended, and what they saw is judged.

    Ctrl-C leaves the agents where they are, with exit status 130.
    """
    from migrate.cli.audit_cluster_text import stopped_text
    from migrate.cli.emit import hint
    from migrate.watched import find_run, judge_pulled

    request = _request(place, context, kubeconfig, namespace)
    found = find_run(request)
    if found is None:
        _deploy(deploy, yes=yes, quiet=quiet)
    else:
        hint(f"run {found.run} is there already, and is followed", quiet)
    stop = Event()
    state = _followed(request, stop, quiet)
    if stop.is_set():
        _say_what_is_here(request, state, False, True, quiet)
        raise typer.Exit(ExitStatus.INTERRUPTED)
    done = _stopped(request, frozenset(), False, quiet)
    if not done.is_clean:
        typer.echo(stopped_text(done), err=True, nl=False)
    return judge_pulled(place, _not_ended(done))


def _not_ended(done: Stopped) -> tuple[str, ...]:
    return tuple(f"not all of node {name} was pulled; migrate audit stop tries again" for name in done.unpulled)


def _deploy(request: DeployRequest | None, *, yes: bool, quiet: bool) -> None:
    """Put agents into the cluster, after a look at it and a question."""
    from migrate.cli.audit_deploy import ask, described
    from migrate.cli.emit import hint
    from migrate.control.deploy import DeployError
    from migrate.control.deploy import deploy as make
    from migrate.deployed import prepare_deploy

    if request is None:
        raise InputError(
            "no audit runs in the cluster, and this machine is none of its nodes: to begin one give the agents' image "
            "with --image REGISTRY/NAME@sha256:DIGEST, or this node's name with --node"
        )
    plan = prepare_deploy(request)
    for line in described(plan):
        hint(line, quiet)
    if plan.impossible:
        raise DeployError(f"nothing was made: {'; '.join(plan.impossible)}")
    if not yes:
        ask()
    make(plan, lambda what: hint(f"making {what}", quiet))


def _followed(request: WatchRequest, stop: Event, quiet: bool, *, once: bool = False) -> ClusterWatch:
    from migrate.cli.audit_cluster_text import cluster_view
    from migrate.cli.audit_live import ended_by_signals
    from migrate.watched import follow

    with ended_by_signals(stop.set), cluster_view(request.connect().name, quiet) as show:
        return follow(request, show, stop, once=once)


def _stopped(request: WatchRequest, discard: frozenset[str], force: bool, quiet: bool) -> Stopped:
    from migrate.cli.audit_live import ended_by_signals
    from migrate.cli.emit import hint
    from migrate.control.stopping import StopWishes
    from migrate.watched import end

    def show(what: str, number: int, total: int) -> None:
        if number == total or not number:
            hint(f"{what}: {number} of {total}", quiet)

    stop = Event()
    with ended_by_signals(stop.set):
        return end(request, StopWishes(request.folder, discard, force, request.parallel), show, stop)


def _say_what_is_here(request: WatchRequest, state: ClusterWatch, merged: bool, left: bool, quiet: bool) -> None:
    from migrate.cli.audit_cluster_text import nodes_text
    from migrate.cli.emit import hint

    options_text = _options_text(request)
    hint(f"run {state.run}: {nodes_text(state)}", quiet)
    for node in state.not_watched():
        hint(f"not watched: {node.name}: {node.reason}", quiet)
    if merged:
        hint(f"{request.place.audit_db} has what was pulled, and migrate audit replay judges it", quiet)
    if left:
        hint(f"the agents go on; come back with: migrate audit attach{options_text}", quiet)
    elif state.is_over(time.time_ns()):
        hint(f"the audit's time is over; end it with: migrate audit stop{options_text}", quiet)


def _options_text(request: WatchRequest) -> str:
    """The options that name the same cluster and folder."""
    import shlex

    from migrate.model.agent_documents import NAMESPACE

    given = (
        ("--context", request.cluster.context or ""),
        ("--kubeconfig", request.cluster.kubeconfig or ""),
        ("--namespace", "" if request.namespace == NAMESPACE else request.namespace),
        ("--dir", "" if request.folder == options.WORKING_FOLDER else str(request.folder)),
    )
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given if value)


def _is_incomplete(state: ClusterWatch) -> bool:
    return bool(state.trouble) or any(node.reason for node in state.nodes if node.left is None)


def _request(
    place: Place,
    context: str | None,
    kubeconfig: str | None,
    namespace: str,
    interval: float = 60.0,
    parallel: int = 8,
) -> WatchRequest:
    from migrate.collect.manifest import checked_namespace
    from migrate.scan.connection import ConnectionOptions
    from migrate.watched import WatchRequest

    checked = checked_namespace(namespace, "--namespace")
    return WatchRequest(place, ConnectionOptions(context, kubeconfig), checked, interval, parallel)
