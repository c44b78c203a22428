"""Policies as Calico enforces them: tiers in order, policies in order, first matching rule decides.

Facts: felix/calc (tier and policy order, end of tier), felix/rules (packet match), updateprocessors (selectors);
measured against the engine of v3.28 and main of 2026-08.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from migrate.model.addresses import AddressSet
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, TCP, UDP, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import (
    ANY_END,
    Action,
    Addresses,
    AllOf,
    AnyOf,
    At,
    Chain,
    Except,
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
from migrate.model.selectors import EVERYTHING, NOTHING, And, Not, Operator, Or, Requirement, Selector, matches
from migrate.sources.calico import (
    ORCHESTRATOR,
    STORED_GROUP,
    CalicoPolicy,
    CalicoRule,
    EntityMatch,
    IcmpMatch,
    NetworkSet,
    PortRange,
)
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME, NetworkPolicy
from migrate.sources.kubernetes_engine import in_namespace, policy_rules

KUBERNETES_ORDER = 1000.0
DEFAULT_TIER = "default"
_ACTIONS = {"Allow": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}
_EVERY_PROTOCOL = IntervalSet(((0, 255),))


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier; `order` None sorts last. `passes`: what its policies do not decide goes to the next tier."""

    name: str
    order: float | None
    passes: bool


