"""Traces of programs in a real namespace, and which of them nobody keeps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.model.raw import Json
from migrate.nodes.cluster_view import ClusterView
from tests.kernel.node_scene import NodeScene, cluster_view, node_scene, seen
from tests.kernel.proxy_rules import iptables
from tests.kernel.test_node_network import NODES, conflist, pod_object
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

FLANNEL = """*nat
:FLANNEL-POSTRTG -
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
"""
KUBE_ROUTER = """*filter
:KUBE-ROUTER-FORWARD -
:KUBE-NWPLCY-ABCDEFGHIJKLMNOP -
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
COMMIT
"""


@pytest.fixture
def node() -> Iterator[NodeScene]:
    require(shutil.which("ipset") is not None, "ipset")
    require(shutil.which("iptables-legacy-restore") is not None, "iptables")
    with node_scene() as made:
        yield made


def daemon_set(name: str, namespace: str = "kube-system") -> dict[str, Json]:
    """A DaemonSet."""
    pods: Json = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": name, "image": f"{name}:v1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": pods},
        "status": {"desiredNumberScheduled": 2, "numberReady": 2},
    }


def agent(node: str) -> dict[str, Json]:
    """Cilium's agent on a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "kube-system", "name": f"cilium-{node}", "labels": {"k8s-app": "cilium"}},
        "spec": {"nodeName": node, "hostNetwork": True, "containers": [{"name": "cilium-agent"}]},
        "status": {"phase": "Running", "podIP": "10.240.0.4"},
    }


def k3s_node() -> dict[str, Json]:
    """A node of K3s."""
    info: Json = {"nodeInfo": {"kubeletVersion": "v1.31.2+k3s1"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n3"}, "status": info}


def view_of(folder: Path, *objects: dict[str, Json]) -> ClusterView:
    return cluster_view(folder / "cluster", *NODES, *objects)


def test_what_a_program_left_that_does_not_run(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=FLANNEL)
    node.do("iptables-nft-restore", text=KUBE_ROUTER)
    node.do("ipset", "create", "KUBE-DST-ABCDEFGH", "hash:ip")
    node.ip("link add cni0 type bridge", "link add kube-bridge type bridge")
    place = node.dumped(tmp_path, CNI=conflist("10-flannel", {"type": "flannel"}), PATHS="/run/flannel\n")
    said = seen(place, view_of(tmp_path, daemon_set("calico-node")))
    flannel, router = sorted(said.details("NODE-LEFTOVER"))
    assert "traces of Flannel" in flannel
    for trace in ("FLANNEL-POSTRTG", "cni0", "10-flannel.conflist"):
        assert trace in flannel
    assert "iptables-nft-save | grep -vE" in flannel
    assert "ip link delete cni0" in flannel
    assert "KUBE-NWPLCY-ABCDEFGHIJKLMNOP" in router
    assert "KUBE-DST-ABCDEFGH" in router
    assert "kube-router --cleanup-config" in router
    assert sorted(said.values("traces")) == ["flannel", "kube-router"]


def test_the_command_that_is_printed_takes_the_chains_away(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=FLANNEL)
    said = seen(node.dumped(tmp_path), view_of(tmp_path, daemon_set("calico-node")))
    (detail,) = said.details("NODE-LEFTOVER")
    command = next(part for part in detail.partition("To remove: ")[2].split("; ") if "grep" in part)
    node.do("sh", "-c", command)
    assert seen(node.dumped(tmp_path), view_of(tmp_path, daemon_set("calico-node"))).values("traces") == []


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param((daemon_set("kube-flannel-ds"),), id="it runs"),
        pytest.param((), id="no DaemonSet was read"),
        pytest.param((daemon_set("svclb"), k3s_node()), id="the kubelet runs it itself"),
    ],
)
def test_nothing_is_left_over_of_what_may_run(
    node: NodeScene, tmp_path: Path, objects: tuple[dict[str, Json], ...]
) -> None:
    node.do("iptables-nft-restore", text=FLANNEL)
    node.ip("link add cni0 type bridge")
    place = node.dumped(tmp_path)
    assert seen(place, view_of(tmp_path, *objects)).details("NODE-LEFTOVER") == []
    assert seen(place).details("NODE-LEFTOVER") == []


