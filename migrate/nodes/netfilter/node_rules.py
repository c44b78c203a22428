"""The packet filter of a dump's node, asked about flows between pods, nodes and the outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from migrate.model.addresses import Address
from migrate.model.documents import ExplainedNode, NodeStep
from migrate.model.flow import ICMP, ICMPV6, EndKind, Flow
from migrate.model.node_machine import Route
from migrate.nodes import files
from migrate.nodes.dump import NodeDump
from migrate.nodes.host import Host, host_of
from migrate.nodes.netfilter.evaluator import NodeFilter
from migrate.nodes.netfilter.judgement import Judgement, Step
from migrate.nodes.netfilter.own_addresses import OwnAddresses
from migrate.nodes.netfilter.passing import Packet, Way

Part = Literal["source", "destination", "both"]
OpenDump = Callable[[str], "NodeDump | None"]
"""Gives the dump of a node by its name; None when there is none."""

_FAMILIES = {
    4: (files.IPTABLES_NFT, files.IPTABLES_LEGACY),
    6: (files.IP6TABLES_NFT, files.IP6TABLES_LEGACY),
}
_NFT_FAMILIES = {4: frozenset({"ip", "inet"}), 6: frozenset({"ip6", "inet"})}


class NodeRules:
    """Asks the nodes at a flow's ends. Each dump is read when it is needed first."""

    def __init__(self, opened: OpenDump) -> None:
        self._open = opened
        self._read: dict[str, _Node | None] = {}

    def explained(self, flow: Flow) -> tuple[ExplainedNode, ...]:
        """What the rules of the source's and the destination's node do, of those nodes that there are dumps of."""
        source, destination = flow.source.node_name, flow.destination.node_name
        parts: dict[str, Part] = {}
        if source:
            parts[source] = "source"
        if destination:
            parts[destination] = "both" if destination == source else "destination"
        asked = ((self._node(name), name, part) for name, part in parts.items())
        return tuple(_explained(node, name, part, flow) for node, name, part in asked if node is not None)

    def _node(self, name: str) -> _Node | None:
        if name not in self._read:
            dump = self._open(name)
            self._read[name] = None if dump is None else _node(dump)
        return self._read[name]


def together(nodes: Iterable[ExplainedNode], flow: Flow) -> Literal["allow", "deny", "unknown"]:
    """What all nodes on the flow's way do with it; unknown where one of them is not known to let it through."""
    verdicts = {node.verdict for node in nodes}
    if "deny" in verdicts:
        return "deny"
    asked = {part for node in nodes for part in (("source", "destination") if node.part == "both" else (node.part,))}
    needed = {
        part
        for part, end in (("source", flow.source), ("destination", flow.destination))
        if end.kind is not EndKind.OUTSIDE
    }
    return "allow" if verdicts == {"allow"} and needed <= asked else "unknown"


@dataclass(frozen=True, slots=True)
class _Node:
    """A node that was read: its rules for each family of addresses that the dump has rules of."""

    rules: NodeFilter | None
    routes: tuple[Route, ...] = ()

    def device(self, address: Address) -> str | None:
        """The interface towards an address; None when the routes do not tell."""
        fitting = [
            route
            for route in self.routes
            if route.table in ("main", "local") and route.destination.version == address.version
            if address in route.destination
        ]
        if not fitting:
            return None
        widest = max(route.destination.prefixlen for route in fitting)
        devices = {route.device for route in fitting if route.destination.prefixlen == widest}
        return devices.pop() if len(devices) == 1 else None


def _node(dump: NodeDump) -> _Node:
    if dump.manifest.system == "windows":
        return _Node(None)
    host = host_of(dump)
    families = {family for family, kinds in _FAMILIES.items() if any(kind in dump.paths for kind in kinds)}
    own = OwnAddresses()
    if host.addresses is not None:
        broadcast = (one.address.network.broadcast_address for one in host.addresses if one.address.version == 4)
        own = OwnAddresses.of((one.address.ip for one in host.addresses), broadcast)
    beside = {family: tuple(_beside(host, family)) for family in families}
    return _Node(NodeFilter(dump.rulesets, dump.sets, own, frozenset(families), beside), host.routes or ())


def _beside(host: Host, family: int) -> Iterator[str]:
    """Rules that were not read, and others of nftables that see the same packets."""
    wanted = {printed.name for printed in (*_FAMILIES[family], files.IPSET, files.NFT)}
    for file in host.dump.manifest.files:
        if file.status == "failed" and file.name in wanted:
            yield f"{file.name} was not read: {file.detail}"
    if host.nft is None:
        return
    busy = {(rule.family, rule.table) for rule in host.nft.rules}
    hooked = {(chain.family, chain.table) for chain in host.nft.chains if chain.hook}
    for of, table in sorted(busy & hooked):
        if of in _NFT_FAMILIES[family]:
            yield f"{host.nft.at}: the table {of} {table} of nftables may decide, too"


def _explained(node: _Node, name: str, part: Part, flow: Flow) -> ExplainedNode:
    way = _way(name, flow)
    why = "a Windows node has no such rules" if node.rules is None else _not_followed(flow)
    if node.rules is None or why:
        return ExplainedNode(node=name, part=part, way=way.value, verdict="unknown", doubts=(why,))
    judged = node.rules.judge(_packet(node, way, flow))
    return _document(name, part, way, judged)


def _not_followed(flow: Flow) -> str:
    """Why a flow's packet at the node is not known; empty when it is."""
    if flow.via is None or (len(flow.via.targets) == 1 and not flow.via.external):
        return ""
    return f"{flow.via} may choose another pod or hide the source; ask for one of its pods"


def _document(name: str, part: Part, way: Way, judged: Judgement) -> ExplainedNode:
    return ExplainedNode(
        node=name,
        part=part,
        way=way.value,
        verdict=judged.verdict,
        steps=tuple(_step(step) for step in judged.steps),
        doubts=judged.doubts,
    )


def _step(step: Step) -> NodeStep:
    return NodeStep(
        table=step.table,
        chain=step.chain,
        action=step.action,
        at=str(step.at),
        backend=step.backend.value if step.backend else None,
        comment=" ".join(step.comments),
        unsure=step.unsure,
    )


def _way(name: str, flow: Flow) -> Way:
    if flow.source.kind is EndKind.NODE and flow.source.node_name == name:
        return Way.OUT
    if flow.destination.kind is EndKind.NODE and flow.destination.node_name == name:
        return Way.IN
    return Way.THROUGH


def _packet(node: _Node, way: Way, flow: Flow) -> Packet:
    """The flow's first packet as it comes to a node."""
    asked = flow.packet
    icmp = (asked.port, asked.code) if asked.protocol in (ICMP, ICMPV6) else None
    source, destination = flow.source.address, flow.destination.address
    return Packet(
        source,
        destination,
        asked.protocol,
        way,
        asked.source_port or None,
        None if icmp else asked.port,
        icmp,
        None if way is Way.OUT else node.device(source),
        None if way is Way.IN else node.device(destination),
    )
