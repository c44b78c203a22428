"""As whom the rules of a node let pods appear: what is worked out from a dump, and what packets really show."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.model.addresses import AddressSet
from migrate.nodes.dump import read_dump
from migrate.nodes.host import host_of
from migrate.nodes.source_addresses import NODE, OWN, Appears, World, appearances, leaves_by
from tests.kernel.lab import inside, run
from tests.kernel.node_scene import NodeScene, node_scene
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

POD, NODE_ADDRESS, GATEWAY = "10.244.1.5", "172.30.0.2", "172.30.0.1"
OUTSIDE = ("10.1.0.1", "10.9.0.1", "10.244.7.7", "168.63.129.16", "192.0.2.9", "203.0.113.5", GATEWAY)
PORT = 5353
KUBE = """:KUBE-POSTROUTING -
:KUBE-MARK-MASQ -
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
"""
KUBENET = (
    '-A POSTROUTING ! -d 10.0.0.0/8 -m comment --comment "kubenet: SNAT for outbound traffic from cluster"'
    " -m addrtype ! --dst-type LOCAL -j MASQUERADE\n"
)
IP_MASQ = """:IP-MASQ-AGENT -
-A POSTROUTING -m comment --comment "ip-masq-agent" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
-A IP-MASQ-AGENT -d 169.254.0.0/16 -m comment --comment "local traffic is not subject to MASQUERADE" -j RETURN
-A IP-MASQ-AGENT -d 10.244.0.0/16 -j RETURN
-A IP-MASQ-AGENT -d 10.1.0.0/16 -j RETURN
-A IP-MASQ-AGENT -m comment --comment "outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
"""
FLANNEL = """:FLANNEL-POSTRTG -
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully
"""
CALICO = """:cali-POSTROUTING -
:cali-nat-outgoing -
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-POSTROUTING -m comment --comment "cali:nYKhEzDlr11Jccal" -j cali-nat-outgoing
-A cali-nat-outgoing -m set --match-set cali40masq-pools src -m set ! --match-set cali40all-pools dst -j MASQUERADE
"""
SWIFT = """:SWIFT -
-A POSTROUTING -j SWIFT
-A SWIFT -d 168.63.129.16/32 -p udp -m addrtype ! --dst-type LOCAL -m udp --dport 53 -j SNAT --to-source 172.30.0.2
-A SWIFT -d 192.0.2.0/24 -j SNAT --to-source 172.30.0.98
"""
BRIDGE_PLUGIN = f""":CNI-0123456789abcdef01234567 -
-A POSTROUTING -s {POD}/32 -m comment --comment "name: \\"net\\"" -j CNI-0123456789abcdef01234567
-A CNI-0123456789abcdef01234567 -d 10.244.1.0/24 -j ACCEPT
-A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -j MASQUERADE
"""
DEVICES = "-A POSTROUTING -s 10.244.1.0/24 ! -o cbr0 -m policy --dir out --pol none -j MASQUERADE\n"
GOTO = """:A -
:B -
-A POSTROUTING -d 10.0.0.0/8 -g A
-A POSTROUTING -j MASQUERADE
-A A -d 10.1.0.0/16 -j B
-A A -d 10.9.0.0/16 -j MASQUERADE
-A B -j RETURN
"""


@pytest.fixture
def node() -> Iterator[NodeScene]:
    """A node with a pod on cbr0, and the outside behind its uplink."""
    require(shutil.which("iptables-nft-restore") is not None, "iptables")
    require(shutil.which("ipset") is not None, "ipset")
    with node_scene() as made:
        pod, outside = f"{made.namespace}-p", f"{made.namespace}-o"
        try:
            run("ip", "netns", "add", pod)
            run("ip", "netns", "add", outside)
            _cabled(made, pod, outside)
            yield made
        finally:
            for namespace in (pod, outside):
                run("ip", "netns", "delete", namespace)


def _cabled(made: NodeScene, pod: str, outside: str) -> None:
    made.ip(
        f"link add uplink type veth peer name uplink netns {outside}",
        "link add cbr0 type bridge",
        f"link add veth1 type veth peer name eth0 netns {pod}",
        "link set veth1 master cbr0",
        f"address add {NODE_ADDRESS}/24 dev uplink",
        "address add 10.244.1.1/24 dev cbr0",
        *(f"link set {name} up" for name in ("lo", "uplink", "cbr0", "veth1")),
        f"route add default via {GATEWAY}",
    )
    made.do("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    for namespace, lines in {
        pod: (f"address add {POD}/24 dev eth0", "link set eth0 up", "route add default via 10.244.1.1"),
        outside: (
            "link set lo up",
            "link set uplink up",
            f"address add {GATEWAY}/24 dev uplink",
            *(f"address add {address}/32 dev lo" for address in OUTSIDE if address != GATEWAY),
            f"route add 10.244.1.0/24 via {NODE_ADDRESS}",
        ),
    }.items():
        for line in lines:
            run("ip", "-n", namespace, *line.split())


def _shown(node: NodeScene, destination: str) -> str:
    """The source address of a pod's datagram that arrives at an address outside."""
    with inside(f"{node.namespace}-o"):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(f"{node.namespace}-p"):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(5)
        server.bind((destination, PORT))
        client.sendto(b"who am I", (destination, PORT))
        return str(server.recvfrom(64)[1][0])


