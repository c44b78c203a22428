"""Tunnels, MTU, encryption, masquerading: how packets leave a node."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.addresses import AddressSet
from migrate.model.documents import Evidence
from migrate.model.raw import RawObject
from migrate.readiness.helm.said import Said, Stage, Value, about, shown
from migrate.readiness.helm.source import (
    DataPlane,
    Pool,
    felix_flag,
    felix_number,
    installed,
)
from migrate.scan.inventory.look import evidence, number, text

_VXLAN_PORT = 8472
"""What Cilium takes when it is not told otherwise; Flannel takes the same."""
_OTHER_PORT = 8473
_OVERHEAD_IPIP = 20
_OVERHEAD_VXLAN = 50
_OVERHEAD_WIREGUARD = 60
_USUAL_CALICO_PORT = 4789


def said_of_tunnels(plane: DataPlane) -> Iterator[Said]:
    """A tunnel of its own for Cilium, beside whatever carries packets today."""
    port, why, seen = _free_port(plane)
    yield Value(key="routingMode", value="tunnel", because="both networks have to reach every node while nodes move")
    yield Value(key="tunnelProtocol", value="vxlan", because="apart from today's by its port")
    yield Value(key="tunnelPort", value=port, because=why, evidence=seen)
    active = [pool for pool in plane.pools if not pool.disabled]
    for pool in active:
        if (pool.ipip, pool.vxlan) == ("Never", "Never"):
            detail = f"{pool.network} is routed without a tunnel today, and Cilium's packets are to go through one"
            yield about("VAL-ENCAPSULATION", detail, pool.raw, pool.field("cidr").field)
        elif "CrossSubnet" in (pool.ipip, pool.vxlan):
            key = "ipipMode" if pool.ipip == "CrossSubnet" else "vxlanMode"
            detail = f"{pool.network} is tunnelled between subnets only today; Cilium tunnels between all nodes"
            yield about("VAL-ENCAPSULATION", detail, pool.raw, pool.field(key).field)
    yield from _several_pools(active)


def _free_port(plane: DataPlane) -> tuple[int, str, tuple[Evidence, ...]]:
    """A UDP port that today's tunnel does not have."""
    vxlan = [pool for pool in plane.pools if pool.vxlan != "Never"]
    if vxlan:
        chosen = felix_number(plane, "vxlanPort")
        used, seen = chosen or _USUAL_CALICO_PORT, vxlan[0].field("vxlanMode")
        if chosen and plane.felix is not None:
            seen = evidence(plane.felix, "spec", "vxlanPort")
        port = _OTHER_PORT if used == _VXLAN_PORT else _VXLAN_PORT
        return port, f"Calico's VXLAN has UDP {used}", (seen,)
    for fact in plane.documents.facts("cni"):
        if fact.value in ("flannel", "canal"):
            return _OTHER_PORT, f"{fact.value} has UDP {_VXLAN_PORT} when it tunnels by VXLAN", fact.evidence
    return _VXLAN_PORT, "no VXLAN tunnel of today is known", ()


def _several_pools(active: list[Pool]) -> Iterator[Said]:
    for version in (4, 6):
        same = [pool for pool in active if pool.network.version == version]
        if len(same) > 1:
            detail = f"pods have addresses of {len(same)} pools: {shown(pool.network for pool in same)}"
            yield about("VAL-POOLS", detail, same[0].raw, same[0].field("cidr").field)
    for pool in active:
        if pool.node_selector not in ("", "all()"):
            detail = f"{pool.network} is for nodes with {pool.node_selector}"
            yield about("VAL-POOLS", detail, pool.raw, pool.field("nodeSelector").field)


def said_of_mtu(plane: DataPlane) -> Iterator[Said]:
    """The MTU below the tunnel, from that of today's pods: Cilium takes its own overhead away by itself."""
    found = _configured_mtu(plane)
    if found is None:
        return
    raw, path, size = found
    overhead, tunnel = _overhead(plane, str(path[-1]))
    below = size + overhead
    seen = evidence(raw, *path)
    because = f"{size} of today's pods and {overhead} bytes of {tunnel}"
    yield Value(key="MTU", value=below, because=because, evidence=(seen,))
    detail = f"{seen.field} is {size}: the network below is taken to carry {below}"
    yield about("VAL-MTU", detail, raw, seen.field)


def _configured_mtu(plane: DataPlane) -> tuple[RawObject, tuple[str, ...], int] | None:
    """Where an MTU of pods was set by hand, and how large it is."""
    places: list[tuple[RawObject | None, tuple[str, ...]]] = [(plane.installation, ("spec", "calicoNetwork", "mtu"))]
    keys = {
        "wireguardMTU": felix_flag(plane, "wireguardEnabled"),
        "vxlanMTU": any(pool.vxlan != "Never" for pool in plane.pools),
        "ipipMTU": any(pool.ipip != "Never" for pool in plane.pools),
    }
    places += [(plane.felix, ("spec", key)) for key, used in keys.items() if used]
    for raw, path in places:
        size = None if raw is None else number(raw, *path)
        if raw is not None and size:
            return raw, path, size
    config = plane.config("calico-config")
    said = "" if config is None else text(config, "data", "veth_mtu")
    return (config, ("data", "veth_mtu"), int(said)) if config is not None and said.isdecimal() and int(said) else None


