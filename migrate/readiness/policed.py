"""Which pods are isolated on their way in by today's policies, and by which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrate.model.cluster import Pod
from migrate.model.flow import Direction
from migrate.model.selectors import matches
from migrate.readiness.documents import Documents
from migrate.sources import calico, kubernetes
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy

KINDS = ("NetworkPolicy", "GlobalNetworkPolicy")
_GROUP = "networking.k8s.io"


@dataclass(frozen=True, slots=True)
class Isolating:
    """The policies that say who may come in: Kubernetes' own, and Calico's."""

    plain: tuple[NetworkPolicy, ...]
    ordered: tuple[calico.CalicoPolicy, ...]

    def isolates(self, pod: Pod) -> bool:
        """Whether anything decides who reaches a pod."""
        return any(True for _ in self._of(pod)) or any(_selects(policy, pod) for policy in self.ordered)

    def names_clients(self, pod: Pod) -> bool:
        """Whether a NetworkPolicy admits ranges of addresses to a pod."""
        rules = [rule for policy in self._of(pod) for rule in policy.ingress]
        return any(isinstance(peer, BlockPeer) for rule in rules for peer in rule.peers or ())

    def _of(self, pod: Pod) -> Iterator[NetworkPolicy]:
        for policy in self.plain:
            if (policy.ref.namespace or "default") == pod.namespace and matches(policy.subject, pod):
                yield policy


def isolating(documents: Documents) -> Isolating:
    """The policies of a snapshot that are in force for pods on their way in."""
    several = documents.by_kind.get("NetworkPolicy", ())
    plain = [kubernetes.read_policy(raw) for raw in several if raw.ref.group == _GROUP]
    others = [raw for kind in KINDS for raw in documents.by_kind.get(kind, ()) if raw.ref.group in calico.GROUPS]
    ordered = [calico.read_policy(raw) for raw in others]
    return Isolating(
        tuple(policy for policy in plain if Direction.INGRESS in policy.directions),
        tuple(policy for policy in ordered if Direction.INGRESS in policy.directions and not policy.staged),
    )


def _selects(policy: calico.CalicoPolicy, pod: Pod) -> bool:
    asked = (policy.selector, policy.namespace_selector, policy.account_selector)
    inside = policy.namespace is None or policy.namespace == pod.namespace
    return inside and all(selector is None or matches(selector, pod) for selector in asked)