def _worked_out(node: NodeScene, folder: Path) -> tuple[Appears, ...]:
    host = host_of(read_dump(node.dumped(folder)))
    ((ruleset, table),) = ((ruleset, table) for ruleset, table in host.dump.tables("nat"))
    sets = host.dump.sets.by_name() if host.dump.sets is not None else {}
    routes = ((route.destination, route.device) for route in host.routes or () if route.table == "main")
    return appearances(ruleset, table, World(ip_address(POD), host.own_addresses, leaves_by(routes), sets))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param("-A POSTROUTING -j RETURN\n", id="nobody translates"),
        pytest.param(KUBE, id="kube-proxy alone"),
        pytest.param(KUBE + KUBENET, id="kubenet"),
        pytest.param(KUBE + IP_MASQ, id="ip-masq-agent"),
        pytest.param(KUBE + FLANNEL, id="Flannel"),
        pytest.param(CALICO + KUBE, id="Calico"),
        pytest.param(KUBE + SWIFT, id="Azure CNI with addresses of its own"),
        pytest.param(KUBE + SWIFT + IP_MASQ, id="Azure CNI and ip-masq-agent"),
        pytest.param(BRIDGE_PLUGIN, id="the bridge plugin"),
        pytest.param(DEVICES, id="by the interface that packets leave by"),
        pytest.param(GOTO, id="by chains that do not come back"),
    ],
)
def test_packets_show_the_address_that_is_worked_out(node: NodeScene, tmp_path: Path, rules: str) -> None:
    node.do(
        "ipset",
        "restore",
        text="create cali40masq-pools hash:net\nadd cali40masq-pools 10.244.0.0/16\n"
        "create cali40all-pools hash:net\nadd cali40all-pools 10.244.0.0/16\n"
        "add cali40all-pools 10.1.0.0/16\nadd cali40all-pools 10.1.0.0/30 nomatch\n",
    )
    node.do("iptables-nft-restore", text=f"*nat\n{rules}COMMIT\n")
    worked_out = _worked_out(node, tmp_path)
    expected = {OWN: POD, NODE: NODE_ADDRESS}
    for destination in OUTSIDE:
        first = next(each for each in worked_out if ip_address(destination) in each.destinations and each.always)
        assert _shown(node, destination) == expected.get(first.source, first.source), destination


NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "10.9.0.1/32", "10.244.0.0/16", "192.0.2.0/24", "128.0.0.0/1", f"{GATEWAY}/32")
CONDITIONS = (
    *(f"{sign}-d {network}" for network in NETWORKS for sign in ("", "! ")),
    f"-s {POD}/32",
    "-s 10.244.1.0/24",
    "! -s 10.244.1.0/24",
    "-o uplink",
    "! -o cbr0",
    "-m addrtype ! --dst-type LOCAL",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype --src-type LOCAL",
    "-m conntrack --ctstate NEW,RELATED",
    "-m conntrack --ctstate ESTABLISHED",
    "-m mark --mark 0x4000/0x4000",
    "-m mark ! --mark 0x4000/0x4000",
    "-m set --match-set some dst",
    "-m set ! --match-set some dst",
    "-m set --match-set some src",
    "-m set --match-set both dst",
)
SETS = """create some hash:net
add some 10.0.0.0/8
add some 10.9.0.0/16 nomatch
add some 10.9.0.1/32
add some 203.0.113.0/24
create more hash:ip
add more 192.0.2.9
create both list:set
add both some
add both more
"""
TARGETS = ("RETURN", "ACCEPT", "MASQUERADE", "SNAT --to-source 172.30.0.98", "")


def _random_rules(chance: random.Random) -> str:
    """A nat table whose chains lead only to later ones."""
    chains = ["POSTROUTING", "A", "B", "C"]
    lines = [f":{name} -" for name in chains[1:]]
    for position, chain in enumerate(chains):
        for _ in range(chance.randint(1, 4)):
            conditions = " ".join(chance.sample(CONDITIONS, chance.randint(0, 2)))
            later = [f"-{how} {name}" for name in chains[position + 1 :] for how in "jjg"]
            ends = [f"-j {target}" if target else "" for target in TARGETS]
            lines.append(f"-A {chain} {conditions} {chance.choice([*ends, *later])}")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(6))
def test_packets_and_random_rules_agree(node: NodeScene, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    node.do("ipset", "restore", text=SETS)
    answers: set[str] = set()
    for _ in range(8):
        rules = _random_rules(chance)
        try:
            node.do("iptables-nft-restore", text=f"*nat\n{rules}\nCOMMIT\n")
        except subprocess.CalledProcessError:
            continue  # two conditions that iptables does not take together, such as two -d
        worked_out = _worked_out(node, tmp_path)
        assert all(each.always for each in worked_out), rules
        for destination in OUTSIDE:
            (answer,) = (each for each in worked_out if ip_address(destination) in each.destinations)
            shown = {OWN: POD, NODE: NODE_ADDRESS}.get(answer.source, answer.source)
            assert _shown(node, destination) == shown, f"{destination} with\n{rules}"
            answers.add(shown)
    assert len(answers) > 1


def test_every_destination_has_one_answer(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=f"*nat\n{KUBE + SWIFT + IP_MASQ}COMMIT\n")
    left = AddressSet(AddressSet.everything().v4)
    for each in _worked_out(node, tmp_path):
        if each.always:
            assert each.destinations <= left
            left -= each.destinations
    assert not left


def test_what_holds_for_some_packets_only_is_told_as_that(node: NodeScene, tmp_path: Path) -> None:
    node.do("iptables-nft-restore", text=f"*nat\n{SWIFT}COMMIT\n")
    some = [each for each in _worked_out(node, tmp_path) if not each.always]
    assert [(each.source, [str(network) for network in each.destinations.networks()]) for each in some] == [
        ("172.30.0.2", ["168.63.129.16/32"])
    ]
