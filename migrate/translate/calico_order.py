"""Calico policies, and the NetworkPolicies among them, compiled where their order decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Scope
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Action
from migrate.model.selectors import Conjunction, Operator, Requirement, TooManyTermsError, simplify
from migrate.sources.calico import CalicoPolicy
from migrate.sources.calico_release import LAST_LEGACY, Release
from migrate.sources.calico_tiers import Order, Tier
from migrate.sources.kubernetes import NAMESPACE_NAME, NetworkPolicy, PortMatch, Rule
from migrate.translate.admin_policies import LAST_PRIORITY, AdminPolicy, admin_policies
from migrate.translate.admin_tier import Split, split
from migrate.translate.calico import is_plain, policy_subjects
from migrate.translate.calico_regions import Packets, RuleRegions, as_peer_set, boxes, numbered
from migrate.translate.calico_ties import ties
from migrate.translate.context import Context
from migrate.translate.kubernetes import block_addresses, rule_peers, subject_of
from migrate.translate.notes import Notes
from migrate.translate.objects import CiliumPolicy, CiliumRule, PolicySpec
from migrate.translate.ordered import Emission, OrderedPolicy, OrderedRule, Reach, compile_ordered
from migrate.translate.profiles import Profile
from migrate.translate.region_rules import by_pods, lost_words, rules_of, said
from migrate.translate.regions import (
    ANY_TRAFFIC,
    NO_TRAFFIC,
    PORT_PROTOCOLS,
    Box,
    PodSet,
    Region,
    TrafficSet,
    limited,
)
from migrate.translate.selectors import ANY_NAMESPACE, in_namespaces, narrowed_to


@dataclass(frozen=True, slots=True)
class Planned:
    """What the order makes of a policy; `notes` are those of its rules.

    `emissions` is None when the regions are too large; `as_written`: policy by policy says the same. `admin` is what
    stands ahead of all other policies, with none of it in `emissions`. `tied` is a policy that another release of
    Calico asks before this one, or after it, with another verdict.
    """

    policy: OrderedPolicy
    emissions: dict[Direction, Emission] | None
    notes: Notes
    as_written: bool
    admin: tuple[AdminPolicy, ...] = ()
    tied: ObjectRef | None = None

    @property
    def reaches(self) -> bool:
        """Whether a flow ever comes to the policy."""
        found = (self.emissions or {}).values()
        return not found or any(emission.reach is not Reach.NONE for emission in found)

    @property
    def is_cut(self) -> bool:
        """Whether earlier policies decide some of the flows of its allows."""
        return any(emission.reach is not Reach.WHOLE for emission in (self.emissions or {}).values())


def plan(
    policies: Sequence[CalicoPolicy | NetworkPolicy],
    tiers: Sequence[Tier],
    context: Context,
    release: Release | None = None,
) -> dict[ObjectRef, Planned]:
    """What must not be translated policy by policy; a policy that is not here can be. `release` is that of Calico."""
    order = Order(tiers, "legacy")
    asked = [policy for policy in policies if _polices_pods(policy)]
    ordered = [(entry.policy, order.tier(entry.tier)) for entry in order.sorted(asked)]
    if not _order_decides(ordered):
        wanted = [(p, tier) for p, tier in ordered if isinstance(p, CalicoPolicy) and not is_plain(p)]
        return _apart(wanted, context)
    entries = [
        found
        for number, (policy, tier) in enumerate(ordered)
        if (found := _entry(number, policy, tier, context)) is not None
    ]
    planned = (_in_admin_tier(entries, context) if context.admin else None) or _compiled(entries, context)
    if release is not None and release <= LAST_LEGACY:
        return planned
    tied = ties([(policy.ref, one) for policy, one, _ in entries], Order(tiers, "current").places(asked))
    return {ref: replace(one, tied=tied.get(ref)) for ref, one in planned.items()}


def order_decides(policies: Sequence[CalicoPolicy | NetworkPolicy], tiers: Sequence[Tier]) -> bool:
    """Whether together the policies mean more than the union of their allows."""
    order = Order(tiers, "legacy")
    return _order_decides([(e.policy, order.tier(e.tier)) for e in order.sorted(filter(_polices_pods, policies))])


def _polices_pods(policy: CalicoPolicy | NetworkPolicy) -> bool:
    """Whether a policy is in force for pods."""
    return isinstance(policy, NetworkPolicy) or not (policy.staged or policy.do_not_track or policy.pre_dnat)


def _order_decides(ordered: Sequence[tuple[CalicoPolicy | NetworkPolicy, Tier]]) -> bool:
    """Whether there is more than a union of allows that ends in Deny."""
    if len({tier.name for _, tier in ordered}) > 1 or any(tier.passes for _, tier in ordered):
        return True
    return any(
        rule.action in ("Deny", "Pass") or rule.not_protocol is not None or rule.not_icmp is not None
        for policy, _ in ordered
        if isinstance(policy, CalicoPolicy)
        for direction in Direction
        for rule in policy.rules(direction)
    )


def _apart(policies: Sequence[tuple[CalicoPolicy, Tier]], context: Context) -> dict[ObjectRef, Planned]:
    found: dict[ObjectRef, Planned] = {}
    for number, (policy, tier) in enumerate(policies):
        entry = _entry(number, policy, tier, context)
        if entry is not None:
            found |= _compiled([entry], context)
    return found


_STEPS, _STEPS_EACH = 60_000, 500
"""What working out the rules of one policy, and the order of all, may cost at the most: some seconds."""

_Entry = tuple[CalicoPolicy | NetworkPolicy, OrderedPolicy, Notes]


def _entry(number: int, policy: CalicoPolicy | NetworkPolicy, tier: Tier, context: Context) -> _Entry | None:
    """The policy as regions; None when its subject cannot be said, or is nobody."""
    notes = Notes(policy.ref, policy.at)
    if isinstance(policy, NetworkPolicy):
        subject = subject_of(policy, context, notes)
        subjects: tuple[Conjunction, ...] = () if subject is None else (subject,)
    else:
        subjects = policy_subjects(policy, context, notes) or ()
    if not subjects:
        return None
    namespace = policy.namespace if isinstance(policy, CalicoPolicy) else policy.ref.namespace or "default"
    pods = tuple(c for subject in subjects if (c := _whole(subject, namespace)) is not None)
    notes = Notes(policy.ref, policy.at)
    try:
        with limited(_STEPS):
            rules = {direction: _rules(policy, pods, direction, context, notes) for direction in Direction}
    except TooManyTermsError:
        return policy, OrderedPolicy(number, tier.name, tier.passes, (), frozenset()), notes
    ordered = OrderedPolicy(
        index=number,
        tier=tier.name,
        passes=tier.passes,
        pods=pods,
        directions=policy.directions,
        ingress=rules[Direction.INGRESS],
        egress=rules[Direction.EGRESS],
    )
    return policy, ordered, notes


def _whole(subject: Conjunction, namespace: str | None) -> Conjunction | None:
    """A subject with the namespace that its policy implies, and without what holds for every pod."""
    asked = tuple(requirement for requirement in subject if requirement != ANY_NAMESPACE)
    own = (Requirement(NAMESPACE_NAME, Operator.IN, (namespace,), Scope.NAMESPACE),) if namespace else ()
    return simplify((*asked, *own))


def _rules(
    policy: CalicoPolicy | NetworkPolicy, pods: PodSet, direction: Direction, context: Context, notes: Notes
) -> tuple[OrderedRule, ...]:
    if isinstance(policy, CalicoPolicy):
        return RuleRegions(policy, pods, context, notes).rules(direction)
    return tuple(
        OrderedRule(Action.ALLOW, region, region)
        for rule in policy.rules(direction)
        for region in [_kubernetes_region(rule, policy, pods, direction, context, notes)]
    )


def _kubernetes_region(
    rule: Rule, policy: NetworkPolicy, pods: PodSet, direction: Direction, context: Context, notes: Notes
) -> Region:
    written = rule_peers(rule, context, notes)
    namespace = policy.ref.namespace or "default"
    inside = tuple(c for conjunction in written.endpoints if (c := _in_own(conjunction, namespace)) is not None)
    peers = as_peer_set(replace(written, endpoints=inside), block_addresses(rule))
    if rule.ports is None:
        return (Box(pods, peers, ANY_TRAFFIC),)
    ingress = direction is Direction.INGRESS
    named = (match for match in rule.ports if isinstance(match.port, str))
    owners = pods if ingress else peers.pods
    packets = Packets(
        exact=ANY_TRAFFIC,
        wide=ANY_TRAFFIC,
        names=tuple(one for m in named for one in numbered(str(m.port), m.protocol, owners, context, notes)),
        numbers=TrafficSet.of((match.protocol, _port_numbers(match)) for match in rule.ports),
    )
    return boxes(pods, peers, packets, ingress, sure=True)


def _port_numbers(match: PortMatch) -> IntervalSet:
    if match.port is None:
        return TrafficSet.whole(*PORT_PROTOCOLS).values(match.protocol)
    if isinstance(match.port, str):
        return IntervalSet()
    return IntervalSet(((match.port, match.end or match.port),))


def _in_own(conjunction: Conjunction, namespace: str) -> Conjunction | None:
    """A peer of a NetworkPolicy; one that says nothing of namespaces is in the policy's own."""
    if any(requirement.scope is Scope.NAMESPACE for requirement in conjunction):
        return _whole(conjunction, None)
    return _whole(conjunction, namespace)