# The tiers that Calico makes itself: its own, and those of the Kubernetes kinds under today's and earlier names.
_OWN_TIERS = (
    Tier(DEFAULT_TIER, 1_000_000.0, passes=False),
    *(Tier(name, 1_000.0, passes=True) for name in ("kube-admin", "adminnetworkpolicy")),
    *(Tier(name, 10_000_000.0, passes=True) for name in ("kube-baseline", "baselineadminnetworkpolicy")),
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A policy with what its place in the order comes from."""

    policy: CalicoPolicy | NetworkPolicy
    tier: str
    order: float
    legacy: str
    current: str


class CalicoEngine:
    """What Calico does with pods' traffic. `tie_break`: "legacy" up to v3.28, "current" as main of 2026-08."""

    def __init__(
        self,
        policies: Sequence[CalicoPolicy | NetworkPolicy],
        tiers: Sequence[Tier] = (),
        sets: Sequence[NetworkSet] = (),
        *,
        tie_break: str = "legacy",
        vxlan_port: int = 4789,
    ) -> None:
        self._tiers = {tier.name: tier for tier in (*_OWN_TIERS, *tiers)}
        self._sets = tuple(sets)
        self._entries = sorted(
            (_entry(policy) for policy in policies if _polices_pods(policy)), key=self._place(tie_break)
        )
        self.subjects: Sequence[Subject] = tuple(_subject(entry.policy) for entry in self._entries)
        self.exempt: dict[Direction, Predicate] = {
            Direction.INGRESS: AnyOf((At(Place.ITSELF), At(Place.OWN_NODE))),
            Direction.EGRESS: At(Place.ITSELF),
        }
        self.unknown: tuple[Provenance, ...] = tuple(
            Provenance(policy.ref, problem.field, problem.at) for policy in policies for problem in policy.problems
        )
        self._vxlan = _vxlan_stage(vxlan_port)

    def _place(self, tie_break: str) -> Callable[[_Entry], tuple[bool, float, str, float, str]]:
        """Order of policies: tier order, tier name, order, tie-break. A tier that does not exist comes last."""

        def key(entry: _Entry) -> tuple[bool, float, str, float, str]:
            tier = self._tiers.get(entry.tier)
            order = inf if tier is None or tier.order is None else tier.order
            tie = entry.legacy if tie_break == "legacy" else entry.current
            return (tier is None, order, entry.tier, entry.order, tie)

        return key

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """VXLAN guard, one stage per tier that takes part, then the profile, which allows."""
        stages = [self._vxlan] if direction is Direction.EGRESS else []
        by_tier: dict[str, list[Rule]] = {}
        for index in policies:
            entry = self._entries[index]
            by_tier.setdefault(entry.tier, []).extend(self._rules(entry.policy, direction))
        for name, rules in by_tier.items():
            tier = self._tiers.get(name)
            end = Action.PASS if tier is not None and tier.passes else Action.DENY
            stages.append(Stage(tuple(rules), end, f"tier {name}"))
        return Chain(tuple(stages), Action.ALLOW, enforced=bool(policies))

    def _rules(self, policy: CalicoPolicy | NetworkPolicy, direction: Direction) -> list[Rule]:
        if isinstance(policy, NetworkPolicy):
            return policy_rules(policy, direction)
        return [self._rule(rule, policy, direction) for rule in policy.rules(direction) if rule.action != "Log"]

    def _rule(self, rule: CalicoRule, policy: CalicoPolicy, direction: Direction) -> Rule:
        source, destination = self._end(rule.source, policy), self._end(rule.destination, policy)
        ingress = direction is Direction.INGRESS
        return Rule(
            action=_ACTIONS[rule.action],
            peer=source if ingress else destination,
            own=destination if ingress else source,
            traffic=_traffic(rule),
            provenance=Provenance(policy.ref, rule.field, rule.at),
        )

    def _end(self, entity: EntityMatch, policy: CalicoPolicy) -> Predicate:
        terms: list[Predicate] = []
        limited = bool(
            entity.selector is not None
            or entity.account_names
            or entity.account_selector is not None
            or entity.namespaces is not None
            or (entity.not_selector is not None and policy.namespace)
        )
        if limited:
            terms.append(self._labelled(entity, policy))
        elif entity.not_selector is not None:
            terms.append(Except(self._owners(entity.not_selector, None, None)))
        if entity.nets:
            terms.append(Addresses(AddressSet.of(entity.nets)))
        if entity.not_nets:
            terms.append(Except(Addresses(AddressSet.of(entity.not_nets))))
        return AllOf(tuple(terms)) if terms else ANY_END

    def _labelled(self, entity: EntityMatch, policy: CalicoPolicy) -> Predicate:
        """Endpoints and sets for which all label conditions hold together."""
        terms: list[Selector] = [] if entity.selector is None else [entity.selector]
        if entity.account_names:
            names = entity.account_names
            terms.append(Requirement(SERVICE_ACCOUNT_NAME, Operator.IN, names, Scope.SERVICE_ACCOUNT))
        if entity.account_selector is not None:
            terms.append(entity.account_selector)
        if entity.not_selector is not None:
            terms.append(Not(entity.not_selector))
        return self._owners(And(tuple(terms)), entity.namespaces, policy.namespace)

    def _owners(self, selector: Selector, namespaces: Selector | None, namespace: str | None) -> Predicate:
        """Whoever has the labels, by the namespaces that a rule names or (None) those its policy implies."""
        within = selector
        if namespaces is not None:
            within = And((namespaces, selector))
        elif namespace:
            within = in_namespace(selector, namespace)
        return AnyOf((Pods(_of_pods(within)), _in_sets([s for s in self._sets if matches(within, s)])))


def _of_pods(selector: Selector) -> Selector:
    """The selector as it holds for pods, which all have the label ORCHESTRATOR with the value k8s."""
    if isinstance(selector, Requirement):
        if (selector.scope, selector.key) != (Scope.POD, ORCHESTRATOR):
            return selector
        return EVERYTHING if selector.matches(Labels(((ORCHESTRATOR, "k8s"),))) else NOTHING
    if isinstance(selector, Not):
        return Not(_of_pods(selector.term))
    terms = tuple(_of_pods(term) for term in selector.terms)
    return And(terms) if isinstance(selector, And) else Or(terms)


def _in_sets(sets: Sequence[NetworkSet]) -> Predicate:
    return Addresses(AddressSet.of(net for network_set in sets for net in network_set.nets))


def _polices_pods(policy: CalicoPolicy | NetworkPolicy) -> bool:
    """Whether a policy is in force for pods: staged ones are never, untracked and pre-DNAT ones only on hosts."""
    if isinstance(policy, NetworkPolicy):
        return True
    return not (policy.staged or policy.do_not_track or policy.pre_dnat)


def _entry(policy: CalicoPolicy | NetworkPolicy) -> _Entry:
    name, namespace = policy.ref.name, policy.ref.namespace or "default"
    if isinstance(policy, NetworkPolicy):
        legacy, current = f"{namespace}/knp.default.{name}", f"{name}/{namespace}/KubernetesNetworkPolicy"
        return _Entry(policy, DEFAULT_TIER, KUBERNETES_ORDER, legacy, current)
    order = inf if policy.order is None else policy.order
    prefix = f"{policy.tier}."
    stored = name if name.startswith(prefix) or policy.ref.group == STORED_GROUP else prefix + name
    # The API shows a policy of the default tier without the tier in its name, one of another tier with it.
    shown = policy.name if policy.tier == DEFAULT_TIER or policy.name != name.removeprefix(prefix) else name
    if policy.namespace is None:
        return _Entry(policy, policy.tier, order, stored, f"{shown}//GlobalNetworkPolicy")
    current = f"{shown}/{policy.namespace}/NetworkPolicy"
    return _Entry(policy, policy.tier, order, f"{policy.namespace}/{stored}", current)


def _subject(policy: CalicoPolicy | NetworkPolicy) -> Subject:
    if isinstance(policy, NetworkPolicy):
        return Subject(in_namespace(policy.subject, policy.ref.namespace), policy.directions)
    terms = [policy.selector, policy.namespace_selector, policy.account_selector]
    if policy.namespace:
        terms.append(Requirement(NAMESPACE_NAME, Operator.IN, (policy.namespace,), Scope.NAMESPACE))
    given = tuple(_of_pods(term) for term in terms if term is not None)
    return Subject(And(given), policy.directions)


def _vxlan_stage(port: int) -> Stage:
    packets = Traffic(IntervalSet(((UDP, UDP),)), PortSet(IntervalSet(((port, port),))))
    rule = Rule(Action.DENY, ANY_END, (packets,), note="Calico drops VXLAN that pods send")
    return Stage((rule,), Action.PASS, "VXLAN from pods")


def _traffic(rule: CalicoRule) -> tuple[Traffic, ...]:
    """The packets of a rule: one value, or none when its address lists rule out both families."""
    families = _families(rule)
    if not families:
        return ()
    destination, source = rule.destination, rule.source
    common = Traffic(
        protocols=_protocols(rule),
        ports=_port_set(destination.ports),
        not_ports=_port_set(destination.not_ports),
        source_ports=_port_set(source.ports),
        not_source_ports=_port_set(source.not_ports),
        icmp=_icmp(rule.icmp),
        not_icmp=_icmp(rule.not_icmp),
        family=None if len(families) == 2 else min(families),
    )
    return (common,)


def _families(rule: CalicoRule) -> set[int]:
    """The IP versions that a rule holds for: a list of networks without one of a version takes the rule out of it."""
    found = {4, 6} if rule.ip_version is None else {rule.ip_version}
    for entity in (rule.source, rule.destination):
        for nets in (entity.nets, entity.not_nets):
            if nets:
                found &= {net.version for net in nets}
    if rule.protocol in ("ICMP", "ICMPv6"):
        found &= {4 if rule.protocol == "ICMP" else 6}
    return found


def _protocols(rule: CalicoRule) -> IntervalSet | None:
    found = _EVERY_PROTOCOL
    if rule.protocol is not None:
        found &= _number(rule.protocol)
    elif _named(rule):
        found &= IntervalSet(((TCP, TCP),))
    if rule.not_protocol is not None:
        found -= _number(rule.not_protocol)
    if rule.icmp is not None or rule.not_icmp is not None:
        found &= IntervalSet.of(((ICMP, ICMP), (ICMPV6, ICMPV6)))
    return None if found == _EVERY_PROTOCOL else found


def _named(rule: CalicoRule) -> bool:
    """Whether the rule names ports; without a protocol such a rule is about TCP."""
    lists = (rule.source.ports, rule.source.not_ports, rule.destination.ports, rule.destination.not_ports)
    return any(isinstance(port, str) for ports in lists for port in ports)


def _number(protocol: str) -> IntervalSet:
    number = PROTOCOL_NUMBERS.get(protocol) or int(protocol)
    return IntervalSet(((number, number),))


def _port_set(ports: Sequence[PortRange | str]) -> PortSet | None:
    if not ports:
        return None
    numbers = IntervalSet.of((port.low, port.high) for port in ports if isinstance(port, PortRange))
    return PortSet(numbers, tuple(sorted({port for port in ports if isinstance(port, str)})))


def _icmp(match: IcmpMatch | None) -> tuple[tuple[int, int | None], ...] | None:
    return None if match is None or match.type is None else ((match.type, match.code),)
