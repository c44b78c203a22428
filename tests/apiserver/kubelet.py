"""A kubelet as far as this program can tell: it runs pods as processes, serves their logs and runs commands in them.

The API server is real and asks it for them as it asks every kubelet. What a test wants to go wrong is a Script.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object
from tests.apiserver.kubelet_exec import Exec, ExecScript, refuse, serve_exec

Command: TypeAlias = "Callable[[Object], Sequence[str]]"
"""The process that stands for a pod's container."""
_TURN_SECONDS = 0.03


@dataclass
class Script:
    """How the pods of one node fare.

    `states` are set one after the other before anything runs; with `runs` False nothing ever does. `cuts`: that many
    answers about the log break off after `cut_at` bytes. The log loses its first `rotated` bytes. `ending` replaces
    the status of a pod that ended. `mute`: the kubelet reports nothing at all. `execs`: what becomes of commands.
    """

    command: Command | None = None
    states: tuple[Object, ...] = ()
    runs: bool = True
    cuts: int = 0
    cut_at: int = 0
    rotated: int = 0
    ending: Object | None = None
    mute: bool = False
    execs: ExecScript = field(default_factory=ExecScript)


@dataclass
class _Running:
    pod: Object
    process: subprocess.Popen[bytes] | None
    log: Path
    script: Script
    reported: bool = False


@dataclass
class Kubelet:
    """Stands for the kubelets of all nodes that a test adds. Pods of kube-system are the tests' own.

    `exec` gives what runs on this machine for a command in a pod; default: the command as it is.
    """

    server: ApiServer
    folder: Path
    command: Command
    exec: Exec = lambda pod, command: command
    scripts: dict[str, Script] = field(default_factory=dict)
    seen: list[Object] = field(default_factory=list)
    asked_for_logs: list[str] = field(default_factory=list)
    port: int = 0
    _pods: dict[str, _Running] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def add_node(self, name: str, script: Script | None = None, *, ready: str = "True", **node: object) -> None:
        """A node of the cluster whose kubelet this is."""
        self.scripts[name] = script or Script()
        labels = cast("dict[str, str]", node.get("labels", {}))
        system = str(node.get("system", "linux"))
        condition = {"type": "Ready", "status": ready, "reason": "KubeletReady"}
        if ready != "True":
            condition |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        Client(self.server.admin).create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/os": system, **labels}},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
                    "conditions": [condition],
                    "nodeInfo": {
                        **dict.fromkeys(_INFO, "x"),
                        "operatingSystem": system,
                    },
                },
            }
        )

    def remove_nodes(self) -> None:
        """Take away all nodes and what is left of their pods."""
        admin = Client(self.server.admin)
        for name in self.scripts:
            admin.call("DELETE", f"/api/v1/nodes/{name}")
        for pod in self._listed(admin):
            admin.call("DELETE", f"{_path(pod)}?gracePeriodSeconds=0")
        self.scripts.clear()
        self.seen.clear()
        self.asked_for_logs.clear()

    def running(self) -> int:
        """Processes that stand for containers and have not ended."""
        return sum(pod.process is not None and pod.process.poll() is None for pod in list(self._pods.values()))

    def work(self) -> None:
        """What a kubelet does all the time, until the end of the test."""
        admin = Client(self.server.admin)
        while not self._stop.wait(_TURN_SECONDS):
            listed = self._listed(admin)
            self._end_others({str(_part(pod, "metadata")["uid"]) for pod in listed})
            for pod in listed:
                script = self.scripts.get(str(_part(pod, "spec").get("nodeName", "")))
                if script is not None:
                    self._care(admin, pod, script)

    def stop(self) -> None:
        """End every process."""
        self._stop.set()
        for pod in list(self._pods.values()):
            _end(pod.process)

    def _listed(self, admin: Client) -> list[Object]:
        status, listed = admin.call("GET", "/api/v1/pods")
        pods = cast("list[Object]", listed.get("items") or []) if status == 200 else []
        return [pod for pod in pods if _part(pod, "metadata")["namespace"] != "kube-system"]

    def _end_others(self, listed: set[str]) -> None:
        """Nothing runs for a pod that the API server does not have."""
        for uid, pod in list(self._pods.items()):
            if uid not in listed:
                _end(pod.process)

    def _care(self, admin: Client, pod: Object, script: Script) -> None:
        uid = str(_part(pod, "metadata")["uid"])
        if script.mute:
            return
        if uid not in self._pods:
            self.seen.append(pod)
            self._begin(admin, pod, uid, script)
        running = self._pods[uid]
        if _part(pod, "metadata").get("deletionTimestamp"):
            _end(running.process)
            admin.call("DELETE", f"{_path(pod)}?gracePeriodSeconds=0")
        elif running.process is not None and running.process.poll() is not None and not running.reported:
            running.reported = True
            _report(admin, pod, script.ending or _ended(running.process.returncode, _container_name(pod)))

    def _begin(self, admin: Client, pod: Object, uid: str, script: Script) -> None:
        log = self.folder / f"{uid}.log"
        for state in script.states:
            _report(admin, pod, state)
        if not script.runs:
            self._pods[uid] = _Running(pod, None, log, script)
            return
        command = (script.command or self.command)(pod)
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        # First the log, then the news: who reads that the pod runs asks for its log at once.
        self._pods[uid] = _Running(pod, process, log, script)
        running = _container({"running": {}}, _container_name(pod), ready=True)
        _report(admin, pod, {"phase": "Running", **running})

    def log_of(self, namespace: str, name: str) -> _Running | None:
        """The newest pod of that name."""
        self.asked_for_logs.append(name)
        return self.newest(name)

    def newest(self, name: str) -> _Running | None:
        """The newest pod of that name."""
        uids = [p["metadata"]["uid"] for p in self.seen if _part(p, "metadata")["name"] == name]  # type: ignore[index]
        return self._pods.get(uids[-1]) if uids else None


