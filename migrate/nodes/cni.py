"""How a node's pods get their network today: CNI configuration, bridge, pod networks, and as whom others see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from typing import Final

import msgspec

from migrate.model.addresses import Address, AddressSet, Network, parse_network
from migrate.model.cluster import Node, Pod
from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.model.node_machine import CniFile, Link
from migrate.model.node_state import AddressIs, End, Table
from migrate.model.raw import Json
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.host import Host
from migrate.nodes.software import Source, cilium_on_node
from migrate.nodes.source_addresses import NODE, OWN, Appears, World, appearances, leaves_by
from migrate.nodes.wording import clean, first_few, ranges
from migrate.resources import data, read_yaml
from migrate.scan.inventory import AZURE_KIND

_NOWHERE: Final = AddressSet.of(
    parse_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
)
"""Addresses that are nobody's outside the node."""
_BRIDGES = frozenset(("cbr0", "cni0", "kube-bridge", "weave", "azure0"))
_SETTING = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}


class ChainedPlugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CNI plugin that is called after another, what it does, and what becomes of that."""

    type: str
    does: str
    after: str
    sources: tuple[Source, ...]


class _ChainedPlugins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    as_of: date
    plugins: tuple[ChainedPlugin, ...]


@cache
def chained_plugins() -> Mapping[str, ChainedPlugin]:
    """The chained plugins that are known, by type (rules/node/plugins.yaml)."""
    read = read_yaml(data("rules") / "node" / "plugins.yaml", _ChainedPlugins)
    return {plugin.type: plugin for plugin in read.plugins}


def examine_cni(host: Host, view: ClusterView | None) -> Iterator[Finding | Fact]:
    """Which configuration is in force, whether it fits the cluster's objects, and what pods' traffic looks like."""
    yield from _configurations(host)
    yield from _bridges(host)
    networks = pod_networks(host, view)
    yield from _pod_networks(host, view, networks)
    yield from _pod_routes(host, view, networks)
    yield from _route_table(host, view)
    for family in (4, 6):
        yield from _seen_as(host, view, networks, family)


def pod_networks(host: Host, view: ClusterView | None) -> AddressSet:
    """The blocks that this node's pods have their addresses from, by its CNI configuration, bridge and Node object."""
    found = AddressSet.of(
        subnet for file in (host.cni or ())[:1] for plugin in file.plugins for subnet in plugin.subnets
    )
    bridged = (entry.address for entry in host.addresses or () if entry.device in _BRIDGES)
    found |= AddressSet.of(address.network for address in bridged if not address.is_link_local)
    node = _node(host, view)
    return found | node.pod_networks if node is not None else found


def _node(host: Host, view: ClusterView | None) -> Node | None:
    name = host.dump.manifest.name
    return next((node for node in view.cluster.nodes if node.name == name), None) if view is not None else None


def _configurations(host: Host) -> Iterator[Finding | Fact]:
    """The kubelet's runtime takes the first file by name; the others wait until that one is gone."""
    for position, file in enumerate(host.cni or ()):
        types = " → ".join(clean(plugin.type) for plugin in file.plugins)
        shown = Evidence(str(file.at), clean(file.name), types)
        value, waits = clean(file.name), position > 0
        yield Fact(
            topic="cni-file", value=value, state="present" if waits else "active", detail=types, evidence=(shown,)
        )
    first = next(iter(host.cni or ()), None)
    if first is None or _is_cilium(first):
        return
    if first.name and first.name < cilium_on_node().cni_file:
        yield _first_for_ever(host, first)
    for plugin in first.plugins:
        found = chained_plugins().get(plugin.type)
        if found is not None:
            yield Finding(
                id="NODE-CNI-CHAINED",
                detail=(
                    f"node {host.dump.manifest.name}: {clean(first.name)} calls {found.type}, which {found.does}; "
                    f"{found.after}"
                ),
                effect=Effect.UNKNOWN,
                subject=host.dump.node,
                at=first.at,
            )


def _is_cilium(file: CniFile) -> bool:
    return any(plugin.type == "cilium-cni" for plugin in file.plugins)


def _first_for_ever(host: Host, first: CniFile) -> Finding:
    return Finding(
        id="NODE-CNI-FIRST",
        detail=(
            f"node {host.dump.manifest.name}: {clean(first.name)} comes before {cilium_on_node().cni_file} by name, so "
            f"new pods would still get {clean(first.plugins[0].type)}"
        ),
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=first.at,
    )


