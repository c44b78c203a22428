"""The pods of a snapshot, by the addresses that they alone have."""

from __future__ import annotations

from migrate.audit.layout import Address
from migrate.audit.veths import PodName
from migrate.model.cluster import Cluster


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