def _compiled(entries: Sequence[_Entry], context: Context) -> dict[ObjectRef, Planned]:
    policies = [ordered for _, ordered, _ in entries]
    try:
        with limited(_STEPS + _STEPS_EACH * len(policies)):
            emissions = compile_ordered(policies, partial(_sayable, context.profile))
    except TooManyTermsError:
        return {policy.ref: Planned(ordered, None, notes, as_written=False) for policy, ordered, notes in entries}
    found: dict[ObjectRef, Planned] = {}
    for policy, ordered, notes in entries:
        given = {d: emissions[d][ordered.index] for d in Direction if ordered.index in emissions[d]}
        plain = isinstance(policy, NetworkPolicy) or is_plain(policy)
        whole = all(_is_union(emission) for emission in given.values())
        found[policy.ref] = Planned(ordered, given or None, notes, as_written=plain and whole)
    return found


def _in_admin_tier(entries: Sequence[_Entry], context: Context) -> dict[ObjectRef, Planned] | None:
    """The policies with what Cilium's Admin tier can say taken out of what is compiled; None when that fails."""
    policies = [ordered for _, ordered, _ in entries]
    fixed = frozenset(o.index for p, o, n in entries if isinstance(p, NetworkPolicy) or n.result is Result.UNSUPPORTED)
    try:
        with limited(_STEPS + _STEPS_EACH * len(policies)):
            splits = {d: split(policies, d, sctp=context.profile.sctp, fixed=fixed) for d in Direction}
            rest = [policy for part in splits.values() for policy in part.rest]
            emissions = compile_ordered(rest, partial(_sayable, context.profile))
    except TooManyTermsError:
        _note_fallback(entries, "working out what it can hold takes more pieces than the cap")
        return None
    objects = admin_policies(splits, [policy.index for policy in policies])
    if objects is None:
        _note_fallback(entries, f"it takes more objects than there are priorities ({LAST_PRIORITY})")
        return None
    found: dict[ObjectRef, Planned] = {}
    for policy, ordered, notes in entries:
        given = {d: emissions[d][ordered.index] for d in Direction if ordered.index in emissions[d]}
        untouched = all(ordered.rules(d) == _rules_left(splits[d], ordered.index, d) for d in ordered.directions)
        plain = isinstance(policy, NetworkPolicy) or is_plain(policy)
        _note_limits(policy, ordered.index, splits, notes)
        found[policy.ref] = Planned(
            ordered,
            given if ordered.directions else None,
            notes,
            as_written=untouched and plain and all(map(_is_union, given.values())),
            admin=tuple(objects.get(ordered.index, ())),
        )
    return found


