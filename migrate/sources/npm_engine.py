"""NetworkPolicies as Azure NPM enforces them on Linux and on Windows.

Facts: measured on NPM's own program and with packets (Azure/azure-container-networking at cbd7560): only forwarded
IPv4 traffic is checked, a negated namespace set also matches what is in no set, several values of NotIn are ORed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from migrate.model.addresses import AddressSet
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
)
from migrate.model.selectors import EVERYTHING, NEGATIVE, Requirement, Selector, requirements
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, Peer, PodPeer
from migrate.sources.kubernetes import Rule as KubernetesRule
from migrate.sources.kubernetes_engine import in_namespace, port_traffic

_IPV6 = Addresses(AddressSet(v6=IntervalSet(((0, 2**128 - 1),))))
# NPM sees a pod by its first address only, hooks FORWARD only (own node and itself never pass it), and IPv4 only.
_UNSEEN = AnyOf((At(Place.ITSELF), At(Place.OWN_NODE), _IPV6))


class NpmLinuxEngine:
    """What NPM v2 on Linux does. Policies it refuses are in `refused` with the reason, and enforce nothing."""

    def __init__(self, policies: Sequence[NetworkPolicy]) -> None:
        self.refused: dict[ObjectRef, str] = {}
        for policy in policies:
            reason = self._refusal(policy)
            if reason:
                self.refused[policy.ref] = reason
        self._policies = tuple(policy for policy in policies if policy.ref not in self.refused)
        self.subjects: Sequence[Subject] = tuple(
            Subject(in_namespace(p.subject, p.ref.namespace), p.directions) for p in self._policies
        )
        self.exempt: dict[Direction, Predicate] = dict.fromkeys(Direction, _UNSEEN)
        self.unknown: tuple[Provenance, ...] = tuple(
            Provenance(policy.ref, problem.field, problem.at) for policy in policies for problem in policy.problems
        )

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """A union of allows: a later allow overrides the drop mark of an earlier policy."""
        if not policies:
            return Chain((), Action.ALLOW, enforced=False)
        chosen = [self._policies[index] for index in policies]
        rules = tuple(rule for policy in chosen for rule in self._rules(policy, direction))
        return Chain((Stage(rules, Action.DENY, "Azure NPM"),), Action.DENY)

    def _refusal(self, policy: NetworkPolicy) -> str:
        if _has_ipv6(policy):
            return "it has an IPv6 block, which NPM cannot translate"
        return ""

    def _rules(self, policy: NetworkPolicy, direction: Direction) -> list[Rule]:
        found: list[Rule] = []
        for rule in policy.rules(direction):
            traffic = EVERY_PACKET if rule.ports is None else tuple(port_traffic(match) for match in rule.ports)
            peers = [ANY_END] if rule.peers is None else [self._peer(peer, policy, direction) for peer in rule.peers]
            place = Provenance(policy.ref, rule.field, rule.at)
            found.append(Rule(Action.ALLOW, AnyOf(tuple(peers)), traffic, provenance=place))
        return found

    def _peer(self, peer: Peer, policy: NetworkPolicy, direction: Direction) -> Predicate:
        if isinstance(peer, BlockPeer):
            return Addresses(peer.addresses())
        if peer.namespaces is None:
            return Pods(in_namespace(peer.pods, policy.ref.namespace))
        pods = [_in_set(requirement) for requirement in requirements(peer.pods)]
        return AnyOf(tuple(AllOf((*namespaces, *pods)) for namespaces in self._namespaces(peer.namespaces)))

    def _namespaces(self, selector: Selector) -> list[list[Predicate]]:
        """One alternative for each combination of single values, as NPM flattens a namespaceSelector."""
        asked = list(requirements(selector))
        if not asked:
            return [[Pods(EVERYTHING)]]
        choices = [
            [Requirement(r.key, r.operator, (value,), Scope.NAMESPACE) for value in r.values] or [r] for r in asked
        ]
        return [[_in_set(requirement) for requirement in combination] for combination in product(*choices)]


def _in_set(requirement: Requirement) -> Predicate:
    """Membership in an ipset; a negated one also holds for addresses that are in no set at all."""
    if requirement.operator in NEGATIVE:
        return Except(Pods(requirement.negated()))
    return Pods(requirement)


def _has_ipv6(policy: NetworkPolicy) -> bool:
    return any(
        isinstance(peer, BlockPeer) and peer.cidr.version == 6
        for rule in _enforced_rules(policy)
        for peer in rule.peers or ()
    )


def _enforced_rules(policy: NetworkPolicy) -> list[KubernetesRule]:
    return [rule for direction in Direction for rule in policy.rules(direction)]


class NpmWindowsEngine(NpmLinuxEngine):
    """What NPM does with HNS ACLs on Windows nodes: it refuses more, and turns negated egress peers around.

    The ACL that admits the node is there for the pod's own node, which is exempt here.
    """

    def _refusal(self, policy: NetworkPolicy) -> str:
        if _negative(policy.subject):
            return "its podSelector has NotIn or DoesNotExist"
        for direction in Direction:
            for rule in policy.rules(direction):
                reason = _windows_refusal(rule, direction)
                if reason:
                    return reason
        return super()._refusal(policy)

    def _namespaces(self, selector: Selector) -> list[list[Predicate]]:
        """Only reached with negations for egress, where the negation is lost."""
        alternatives = super()._namespaces(selector)
        return [[term.term if isinstance(term, Except) else term for term in terms] for terms in alternatives]


def _negative(selector: Selector) -> bool:
    return any(requirement.operator in NEGATIVE for requirement in requirements(selector))


def _windows_refusal(rule: KubernetesRule, direction: Direction) -> str:
    for match in rule.ports or ():
        if isinstance(match.port, str):
            return f'it has the named port "{match.port}"'
        if match.protocol == "SCTP":
            return "it has SCTP"
    for peer in rule.peers or ():
        if isinstance(peer, BlockPeer) and peer.excepts:
            return "it has an ipBlock with except"
        if isinstance(peer, PodPeer) and _negative(peer.pods):
            return "a podSelector of a peer has NotIn or DoesNotExist"
        if isinstance(peer, PodPeer) and direction is Direction.INGRESS and _negative(peer.namespaces or EVERYTHING):
            return "an ingress namespaceSelector has NotIn or DoesNotExist, on which programming fails for ever"
    return ""
