"""Calico's BGP sessions to the outside as objects of Cilium's BGP control plane.

Nodes of Cilium speak no BGP to each other, take no routes into the kernel, and a node is selected by one
CiliumBGPClusterConfig only: so peers that different nodes have are sorted into groups of nodes with the same peers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migrate.model.addresses import AddressSet, parse_address, parse_network
from migrate.model.cluster import Node
from migrate.model.raw import Json, RawObject
from migrate.model.selectors import Operator, TooManyTermsError, disjuncts, matches
from migrate.readiness.helm.said import Manifest, Said, Stage, Value, about, shown
from migrate.readiness.helm.source import DataPlane, installed
from migrate.scan.inventory.look import dig, evidence, items, number, text, texts
from migrate.sources.calico_selectors import SelectorError, parse_selector

_API = "cilium.io/v2"
_USUAL_AS = 64512
_USUAL_PORT = 179
_USUAL_RESTART = 120
_FAR = 64
"""How many hops away a peer may be for BIRD, which Calico tells "multihop" without a number."""
_HOST_NAME = "kubernetes.io/hostname"
_ADVERTISED = {"cilium-migrate/advertise": "bgp"}
_ALL_SERVICES: Json = {"matchExpressions": [{"key": "cilium-migrate/none", "operator": "DoesNotExist"}]}
_SERVICE_LISTS = {
    "serviceClusterIPs": "ClusterIP",
    "serviceExternalIPs": "ExternalIP",
    "serviceLoadBalancerIPs": "LoadBalancerIP",
}
_EVERY_NODE = ("", "all()")
_LABELLED = (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class _Peer:
    """A session to a router outside. `nodes` is a selector of Calico's, or a node's name when `named`."""

    raw: RawObject
    address: str
    port: int
    as_number: int
    nodes: str
    named: bool


def said_of_bgp(plane: DataPlane) -> Iterator[Said]:
    """The BGP control plane, when Calico has sessions to the outside."""
    if installed(plane, "bgp") == "Disabled":
        return
    peers = [peer for raw in plane.calico("BGPPeer") if (peer := _peer(raw)) is not None]
    for raw in plane.calico("BGPPeer"):
        yield from _lost(plane, raw)
    if not peers:
        yield from _mesh(plane)
        return
    seen = tuple(evidence(peer.raw, "spec", "peerIP") for peer in peers)
    because = "Calico has BGP peers"
    yield Value(key="bgpControlPlane.enabled", value=True, because=because, evidence=seen, stage=Stage.FINAL)
    detail = f"{shown(peer.address for peer in peers)} has a session with Calico on every node until Calico is stopped"
    yield about("VAL-BGP-SESSION", detail, peers[0].raw, "spec.peerIP")
    local = _USUAL_AS if plane.bgp is None else number(plane.bgp, "spec", "asNumber") or _USUAL_AS
    yield from _cluster_configs(plane, peers, local)
    yield from (_peer_config(plane, peer, local) for peer in peers)
    yield from _advertisement(plane)
    detail = f"{len(peers)} peers of Calico send routes that its nodes put into their routing tables"
    yield about("VAL-BGP-IMPORT", detail, peers[0].raw, "spec.peerIP")


def _peer(raw: RawObject) -> _Peer | None:
    place, as_number = text(raw, "spec", "peerIP"), number(raw, "spec", "asNumber")
    bracketed = re.fullmatch(r"\[(.+)\]:(\d+)", place) or re.fullmatch(r"([\d.]+):(\d+)", place)
    address, port = (bracketed[1], int(bracketed[2])) if bracketed else (place, _USUAL_PORT)
    try:
        parse_address(address)
    except ValueError:
        return None
    node = text(raw, "spec", "node")
    return _Peer(raw, address, port, as_number or 0, node or text(raw, "spec", "nodeSelector"), bool(node))


def _lost(plane: DataPlane, raw: RawObject) -> Iterator[Said]:
    if selector := text(raw, "spec", "peerSelector"):
        detail = f"it makes sessions to the nodes with {selector}, and nodes of Cilium speak no BGP to each other"
        yield about("VAL-BGP-REFLECTOR", detail, raw, "spec.peerSelector")
    names = texts(raw, "spec", "filters")
    if names:
        detail = f"{shown(names)} filters the routes of this peer"
        yield about("VAL-BGP-FILTER", detail, raw, "spec.filters")
    secret = text(raw, "spec", "password", "secretKeyRef", "name")
    if secret:
        key = text(raw, "spec", "password", "secretKeyRef", "key")
        detail = f'the password is the key "{key}" of Secret {secret} in calico-node\'s namespace'
        yield about("VAL-BGP-PASSWORD", detail, raw, "spec.password.secretKeyRef")


def _mesh(plane: DataPlane) -> Iterator[Said]:
    """Without peers BGP only joins the nodes, which Cilium does by itself."""
    routed = [pool for pool in plane.pools if not pool.disabled and pool.vxlan == "Never"]
    if routed and (plane.bgp is None or dig(plane.bgp.data, "spec", "nodeToNodeMeshEnabled") is not False):
        detail = "Calico's nodes tell each other their routes by BGP, and nobody outside the cluster"
        yield about("VAL-BGP-MESH", detail, routed[0].raw, routed[0].field("cidr").field)


def _cluster_configs(plane: DataPlane, peers: Sequence[_Peer], local: int) -> Iterator[Said]:
    """One object for each group of nodes that have the same peers."""
    selectors = {(peer.nodes, peer.named) for peer in peers}
    common = _label_selector(*selectors.copy().pop()) if len(selectors) == 1 else None
    if common is not None:
        yield _cluster_config(plane, "calico", common, peers, local)
        return
    groups: dict[tuple[int, ...], list[Node]] = {}
    for node in plane.documents.cluster.nodes:
        having = tuple(index for index, peer in enumerate(peers) if _selects(peer, node))
        groups.setdefault(having, []).append(node)
    for having, nodes in sorted(groups.items()):
        if having:
            names = sorted(node.labels.get(_HOST_NAME) or node.name for node in nodes)
            listed: list[Json] = [*names]
            selector: Json = {"matchExpressions": [{"key": _HOST_NAME, "operator": "In", "values": listed}]}
            name = f"calico-{hashlib.sha256('/'.join(names).encode()).hexdigest()[:8]}"
            yield _cluster_config(plane, name, selector, [peers[index] for index in having], local)
    detail = (
        f"{len(peers)} peers are for different nodes: today's {len(plane.documents.cluster.nodes)} are named one by one"
    )
    yield about("VAL-BGP-NODES", detail, peers[0].raw, "spec.nodeSelector")


def _label_selector(nodes: str, named: bool) -> Json | None:
    """A node selector of Calico's as Kubernetes writes one, None where that cannot be said."""
    if named:
        return {"matchLabels": {_HOST_NAME: nodes}}
    if nodes in _EVERY_NODE:
        return {}
    try:
        (terms,) = disjuncts(parse_selector(nodes))
    except (SelectorError, TooManyTermsError, ValueError):
        return None
    if any(term.operator not in _LABELLED for term in terms):
        return None
    expressions: list[Json] = []
    for term in terms:
        expression: dict[str, Json] = {"key": term.key, "operator": term.operator.value}
        if term.values:
            expression["values"] = [*term.values]
        expressions.append(expression)
    return {"matchExpressions": expressions}


