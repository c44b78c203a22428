"""A cluster that agents are deployed to: nodes, the person who may do it, and what controllers do elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import yaml

from migrate.control.deploy import DeployPlan, prepare
from migrate.control.manifests import AgentWishes
from migrate.control.objects import ObjectConnection
from migrate.model.agent_documents import DAEMON_SET, AgentSettings
from migrate.scan.connection import ConnectionOptions, connect_as
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object, wait_until

RIGHTS = Path(__file__).parents[2] / "docs" / "rbac-audit.yaml"
NAMESPACE = "cilium-migrate"
IMAGE = f"registry.example/migrate@sha256:{'0123456789abcdef' * 4}"
DAEMON_SETS = "/apis/apps/v1/daemonsets"
_TURN_SECONDS = 0.05


def settings(run: str = "0a1b2c3d", namespace: str = NAMESPACE) -> AgentSettings:
    return AgentSettings(tool_version="1", run=run, namespace=namespace, cluster="c", began=1, seconds=60)


def wishes(run: str = "0a1b2c3d", namespace: str = NAMESPACE, **more: object) -> AgentWishes:
    return AgentWishes(settings(run, namespace), IMAGE, **more)  # type: ignore[arg-type]


def options(kubeconfig: Path) -> ConnectionOptions:
    return ConnectionOptions(kubeconfig=str(kubeconfig))


def plan_of(kubeconfig: Path, wished: AgentWishes | None = None) -> DeployPlan:
    return prepare(options(kubeconfig), wished or wishes())


def connection(kubeconfig: Path) -> ObjectConnection:
    return connect_as(ObjectConnection, options(kubeconfig))


def roles() -> list[Object]:
    return [made for made in yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")) if made["kind"] != "Namespace"]


def bind_deployer(admin: Client, user: str) -> None:
    """The namespace and all roles of docs/rbac-audit.yaml for a user, and nothing else."""
    subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]
    admin.create(next(yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8"))))
    for role in roles():
        admin.create(role)
        metadata = cast("Object", role["metadata"])
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": metadata["name"]}
        binding = {"apiVersion": RBAC_API, "kind": f"{role['kind']}Binding", "metadata": metadata}
        admin.create(binding | {"roleRef": reference, "subjects": subjects})


def add_node(admin: Client, name: str, *, ready: bool = True, **more: object) -> None:
    """A node; `system`, `kernel`, `labels` and `taints` are those of a Linux machine unless they are given."""
    system = str(more.get("system", "linux"))
    labels = {"kubernetes.io/os": system, **cast("dict[str, str]", more.get("labels", {}))}
    names = ("machineID", "systemUUID", "bootID", "osImage", "containerRuntimeVersion", "kubeletVersion")
    info = dict.fromkeys((*names, "kubeProxyVersion", "architecture"), "x")
    condition = {"type": "Ready", "status": "True" if ready else "Unknown", "reason": "R", "message": "no heartbeat"}
    status = {
        "conditions": [condition],
        "nodeInfo": {**info, "operatingSystem": system, "kernelVersion": str(more.get("kernel", "6.8.0-1-azure"))},
    }
    made: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    admin.create(made | {"spec": {"taints": more.get("taints", [])}, "status": status})


@contextmanager
def controllers(server: ApiServer, *, away: frozenset[str] = frozenset()) -> Iterator[None]:
    """What the controller manager and kubelets do: pods of DaemonSets, their end, and the end of namespaces.

    Nodes that are `away` end no pod.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_control, args=(Client(server.admin), away, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _control(admin: Client, away: frozenset[str], stop: threading.Event) -> None:
    while not stop.wait(_TURN_SECONDS):
        sets = _items(admin, DAEMON_SETS)
        for daemon_set in sets:
            _make_pods(admin, daemon_set)
        owners = {_metadata(one)["uid"] for one in sets}
        for pod in _items(admin, "/api/v1/pods"):
            _end_pod(admin, pod, owners, away)
        for namespace in _items(admin, "/api/v1/namespaces"):
            if _metadata(namespace).get("deletionTimestamp") and not _is_full(admin, namespace):
                cast("Object", namespace["spec"])["finalizers"] = []
                admin.call("PUT", f"/api/v1/namespaces/{_metadata(namespace)['name']}/finalize", namespace)


def _make_pods(admin: Client, daemon_set: Object) -> None:
    template = json.loads(json.dumps(cast("Object", daemon_set["spec"])["template"]))
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": DAEMON_SET, "uid": _metadata(daemon_set)["uid"]}
    namespace = str(_metadata(daemon_set)["namespace"])
    for node in _items(admin, "/api/v1/nodes"):
        name = str(_metadata(node)["name"])
        metadata = {**template["metadata"], "name": f"{DAEMON_SET}-{name}", "namespace": namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "ownerReferences": [owner]}}
        pod["spec"] = template["spec"] | {"nodeName": name}
        admin.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)


def _end_pod(admin: Client, pod: Object, owners: set[object], away: frozenset[str]) -> None:
    metadata = _metadata(pod)
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    of = cast("list[Object]", metadata.get("ownerReferences") or [])
    if of and of[0]["uid"] not in owners and not metadata.get("deletionTimestamp"):
        admin.call("DELETE", path)
    elif metadata.get("deletionTimestamp") and cast("Object", pod["spec"]).get("nodeName") not in away:
        admin.call("DELETE", f"{path}?gracePeriodSeconds=0")


def _is_full(admin: Client, namespace: Object) -> bool:
    return bool(_items(admin, f"/api/v1/namespaces/{_metadata(namespace)['name']}/pods"))


def objects_of(server: ApiServer, run: str) -> list[str]:
    """Every object with the label of a run, by kind and name."""
    admin = Client(server.admin)
    paths = {
        "Namespace": "/api/v1/namespaces",
        "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
        "ServiceAccount": "/api/v1/serviceaccounts",
        "ClusterRole": f"/apis/{RBAC_API}/clusterroles",
        "ClusterRoleBinding": f"/apis/{RBAC_API}/clusterrolebindings",
        "Role": f"/apis/{RBAC_API}/roles",
        "RoleBinding": f"/apis/{RBAC_API}/rolebindings",
        "ConfigMap": "/api/v1/configmaps",
        "DaemonSet": DAEMON_SETS,
        "Pod": "/api/v1/pods",
        "Lease": "/apis/coordination.k8s.io/v1/leases",
    }
    found = {kind: _items(admin, f"{path}?labelSelector=cilium-migrate/run%3D{run}") for kind, path in paths.items()}
    return [f"{kind} {_metadata(one)['name']}" for kind, listed in found.items() for one in listed]


def take_away(server: ApiServer, *nodes: str) -> None:
    """Nodes that a test added."""
    admin = Client(server.admin)
    for name in nodes:
        admin.call("DELETE", f"/api/v1/nodes/{name}")
    wait_until(lambda: not _items(admin, "/api/v1/nodes"))


def _items(admin: Client, path: str) -> list[Object]:
    status, listed = admin.call("GET", path)
    return cast("list[Object]", listed.get("items") or []) if status == 200 else []


def _metadata(made: Object) -> Object:
    return cast("Object", made["metadata"])
