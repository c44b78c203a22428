"""Rules of kube-proxy in the forms of its three modes, for a few Services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from migrate.model.raw import Json
from migrate.nodes.kube_proxy.services import ServicePortName

SUFFIXES = {
    ("default/kubernetes:https", "tcp"): "NPX46M4PTMTKRN6Y",
    ("kube-system/kube-dns:dns", "udp"): "TCOU7JCQXEZGVUNU",
    ("kube-system/kube-dns:dns-tcp", "tcp"): "ERIFXISQEP7F7OF4",
    ("kube-system/kube-dns:metrics", "tcp"): "JD5MR3NA4I4DYORP",
}
"""Chains that every cluster has, as they stand in countless public dumps."""
BALANCER = "198.51.100.7"


def service(namespace: str, name: str, address: str, *ports: Mapping[str, Json], **spec: Json) -> dict[str, Json]:
    """A Service object."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": address, "ports": [dict(port) for port in ports], **spec},
    }


def balanced(ranges: Sequence[str] | None, balancer: str = BALANCER) -> dict[str, Json]:
    """The Service shop/web behind a load balancer, for these clients only."""
    port: dict[str, Json] = {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}
    made = service("shop", "web", "10.0.0.20", port, type="LoadBalancer")
    spec = made["spec"]
    assert isinstance(spec, dict)
    if ranges is not None:
        spec["loadBalancerSourceRanges"] = list(ranges)
    return {**made, "status": {"loadBalancer": {"ingress": [{"ip": balancer}]}}}


KUBERNETES = service("default", "kubernetes", "10.0.0.1", {"name": "https", "port": 443, "protocol": "TCP"})
DNS = service(
    "kube-system",
    "kube-dns",
    "10.0.0.10",
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
)


def iptables(
    let_in: Iterable[str] | None = (), *, old: bool = False, dropped: bool = True, more: str = "", comments: bool = True
) -> str:
    """What mode iptables has for default/kubernetes, kube-dns and shop/web, whose balancer lets in some sources.

    None: the balancer has no firewall. `old`: as before 1.24, which marks what is to be dropped.
    """
    web = ServicePortName("shop", "web", "http", "TCP").suffixes[0]

    def comment(text: str) -> str:
        return f' -m comment --comment "{text}"' if comments else ""

    firewall = f"KUBE-FW-{web}" if let_in is not None else f"KUBE-EXT-{web}"
    nat = [
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-NODEPORTS - [0:0]",
        ":KUBE-MARK-MASQ - [0:0]",
        ":KUBE-MARK-DROP - [0:0]",
        ":KUBE-POSTROUTING - [0:0]",
        *(f":KUBE-SVC-{suffix} - [0:0]" for (name, _), suffix in SUFFIXES.items() if "metrics" not in name),
        f":KUBE-SVC-{web} - [0:0]",
        f":KUBE-EXT-{web} - [0:0]",
        f":KUBE-FW-{web} - [0:0]" if let_in is not None else "",
        ":KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]",
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-A KUBE-MARK-DROP -j MARK --or-mark 0x8000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE',
    ]
    for (name, protocol), suffix in SUFFIXES.items():
        if "metrics" not in name:
            port = 443 if protocol == "tcp" and "kubernetes" in name else 53
            address = "10.0.0.1" if "kubernetes" in name else "10.0.0.10"
            nat.append(
                f"-A KUBE-SERVICES -d {address}/32 -p {protocol}{comment(f'{name} cluster IP')}"
                f" -m {protocol} --dport {port} -j KUBE-SVC-{suffix}"
            )
            nat.append(f"-A KUBE-SVC-{suffix}{comment(f'{name} -> 10.244.0.5:53')} -j KUBE-SEP-AAAAAAAAAAAAAAAA")
    nat += [
        f"-A KUBE-SERVICES -d 10.0.0.20/32 -p tcp{comment('shop/web:http cluster IP')} --dport 80 -j KUBE-SVC-{web}",
        f"-A KUBE-SERVICES -d {BALANCER}/32 -p tcp{comment('shop/web:http loadbalancer IP')} --dport 80 -j {firewall}",
        f"-A KUBE-NODEPORTS -p tcp{comment('shop/web:http')} -m tcp --dport 30080 -j KUBE-EXT-{web}",
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        f"-A KUBE-EXT-{web}{comment('masquerade traffic for shop/web:http external destinations')} -j KUBE-MARK-MASQ",
        f"-A KUBE-EXT-{web} -j KUBE-SVC-{web}",
        f"-A KUBE-SVC-{web} -j KUBE-SEP-AAAAAAAAAAAAAAAA",
    ]
    for source in let_in or ():
        nat.append(f"-A KUBE-FW-{web} -s {source}{comment('shop/web:http loadbalancer IP')} -j KUBE-EXT-{web}")
    if let_in is not None and old:
        nat.append(f"-A KUBE-FW-{web}{comment('shop/web:http loadbalancer IP')} -j KUBE-MARK-DROP")
    elif let_in is not None:
        nat.append(
            f"-A KUBE-FW-{web}{comment('other traffic to shop/web:http will be dropped by KUBE-PROXY-FIREWALL')}"
        )
    drop = (
        f"-A KUBE-PROXY-FIREWALL -d {BALANCER}/32 -p tcp{comment('shop/web:http traffic not accepted by KUBE-FW-X')}"
        " -m tcp --dport 80 -j DROP"
    )
    guard = drop if dropped and not old and let_in is not None else ""
    return "\n".join(["*nat", *nat, more, "COMMIT", _filter(guard)])


def _filter(guard: str) -> str:
    return "\n".join(
        [
            "*filter",
            ":KUBE-FORWARD - [0:0]",
            ":KUBE-PROXY-FIREWALL - [0:0]",
            ":KUBE-SERVICES - [0:0]",
            "-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL",
            "-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL",
            '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
            "-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES",
            '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
            '-A KUBE-SERVICES -d 10.0.0.30/32 -p tcp -m comment --comment "shop/idle:http has no endpoints" -j REJECT',
            guard,
            "COMMIT",
            "",
        ]
    )


def ipvs_sets(let_in: Iterable[str]) -> str:
    """What mode ipvs has in sets for shop/web, whose balancer lets in some sources."""
    return "\n".join(
        [
            "create KUBE-CLUSTER-IP hash:ip,port",
            "add KUBE-CLUSTER-IP 10.0.0.20,tcp:80",
            "create KUBE-LOAD-BALANCER-FW hash:ip,port",
            f"add KUBE-LOAD-BALANCER-FW {BALANCER},tcp:80",
            "create KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net",
            *(f"add KUBE-LOAD-BALANCER-SOURCE-CIDR {BALANCER},tcp:80,{source}" for source in let_in),
            "",
        ]
    )


IPVS_RULES = """*nat
:KUBE-SERVICES -
:KUBE-MARK-MASQ -
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
COMMIT
"""


def nftables(let_in: Iterable[str], base: str) -> str:
    """What mode nftables has for shop/web, whose balancer lets in some sources."""
    return f"""
add table ip kube-proxy {{ comment "rules for kube-proxy" ; }}
add chain ip kube-proxy services
add chain ip kube-proxy nat-prerouting {{ type nat hook prerouting priority dstnat ; }}
add rule ip kube-proxy nat-prerouting jump services
add chain ip kube-proxy mark-for-masquerade
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
add chain ip kube-proxy service-{base}
add chain ip kube-proxy external-{base}
add chain ip kube-proxy firewall-{base}
add rule ip kube-proxy firewall-{base} ip saddr != {{ {", ".join(let_in)} }} drop
"""
