"""What of a decision list Cilium's Admin tier can say, ahead of all other policies of a target.

An Admin Accept or Deny is final, an Admin Pass leaves the tier. So a rule stands there only for flows that it decides
in the whole list too: no earlier rule that stays outside the tier may want another verdict for them, and no earlier
tier may have passed them on. Everything else stays in the list that is compiled, less what the tier decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from migrate.model.addresses import AddressSet
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.ruleset import Action
from migrate.translate.ordered import OrderedPolicy, OrderedRule
from migrate.translate.regions import (
    ANY_PEER,
    ANY_TRAFFIC,
    PORT_PROTOCOLS,
    Box,
    PeerSet,
    PodSet,
    Region,
    TrafficSet,
    common_pods,
    pods_without,
    union_of_pods,
)

_PORTS = frozenset(PORT_PROTOCOLS)
_SAYABLE = (Scope.POD, Scope.NAMESPACE)

NODES = "nodes cannot be peers there"
SOURCES = "addresses cannot be sources there"
ACCOUNTS = "service accounts cannot be selected there"
PACKETS = "only TCP, UDP and SCTP ports can be named there"
INEXACT = "a part of it has no words in Cilium"
STAYING = "an earlier rule about some of the flows is not in the tier"
PASSED = "an earlier tier passes some of the flows on, and a Pass leaves the whole Admin tier"


@dataclass(frozen=True, slots=True)
class AdminRule:
    """One rule of the Admin tier."""

    action: Action
    box: Box


@dataclass(frozen=True, slots=True)
class Split:
    """One direction of a decision list in two parts.

    `said` has the Admin rules of each policy by its index, `rest` what is left to be compiled, `limits` the number of
    a rule of each policy with every reason why it, or a part of it, is not in the tier.
    """

    said: dict[int, tuple[AdminRule, ...]]
    rest: tuple[OrderedPolicy, ...]
    limits: dict[int, tuple[tuple[int, tuple[str, ...]], ...]]


@dataclass(slots=True)
class _Placed:
    """Where a rule goes. `left` is what stays in the list; None is all of it, as it was."""

    number: int
    rule: OrderedRule
    said: tuple[AdminRule, ...] = ()
    left: Region | None = None
    limits: tuple[str, ...] = ()
    falls: bool = False

    @property
    def stays(self) -> bool:
        """Whether a verdict of the rule is left outside the Admin tier."""
        return self.rule.action is not Action.PASS and self.left != () and bool(self.rule.wide)


@dataclass(slots=True)
class _Tier:
    """A tier with its rules placed; `is_open`: every flow that no rule of it decides goes on to the next tier."""

    policies: tuple[OrderedPolicy, ...]
    is_open: bool
    placed: dict[int, list[_Placed]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the tier is left to be compiled."""
        return self.is_open and not any(one.stays for some in self.placed.values() for one in some)


class _Splitter:
    """One walk over a decision list; `held` are flows with the verdict of rules that are not in the Admin tier."""

    def __init__(self, direction: Direction, protocols: frozenset[str], fixed: frozenset[int]) -> None:
        self._direction = direction
        self._protocols = protocols
        self._fixed = fixed
        self._held: list[tuple[Action, Box]] = []
        self._passed: list[Box] = []

    def tier(self, policies: Sequence[OrderedPolicy]) -> _Tier:
        """Place the rules of one tier; held Passes and what the tier passes matter for later ones otherwise."""
        found = _Tier(tuple(policies), _is_open(policies, self._direction))
        for place, policy in enumerate(policies):
            later = union_of_pods(other.pods for other in policies[place + 1 :])
            rules = policy.rules(self._direction)
            placed = [self._place(number, rule, policy) for number, rule in enumerate(rules)]
            if placed and _is_pass_of_all(rules[-1], policy) and not common_pods(policy.pods, later):
                self._fall(placed[-1])
            found.placed[policy.index] = placed
        self._held = [(action, box) for action, box in self._held if action is not Action.PASS]
        rules_said = (one for some in found.placed.values() for placed in some for one in placed.said)
        self._passed += [one.box for one in rules_said if one.action is Action.PASS]
        if not found.is_open:
            pods = union_of_pods(policy.pods for policy in policies)
            self._held.append((Action.DENY, Box(pods, ANY_PEER, ANY_TRAFFIC)))
        return found

    def _fall(self, placed: _Placed) -> None:
        """A Pass of everything at the end of what pods meet in a tier: they just go on."""
        placed.falls, placed.said, placed.limits = True, (), ()

    def _place(self, number: int, rule: OrderedRule, policy: OrderedPolicy) -> _Placed:
        if policy.index in self._fixed or not rule.is_exact:
            self._hold(rule.action, rule.wide)
            return _Placed(number, rule, limits=() if policy.index in self._fixed else (INEXACT,))
        said: list[AdminRule] = []
        left: list[Box] = []
        limits: dict[str, None] = {}
        for box in rule.exact:
            fits, rest, why = _fitting(box, self._direction, self._protocols)
            conflict = self._conflict(rule.action, fits) if fits is not None else None
            if fits is None or conflict is not None:
                left.append(box)
                limits |= dict.fromkeys((conflict,) if conflict is not None else why)
                continue
            said.append(AdminRule(rule.action, fits))
            left += rest
            limits |= dict.fromkeys(why)
        self._hold(rule.action, left)
        return _Placed(number, rule, tuple(said), tuple(left), tuple(limits))

    def _conflict(self, action: Action, box: Box) -> str | None:
        if any(box.overlaps(passed) for passed in self._passed):
            return PASSED
        others = (held for verdict, held in self._held if verdict is not action)
        if action is not Action.PASS and any(box.overlaps(held) for held in others):
            return STAYING
        return None

    def _hold(self, action: Action, region: Iterable[Box]) -> None:
        self._held += [(action, box) for box in region]


