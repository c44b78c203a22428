"""The lab itself: its nodes are apart, its containers have what their spec grants, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.apiserver.admin import Object, wait_until
from tests.cluster_lab import owned
from tests.cluster_lab.cluster import ClusterLab
from tests.cluster_lab.objects import items, listed, part
from tests.cluster_lab.pods import SHORT
from tests.cluster_lab.runtime import Container
from tests.cluster_lab.wire import FAR_ADDRESS, OUTSIDE_ADDRESS_6
from tests.command_line import environment

pytestmark = [pytest.mark.kernel, pytest.mark.apiserver]

NODES = {"node-a": 0, "node-b": 170, "node-c": -130}
_ROOT = Path(__file__).parents[2]
_NOTHING_LISTENS = 9091
_ASK = """
import json, os, socket, time
from pathlib import Path
def may_write(path):
    try:
        Path(path).write_text(os.environ["NODE_NAME"])
    except OSError:
        return False
    return True
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "time": time.time(), "monotonic": time.monotonic(), "boot": Path("/proc/sys/kernel/random/boot_id").read_text(),
    "capabilities": int(status["CapBnd"], 16), "node": os.environ["NODE_NAME"], "host": socket.gethostname(),
    "interfaces": sorted(name for _, name in socket.if_nameindex()), "settings": Path("/etc/agent/a").read_text(),
    "first": Path("/proc/1/cmdline").read_text().split(chr(0))[1:2], "can": [p for p in CAN if may_write(p)],
}))
"""
_CAN = ["/tmp/x", "/etc/x", "/etc/agent/a", "/proc/sys/net/ipv4/ip_forward", "/var/lib/agent/x"]
_BPF, _NET_ADMIN = 39, 12


@pytest.fixture(scope="module")
def lab() -> Iterator[ClusterLab]:
    with ClusterLab() as made:
        for name, skew in NODES.items():
            made.add_node(name, skew=skew, bridged=name == "node-c")
        yield made


@pytest.fixture(scope="module")
def containers(lab: ClusterLab) -> dict[str, Container]:
    """What a DaemonSet has on each node."""
    metadata: Object = {"namespace": "agents", "name": "agent"}
    lab.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "agents"}})
    lab.admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    lab.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "settings"}})
    lab.admin.create(_daemon_set(metadata))
    wait_until(lambda: _ready(lab) == len(NODES))
    return {name: container for name in NODES for container in lab.kubelets.containers(name)}


def _daemon_set(metadata: Object) -> Object:
    container = {
        "name": "agent",
        "image": "registry.example/agent:1",
        "command": ["sleep", "3600"],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN"]},
        },
        "volumeMounts": [
            {"name": "settings", "mountPath": "/etc/agent", "readOnly": True},
            {"name": "store", "mountPath": "/var/lib/agent"},
        ],
    }
    volumes = [
        {"name": "settings", "configMap": {"name": "agent"}},
        {"name": "store", "hostPath": {"path": "/var/lib/agent", "type": "DirectoryOrCreate"}},
    ]
    spec = {
        "hostNetwork": True,
        "serviceAccountName": "agent",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": volumes,
    }
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template},
    }


def _ready(lab: ClusterLab) -> object:
    found = lab.admin.must("GET", "/apis/apps/v1/namespaces/agents/daemonsets/agent")
    return part(found, "status").get("numberReady")


def _asked(container: Container) -> dict[str, object]:
    command = container.inside(["python3", "-c", _ASK.replace("CAN", repr(_CAN))])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_pods_reach_each_other_services_and_the_outside_as_the_rules_say(lab: ClusterLab) -> None:
    web = lab.add_pod("web", "node-a")
    behind = [lab.add_pod(f"db-{node}", node, "TCP/8080", "UDP/53", app="db") for node in ("node-b", "node-c")]
    lab.add_service("db", ["10.96.0.20", "fd00:aaaa::20"], "TCP/80", 8080, behind)
    lab.forbid(behind[0], "TCP/9090")
    first = behind[0].network

    assert web.ask(first.address, "TCP/8080", 3) == {"answered": 3}
    assert web.ask(behind[1].network.address_6, "UDP/53", 3) == {"answered": 3}
    assert [web.ask(host, "TCP/80", 4) for host in ("10.96.0.20", "fd00:aaaa::20")] == [{"answered": 4}] * 2
    assert web.ask(FAR_ADDRESS, "TCP/443", 2) == web.ask(OUTSIDE_ADDRESS_6, "TCP/443", 2) == {"answered": 2}
    assert web.ask(first.address, "TCP/9090", patience=SHORT) == {"silent": 1}
    assert web.ask(first.address, f"TCP/{_NOTHING_LISTENS}") == {"refused": 1}
    # Each Service's connections are shared evenly, and what goes outside has the node's address.
    own, own_6, node = web.network.address, web.network.address_6, lab.nodes["node-a"].network
    assert behind[0].served() == {f"{own} TCP/8080": 3 + 2, f"{own_6} TCP/8080": 2}
    assert behind[1].served() == {f"{own} TCP/8080": 2, f"{own_6} TCP/8080": 2, f"{own_6} UDP/53": 3}
    assert lab.outside.served() == {f"{node.address} TCP/443": 2, f"{node.address_6} TCP/443": 2}


def test_a_container_has_its_nodes_network_clock_and_boot_id(lab: ClusterLab, containers: dict[str, Container]) -> None:
    for name, container in containers.items():
        node, before, asked = lab.nodes[name], time.time(), _asked(container)
        assert before + node.skew <= cast("float", asked["time"]) <= time.time() + node.skew
        assert cast("float", asked["monotonic"]) <= time.monotonic()
        assert (asked["boot"], asked["node"], asked["host"]) == (f"{node.boot_id}\n", name, name)
        assert "uplink" in cast("list[str]", asked["interfaces"])
        assert ("cbr0" in cast("list[str]", asked["interfaces"])) == (name == "node-c")
    assert len({node.boot_id for node in lab.nodes.values()}) == len(NODES)


def test_a_container_has_what_its_spec_grants_and_no_more(lab: ClusterLab, containers: dict[str, Container]) -> None:
    for name, container in containers.items():
        asked = _asked(container)
        assert asked["capabilities"] == 1 << _BPF | 1 << _NET_ADMIN
        assert asked["can"] == ["/var/lib/agent/x"]
        assert asked["settings"] == "settings"
        assert (lab.nodes[name].root / "var/lib/agent/x").read_text() == name


def test_a_container_that_ended_is_started_again_and_a_deleted_namespace_is_gone(
    lab: ClusterLab, containers: dict[str, Container]
) -> None:
    containers["node-a"].kill()
    wait_until(lambda: _restarts(lab) == [0, 0, 1])
    wait_until(lambda: _ready(lab) == len(NODES))

    lab.admin.must("DELETE", "/api/v1/namespaces/agents")
    wait_until(lambda: lab.admin.call("GET", "/api/v1/namespaces/agents")[0] == 404)
    assert [container for name in NODES for container in lab.kubelets.containers(name)] == []


def _restarts(lab: ClusterLab) -> list[int]:
    pods = items(lab.admin, "/api/v1/namespaces/agents/pods") or []
    states = [state for pod in pods for state in listed(part(pod, "status"), "containerStatuses")]
    return sorted(cast("int", state["restartCount"]) for state in states)


_LEAVES = """
import time
from tests.cluster_lab import owned
from tests.cluster_lab.node import LabNode
from tests.cluster_lab.wire import NodeNetwork, Wire
token = owned.new_token()
folder = owned.new_folder(token)
network = NodeNetwork(token, 1)
Wire(token).plug(network)
node = LabNode("n", network, folder / "n", 0, folder, 6443)
node.add_pod("p", {}, "TCP/80").wait()
print(token, folder, flush=True)
time.sleep(3600)
"""


def test_what_a_killed_lab_left_is_swept_and_a_living_one_is_left_alone() -> None:
    command = [sys.executable, "-c", _LEAVES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=_ROOT) as process:
        assert process.stdout is not None
        token, folder = process.stdout.readline().split()
        owned.sweep()
        assert _named(token) == [f"{token}-n1", f"{token}-n1-p", f"{token}-wire"]
        os.kill(process.pid, signal.SIGKILL)
    owned.sweep()

    assert _named(token) == []
    assert not Path(folder).exists()
    assert folder not in Path("/proc/self/mountinfo").read_text()


def _named(token: str) -> list[str]:
    return sorted(path.name for path in Path("/run/netns").iterdir() if path.name.startswith(token))
