"""A cluster of nodes on this machine, with a real API server: everything that an audit of a whole cluster meets.

Each node has a network namespace, files, a bpf filesystem, a boot id and a clock of its own; pods are processes in
network namespaces. The API server authorises by RBAC as it does everywhere. Kubelets, DaemonSets and what else a
controller manager does are tests/cluster_lab/kubelet.py and controllers.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from migrate.audit.loader import objects
from tests import api_server
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object
from tests.cluster_lab import owned, proxy
from tests.cluster_lab.kubelet import Kubelets, kubelets
from tests.cluster_lab.node import LabNode
from tests.cluster_lab.pods import LabPod
from tests.cluster_lab.proxy import Forbidden, Proxied
from tests.cluster_lab.runtime import Place
from tests.cluster_lab.wire import NodeNetwork, PodNetwork, Wire
from tests.conftest import required_engine
from tests.free_ports import free_port
from tests.prerequisites import require

NAMESPACE = "shop"
CLUSTER_ADDRESSES, CLUSTER_ADDRESSES_6 = "10.96.0.0/16", "fd00:aaaa::/112"
_SKEW_SOURCE = Path(__file__).with_name("skew.c")
_KUBELET_ADDRESS = "Hostname"
"""Kubelets listen on this machine's loopback; the nodes' own addresses are in namespaces."""
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


class ClusterLab:
    """Use it as a context. Nodes are added by `add_node`, pods by `add_pod`; rules follow by `load_rules`."""

    def __init__(self) -> None:
        self.nodes: dict[str, LabNode] = {}
        self._stack = ExitStack()
        self._token = owned.new_token()
        self._services: list[Proxied] = []
        self._forbidden: dict[str, list[Forbidden]] = {}
        self._numbers = 0

    def __enter__(self) -> ClusterLab:
        require(os.geteuid() == 0, "root")
        for program in ("ip", "tc", "ip6tables-restore", "setpriv", "nsenter"):
            require(shutil.which(program) is not None, program)
        owned.sweep()
        objects()  # The probe is compiled here, as in the image; containers cannot write to it.
        with ExitStack() as stack:
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self, stack: ExitStack) -> None:
        self.folder = owned.new_folder(self._token)
        stack.callback(owned.remove_folder, self.folder)
        stack.callback(owned.remove_namespaces, self._token)
        self._library = _skew_library(self.folder)
        self._state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migrate-")))
        self._port = free_port()
        self.server = self._start_server()
        stack.callback(lambda: self.server.stop())
        self.admin = Client(self.server.admin)
        self.kubelets: Kubelets = stack.enter_context(kubelets(self.server, self.folder, self._place))
        self.kubelets.api = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self._port)}
        self.wire = Wire(self._token)
        self.outside = self._outside(stack)
        stack.callback(self._close_nodes)
        self.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    def _start_server(self) -> ApiServer:
        flags = (
            *("--port", str(self._port), "--"),
            f"--kubelet-preferred-address-types={_KUBELET_ADDRESS}",
            f"--service-cluster-ip-range={CLUSTER_ADDRESSES},{CLUSTER_ADDRESSES_6}",
        )
        (self._state / "ready").unlink(missing_ok=True)
        server = api_server.start(required_engine("apiserver"), self._state, flags)
        assert urlsplit(server.url).port == self._port
        return server

    def restart_server(self) -> None:
        """End the API server and start it again, with what it stored."""
        self.server.stop()
        self.server = self._start_server()

    def _outside(self, stack: ExitStack) -> LabPod:
        made = LabPod("outside", {}, PodNetwork(self.wire.namespace, "", "", ""), ("TCP/443", "UDP/53"))
        stack.callback(made.close)
        made.wait()
        return made

    def _place(self, name: str) -> Place | None:
        node = self.nodes.get(name)
        return None if node is None else node.place()

    def _close_nodes(self) -> None:
        for node in self.nodes.values():
            node.close()

    def add_node(self, name: str, *, skew: int = 0, bridged: bool = False, **more: object) -> LabNode:
        """A node that joins: its clock is `skew` seconds ahead, `more` goes into its spec."""
        self._numbers += 1
        network = NodeNetwork(self._token, self._numbers, bridged=bridged)
        self._plug(network)
        self.nodes[name] = LabNode(name, network, self.folder / name, skew, self._library, self._port)
        self._register(self.nodes[name], more)
        self.load_rules()
        return self.nodes[name]

    def _plug(self, network: NodeNetwork) -> None:
        self.wire.plug(network)
        for other in self.nodes.values():
            if other.network is not network:
                other.network.meet(network)
                network.meet(other.network)

    def _register(self, node: LabNode, more: dict[str, object]) -> None:
        network = node.network
        labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": node.name}
        addresses = [
            ("InternalIP", network.address),
            ("InternalIP", network.address_6),
            (_KUBELET_ADDRESS, "localhost"),
        ]
        self.admin.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node.name, "labels": labels},
                "spec": {"podCIDR": network.pods, "podCIDRs": [network.pods, network.pods_6], **more},
                "status": {
                    "addresses": [{"type": kind, "address": address} for kind, address in addresses],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelets.port}},
                    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                    "nodeInfo": {**dict.fromkeys(_INFO, "x"), "bootID": node.boot_id, "operatingSystem": "linux"},
                },
            }
        )

    def remove_node(self, name: str) -> LabNode:
        """A node that leaves, with its pods; what is on its disk is still to be looked at."""
        node = self.nodes.pop(name)
        self.admin.must("DELETE", f"/api/v1/nodes/{name}")
        self.kubelets.crash(name)
        for pod in list(node.pods):
            self.remove_pod(pod, node)
        node.crash()
        for other in self.nodes.values():
            other.network.part(node.network)
        return node

    def reboot(self, name: str) -> None:
        """A node that crashes and comes back: a new boot id, no interface and no pin of before; its pods are gone."""
        node = self.nodes.pop(name)
        self.kubelets.crash(name)
        for pod in list(node.pods):
            self.remove_pod(pod, node)
        node.crash()
        node.boot_again()
        self._plug(node.network)
        self.nodes[name] = node
        self.load_rules()

    def add_pod(self, name: str, node: str, *ports: str, **labels: str) -> LabPod:
        """A running pod of the namespace, that serves these ports (TCP/8080); its label app is `name` by default."""
        labels = {"app": name, **labels}
        made = self.nodes[node].add_pod(name, labels, *ports)
        addresses = [made.network.address, made.network.address_6]
        spec = {"nodeName": node, "containers": [{"name": "main", "image": "registry.example/shop:1"}]}
        metadata = {"namespace": NAMESPACE, "name": name, "labels": labels}
        created = self.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        status = {
            "phase": "Running",
            "hostIP": self.nodes[node].network.address,
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")],
        }
        self.admin.must("PUT", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/status", created | {"status": status})
        made.wait()
        return made

    def remove_pod(self, name: str, node: LabNode) -> None:
        """A pod that ends."""
        node.remove_pod(name)
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
        self.admin.must("DELETE", path, {"gracePeriodSeconds": 0})

    def add_service(self, name: str, addresses: Sequence[str], port: str, target: int, pods: Sequence[LabPod]) -> None:
        """A Service before pods, with its EndpointSlices and every node's rules; an address for each IP family."""
        protocol, number = port.split("/")
        families = ["IPv6" if ":" in address else "IPv4" for address in addresses]
        entry = {"port": int(number), "targetPort": target, "protocol": protocol}
        self.admin.create(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"namespace": NAMESPACE, "name": name},
                "spec": {
                    "clusterIP": addresses[0],
                    "clusterIPs": list(addresses),
                    "ipFamilies": families,
                    "ipFamilyPolicy": "RequireDualStack" if len(addresses) > 1 else "SingleStack",
                    "selector": {"app": pods[0].labels["app"]},
                    "ports": [entry],
                },
            }
        )
        for address, family in zip(addresses, families, strict=True):
            networks = [pod.network for pod in pods]
            backends = [one.address if family == "IPv4" else one.address_6 for one in networks]
            self._slice(name, family, entry, pods, backends)
            self._services.append(Proxied(NAMESPACE, name, address, int(number), protocol.lower(), backends, target))
        self.load_rules()

    def _slice(self, name: str, family: str, entry: Object, pods: Sequence[LabPod], backends: list[str]) -> None:
        endpoints = [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": self.node_of(pod).name,
                "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name},
            }
            for pod, address in zip(pods, backends, strict=True)
        ]
        self.admin.create(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": NAMESPACE,
                    "name": f"{name}-{family.lower()}",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": family,
                "endpoints": endpoints,
                "ports": [{"name": "", "port": entry["targetPort"], "protocol": entry["protocol"]}],
            }
        )

    def node_of(self, pod: LabPod) -> LabNode:
        """Where a pod is."""
        return next(node for node in self.nodes.values() if node.pods.get(pod.name) is pod)

    def forbid(self, pod: LabPod, port: str) -> None:
        """Let the engine of today drop what goes to a port of a pod, on the pod's node."""
        protocol, number = port.split("/")
        addresses = (pod.network.address, pod.network.address_6)
        dropped = [Forbidden(address, protocol.lower(), int(number)) for address in addresses]
        self._forbidden.setdefault(self.node_of(pod).name, []).extend(dropped)
        self.load_rules()

    def load_rules(self) -> None:
        """Give every node its rules."""
        for name, node in self.nodes.items():
            proxy.load(node.network.namespace, self._services, self._forbidden.get(name, []))

    def left(self) -> dict[str, list[str]]:
        """What of an audit is on nodes, by node."""
        return {name: found for name, node in sorted(self.nodes.items()) if (found := node.left())}


def _skew_library(folder: Path) -> Path:
    """What makes a clock wrong, compiled with what is there."""
    made = folder / "skew.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(_SKEW_SOURCE), "-o", str(made)]
    found = (shutil.which(name) for name in ("cc", "gcc", "clang"))
    compiler = next(([path] for path in found if path), [sys.executable, "-m", "ziglang", "cc"])
    caches = {f"ZIG_{kind}_CACHE_DIR": str(folder / "zig") for kind in ("GLOBAL", "LOCAL")}
    done = subprocess.run([*compiler, *flags], capture_output=True, text=True, check=False, env=os.environ | caches)
    require(done.returncode == 0, f"a C compiler (Debian: gcc; PyPI: ziglang): {done.stderr}")
    return made
