"""A rule of NPM's as a value: the same for what a policy asks for and for what stands in a dump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from migrate.model.node_state import (
    Comment,
    Condition,
    ConnectionIn,
    End,
    Ending,
    InSet,
    Jump,
    MarkChange,
    MarkIs,
    PortIn,
    ProtocolIs,
    Rule,
    Target,
    Unread,
)

ALLOW, DROP = "allow", "drop"
PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}


@dataclass(frozen=True, slots=True, order=True)
class SetUse:
    """A set that has to hold the packet's `end` (src, dst, or dst,dst for address and port), or has not to."""

    name: str
    end: str
    negated: bool = False

    def __str__(self) -> str:
        return f"not {self.name}" if self.negated else self.name


@dataclass(frozen=True, slots=True)
class NpmRule:
    """What a packet has to be, and what then becomes of it: ALLOW, DROP, or a target as iptables has it.

    `protocol` and `ports` are empty for any. `other` are conditions that NPM's rules for policies never have.
    """

    target: str
    protocol: str = ""
    ports: str = ""
    sets: frozenset[SetUse] = frozenset()
    other: frozenset[str] = frozenset()

    def __str__(self) -> str:
        words = [" ".join(filter(None, (self.protocol, self.ports))), *sorted(self.other)]
        for end, word in (("src", "from"), ("dst", "to"), ("dst,dst", "to")):
            found = sorted(use for use in self.sets if use.end == end)
            if found:
                words.append(f"{word} {' and '.join(map(str, found))}")
        words += sorted(f"{use.end} {use}" for use in self.sets if use.end not in ("src", "dst", "dst,dst"))
        said = " ".join(filter(None, words)) or "everything"
        return said if self.target == ALLOW else f"{said} -> {self.target}"

    def sort_key(self) -> tuple[str, str, str, str]:
        """Order in texts: what differs in one place only stands at the same place of two lists."""
        return (self.target, str(sorted(self.sets)), self.protocol, self.ports)


def read_rule(rule: Rule, name_of: Callable[[str], str], verdicts: dict[str, str]) -> NpmRule:
    """A rule of a dump; `verdicts` are targets that say ALLOW or DROP in its chain. Its comment says nothing here."""
    protocol = ports = ""
    sets: set[SetUse] = set()
    other: set[str] = set(rule.unread)
    for condition in rule.conditions:
        if isinstance(condition, Comment | Unread):
            continue
        if isinstance(condition, ProtocolIs) and not condition.negated and not protocol:
            protocol = PROTOCOLS.get(condition.number, f"protocol {condition.number}")
        elif isinstance(condition, PortIn) and _is_destination(condition) and not ports:
            ports = port_text(*condition.ranges[0])
        elif isinstance(condition, InSet) and not condition.exceptions_only:
            ends = ",".join(end.value for end in condition.ends)
            sets.add(SetUse(name_of(condition.name), ends, condition.negated))
        else:
            other.add(_words(condition))
    target = target_text(rule.target)
    return NpmRule(verdicts.get(target, target), protocol, ports, frozenset(sets), frozenset(other))


def port_text(low: int, high: int) -> str:
    """A port, or a range of them, as iptables prints it."""
    return str(low) if low == high else f"{low}:{high}"


def mark_text(value: int) -> str:
    """That a packet carries a mark of NPM's, or gets it."""
    return f"mark {value:#x}/{value:#x}"


def target_text(target: Target | None) -> str:
    """A target in few words."""
    if isinstance(target, Jump):
        return f"{'goto ' if target.final else ''}{target.chain}"
    if isinstance(target, MarkChange):
        return f"MARK {target.value:#x}/{target.mask:#x}"
    if isinstance(target, Ending):
        return target.value
    return "no target" if target is None else repr(target)


def _is_destination(condition: PortIn) -> bool:
    return condition.end is End.DESTINATION and len(condition.ranges) == 1 and not condition.negated


def _words(condition: Condition) -> str:
    if isinstance(condition, MarkIs) and not condition.connection:
        return f"{'not ' if condition.negated else ''}mark {condition.value:#x}/{condition.mask:#x}"
    if isinstance(condition, ConnectionIn):
        return f"{'not ' if condition.negated else ''}ctstate {','.join(condition.states)}"
    return repr(condition)