def _bridges(host: Host) -> Iterator[Finding | Fact]:
    """Traffic between pods of one bridge is no routed traffic: iptables sees it only by bridge netfilter."""
    configured = {plugin.bridge for file in host.cni or () for plugin in file.plugins if plugin.bridge}
    for link in host.links or ():
        if link.kind == "bridge" and link.name in configured | _BRIDGES:
            filtered = _is_filtered(host, link)
            word = {None: "unknown", True: "on", False: "off"}[filtered]
            shown = Evidence(str(host.place(files.LINKS)), link.name, f"mtu {link.mtu}, bridge netfilter {word}")
            yield Fact(topic="pod-bridge", value=link.name, detail=shown.value, evidence=(shown,))
            if filtered is False and link.up:
                yield Finding(
                    id="NODE-BRIDGE-UNFILTERED",
                    detail=(
                        f"node {host.dump.manifest.name}: {_SETTING[4]} is off, so rules of policies and of Services "
                        f"do not see traffic between pods on the bridge {link.name}"
                    ),
                    effect=Effect.NARROWS,
                    subject=host.dump.node,
                    at=host.place(files.SYSCTL),
                )


def _is_filtered(host: Host, bridge: Link) -> bool | None:
    if bridge.filters:
        return True
    said = host.settings.get(_SETTING[4])
    if said is not None:
        return said == "1"
    loaded = host.modules is None or "br_netfilter" in host.modules
    return None if loaded or not host.settings else False


def _pod_networks(host: Host, view: ClusterView | None, networks: AddressSet) -> Iterator[Finding | Fact]:
    configured = [subnet for file in (host.cni or ())[:1] for plugin in file.plugins for subnet in plugin.subnets]
    bridged = [entry for entry in host.addresses or () if entry.device in _BRIDGES and not entry.address.is_link_local]
    for network in networks.networks():
        yield Fact(topic="pod-network", value=str(network))
    node = _node(host, view)
    if node is None or not node.pod_networks:
        return
    said = ranges(node.pod_networks)
    for subnet in configured:
        if not AddressSet.of([subnet]) <= node.pod_networks:
            at = host.cni[0].at if host.cni else None
            yield _mismatch(host, f"{subnet} in its CNI configuration", said, at)
    for entry in bridged:
        if entry.address.ip not in node.pod_networks:
            yield _mismatch(host, f"{entry.address} on {entry.device}", said, host.place(files.ADDRESSES))


def _mismatch(host: Host, there: str, said: str, at: Location | None) -> Finding:
    return Finding(
        id="NODE-POD-CIDR",
        detail=f"node {host.dump.manifest.name} has {there}, but its Node object says {said}",
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=at,
    )


def _pod_routes(host: Host, view: ClusterView | None, networks: AddressSet) -> Iterator[Fact]:
    """By which interfaces the node reaches the cluster's pods."""
    pods = networks | view.cluster.pod_networks if view is not None else networks
    found: dict[str, list[str]] = {}
    for route in host.routes or ():
        if route.table == "main" and route.destination.prefixlen and AddressSet.of([route.destination]) <= pods:
            found.setdefault(route.device or route.kind, []).append(str(route.destination))
    for device, several in sorted(found.items()):
        shown = (Evidence(str(host.place(files.ROUTES)), clean(device), str(len(several))),)
        yield Fact(topic="pod-route", value=clean(device), detail=first_few(several), evidence=shown)


def _route_table(host: Host, view: ClusterView | None) -> Iterator[Fact]:
    """kubenet on Azure: the node's pods are reached by an entry of the subnet's route table."""
    azure = next(iter(view.by_kind.get(AZURE_KIND, ())), None) if view is not None else None
    node = _node(host, view)
    if azure is None or node is None or _field(azure.data, "spec", "networkProfile", "networkPlugin") != "kubenet":
        return
    hop = next((address for address in node.addresses if address.version == 4), None)
    for network in node.pod_networks.networks():
        value = f"{network} via {hop}" if hop is not None and network.version == 4 else str(network)
        yield Fact(
            topic="route-table", value=value, detail="the entry that kubenet needs; it goes with the step to overlay"
        )


def _field(value: Json, *path: str) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _seen_as(host: Host, view: ClusterView | None, networks: AddressSet, family: int) -> Iterator[Finding | Fact]:
    """As whom others see a pod of this node, by the nat table in use. A dump without one says nothing."""
    tables = [(ruleset, table) for ruleset, table in host.dump.tables("nat", family) if _in_use(host, table)]
    for ruleset, table in tables[:1]:
        pod = _some_pod(host, view, networks, table, family)
        if pod is None or not table.complete:
            continue
        found = appearances(ruleset, table, _world(host, pod))
        others = _other_translators(host, family)
        yield from _appearance_facts(found, pod, others)
        if not others:
            inside = networks | _cluster_networks(view) | _proxy_range(table, view)
            yield from _own_outside(host, inside, found)


def _other_translators(host: Host, family: int) -> str:
    """Tables of nftables that may translate what leaves too; "" when there are none. kube-proxy's asks for its mark."""
    families = {"inet", "ip" if family == 4 else "ip6"}
    chains = host.nft.chains if host.nft is not None else ()
    names = {
        f"{chain.family} {clean(chain.table)}"
        for chain in chains
        if (chain.type, chain.hook) == ("nat", "postrouting")
        and chain.family in families
        and chain.table != "kube-proxy"
    }
    return ", ".join(sorted(names))