def _rules_left(part: Split, index: int, direction: Direction) -> tuple[OrderedRule, ...] | None:
    """The rules of a policy that are still compiled; None when the policy is not."""
    return next((policy.rules(direction) for policy in part.rest if policy.index == index), None)


def _note_limits(
    policy: CalicoPolicy | NetworkPolicy, index: int, splits: Mapping[Direction, Split], notes: Notes
) -> None:
    if isinstance(policy, NetworkPolicy):
        return
    for direction, part in splits.items():
        rules = [rule for rule in policy.rules(direction) if rule.action != "Log"]
        for number, reasons in part.limits.get(index, ()):
            detail = f"{' and '.join(reasons)}; what the Admin tier cannot hold of the rule was compiled as without it"
            notes.find("POL-ADMIN-LIMIT", detail, place=rules[number].field, at=rules[number].at)


def _note_fallback(entries: Sequence[_Entry], why: str) -> None:
    for policy, _, notes in entries:
        if isinstance(policy, CalicoPolicy):
            notes.find("POL-ADMIN-LIMIT", f"the Admin tier was not used: {why}; the order was compiled instead")


def _sayable(profile: Profile, traffic: TrafficSet) -> bool:
    return said(traffic, profile) == traffic


def _is_union(emission: Emission) -> bool:
    return emission.isolates and emission.reach is Reach.WHOLE and not emission.denies and not emission.isolates_also


