"""Policies as Cilium enforces them: identities before addresses, deny over allow, default deny by whoever asks.

Facts measured on the policy engines of v1.18.8 and v1.20.2; where they differ, CiliumSettings says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from migrate.model.cluster import Cluster
from migrate.model.flow import SCTP, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.ruleset import (
    ANY_END,
    NO_END,
    Action,
    At,
    Chain,
    Place,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
)
from migrate.model.selectors import Selector
from migrate.sources.cilium import CidrGroup, CiliumPolicy, CiliumSpec
from migrate.sources.cilium_addresses import CidrPeers, named_prefixes
from migrate.sources.cilium_refusals import refusal
from migrate.sources.cilium_rules import Draft, RuleMaker
from migrate.sources.cilium_selectors import IdentitySelectors
from migrate.sources.cilium_services import named_domains, resolve_services, without_endpoints
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cilium_tiers import ADMIN, BASELINE, ClusterNetworkPolicy
from migrate.sources.kubernetes import NetworkPolicy
from migrate.sources.kubernetes_engine import in_namespace

__all__ = ["CiliumEngine", "CiliumSettings"]

_RANKS = (Action.DENY, Action.ALLOW, Action.PASS)
_OWN_NODE = Rule(Action.ALLOW, At(Place.OWN_NODE), note="Cilium always admits a pod's own node")
_NO_SCTP = Stage(
    (Rule(Action.DENY, ANY_END, (Traffic(IntervalSet(((SCTP, SCTP),))),), note="SCTP is switched off"),),
    Action.PASS,
    "protocols",
)


@dataclass(frozen=True, slots=True)
class _TierRule:
    """A rule of a ClusterNetworkPolicy with its place in the order: tier, priority, then deny, allow, pass."""

    tier: str
    direction: Direction
    order: tuple[float, int]
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Entry:
    """One policy document of one subject: denies and allows by direction.

    `required` are conditions on the endpoints of every rule with the same action, of all policies of a pod.
    """

    subject: Selector
    drafts: dict[Direction, tuple[Draft, ...]]
    present: frozenset[Direction]
    denies_by_default: frozenset[Direction]
    place: Provenance
    required: dict[tuple[Direction, Action], tuple[Predicate, ...]] = field(default_factory=dict)
    tier: tuple[_TierRule, ...] = ()


class CiliumEngine:
    """CNPs, CCNPs, NetworkPolicies and ClusterNetworkPolicies together on the pods of a cluster.

    Policies that the agent does not take are in `refused` with the reason, and enforce nothing.
    """

    def __init__(
        self,
        policies: Sequence[CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy],
        groups: Sequence[CidrGroup],
        cluster: Cluster,
        settings: CiliumSettings,
    ) -> None:
        self._settings = settings
        reasons = {policy.ref: refusal(policy, settings) for policy in policies}
        self.refused = {ref: reason for ref, reason in reasons.items() if reason}
        taken = [policy for policy in policies if policy.ref not in self.refused]
        resolved = [resolve_services(p, cluster, settings) if isinstance(p, CiliumPolicy) else p for p in taken]
        prefixes = named_prefixes(resolved, groups) | named_domains(resolved, cluster, settings)
        identities = IdentitySelectors(settings, cluster, prefixes)
        self._maker = RuleMaker(
            settings, cluster, identities, CidrPeers(settings, groups, cluster, identities.aggregated)
        )
        self._identities = identities
        self._cluster = cluster
        self._entries: list[_Entry] = []
        self._unknown: list[Provenance] = [
            Provenance(policy.ref, problem.field, problem.at) for policy in policies for problem in policy.problems
        ]
        for policy in resolved:
            self._add(policy)
        self.subjects: Sequence[Subject] = tuple(Subject(e.subject, e.present, e.place) for e in self._entries)
        self.exempt: dict[Direction, Predicate] = {Direction.INGRESS: NO_END, Direction.EGRESS: NO_END}
        self.unknown: tuple[Provenance, ...] = (*self._unknown, *self._maker.unknown)

    def _add(self, policy: CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy) -> None:
        if isinstance(policy, ClusterNetworkPolicy):
            self._entries.append(self._cluster_network_policy(policy))
            return
        if isinstance(policy, NetworkPolicy):
            self._entries.append(self._network_policy(policy))
            return
        for spec in policy.specs:
            self._add_spec(spec, policy)

    def _add_spec(self, spec: CiliumSpec, policy: CiliumPolicy) -> None:
        """Host policies have no effect without the host firewall, and are not modelled with it."""
        if spec.endpoint_selector is not None:
            self._entries.append(self._spec(spec, spec.endpoint_selector, policy))
        elif self._settings.host_firewall:
            self._unknown.append(Provenance(policy.ref, "spec.nodeSelector", policy.at))

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """Denies, then allows, then the own host (inwards); the end is default deny if one policy asks for it."""
        enforcement = self._settings.enforcement
        if enforcement == "never" or (not policies and enforcement != "always"):
            return Chain((), Action.ALLOW, enforced=False)
        entries = [self._entries[index] for index in policies]
        allows = _rules(entries, direction, Action.ALLOW)
        if direction is Direction.INGRESS and self._admits_own_node(entries):
            allows = (*allows, _OWN_NODE)
        closed = enforcement == "always" or any(direction in entry.denies_by_default for entry in entries)
        end = Action.DENY if closed else Action.ALLOW
        denies = Stage(_rules(entries, direction, Action.DENY), Action.PASS, "deny rules")
        stages: tuple[Stage, ...] = (denies, Stage(allows, end, "allow rules"))
        if any(entry.tier for entry in entries):
            allows, last = _without_own_node(allows)
            stages = (
                _tier(entries, direction, ADMIN),
                denies,
                Stage(allows, Action.PASS, "allow rules"),
                _tier(entries, direction, BASELINE),
                Stage(last, end, "default"),
            )
        return Chain(stages if self._settings.sctp else (_NO_SCTP, *stages), end)

    def _admits_own_node(self, entries: Sequence[_Entry]) -> bool:
        return self._settings.admits_own_node and (bool(entries) or not self._settings.host_needs_a_rule)

    def _spec(self, spec: CiliumSpec, selector: Selector, policy: CiliumPolicy) -> _Entry:
        subject = self._identities.pods(selector)
        drafts: dict[Direction, tuple[Draft, ...]] = dict.fromkeys(Direction, ())
        required: dict[tuple[Direction, Action], tuple[Predicate, ...]] = {}
        for rule in spec.rules:
            if without_endpoints(rule, self._cluster):
                self._unknown.append(Provenance(policy.ref, f"{rule.field}.toServices", rule.at))
            drafts[rule.direction] += tuple(self._maker.rules(rule, policy))
            key = (rule.direction, Action.DENY if rule.deny else Action.ALLOW)
            required[key] = (*required.get(key, ()), *self._maker.required(rule, policy))
        closed = frozenset(
            d for d in spec.present if spec.default_deny.get(d, True) or not self._settings.default_deny_can_be_off
        )
        if policy.namespace is not None:
            subject = in_namespace(subject, policy.namespace)
        return _Entry(subject, drafts, spec.present, closed, Provenance(policy.ref, "spec", policy.at), required)

    def _cluster_network_policy(self, policy: ClusterNetworkPolicy) -> _Entry:
        """Never asks for default deny. The n-th rule stands n hundredths behind the policy's priority."""
        found: list[_TierRule] = []
        for direction in Direction:
            rules = [rule for rule in policy.rules if rule.direction is direction]
            for index, rule in enumerate(rules):
                priority = policy.priority + index / 100
                for made in self._maker.tier_rules(rule, policy):
                    order = (priority, _RANKS.index(made.action))
                    found.append(_TierRule(policy.tier, direction, order, made))
        pods = self._identities.tier_pods(policy.subject.namespaces, policy.subject.pods, of_cluster=False)
        place = Provenance(policy.ref, "spec", policy.at)
        present = frozenset(item.direction for item in found)
        return _Entry(self._identities.pods(pods), {}, present, frozenset(), place, tier=tuple(found))

    def _network_policy(self, policy: NetworkPolicy) -> _Entry:
        """Cilium's own reading: rules of a direction that policyTypes leave out count, and isolate."""
        isolating = policy.directions | frozenset(policy.excluded)
        drafts: dict[Direction, tuple[Draft, ...]] = {}
        for direction in isolating:
            found = policy.ingress if direction is Direction.INGRESS else policy.egress
            drafts[direction] = tuple(self._maker.kubernetes_rule(rule, policy, direction) for rule in found)
        subject = in_namespace(self._identities.pods(policy.subject), policy.ref.namespace)
        return _Entry(subject, drafts, isolating, isolating, Provenance(policy.ref, "spec", policy.at))


def _tier(entries: Iterable[_Entry], direction: Direction, tier: str) -> Stage:
    """The rules of a tier in order; the tiers after it are asked where none matches."""
    found = [item for entry in entries for item in entry.tier if (item.tier, item.direction) == (tier, direction)]
    return Stage(tuple(item.rule for item in sorted(found, key=lambda item: item.order)), Action.PASS, f"tier {tier}")


def _without_own_node(allows: tuple[Rule, ...]) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The allows of policies, and the one for the own node, which stands behind all tiers."""
    return tuple(rule for rule in allows if rule != _OWN_NODE), tuple(rule for rule in allows if rule == _OWN_NODE)


def _rules(entries: Iterable[_Entry], direction: Direction, action: Action) -> tuple[Rule, ...]:
    """All rules of that action, each under what any entry requires of it."""
    entries = tuple(entries)
    required = tuple(term for entry in entries for term in entry.required.get((direction, action), ()))
    drafts = (draft for entry in entries for draft in entry.drafts.get(direction, ()) if draft.rule.action is action)
    return tuple(draft.under(required) for draft in drafts)
