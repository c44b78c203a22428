"""Selectors as the sets that NPM makes of them.

Facts: npm/pkg/controlplane/translation/parseSelector.go of Azure/azure-container-networking. Values stand in names in
the order of the object, so that selectors are read from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from migrate.model.raw import Json
from migrate.scan.inventory.look import dig, items

ALL_NAMESPACES = "nslabel-all-namespaces"


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set that a selector asks for. `spellings` are its names in other releases, the oldest one last.

    `members` are the names of the sets in it, for one that a policy brings with it.
    """

    name: str
    negated: bool = False
    spellings: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Term:
    key: str
    negated: bool
    values: tuple[str, ...] | None


def namespace_set(namespace: str) -> NamedSet:
    """The set of a namespace's pods."""
    return NamedSet(f"ns-{namespace}")


def pod_sets(policy_key: str, selector: Json) -> tuple[NamedSet, ...]:
    """The sets of a podSelector; several values of one expression are a list of sets that belongs to the policy."""
    return tuple(_pod_set(policy_key, term) for term in _terms(selector))


def namespace_sets(selector: Json) -> Iterator[tuple[NamedSet, ...]]:
    """The sets of a namespaceSelector: one tuple for each combination of its values, of which each becomes a rule."""
    terms = list(_terms(selector))
    if not terms:
        yield (NamedSet(ALL_NAMESPACES),)
    for values in product(*([None] if term.values is None else term.values for term in terms)) if terms else ():
        pairs = zip(terms, values, strict=True)
        yield tuple(NamedSet(_labelled("nslabel", term.key, value), term.negated) for term, value in pairs)


def _pod_set(policy_key: str, term: _Term) -> NamedSet:
    if term.values is None or len(term.values) == 1:
        return NamedSet(_labelled("podlabel", term.key, term.values[0] if term.values else None), term.negated)
    values = ":".join(term.values)
    sized = f"{len(policy_key)}-{policy_key}-{len(term.key)}-{term.key}"
    names = [
        f"nestedlabel-{owner}:{values}" for owner in (f"{policy_key}:{term.key}", sized, f"{policy_key}-{term.key}")
    ]
    members = tuple(_labelled("podlabel", term.key, value) for value in term.values)
    return NamedSet(names[0], term.negated, tuple(names[1:]), members)


def _labelled(kind: str, key: str, value: str | None) -> str:
    return f"{kind}-{key}" if value is None else f"{kind}-{key}:{value}"


def _terms(selector: Json) -> Iterator[_Term]:
    labels = dig(selector, "matchLabels")
    for key, value in labels.items() if isinstance(labels, dict) else ():
        yield _Term(key, False, (str(value),))
    for expression in items(dig(selector, "matchExpressions")):
        values = tuple(str(value) for value in items(dig(expression, "values")))
        negated = dig(expression, "operator") in ("NotIn", "DoesNotExist")
        yield _Term(str(dig(expression, "key")), negated, values or None)
