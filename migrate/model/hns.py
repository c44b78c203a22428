"""What the Host Networking Service of a Windows node holds: endpoints with their ACLs, networks with their sets.

`line` counts from 1 in the dump, None where it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from migrate.model.addresses import Address, Network
from migrate.model.intervals import IntervalSet
from migrate.model.refs import Location


class Schema(Enum):
    """The two forms in which the service describes itself."""

    V1 = "HNS v1"
    V2 = "HCN v2"


@dataclass(frozen=True, slots=True)
class SetId:
    """A SetPolicy, by its id."""

    text: str


Place: TypeAlias = Network | SetId


@dataclass(frozen=True, slots=True)
class Acl:
    """One access rule of an endpoint; of those that fit, the lowest priority number decides.

    Protocols, ports and addresses that are None are any. Networks of one field are alternatives; sets of one field
    are meant to hold together. `host` is a rule for the node's own traffic (RuleType Host).
    `unread` are parts that are not understood; `id` is empty where the rule has none.
    """

    line: int | None
    id: str
    inbound: bool
    allows: bool
    priority: int
    host: bool = False
    protocols: frozenset[int] | None = None
    local_addresses: tuple[Place, ...] | None = None
    remote_addresses: tuple[Place, ...] | None = None
    local_ports: IntervalSet | None = None
    remote_ports: IntervalSet | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A port of the node's switch, in most cases of a pod. `state` 3 is in use, None in the newer form.

    `network` is the network's id; its name is known in the older form only. `remote` is one that stands for a pod of
    another node, as service load balancing needs them. `unread` are parts that could not be used:
    there may be more ACLs than these.
    """

    line: int | None
    id: str
    name: str
    network: str
    addresses: tuple[Address, ...]
    acls: tuple[Acl, ...]
    state: int | None = None
    other_policies: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    network_name: str = ""
    remote: bool = False


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A named set: of networks, or (`nested`) of other sets."""

    line: int | None
    id: str
    name: str
    nested: bool
    members: tuple[Place, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HnsNetwork:
    """A network of the node with the sets that its endpoints' ACLs name."""

    line: int | None
    id: str
    name: str
    kind: str
    sets: tuple[SetPolicy, ...]
    other_policies: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HnsState:
    """What one dump holds. Not `complete`: objects in it could not be used, so that one may be there and not here."""

    source: str
    schema: Schema | None
    endpoints: tuple[Endpoint, ...] = ()
    networks: tuple[HnsNetwork, ...] = ()
    complete: bool = True

    def at(self, part: Endpoint | Acl | SetPolicy | HnsNetwork) -> Location:
        """The file and line of a part."""
        return Location(self.source, part.line)
