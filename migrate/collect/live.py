"""Reading the nodes of a live cluster: what is about to be done, then doing it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from migrate.collect import dumps
from migrate.collect.bundle import BundleError
from migrate.collect.cluster_nodes import ClusterNode, nodes_of
from migrate.collect.leftovers import Leftover, leftovers, remove
from migrate.collect.manifest import PodWish, pod_yaml
from migrate.collect.npm_endpoint import NpmPod, NpmReading, npm_pods, read_npm
from migrate.collect.pod_connection import PodConnection
from migrate.collect.pods import NodeReading, PodRun, PodSettings, wishes_of
from migrate.collect.refusals import missing_rights, refused
from migrate.collect.workers import Workers
from migrate.model.finding import Effect, Finding
from migrate.model.node_documents import NodeFile, NodeManifest
from migrate.nodes.dump import node_ref
from migrate.nodes.examine import NOT_READ
from migrate.nodes.files import NPM_MANAGER, OF_NPM, printed_as
from migrate.nodes.written import write_dump
from migrate.scan.connection import ConnectionOptions, RequestError, connect_as
from migrate.scan.live import DEFAULT_PATIENCE
from migrate.scan.reader import Patience, Reader

_NPM_PARALLEL = 8

Progress = Callable[[str, int, int | None], None]
_INTERRUPTED = "reading was interrupted"
_NO_NPM = "no pod of NPM (label k8s-app=azure-npm) is on it"
_NO_WINDOWS_IMAGE = "it is a Windows node, and no image for its pod was given; give one with --windows-image"


@dataclass(frozen=True, slots=True)
class NodeWishes:
    """Which nodes to read (none named: all), and with which pods. Without `pods` only NPM's endpoint is asked."""

    pods: PodSettings | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run will do. Nothing has been created yet. `impossible` says why no pod can be made at all."""

    connection: PodConnection
    wishes: NodeWishes
    nodes: tuple[ClusterNode, ...]
    pods: tuple[PodWish, ...]
    npm: dict[str, NpmPod]
    npm_unknown: str
    left: tuple[Leftover, ...]
    impossible: str

    def manifests(self) -> str:
        """The pods as YAML, one document each; where no node can be read, what they would be."""
        settings = self.wishes.pods
        if self.pods or settings is None:
            return "".join(f"---\n{pod_yaml(wish)}" for wish in self.pods)
        wanted = (ClusterNode("NODE", "linux"), ClusterNode("NODE", "windows"))
        return "".join(f"---\n{pod_yaml(wish)}" for wish in wishes_of(wanted, settings, "RUN"))

    @property
    def removable(self) -> tuple[Leftover, ...]:
        """Pods of earlier runs that nobody reads any more."""
        return tuple(pod for pod in self.left if not pod.busy)


@dataclass(slots=True)
class Gathered:
    """What was read: the nodes that have a dump now, why others have none, and pods that could not be deleted."""

    read: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def findings(self) -> tuple[Finding, ...]:
        """A finding for each node that was not read."""
        return tuple(
            Finding(
                id=NOT_READ,
                detail=f"node {name} was not read: {reason}",
                effect=Effect.UNKNOWN,
                subject=node_ref(name),
            )
            for name, reason in sorted(self.reasons.items())
        )


def prepare(
    options: ConnectionOptions, wishes: NodeWishes, now: datetime, patience: Patience = DEFAULT_PATIENCE
) -> Prepared:
    """Look at the cluster's nodes and at what is allowed there. Creates nothing.

    Raises ClusterError when the nodes cannot be listed, InputError for a node that is not there.
    """
    connection = connect_as(PodConnection, options)
    nodes = nodes_of(Reader(connection, patience), wishes.names)
    npm, unknown = _npm(connection)
    run = secrets.token_hex(4)
    if wishes.pods is None:
        return Prepared(connection, wishes, nodes, (), npm, unknown, (), "")
    impossible, left = _left(connection, wishes.pods.namespace, now)
    pods = wishes_of(nodes, wishes.pods, run)
    return Prepared(connection, wishes, nodes, pods, npm, unknown, left, impossible)


def _npm(connection: PodConnection) -> tuple[dict[str, NpmPod], str]:
    try:
        return npm_pods(connection), ""
    except RequestError as error:
        return {}, f"NPM's pods cannot be listed: {error}"


def _left(connection: PodConnection, namespace: str, now: datetime) -> tuple[str, tuple[Leftover, ...]]:
    """Why no pod can be made, if that is known before, and the pods that other runs left."""
    if missing := missing_rights(connection, namespace):
        return missing, ()
    try:
        return "", leftovers(connection, namespace, now)
    except RequestError as error:
        return refused(error, "list pods", namespace), ()


def gather(prepared: Prepared, folder: Path, taken: str, stop: threading.Event, progress: Progress) -> Gathered:
    """Read the nodes and write their dumps into the folder, one folder each. What is not read gets a reason.

    `taken` is the time of dumps that only NPM gave. The pods are gone at the end, also after InputError (a place that
    cannot be written). With `stop` set no more nodes are begun.
    """
    return _Gathering(prepared, folder, taken, stop, progress).run()


def remove_left(prepared: Prepared) -> None:
    """Delete the pods that earlier runs left. Raises RequestError."""
    if prepared.wishes.pods is not None:
        remove(prepared.connection, prepared.wishes.pods.namespace, prepared.removable)


class _Gathering:
    def __init__(self, prepared: Prepared, folder: Path, taken: str, stop: threading.Event, progress: Progress) -> None:
        self._prepared = prepared
        self._folder = folder
        self._taken = taken
        self._stop = stop
        self._progress = progress
        self._gathered = Gathered()
        self._npm: dict[str, NpmReading] = {}

    def run(self) -> Gathered:
        self._ask_npm()
        self._read_by_pods()
        if self._prepared.wishes.pods is None:
            self._read_npm_alone()
        for node in self._prepared.nodes:
            if node.name not in self._gathered.read:
                self._gathered.reasons.setdefault(node.name, self._why_not(node))
        return self._gathered

    def _ask_npm(self) -> None:
        """NPM goes first: it is asked in seconds, and it tells what the sets were called when the rules were read."""
        prepared = self._prepared
        pods = [prepared.npm[node.name] for node in prepared.nodes if node.name in prepared.npm]
        workers = Workers(pods, self._ask_one, _NPM_PARALLEL, self._stop)
        for done, (node, reading) in enumerate(workers.results(), 1):
            self._npm[node] = reading
            self._progress("NPM", done, len(pods))

    def _ask_one(self, pod: NpmPod) -> tuple[str, NpmReading]:
        return pod.node, read_npm(self._prepared.connection, pod, self._stop)

    def _read_by_pods(self) -> None:
        settings = self._prepared.wishes.pods
        if settings is None or self._prepared.impossible or not self._prepared.pods:
            return
        run = PodRun(self._prepared.connection, self._prepared.pods, settings, self._stop)
        try:
            with closing(run.readings()) as readings:
                for done, reading in enumerate(readings, 1):
                    self._take(reading)
                    self._progress("nodes", done, len(self._prepared.pods))
        finally:
            self._gathered.left = run.left

    def _take(self, reading: NodeReading) -> None:
        name = reading.node.name
        if reading.files is None:
            self._gathered.reasons[name] = reading.reason
            return
        try:
            manifest, bodies = dumps.of_pod(name, reading.files)
        except BundleError as error:
            self._gathered.reasons[name] = str(error)
            return
        self._write(*self._beside_npm(manifest, bodies))

    def _beside_npm(self, manifest: NodeManifest, bodies: dict[str, bytes]) -> tuple[NodeManifest, dict[str, bytes]]:
        """The dump with what NPM told of the node, which a pod on it does not ask."""
        reading, unknown = self._npm.get(manifest.name), self._prepared.npm_unknown
        if reading is None and unknown:
            failed = NodeFile(name=NPM_MANAGER.name, command=NPM_MANAGER.command, status="failed", detail=unknown)
            reading = NpmReading({}, (failed,))
        return (manifest, bodies) if reading is None else dumps.with_npm(manifest, bodies, reading)

    def _read_npm_alone(self) -> None:
        for node in self._prepared.nodes:
            reading = self._npm.get(node.name)
            if reading is not None and reading.files and self._has_more(node.name):
                place = self._folder / node.name
                self._gathered.reasons[node.name] = f"{place} has more than NPM tells, and stays; move it away first"
            elif reading is not None and reading.files:
                self._write(*dumps.of_npm(node.name, node.system, self._taken, reading))
            elif reading is not None:
                self._gathered.reasons[node.name] = f"NPM's endpoint told nothing: {reading.reason}"

    def _has_more(self, name: str) -> bool:
        """Whether there is a dump of the node with its rules already."""
        place = self._folder / name
        found = [path.name for path in place.iterdir()] if place.is_dir() else []
        return any(printed not in (None, *OF_NPM) for printed in map(printed_as, found))

    def _write(self, manifest: NodeManifest, bodies: dict[str, bytes]) -> None:
        write_dump(self._folder, manifest, bodies)
        self._gathered.read.append(manifest.name)

    def _why_not(self, node: ClusterNode) -> str:
        settings = self._prepared.wishes.pods
        if self._prepared.impossible:
            return self._prepared.impossible
        if settings is None:
            return self._prepared.npm_unknown or (_INTERRUPTED if node.name in self._prepared.npm else _NO_NPM)
        if node.cannot:
            return node.cannot
        if settings.images.of(node.system) is None:
            return _NO_WINDOWS_IMAGE
        return _INTERRUPTED
