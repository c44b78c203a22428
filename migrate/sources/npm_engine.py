"""NetworkPolicies as Azure NPM enforces them on Linux and on Windows.

Facts: measured on NPM's own program and with packets (Azure/azure-container-networking at cbd7560): only forwarded
IPv4 traffic is checked, a negated namespace set also matches what is in no set, several values of NotIn are ORed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Cluster
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Scope
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import (
    ANY_END,
    EVERY_PACKET,
    Action,
    Addresses,
    AllOf,
    AnyOf,
    At,
    Chain,
    Except,
    Place,
    Pods,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
)
from migrate.model.selectors import EVERYTHING, NEGATIVE, Requirement, Selector, requirements
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, Peer
from migrate.sources.kubernetes_engine import in_namespace, port_traffic
from migrate.sources.npm_refusals import ignored_holes, linux_refusal, windows_refusal
from migrate.sources.npm_settings import NpmSettings

_IPV6 = Addresses(AddressSet(v6=IntervalSet(((0, 2**128 - 1),))))
# NPM hooks FORWARD only (a pod's own node and the pod itself never pass it), and programs IPv4 only.
_UNSEEN = AnyOf((At(Place.ITSELF), At(Place.OWN_NODE), _IPV6))


class NpmLinuxEngine:
    """What NPM v2 on Linux does. Policies it refuses are in `refused` with the reason, and enforce nothing.

    `odd_values` are the policies that it refuses for a value in them. A pod's address that is not its first one, or
    is IPv6, is in no set: to NPM it is an outside address.
    """

    def __init__(
        self,
        policies: Sequence[NetworkPolicy],
        cluster: Cluster,
        settings: NpmSettings,
        odd_values: Mapping[ObjectRef, str],
    ) -> None:
        self._settings = settings
        reasons = {policy.ref: odd_values.get(policy.ref) or self._refusal(policy) for policy in policies}
        self.refused = {ref: reason for ref, reason in reasons.items() if reason}
        self._policies = tuple(policy for policy in policies if policy.ref not in self.refused)
        self.subjects: Sequence[Subject] = tuple(
            Subject(in_namespace(p.subject, p.ref.namespace), p.directions, Provenance(p.ref, "spec", p.at))
            for p in self._policies
        )
        self.exempt: dict[Direction, Predicate] = dict.fromkeys(Direction, _UNSEEN)
        problems = (Provenance(policy.ref, found.field, found.at) for policy in policies for found in policy.problems)
        self.unknown: tuple[Provenance, ...] = (*problems, *self._doubts())
        self._nobody = AddressSet.of_addresses(_second_addresses(cluster))

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """A union of allows: a later allow overrides the drop mark of an earlier policy."""
        if not policies:
            return Chain((), Action.ALLOW, enforced=False)
        chosen = [self._policies[index] for index in policies]
        rules = [rule for policy in chosen for rule in self._rules(policy, direction)]
        if self._nobody:
            rules.insert(0, Rule(Action.ALLOW, ANY_END, own=Addresses(self._nobody), exempts=True))
        return Chain((Stage(tuple(rules), Action.DENY, "Azure NPM"),), Action.DENY)

    def _refusal(self, policy: NetworkPolicy) -> str:
        return linux_refusal(policy, lite=self._settings.lite)

    def _doubts(self) -> Iterator[Provenance]:
        """What of the policies that it takes is not known to be enforced as modelled."""
        yield from ()

    def _rules(self, policy: NetworkPolicy, direction: Direction) -> list[Rule]:
        found: list[Rule] = []
        for rule in policy.rules(direction):
            traffic = EVERY_PACKET if rule.ports is None else tuple(port_traffic(match) for match in rule.ports)
            peers = [ANY_END] if rule.peers is None else [self._peer(peer, policy) for peer in rule.peers]
            place = Provenance(policy.ref, rule.field, rule.at)
            for part, peer in self._by_name(traffic, AnyOf(tuple(peers)), direction):
                found.append(Rule(Action.ALLOW, peer, part, provenance=place))
        return found

    def _by_name(
        self, traffic: tuple[Traffic, ...], peer: Predicate, direction: Direction
    ) -> list[tuple[tuple[Traffic, ...], Predicate]]:
        """Ports given by name apart, where they are looked up in peers of which NPM knows no ports."""
        named = tuple(t for t in traffic if t.ports is not None and t.ports.names)
        if not named or not self._nobody or direction is Direction.INGRESS:
            return [(traffic, peer)]
        numbered = tuple(t for t in traffic if t not in named)
        known = AllOf((peer, Except(Addresses(self._nobody))))
        return [(named, known), *([(numbered, peer)] if numbered else [])]

    def _peer(self, peer: Peer, policy: NetworkPolicy) -> Predicate:
        if isinstance(peer, BlockPeer):
            return Addresses(peer.addresses())
        if peer.namespaces is None:
            return self._members(in_namespace(peer.pods, policy.ref.namespace))
        pods = [self._in_set(requirement) for requirement in requirements(peer.pods)]
        return AllOf((*self._namespaces(peer.namespaces), *pods))

    def _namespaces(self, selector: Selector) -> list[Predicate]:
        """NPM makes a rule of each combination of single values, so that for each expression one value is enough."""
        asked = list(requirements(selector))
        if not asked:
            return [self._members(EVERYTHING)]
        return [AnyOf(tuple(map(self._in_namespace_set, _one_value_each(r)))) for r in asked]

    def _in_namespace_set(self, requirement: Requirement) -> Predicate:
        return self._in_set(requirement)

    def _in_set(self, requirement: Requirement) -> Predicate:
        """Membership in an ipset; a negated one also holds for addresses that are in no set at all."""
        if requirement.operator in NEGATIVE:
            return Except(self._members(requirement.negated()))
        return self._members(requirement)

    def _members(self, selector: Selector) -> Predicate:
        """The pods of a set, by the one address that NPM knows of each."""
        return AllOf((Pods(selector), Except(Addresses(self._nobody)))) if self._nobody else Pods(selector)


def _one_value_each(requirement: Requirement) -> list[Requirement]:
    values: list[tuple[str, ...]] = [(value,) for value in requirement.values] or [()]
    return [Requirement(requirement.key, requirement.operator, value, Scope.NAMESPACE) for value in values]


def _second_addresses(cluster: Cluster) -> list[Address]:
    """IPv4 addresses of pods whose first address, which is status.podIP, is another one."""
    return [
        address for pod in cluster.pods if not pod.host_network for address in pod.addresses[1:] if address.version == 4
    ]


class NpmWindowsEngine(NpmLinuxEngine):
    """What NPM does with HNS ACLs on Windows nodes: it refuses more, and turns negated egress peers around.

    The ACL that admits the node is there for the pod's own node, which is exempt here.
    """

    def _doubts(self) -> Iterator[Provenance]:
        """In lite mode some releases take blocks without their exceptions."""
        for policy in self._policies if self._settings.lite else ():
            yield from ignored_holes(policy)

    def _refusal(self, policy: NetworkPolicy) -> str:
        lite = self._settings.lite
        return windows_refusal(policy, lite=lite) or linux_refusal(policy, lite=lite)

    def _in_namespace_set(self, requirement: Requirement) -> Predicate:
        """Only reached with negations for egress, where the negation is lost."""
        return self._members(requirement.negated() if requirement.operator in NEGATIVE else requirement)
