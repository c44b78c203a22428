"""The objects of the cluster, as a node is compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from migrate.model.cluster import Cluster
from migrate.model.documents import SnapshotHeader
from migrate.model.raw import RawObject, by_kind
from migrate.model.refs import ObjectRef
from migrate.nodes.calico.objects import CalicoObjects
from migrate.sources import kubernetes
from migrate.sources.cluster import read_cluster
from migrate.sources.kubernetes import NetworkPolicy


@dataclass(frozen=True, eq=False)
class ClusterView:
    """A snapshot, with what is made of it for all nodes at once."""

    header: SnapshotHeader
    objects: tuple[RawObject, ...]

    def without(self, late: frozenset[ObjectRef]) -> ClusterView:
        """The view without some objects; the same one again when asked for the same objects in a row."""
        if late not in self._parts:
            self._parts.clear()
            self._parts[late] = ClusterView(self.header, tuple(raw for raw in self.objects if raw.ref not in late))
        return self._parts[late]

    @cached_property
    def _parts(self) -> dict[frozenset[ObjectRef], ClusterView]:
        return {}

    @cached_property
    def by_kind(self) -> Mapping[str, tuple[RawObject, ...]]:
        """The objects by kind."""
        return by_kind(self.objects)

    @cached_property
    def cluster(self) -> Cluster:
        """What runs in the cluster."""
        return read_cluster(self.objects, complete=self.header.complete)

    @cached_property
    def network_policies(self) -> tuple[NetworkPolicy, ...]:
        """Kubernetes' NetworkPolicies that can be read."""
        raws = (raw for raw in self.by_kind.get("NetworkPolicy", ()) if raw.ref.group == "networking.k8s.io")
        return tuple(policy for raw in raws if not (policy := kubernetes.read_policy(raw)).problems)

    @cached_property
    def calico(self) -> CalicoObjects:
        """The objects as Calico's agent sees them."""
        return CalicoObjects(self.cluster, self.objects, whole=self.header.namespaces is None)

    def runs(self, engine: str) -> bool:
        """Whether an engine (as the inventory names it: npm-linux, calico) is said to be active."""
        return any((fact.topic, fact.value, fact.state) == ("engine", engine, "active") for fact in self.header.facts)
