"""The cluster as policies see it: endpoints with labels and addresses, nodes, services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from migrate.model.addresses import Address, AddressSet
from migrate.model.labels import Labels, Scope


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A container port with a name. `protocol` is TCP, UDP or SCTP."""

    name: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; its labels always hold kubernetes.io/metadata.name."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with the labels of everything it belongs to.

    `addresses` is empty until the pod runs. A hostNetwork pod has its node's addresses and is its node for policy.
    `workload` is "Kind/name" of the controller at the top ("Deployment/web"), or None.
    """

    namespace: str
    name: str
    labels: Labels = Labels()
    namespace_labels: Labels = Labels()
    service_account: str = "default"
    service_account_labels: Labels = Labels()
    addresses: tuple[Address, ...] = ()
    named_ports: tuple[NamedPort, ...] = ()
    node: str | None = None
    host_network: bool = False
    workload: str | None = None

    def labels_of(self, scope: Scope) -> Labels:
        """The labels that a requirement of that scope reads."""
        if scope is Scope.POD:
            return self.labels
        return self.namespace_labels if scope is Scope.NAMESPACE else self.service_account_labels

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """A node; `pod_networks` are the blocks its pods get their addresses from."""

    name: str
    labels: Labels = Labels()
    addresses: tuple[Address, ...] = ()
    pod_networks: AddressSet = AddressSet()
    operating_system: str = "linux"

    def labels_of(self, scope: Scope) -> Labels:
        """Requirements on a node read its own labels; a node has no namespace and no service account."""
        return self.labels if scope is Scope.POD else Labels()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service; `target` is a number, a container port's name, or None for the same number."""

    protocol: str
    port: int
    target: int | str | None = None
    node_port: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. `selector` is None for a Service without one.

    `addresses` are its cluster, external and balancer IPs. A headless one has no cluster IP: its name leads to the
    pods themselves. `endpoints` are the addresses behind it, None when not known.
    """

    namespace: str
    name: str
    type: str = "ClusterIP"
    selector: Labels | None = None
    labels: Labels = Labels()
    addresses: tuple[Address, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    external_traffic_policy: str = "Cluster"
    endpoints: tuple[Address, ...] | None = None
    headless: bool = False


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account; its labels hold its own name under kubernetes.io/metadata.name."""

    namespace: str
    name: str
    labels: Labels


def families_of_pods(pods: Iterable[Pod]) -> frozenset[int]:
    """The IP versions of pods that have addresses of their own."""
    own = (pod.addresses for pod in pods if not pod.host_network)
    return frozenset(address.version for addresses in own for address in addresses)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything the policies may refer to. Each tuple is sorted by namespace and name.

    `complete` is False when something could not be read: then what is not here may still exist. `accounts_given`:
    ServiceAccount objects were read, so that their labels are known. `api_server` are the addresses behind the
    Service default/kubernetes. `names` are DNS names of the outside with their addresses, None when not known.
    `ip_families` are the IP versions of pods and nodes; `pod_families` those of pods that have addresses of their own,
    which tell what runs: nodes and pools may have more. Both are empty when not known.
    """

    namespaces: tuple[Namespace, ...] = ()
    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    accounts: tuple[ServiceAccount, ...] = ()
    accounts_given: bool = False
    api_server: tuple[Address, ...] = ()
    pod_networks: AddressSet = AddressSet()
    service_networks: AddressSet = AddressSet()
    complete: bool = False
    ip_families: frozenset[int] = field(default_factory=frozenset)
    names: tuple[tuple[str, tuple[Address, ...]], ...] | None = None
    pod_families: frozenset[int] = field(default_factory=frozenset)

    @property
    def running_families(self) -> frozenset[int]:
        """The IP versions that the cluster's network most likely runs; both where nothing tells."""
        return self.pod_families or self.ip_families or frozenset({4, 6})