def written(
    source: CalicoPolicy | NetworkPolicy, planned: Planned, name: str, context: Context, notes: Notes
) -> CiliumPolicy | None:
    """The Cilium policy of a compiled one; None when nothing is left to be said."""
    _note_lost(planned, context, notes)
    namespace = source.namespace if isinstance(source, CalicoPolicy) else source.ref.namespace or "default"
    specs = _specs(planned, namespace, context)
    if not specs:
        return None
    return CiliumPolicy(
        namespace=namespace,
        name=name,
        specs=tuple(specs),
        source=source.ref,
        at=source.at,
        description="the same flows, with the order of policies worked in",
    )


def _note_lost(planned: Planned, context: Context, notes: Notes) -> None:
    """Say what is allowed today and has no name in Cilium's rules."""
    for direction, emission in (planned.emissions or {}).items():
        lost = NO_TRAFFIC
        for box in emission.allows:
            lost |= box.traffic - said(box.traffic, context.profile)
        if lost:
            notes.find(
                "POL-PROTOCOL",
                f"it lets {lost_words(lost)} through, which rules for {context.profile.name} cannot name beside "
                "others; these flows are denied",
                place=f"spec.{direction.value}",
                effect=context.changes(Effect.NARROWS),
                on_intent=Effect.NARROWS,
                result=Result.CHANGED,
            )


def _specs(planned: Planned, namespace: str | None, context: Context) -> list[PolicySpec]:
    emissions = planned.emissions or {}
    isolated: dict[PodSet, set[Direction]] = {}
    for direction, emission in emissions.items():
        if emission.isolates:
            isolated.setdefault(planned.policy.pods, set()).add(direction)
        if emission.isolates_also:
            isolated.setdefault(emission.isolates_also, set()).add(direction)
    rules: dict[PodSet, list[CiliumRule]] = {pods: [] for pods in isolated}
    for direction, emission in emissions.items():
        for region, deny in ((emission.allows, False), (emission.denies, True)):
            for pods, joined in by_pods(region).items():
                rules.setdefault(pods, []).extend(rules_of(joined, direction, namespace, context.profile, deny=deny))
    return [
        PolicySpec(subject, frozenset(isolated.get(pods, ())), tuple(found))
        for pods, found in rules.items()
        if found or pods in isolated
        for conjunction in pods
        if (subject := _subject(conjunction, namespace)) is not None
    ]


def _subject(conjunction: Conjunction, namespace: str | None) -> Conjunction | None:
    return in_namespaces(conjunction) if namespace is None else narrowed_to(conjunction, namespace)
