"""The pods that an audit knows, by the addresses that they alone have."""

from __future__ import annotations

from typing import Protocol

from migrate.audit.layout import Address
from migrate.audit.telling import OpenOwners, Owners
from migrate.audit.veths import PodName, Pods
from migrate.model.cluster import Cluster


class KnownPods(Pods, Protocol):
    """Pods that may come and go."""

    def resume(self, store: OpenOwners, heard: int) -> None:
        """Go on with a recording that was last written at `heard`, in nanoseconds since 1970."""

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""


class SnapshotPods:
    """Pods as the snapshot has them; those that came later are not known."""

    def __init__(self, cluster: Cluster) -> None:
        self._by_address = {
            address: PodName(pod.namespace, pod.name, "")
            for pod in cluster.pods
            if not pod.host_network
            for address in pod.addresses
        }

    def pod_at(self, address: Address) -> PodName | None:
        """The pod that has this address for itself."""
        return self._by_address.get(address)

    def resume(self, store: OpenOwners, heard: int) -> None:
        """Nothing was ever learnt."""

    def tell(self, store: Owners) -> None:
        """Nothing is ever learnt: a replay has the snapshot itself."""
