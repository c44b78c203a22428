"""The words of one rule → its matches and its target."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.model.node_state import Condition, Counters, Jump, Match, Option, OtherTarget, Rule, Target, Unread
from migrate.sources.node.matches import as_text, conditions
from migrate.sources.node.options import ALONE, MATCHES, OWN, TARGETS, Arity, own_name
from migrate.sources.node.targets import target
from migrate.sources.node.words import unquoted

_OF_PROTOCOL = {"ipv6-icmp": "icmp6", "icmpv6": "icmp6"}
_JUMPS = frozenset({"-j", "--jump", "-g", "--goto"})
_GOTOS = frozenset({"-g", "--goto"})

Words: TypeAlias = "tuple[str, tuple[str, ...], bool]"
"""An option as written: name without dashes, values without quotes, negated. Name "" holds text that is unknown."""
Group: TypeAlias = "tuple[str, tuple[Words, ...]]"


@dataclass(slots=True)
class Known:
    """What equal words meant before in this dump: made once, in memory once."""

    matches: dict[Group, Match] = field(default_factory=dict)
    together: dict[tuple[Group, ...], tuple[Match, ...]] = field(default_factory=dict)
    targets: dict[tuple[str, bool, tuple[Words, ...]], Target] = field(default_factory=dict)


@dataclass(slots=True)
class RuleReader:
    """Reads the words of one rule from left to right. `groups` holds the options of each match in their order."""

    words: list[str]
    chains: Collection[str]
    known: Known
    position: int
    groups: list[tuple[str, list[Words]]] = field(default_factory=list)
    target: str | None = None
    final: bool = False
    target_options: list[Words] = field(default_factory=list)
    protocol: str = ""

    def rule(self, line: int, counters: Counters | None) -> Rule:
        """The rule. Raises ValueError, with a message for the user, when its line is cut off or holds stray words."""
        count = len(self.words)
        while self.position < count:
            self._part()
        groups = tuple([(module, tuple(options)) for module, options in self.groups])
        matches = self.known.together.get(groups)
        if matches is None:
            matches = self.known.together[groups] = tuple([self._match(group) for group in groups])
        end = None if self.target is None else self._target(self.target)
        return Rule(line, matches, end, counters, _unread(matches, end))

    def _next(self) -> str:
        if self.position >= len(self.words):
            raise ValueError("the rule ends too early")
        self.position += 1
        return self.words[self.position - 1]

    def _part(self) -> None:
        word = self._next()
        negated = word == "!"
        if negated:
            word = self._next()
        if word == "-m" or word == "--match":
            self._begin(unquoted(self._next()), negated)
        elif word in _JUMPS and not negated:
            if self.target is not None:
                raise ValueError("the rule has two targets")
            self.target, self.final = unquoted(self._next()), word in _GOTOS
        elif word[0] == "-" and len(word) > 1:
            self._option(word, negated)
        else:
            raise ValueError(f"{word[:80]!r} stands where an option should")

    def _begin(self, module: str, negated: bool) -> None:
        self.groups.append((module, []))
        if negated or module not in MATCHES:
            self.groups[-1][1].append(("", (f"! -m {module}" if negated else f"-m {module}",), False))

    def _option(self, word: str, negated: bool) -> None:
        name = word.lstrip("-")
        last = self.groups[-1][0] if self.groups else ""
        arities = MATCHES.get(last)
        if self.target is None and arities and name in arities and len(name) > 1:
            self._add(self.groups[-1][1], arities, word, name, negated)
            return
        own = own_name(word)
        if own is not None:
            self._own(own, negated)
        elif self.target is not None:
            self._add(self.target_options, TARGETS.get(self.target), word, name, negated)
        else:
            module = self._module_of(name, last)
            if not self.groups or last != module:
                self.groups.append((module, []))
            self._add(self.groups[-1][1], MATCHES.get(module), word, name, negated)

    def _own(self, name: str, negated: bool) -> None:
        if not self.groups or self.groups[-1][0]:
            self.groups.append(("", []))
        if name == "p" and self.position < len(self.words):
            self.protocol = self.words[self.position]
        self._add(self.groups[-1][1], OWN, f"-{name}", name, negated)

    def _module_of(self, name: str, last: str) -> str:
        """The match that an option belongs to: one that stands before it and has it, else the protocol's."""
        if last and last not in MATCHES:
            return last
        for module, _ in reversed(self.groups):
            if name in MATCHES.get(module, ()):
                return module
        implied = _OF_PROTOCOL.get(self.protocol, self.protocol)
        return implied if name in MATCHES.get(implied, ()) else last

    def _add(self, to: list[Words], arities: Arity | None, word: str, name: str, negated: bool) -> None:
        count = None if arities is None else arities.get(name)
        if count is None:
            to.append(("", (self._unknown(word, negated),), False))
            return
        start = self.position
        self.position = end = start + count
        if end > len(self.words):
            raise ValueError("the rule ends too early")
        if count == 1:
            to.append((name, (unquoted(self.words[start]),), negated))
        else:
            to.append((name, tuple(map(unquoted, self.words[start:end])), negated))

    def _unknown(self, word: str, negated: bool) -> str:
        words = ["!", word] if negated else [word]
        while self.position < len(self.words) and self.words[self.position][0] not in "-!":
            words.append(self._next())
        return " ".join(words)

    def _match(self, group: Group) -> Match:
        found = self.known.matches.get(group)
        if found is None:
            module, words = group
            understood = tuple(Option(*option) for option in words if option[0])
            rest = tuple(Unread(option[1][0]) for option in words if not option[0])
            if not words and module not in ALONE:
                rest = (Unread(f"-m {module}"),)
            meaning: tuple[Condition, ...] = conditions(module, understood) if understood else ()
            found = self.known.matches[group] = Match(module, meaning + rest)
        return found

    def _target(self, name: str) -> Target:
        key = (name, self.final, tuple(self.target_options))
        found = self.known.targets.get(key)
        if found is None:
            found = self.known.targets[key] = self._new_target(name, key[2])
        return found

    def _new_target(self, name: str, words: tuple[Words, ...]) -> Target:
        options = tuple(Option(*option) if option[0] else Unread(option[1][0]) for option in words)
        if name in self.chains:
            return OtherTarget(name, options) if options else Jump(name, self.final)
        if self.final or any(negated for _, _, negated in words):
            return OtherTarget(name, options)
        return target(name, options)


def _unread(matches: tuple[Match, ...], end: Target | None) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for match in matches:
        for part in match.conditions:
            if isinstance(part, Unread):
                found += (part.text,)
    if isinstance(end, OtherTarget) and end.goes_on is None:
        options = [part.text if isinstance(part, Unread) else as_text(part) for part in end.options]
        found += (" ".join([f"-j {end.name}", *options]),)
    return found