def split(
    policies: Sequence[OrderedPolicy], direction: Direction, *, sctp: bool, fixed: frozenset[int] = frozenset()
) -> Split:
    """One direction of the list, in two parts; policies with the indexes `fixed` stay as they are.

    Raises TooManyTermsError when the regions explode.
    """
    protocols = _PORTS if sctp else _PORTS - {"SCTP"}
    walk = _Splitter(direction, protocols, fixed)
    ordered = [policy for policy in policies if direction in policy.directions]
    tiers = [walk.tier(tuple(group)) for _, group in groupby(ordered, key=lambda policy: policy.tier)]
    _without_needless(tiers)
    end = _last_verdict(tiers)
    rules = [(index, one) for tier in tiers for index, some in tier.placed.items() for one in some]
    said = {index: tuple(s for one in some for s in one.said) for t in tiers for index, some in t.placed.items()}
    limits: dict[int, list[tuple[int, tuple[str, ...]]]] = {}
    for index, one in rules[:end]:
        if one.limits:
            limits.setdefault(index, []).append((one.number, one.limits))
    return Split(
        {index: some for index, some in said.items() if some},
        tuple(policy for tier in tiers for policy in _left(tier, direction)),
        {index: tuple(some) for index, some in limits.items()},
    )


def _without_needless(tiers: Sequence[_Tier]) -> None:
    """Take Accepts and Passes out of the Admin tier that no Deny follows, where their tier is compiled anyway."""
    for tier in reversed(tiers):
        for some in reversed(tier.placed.values()):
            for one in reversed(some):
                if one.said and one.rule.action is Action.DENY:
                    return
                if one.said and not tier.is_whole:
                    one.said, one.left, one.limits = (), None, ()


def _last_verdict(tiers: Sequence[_Tier]) -> int:
    """How many rules there are up to the last one that denies, or passes flows on past others."""
    rules = [one for tier in tiers for some in tier.placed.values() for one in some]
    return max(
        (n + 1 for n, one in enumerate(rules) if one.rule.action is not Action.ALLOW and not one.falls), default=0
    )


def _left(tier: _Tier, direction: Direction) -> Iterator[OrderedPolicy]:
    """What is left of a tier to be compiled."""
    if tier.is_whole:
        return
    for policy in tier.policies:
        rules = tuple(kept for one in tier.placed[policy.index] for kept in _kept(one, tier))
        ingress = direction is Direction.INGRESS
        yield replace(
            policy,
            passes=tier.is_open,
            directions=frozenset({direction}),
            ingress=rules if ingress else (),
            egress=() if ingress else rules,
        )


def _kept(placed: _Placed, tier: _Tier) -> Iterator[OrderedRule]:
    if placed.falls and tier.is_open:
        return
    if placed.left is None or placed.rule.action is Action.PASS:
        yield placed.rule
    elif placed.left:
        yield OrderedRule(placed.rule.action, placed.left, placed.left)


def _is_open(policies: Sequence[OrderedPolicy], direction: Direction) -> bool:
    """Whether all pods of a tier meet a Pass of everything, or the tier itself ends in Pass."""
    if policies[0].passes:
        return True
    passing = (p.pods for p in policies if any(_is_pass_of_all(rule, p) for rule in p.rules(direction)))
    return not pods_without(union_of_pods(policy.pods for policy in policies), union_of_pods(passing))


def _is_pass_of_all(rule: OrderedRule, policy: OrderedPolicy) -> bool:
    return rule.action is Action.PASS and rule.exact == (Box(policy.pods, ANY_PEER, ANY_TRAFFIC),)


def _fitting(
    box: Box, direction: Direction, protocols: frozenset[str]
) -> tuple[Box | None, tuple[Box, ...], tuple[str, ...]]:
    """What of a box an Admin rule can say, what is left of it, and why."""
    if not _selectable(box.pods):
        return None, (box,), (ACCOUNTS,)
    said_peers, other_peers, why = _peers(box.peers, direction)
    said_traffic = _traffic(box.traffic, protocols)
    other_traffic = box.traffic - said_traffic
    limits = (*why, PACKETS) if other_traffic else why
    said = Box(box.pods, said_peers, said_traffic)
    if not said:
        return None, (box,), limits
    parts = (Box(box.pods, other_peers, box.traffic), Box(box.pods, said_peers, other_traffic))
    return said, tuple(part for part in parts if part), limits


def _traffic(traffic: TrafficSet, protocols: frozenset[str]) -> TrafficSet:
    if traffic == ANY_TRAFFIC:
        return traffic
    return TrafficSet.of((protocol, ports) for protocol, ports in traffic.parts if protocol in protocols)


def _peers(peers: PeerSet, direction: Direction) -> tuple[PeerSet, PeerSet, tuple[str, ...]]:
    """Peers that rules of the Admin tier can name, the others, and why they cannot be named."""
    named = tuple(one for one in peers.pods if _selectable((one,)))
    unnamed = tuple(one for one in peers.pods if one not in named)
    ingress = direction is Direction.INGRESS
    addresses, others = (AddressSet(), peers.addresses) if ingress else (peers.addresses, AddressSet())
    rest = PeerSet(unnamed, others, peers.own_node, peers.other_nodes)
    reasons = ((unnamed, ACCOUNTS), (others, SOURCES), (peers.own_node or peers.other_nodes, NODES))
    return PeerSet(named, addresses), rest, tuple(text for there, text in reasons if there)


def _selectable(pods: PodSet) -> bool:
    return all(requirement.scope in _SAYABLE for conjunction in pods for requirement in conjunction)
