"""What every part of the translator looks at: the cluster, the target and what is enforced today."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.finding import Effect
from migrate.model.refs import ObjectRef
from migrate.model.selectors import Conjunction
from migrate.sources.calico import NetworkSet
from migrate.sources.endpoints import Backend
from migrate.translate.address_index import AddressIndex
from migrate.translate.profiles import Profile

ENGINES = ("npm-linux", "npm-windows", "calico", "cilium", "none")


@dataclass(frozen=True, eq=False)
class Context:
    """One is equal to itself only, so that what is found out about its cluster can be kept by it.

    `engines` are the active ones of today, () when unknown; `sets` the network sets of the snapshot.

    `backends` are what EndpointSlices say stands behind Services, None when none was given. `widen` asks for
    peers that allow more where nothing in Cilium's words allows the same; `admin` for ordered policies in the Admin
    tier. `hosts_said` are the HostEndpoints for which host policies are written.
    """

    cluster: Cluster
    profile: Profile
    engines: tuple[str, ...]
    sets: tuple[NetworkSet, ...] = ()
    backends: tuple[Backend, ...] | None = None
    widen: bool = False
    admin: bool = False
    hosts_said: frozenset[ObjectRef] = frozenset()

    @cached_property
    def exact(self) -> Context:
        """The same without widening: where peers are also subtracted, more of one would be less of another."""
        return replace(self, widen=False) if self.widen else self

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """Pods that policies can select and that have addresses: not those on the host's network."""
        return tuple(pod for pod in self.cluster.pods if not pod.host_network and pod.addresses)

    @cached_property
    def pod_addresses(self) -> AddressIndex:
        """The addresses of `pods`, by their index."""
        return AddressIndex([pod.addresses for pod in self.pods])

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes that have addresses."""
        return tuple(node for node in self.cluster.nodes if node.addresses)

    @cached_property
    def node_addresses(self) -> AddressIndex:
        """The addresses of `nodes`, by their index."""
        return AddressIndex([node.addresses for node in self.nodes])

    @cached_property
    def owned(self) -> AddressSet:
        """The addresses that pods and nodes have."""
        by_owner = [pod.addresses for pod in self.pods] + [node.addresses for node in self.nodes]
        return AddressSet.of_addresses(address for addresses in by_owner for address in addresses)

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """The names of the namespaces."""
        return frozenset(namespace.name for namespace in self.cluster.namespaces)

    @cached_property
    def pods_by_namespace(self) -> dict[str, tuple[Pod, ...]]:
        """The same pods by namespace."""
        found: dict[str, list[Pod]] = {}
        for pod in self.pods:
            found.setdefault(pod.namespace, []).append(pod)
        return {name: tuple(pods) for name, pods in found.items()}

    @cached_property
    def host_pods(self) -> tuple[Pod, ...]:
        """Pods on their host's network."""
        return tuple(pod for pod in self.cluster.pods if pod.host_network)

    @cached_property
    def neighbours(self) -> dict[str, tuple[Pod, ...]]:
        """All pods that policies can select, by namespace; also those that wait for an address."""
        found: dict[str, list[Pod]] = {}
        for pod in self.cluster.pods:
            if not pod.host_network:
                found.setdefault(pod.namespace, []).append(pod)
        return {name: tuple(pods) for name, pods in found.items()}

    def pods_of(self, conjunction: Conjunction, namespace: str | None) -> tuple[Pod, ...]:
        """The pods that a conjunction selects, in one namespace or (None) in all."""
        candidates: Iterable[Pod] = self.pods if namespace is None else self.pods_by_namespace.get(namespace, ())
        return tuple(pod for pod in candidates if all(r.matches(pod.labels_of(r.scope)) for r in conjunction))

    def enforced(self, effect: Effect, *engines: str) -> Effect:
        """`effect` when one of these engines enforces today, none for another one, unknown when nobody knows."""
        if not self.engines:
            return Effect.UNKNOWN
        return effect if any(engine in self.engines for engine in engines) else Effect.NONE

    @property
    def today(self) -> tuple[str, ...]:
        """Engines that enforce the text of the policies today."""
        return tuple(engine for engine in self.engines if engine != "none")

    def changes(self, effect: Effect) -> Effect:
        """`effect` against today's enforcement for a difference from the policies' text."""
        return effect if self.today else Effect.UNKNOWN
