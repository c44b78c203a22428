"""Ordered policies as Cilium has them: allows and denies without an order, where deny wins.

A decision list keeps its meaning when each Deny is emitted less what earlier rules allow, or, where that is not
simple, when every later Allow is emitted less what the Deny takes. A Pass takes its flows out of the rest of its tier;
a tier that ends in Deny lets later tiers see only what was passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from migrate.model.flow import Direction
from migrate.model.ruleset import Action
from migrate.model.selectors import Conjunction, TooManyTermsError
from migrate.translate.regions import (
    ANY_PEER,
    ANY_TRAFFIC,
    NO_POD,
    Box,
    PodSet,
    Region,
    TrafficSet,
    common_region,
    completed,
    covers,
    pods_without,
    region_without,
    touching,
    union_of_pods,
)

_SIMPLE = 4
"""A Deny is emitted less the earlier allows when that takes no more boxes than this."""


@dataclass(frozen=True, slots=True)
class OrderedRule:
    """A rule as regions: `exact` holds only flows that it decides, `wide` all of them and maybe more.

    The two differ where the target has no word for a part of the rule, such as a source port.
    """

    action: Action
    exact: Region
    wide: Region

    @property
    def is_exact(self) -> bool:
        """Whether the rule is said as it is."""
        return self.exact == self.wide


@dataclass(frozen=True, slots=True)
class OrderedPolicy:
    """A policy at its place in the order. `index` is its number; `passes`: its tier ends with Pass, not Deny."""

    index: int
    tier: str
    passes: bool
    pods: PodSet
    directions: frozenset[Direction]
    ingress: tuple[OrderedRule, ...] = ()
    egress: tuple[OrderedRule, ...] = ()

    def rules(self, direction: Direction) -> tuple[OrderedRule, ...]:
        """The rules of a direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress


class Reach(Enum):
    """What the order leaves of a policy's allows."""

    WHOLE = "whole"
    PART = "part"
    NONE = "none"


@dataclass(slots=True)
class Emission:
    """What a policy becomes in one direction.

    `isolates` its own pods; `isolates_also` are pods that a Deny takes out of a tier that would let the rest through.
    """

    allows: list[Box] = field(default_factory=list)
    denies: list[Box] = field(default_factory=list)
    isolates: bool = False
    isolates_also: PodSet = NO_POD
    reach: Reach = Reach.WHOLE


Sayable: TypeAlias = Callable[[TrafficSet], bool]


@dataclass(slots=True)
class _Tier:
    """What is known while the rules of one tier are walked. `passed` has the number of the policy beside each box."""

    pods: PodSet = NO_POD
    taken: list[Box] = field(default_factory=list)
    passed: list[tuple[int, Box]] = field(default_factory=list)
    settled: bool = False

    def add(self, pods: PodSet) -> None:
        """Take pods in, where they are not there already; `settled`: another union would leave the set as it is."""
        if self.settled and all(map(self._has, pods)):
            return
        joined = union_of_pods((self.pods, pods))
        self.settled, self.pods = joined == self.pods, joined

    def _has(self, conjunction: Conjunction) -> bool:
        return conjunction in self.pods or any(
            covers(wider, conjunction) and not covers(conjunction, wider) for wider in self.pods
        )


