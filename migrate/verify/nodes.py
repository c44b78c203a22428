"""What an engine does on nodes with a flow: to their own processes, and to what they pass on for their pods."""

from __future__ import annotations

from migrate.model.cluster import Cluster
from migrate.model.flow import Direction, End, EndKind, Flow, Word
from migrate.model.ruleset import Chain, Engine, HostEngine, Way, decide
from migrate.verify.sides import FREE, Side, said


class NodeSides:
    """Asks one engine about the nodes of one cluster; an engine that does nothing there leaves everything free."""

    def __init__(self, engine: Engine, cluster: Cluster) -> None:
        self._engine = engine if isinstance(engine, HostEngine) else None
        self._nodes = {node.name: node for node in cluster.nodes}
        self._chains: dict[tuple[str, Direction, Way], Chain | None] = {}

    def of_node(self, direction: Direction, own: End, peer: End, flow: Flow) -> Side:
        """A node's processes. Between a node and its own pods only what the pods send is policed."""
        if own.node_name is None or own.node_name != peer.node_name:
            return self._ask(direction, own, peer, flow, Way.PROCESS)
        if peer.kind is EndKind.NODE or direction is Direction.EGRESS:
            return FREE
        return self._ask(direction, own, peer, flow, Way.OWN_POD)

    def beside_pod(self, direction: Direction, own: End, peer: End, flow: Flow, by_policy: Side) -> Side:
        """A pod's policy joined with its node's, in the order in which a packet comes to them."""
        if own.node_name is None:
            return by_policy
        if own.node_name == peer.node_name:
            return self._before_pod(direction, own, peer, flow, by_policy)
        by_node = self._ask(direction, own, peer, flow, Way.FORWARDED)
        first, second = (by_policy, by_node) if direction is Direction.EGRESS else (by_node, by_policy)
        if first.word is Word.UNENFORCED or (first.word is Word.ALLOW and second.word is Word.DENY):
            return second
        return first

    def _before_pod(self, direction: Direction, own: End, peer: End, flow: Flow, by_policy: Side) -> Side:
        if peer.kind is not EndKind.NODE or direction is Direction.INGRESS:
            return by_policy
        by_node = self._ask(direction, own, peer, flow, Way.OWN_POD)
        return by_node if by_node.word is Word.ALLOW else by_policy

    def _ask(self, direction: Direction, own: End, peer: End, flow: Flow, way: Way) -> Side:
        """What the node of the own end does."""
        node = self._nodes.get(own.node_name or "")
        if self._engine is None or node is None:
            return FREE
        key = (node.name, direction, way)
        if key not in self._chains:
            self._chains[key] = self._engine.host_chain(node, direction, way)
        chain = self._chains[key]
        return FREE if chain is None else said(decide(chain, own, peer, flow.packet, direction))
