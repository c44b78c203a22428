"""Links, bridges, CNI files, marks and strangers' rules of a real namespace, and what is said of them."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.model.raw import Json
from tests.kernel.lab import inside, run
from tests.kernel.node_scene import NodeScene, cluster_view, node_scene, seen
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

MASQUERADING = """*nat
:KUBE-SERVICES -
:IP-MASQ-AGENT -
-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
-A IP-MASQ-AGENT -d 10.0.0.0/8 -j RETURN
-A IP-MASQ-AGENT -j MASQUERADE
COMMIT
"""
FIREWALLED = """*filter
:DOCKER-USER -
:f2b-sshd -
:ADMIN -
-A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd
-A FORWARD -j DOCKER-USER
-A FORWARD -s 203.0.113.0/24 -m comment --comment "blocked by ops" -j DROP
-A FORWARD -d 168.63.129.16/32 -p tcp -m tcp --dport 80 -j DROP
-A FORWARD -i cbr0 -j ACCEPT
-A OUTPUT -j ADMIN
-A ADMIN -m mark --mark 0x400/0x400 -j DROP
COMMIT
*mangle
-A PREROUTING -i eth0 -j MARK --set-xmark 0x200/0xffffffff
-A FORWARD -m comment --comment "cali:abc" -j MARK --set-xmark 0x10000/0x10000
-A OUTPUT -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
COMMIT
"""


@pytest.fixture
def node() -> Iterator[NodeScene]:
    require(shutil.which("nft") is not None, "nft (Debian: nftables)")
    require(shutil.which("iptables-nft-restore") is not None, "iptables")
    with node_scene() as made:
        yield made


def node_object(name: str, block: str, address: str) -> dict[str, Json]:
    """A Node object."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": block, "podCIDRs": [block]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def pod_object(name: str, node: str, address: str, **labels: str) -> dict[str, Json]:
    """A pod that runs on a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": dict(labels)},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def policy_object(name: str, **labels: str) -> dict[str, Json]:
    """A NetworkPolicy that isolates the pods with these labels."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"podSelector": {"matchLabels": dict(labels)}, "policyTypes": ["Ingress"]},
    }


def conflist(name: str, *plugins: dict[str, Json]) -> str:
    """A CNI file as the dump has it."""
    body = {"cniVersion": "0.3.1", "name": name, "plugins": list(plugins)}
    return f"==> /etc/cni/net.d/{name}.conflist <==\n{json.dumps(body)}\n\n"


