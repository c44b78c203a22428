"""kube-proxy's rules in a node's kernel, in each of its modes, and what is said of them beside a cluster's Services."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.model.finding import Effect
from migrate.model.raw import Json
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.kube_proxy.services import ServicePortName
from tests.kernel.node_scene import NodeScene, cluster_view, node_scene, seen
from tests.kernel.proxy_rules import (
    BALANCER,
    DNS,
    IPVS_RULES,
    KUBERNETES,
    SUFFIXES,
    balanced,
    iptables,
    ipvs_sets,
    nftables,
    service,
)
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

WEB = ServicePortName("shop", "web", "http", "TCP")
IDLE = service("shop", "idle", "10.0.0.30", {"name": "http", "port": 80, "protocol": "TCP"})
RANGES = ("192.0.2.0/24", "203.0.113.0/28")


@pytest.fixture
def node() -> Iterator[NodeScene]:
    require(shutil.which("nft") is not None, "nft (Debian: nftables)")
    require(shutil.which("ipset") is not None, "ipset")
    with node_scene() as made:
        yield made


def restored(node: NodeScene, text: str, backend: str = "nft") -> None:
    node.do(f"iptables-{backend}-restore", text=text)


def configured(text: str) -> dict[str, Json]:
    """kube-proxy's ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "kube-system", "name": "kube-proxy"},
        "data": {"config.conf": text},
    }


def view_of(folder: Path, ranges: tuple[str, ...] | None = RANGES) -> ClusterView:
    return cluster_view(folder / "cluster", KUBERNETES, DNS, IDLE, balanced(ranges))


@pytest.mark.parametrize(("name", "suffix"), [(key, value) for key, value in SUFFIXES.items()])
def test_chains_have_the_names_that_every_cluster_shows(name: tuple[str, str], suffix: str) -> None:
    owner, _, port = name[0].partition(":")
    namespace, _, service_name = owner.partition("/")
    assert ServicePortName(namespace, service_name, port, name[1].upper()).suffixes == (suffix,)


def test_ports_without_a_name_in_the_form_of_older_releases(node: NodeScene, tmp_path: Path) -> None:
    nginx = ServicePortName("default", "nginx-svc", "", "TCP")
    assert "R2VK7O5AFVLRAXSH" in nginx.suffixes
    rules = "*nat\n:KUBE-SERVICES -\n:KUBE-SVC-R2VK7O5AFVLRAXSH -\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"
    refused = '-A KUBE-SERVICES -m comment --comment "shop/idle: has no endpoints" -j REJECT'
    restored(node, f"{rules}*filter\n:KUBE-SERVICES -\n{refused}\nCOMMIT\n")
    port: dict[str, Json] = {"port": 80, "protocol": "TCP"}
    objects = (service("default", "nginx-svc", "10.0.0.50", port), service("shop", "idle", "10.0.0.51", port))
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", *objects))
    assert [each for each in said.ids() if each.startswith("NODE-PROXY")] == []


def test_a_node_that_serves_what_the_cluster_has_is_in_order(node: NodeScene, tmp_path: Path) -> None:
    restored(node, iptables(RANGES))
    said = seen(node.dumped(tmp_path), view_of(tmp_path))
    assert [each for each in said.ids() if each.startswith("NODE-PROXY")] == []
    assert said.states("kube-proxy-mode") == {"iptables (nft)": "active"}
    assert said.values("masquerade-mark") == ["0x4000/0x4000"]


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_services_that_are_gone_or_not_served(node: NodeScene, tmp_path: Path, backend: str) -> None:
    restored(node, iptables(RANGES), backend)
    new = service("shop", "new", "10.0.0.40", {"port": 80, "protocol": "TCP"})
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", KUBERNETES, IDLE, new, balanced(RANGES)))
    assert said.values("kube-proxy-mode") == [f"iptables ({backend})"]
    (stale,) = said.details("NODE-PROXY-STALE")
    assert "2 service ports" in stale
    assert "kube-system/kube-dns:dns" in stale
    (missing,) = said.details("NODE-PROXY-MISSING")
    assert "shop/new" in missing
    assert "idle" not in missing


def test_without_comments_chains_are_known_by_their_hash(node: NodeScene, tmp_path: Path) -> None:
    restored(node, iptables(RANGES, comments=False))
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", KUBERNETES, IDLE, balanced(RANGES)))
    (stale,) = said.details("NODE-PROXY-STALE")
    assert SUFFIXES["kube-system/kube-dns:dns", "udp"] in stale
    assert said.details("NODE-PROXY-RANGES") == []


