"""Which ends of a space a predicate holds for; worked out once for all engines that ask."""

from __future__ import annotations

from migrate.model.flow import PROTOCOL_NAMES
from migrate.model.ruleset import Addresses, AllOf, AnyOf, At, Except, Pods, Predicate
from migrate.model.selectors import And, Not, Requirement, Selector, matches
from migrate.verify.bits import bits, union
from migrate.verify.space import NamedNumbers, NamedPorts, Space


class Ends:
    """Answers about one space. Places are as seen from any pod; ITSELF is nowhere."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._holding: dict[Predicate, int] = {}
        self._numbered: dict[tuple[frozenset[str], int], dict[NamedNumbers, int]] = {}

    def holding(self, predicate: Predicate) -> int:
        """The ends for which a predicate holds."""
        found = self._holding.get(predicate)
        if found is None:
            found = self._holding[predicate] = self._work_out(predicate)
        return found

    def _work_out(self, predicate: Predicate) -> int:
        if isinstance(predicate, AllOf):
            found = self._space.everything
            for term in predicate.terms:
                found &= self.holding(term)
            return found
        if isinstance(predicate, AnyOf):
            return union(self.holding(term) for term in predicate.terms)
        if isinstance(predicate, Except):
            return self._space.everything & ~self.holding(predicate.term)
        if isinstance(predicate, Pods):
            return self._pods(predicate.selector)
        if isinstance(predicate, Addresses):
            return self._space.inside(predicate.addresses)
        return self._space.at(predicate.place) if isinstance(predicate, At) else self._nodes(predicate.selector)

    def _pods(self, selector: Selector) -> int:
        """Pods by label, through the index of label values; no pod is looked at."""
        if isinstance(selector, Requirement):
            return self._space.with_label(selector)
        if isinstance(selector, Not):
            return self._space.pods & ~self._pods(selector.term)
        if isinstance(selector, And):
            found = self._space.pods
            for term in selector.terms:
                found &= self._pods(term)
            return found
        return union(self._pods(term) for term in selector.terms)

    def _nodes(self, selector: Selector) -> int:
        return bits(
            index
            for index, entry in enumerate(self._space.ends)
            if entry.end.node is not None and matches(selector, entry.end.node)
        )

    def by_number(self, names: frozenset[str], protocol: int) -> dict[NamedNumbers, int]:
        """All ends by the numbers that these port names have there."""
        if not names:
            return {frozenset(): self._space.everything}
        found = self._numbered.get((names, protocol))
        if found is None:
            found = self._numbered[names, protocol] = {}
            for ports, ends in self._space.by_named_ports.items():
                numbers = named_numbers(names, protocol, ports)
                found[numbers] = found.get(numbers, 0) | ends
        return found


def named_numbers(names: frozenset[str], protocol: int, ports: NamedPorts) -> NamedNumbers:
    """The numbers among some named ports that these names have for a protocol."""
    wanted = PROTOCOL_NAMES.get(protocol)
    return frozenset((name, number) for name, kind, number in ports if name in names and kind == wanted)
