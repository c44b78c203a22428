"""The kubelets of the lab's nodes: they run the containers of DaemonSets' pods, report, and run commands in them."""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object
from tests.apiserver.kubelet_exec import ExecScript, refuse, serve_exec
from tests.cluster_lab.controllers import Controllers
from tests.cluster_lab.objects import is_going, items, listed, part, pod_path, report, uid_of
from tests.cluster_lab.runtime import Container, Place, start

TURN_SECONDS = 0.1
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 2.0
"""Seconds before a container that ended is started again; a real kubelet waits 10 and at most 300."""


@dataclass
class NodeScript:
    """What goes wrong on one node. `mute`: its kubelet neither reports nor starts nor answers. `forbidden`: it refuses
    commands in pods with 403. `unpullable`: the image is not to be had there.
    """

    mute: bool = False
    forbidden: bool = False
    unpullable: bool = False
    execs: ExecScript = field(default_factory=ExecScript)


@dataclass
class Running:
    """A pod that a kubelet cares for."""

    pod: Object
    container: Container | None = None
    restarts: int = 0
    not_before: float = 0.0
    told: str = ""
    last_state: Object = field(default_factory=dict)
    killed_at: float | None = None


class Kubelets:
    """All kubelets, and the controllers, in one thread; commands in pods are answered in threads of their own."""

    def __init__(self, server: ApiServer, folder: Path, places: Callable[[str], Place | None]) -> None:
        self.server = server
        self.scripts: dict[str, NodeScript] = {}
        self.running: dict[str, Running] = {}
        self.port = 0
        self.stop = threading.Event()
        self._folder = folder
        self._places = places
        self._lock = threading.RLock()
        self._admin = Client(server.admin)
        self._controllers = Controllers(self._admin, (server.state / "ca.crt").read_text())
        self.api: dict[str, str] = {}

    def work(self) -> None:
        """What they do all the time."""
        while not self.stop.wait(TURN_SECONDS):
            # The API server may be away for a while.
            with suppress(OSError, _http_error()):
                self._controllers.work()
                self._turn()

    def close(self) -> None:
        """End every container."""
        self.stop.set()
        with self._lock:
            for running in self.running.values():
                if running.container is not None:
                    running.container.kill()

    def containers(self, node: str) -> list[Container]:
        """Those that run on a node."""
        return [container for container in self.of_node(node) if container.runs]

    def of_node(self, node: str) -> list[Container]:
        """Those of a node, also when they have ended."""
        with self._lock:
            found = (one for one in self.running.values() if part(one.pod, "spec").get("nodeName") == node)
            return [running.container for running in found if running.container is not None]

    def crash(self, node: str) -> None:
        """All containers of a node end at once, and nothing of them is known any more, as when it reboots."""
        with self._lock:
            for running in self.running.values():
                if part(running.pod, "spec").get("nodeName") == node and running.container is not None:
                    running.container.kill()

    def evict(self, node: str, reason: str) -> None:
        """What a kubelet does under pressure: the pods end, and say why."""
        with self._lock:
            for running in list(self.running.values()):
                if part(running.pod, "spec").get("nodeName") == node and running.container is not None:
                    running.container.kill()
                    report(self._admin, running.pod, {"phase": "Failed", "reason": "Evicted", "message": reason})

    def of_pod(self, namespace: str, name: str) -> Running | None:
        """The newest pod of this name."""
        with self._lock:
            for running in reversed(list(self.running.values())):
                metadata = part(running.pod, "metadata")
                if (metadata["namespace"], metadata["name"]) == (namespace, name):
                    return running
        return None

    def _turn(self) -> None:
        pods = items(self._admin, "/api/v1/pods")
        if pods is None:
            return
        ours = {uid_of(pod): pod for pod in pods if listed(part(pod, "metadata"), "ownerReferences")}
        with self._lock:
            for uid in [uid for uid in self.running if uid not in ours]:
                self._forget(uid)
            for uid, pod in ours.items():
                node = str(part(pod, "spec").get("nodeName"))
                place = self._places(node)
                if place is not None and not self._script(node).mute:
                    self._care(self.running.setdefault(uid, Running(pod)), pod, place)

    def _script(self, node: str) -> NodeScript:
        return self.scripts.setdefault(node, NodeScript())

    def _forget(self, uid: str) -> None:
        """A pod that the API server does not have any more."""
        running = self.running.pop(uid)
        if running.container is not None:
            running.container.kill()

    def _care(self, running: Running, pod: Object, place: Place) -> None:
        running.pod = pod
        if is_going(pod):
            if _has_stopped(running):
                self._admin.call("DELETE", f"{pod_path(pod)}?gracePeriodSeconds=0")
        elif part(pod, "status").get("phase") not in ("Failed", "Succeeded"):
            self._keep_running(running, pod, place)

    def _keep_running(self, running: Running, pod: Object, place: Place) -> None:
        container = running.container
        if self._script(place.name).unpullable:
            self._tell(running, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})
        elif container is None:
            self._start(running, pod, place)
        elif container.runs:
            began = {"startedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            self._tell(running, "Running", {"running": began}, ready=True)
        elif not running.not_before:
            wait = min(_FIRST_WAIT * 2**running.restarts, _LONGEST_WAIT)
            running.not_before = time.monotonic() + wait
            code = container.process.returncode
            reason = "Completed" if code == 0 else "Error"
            running.last_state = {"terminated": {"exitCode": code, "reason": reason}}
            self._tell(running, "Running", running.last_state)
        elif time.monotonic() >= running.not_before:
            running.restarts += 1
            self._start(running, pod, place)

    def _start(self, running: Running, pod: Object, place: Place) -> None:
        work = self._folder / f"{uid_of(pod)}-{running.restarts}"
        try:
            mounts = self._mounts(pod, place, self._folder / f"{uid_of(pod)}-volumes")
        except LookupError as error:
            reason: Object = {"waiting": {"reason": "ContainerCreating", "message": str(error)}}
            self._tell(running, "Pending", reason)
            return
        running.container = start(place, pod, mounts, work, self.api)
        running.not_before = 0.0

    def _tell(self, running: Running, phase: str, state: Object, *, ready: bool = False) -> None:
        """Report what is new of a pod."""
        told = f"{phase} {sorted(state)} {running.restarts} {ready}"
        if told == running.told:
            return
        [container] = listed(part(running.pod, "spec"), "containers")
        image = str(container["image"])
        status = {
            "name": container["name"],
            "image": image,
            "imageID": image,
            "ready": ready,
            "started": ready,
            "restartCount": running.restarts,
            "state": state,
            "lastState": running.last_state if ready else {},
        }
        word = "True" if ready else "False"
        conditions = [{"type": name, "status": word} for name in ("Ready", "ContainersReady")]
        report(self._admin, running.pod, {"phase": phase, "containerStatuses": [status], "conditions": conditions})
        running.told = told

    def _mounts(self, pod: Object, place: Place, work: Path) -> list[tuple[str, str, bool]]:
        """Sources here, targets in the container, and whether to read only. Raises LookupError for what is missing."""
        sources = {str(volume["name"]): self._source(pod, volume, place, work) for volume in _volumes(pod)}
        [container] = listed(part(pod, "spec"), "containers")
        made = []
        for mount in listed(container, "volumeMounts"):
            source = sources[str(mount["name"])] / str(mount.get("subPath", ""))
            made.append((str(source), str(mount["mountPath"]), mount.get("readOnly") is True))
        return made

    def _source(self, pod: Object, volume: Object, place: Place, work: Path) -> Path:
        name = str(volume["name"])
        folder = work / name
        if "hostPath" in volume:
            return _host_path(place, part(volume, "hostPath"))
        folder.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            self._fill(folder, pod, part(volume, "configMap"))
        elif "projected" in volume:
            for source in listed(part(volume, "projected"), "sources"):
                self._project(folder, pod, source)
        else:
            assert "emptyDir" in volume, volume
        return folder

    def _fill(self, folder: Path, pod: Object, wanted: Object) -> None:
        metadata = part(pod, "metadata")
        path = f"/api/v1/namespaces/{metadata['namespace']}/configmaps/{wanted['name']}"
        status, found = self._admin.call("GET", path)
        if status != 200:
            raise LookupError(f'configmap "{wanted["name"]}" not found')
        files = {key: str(text).encode() for key, text in part(found, "data").items()}
        files |= {key: base64.b64decode(str(text)) for key, text in part(found, "binaryData").items()}
        chosen = {str(item["path"]): files[str(item["key"])] for item in listed(wanted, "items")} or files
        for name, content in chosen.items():
            (folder / name).write_bytes(content)

    def _project(self, folder: Path, pod: Object, source: Object) -> None:
        if "serviceAccountToken" in source:
            (folder / str(part(source, "serviceAccountToken")["path"])).write_text(self._token(pod))
        elif "configMap" in source:
            assert part(source, "configMap")["name"] == "kube-root-ca.crt"
            (folder / "ca.crt").write_bytes((self.server.state / "ca.crt").read_bytes())
        else:
            (folder / "namespace").write_text(str(part(pod, "metadata")["namespace"]))

    def _token(self, pod: Object) -> str:
        """A token of the pod's service account, bound to the pod."""
        metadata, account = part(pod, "metadata"), part(pod, "spec").get("serviceAccountName", "default")
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        status, made = self._admin.call("POST", path, {"spec": {"expirationSeconds": 3607, "boundObjectRef": bound}})
        if status >= 300:
            raise LookupError(str(made.get("message")))
        return str(part(made, "status")["token"])


def _has_stopped(running: Running) -> bool:
    """SIGTERM at the first call, SIGKILL when the pod's grace is over."""
    container = running.container
    if container is None or not container.runs:
        return True
    if running.killed_at is None:
        grace = part(running.pod, "metadata").get("deletionGracePeriodSeconds") or 0
        running.killed_at = time.monotonic() + float(cast("int", grace))
        container.terminate()
    elif time.monotonic() > running.killed_at:
        container.kill()
    return not container.runs


def _volumes(pod: Object) -> list[Object]:
    return listed(part(pod, "spec"), "volumes")


def _host_path(place: Place, wanted: Object) -> Path:
    path = place.root / str(wanted["path"]).lstrip("/")
    kind = wanted.get("type", "")
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if kind in ("Directory", "DirectoryOrCreate") and not path.is_dir():
        raise LookupError(f"hostPath type check failed: {wanted['path']} is not a directory")
    return path


@contextmanager
def kubelets(server: ApiServer, folder: Path, places: Callable[[str], Place | None]) -> Iterator[Kubelets]:
    """Kubelets and controllers until the end of the block."""
    made = Kubelets(server, folder, places)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    listening.daemon_threads = True
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
        made.stop.set()
        threads[1].join()
        made.close()
        listening.shutdown()
        listening.server_close()
        threads[0].join()


def _handler(made: Kubelets) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """GET /exec/NAMESPACE/POD/CONTAINER?command=WORD..."""
            _, kind, namespace, name, _ = urlsplit(self.path).path.split("/")
            assert kind == "exec"
            running = made.of_pod(namespace, name)
            if running is None or running.container is None or not running.container.runs:
                return refuse(self, 500, f"container not found in {name}")
            script = made._script(str(part(running.pod, "spec")["nodeName"]))
            if script.forbidden:
                return refuse(self, 403, "Forbidden (user=kube-apiserver, verb=create, resource=nodes, proxy)")
            container = running.container

            def command(pod: Object, words: Sequence[str]) -> list[str]:
                return container.inside(words)

            return serve_exec(self, running.pod, script.execs, command, made.stop)

        def log_message(self, form: str, *values: object) -> None:
            """Say nothing."""

    return Handler


def _http_error() -> type[Exception]:
    import urllib3

    return urllib3.exceptions.HTTPError