_INFO = (
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "osImage",
    "systemUUID",
)


def _part(pod: Object, name: str) -> Object:
    return cast("Object", pod.get(name) or {})


def _path(pod: Object) -> str:
    metadata = _part(pod, "metadata")
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def _report(admin: Client, pod: Object, status: Object) -> None:
    """Set a pod's status; a pod that has gone meanwhile is no matter."""
    current_status, current = admin.call("GET", _path(pod))
    if current_status == 200:
        admin.call("PUT", f"{_path(pod)}/status", current | {"status": status})


def _container_name(pod: Object) -> str:
    containers = cast("list[Object]", _part(pod, "spec")["containers"])
    return str(containers[0]["name"])


def _container(state: Object, name: str = "collector", *, ready: bool = False, restarts: int = 0) -> Object:
    status = {"name": name, "image": "x", "imageID": "", "ready": ready, "restartCount": restarts, "state": state}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"containerStatuses": [status], "conditions": conditions}


def waiting(reason: str, message: str = "") -> Object:
    """The status of a pod whose container cannot start."""
    return {"phase": "Pending", **_container({"waiting": {"reason": reason, "message": message}})}


def _ended(status: int, name: str) -> Object:
    code, reason = (0, "Completed") if status == 0 else (status if status > 0 else 137, "Error")
    return {
        "phase": "Failed" if code else "Succeeded",
        **_container({"terminated": {"exitCode": code, "reason": reason}}, name),
    }


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


@contextmanager
def kubelet(server: ApiServer, command: Command, exec: Exec = lambda pod, words: words) -> Iterator[Kubelet]:
    """A kubelet that runs `command` for each pod, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        made = Kubelet(server, Path(folder), command, exec)
        listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.state / "server.crt", server.state / "server.key")
        listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
        made.port = listening.server_address[1]
        threads = [threading.Thread(target=target, daemon=True) for target in (listening.serve_forever, made.work)]
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            made.stop()
            listening.shutdown()
            listening.server_close()
            for thread in threads:
                thread.join()


def _handler(made: Kubelet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """GET /containerLogs/NAMESPACE/POD/CONTAINER?follow=true or /exec/NAMESPACE/POD/CONTAINER?command=..."""
            url = urlsplit(self.path)
            _, kind, namespace, name, _ = url.path.split("/")
            if kind == "exec":
                return self._exec(name)
            assert kind == "containerLogs"
            pod = made.log_of(namespace, name)
            if pod is None or not pod.log.exists():
                return self._refuse()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(pod, "follow" in parse_qs(url.query))
            return None

        def _exec(self, name: str) -> None:
            pod = made.newest(name)
            if pod is None or pod.process is None or pod.process.poll() is not None:
                return refuse(self, 500, f"the container of {name} is not running")
            return serve_exec(self, pod.pod, pod.script.execs, made.exec, made._stop)

        def _refuse(self) -> None:
            body = json.dumps({"message": "container is waiting to start"}).encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, pod: _Running, follow: bool) -> None:
            at, sent, limit = pod.script.rotated, 0, None
            if pod.script.cuts:
                pod.script.cuts -= 1
                limit = pod.script.cut_at
            while True:
                ended = pod.process is None or pod.process.poll() is not None
                piece = pod.log.read_bytes()[at:]
                if limit is not None:
                    piece = piece[: limit - sent]
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
                    at, sent = at + len(piece), sent + len(piece)
                if limit is not None and sent >= limit:
                    self.close_connection = True
                    self.connection.close()
                    return
                if ended or not follow:
                    self.wfile.write(b"0\r\n\r\n")
                    return
                made._stop.wait(_TURN_SECONDS)

        def log_message(self, form: str, *values: object) -> None:
            """Say nothing."""

    return Handler
