"""All combinations of labels that a set of selectors can tell apart, as few label sets as that takes.

Keys are settled one after the other: for each every value that is named, another one, and its absence. Two partial
sets after which the same is left of every selector are one. What comes out has one set for each vector of truth
values that any pod can bring about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

from migrate.model.labels import Labels, Scope
from migrate.model.selectors import EVERYTHING, NOTHING, And, Not, Operator, Or, Requirement, Selector, requirements
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME

Key: TypeAlias = tuple[Scope, str]
Assignment: TypeAlias = dict[Key, str]
"""The labels of a made-up pod; a key that is not there is absent."""

NAMES: tuple[Key, ...] = ((Scope.NAMESPACE, NAMESPACE_NAME), (Scope.SERVICE_ACCOUNT, SERVICE_ACCOUNT_NAME))
"""Labels that everybody has."""
OTHER = "other"
_PREFIXES = (Operator.STARTS_WITH, Operator.NOT_STARTS_WITH)
_SUFFIXES = (Operator.ENDS_WITH, Operator.NOT_ENDS_WITH)
_PARTS = (Operator.CONTAINS, Operator.NOT_CONTAINS)
_VALUES = (Operator.IN, Operator.NOT_IN)
_WHOLE = (*_VALUES, Operator.EXISTS, Operator.DOES_NOT_EXIST)
_NOT_NAMED = "\0"
_SEPARATORS = "-_.x0"
_MOST_PARTS = 8


class TooManyError(Exception):
    """There are more combinations than the cap."""


def label_sets(selectors: Iterable[Selector], cap: int) -> list[Assignment]:
    """One assignment for each combination of answers of the selectors. Raises TooManyError above `cap`."""
    wanted = list(dict.fromkeys(selectors))
    return _Search(wanted).run(cap)


@dataclass(frozen=True, slots=True)
class _State:
    """Partly settled selectors: those that hold (as bits), and what is left of the undecided ones, by number."""

    true: int
    left: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Search:
    """Settles selectors key by key; each form of a selector is worked out once."""

    selectors: Sequence[Selector]
    _numbers: dict[Selector, int] = field(default_factory=dict)
    _forms: list[Selector] = field(default_factory=list)
    _keys: list[frozenset[Key]] = field(default_factory=list)
    _settled: dict[tuple[int, Key, str | None], int] = field(default_factory=dict)
    _named: dict[tuple[int, Key], frozenset[str] | None] = field(default_factory=dict)

    def run(self, cap: int) -> list[Assignment]:
        empty: Assignment = {}
        states = {self._state(enumerate(map(self._number, self.selectors)), 0): empty}
        for key, values in _atoms(self.selectors):
            found: dict[_State, Assignment] = {}
            for state, labels in states.items():
                for value in values if self._reads(state, key) else values[:1]:
                    settled = ((index, self._settle(form, key, value)) for index, form in state.left)
                    more = labels if value is None else {**labels, key: value}
                    found.setdefault(self._state(settled, state.true), more)
            if len(found) > cap:
                raise TooManyError(f"more than {cap} combinations of labels")
            states = found
        return list(states.values())

    def _reads(self, state: _State, key: Key) -> bool:
        return any(key in self._keys[form] for _, form in state.left)

    def _state(self, forms: Iterable[tuple[int, int]], true: int) -> _State:
        left: list[tuple[int, int]] = []
        for index, form in forms:
            selector = self._forms[form]
            if selector == EVERYTHING:
                true |= 1 << index
            elif selector != NOTHING:
                left.append((index, form))
        return _State(true, tuple(left))

    def _number(self, selector: Selector) -> int:
        found = self._numbers.get(selector)
        if found is None:
            found = self._numbers[selector] = len(self._forms)
            self._forms.append(selector)
            self._keys.append(frozenset((r.scope, r.key) for r in requirements(selector)))
        return found

    def _settle(self, form: int, key: Key, value: str | None) -> int:
        if key not in self._keys[form]:
            return form
        named = self._named_in(form, key)
        if value is not None and named is not None and value not in named:
            value = _NOT_NAMED
        found = self._settled.get((form, key, value))
        if found is None:
            found = self._settled[form, key, value] = self._number(_settled(self._forms[form], key, value))
        return found

    def _named_in(self, form: int, key: Key) -> frozenset[str] | None:
        """The values of a label that a selector tells from all others; None where it looks into values."""
        if (form, key) not in self._named:
            asked = [r for r in requirements(self._forms[form]) if (r.scope, r.key) == key]
            whole = all(r.operator in _WHOLE for r in asked)
            self._named[form, key] = frozenset(value for r in asked for value in r.values) if whole else None
        return self._named[form, key]


def _settled(selector: Selector, key: Key, value: str | None) -> Selector:
    """What is left of a selector when one label is known."""
    if isinstance(selector, Requirement):
        if (selector.scope, selector.key) != key:
            return selector
        labels = Labels() if value is None else Labels(((key[1], value),))
        return EVERYTHING if selector.matches(labels) else NOTHING
    if isinstance(selector, Not):
        term = _settled(selector.term, key, value)
        if term in (EVERYTHING, NOTHING):
            return NOTHING if term == EVERYTHING else EVERYTHING
        return Not(term)
    terms = [_settled(term, key, value) for term in selector.terms]
    neutral, absorbing = (EVERYTHING, NOTHING) if isinstance(selector, And) else (NOTHING, EVERYTHING)
    if absorbing in terms:
        return absorbing
    kept = tuple(dict.fromkeys(term for term in terms if term != neutral))
    if len(kept) == 1:
        return kept[0]
    return And(kept) if isinstance(selector, And) else Or(kept)


def _atoms(selectors: Iterable[Selector]) -> Iterator[tuple[Key, list[str | None]]]:
    """Each key with a value for each way in which requirements on it can turn out; the first one is the plainest.

    Names of namespaces come first, since most policies are about one namespace.
    """
    by_key: dict[Key, set[Requirement]] = {}
    for selector in selectors:
        for requirement in requirements(selector):
            by_key.setdefault((requirement.scope, requirement.key), set()).add(requirement)
    scopes = (Scope.NAMESPACE, Scope.SERVICE_ACCOUNT, Scope.POD)
    for key in sorted(by_key, key=lambda key: (scopes.index(key[0]), key not in NAMES, key[1])):
        values = _values(by_key[key])
        yield key, [*values] if key in NAMES else [None, *values]


def _values(asked: Iterable[Requirement]) -> list[str]:
    """Values that are not named, with every start, end and part that is asked for; then those that are.

    Beside a character that nothing asked for holds, they have just the starts, ends and parts that they are made of.
    """
    named, starts, ends, parts = (_texts(asked, operators) for operators in (_VALUES, _PREFIXES, _SUFFIXES, _PARTS))
    if not starts and not ends and not parts:
        return [_new_value(named), *named]
    if len(parts) > _MOST_PARTS:
        raise TooManyError(f"more than {_MOST_PARTS} parts of values are asked for in one label")
    apart = _new_character([*named, *starts, *ends, *parts])
    chosen = [some for count in range(len(parts) + 1) for some in combinations(parts, count)]
    made = [apart.join((start, *some, end)) for start in ("", *starts) for end in ("", *ends) for some in chosen]
    return [*made, *named]


def _texts(asked: Iterable[Requirement], operators: tuple[Operator, ...]) -> list[str]:
    return sorted({value for requirement in asked if requirement.operator in operators for value in requirement.values})


def _new_value(named: Sequence[str]) -> str:
    number = 1
    while (text := OTHER if number == 1 else f"{OTHER}-{number}") in named:
        number += 1
    return text


def _new_character(texts: Sequence[str]) -> str:
    known = set("".join(texts))
    candidates = [*_SEPARATORS, *map(chr, range(0x100, 0x101 + len(known)))]
    free: list[str] = [char for char in candidates if char not in known]
    return free[0]
