"""The endpoints and networks of a node, each once, however many files tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from migrate.model.addresses import Address
from migrate.model.hns import Acl, Endpoint, HnsNetwork, HnsState, Schema, SetPolicy
from migrate.model.refs import Location

IN_USE, ATTACHED = 3, 2
"""States of an endpoint in HNS v1: of a running container; and of one on a host that is a virtual machine's own."""
AZURE, CALICO = "azure", "calico"
"""Names of the networks on which NPM works, in small letters."""


@dataclass(frozen=True, eq=False)
class Port:
    """One endpoint, as each file has it that tells of it."""

    versions: tuple[tuple[HnsState, Endpoint], ...]

    @property
    def id(self) -> str:
        """Its id."""
        return self.versions[0][1].id

    @property
    def name(self) -> str:
        """Its name, or else its id."""
        return next((endpoint.name for _, endpoint in self.versions if endpoint.name), self.id)

    @cached_property
    def addresses(self) -> tuple[Address, ...]:
        """Its addresses."""
        return tuple(dict.fromkeys(address for _, endpoint in self.versions for address in endpoint.addresses))

    @property
    def state(self) -> int | None:
        """Its state, which only HNS v1 tells."""
        return next((endpoint.state for _, endpoint in self.versions if endpoint.state is not None), None)

    @property
    def remote(self) -> bool:
        """Whether it stands for a pod of another node."""
        return any(endpoint.remote for _, endpoint in self.versions)

    @property
    def network(self) -> str:
        """The id of its network."""
        return next((endpoint.network for _, endpoint in self.versions if endpoint.network), "")

    @property
    def network_name(self) -> str:
        """The name of its network, which only HNS v1 tells."""
        return next((endpoint.network_name for _, endpoint in self.versions if endpoint.network_name), "")

    @property
    def whole(self) -> bool:
        """Whether all of its ACLs were read."""
        return not any(endpoint.unread for _, endpoint in self.versions)

    @property
    def at(self) -> Location:
        """Where it stands."""
        state, endpoint = self.versions[0]
        return state.at(endpoint)

    def acls(self) -> Iterator[tuple[HnsState, Acl]]:
        """The ACLs of all versions."""
        for state, endpoint in self.versions:
            for acl in endpoint.acls:
                yield state, acl


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its sets, those of all files together. Not `whole`: it may have more sets than these."""

    id: str
    name: str
    kind: str
    sets: tuple[tuple[HnsState, SetPolicy], ...]
    whole: bool
    at: Location


@dataclass(frozen=True, eq=False)
class HnsNode:
    """What the files of a node tell together. `whole`: every endpoint of the node is in `ports`."""

    ports: tuple[Port, ...]
    networks: tuple[Network, ...]
    whole: bool

    @cached_property
    def in_use(self) -> tuple[Port, ...]:
        """The endpoints of running pods. On a virtual machine's own host they are only attached."""
        running = {IN_USE, None}
        if any(port.state == ATTACHED for port in self.ports) and not any(port.state == IN_USE for port in self.ports):
            running.add(ATTACHED)
        return tuple(port for port in self.ports if port.state in running and port.addresses and not port.remote)

    def network_name(self, port: Port) -> str:
        """The name of an endpoint's network in small letters; empty when it is not known."""
        known = (network.name for network in self.networks if _same(network.id, port.network))
        return (port.network_name or next(known, "")).lower()

    @cached_property
    def pod_network(self) -> Network | None:
        """The network whose sets the ACLs name."""
        named = [network for network in self.networks if network.name.lower() in (AZURE, CALICO)]
        used = [n for n in self.networks if any(_same(n.id, port.network) for port in self.ports)]
        return next(iter([n for n in named if n in used] + named + [n for n in used if n.sets]), None)


def hns_node(states: Iterable[HnsState]) -> HnsNode:
    """Endpoints and networks by id, in the order of the files."""
    ports: dict[str, list[tuple[HnsState, Endpoint]]] = {}
    networks: dict[str, list[tuple[HnsState, HnsNetwork]]] = {}
    whole = False
    for state in states:
        whole = whole or (bool(state.endpoints) and state.complete)
        for endpoint in state.endpoints:
            ports.setdefault(endpoint.id.lower() or str(state.at(endpoint)), []).append((state, endpoint))
        for network in state.networks:
            networks.setdefault(network.id.lower() or str(state.at(network)), []).append((state, network))
    merged = tuple(_network(versions) for versions in networks.values())
    return HnsNode(tuple(Port(tuple(versions)) for versions in ports.values()), merged, whole)


def _network(versions: list[tuple[HnsState, HnsNetwork]]) -> Network:
    """Sets show in the newer form; a network of the older one alone does not tell which there are."""
    state, first = versions[0]
    newer = [network for state, network in versions if state.schema is Schema.V2 or network.sets]
    return Network(
        id=first.id,
        name=first.name,
        kind=first.kind,
        sets=tuple((state, found) for state, network in versions for found in network.sets),
        whole=bool(newer) and all(not network.unread for network in newer),
        at=state.at(first),
    )


def _same(one: str, other: str) -> bool:
    return bool(one) and one.lower() == other.lower()
