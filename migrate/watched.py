"""`migrate audit` on a cluster: following its agents, ending them, and making one recording of theirs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

import migrate
from migrate.audit.merge_sources import NodeRow
from migrate.audit.merged import Merged, merge
from migrate.audit.node import cluster_digest, is_a_node
from migrate.audited import Place, read_scene, run_judged
from migrate.control.agents import look
from migrate.control.asking import Agents
from migrate.control.attach import (
    DEFAULT_INTERVAL,
    DEFAULT_PARALLEL,
    Attachment,
    AttachSettings,
    Show,
    alone,
    state_for,
    surveyed,
)
from migrate.control.exec import ExecConnection
from migrate.control.objects import ObjectConnection
from migrate.control.removal import remove
from migrate.control.runs import required, running
from migrate.control.state import ClusterWatch, NodeState, read_state, stores_in, write_state
from migrate.control.stopping import Show as ShowStep
from migrate.control.stopping import Stopped, Stopping, StopWishes, may_have_a_recording, uncleaned
from migrate.errors import ClusterError, InputError
from migrate.model.agent_documents import NAMESPACE, AgentSettings
from migrate.model.audit_documents import Audit
from migrate.scan.connection import ConnectionOptions, connect_as


class ClusterConnection(ExecConnection, ObjectConnection):
    """A connection that runs commands in agents' containers, and takes the objects of a run away."""


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Which run to follow, and where what it records goes. `interval` is in seconds."""

    place: Place
    cluster: ConnectionOptions
    namespace: str = NAMESPACE
    interval: float = DEFAULT_INTERVAL
    parallel: int = DEFAULT_PARALLEL

    @property
    def folder(self) -> Path:
        """The working folder."""
        return self.place.folder

    def connect(self) -> ClusterConnection:
        """A connection with the credentials of now. Raises InputError, and ClusterError where there are none."""
        return connect_as(ClusterConnection, self.cluster)


def is_from_outside(place: Place, node: str | None) -> bool:
    """Whether this machine is none of the snapshot's nodes, so that a cluster is meant, and not this machine."""
    return node is None and not is_a_node(read_scene(place).cluster)


def find_run(request: WatchRequest) -> AgentSettings | None:
    """The run that is in the cluster, None where there is none. Raises as `follow` does."""
    settings = running(request.connect(), request.namespace)
    if settings is not None:
        _check_cluster(request, settings)
    return settings


def follow(request: WatchRequest, show: Show, stop: threading.Event, *, once: bool = False) -> ClusterWatch:
    """Pull from all agents until the run's time is over, all have ended, or `stop` is set; with `once` a single time.

    Raises InputError where no run is there, or the folder is another watcher's, another run's or another cluster's;
    ClusterError where the cluster does not answer at first.
    """
    settings = required(request.connect(), request.namespace)
    _check_cluster(request, settings)
    with alone(request.folder):
        asked = AttachSettings(request.folder, request.interval, request.parallel)
        attachment = Attachment(request.connect, settings, asked, stop)
        if once:
            attachment.turn(show)
        else:
            attachment.watch(show)
        return attachment.state


def survey(request: WatchRequest) -> ClusterWatch:
    """How all agents do now; nothing is pulled and nothing is written. Raises as `follow` does."""
    connection = request.connect()
    settings = required(connection, request.namespace)
    known = read_state(request.folder) if request.folder.is_dir() else None
    base = state_for(settings, request.folder) if known is not None and known.run == settings.run else None
    return surveyed(Agents(connection, threading.Event()), connection, settings, base, request.parallel)


def end(request: WatchRequest, wishes: StopWishes, show: ShowStep, stop: threading.Event) -> Stopped:
    """End the run: drain, pull, clean and remove. Raises ClusterError, and InputError where no run is there."""
    connection = request.connect()
    settings = running(connection, request.namespace)
    if settings is None:
        state = _known_run(request, connection)
        settings = _settings_of(state)
        if not _has_agents(connection, settings):
            return _end_of_rest(request, connection)
    _check_cluster(request, settings)
    with alone(request.folder):
        stopping = Stopping(connection, settings, wishes, stop)
        return stopping.run(lambda: _removed(connection, request.namespace, settings.run), show)


