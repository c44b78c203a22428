"""What the translator builds: Cilium policies as values, before they become YAML."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.addresses import Network
from migrate.model.flow import Direction
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import Conjunction

CNP = "CiliumNetworkPolicy"
CCNP = "CiliumClusterwideNetworkPolicy"
CIDR_GROUP = "CiliumCIDRGroup"
ADMIN_POLICY = "ClusterNetworkPolicy"


@dataclass(frozen=True, slots=True)
class Block:
    """A prefix less its exceptions, or a CiliumCIDRGroup by name (then `cidr` is None)."""

    cidr: Network | None
    excepts: tuple[Network, ...] = ()
    group: str | None = None

    def __str__(self) -> str:
        return f"CIDR group {self.group}" if self.cidr is None else str(self.cidr)

    def sort_key(self) -> tuple[int, int, int, str]:
        """Order of blocks in a rule: groups last, IPv4 first, ascending."""
        if self.cidr is None:
            return (9, 0, 0, self.group or "")
        return (self.cidr.version, int(self.cidr.network_address), self.cidr.prefixlen, str(self.excepts))


@dataclass(frozen=True, slots=True)
class Peers:
    """The other ends of a rule: the union of pods by label, address blocks and Cilium's entities."""

    endpoints: tuple[Conjunction, ...] = ()
    blocks: tuple[Block, ...] = ()
    entities: tuple[str, ...] = ()

    def __or__(self, other: Peers) -> Peers:
        return Peers(
            tuple(dict.fromkeys(self.endpoints + other.endpoints)),
            tuple(dict.fromkeys(self.blocks + other.blocks)),
            tuple(dict.fromkeys(self.entities + other.entities)),
        )

    def __bool__(self) -> bool:
        return bool(self.endpoints or self.blocks or self.entities)


ANYONE = Peers(entities=("all",))


@dataclass(frozen=True, slots=True)
class Port:
    """A port of one protocol: a number, a range, a name, or all ports ("0")."""

    protocol: str
    port: int | str
    end: int | None = None

    def sort_key(self) -> tuple[str, int, str, int]:
        """Order of ports in a rule: protocol, numbers before names."""
        number = self.port if isinstance(self.port, int) else 65536
        return (self.protocol, number, str(self.port), self.end or 0)


@dataclass(frozen=True, slots=True)
class IcmpType:
    """An ICMP type of one family, "IPv4" or "IPv6". Never type 0, which opens the whole family in Cilium."""

    family: str
    type: int


@dataclass(frozen=True, slots=True)
class CiliumRule:
    """One allow, or with `deny` one deny, which wins over every allow.

    `ports` and `icmp` None: every protocol; both given: the rule is emitted once for each.
    """

    direction: Direction
    peers: Peers
    ports: tuple[Port, ...] | None = None
    icmp: tuple[IcmpType, ...] | None = None
    deny: bool = False


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Rules for the pods of one selector; `isolates` are the directions that get a default deny."""

    subject: Conjunction
    isolates: frozenset[Direction]
    rules: tuple[CiliumRule, ...]


@dataclass(frozen=True, slots=True)
class CiliumPolicy:
    """A CiliumNetworkPolicy (namespace given) or a CiliumClusterwideNetworkPolicy to be written."""

    namespace: str | None
    name: str
    specs: tuple[PolicySpec, ...]
    source: ObjectRef
    at: Location | None
    description: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy."""
        return CNP if self.namespace else CCNP


@dataclass(frozen=True, slots=True)
class CidrGroup:
    """A CiliumCIDRGroup to be written; `api_version` is that of the profile."""

    name: str
    api_version: str
    networks: tuple[Network, ...]
    labels: tuple[tuple[str, str], ...]
    source: ObjectRef
    at: Location | None
