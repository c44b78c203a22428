"""The pods of a cluster as Cilium's identities, asked by bit sets instead of pod by pod.

An identity is what policy can tell of a pod: its namespace, service account and kept labels, and since 1.20 its named
ports. Facts: pkg/labelsfilter and pkg/k8s of cilium/cilium v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.model.cluster import Cluster, Pod
from migrate.model.labels import Labels, Scope
from migrate.model.selectors import NEGATIVE, And, Not, Requirement, Selector
from migrate.sources.cilium_settings import CiliumSettings


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """Pods that policy cannot tell apart; `pod` is the first of them."""

    pod: Pod
    pods: tuple[Pod, ...]


class PodIdentities:
    """All identities of pods; bit n of every mask stands for the identity at n."""

    def __init__(self, cluster: Cluster, settings: CiliumSettings) -> None:
        groups: dict[object, list[Pod]] = {}
        for pod in cluster.pods:
            if not pod.host_network:
                groups.setdefault(_key(pod, settings), []).append(pod)
        self.identities: Sequence[PodIdentity] = [PodIdentity(pods[0], tuple(pods)) for pods in groups.values()]
        self.all = (1 << len(self.identities)) - 1
        self._values: dict[tuple[Scope, str], dict[str, int]] = {}
        self._masks: dict[Selector, int] = {}

    def mask(self, selector: Selector) -> int:
        """The identities whose pods the selector matches."""
        if selector not in self._masks:
            self._masks[selector] = self._mask(selector)
        return self._masks[selector]

    def _mask(self, selector: Selector) -> int:
        if isinstance(selector, Requirement):
            return self._requirement(selector)
        if isinstance(selector, Not):
            return self.all & ~self.mask(selector.term)
        masks = [self.mask(term) for term in selector.terms]
        if isinstance(selector, And):
            return _intersection(masks, self.all)
        return _union(masks)

    def _requirement(self, requirement: Requirement) -> int:
        """Negations are looked up by what they leave out, so that every operator needs the label's values only."""
        negative = requirement.operator in NEGATIVE
        positive = requirement.negated() if negative else requirement
        values = self._labelled(positive.scope, positive.key)
        found = _union(mask for value, mask in values.items() if positive.matches(Labels(((positive.key, value),))))
        return self.all & ~found if negative else found

    def _labelled(self, scope: Scope, key: str) -> dict[str, int]:
        """The identities by the value that they have of a label."""
        if (scope, key) not in self._values:
            bits: dict[str, bytearray] = {}
            for index, identity in enumerate(self.identities):
                value = identity.pod.labels_of(scope).get(key)
                if value is not None:
                    row = bits.setdefault(value, bytearray(len(self.identities) // 8 + 1))
                    row[index >> 3] |= 1 << (index & 7)
            self._values[scope, key] = {value: int.from_bytes(row, "little") for value, row in bits.items()}
        return self._values[scope, key]


def bits_of(mask: int) -> Iterator[int]:
    """The places of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _key(pod: Pod, settings: CiliumSettings) -> object:
    labels = tuple(pair for pair in pod.labels.pairs if settings.is_identity_label(pair[0]))
    ports = pod.named_ports if settings.named_ports_per_identity else ()
    return pod.namespace, pod.service_account, labels, ports


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _intersection(masks: Sequence[int], everything: int) -> int:
    found = everything
    for mask in masks:
        found &= mask
    return found