@pytest.mark.parametrize(
    ("let_in", "spec", "effect", "words"),
    [
        pytest.param(RANGES, RANGES, None, (), id="the same"),
        pytest.param((*RANGES, f"{BALANCER}/32"), RANGES, None, (), id="with the balancer's own address"),
        pytest.param(("192.0.2.0/25", "192.0.2.128/25"), ("192.0.2.0/24",), None, (), id="the same in halves"),
        pytest.param((*RANGES, "10.9.0.0/16"), RANGES, Effect.NARROWS, ("10.9.0.0/16 beyond",), id="one more"),
        pytest.param(RANGES[:1], RANGES, Effect.WIDENS, ("203.0.113.0/28 of that is refused",), id="one fewer"),
        pytest.param(None, RANGES, Effect.NARROWS, ("all addresses but",), id="no firewall at all"),
        pytest.param(RANGES, None, Effect.WIDENS, ("none in its spec",), id="no ranges any more"),
        pytest.param(None, None, None, (), id="no ranges and no firewall"),
        pytest.param(("0.0.0.0/0",), ("0.0.0.0/0",), None, (), id="everybody"),
        pytest.param(None, ("fd00::/8",), None, (), id="ranges of the other family"),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["now", "before 1.24"])
def test_clients_of_a_balancer(
    node: NodeScene,
    tmp_path: Path,
    let_in: tuple[str, ...] | None,
    spec: tuple[str, ...] | None,
    effect: Effect | None,
    words: tuple[str, ...],
    old: bool,
) -> None:
    restored(node, iptables(let_in, old=old))
    said = seen(node.dumped(tmp_path), view_of(tmp_path, spec))
    found = [finding for finding in said.findings if finding.id == "NODE-PROXY-RANGES"]
    assert [finding.effect for finding in found] == ([] if effect is None else [effect])
    for finding in found:
        assert finding.subject is not None
        assert (finding.subject.namespace, finding.subject.name) == ("shop", "web")
        assert all(word in finding.detail for word in words)
        assert finding.at is not None
        assert finding.at.line


def test_a_firewall_that_drops_nobody_lets_in_everybody(node: NodeScene, tmp_path: Path) -> None:
    restored(node, iptables(RANGES, dropped=False))
    said = seen(node.dumped(tmp_path), view_of(tmp_path))
    (found,) = said.details("NODE-PROXY-RANGES")
    assert "beyond that is let in" in found


def test_mode_ipvs_by_its_sets(node: NodeScene, tmp_path: Path) -> None:
    node.do("ipset", "restore", text=ipvs_sets((RANGES[0], "10.9.0.0/16")))
    restored(node, IPVS_RULES)
    node.ip("link add kube-ipvs0 type bridge")
    said = seen(node.dumped(tmp_path), view_of(tmp_path))
    assert said.states("kube-proxy-mode") == {"ipvs": "active"}
    (found,) = said.details("NODE-PROXY-RANGES")
    assert "10.9.0.0/16 beyond" in found
    assert "203.0.113.0/28 of that is refused" in found
    assert "NODE-PROXY-MISSING" not in said.ids()


def test_mode_ipvs_by_its_virtual_servers(node: NodeScene, tmp_path: Path) -> None:
    servers = "IP Virtual Server version 1.2.1 (size=4096)\nTCP  0A000001:01BB rr \n  -> 0A000005:192B Masq 1 0 0\n"
    said = seen(node.dumped(tmp_path, IPVS=servers))
    assert said.states("kube-proxy-mode") == {"ipvs": "active"}


def test_virtual_servers_beside_the_services(node: NodeScene, tmp_path: Path) -> None:
    lines = (
        "TCP  0A000001:01BB rr",  # default/kubernetes
        "TCP  C6336407:0050 rr",  # the balancer of shop/web
        "TCP  0A000014:0050 rr",  # shop/web
        "TCP  AC1E0002:7580 rr",  # its node port
        "UDP  0A00000A:0035 rr",  # kube-dns, by UDP only
        "TCP  0A0000FA:0050 rr",  # nobody's
    )
    place = node.dumped(tmp_path, IPVS="".join(f"{line} \n" for line in lines))
    said = seen(place, cluster_view(tmp_path / "cluster", KUBERNETES, DNS, balanced(None)))
    assert said.details("NODE-PROXY-STALE") == [
        "node n1 has 1 virtual servers for addresses of no Service of the snapshot: TCP 10.0.0.250 port 80"
    ]
    (missing,) = said.details("NODE-PROXY-MISSING")
    assert "1 service ports of the snapshot: kube-system/kube-dns:dns-tcp" in missing


def test_mode_iptables_over_ipv6(node: NodeScene, tmp_path: Path) -> None:
    suffix = ServicePortName("shop", "six", "", "TCP").suffixes[0]
    chains = f":KUBE-SERVICES -\n:KUBE-SVC-{suffix} -\n:KUBE-FW-{suffix} -\n:KUBE-EXT-{suffix} -\n:KUBE-MARK-DROP -\n"
    rules = (
        "-A PREROUTING -j KUBE-SERVICES\n"
        f"-A KUBE-FW-{suffix} -s fd00:1::/64 -j KUBE-EXT-{suffix}\n-A KUBE-FW-{suffix} -j KUBE-MARK-DROP\n"
    )
    node.do("ip6tables-nft-restore", text=f"*nat\n{chains}{rules}COMMIT\n")
    port: dict[str, Json] = {"port": 80, "protocol": "TCP"}
    six = service("shop", "six", "fd00:10::1", port, type="LoadBalancer", loadBalancerSourceRanges=["fd00:2::/64"])
    balancer: Json = {"loadBalancer": {"ingress": [{"ip": "fd00:99::7"}]}}
    four = service("shop", "four", "10.0.0.60", port)
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", {**six, "status": balancer}, four))
    (found,) = said.details("NODE-PROXY-RANGES")
    assert "fd00:1::/64 beyond that is let in and fd00:2::/64 of that is refused" in found
    assert said.details("NODE-PROXY-MISSING") == []


def test_mode_nftables(node: NodeScene, tmp_path: Path) -> None:
    node.do("nft", "-f", "-", text=nftables((*RANGES, "203.0.113.16/28"), WEB.chain_base))
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", KUBERNETES, balanced(RANGES)))
    assert said.states("kube-proxy-mode") == {"nftables": "active"}
    (found,) = said.details("NODE-PROXY-RANGES")
    assert "203.0.113.16/28 beyond" in found
    assert said.details("NODE-PROXY-STALE") == []
    assert said.details("NODE-MARK-OVERLAP") == []


def test_what_an_earlier_mode_left(node: NodeScene, tmp_path: Path) -> None:
    node.do("nft", "-f", "-", text=nftables(RANGES, WEB.chain_base))
    restored(node, iptables(RANGES))
    said = seen(node.dumped(tmp_path))
    (found,) = said.details("NODE-PROXY-MODE")
    assert "iptables (nft)" in found
    assert "nftables" in found
    assert said.states("kube-proxy-mode") == {"iptables (nft)": "unknown", "nftables": "unknown"}


def test_of_two_modes_the_configuration_tells_which_is_in_use(node: NodeScene, tmp_path: Path) -> None:
    node.do("nft", "-f", "-", text=nftables(RANGES, WEB.chain_base))
    restored(node, iptables(RANGES))
    text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n"
    said = seen(node.dumped(tmp_path), cluster_view(tmp_path / "cluster", KUBERNETES, configured(text)))
    assert said.states("kube-proxy-mode") == {"iptables (nft)": "present", "nftables": "active"}
    assert "NODE-PROXY-MODE" in said.ids()


def test_nothing_follows_from_a_file_that_cannot_be_read(node: NodeScene, tmp_path: Path) -> None:
    place = node.dumped(tmp_path, NFT='{"nftables": [{"table": {"family": "ip", "name": "kube-pr')
    assert seen(place).states("kube-proxy-mode") == {"none": "unknown"}


def test_another_mode_than_the_configuration_says(node: NodeScene, tmp_path: Path) -> None:
    restored(node, iptables(RANGES))
    text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    said = seen(
        node.dumped(tmp_path),
        cluster_view(tmp_path / "cluster", KUBERNETES, DNS, IDLE, balanced(RANGES), configured(text)),
    )
    (found,) = said.details("NODE-PROXY-MODE")
    assert "the cluster's configuration says ipvs" in found


ENGINE = """*filter
:AZURE-NPM - [0:0]
:AZURE-NPM-INGRESS - [0:0]
{}
-A AZURE-NPM -j AZURE-NPM-INGRESS
COMMIT
"""


@pytest.mark.parametrize(
    ("jump", "packets", "told"),
    [
        pytest.param("-A FORWARD -m conntrack --ctstate NEW -j AZURE-NPM", 7, True, id="asked after"),
        pytest.param("-A FORWARD -m conntrack --ctstate NEW -j AZURE-NPM", 0, False, id="nothing came"),
        pytest.param("-I FORWARD -m conntrack --ctstate NEW -j AZURE-NPM", 7, False, id="asked first"),
    ],
)
def test_what_no_policy_checked(node: NodeScene, tmp_path: Path, jump: str, packets: int, told: bool) -> None:
    counted = iptables(RANGES).replace("-A KUBE-FORWARD", f"[{packets}:{packets * 60}] -A KUBE-FORWARD")
    node.do("iptables-nft-restore", "--counters", text=counted)
    node.do("iptables-nft-restore", "--noflush", text=ENGINE.format(jump))
    said = seen(node.dumped(tmp_path))
    assert ("NODE-PROXY-UNCHECKED" in said.ids()) is told
    first = jump.startswith("-I")
    assert [(hits.packets, hits.verdict) for hits in said.hits] == ([] if first else [(packets, "allowed")])


def test_a_node_without_kube_proxy(node: NodeScene, tmp_path: Path) -> None:
    said = seen(node.dumped(tmp_path), view_of(tmp_path))
    assert said.states("kube-proxy-mode") == {"none": "absent"}
    assert [each for each in said.ids() if each.startswith("NODE-PROXY")] == []