def _selects(peer: _Peer, node: Node) -> bool:
    if peer.named:
        return node.name == peer.nodes
    try:
        return matches(parse_selector(peer.nodes), node)
    except SelectorError:
        return False


def _cluster_config(plane: DataPlane, name: str, nodes: Json, peers: Sequence[_Peer], local: int) -> Manifest:
    instance: dict[str, Json] = {"name": "calico", "localASN": local}
    port = None if plane.bgp is None else number(plane.bgp, "spec", "listenPort")
    if port:
        instance["localPort"] = port
    instance["peers"] = [
        {
            "name": peer.raw.ref.name,
            "peerAddress": peer.address,
            "peerASN": peer.as_number or local,
            "peerConfigRef": {"name": peer.raw.ref.name},
        }
        for peer in peers
    ]
    spec: dict[str, Json] = {"nodeSelector": nodes} if nodes else {}
    return _object("CiliumBGPClusterConfig", name, {**spec, "bgpInstances": [instance]})


def _peer_config(plane: DataPlane, peer: _Peer, local: int) -> Manifest:
    spec: dict[str, Json] = {}
    if text(peer.raw, "spec", "password", "secretKeyRef", "name"):
        spec["authSecretRef"] = f"bgp-{peer.raw.ref.name}"
    if peer.as_number not in (0, local):
        spec["ebgpMultihop"] = _FAR
    if peer.port != _USUAL_PORT:
        spec["transport"] = {"peerPort": peer.port}
    restart = _seconds(text(peer.raw, "spec", "maxRestartTime")) or _USUAL_RESTART
    spec["gracefulRestart"] = {"enabled": True, "restartTimeSeconds": restart}
    family = f"ipv{parse_address(peer.address).version}"
    labels: dict[str, Json] = {**_ADVERTISED}
    spec["families"] = [{"afi": family, "safi": "unicast", "advertisements": {"matchLabels": labels}}]
    return _object("CiliumBGPPeerConfig", peer.raw.ref.name, spec)


