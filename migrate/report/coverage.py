"""Which pods are selected by a policy today: the others are open to everyone, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from migrate.model.cluster import Cluster, Pod
from migrate.model.raw import RawObject
from migrate.model.selectors import Selector, matches
from migrate.sources import calico, kubernetes

_CALICO_KINDS = ("NetworkPolicy", "GlobalNetworkPolicy")


@dataclass(frozen=True, slots=True)
class Subject:
    """The pods that one policy selects: all selectors must match. `namespace` is None for a global policy."""

    namespace: str | None
    selectors: tuple[Selector, ...]

    def selects(self, pod: Pod) -> bool:
        """Whether the policy applies to the pod; a host-network pod is its node and never selected."""
        here = self.namespace is None or self.namespace == pod.namespace
        return here and not pod.host_network and all(matches(selector, pod) for selector in self.selectors)


def read_subject(raw: RawObject) -> Subject | None:
    """Whom the object selects; None when it is no enforced policy or cannot be understood."""
    ref = raw.ref
    if ref.group == "networking.k8s.io" and ref.kind == "NetworkPolicy":
        policy = kubernetes.read_policy(raw)
        return None if policy.problems else Subject(ref.namespace or "default", (policy.subject,))
    if ref.group in calico.GROUPS and ref.kind in _CALICO_KINDS:
        found = calico.read_policy(raw)
        if found.problems or not found.directions:
            return None
        parts = (found.selector, found.namespace_selector, found.account_selector)
        return Subject(ref.namespace, tuple(part for part in parts if part is not None))
    return None


def selected_pods(cluster: Cluster, objects: Iterable[RawObject]) -> Counter[str]:
    """Number of pods by namespace that at least one understood policy selects."""
    by_namespace: dict[str | None, list[Subject]] = {}
    for raw in objects:
        subject = read_subject(raw)
        if subject is not None:
            by_namespace.setdefault(subject.namespace, []).append(subject)
    found: Counter[str] = Counter()
    known: dict[object, bool] = {}
    for pod in cluster.pods:
        look = (pod.namespace, pod.labels, pod.service_account, pod.host_network)
        if look not in known:
            candidates = [*by_namespace.get(pod.namespace, ()), *by_namespace.get(None, ())]
            known[look] = any(subject.selects(pod) for subject in candidates)
        found[pod.namespace] += known[look]
    return found
