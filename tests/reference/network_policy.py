"""NetworkPolicy of networking.k8s.io/v1, its types as the API documents them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import msgspec

from tests.reference.cases import Address, Answer, Party, Word

Direction: TypeAlias = Literal["Ingress", "Egress"]


class Requirement(msgspec.Struct, frozen=True):
    """One of a selector's matchExpressions."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def holds(self, labels: dict[str, str]) -> bool:
        """Whether labels satisfy it; NotIn and DoesNotExist hold where the label is missing."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        found = self.key in labels and labels[self.key] in self.values
        return found if self.operator == "In" else not found


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """All of the parts have to hold; empty selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()

    def holds(self, labels: dict[str, str]) -> bool:
        """Whether labels satisfy the selector."""
        pairs = all(labels.get(key) == value for key, value in self.match_labels.items())
        return pairs and all(expression.holds(labels) for expression in self.match_expressions)


class Block(msgspec.Struct, frozen=True):
    """A CIDR with holes."""

    cidr: str
    holes: tuple[str, ...] = msgspec.field(default=(), name="except")

    def holds(self, address: Address) -> bool:
        """Whether the address is in the CIDR and in no hole."""
        return _within(address, [self.cidr]) and not _within(address, self.holes)


def _within(address: Address, networks: Iterable[str]) -> bool:
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


class Peer(msgspec.Struct, frozen=True, rename="camel"):
    """A peer; at least one field is set, and `ip_block` only alone."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: Block | None = None


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """Ports of one protocol."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None

    def holds(self, protocol: str, port: int, destination: Party) -> bool:
        """Whether it covers the packet; a name is looked up in the destination pod."""
        if protocol != self.protocol:
            return False
        if isinstance(self.port, str):
            named = () if destination.pod is None else destination.pod.named_ports
            return any((n.name, n.protocol, n.port) == (self.port, protocol, port) for n in named)
        return self.port is None or self.port <= port <= (self.end_port or self.port)


class Rule(msgspec.Struct, frozen=True):
    """An ingress or egress rule; of `sources` and `targets` only the one of its direction is set."""

    sources: tuple[Peer, ...] | None = msgspec.field(default=None, name="from")
    targets: tuple[Peer, ...] | None = msgspec.field(default=None, name="to")
    ports: tuple[Port, ...] | None = None

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The other ends; none means anyone."""
        return self.sources or self.targets or ()

    def covers_ports(self, protocol: str, port: int, destination: Party) -> bool:
        """Whether the ports part lets the packet through; without one every protocol passes."""
        return not self.ports or any(entry.holds(protocol, port, destination) for entry in self.ports)


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What the policy says."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    policy_types: tuple[Direction, ...] | None = None

    def directions(self) -> tuple[Direction, ...]:
        """policyTypes, or the API server's default: Ingress, and Egress when there are egress rules."""
        if self.policy_types:
            return self.policy_types
        return ("Ingress", "Egress") if self.egress else ("Ingress",)

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        """The rules of one direction."""
        return (self.ingress if direction == "Ingress" else self.egress) or ()


class Metadata(msgspec.Struct, frozen=True):
    """The policy's name."""

    name: str
    namespace: str = "default"


class NetworkPolicy(msgspec.Struct, frozen=True):
    """One NetworkPolicy."""

    metadata: Metadata
    spec: Spec


def read_policies(objects: Iterable[dict[str, object]]) -> tuple[NetworkPolicy, ...]:
    """The NetworkPolicies among objects. Raises ValueError for a policy of another kind, which would go unjudged."""
    found: list[NetworkPolicy] = []
    for item in objects:
        if (item.get("apiVersion"), item.get("kind")) != ("networking.k8s.io/v1", "NetworkPolicy"):
            raise ValueError(f"{item.get('apiVersion')} {item.get('kind')} is not a NetworkPolicy")
        found.append(msgspec.convert(item, NetworkPolicy))
    return tuple(found)


Isolates: TypeAlias = Callable[[NetworkPolicy, Direction, Party], bool]
"""Whether a policy isolates a party in a direction."""
IsPeer: TypeAlias = Callable[[Peer, str, Party], bool]
"""Whether a peer of a policy in a namespace means a party."""


def decide(
    policies: Iterable[NetworkPolicy],
    flow: tuple[Party, Party, str, int],
    isolates: Isolates,
    is_peer: IsPeer,
) -> Answer:
    """The union of all policies' rules at both ends; the flow is source, destination, protocol and port."""
    source, destination, protocol, port = flow

    def allows(policy: NetworkPolicy, rule: Rule, other: Party) -> bool:
        peers = not rule.peers or any(is_peer(peer, policy.metadata.namespace, other) for peer in rule.peers)
        return peers and rule.covers_ports(protocol, port, destination)

    def side(direction: Direction, subject: Party, other: Party) -> Word:
        isolating = [policy for policy in policies if isolates(policy, direction, subject)]
        if not isolating:
            return "unenforced"
        allowed = any(allows(policy, rule, other) for policy in isolating for rule in policy.spec.rules(direction))
        return "allow" if allowed else "deny"

    return Answer(side("Egress", source, destination), side("Ingress", destination, source))
