"""All nodes of a cluster with their agents, and why a node has none that can be asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from migrate.collect.cluster_nodes import ClusterNode, nodes_of
from migrate.control.agent_pods import AgentPod, AgentSet, agent_pods, agent_set, refusal_to_make_pods
from migrate.control.watched_nodes import plan_nodes
from migrate.model.agent_documents import AgentSettings
from migrate.scan.connection import Connection, RequestError
from migrate.scan.reader import Patience, Reader

_PATIENCE = Patience(tries=2, first_wait=0.5, longest_wait=2.0)
_ALWAYS = frozenset({("kubernetes.io/os", "linux")})
"""What the agents' pods ask of every node."""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node as the API server tells of it. `reason` says why its agent cannot be asked, or what is odd with it.

    `is_for_agents`: the DaemonSet makes a pod for it.
    """

    name: str
    pod: AgentPod | None
    reason: str = ""
    is_for_agents: bool = True

    @property
    def can_be_asked(self) -> bool:
        """Whether commands can be run in its agent's container."""
        return self.pod is not None and self.pod.runs


@dataclass(frozen=True, slots=True)
class Sight:
    """What the API server tells of a run. `trouble` is what it did not tell; `nodes` is None when it told of none."""

    nodes: tuple[NodeSeen, ...] | None
    trouble: str = ""
    deployed: bool = True


@dataclass(slots=True)
class _Parts:
    """Answers of the API server, each of which may be missing."""

    nodes: tuple[ClusterNode, ...] | None = None
    pods: tuple[AgentPod, ...] | None = None
    daemon_set: AgentSet | None = None
    refusal: str = ""
    troubles: list[str] = field(default_factory=list)


def look(connection: Connection, settings: AgentSettings) -> Sight:
    """All nodes and the run's agents on them. What the API server does not tell is said, and raises nothing."""
    reader = Reader(connection, _PATIENCE)
    parts = _Parts()
    try:
        parts.pods = agent_pods(reader, settings.namespace, settings.run)
        parts.nodes = nodes_of(reader, ())
    except (RequestError, msgspec.DecodeError) as error:
        parts.troubles.append(str(error))
    deployed = _look_at_set(reader, settings, parts) if parts.pods is not None else True
    if parts.pods is None:
        return Sight(None, "; ".join(parts.troubles), deployed)
    return Sight(tuple(_seen(parts)), "; ".join(parts.troubles), deployed)


def _look_at_set(reader: Reader, settings: AgentSettings, parts: _Parts) -> bool:
    """Whether the run's DaemonSet is there, as far as is known. Its events are looked at only when a pod is missing."""
    try:
        parts.daemon_set = agent_set(reader, settings.namespace)
    except RequestError as error:
        if error.status == 404:
            return False
        parts.troubles.append(str(error))
        return True
    except msgspec.DecodeError as error:
        parts.troubles.append(str(error))
        return True
    with_pods = {pod.node for pod in parts.pods or ()}
    if any(node.name not in with_pods and node.system == "linux" for node in parts.nodes or ()):
        try:
            parts.refusal = refusal_to_make_pods(reader, settings.namespace)
        except (RequestError, msgspec.DecodeError) as error:
            parts.refusal = f"events that would say why cannot be read: {error}"
    return parts.daemon_set.run == settings.run


def _seen(parts: _Parts) -> list[NodeSeen]:
    """Nodes by name. Where nodes cannot be listed, those of the agents' pods."""
    pods = {pod.node: pod for pod in parts.pods or ()}
    nodes = parts.nodes
    if nodes is None:
        nodes = tuple(ClusterNode(name, "linux") for name in sorted(pods))
    chosen = parts.daemon_set.selector if parts.daemon_set is not None else ()
    plan = plan_nodes(nodes, tuple(label for label in chosen if label not in _ALWAYS))
    unwatched = {node.name: node.reason for node in plan.unwatched}
    left_out = {node.name for node in plan.unwatched if not node.has_agent}
    return [
        NodeSeen(
            node.name,
            pods.get(node.name),
            _reason(node, pods.get(node.name), unwatched, parts),
            is_for_agents=node.name not in left_out,
        )
        for node in nodes
    ]


def _reason(node: ClusterNode, pod: AgentPod | None, unwatched: dict[str, str], parts: _Parts) -> str:
    if node.cannot and pod is not None:
        return node.cannot
    if pod is not None:
        return pod.trouble
    return unwatched.get(node.name) or _no_pod(parts)


def _no_pod(parts: _Parts) -> str:
    if parts.daemon_set is None:
        return "it has no agent: the DaemonSet of the agents is not there"
    if parts.refusal:
        return f"it has no agent: the DaemonSet could not make its pod ({parts.refusal})"
    return "it has no agent yet: the DaemonSet has made no pod for it"
