"""What a rule of a policy asks for and does, in one form: as the policy says it, and as a chain holds it.

Felix writes one rule of a policy as several rules of a chain, joined by marks: alternatives (networks, ports beyond
15, named ports) come first and set or clear a mark, then comes what all packets must have, then the verdict. The form
has all conditions of the one rule together, without the marks.

Facts: projectcalico/calico felix/rules/policy.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.model.addresses import Network
from migrate.model.intervals import IntervalSet
from migrate.model.node_state import (
    AddressIs,
    Chain,
    Comment,
    Condition,
    Counters,
    End,
    Ending,
    IcmpIs,
    InSet,
    Log,
    MarkChange,
    MarkIs,
    Option,
    PortIn,
    ProtocolIs,
    Reject,
    Rule,
)
from migrate.nodes.calico import policies
from migrate.nodes.calico.names import set_name
from migrate.nodes.calico.objects import set_needs
from migrate.nodes.calico.policies import FelixRule

Asked: TypeAlias = tuple[str, str, bool]
"""What is asked for (such as "source in"), of which value, and whether it is negated."""


_WITH_PORTS = "address and port in set"


@dataclass(frozen=True, slots=True)
class Shape:
    """A rule's verdict (Allow, Deny, Pass, Log) and its conditions."""

    action: str
    asked: frozenset[Asked]

    def __str__(self) -> str:
        conditions = (f"{what} {'not ' if negated else ''}{value}" for what, value, negated in sorted(self.asked))
        return " ".join((self.action, *conditions))


@dataclass(frozen=True, slots=True)
class Found:
    """A rule of a policy in a chain: the line of its verdict, and what that counted."""

    shape: Shape
    line: int
    counters: Counters | None


@dataclass(frozen=True, slots=True)
class Marks:
    """The bits by which chains tell each other that a policy accepted or passed on a packet."""

    accept: int = 0x10000
    passed: int = 0x20000


def wanted(rules: Iterable[FelixRule], family: int) -> tuple[Shape, ...]:
    """The shapes of a policy's rules for an IP version."""
    return tuple(_wanted(rule, family) for rule in rules if rule.holds_for(family))


def _wanted(rule: FelixRule, family: int) -> Shape:
    asked = _Asked()
    asked.protocol(rule.protocol, negated=False)
    asked.protocol(rule.not_protocol, negated=True)
    for match, negated in ((rule.icmp, False), (rule.not_icmp, True)):
        if match is not None and match.type is not None:
            asked.icmp(match.type, match.code, negated=negated)
    for end, match_end in ((End.SOURCE, rule.source), (End.DESTINATION, rule.destination)):
        _add_end(asked, end, match_end, family)
    for need in set_needs(rule):
        end = End.SOURCE if need.source else End.DESTINATION
        ends = (end, end) if need.with_ports else (end,)
        asked.in_set(set_name(need.id, family), ends, negated=need.negated)
    return Shape(rule.action, asked.all())


def _add_end(asked: _Asked, end: End, match: policies.End, family: int) -> None:
    for nets, negated in ((match.nets, False), (match.not_nets, True)):
        for net in nets:
            if net.version == family:
                asked.net(end, net, negated=negated)
    for ports, negated in ((match.ports, False), (match.not_ports, True)):
        asked.ports(end, ports, negated=negated)


def as_nft_lists(shape: Shape) -> Shape:
    """What nft shows of a shape: it leaves out the protocol before a set of addresses with ports.

    Measured with nft 1.0.6, which takes the condition for one that the ports need anyway.
    """
    if not any(what.endswith(_WITH_PORTS) for what, _, _ in shape.asked):
        return shape
    return Shape(shape.action, frozenset(asked for asked in shape.asked if asked[0] != "protocol" or asked[2]))


def found_in(chain: Chain, marks: Marks) -> tuple[Found, ...] | None:
    """The rules of a policy in its chain; None when something stands there whose meaning here is not known."""
    reader = _ChainReader(marks)
    for rule in chain.rules:
        if not reader.take(rule):
            return None
    return tuple(reader.found)


