"""Which nodes of a cluster agents will watch, and why they will not watch the others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from migrate.collect.cluster_nodes import ClusterNode
from migrate.control.manifests import virtual_labels

_OLDEST_KERNEL = (5, 10)
"""That the probe is loaded into (docs/audit.md)."""


@dataclass(frozen=True, slots=True, order=True)
class Unwatched:
    """A node without an agent. `has_agent`: there will be a pod for it all the same."""

    name: str
    reason: str
    has_agent: bool = False


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What becomes of each node, by name."""

    watched: tuple[str, ...]
    unwatched: tuple[Unwatched, ...]

    @property
    def agents(self) -> int:
        """How many pods there will be, with those that wait for their nodes or fail on them."""
        return len(self.watched) + sum(node.has_agent for node in self.unwatched)


def plan_nodes(nodes: Iterable[ClusterNode], selector: tuple[tuple[str, str], ...]) -> NodePlan:
    """What becomes of each node when agents run where a selector asks for them."""
    found = [(node.name, _unwatched(node, selector)) for node in sorted(nodes)]
    return NodePlan(
        tuple(name for name, unwatched in found if unwatched is None),
        tuple(unwatched for _, unwatched in found if unwatched is not None),
    )


def _unwatched(node: ClusterNode, selector: tuple[tuple[str, str], ...]) -> Unwatched | None:
    labels = dict(node.labels)
    lacking = [f"{key}={value}" for key, value in selector if labels.get(key) != value]
    if node.system == "windows":
        return Unwatched(node.name, "it is a Windows node: there is no probe for Windows")
    if node.is_virtual or any(labels.get(label.key) == label.value for label in virtual_labels()):
        return Unwatched(node.name, "it is a virtual node: no machine of the cluster is behind it")
    if lacking:
        return Unwatched(node.name, f"--node-selector leaves it out: it does not have {', '.join(lacking)}")
    if (kernel := _version(node.kernel)) is not None and kernel < _OLDEST_KERNEL:
        oldest = ".".join(map(str, _OLDEST_KERNEL))
        text = f"its kernel {node.kernel} is too old for the probe, which needs {oldest} or newer"
        return Unwatched(node.name, text, has_agent=True)
    if node.cannot:
        return Unwatched(node.name, f"{node.cannot}; its agent begins when it is back", has_agent=True)
    return None


def _version(kernel: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return (int(found[1]), int(found[2])) if found is not None else None
