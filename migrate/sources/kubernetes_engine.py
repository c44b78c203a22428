"""NetworkPolicies as the Kubernetes API's text means them: a union of allows, default deny per direction.

The text leaves open whether an ipBlock covers pods and nodes; here a block is plain addresses, as in every engine
that works by address.
"""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.flow import PROTOCOL_NUMBERS, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Scope
from migrate.model.ruleset import (
    ANY_END,
    EVERY_PACKET,
    Action,
    Addresses,
    AnyOf,
    At,
    Chain,
    Place,
    Pods,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
)
from migrate.model.selectors import And, Operator, Requirement, Selector
from migrate.sources.kubernetes import NAMESPACE_NAME, BlockPeer, NetworkPolicy, Peer, PortMatch


class KubernetesEngine:
    """What the policies' text says. A pod may always talk to itself and to its own node, both ways."""

    def __init__(self, policies: Sequence[NetworkPolicy]) -> None:
        self._rules = {direction: [policy_rules(policy, direction) for policy in policies] for direction in Direction}
        self.subjects: Sequence[Subject] = tuple(
            Subject(
                in_namespace(policy.subject, policy.ref.namespace),
                policy.directions,
                Provenance(policy.ref, "spec", policy.at),
            )
            for policy in policies
        )
        free = AnyOf((At(Place.ITSELF), At(Place.OWN_NODE)))
        self.exempt: dict[Direction, Predicate] = {Direction.INGRESS: free, Direction.EGRESS: free}
        self.unknown: tuple[Provenance, ...] = tuple(
            Provenance(policy.ref, problem.field, problem.at) for policy in policies for problem in policy.problems
        )

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """One stage with the allows of all policies; it ends in deny."""
        rules = tuple(rule for index in policies for rule in self._rules[direction][index])
        if not policies:
            return Chain((), Action.ALLOW, enforced=False)
        return Chain((Stage(rules, Action.DENY, "NetworkPolicy"),), Action.DENY)


def policy_rules(policy: NetworkPolicy, direction: Direction) -> list[Rule]:
    """The allows of one policy in one direction."""
    found: list[Rule] = []
    for rule in policy.rules(direction):
        traffic = EVERY_PACKET if rule.ports is None else tuple(port_traffic(match) for match in rule.ports)
        peers = ANY_END if rule.peers is None else AnyOf(tuple(_peer(peer, policy) for peer in rule.peers))
        place = Provenance(policy.ref, rule.field, rule.at)
        found.append(Rule(Action.ALLOW, peers, traffic, provenance=place))
    return found


def _peer(peer: Peer, policy: NetworkPolicy) -> Predicate:
    if isinstance(peer, BlockPeer):
        return Addresses(peer.addresses())
    if peer.namespaces is None:
        return Pods(in_namespace(peer.pods, policy.ref.namespace))
    return Pods(And((peer.namespaces, peer.pods)))


def in_namespace(selector: Selector, namespace: str | None) -> Selector:
    """The selector, limited to one namespace ("default" when none is given)."""
    own = Requirement(NAMESPACE_NAME, Operator.IN, (namespace or "default",), Scope.NAMESPACE)
    return And((own, selector))


def port_traffic(match: PortMatch) -> Traffic:
    """The packets of one entry of `ports`."""
    number = PROTOCOL_NUMBERS[match.protocol]
    protocols = IntervalSet(((number, number),))
    if match.port is None:
        return Traffic(protocols)
    if isinstance(match.port, str):
        return Traffic(protocols, PortSet(names=(match.port,)))
    return Traffic(protocols, PortSet(IntervalSet(((match.port, match.end or match.port),))))