class _Asked:
    """Gathers conditions; ports of one end are one condition."""

    def __init__(self) -> None:
        self._found: set[Asked] = set()
        self._ports: dict[tuple[End, bool], IntervalSet] = {}

    def protocol(self, number: int | None, *, negated: bool) -> None:
        if number:
            self._found.add(("protocol", str(number), negated))

    def icmp(self, kind: int, code: int | None, *, negated: bool) -> None:
        self._found.add(("ICMP type", str(kind) if code is None else f"{kind}/{code}", negated))

    def net(self, end: End, net: Network, *, negated: bool) -> None:
        """A network of all addresses is not printed by the save programs."""
        if net.prefixlen:
            self._found.add((f"{_WORDS[end]} in", str(net), negated))

    def ports(self, end: End, ports: IntervalSet, *, negated: bool) -> None:
        self._ports[end, negated] = self._ports.get((end, negated), IntervalSet()) | ports

    def in_set(self, name: str, ends: tuple[End, ...], *, negated: bool) -> None:
        what = "address in set" if len(ends) == 1 else _WITH_PORTS
        self._found.add((f"{_WORDS[ends[0]]} {what}", name, negated))

    def all(self) -> frozenset[Asked]:
        ports = (
            (f"{_WORDS[end]} port", ",".join(f"{low}-{high}" for low, high in found.ranges), negated)
            for (end, negated), found in self._ports.items()
            if found.ranges
        )
        return frozenset((*self._found, *ports))


_WORDS = {End.SOURCE: "source", End.DESTINATION: "destination", End.EITHER: "either"}


@dataclass(slots=True)
class _ChainReader:
    """Takes the rules of a chain one after another."""

    marks: Marks
    found: list[Found] = field(default_factory=list)
    asked: _Asked = field(default_factory=_Asked)

    def take(self, rule: Rule) -> bool:
        """False for a rule that has no place here."""
        own, target = list(_own(rule)), rule.target
        if isinstance(target, Log):  # a rate limit of logging decides nothing
            own = [condition for condition in own if not isinstance(condition, Option)]
        if rule.unread or not all(isinstance(condition, _READABLE) for condition in own):
            return False
        if isinstance(target, MarkChange):
            return self._mark(rule, target, own)
        if target in (Ending.DROP,) or isinstance(target, Reject):
            return self._close(rule, "Deny", own)
        if isinstance(target, Log):
            return target.group is not None or self._close(rule, "Log", own)
        return (target is None or target is Ending.RETURN) and not own

    def _mark(self, rule: Rule, change: MarkChange, own: list[Condition]) -> bool:
        if change.value & self.marks.accept:
            return self._close(rule, "Allow", own)
        if change.value & self.marks.passed:
            return self._close(rule, "Pass", own)
        self._add(own, flipped=change.value == 0)
        return True

    def _close(self, rule: Rule, action: str, own: list[Condition]) -> bool:
        self._add(own, flipped=False)
        self.found.append(Found(Shape(action, self.asked.all()), rule.line, rule.counters))
        self.asked = _Asked()
        return True

    def _add(self, own: list[Condition], *, flipped: bool) -> None:
        """`flipped`: a packet that has this loses the mark, so that the opposite is asked for."""
        for condition in own:
            if isinstance(condition, AddressIs):
                self.asked.net(condition.end, condition.network, negated=condition.negated is not flipped)
            elif isinstance(condition, ProtocolIs):
                self.asked.protocol(condition.number, negated=condition.negated is not flipped)
            elif isinstance(condition, PortIn):
                ranges = IntervalSet.of(condition.ranges)
                self.asked.ports(condition.end, ranges, negated=condition.negated is not flipped)
            elif isinstance(condition, InSet):
                self.asked.in_set(condition.name, condition.ends, negated=condition.negated is not flipped)
            elif isinstance(condition, IcmpIs) and condition.type is not None:
                self.asked.icmp(condition.type, condition.code, negated=condition.negated is not flipped)


_READABLE = (AddressIs, ProtocolIs, PortIn, InSet, IcmpIs)


def _own(rule: Rule) -> Iterator[Condition]:
    """A rule's conditions but for marks, comments and what Felix's bookkeeping puts there."""
    for condition in rule.conditions:
        if not isinstance(condition, Comment) and not (isinstance(condition, MarkIs) and not condition.connection):
            yield condition
