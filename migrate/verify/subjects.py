"""Which policies select a pod, without asking each: most are limited to one namespace by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge

from migrate.model.cluster import Pod
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.ruleset import Subject
from migrate.model.selectors import And, Operator, Requirement, Selector, matches
from migrate.sources.kubernetes import NAMESPACE_NAME


class Subjects:
    """The subjects of an engine's policies by the namespaces that they are limited to."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects
        self._anywhere: list[int] = []
        self._within: dict[str, list[int]] = {}
        for index, subject in enumerate(subjects):
            names = _namespaces(subject.selector)
            for name in names or ():
                self._within.setdefault(name, []).append(index)
            if names is None:
                self._anywhere.append(index)

    def selecting(self, pod: Pod, direction: Direction) -> Iterator[int]:
        """The indexes of those that select a pod for one direction, ascending."""
        name = pod.labels_of(Scope.NAMESPACE).get(NAMESPACE_NAME)
        for index in merge(self._anywhere, self._within.get(name or "", ())):
            subject = self._subjects[index]
            if direction in subject.directions and matches(subject.selector, pod):
                yield index


def _namespaces(selector: Selector) -> frozenset[str] | None:
    """The namespaces outside of which the selector holds for nobody; None where it names none."""
    terms = selector.terms if isinstance(selector, And) else (selector,)
    found: frozenset[str] | None = None
    for term in terms:
        if isinstance(term, Requirement) and _is_name(term):
            found = frozenset(term.values) if found is None else found & frozenset(term.values)
    return found


def _is_name(requirement: Requirement) -> bool:
    named = (requirement.scope, requirement.key) == (Scope.NAMESPACE, NAMESPACE_NAME)
    return named and requirement.operator is Operator.IN