def _known_run(request: WatchRequest, connection: ClusterConnection) -> ClusterWatch:
    """The run that the folder knows, of which the cluster has no settings. Raises InputError where there is none."""
    state = read_state(request.folder) if request.folder.is_dir() else None
    if state is None or state.stopped is not None:
        required(connection, request.namespace)
        raise ClusterError("the run came back while it was looked for; try again")
    if state.namespace != request.namespace:
        raise InputError(
            f"{request.folder}: run {state.run} is in namespace {state.namespace}, not in {request.namespace}; give "
            f"--namespace {state.namespace}"
        )
    return state


def _settings_of(state: ClusterWatch) -> AgentSettings:
    return AgentSettings(
        tool_version=migrate.__version__,
        run=state.run,
        namespace=state.namespace,
        cluster=state.cluster,
        began=state.began,
        seconds=state.seconds,
    )


def _has_agents(connection: ClusterConnection, settings: AgentSettings) -> bool:
    """Whether agents are there all the same, so that somebody deleted their settings. Raises ClusterError."""
    sight = look(connection, settings)
    if sight.nodes is None or sight.trouble:
        raise ClusterError(f"{sight.trouble}; nothing was taken away, try again")
    return sight.deployed or any(node.pod is not None and not node.pod.is_leaving for node in sight.nodes)


def _end_of_rest(request: WatchRequest, connection: ClusterConnection) -> Stopped:
    """Of a run whose end was broken off, what is left of it; the folder knows which run that was."""
    with alone(request.folder):
        state = _known_run(request, connection)
        removal = remove(connection, state.namespace, state.run)
        if not removal.removed and not removal.left:
            required(connection, request.namespace)
        if not removal.left:
            write_state(request.folder, structs.replace(state, stopped=time.time_ns()))
    nodes = tuple(uncleaned(node, state.run) for node in state.nodes if may_have_a_recording(node))
    return Stopped(run=state.run, removed=True, nodes=nodes, left=tuple(map(str, removal.left)))


def _removed(connection: ClusterConnection, namespace: str, run: str) -> tuple[str, ...]:
    return tuple(map(str, remove(connection, namespace, run).left))


def merge_pulled(place: Place) -> Merged | None:
    """Make the folder's audit.db of what was pulled, None where nothing was. Raises InputError."""
    state, stores = read_state(place.folder), stores_in(place.folder)
    if state is None or not stores:
        return None
    return merge(stores, place.audit_db, [_row(node) for node in state.nodes])


def judge_pulled(place: Place, more: tuple[str, ...] = ()) -> Audit:
    """The verdict on what was pulled, which is incomplete for each sentence of `more`. Raises InputError."""
    if merge_pulled(place) is None:
        raise InputError(f"{place.folder}: nothing was pulled from any node; migrate audit status --context says why")
    done = run_judged(place)
    return structs.replace(done, complete=False, incomplete=(*done.incomplete, *more)) if more else done


def _row(node: NodeState) -> NodeRow:
    version = node.status.tool_version if node.status is not None else ""
    return NodeRow(node.name, node.state, node.reason, version, node.skew)


def _check_cluster(request: WatchRequest, settings: AgentSettings) -> None:
    """Raises InputError where the folder's snapshot is of another cluster than the run."""
    path = request.place.snapshot_file
    if not path.exists() or not settings.cluster:
        return
    here = cluster_digest(read_scene(request.place).cluster)
    if here and here != settings.cluster:
        raise InputError(
            f"{path}: a snapshot of another cluster than run {settings.run} was deployed with; choose another "
            "--context, or name the folder of that cluster with --dir"
        )
