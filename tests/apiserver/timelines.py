"""Agents of a cluster as far as their timelines go: a watch of the API and a recording each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from migrate.audit.agent_connection import AgentConnection
from migrate.audit.cluster_watch import ClusterWatch
from migrate.audit.election import Terms
from migrate.audit.leads import LEADS, Lead, read_leads
from migrate.audit.reading import BackendRow, Loss, Owner, open_recording
from migrate.audit.recording import About
from migrate.audit.store import Start, Store, open_store
from migrate.audit.watching import Pace
from migrate.model.agent_documents import RUN_LABEL, AgentSettings
from migrate.scan.connection import ConnectionOptions, connect_as
from tests.apiserver.admin import Client, Object, wait_until

Clock: TypeAlias = Callable[[], int]
SOON = Pace(first=0.1, longest=0.5)
SHORT = Terms(lease=8.0, deadline=6.0, renew=0.5, look=0.4)
_DISCOVERY = "discovery.k8s.io/v1"


class Agent:
    """One agent with its recording. `stop` is a good end; `kill` leaves everything as it is."""

    def __init__(
        self,
        options: ConnectionOptions,
        folder: Path,
        settings: AgentSettings,
        node: str,
        *,
        clock: Clock = time.time_ns,
        patience: float = 0.0,
    ) -> None:
        self.settings, self.node, self.path = settings, node, folder / f"{node}.db"
        connection = connect_as(AgentConnection, options)
        self.watch = ClusterWatch(
            connection, settings, node, f"agent-{node}", clock, SOON, SHORT, int(patience * 1_000_000_000)
        )
        self.store = self._open()

    def _open(self) -> Store:
        store = open_store(self.path, About(self.node, "cluster", 3600, "0", 1))
        store.segment(Start("boot", "layout", "6.18", "libbpf", "tcx"))
        return store

    def start(self) -> Agent:
        """Begin; a recording that is there goes on."""
        self.watch.start()
        with open_recording(self.path) as reading:
            heard = [int(text) for text in reading.meta.get("heard", "").split()]
        if heard:
            self.watch.resume(self.store, heard[0])
        return self

    def tell(self) -> None:
        """Write what was heard."""
        self.watch.tell(self.store)
        self.store.note("heard", str(time.time_ns()))

    def stop(self) -> None:
        """End in good order."""
        self.watch.close()
        self.tell()
        self.store.close()

    def kill(self) -> None:
        """As far as others see: it renews nothing, and writes nothing any more."""
        self.watch._election._ended.set()
        self.watch._election._thread.join()
        self.watch._watch.close()
        if self.watch._timeline is not None:
            self.watch._timeline.close()
        self.store.close()

    def owners(self, kind: str) -> list[Owner]:
        """Who has which address, as it was written."""
        self.tell()
        with open_recording(self.path) as reading:
            return [owner for owner in reading.owners() if owner.kind == kind]

    def backends(self, service: str) -> list[BackendRow]:
        """What stands behind a Service, as it was written."""
        self.tell()
        return [row for row in written_backends(self.path, self.settings.namespace) if row.service == service]

    def losses(self) -> list[Loss]:
        """What was not heard, as it was written."""
        self.tell()
        with open_recording(self.path) as reading:
            return list(reading.losses())


def written_backends(path: Path, namespace: str) -> list[BackendRow]:
    """What stands behind the Services of a namespace in a recording that may be closed."""
    with open_recording(path) as reading:
        return [row for row in reading.backends() if row.namespace == namespace]


def written_leads(path: Path) -> tuple[Lead, ...]:
    """When an agent led."""
    with open_recording(path) as reading:
        return read_leads(reading.meta.get(LEADS, ""))


def settings_of(admin: Client) -> AgentSettings:
    """A run in a namespace of its own."""
    name = f"audit-{secrets.token_hex(3)}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return AgentSettings(tool_version="0", run=name, namespace=name, cluster="cluster", began=1, seconds=3600)


def run_pod(admin: Client, namespace: str, name: str, node: str, *addresses: str, **more: object) -> None:
    """Create a pod on a node and say that it runs, as a kubelet would."""
    labels = more.pop("labels", {})
    spec: Object = {"containers": [{"name": "main", "image": "x"}], "nodeName": node, **more}
    metadata = {"namespace": namespace, "name": name, "labels": labels}
    admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    set_status(admin, namespace, name, "Running", *addresses)


def run_agent_pod(admin: Client, settings: AgentSettings, node: str) -> str:
    """The pod of the agent on a node. Returns its name."""
    name, labels = f"agent-{node}", {RUN_LABEL: settings.run}
    run_pod(admin, settings.namespace, name, node, "192.0.2.1", labels=labels, hostNetwork=True)
    return name


def set_status(admin: Client, namespace: str, name: str, phase: str, *addresses: str, ready: str = "True") -> None:
    """What a kubelet says of a pod."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    pod = admin.must("GET", path)
    ips = [{"ip": address} for address in addresses]
    conditions = [{"type": "Ready", "status": ready}]
    pod["status"] = {"phase": phase, "podIP": addresses[0], "podIPs": ips, "conditions": conditions}
    admin.must("PUT", f"{path}/status", pod)


def delete_pod(admin: Client, namespace: str, name: str) -> None:
    """A pod goes at once."""
    admin.must("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})


def make_service(admin: Client, namespace: str, name: str, kind: str = "ClusterIP") -> str:
    """A Service with TCP port 80, whose backends a test says. Returns its address."""
    spec = {"type": kind, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    metadata = {"namespace": namespace, "name": name}
    made = admin.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    found = made["spec"]
    assert isinstance(found, dict)
    return str(found["clusterIP"])


def set_backends(admin: Client, namespace: str, service: str, *addresses: str) -> None:
    """What stands behind a Service, as one EndpointSlice."""
    path = f"/apis/{_DISCOVERY}/namespaces/{namespace}/endpointslices/{service}-1"
    labels = {"kubernetes.io/service-name": service}
    metadata: Object = {"namespace": namespace, "name": f"{service}-1", "labels": labels}
    made: Object = {
        "apiVersion": _DISCOVERY,
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }
    if admin.call("GET", path)[0] == 404:
        admin.create(made)
    else:
        admin.must("PUT", path, made)


def targets(rows: list[BackendRow], *, open_only: bool = True) -> list[str]:
    """The addresses behind the Service's own address."""
    own = [row for row in rows if row.address != ip_address("0.0.0.0")]
    return [str(row.target) for row in own if not open_only or row.until is None]


def told_until(agents: list[Agent], enough: Callable[[], bool]) -> None:
    """All agents write what they hear, until it is enough."""

    def look() -> bool:
        for agent in agents:
            agent.tell()
        return enough()

    wait_until(look)


def leader_of(agents: list[Agent]) -> Agent:
    """The agent that leads, once there is one."""
    leaders: list[Agent] = []

    def is_led() -> bool:
        leaders[:] = [agent for agent in agents if agent.watch.leads]
        return len(leaders) == 1

    told_until(agents, is_led)
    (leader,) = leaders
    return leader
