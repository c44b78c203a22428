"""Which kinds of matches and targets a verdict rests on: without one of a kind it would be another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from migrate.model.ip_sets import IpSet
from migrate.model.node_state import (
    AddressBetween,
    AddressIs,
    AddressTypeIs,
    Chain,
    Comment,
    Condition,
    ConnectionDirection,
    ConnectionIn,
    ConnectionMarkCopy,
    DeviceIs,
    Ending,
    InSet,
    Jump,
    MarkIs,
    Match,
    PortIn,
    Rule,
    Ruleset,
    Target,
    TrackedAddressIs,
    Translate,
)

_DROP_POLICY = "policy DROP"


def kinds(rulesets: Iterable[Ruleset], sets: Mapping[str, IpSet]) -> set[str]:
    """All kinds that occur."""
    found: set[str] = set()
    for ruleset in rulesets:
        for table in ruleset.tables:
            for chain in table.chains:
                found |= {_DROP_POLICY} if chain.policy is Ending.DROP else set()
                for rule in chain.rules:
                    found |= {_of(one, match.module, sets) for match in rule.matches for one in match.conditions}
                    found |= {_of_target(rule.target)}
    return found - {"", "Comment"}


def without(kind: str, rulesets: Iterable[Ruleset], sets: Mapping[str, IpSet]) -> list[Ruleset]:
    """Rules in which the conditions of a kind always hold, and targets of the kind do nothing."""
    return [
        replace(
            ruleset,
            tables=tuple(
                replace(table, chains=tuple(_chain(chain, kind, sets) for chain in table.chains))
                for table in ruleset.tables
            ),
        )
        for ruleset in rulesets
    ]


def _chain(chain: Chain, kind: str, sets: Mapping[str, IpSet]) -> Chain:
    if kind == _DROP_POLICY and chain.policy is Ending.DROP:
        chain = replace(chain, policy=Ending.ACCEPT)
    return replace(chain, rules=tuple(_rule(rule, kind, sets) for rule in chain.rules))


def _rule(rule: Rule, kind: str, sets: Mapping[str, IpSet]) -> Rule:
    matches = tuple(_match(match, kind, sets) for match in rule.matches)
    target = None if _of_target(rule.target) == kind else rule.target
    return replace(rule, matches=matches, target=target)


def _match(match: Match, kind: str, sets: Mapping[str, IpSet]) -> Match:
    left = tuple(one for one in match.conditions if _of(one, match.module, sets) != kind)
    return match if len(left) == len(match.conditions) else replace(match, module="", conditions=left)


def _of(condition: Condition, module: str, sets: Mapping[str, IpSet]) -> str:
    """The kind of a condition."""
    no = "not " if getattr(condition, "negated", False) else ""
    if isinstance(condition, InSet):
        return f"{no}set {sets[condition.name].kind}" + (" return-nomatch" if condition.nomatch_too else "")
    if isinstance(condition, AddressIs | AddressBetween | TrackedAddressIs):
        original = f" original={condition.original}" if isinstance(condition, TrackedAddressIs) else ""
        return f"{no}{type(condition).__name__} {condition.end.value}{original}"
    if isinstance(condition, DeviceIs):
        return f"{no}DeviceIs {condition.end.value}" + (" wildcard" if condition.name.endswith("+") else "")
    if isinstance(condition, PortIn):
        return f"{no}PortIn {module if module == 'multiport' else 'own'} {condition.end.value}"
    if isinstance(condition, MarkIs):
        return f"{no}MarkIs {'connection' if condition.connection else 'packet'}"
    if isinstance(condition, ConnectionIn):
        return f"{no}ConnectionIn {'+'.join(sorted(condition.states))}"
    if isinstance(condition, ConnectionDirection):
        return f"ConnectionDirection original={condition.original}"
    if isinstance(condition, AddressTypeIs):
        return f"{no}AddressTypeIs {condition.end.value} {'+'.join(condition.types)}"
    return "" if isinstance(condition, Comment) else f"{no}{type(condition).__name__}"


def _of_target(target: Target | None) -> str:
    """The kind of a target."""
    if target is None:
        return ""
    if isinstance(target, Ending):
        return target.value
    if isinstance(target, Jump):
        return "goto" if target.final else "jump"
    if isinstance(target, ConnectionMarkCopy):
        return f"mark copy {target.way.value}"
    if isinstance(target, Translate):
        return f"{target.kind.value}{' ports' if target.ports else ''}{' address' if target.addresses else ''}"
    return type(target).__name__