class _Walk:
    """One walk over all policies for one direction."""

    def __init__(self, policies: Sequence[OrderedPolicy], direction: Direction, sayable: Sayable) -> None:
        self._direction = direction
        self._sayable = sayable
        self._policies = [policy for policy in policies if direction in policy.directions]
        self.emissions = {policy.index: Emission() for policy in self._policies}
        self._allowed: list[Box] = []
        self._blocked: list[tuple[int, Box]] = []
        self._ended: list[_Tier] = []

    def run(self) -> dict[int, Emission]:
        tier, name = _Tier(), None
        for place, policy in enumerate(self._policies):
            if policy.tier != name:
                tier, name = _Tier(), policy.tier
            self._policy(policy, place, tier)
            last = place + 1 == len(self._policies) or self._policies[place + 1].tier != name
            if last and not policy.passes:
                self._ended.append(tier)
        self._finish()
        self._complete()
        return self.emissions

    def _policy(self, policy: OrderedPolicy, place: int, tier: _Tier) -> None:
        emission = self.emissions[policy.index]
        emission.isolates = not policy.passes
        tier.add(policy.pods)
        if not self._reaching([Box(policy.pods, ANY_PEER, ANY_TRAFFIC)]):
            emission.reach = Reach.NONE
        for number, rule in enumerate(policy.rules(self._direction)):
            if rule.action is Action.ALLOW:
                self._allow(rule, tier, emission)
            elif rule.action is Action.DENY:
                self._deny(policy, place, number, rule, tier, emission)
            else:
                self._pass(policy, rule, tier)

    def _allow(self, rule: OrderedRule, tier: _Tier, emission: Emission) -> None:
        reaching = self._reaching(rule.exact)
        blocked = [box for _, box in self._blocked]
        left = region_without(reaching, touching((*tier.taken, *blocked), reaching))
        emission.allows += left
        self._allowed += left
        if left != rule.exact and emission.reach is Reach.WHOLE:
            emission.reach = Reach.PART

    def _pass(self, policy: OrderedPolicy, rule: OrderedRule, tier: _Tier) -> None:
        passed = region_without(self._reaching(rule.exact), tier.taken)
        tier.passed += [(policy.index, box) for box in passed]
        tier.taken += rule.wide
        if not rule.is_exact:
            unsure = region_without(rule.wide, rule.exact)
            self._blocked += [(policy.index, box) for box in unsure]

    def _deny(
        self, policy: OrderedPolicy, place: int, number: int, rule: OrderedRule, tier: _Tier, emission: Emission
    ) -> None:
        region = region_without(self._reaching(rule.wide), tier.taken)
        earlier = [allow for allow in self._allowed if any(allow.overlaps(box) for box in region)]
        if not self._matters(policy, place, number, region):
            if not earlier:
                emission.denies += region
            return
        if earlier and all(box.peers == ANY_PEER and box.traffic == ANY_TRAFFIC for box in region):
            self._blocked += [(policy.index, box) for box in region]
            return
        trimmed = _trimmed(region, earlier)
        if trimmed is None or not all(self._sayable(box.traffic) for box in trimmed):
            self._blocked += [(policy.index, box) for box in region]
        else:
            emission.denies += trimmed

    def _matters(self, policy: OrderedPolicy, place: int, number: int, region: Region) -> bool:
        """Whether a flow of the region would be let through if the Deny were not there."""
        if policy.passes:
            return True
        later = list(policy.rules(self._direction)[number + 1 :])
        later += [rule for other in self._policies[place + 1 :] for rule in other.rules(self._direction)]
        return any(
            rule.action is not Action.DENY and any(a.overlaps(b) for a in rule.wide for b in region) for rule in later
        )

    def _reaching(self, region: Iterable[Box]) -> Region:
        """What of a region the tiers before let through."""
        return _through(region, self._ended)

    def _finish(self) -> None:
        """What no tier decides is allowed: say so for pods that are isolated all the same."""
        blocked = [box for _, box in self._blocked]
        for number, tier in enumerate(self._ended):
            for index, box in tier.passed:
                left = _through([box], self._ended[number + 1 :])
                self.emissions[index].allows += region_without(left, blocked)
        isolated = union_of_pods(tier.pods for tier in self._ended)
        for index, box in self._blocked:
            free = pods_without(box.pods, isolated)
            if free:
                emission = self.emissions[index]
                emission.isolates_also = union_of_pods((emission.isolates_also, free))
                emission.allows += region_without([Box(free, ANY_PEER, ANY_TRAFFIC)], blocked)

    def _complete(self) -> None:
        """Say "all but a few packets" as an allow of all and a deny of the few, where nobody else allows these."""
        isolated = union_of_pods(
            (*(tier.pods for tier in self._ended), *(emission.isolates_also for emission in self.emissions.values()))
        )
        for emission in self.emissions.values():
            for place, box in enumerate(emission.allows):
                if pods_without(box.pods, isolated):
                    continue
                whole = completed(box.traffic)
                few = Box(box.pods, box.peers, whole - box.traffic)
                if few and self._sayable(few.traffic) and not self._allows(few):
                    emission.allows[place] = Box(box.pods, box.peers, whole)
                    emission.denies.append(few)

    def _allows(self, region: Box) -> bool:
        return any(box.overlaps(region) for emission in self.emissions.values() for box in emission.allows)


def _through(region: Iterable[Box], tiers: Iterable[_Tier]) -> Region:
    """What of a region tiers that end in Deny leave: pods that they do not select, and what they pass."""
    left = tuple(region)
    for tier in tiers:
        free = region_without(left, [Box(tier.pods, ANY_PEER, ANY_TRAFFIC)])
        left = (*free, *common_region(left, [box for _, box in tier.passed]))
    return left


def _trimmed(region: Region, allows: Sequence[Box]) -> Region | None:
    """A Deny less what earlier rules allow; None when that is not simple."""
    try:
        left = region_without(region, allows)
    except TooManyTermsError:
        return None
    return left if len(left) <= _SIMPLE and all(len(box.peers.pods) <= _SIMPLE for box in left) else None


def compile_ordered(policies: Sequence[OrderedPolicy], sayable: Sayable) -> dict[Direction, dict[int, Emission]]:
    """What each policy becomes, by direction and its index; `sayable` tells what a deny can name.

    Raises TooManyTermsError when the regions explode.
    """
    return {direction: _Walk(policies, direction, sayable).run() for direction in Direction}
