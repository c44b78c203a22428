"""Who has an address in a set, without asking everybody."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Cluster, Node, Pod, Service


class _Owner(Protocol):
    @property
    def addresses(self) -> tuple[Address, ...]: ...


_T = TypeVar("_T", bound=_Owner)


class AddressBook(Generic[_T]):
    """Owners by their addresses, in the order of these."""

    def __init__(self, owners: Iterable[_T]) -> None:
        self._owners = tuple(owners)
        numbered = enumerate(self._owners)
        own = sorted(((a.version, int(a)), index) for index, owner in numbered for a in owner.addresses)
        self._keys = [key for key, _ in own]
        self._indexes = [index for _, index in own]

    def within(self, addresses: AddressSet) -> Iterator[_T]:
        """The owners of an address in the set, each once."""
        found: set[int] = set()
        for version, ranges in ((4, addresses.v4), (6, addresses.v6)):
            for low, high in ranges:
                start = bisect_left(self._keys, (version, low))
                found.update(self._indexes[start : bisect_right(self._keys, (version, high))])
        return (self._owners[index] for index in sorted(found))


@dataclass(frozen=True, slots=True)
class ClusterAddresses:
    """The address books of a cluster; pods on the host's network have no addresses of their own."""

    pods: AddressBook[Pod]
    nodes: AddressBook[Node]
    services: AddressBook[Service]

    @classmethod
    def of(cls, cluster: Cluster) -> ClusterAddresses:
        """Everyone who has an address."""
        own: Sequence[Pod] = [pod for pod in cluster.pods if not pod.host_network]
        return cls(AddressBook(own), AddressBook(cluster.nodes), AddressBook(cluster.services))
