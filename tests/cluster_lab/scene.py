"""The cluster of the tests: three nodes with different clocks, a shop in their pods, and its policies."""

from __future__ import annotations

from pathlib import Path

from tests.apiserver.admin import Object
from tests.cluster_lab.cluster import NAMESPACE, ClusterLab
from tests.cluster_lab.pods import SHORT, LabPod
from tests.cluster_lab.wire import FAR_ADDRESS, OUTSIDE_ADDRESS
from tests.command_line import migrate

NODES = {"node-a": 0, "node-b": 170, "node-c": -130}
"""Seconds that their clocks are ahead."""
DB = "TCP/5432"
DROPPED = "TCP/9090"
"""What the engine of today drops at db-0."""
DNS = "UDP/53"
HTTPS = "TCP/443"
SERVICE, SERVICE_6 = "10.96.0.20", "fd00:aaaa::20"


class Scene:
    """The pods of a shop, which talk when they are told."""

    def __init__(self, lab: ClusterLab) -> None:
        self.lab = lab
        for name, skew in NODES.items():
            lab.add_node(name, skew=skew, bridged=name == "node-c")
        self.web = lab.add_pod("web-0", "node-a", app="web")
        self.db_0 = lab.add_pod("db-0", "node-b", DB, app="db")
        self.db_1 = lab.add_pod("db-1", "node-c", DB, app="db")
        self.guest = lab.add_pod("guest-0", "node-c", DNS, app="guest")
        lab.add_service("db", [SERVICE, SERVICE_6], DB, 5432, [self.db_0, self.db_1])
        lab.forbid(self.db_0, DROPPED)
        for policy in (_db(), _web()):
            lab.admin.create(policy)

    @property
    def pods(self) -> tuple[LabPod, ...]:
        """All of them."""
        return (self.web, self.db_0, self.db_1, self.guest)

    @property
    def watched(self) -> dict[str, int]:
        """How many pods an agent has to watch on each node."""
        return {name: len(node.pods) for name, node in self.lab.nodes.items()}

    def talk(self, times: int = 1) -> None:
        """Traffic of every kind: allowed, dropped by the engine of today, and such as the translation would drop."""
        allowed, answered = ((self.db_0.network.address, DB), (SERVICE, DB), (SERVICE_6, DB), (FAR_ADDRESS, HTTPS)), {}
        for host, port in allowed:
            answered[host] = self.web.ask(host, port, times)
        answered["guest"] = self.web_to_guest(times)
        answered["outside"] = self.web.ask(OUTSIDE_ADDRESS, DNS, times)
        answered["db"] = self.guest.ask(self.db_0.network.address, DB, times)
        assert set(map(str, answered.values())) == {str({"answered": times})}, answered
        assert self.web.ask(self.db_0.network.address, DROPPED, times, patience=SHORT) == {"silent": times}

    def web_to_guest(self, times: int) -> dict[str, int]:
        """From a pod that no policy is for, to another one, by IPv6."""
        return self.db_1.ask(self.guest.network.address_6, DNS, times)


def working_folder(lab: ClusterLab, folder: Path) -> None:
    """Scan the cluster and translate its policies."""
    folder.mkdir(exist_ok=True)
    for command in (
        ("scan", "--kubeconfig", str(lab.server.admin), "--quiet", "--output-dir", "."),
        ("translate", "--before-engine", "none", "--output-dir", "."),
    ):
        ended = migrate(folder, *command)
        assert ended.status == 0, ended.stderr


def _db() -> Object:
    """Only web may come, to one port."""
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    return _policy("db", {"policyTypes": ["Ingress"], "ingress": [rule]})


def _web() -> Object:
    """Only to the database, and to one network outside."""
    database = {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    far = {"to": [{"ipBlock": {"cidr": f"{FAR_ADDRESS}/32"}}], "ports": [{"protocol": "TCP", "port": 443}]}
    return _policy("web", {"policyTypes": ["Egress"], "egress": [database, far]})


def _policy(app: str, spec: Object) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": NAMESPACE, "name": app},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, **spec},
    }
