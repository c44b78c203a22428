"""Policies of equal order that Calico's releases ask in another sequence, where a flow may depend on it.

Fact: releases up to v3.28 compare the stored names, main of 2026-08 the plain name, then the namespace; when it changed
between them is not known (felix/calc policy_sorter.go of both).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Action
from migrate.model.selectors import TooManyTermsError
from migrate.sources.calico_release import LAST_LEGACY
from migrate.translate.notes import Notes
from migrate.translate.ordered import OrderedPolicy
from migrate.translate.regions import limited

_STEPS = 20_000


def ties(asked: Sequence[tuple[ObjectRef, OrderedPolicy]], later: Sequence[ObjectRef]) -> dict[ObjectRef, ObjectRef]:
    """For each policy the first other one that it would change places with, with another verdict for some flow.

    `asked` are the policies in the order of releases up to v3.28, `later` all of them in that of newer ones.
    """
    places = {ref: place for place, ref in enumerate(later)}
    found: dict[ObjectRef, ObjectRef] = {}
    for (ref, policy), (other_ref, other) in _turned(asked, places):
        if (ref not in found or other_ref not in found) and _differ(policy, other):
            found.setdefault(ref, other_ref)
            found.setdefault(other_ref, ref)
    return found


def note_tie(other: ObjectRef | None, notes: Notes) -> None:
    """Say that the result goes by the order of one release."""
    if other is None:
        return
    release = ".".join(map(str, LAST_LEGACY))
    notes.find(
        "POL-ORDER-TIE",
        f"it and {other} have the same order and treat some flow differently; Calico's releases do not agree which of "
        f"them is asked first, and the snapshot does not name the release: translated as by v{release}",
        place="spec.order",
        effect=Effect.UNKNOWN,
        on_intent=Effect.UNKNOWN,
        result=Result.EXACT_HERE,
    )
    notes.assume(f"Calico asks policies of equal order as its releases up to v{release} do")


_Placed = tuple[ObjectRef, OrderedPolicy]


def _turned(asked: Sequence[_Placed], places: Mapping[ObjectRef, int]) -> Iterator[tuple[_Placed, _Placed]]:
    """Pairs that the releases ask in another sequence, and not both with Allow rules only."""
    by_tier: dict[str, list[_Placed]] = {}
    for item in asked:
        by_tier.setdefault(item[1].tier, []).append(item)
    for policies in by_tier.values():
        strict = [number for number, (_, policy) in enumerate(policies) if not _only_allows(policy)]
        for number in strict:
            for other, item in enumerate(policies):
                before = places[item[0]] < places[policies[number][0]]
                if other != number and before is not (other < number):
                    yield policies[number], item


def _only_allows(policy: OrderedPolicy) -> bool:
    return all(rule.action is Action.ALLOW for direction in Direction for rule in policy.rules(direction))


def _differ(first: OrderedPolicy, second: OrderedPolicy) -> bool:
    """Whether a rule of one and a rule of the other decide some flow differently."""
    try:
        with limited(_STEPS):
            return any(
                one.action is not other.action and any(a.overlaps(b) for a in one.wide for b in other.wide)
                for direction in Direction
                for one in first.rules(direction)
                for other in second.rules(direction)
            )
    except TooManyTermsError:
        return True