def _advertisement(plane: DataPlane) -> Iterator[Said]:
    """What the peers are told: blocks of pods, and addresses of services."""
    told: list[Json] = []
    if not plane.pools or any(pool.exported and not pool.disabled for pool in plane.pools):
        told.append({"advertisementType": "PodCIDR", **_attributes(plane)})
    lists = {} if plane.bgp is None else {key: _blocks(plane.bgp, key) for key in _SERVICE_LISTS}
    kinds: list[Json] = [kind for key, kind in _SERVICE_LISTS.items() if lists.get(key)]
    if kinds and plane.bgp is not None:
        told.append({"advertisementType": "Service", "service": {"addresses": kinds}, "selector": _ALL_SERVICES})
        for key, blocks in lists.items():
            if blocks:
                detail = f"{key}: Calico tells its peers of {shown(blocks)} and nothing outside of them"
                yield about("VAL-BGP-SERVICES", detail, plane.bgp, f"spec.{key}")
    if told:
        labels: dict[str, Json] = {**_ADVERTISED}
        yield _object("CiliumBGPAdvertisement", "calico", {"advertisements": told}, labels)


def _blocks(raw: RawObject, key: str) -> tuple[str, ...]:
    found = (dig(entry, "cidr") for entry in items(dig(raw.data, "spec", key)))
    return tuple(cidr for cidr in found if isinstance(cidr, str))


def _attributes(plane: DataPlane) -> dict[str, Json]:
    """The communities that Calico puts on the routes of its pools."""
    if plane.bgp is None:
        return {}
    pods = AddressSet.of(pool.network for pool in plane.pools)
    named = {dig(entry, "name"): dig(entry, "value") for entry in items(dig(plane.bgp.data, "spec", "communities"))}
    found: set[str] = set()
    for entry in items(dig(plane.bgp.data, "spec", "prefixAdvertisements")):
        cidr = dig(entry, "cidr")
        if isinstance(cidr, str) and AddressSet.of([parse_network(cidr)]) & pods:
            for word in items(dig(entry, "communities")):
                value = named.get(word, word)
                found |= {value} if isinstance(value, str) else set()
    standard: list[Json] = [value for value in sorted(found) if value.count(":") == 1]
    large: list[Json] = [value for value in sorted(found) if value.count(":") == 2]
    communities = {key: values for key, values in (("standard", standard), ("large", large)) if values}
    return {"attributes": {"communities": {**communities}}} if communities else {}


def _object(kind: str, name: str, spec: dict[str, Json], labels: dict[str, Json] | None = None) -> Manifest:
    metadata: dict[str, Json] = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}


def _seconds(duration: str) -> int:
    """A Go duration such as 2m30s in whole seconds; 0 when it is none."""
    return round(sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(duration)))
