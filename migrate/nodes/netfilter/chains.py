"""Tables made ready to be walked: rules as tests and targets, long chains by the destination that rules ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import merge

from migrate.model.node_state import AddressIs, Chain, End, Ending, Rule, Ruleset, Table, Target
from migrate.nodes.netfilter.conditions import Conditions, Test
from migrate.nodes.netfilter.judgement import Step, in_words
from migrate.nodes.netfilter.passing import Passing
from migrate.nodes.netfilter.set_index import Answer

_LONG = 32
"""Rules of a chain from which on it is worth while to sort them by destination."""


@dataclass(eq=False)
class ReadyRule:
    """A rule that can be asked. `chain` is where it stands."""

    rule: Rule
    chain: ReadyChain
    tests: tuple[tuple[Test, str], ...]

    @property
    def target(self) -> Target | None:
        """What it does with packets that it holds for."""
        return self.rule.target

    def holds(self, passing: Passing) -> Answer:
        """Whether the rule is for this packet."""
        answer: Answer = True
        for test, _ in self.tests:
            found = test(passing)
            if found is False:
                return False
            if found is None:
                answer = None
        return answer

    @cached_property
    def step(self) -> Step:
        """What a reader is told when a packet met the rule."""
        table = self.chain.table
        at, action = table.ruleset.at(self.rule), in_words(self.target)
        return Step(table.table.name, self.chain.chain.name, table.table.backend, action, at, self.rule.comments)

    def unsure(self, passing: Passing) -> tuple[str, ...]:
        """What it asks that nothing answers."""
        return tuple(dict.fromkeys(about for test, about in self.tests if test(passing) is None))


class ReadyTable:
    """A table whose chains are made ready when a packet comes to them."""

    def __init__(self, ruleset: Ruleset, table: Table, conditions: Conditions) -> None:
        self.ruleset = ruleset
        self.table = table
        self.conditions = conditions
        self._given = table.by_name()
        self._ready: dict[str, ReadyChain] = {}

    def chain(self, name: str) -> ReadyChain | None:
        """A chain; None when the table has none of that name."""
        if name not in self._ready and name in self._given:
            self._ready[name] = ReadyChain(self, self._given[name])
        return self._ready.get(name)


@dataclass(eq=False)
class ReadyChain:
    """A chain whose rules are asked in their order."""

    table: ReadyTable
    chain: Chain

    @property
    def policy(self) -> Ending:
        """What happens at the end of one of the kernel's own chains."""
        return self.chain.policy or Ending.ACCEPT

    @cached_property
    def step(self) -> Step:
        """What a reader is told when the policy decided."""
        table = self.table
        action = f"{self.policy.value}, the policy of the chain"
        return Step(table.table.name, self.chain.name, table.table.backend, action, table.ruleset.at(self.chain))

    @cached_property
    def rules(self) -> tuple[ReadyRule, ...]:
        """All rules."""
        conditions = self.table.conditions
        tests: dict[int, tuple[tuple[Test, str], ...]] = {}
        for rule in self.chain.rules:
            for match in rule.matches:
                if id(match) not in tests:
                    tests[id(match)] = conditions.tests(match)
        return tuple(
            ReadyRule(rule, self, tuple(test for match in rule.matches for test in tests[id(match)]))
            for rule in self.chain.rules
        )

    def candidates(self, passing: Passing) -> Iterator[ReadyRule]:
        """The rules that may hold for a packet, by what they say of its destination."""
        if len(self.rules) < _LONG or passing.ends.destination is None:
            return iter(self.rules)
        anywhere, by_address = self._by_destination
        here = by_address.get((passing.version, passing.ends.destination), ())
        return (self.rules[index] for index in merge(anywhere, here))

    @cached_property
    def _by_destination(self) -> tuple[tuple[int, ...], dict[tuple[int, int], list[int]]]:
        """Numbers of the rules that name no single destination, and of the others by that destination."""
        anywhere: list[int] = []
        by_address: dict[tuple[int, int], list[int]] = {}
        for index, ready in enumerate(self.rules):
            only = _only_destination(ready.rule)
            if only is None:
                anywhere.append(index)
            else:
                by_address.setdefault(only, []).append(index)
        return tuple(anywhere), by_address


def _only_destination(rule: Rule) -> tuple[int, int] | None:
    """Family and number of the one address that a rule is for."""
    for condition in rule.conditions:
        if isinstance(condition, AddressIs) and condition.end is End.DESTINATION and not condition.negated:
            network = condition.network
            if network.prefixlen == network.max_prefixlen:
                return network.version, int(network.network_address)
    return None
