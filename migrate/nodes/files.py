"""The files of a node's dump: their names, what prints them, and the names that people give them by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MANIFEST = "node.json"


@dataclass(frozen=True, slots=True)
class Printed:
    """A file that a command prints, or a copy of a file of the node. `also` are names under which people bring it."""

    name: str
    command: str
    also: str | None = None

    def is_called(self, name: str) -> bool:
        """Whether a file of that name is this one."""
        return name == self.name or (self.also is not None and re.fullmatch(self.also, name) is not None)


IPTABLES_NFT = Printed("iptables-nft-save.txt", "iptables-nft-save -c", r"iptables(-nft)?-save(-c)?(\.txt)?")
IPTABLES_LEGACY = Printed("iptables-legacy-save.txt", "iptables-legacy-save -c", r"iptables-legacy-save(-c)?(\.txt)?")
IP6TABLES_NFT = Printed("ip6tables-nft-save.txt", "ip6tables-nft-save -c", r"ip6tables(-nft)?-save(-c)?(\.txt)?")
IP6TABLES_LEGACY = Printed(
    "ip6tables-legacy-save.txt", "ip6tables-legacy-save -c", r"ip6tables-legacy-save(-c)?(\.txt)?"
)
IPSET = Printed("ipset-save.txt", "ipset save", r"ipset(-save|-list-o-save)?(\.txt)?")
NFT = Printed("nft.json", "nft -j list ruleset", r"nft(-list)?(-ruleset)?\.json")
LINKS = Printed("links.json", "ip -j -d link show")
ADDRESSES = Printed("addresses.json", "ip -j address show")
ROUTES = Printed("routes.json", "ip -j -4 route show table all")
ROUTES6 = Printed("routes6.json", "ip -j -6 route show table all")
ROUTE_RULES = Printed("rules.json", "ip -j rule show")
IPVS = Printed("ipvs.txt", "cat /proc/net/ip_vs")
BPF = Printed("bpf.json", "bpftool -j net show")
BPF_CGROUP = Printed("bpf-cgroup.json", "bpftool -j cgroup tree")
PINNED = Printed("pinned.txt", "find /sys/fs/bpf -mindepth 1")
KERNEL = Printed("kernel.txt", "uname -srvm")
MODULES = Printed("modules.txt", "cat /proc/modules")
MOUNTS = Printed("mounts.txt", "cat /proc/mounts")
BTF = Printed("btf.txt", "ls /sys/kernel/btf/vmlinux")
SYSCTL = Printed(
    "sysctl.txt",
    "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.bridge net.netfilter net.ipv4.conf",
)
SOCKETS = Printed("udp-sockets.txt", "cat /proc/net/udp /proc/net/udp6")
PATHS = Printed("paths.txt", "ls -d of the paths that network plugins leave on a node")
CNI = Printed("cni.txt", "cat of /etc/cni/net.d/*.conf*, without kubeconfigs", r"cni(-conf)?\.txt")
HNS_ENDPOINTS = Printed(
    "hns-endpoints.json", "Get-HnsEndpoint | ConvertTo-Json -Depth 9", r"(get-)?hns-?endpoints?(-[a-z0-9]+)*\.json"
)
HCN_ENDPOINTS = Printed(
    "hcn-endpoints.json", "Get-HnsEndpoint -Version 2 | ConvertTo-Json -Depth 9", r"hcn-endpoints?(-[a-z0-9]+)*\.json"
)
HCN_NETWORKS = Printed(
    "hcn-networks.json",
    "Get-HnsNetwork -Version 2 | ConvertTo-Json -Depth 9",
    r"(hcn|hns)-networks?(-[a-z0-9]+)*\.json",
)
WINDOWS = Printed("windows.txt", "[Environment]::OSVersion.Version.ToString()")
NPM_MANAGER = Printed("npm-debug-manager.json", "GET /npm/v1/debug/manager on port 10091")
NPM_NODE_METRICS = Printed("npm-node-metrics.txt", "GET /node-metrics on port 10091")
NPM_CLUSTER_METRICS = Printed("npm-cluster-metrics.txt", "GET /cluster-metrics on port 10091")

RULES = (IPTABLES_LEGACY, IP6TABLES_LEGACY, IP6TABLES_NFT, IPTABLES_NFT)
"""Dumps of iptables-save. The older ones come first: their names are more exact."""
OF_LINUX = (
    *RULES,
    IPSET,
    NFT,
    LINKS,
    ADDRESSES,
    ROUTES,
    ROUTES6,
    ROUTE_RULES,
    IPVS,
    BPF,
    BPF_CGROUP,
    PINNED,
    KERNEL,
    MODULES,
    MOUNTS,
    BTF,
    SYSCTL,
    SOCKETS,
    PATHS,
    CNI,
)
OF_WINDOWS = (HNS_ENDPOINTS, HCN_ENDPOINTS, HCN_NETWORKS, WINDOWS)
OF_NPM = (NPM_MANAGER, NPM_NODE_METRICS, NPM_CLUSTER_METRICS)
ALL = (*OF_LINUX, *OF_WINDOWS, *OF_NPM)


def holds_rules(windows: bool, names: Iterable[str]) -> bool:
    """Whether what enforces on a node is among the files of its dump, be it that they say the node has none."""
    wanted = (HNS_ENDPOINTS, HCN_ENDPOINTS) if windows else RULES
    return any(printed_as(name) in wanted for name in names)


def printed_as(name: str) -> Printed | None:
    """What a file of this name is, if it is part of a dump."""
    return next((printed for printed in ALL if printed.is_called(name)), None)
