"""Label selectors of all dialects as one small tree, with a normal form that Cilium can say.

A label that is missing differs from every value: NotIn and != are true for it (Kubernetes and Calico agree).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from migrate.model.labels import Labels, Scope


class Operator(Enum):
    """What a requirement asks of one label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    CONTAINS = "Contains"
    STARTS_WITH = "StartsWith"
    ENDS_WITH = "EndsWith"
    NOT_CONTAINS = "NotContains"
    NOT_STARTS_WITH = "NotStartsWith"
    NOT_ENDS_WITH = "NotEndsWith"


_OPPOSITE = {
    Operator.IN: Operator.NOT_IN,
    Operator.EXISTS: Operator.DOES_NOT_EXIST,
    Operator.CONTAINS: Operator.NOT_CONTAINS,
    Operator.STARTS_WITH: Operator.NOT_STARTS_WITH,
    Operator.ENDS_WITH: Operator.NOT_ENDS_WITH,
}
_OPPOSITE |= {negative: positive for positive, negative in _OPPOSITE.items()}
NEGATIVE = frozenset(
    {
        Operator.NOT_IN,
        Operator.DOES_NOT_EXIST,
        Operator.NOT_CONTAINS,
        Operator.NOT_STARTS_WITH,
        Operator.NOT_ENDS_WITH,
    }
)


class Labelled(Protocol):
    """Anything a selector can be asked about."""

    def labels_of(self, scope: Scope) -> Labels:
        """The labels of that scope."""
        ...


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `values` is sorted and without repeats; empty for the two existence operators."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    scope: Scope = Scope.POD

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(sorted(set(self.values))))

    def matches(self, labels: Labels) -> bool:
        """Whether labels of this requirement's scope satisfy it."""
        value = labels.get(self.key)
        if self.operator in NEGATIVE:
            return value is None or not self._holds(value, _OPPOSITE[self.operator])
        return value is not None and self._holds(value, self.operator)

    def _holds(self, value: str, operator: Operator) -> bool:
        if operator is Operator.IN:
            return value in self.values
        if operator is Operator.EXISTS:
            return True
        if operator is Operator.CONTAINS:
            return any(part in value for part in self.values)
        if operator is Operator.STARTS_WITH:
            return value.startswith(self.values)
        return value.endswith(self.values)

    def negated(self) -> Requirement:
        """The requirement that holds exactly where this one does not."""
        return Requirement(self.key, _OPPOSITE[self.operator], self.values, self.scope)

    def sort_key(self) -> tuple[str, str, str, tuple[str, ...]]:
        """Order of requirements in every normal form."""
        return (self.scope.value, self.key, self.operator.value, self.values)


@dataclass(frozen=True, slots=True)
class And:
    """True where all terms are; without terms it is true everywhere."""

    terms: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """True where one of the terms is; without terms it is true nowhere."""

    terms: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """True where the term is not."""

    term: Selector


Selector: TypeAlias = Requirement | And | Or | Not
EVERYTHING = And()
NOTHING = Or()


def matches(selector: Selector, subject: Labelled) -> bool:
    """Whether the subject's labels satisfy the selector."""
    if isinstance(selector, Requirement):
        return selector.matches(subject.labels_of(selector.scope))
    if isinstance(selector, And):
        return all(matches(term, subject) for term in selector.terms)
    if isinstance(selector, Or):
        return any(matches(term, subject) for term in selector.terms)
    return not matches(selector.term, subject)


def requirements(selector: Selector) -> Iterable[Requirement]:
    """Every requirement in the tree, as written (not negated)."""
    if isinstance(selector, Requirement):
        yield selector
    elif isinstance(selector, Not):
        yield from requirements(selector.term)
    else:
        for term in selector.terms:
            yield from requirements(term)


Conjunction: TypeAlias = tuple[Requirement, ...]


class TooManyTermsError(Exception):
    """The normal form of a selector is larger than the cap."""


def disjuncts(selector: Selector, cap: int = 256) -> tuple[Conjunction, ...]:
    """The disjunctive normal form: a selector matches where one of these conjunctions does.

    Contradictions are left out, conjunctions that another one covers too, and each is sorted: `()` as the only
    disjunct means everything, no disjunct at all means nothing. Raises TooManyTermsError above `cap` conjunctions.
    """
    return _absorb(_expand(selector, False, cap))


def _expand(selector: Selector, negate: bool, cap: int) -> list[Conjunction]:
    if isinstance(selector, Requirement):
        requirement = selector.negated() if negate else selector
        if requirement.operator is Operator.IN and not requirement.values:
            return []
        if requirement.operator is Operator.NOT_IN and not requirement.values:
            return [()]
        return [(requirement,)]
    if isinstance(selector, Not):
        return _expand(selector.term, not negate, cap)
    if isinstance(selector, And) is not negate:
        return _product([_expand(term, negate, cap) for term in selector.terms], cap)
    found = [conjunction for term in selector.terms for conjunction in _expand(term, negate, cap)]
    if len(found) > cap:
        raise TooManyTermsError(f"more than {cap} alternatives")
    return found


def _product(factors: list[list[Conjunction]], cap: int) -> list[Conjunction]:
    result: list[Conjunction] = [()]
    for factor in factors:
        combined = (simplify(left + right) for left in result for right in factor)
        result = list(dict.fromkeys(c for c in combined if c is not None))
        if len(result) > cap:
            raise TooManyTermsError(f"more than {cap} alternatives")
    return result


def simplify(conjunction: Conjunction) -> Conjunction | None:
    """One requirement an operator and key where possible, sorted; None for a contradiction."""
    by_key: dict[tuple[Scope, str], list[Requirement]] = {}
    for requirement in conjunction:
        by_key.setdefault((requirement.scope, requirement.key), []).append(requirement)
    kept: list[Requirement] = []
    for group in by_key.values():
        merged = _merge(group)
        if merged is None:
            return None
        kept += merged
    return tuple(sorted(kept, key=Requirement.sort_key))


def _merge(group: list[Requirement]) -> list[Requirement] | None:
    """The same conditions on one label in canonical form: an In swallows all others."""
    key, scope = group[0].key, group[0].scope
    allowed: set[str] | None = None
    forbidden: set[str] = set()
    others: set[Requirement] = set()
    for requirement in group:
        if requirement.operator is Operator.IN:
            allowed = set(requirement.values) if allowed is None else allowed & set(requirement.values)
        elif requirement.operator is Operator.NOT_IN:
            forbidden |= set(requirement.values)
        else:
            others.add(requirement)
    operators = {requirement.operator for requirement in others}
    if allowed is not None:
        left = [value for value in allowed - forbidden if all(o.matches(Labels(((key, value),))) for o in others)]
        return [Requirement(key, Operator.IN, tuple(left), scope)] if left else None
    needs_label = operators - NEGATIVE
    if Operator.DOES_NOT_EXIST in operators:
        return None if needs_label else [Requirement(key, Operator.DOES_NOT_EXIST, (), scope)]
    if needs_label - {Operator.EXISTS}:
        others.discard(Requirement(key, Operator.EXISTS, (), scope))
    kept = sorted(others, key=Requirement.sort_key)
    return [*kept, Requirement(key, Operator.NOT_IN, tuple(forbidden), scope)] if forbidden else kept


def _absorb(conjunctions: list[Conjunction]) -> tuple[Conjunction, ...]:
    unique = sorted(set(conjunctions), key=lambda c: (len(c), [r.sort_key() for r in c]))
    kept: list[Conjunction] = []
    for candidate in unique:
        members = set(candidate)
        if not any(set(other) <= members for other in kept):
            kept.append(candidate)
    return tuple(kept)
