"""A cluster with a run of agents for tests: nodes, the run's objects, pods as a DaemonSet makes them."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec

from migrate.control.exec import ExecConnection
from migrate.model.agent_documents import CONTAINER, DAEMON_SET, RUN_LABEL, AgentSettings
from migrate.scan.connection import ConnectionOptions, connect_as
from tests.api_server import ApiServer
from tests.apiserver import agent_stand_in
from tests.apiserver.admin import Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet, Script, kubelet

NAMESPACE = "cilium-migrate"
RUN = "0a1b2c3d"
_AGENT = Path(agent_stand_in.__file__)
_ROOT = _AGENT.parents[2]
OBJECTS = (
    ("apps/v1", "DaemonSet", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{DAEMON_SET}"),
    ("v1", "ConfigMap", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{DAEMON_SET}"),
)
_META: Object = {"name": DAEMON_SET, "namespace": NAMESPACE, "labels": {RUN_LABEL: RUN}}
_POD: Object = {"containers": [{"name": CONTAINER, "image": "x"}]}


@dataclass
class WatchedCluster:
    """Agents in it are stand-ins; each has a folder below `stores`."""

    server: ApiServer
    kubelets: Kubelet
    stores: Path
    seconds: int = 3600
    _made: list[str] = field(default_factory=list)

    @property
    def admin(self) -> Client:
        return Client(self.server.admin)

    def connection(self, kubeconfig: Path | None = None) -> ExecConnection:
        chosen = str(kubeconfig or self.server.admin)
        return connect_as(ExecConnection, ConnectionOptions(kubeconfig=chosen))

    def store(self, node: str) -> Path:
        """The folder of a node's agent."""
        return self.stores / node

    def script(self, node: str) -> Script:
        return self.kubelets.scripts[node]

    def deploy(self, **more: object) -> AgentSettings:
        """The run's settings and its DaemonSet, without pods."""
        given: dict[str, object] = {
            "began": time.time_ns(),
            "seconds": self.seconds,
            "cluster": agent_stand_in.CLUSTER,
            **more,
        }
        settings = AgentSettings(tool_version="1", run=RUN, **given)  # type: ignore[arg-type]
        self.stores.mkdir(exist_ok=True)
        (self.stores / "cluster").write_text(settings.cluster)
        labels = {RUN_LABEL: RUN}
        data = {"run.json": msgspec.json.encode(settings).decode()}
        self.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": _META, "data": data})
        template = {"metadata": {"labels": labels}, "spec": _POD | {"nodeSelector": {"kubernetes.io/os": "linux"}}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        self.admin.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _META, "spec": spec})
        return settings

    def add(self, *nodes: str, **more: object) -> None:
        """Nodes with agents, which record at the end."""
        for node in nodes:
            self.add_node(node, **more)
            self.add_pod(node)
        wait_until(lambda: all(self._runs(node) for node in nodes))

    def add_node(self, node: str, **more: object) -> None:
        self.kubelets.add_node(node, Script(), **more)  # type: ignore[arg-type]

    def add_pod(self, node: str, **status: object) -> str:
        """The pod that a DaemonSet makes for a node."""
        self._made.append(node)
        name = f"{DAEMON_SET}-{len(self._made)}"
        self.admin.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": {RUN_LABEL: RUN}},
                "spec": _POD | {"nodeName": node},
            }
        )
        return name

    def agent(self, node: str) -> int:
        """The process of a node's agent."""
        running = self.kubelets.newest(self.pod(node))
        assert running is not None
        assert running.process is not None
        return running.process.pid

    def pod(self, node: str) -> str:
        """The name of a node's newest pod."""
        return f"{DAEMON_SET}-{len(self._made) - self._made[::-1].index(node)}"

    def pod_path(self, node: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{self.pod(node)}"

    def phase(self, node: str) -> object:
        """Of a node's newest pod."""
        return cast("Object", self.admin.must("GET", self.pod_path(node))["status"]).get("phase")

    def set_status(self, path: str, **status: object) -> None:
        """Change parts of an object's status."""
        found = self.admin.must("GET", path)
        self.admin.must("PUT", f"{path}/status", found | {"status": cast("Object", found["status"]) | status})

    def _runs(self, node: str) -> bool:
        status, pod = self.admin.call("GET", self.pod_path(node))
        is_running = status == 200 and cast("Object", pod["status"]).get("phase") == "Running"
        return is_running and ((self.store(node) / "epoch").exists() or (self.store(node) / "failure").exists())

    def remove(self) -> tuple[str, ...]:
        """All objects of the run go; those that are left are named."""
        for _, _, path in OBJECTS:
            self.admin.call("DELETE", path)
        for node in self._made:
            self.admin.call("DELETE", f"{self.pod_path(node)}?gracePeriodSeconds=0")
        return tuple(kind for _, kind, path in OBJECTS if self.admin.call("GET", path)[0] != 404)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Pods go with their DaemonSet, as a controller manager sees to."""
        stop = threading.Event()
        thread = threading.Thread(target=self._collect, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _collect(self, stop: threading.Event) -> None:
        admin = self.admin
        while not stop.wait(0.1):
            if admin.call("GET", OBJECTS[0][2])[0] == 404:
                for node in self._made:
                    admin.call("DELETE", self.pod_path(node))

    def clear(self) -> None:
        self.remove()
        self.kubelets.remove_nodes()
        wait_until(lambda: not self.admin.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"])
        wait_until(lambda: self.kubelets.running() == 0)
        self._made.clear()
        shutil.rmtree(self.stores, ignore_errors=True)


@contextmanager
def watched_cluster(server: ApiServer, stores: Path) -> Iterator[WatchedCluster]:
    """A cluster without nodes and without a run, for the tests of a file."""
    admin = Client(server.admin)
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    account = {"name": "default", "namespace": NAMESPACE}
    admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})

    def words(pod: Object, word: str, *more: str) -> Sequence[str]:
        node = str(cast("Object", pod["spec"])["nodeName"])
        return ["env", f"PYTHONPATH={_ROOT}", sys.executable, str(_AGENT), word, str(stores / node), node, RUN, *more]

    def command(pod: Object, asked: Sequence[str]) -> Sequence[str]:
        assert asked[:3] == ["migrate", "audit", "agent"]
        return words(pod, *asked[3:])

    with kubelet(server, lambda pod: words(pod, "run"), command) as running:
        yield WatchedCluster(server, running, stores)
