"""The pods' new addresses: a network beside today's, so that both can be routed while nodes move."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator

from migrate.model.addresses import AddressSet, Network
from migrate.model.documents import Evidence
from migrate.readiness.helm.said import Said, Value, about, shown
from migrate.readiness.helm.source import DataPlane

_WHERE_TO_LOOK: dict[int, tuple[Network, ...]] = {
    4: tuple(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "192.168.0.0/16")),
    6: (ipaddress.ip_network("fd00::/64"),),
}
_USUAL_PODS = 110
"""What a kubelet takes when it is not told otherwise."""
_NODE_PREFIX_V6 = 120
_WIDEST_SPLIT = 16
"""A network may hold at most 2^16 blocks of nodes."""
_SMALLEST = 16
"""The prefix that an IPv4 network gets at least: room for nodes to come."""


def said_of_addresses(plane: DataPlane, wanted: tuple[Network, ...]) -> Iterator[Said]:
    """The values of ipam and of the IP families; `wanted` are the networks that the user chose."""
    yield Value(key="ipam.mode", value="cluster-pool", because="no address is given out by two engines")
    families = _families(plane)
    for version in (4, 6):
        yield Value(key=f"ipv{version}.enabled", value=version in families, because="the families of today's pods")
    for version in families:
        block = _node_prefix(plane) if version == 4 else _NODE_PREFIX_V6
        chosen = tuple(network for network in wanted if network.version == version)
        networks = chosen or tuple(_free(plane, version, block))
        yield from _judged(plane, networks, version, block, given=bool(chosen))
        if networks:
            yield from _values(plane, networks, version, block, given=bool(chosen))


def _families(plane: DataPlane) -> tuple[int, ...]:
    facts = {fact.value for fact in plane.documents.facts("ip-families")}
    if "dual-stack" in facts:
        return (4, 6)
    if "ipv6" in facts:
        return (6,)
    pools = {pool.network.version for pool in plane.pools if not pool.disabled}
    return tuple(sorted(pools)) or (4,)


def _node_prefix(plane: DataPlane) -> int:
    """The prefix of a node's block: twice the addresses of its pods, so that none is used again at once."""
    blocks = [n.prefixlen for node in plane.documents.cluster.nodes for n in node.pod_networks.networks()]
    pods = Counter(pod.node for pod in plane.documents.cluster.pods if pod.node and not pod.host_network)
    most = max([_USUAL_PODS, *pods.values()])
    needed = 32 - (2 * most - 1).bit_length()
    return min([needed, *(block for block in blocks if block <= 30)])


def _free(plane: DataPlane, version: int, block: int) -> Iterator[Network]:
    """The first network that nothing of the snapshot touches, large enough for four times the nodes."""
    nodes = max(len(plane.documents.cluster.nodes), 1)
    room = block - (4 * nodes - 1).bit_length()
    prefix = max(min(_SMALLEST, room), 8) if version == 4 else block - _WIDEST_SPLIT
    for whole in _WHERE_TO_LOOK[version]:
        if whole.prefixlen <= prefix:
            for network in whole.subnets(new_prefix=prefix):
                if not plane.taken & AddressSet.of([network]):
                    yield network
                    return


def _judged(
    plane: DataPlane, networks: tuple[Network, ...], version: int, block: int, *, given: bool
) -> Iterator[Said]:
    if not networks:
        yield about(
            "VAL-POD-CIDR", f"no private IPv{version} network is free in this snapshot: give one with --pod-cidr"
        )
        return
    for network in networks:
        both = plane.taken & AddressSet.of([network])
        if both:
            detail = f"{network} is to be the pods' network and overlaps {shown(both.networks())}, which is in use"
            yield about("VAL-POD-CIDR-OVERLAP", detail)
    nodes, room = len(plane.documents.cluster.nodes), sum(_blocks(network, block) for network in networks)
    if room < nodes:
        detail = f"{shown(networks)} has room for {room} blocks of /{block}, and the cluster has {nodes} nodes"
        yield about("VAL-POD-CIDR-SMALL", detail)
    if not given:
        detail = f"{networks[0]} is not in use in this snapshot, which knows nothing of networks outside the cluster"
        yield about("VAL-POD-CIDR", detail)


def _blocks(network: Network, block: int) -> int:
    return 0 if block < network.prefixlen else 1 << min(block - network.prefixlen, _WIDEST_SPLIT)


def _values(
    plane: DataPlane, networks: tuple[Network, ...], version: int, block: int, *, given: bool
) -> Iterator[Said]:
    because = "given by --pod-cidr" if given else "the first private network that nothing in the snapshot uses"
    today = tuple(pool.field("cidr") for pool in plane.pools if pool.network.version == version)
    today = today or tuple(
        Evidence(f"Node {node.name}", "spec.podCIDRs", str(network))
        for node in plane.documents.cluster.nodes[:1]
        for network in node.pod_networks.networks()
        if network.version == version
    )
    names = tuple(str(network) for network in networks)
    key = f"ipam.operator.clusterPoolIPv{version}"
    yield Value(key=f"{key}PodCIDRList", value=names, because=f"{because}; beside today's", evidence=today)
    yield Value(key=f"{key}MaskSize", value=block, because="a node's block: room for its pods twice over")