@pytest.mark.parametrize(("name", "told"), [("n1", True), ("n2", False)])
def test_the_old_engine_on_a_node_that_cilium_runs_on(node: NodeScene, tmp_path: Path, name: str, told: bool) -> None:
    node.do("iptables-nft-restore", text="*filter\n:AZURE-NPM -\n-A FORWARD -j AZURE-NPM\nCOMMIT\n")
    node.do("ipset", "create", "azure-npm-123", "hash:net")
    view = view_of(tmp_path, daemon_set("cilium"), agent(name))
    said = seen(node.dumped(tmp_path), view)
    assert ("NODE-LEFTOVER-AFTER" in said.ids()) is told
    assert said.details("NODE-LEFTOVER") == []
    for detail in said.details("NODE-LEFTOVER-AFTER"):
        assert "AZURE-NPM" in detail
        assert "azure-npm-123" in detail


def test_what_works_beside_cilium_is_not_in_its_way(node: NodeScene, tmp_path: Path) -> None:
    swift = "*nat\n:SWIFT-POSTROUTING -\n:IP-MASQ-AGENT -\n-A POSTROUTING -j SWIFT-POSTROUTING\nCOMMIT\n"
    chained = "*nat\n:AWS-SNAT-CHAIN-0 -\n-A POSTROUTING -j AWS-SNAT-CHAIN-0\nCOMMIT\n"
    node.do("iptables-nft-restore", text=swift)
    node.do("iptables-nft-restore", "--noflush", text=FLANNEL)
    node.do("iptables-nft-restore", "--noflush", text=chained)
    running = (daemon_set("cilium"), daemon_set("kube-flannel-ds"), daemon_set("aws-node"), agent("n1"))
    assert seen(node.dumped(tmp_path), view_of(tmp_path, *running)).ids() == ["NODE-SOURCE-ADDRESS"]
    gone = seen(node.dumped(tmp_path), view_of(tmp_path / "later", daemon_set("cilium"), agent("n1")))
    assert len(gone.details("NODE-LEFTOVER-AFTER")) == 2


def test_without_a_snapshot_ciliums_own_links_tell_that_it_runs(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-legacy-restore", text="*filter\n:cali-FORWARD -\n-A FORWARD -j cali-FORWARD\nCOMMIT\n")
    assert seen(node.dumped(tmp_path)).details("NODE-LEFTOVER-AFTER") == []
    node.ip("link add cilium_host type veth peer name cilium_net")
    assert "cali-FORWARD" in seen(node.dumped(tmp_path)).details("NODE-LEFTOVER-AFTER")[0]


def test_chains_in_the_backend_that_is_not_in_use(node: NodeScene, tmp_path: Path) -> None:
    hint = "*mangle\n:KUBE-IPTABLES-HINT -\nCOMMIT\n"
    node.do("iptables-nft-restore", text=FLANNEL + hint)
    node.do("iptables-legacy-restore", text=FLANNEL)
    (detail,) = seen(node.dumped(tmp_path)).details("NODE-LEFTOVER")
    assert "in the backend that is not in use (nft is)" in detail
    assert "iptables-legacy-save" in detail


def test_a_proxy_that_was_taken_away(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=iptables(None))
    pod = pod_object("web", "n2", "10.244.2.7")
    said = seen(node.dumped(tmp_path), view_of(tmp_path, daemon_set("cilium"), pod))
    (detail,) = said.details("NODE-LEFTOVER")
    assert "kube-proxy --cleanup" in detail


def test_programs_of_somebody_unknown_at_interfaces(node: NodeScene, tmp_path: Path) -> None:
    known = '{"devname":"eth0","ifindex":2,"kind":"tcx/ingress","name":"cil_from_netdev","prog_id":7}'
    own = '{"devname":"veth1","ifindex":3,"kind":"tcx/ingress","name":"from_pod","prog_id":8}'
    strange = '{"devname":"veth1","ifindex":3,"kind":"clsact/egress","name":"sniff","id":9}'
    text = f'[{{"xdp":[],"tc":[{known},{own},{strange}],"flow_dissector":[],"netfilter":[]}}]'
    said = seen(node.dumped(tmp_path, BPF=text))
    assert said.details("NODE-BPF-PROGRAMS") == [
        "node n1: 1 BPF programs of somebody unknown at interfaces: sniff (clsact/egress of veth1)"
    ]
