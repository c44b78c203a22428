"""What Azure NPM tells of itself, through the API server's proxy to NPM's own pod: nothing is created for that.

Source: Azure/azure-container-networking, npm/http/api and npm/metrics: the names of sets and the counts of rules that
NPM believes it made, on port 10091 of the node. The proxy of a node (nodes/proxy) would do too, but it opens the whole
kubelet, so it is never used.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Literal

import msgspec

from migrate.collect.pod_connection import PodConnection
from migrate.collect.refusals import refused_npm
from migrate.model.node_documents import NodeFile
from migrate.nodes.files import NPM_CLUSTER_METRICS, NPM_MANAGER, NPM_NODE_METRICS, Printed
from migrate.scan.connection import RequestError

NAMESPACE = "kube-system"
_SELECTOR = "k8s-app%3Dazure-npm"
_PORT = 10091
_PATHS = {
    NPM_MANAGER: "/npm/v1/debug/manager",
    NPM_NODE_METRICS: "/node-metrics",
    NPM_CLUSTER_METRICS: "/cluster-metrics",
}
_TRIES = 3
_PAUSE_SECONDS = 2.0


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Pods(msgspec.Struct, frozen=True):
    items: tuple[_Pod, ...] = ()


@dataclass(frozen=True, slots=True)
class NpmPod:
    """The pod of NPM on a node."""

    name: str
    node: str
    running: bool


@dataclass(frozen=True, slots=True)
class NpmReading:
    """The files that NPM's endpoint gave, and how each was come by."""

    files: dict[str, bytes]
    listed: tuple[NodeFile, ...]

    @property
    def reason(self) -> str:
        """Why there is no file, empty when there is one."""
        return "" if self.files else next((file.detail for file in self.listed if file.detail), "NPM told nothing")


def npm_pods(connection: PodConnection) -> dict[str, NpmPod]:
    """NPM's pods by their nodes; of two on a node the running one. Raises RequestError."""
    body = connection.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={_SELECTOR}")
    try:
        pods = msgspec.json.decode(body, type=_Pods).items
    except msgspec.DecodeError as error:
        raise RequestError(f"{connection.host}: an answer that is no list of pods ({error}); try again") from error
    found = [NpmPod(pod.metadata.name, pod.spec.node_name, pod.status.phase == "Running") for pod in pods]
    return {pod.node: pod for pod in sorted(found, key=lambda pod: (pod.running, pod.name)) if pod.node}


def read_npm(connection: PodConnection, pod: NpmPod, stop: threading.Event) -> NpmReading:
    """What NPM tells on one node. A part that cannot be read says why; one that NPM has turned off is absent."""
    files: dict[str, bytes] = {}
    listed: list[NodeFile] = []
    broken = "" if pod.running else f"pod {NAMESPACE}/{pod.name} does not run"
    for printed, path in _PATHS.items():
        if broken:
            listed.append(_listed(printed, "failed", broken))
            continue
        try:
            body = _fetch(connection, f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}:{_PORT}/proxy{path}", stop)
        except RequestError as error:
            listed.append(_unread(printed, error))
            broken = "" if listed[-1].status == "absent" else listed[-1].detail
            continue
        files[printed.name] = body
        listed.append(_listed(printed, "read", "", body))
    return NpmReading(files, tuple(listed))


def _fetch(connection: PodConnection, path: str, stop: threading.Event) -> bytes:
    attempt = 0
    while True:
        attempt += 1
        try:
            return connection.proxied(path)
        except RequestError as error:
            if error.status is None or not error.temporary or attempt >= _TRIES or stop.wait(_PAUSE_SECONDS):
                raise


def _unread(printed: Printed, error: RequestError) -> NodeFile:
    """NPM answers 404 for what its settings turn off (EnableHTTPDebugAPI, EnablePrometheusMetrics)."""
    if error.status == 404 and 'pods "' not in error.reason:
        return _listed(printed, "absent", "")
    return _listed(printed, "failed", refused_npm(error))


def _listed(printed: Printed, status: Literal["read", "absent", "failed"], detail: str, body: bytes = b"") -> NodeFile:
    digest = hashlib.sha256(body).hexdigest() if status == "read" else None
    return NodeFile(name=printed.name, command=printed.command, status=status, detail=detail, sha256=digest)