def bridge(subnet: str) -> dict[str, Json]:
    """The bridge plugin with addresses of a block."""
    return {"type": "bridge", "bridge": "cbr0", "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]}}


NODES = (node_object("n1", "10.244.1.0/24", "10.240.0.4"), node_object("n2", "10.244.2.0/24", "10.240.0.5"))


def kubenet(node: NodeScene, block: str = "10.244.1.1/24", address: str = "10.240.0.4") -> None:
    node.ip(
        "link add uplink type veth peer name other",
        f"address add {address}/24 dev uplink",
        "link add cbr0 type bridge",
        f"address add {block} dev cbr0",
        "link set cbr0 up",
        "link set uplink up",
    )


def test_a_node_of_kubenet_in_order(node: NodeScene, tmp_path: Path) -> None:
    kubenet(node)
    served = "-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.0.0.1/32 -j KUBE-MARK-MASQ\nCOMMIT"
    rules = MASQUERADING.replace("10.0.0.0/8", "10.244.0.0/16").replace("COMMIT", f":KUBE-MARK-MASQ -\n{served}")
    node.do("iptables-nft-restore", text=rules)
    files = conflist("10-kubenet", bridge("10.244.1.0/24"), {"type": "portmap"})
    place = node.dumped(tmp_path, CNI=files, SYSCTL="net.bridge.bridge-nf-call-iptables = 1\n")
    said = seen(place, cluster_view(tmp_path / "cluster", *NODES, pod_object("web", "n1", "10.244.1.7")))
    assert said.ids() == []
    assert said.states("cni-file") == {"10-kubenet.conflist": "active"}
    assert said.values("pod-network") == ["10.244.1.0/24"]
    assert said.values("pod-bridge") == ["cbr0"]
    assert [(fact.value, fact.detail) for fact in said.facts if fact.topic == "source-address-ipv4"] == [
        ("the node's address", "all addresses but 10.240.0.4/32, 10.244.0.0/16"),
        ("own address", "10.240.0.4/32, 10.244.0.0/16"),
    ]


def test_who_sees_pods_by_their_own_address(node: NodeScene, tmp_path: Path) -> None:
    kubenet(node)
    node.do("iptables-nft-restore", text=MASQUERADING)
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", *NODES))
    (found,) = said.details("NODE-SOURCE-ADDRESS")
    assert "pods appear with their own addresses towards 10.0.0.0/8" in found


def test_pods_with_addresses_of_another_block(node: NodeScene, tmp_path: Path) -> None:
    kubenet(node, block="10.244.9.1/24")
    place = node.dumped(tmp_path, CNI=conflist("10-kubenet", bridge("10.244.9.0/24")))
    said = seen(place, cluster_view(tmp_path / "cluster", *NODES))
    configured, on_bridge = sorted(said.details("NODE-POD-CIDR"))
    assert "10.244.9.0/24 in its CNI configuration, but its Node object says 10.244.1.0/24" in on_bridge + configured
    assert "10.244.9.1/24 on cbr0" in on_bridge + configured


@pytest.mark.parametrize(("setting", "told"), [("0", True), ("1", False)])
def test_a_bridge_past_iptables(node: NodeScene, tmp_path: Path, setting: str, told: bool) -> None:
    kubenet(node)
    said = seen(node.dumped(tmp_path, SYSCTL=f"net.bridge.bridge-nf-call-iptables = {setting}\n"))
    assert ("NODE-BRIDGE-UNFILTERED" in said.ids()) is told


@pytest.mark.parametrize("filtered", [False, True])
def test_what_is_told_of_a_bridge_is_what_its_packets_meet(node: NodeScene, tmp_path: Path, filtered: bool) -> None:
    require(Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(), "br_netfilter in this kernel")
    kubenet(node)
    pods = [f"{node.namespace}-{number}" for number in (1, 2)]
    try:
        for number, pod in enumerate(pods, start=1):
            run("ip", "netns", "add", pod)
            node.ip(
                f"link add veth{number} type veth peer name eth0 netns {pod}",
                f"link set veth{number} master cbr0",
                f"link set veth{number} up",
            )
            run("ip", "-n", pod, "address", "add", f"10.244.1.1{number}/24", "dev", "eth0")
            run("ip", "-n", pod, "link", "set", "eth0", "up")
        node.do("iptables-nft-restore", text="*filter\n:FORWARD DROP\nCOMMIT\n")
        node.do("sh", "-c", f"echo {int(filtered)} > /proc/sys/net/bridge/bridge-nf-call-iptables")
        said = seen(node.dumped(tmp_path))
        assert ("NODE-BRIDGE-UNFILTERED" in said.ids()) is not filtered
        assert _arrives(*pods) is not filtered
    finally:
        for pod in pods:
            run("ip", "netns", "delete", pod)


def _arrives(sender: str, receiver: str) -> bool:
    """Whether one of several datagrams to 10.244.1.12 gets there."""
    with inside(receiver):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(sender):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("10.244.1.12", 5353))
        server.settimeout(0.5)
        for _ in range(3):
            client.sendto(b"hello", ("10.244.1.12", 5353))
            try:
                server.recvfrom(16)
            except TimeoutError:
                continue
            return True
    return False


def test_the_first_cni_file_wins(node: NodeScene, tmp_path: Path) -> None:
    flannel = conflist("10-flannel", {"type": "flannel", "delegate": {"isDefaultGateway": True}}, {"type": "bandwidth"})
    first = conflist("00-multus", {"type": "multus"})
    said = seen(node.dumped(tmp_path, CNI=flannel + first))
    assert said.states("cni-file") == {"00-multus.conflist": "active", "10-flannel.conflist": "present"}
    assert "00-multus.conflist comes before 05-cilium.conflist" in said.details("NODE-CNI-FIRST")[0]
    assert ["multus" in each for each in said.details("NODE-CNI-CHAINED")] == [True]
    alone = seen(node.dumped(tmp_path, CNI=flannel))
    assert "limits a pod's rate" in alone.details("NODE-CNI-CHAINED")[0]
    assert alone.details("NODE-CNI-FIRST") == []


def test_routes_to_pods_of_other_nodes(node: NodeScene, tmp_path: Path) -> None:
    kubenet(node)
    node.ip("route add 10.244.2.0/24 via 10.240.0.5", "route add 10.9.0.0/16 via 10.240.0.9")
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", *NODES))
    routes = [(fact.value, fact.detail) for fact in said.facts if fact.topic == "pod-route"]
    assert routes == [("cbr0", "10.244.1.0/24"), ("uplink", "10.244.2.0/24")]


def test_tunnels_and_the_ports_that_cilium_needs(node: NodeScene, tmp_path: Path) -> None:
    node.ip(
        "link set lo up",
        "link add flannel.1 type vxlan id 1 dstport 8472 local 127.0.0.1 dev lo",
        "link add vxlan.calico type vxlan id 4096 dstport 4789 local 127.0.0.1 dev lo",
        "link set flannel.1 up",
    )
    said = seen(node.dumped(tmp_path))
    (found,) = said.details("NODE-TUNNEL-PORT")
    assert "flannel.1 (vxlan) uses UDP port 8472" in found
    assert said.values("tunnel") == ["flannel.1", "vxlan.calico"]


def test_a_process_on_a_port_of_ciliums(node: NodeScene, tmp_path: Path) -> None:
    text = "  sl  local_address rem_address\n 77: 00000000:CA9F 00000000:0000 07 0:0 00:0 0 0 0 1 2 0 0\n"
    assert "51871" in seen(node.dumped(tmp_path, SOCKETS=text)).details("NODE-TUNNEL-PORT")[0]