def _in_use(host: Host, table: Table) -> bool:
    if not any(chain.name == "POSTROUTING" for chain in table.chains):
        return False
    return host.dump.active_backend is None or table.backend in {None, host.dump.active_backend}


def _some_pod(host: Host, view: ClusterView | None, networks: AddressSet, table: Table, family: int) -> Address | None:
    """An address of a pod on this node: one that runs, else one that a rule names, else one of its block."""
    name = host.dump.manifest.name
    for pod in _pods(view, name):
        for address in pod.addresses:
            if address.version == family:
                return address
    for condition in _sources(table):
        address = condition.network.network_address
        if condition.network.num_addresses == 1 and address in networks:
            return address
    for network in networks.networks():
        if network.version == family and network.num_addresses > 2:
            return network[2]
    return None


def _pods(view: ClusterView | None, node: str) -> Iterator[Pod]:
    for pod in view.cluster.pods if view is not None else ():
        if pod.node == node and not pod.host_network:
            yield pod


def _sources(table: Table) -> Iterator[AddressIs]:
    for chain in table.chains:
        for rule in chain.rules if chain.name == "POSTROUTING" else ():
            for condition in rule.conditions:
                if isinstance(condition, AddressIs) and condition.end is End.SOURCE and not condition.negated:
                    yield condition


def _world(host: Host, pod: Address) -> World:
    routes = [route for route in host.routes or () if route.table in {"main", "254"}]
    few = routes if len(routes) <= 2000 else []
    return World(
        pod,
        host.own_addresses,
        leaves_by((route.destination, route.device) for route in few),
        host.dump.sets.by_name() if host.dump.sets is not None else {},
    )


def _appearance_facts(found: tuple[Appears, ...], pod: Address, others: str) -> Iterator[Fact]:
    for appears in found:
        shown = (Evidence(str(appears.at), "nat POSTROUTING", appears.source),) if appears.at else ()
        some = "" if appears.always else "some packets to "
        yield Fact(
            topic=f"source-address-ipv{pod.version}",
            value=f"{appears.source} address" if appears.source in {OWN, NODE} else appears.source,
            state="unknown" if others else "active",
            detail=f"{some}{ranges(appears.destinations)}" + (f"; {others} may translate too" if others else ""),
            evidence=shown,
        )


def _own_outside(host: Host, cluster: AddressSet, found: tuple[Appears, ...]) -> Iterator[Finding]:
    """Destinations outside the cluster that do not see the node's address today."""
    inside = cluster | _NOWHERE | host.own_addresses
    changes: list[str] = []
    first: Location | None = None
    for appears in found:
        outside = appears.destinations - inside
        if outside and appears.source != NODE:
            who = "their own addresses" if appears.source == OWN else appears.source
            some = "" if appears.always else "for some packets "
            changes.append(f"{some}with {who} towards {ranges(appears.destinations)}")
            first = first or appears.at
    if changes:
        yield Finding(
            id="NODE-SOURCE-ADDRESS",
            detail=f"node {host.dump.manifest.name}: outside of the cluster pods appear {' and '.join(changes)}",
            effect=Effect.UNKNOWN,
            subject=host.dump.node,
            at=first or host.place(files.IPTABLES_NFT),
        )


def _cluster_networks(view: ClusterView | None) -> AddressSet:
    """Addresses of nodes, and the ranges of pods and Services that the snapshot tells."""
    if view is None:
        return AddressSet()
    found = view.cluster.pod_networks
    for fact in view.header.facts:
        if fact.topic in {"pod-networks", "service-network"} and fact.state == "active":
            for text in fact.value.split(", "):
                found |= AddressSet.of(_networks(text))
    addresses = (address for node in view.cluster.nodes for address in node.addresses)
    return found | AddressSet.of_addresses(addresses)


def _proxy_range(table: Table, view: ClusterView | None) -> AddressSet:
    """The pods' range as kube-proxy was told it: what comes from elsewhere to a Service is masqueraded.

    A range that holds nodes as well is the network of both, and not the cluster's alone.
    """
    nodes = [address for node in (view.cluster.nodes if view is not None else ()) for address in node.addresses]
    for chain in table.chains:
        for rule in chain.rules if chain.name.startswith(("KUBE-SVC-", "KUBE-SERVICES")) else ():
            for part in rule.conditions:
                if isinstance(part, AddressIs) and part.end is End.SOURCE and part.negated:
                    found = AddressSet.of([part.network])
                    return AddressSet() if any(node in found for node in nodes) else found
    return AddressSet()


def _networks(text: str) -> Iterator[Network]:
    try:
        yield parse_network(text)
    except ValueError:
        return