def _overhead(plane: DataPlane, key: str) -> tuple[int, str]:
    """What today's way takes from each packet. An MTU for all pods leaves room for the largest that is in use."""
    ways = {
        "wireguardMTU": (_OVERHEAD_WIREGUARD, "WireGuard", felix_flag(plane, "wireguardEnabled")),
        "vxlanMTU": (_OVERHEAD_VXLAN, "VXLAN", any(pool.vxlan != "Never" for pool in plane.pools)),
        "ipipMTU": (_OVERHEAD_IPIP, "IP in IP", any(pool.ipip != "Never" for pool in plane.pools)),
    }
    if key in ways:
        return ways[key][:2]
    used = [(size, name) for size, name, there in ways.values() if there]
    return max(used) if used else (0, "no tunnel")


def said_of_encryption(plane: DataPlane) -> Iterator[Said]:
    """WireGuard between nodes."""
    on = [key for key in ("wireguardEnabled", "wireguardEnabledV6") if felix_flag(plane, key)]
    if not on or plane.felix is None:
        return
    seen = tuple(evidence(plane.felix, "spec", key) for key in on)
    yield Value(key="encryption.enabled", value=True, because="Calico encrypts between nodes", evidence=seen)
    yield Value(key="encryption.type", value="wireguard", because="Calico encrypts by WireGuard", evidence=seen)
    if felix_flag(plane, "wireguardHostEncryptionEnabled"):
        seen = (evidence(plane.felix, "spec", "wireguardHostEncryptionEnabled"),)
        because = "Calico encrypts the nodes' own packets too"
        yield Value(key="encryption.nodeEncryption", value=True, because=because, evidence=seen)
    detail = "Calico's WireGuard listens on UDP 51820, or what it was told; Cilium's on UDP 51871"
    yield about("VAL-WIREGUARD", detail, plane.felix, f"spec.{on[0]}")


def said_of_masquerading(plane: DataPlane) -> Iterator[Said]:
    """Who leaves the cluster with the node's address."""
    active = [pool for pool in plane.pools if not pool.disabled]
    for version in (4, 6):
        pools = [pool for pool in active if pool.network.version == version]
        if not pools:
            continue
        ways = {pool.masquerades for pool in pools}
        seen = tuple(pool.field("natOutgoing") for pool in pools)
        because = "natOutgoing of Calico's pools"
        yield Value(key=f"enableIPv{version}Masquerade", value=True in ways, because=because, evidence=seen)
        if len(ways) > 1:
            detail = f"of {len(pools)} pools some masquerade and some do not; here all do"
            yield about("VAL-MASQUERADE-MIXED", detail, pools[0].raw, pools[0].field("natOutgoing").field)
    yield from _exceptions(plane)
    if plane.felix is not None and (name := text(plane.felix, "spec", "iptablesNATOutgoingInterfaceFilter")):
        field = evidence(plane.felix, "spec", "iptablesNATOutgoingInterfaceFilter")
        because = "masquerading on these interfaces only"
        yield Value(key="egressMasqueradeInterfaces", value=name, because=because, evidence=(field,))


def _exceptions(plane: DataPlane) -> Iterator[Said]:
    """Destinations that see the pods' own addresses: disabled pools, and what ip-masq-agent was told."""
    said = plane.masquerade()
    disabled = [pool for pool in plane.pools if pool.disabled]
    seen = (*((said.shown,) if said else ()), *(pool.field("cidr") for pool in disabled))
    networks = AddressSet.of([*(said.exceptions if said else ()), *(pool.network for pool in disabled)]).networks()
    if not networks:
        return
    names = tuple(str(network) for network in networks)
    because = "these destinations see the pods' own addresses today"
    final = Stage.FINAL
    yield Value(key="ipMasqAgent.enabled", value=True, because=because, evidence=seen, stage=final)
    yield Value(key="ipMasqAgent.config.nonMasqueradeCIDRs", value=names, because=because, evidence=seen, stage=final)
    if said is not None:
        link_local = Value(
            key="ipMasqAgent.config.masqLinkLocal",
            value=said.link_local,
            because="as ip-masq-agent was told",
            evidence=(said.shown,),
            stage=final,
        )
        yield link_local
    yield Value(key="bpf.masquerade", value=True, because="what ipMasqAgent rests on", stage=final)
    detail = f"pods reach {shown(names)} with their own addresses today"
    first = disabled[0] if disabled else None
    yield about("VAL-MASQUERADE-EXCEPTIONS", detail, first.raw if first else None, "spec.cidr" if first else None)


def uses_ebpf(plane: DataPlane) -> tuple[str, Evidence] | None:
    """A data plane of Calico that is not the kernel's own routing, and where that stands."""
    chosen = installed(plane, "linuxDataplane")
    if plane.installation is not None and chosen in ("BPF", "VPP"):
        return chosen, evidence(plane.installation, "spec", "calicoNetwork", "linuxDataplane")
    if plane.felix is not None and felix_flag(plane, "bpfEnabled"):
        return "BPF", evidence(plane.felix, "spec", "bpfEnabled")
    return None