def test_rules_of_strangers_and_their_marks(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=FIREWALLED)
    said = seen(node.dumped(tmp_path))
    others = said.details("NODE-OTHER-RULES")
    assert len(others) == 5
    for words in (
        "rules of Docker",
        "rules of fail2ban",
        "chain ADMIN",
        'comments "blocked by ops"',
        "somebody unknown",
    ):
        assert any(words in each for each in others), words
    assert len(said.details("WRK-IPTABLES-USERS")) == 1
    marks = said.details("NODE-MARK-OVERLAP")
    assert len(marks) == 2
    assert any("chain ADMIN asks for 0x400 in 1 rule" in each for each in marks)
    assert any("somebody who writes to PREROUTING sets 0xf00 in 1 rule" in each for each in marks)


AKS = """*filter
:KUBE-FIREWALL -
-A INPUT -j KUBE-FIREWALL
-A FORWARD ! -s 10.224.0.4/32 -d 169.254.169.254/32 -p tcp -m comment --comment "AKS managed: IMDS" -j DROP
-A FORWARD -d 168.63.129.16/32 -p tcp -m tcp --dport 32526 -j DROP
COMMIT
*mangle
-A FORWARD -d 168.63.129.16/32 -p tcp -m tcp --dport 80 -j DROP
COMMIT
*nat
:SWIFT-POSTROUTING -
:IP-MASQ-AGENT -
-A POSTROUTING -j SWIFT-POSTROUTING
-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
COMMIT
*raw
-A PREROUTING -d 169.254.10.10/32 -p udp -m comment --comment "localdns: skip conntrack" -m udp --dport 53 -j NOTRACK
COMMIT
*security
-A OUTPUT -d 168.63.129.16/32 -p tcp -m owner --uid-owner 0 -j ACCEPT
-A OUTPUT -d 168.63.129.16/32 -p tcp -m conntrack --ctstate INVALID,NEW -j DROP
COMMIT
"""


def test_thousands_of_strangers_are_few_findings(node: NodeScene, tmp_path: Path) -> None:
    chains = "\n".join(f":own{number} -" for number in range(300))
    rules = "\n".join(
        f'-A FORWARD -m comment --comment "r\\"{number}" -j own{number}\n-A own{number} -j MARK --set-xmark 0x100/0x100'
        for number in range(300)
    )
    node.do("iptables-nft-restore", text=f"*filter\n{chains}\n{rules}\nCOMMIT\n")
    said = seen(node.dumped(tmp_path))
    assert len(said.details("NODE-OTHER-RULES")) == 11
    assert len(said.details("NODE-MARK-OVERLAP")) == 11
    assert all(len(finding.detail) < 1000 and "\n" not in finding.detail for finding in said.findings)


def test_rules_that_every_node_of_aks_has(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=AKS)
    assert seen(node.dumped(tmp_path)).ids() == []


def test_who_translates_the_metadata_address_is_a_stranger(node: NodeScene, tmp_path: Path) -> None:
    rule = "-A PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.9:8181"
    node.do("iptables-nft-restore", text=f"*nat\n{rule}\nCOMMIT\n")
    assert "nat PREROUTING → DNAT" in seen(node.dumped(tmp_path)).details("NODE-OTHER-RULES")[0]


def test_tables_of_nftables_of_strangers(node: NodeScene, tmp_path: Path) -> None:
    node.do(
        "nft",
        "-f",
        "-",
        text="add table inet own\nadd chain inet own f { type filter hook forward priority 0 ; }\n"
        "add rule inet own f meta mark set meta mark and 0xfffff0ff\nadd table ip idle\n"
        "add table inet crowdsec\nadd chain inet crowdsec c { type filter hook input priority 0 ; }\n",
    )
    said = seen(node.dumped(tmp_path))
    assert sorted(said.values("nftables-table")) == ["inet crowdsec", "inet own"]
    assert len(said.details("NODE-OTHER-RULES")) == 2
    assert "nftables table own sets 0xf00" in said.details("NODE-MARK-OVERLAP")[0]


def test_policies_that_nobody_enforces(node: NodeScene, tmp_path: Path) -> None:
    kubenet(node)
    node.do("iptables-nft-restore", text=MASQUERADING)
    objects = (*NODES, pod_object("web", "n1", "10.244.1.7", app="web"), pod_object("db", "n2", "10.244.2.7", app="db"))
    policies = (policy_object("web", app="web"), policy_object("db", app="db"))
    view = cluster_view(tmp_path / "cluster", *objects, *policies)
    (found,) = seen(node.dumped(tmp_path), view).details("NODE-NO-ENGINE")
    assert "1 NetworkPolicies select pods on it: shop/web" in found
    node.do("iptables-nft-restore", "--noflush", text="*filter\n:AZURE-NPM -\nCOMMIT\n")
    said = seen(node.dumped(tmp_path), view)
    assert said.details("NODE-NO-ENGINE") == []
    assert said.values("engine-on-node") == ["npm-linux"]
