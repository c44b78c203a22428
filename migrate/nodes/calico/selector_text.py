"""Selectors as Calico writes them: the one spelling from which it makes the names of IP sets.

Facts: projectcalico/calico libcalico-go/lib/selector (tokens, grammar, spelling), libcalico-go/lib/hash (ids).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha224
from typing import TypeAlias

_BLANKS = " \t"
_KEY = r"[a-zA-Z0-9_./-]{1,512}"
_MAX_DEPTH = 100
_SIGNS = ("==", "!=", "&&", "||", "(", ")", "{", "}", ",", "!")
_OPERATOR = re.compile(r"(?P<contains>contains)|(?P<starts>starts\s*with)|(?P<ends>ends\s*with)|not\s*in\b|in\b", re.A)
_CALL = re.compile(rf"has\(\s*(?P<has>{_KEY})\s*\)|(?P<all>all\(\s*\))|(?P<global>global\(\s*\))", re.ASCII)
_LABEL = re.compile(_KEY, re.ASCII)
_OF_VALUE = ("==", "!=", "contains", "starts with", "ends with")


class SelectorTextError(ValueError):
    """A selector that Calico would not take."""


@dataclass(frozen=True, slots=True)
class Constant:
    """all() or global(): holds for everything."""

    text: str = "all()"

    def written(self) -> str:
        """As Calico spells it."""
        return self.text

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy it."""
        return True


@dataclass(frozen=True, slots=True)
class Term:
    """One condition on one label. `operator` is as written, "has" without values; values of sets are sorted."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def written(self) -> str:
        """As Calico spells it."""
        if self.operator == "has":
            return f"has({self.key})"
        if self.operator in _OF_VALUE:
            return f"{self.key} {self.operator} {_quoted(self.values[0])}"
        return f"{self.key} {self.operator} {{{', '.join(map(_quoted, self.values))}}}"

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy it; a missing one differs from every value."""
        value = labels.get(self.key)
        if value is None:
            return self.operator in ("!=", "not in")
        return _TESTS[self.operator](value, self.values)


@dataclass(frozen=True, slots=True)
class Negated:
    """Holds where the term does not."""

    term: Text

    def written(self) -> str:
        """As Calico spells it."""
        return "!" + self.term.written()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy it."""
        return not self.term.holds(labels)


@dataclass(frozen=True, slots=True)
class Joined:
    """Two or more terms joined by && or ||."""

    sign: str
    terms: tuple[Text, ...]

    def written(self) -> str:
        """As Calico spells it."""
        return "(" + f" {self.sign} ".join(term.written() for term in self.terms) + ")"

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy it."""
        found = (term.holds(labels) for term in self.terms)
        return all(found) if self.sign == "&&" else any(found)


Text: TypeAlias = Constant | Term | Negated | Joined

_TESTS: Mapping[str, Callable[[str, tuple[str, ...]], bool]] = {
    "==": lambda value, wanted: value == wanted[0],
    "!=": lambda value, wanted: value != wanted[0],
    "in": lambda value, wanted: value in wanted,
    "not in": lambda value, wanted: value not in wanted,
    "contains": lambda value, wanted: wanted[0] in value,
    "starts with": lambda value, wanted: value.startswith(wanted[0]),
    "ends with": lambda value, wanted: value.endswith(wanted[0]),
    "has": lambda value, wanted: True,
}


def read_text(text: str) -> Text:
    """The selector of a text; an empty one is all(). Raises SelectorTextError."""
    tokens = _tokens(text)
    if not tokens:
        return Constant()
    return _Parser(tokens).whole()


def prefixed(text: str, prefix: str) -> str:
    """A selector with a prefix on each label's name, in Calico's spelling. Raises SelectorTextError."""
    return _with_prefix(read_text(text), prefix).written()


def unique_id(prefix: str, content: str) -> str:
    """The id that Calico gives to something by what it is."""
    digest = sha224(f"{prefix}:{content}".encode()).digest()
    return f"{prefix}:{urlsafe_b64encode(digest).decode().rstrip('=')}"


def selector_id(selector: Text) -> str:
    """The id of the IP set with the addresses of all that the selector matches."""
    return unique_id("s", selector.written())


def _with_prefix(selector: Text, prefix: str) -> Text:
    if isinstance(selector, Term):
        return replace(selector, key=prefix + selector.key)
    if isinstance(selector, Negated):
        return Negated(_with_prefix(selector.term, prefix))
    if isinstance(selector, Joined):
        return Joined(selector.sign, tuple(_with_prefix(term, prefix) for term in selector.terms))
    return selector


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


_Token: TypeAlias = tuple[str, str]
"""A kind ("sign", "text", "has", "constant", "label", "operator") and its value."""


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    rest = text.lstrip(_BLANKS)
    while rest:
        token, length = _token(rest, after_label=bool(found) and found[-1][0] == "label")
        found.append(token)
        rest = rest[length:].lstrip(_BLANKS)
    return found


def _token(rest: str, *, after_label: bool) -> tuple[_Token, int]:
    if rest[0] in "\"'":
        end = rest.find(rest[0], 1)
        if end < 0:
            raise SelectorTextError("a quote is not closed")
        return ("text", rest[1:end]), end + 1
    sign = next((sign for sign in _SIGNS if rest.startswith(sign)), None)
    if sign is not None:
        return ("sign", sign), len(sign)
    return _operator(rest) if after_label else _operand(rest)


def _operator(rest: str) -> tuple[_Token, int]:
    match = _OPERATOR.match(rest)
    if match is None:
        raise SelectorTextError(f"no operator stands at {rest[:20]!r}")
    name = match.lastgroup or ("not in" if match[0].startswith("not") else "in")
    return ("operator", {"starts": "starts with", "ends": "ends with"}.get(name, name)), match.end()


def _operand(rest: str) -> tuple[_Token, int]:
    match = _CALL.match(rest)
    if match is not None:
        if match.lastgroup == "has":
            return ("has", match["has"]), match.end()
        return ("constant", f"{match.lastgroup}()"), match.end()
    match = _LABEL.match(rest)
    if match is None:
        raise SelectorTextError(f"{rest[:20]!r} is not understood")
    return ("label", match[0]), match.end()


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Text:
        found = self._either()
        if self._next < len(self._tokens):
            raise SelectorTextError(f"{self._tokens[self._next][1][:40]!r} is left over")
        return found

    def _either(self) -> Text:
        return self._joined("||", lambda: self._joined("&&", self._term))

    def _joined(self, sign: str, inner: Callable[[], Text]) -> Text:
        terms = [inner()]
        while self._is(sign):
            self._next += 1
            terms.append(inner())
        return terms[0] if len(terms) == 1 else Joined(sign, tuple(terms))

    def _term(self) -> Text:
        negated = False
        while self._is("!"):
            self._next += 1
            negated = not negated
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise SelectorTextError(f"it is nested deeper than {_MAX_DEPTH} levels")
        found = self._operand()
        self._depth -= 1
        return Negated(found) if negated else found

    def _operand(self) -> Text:
        kind, value = self._take()
        if kind == "has":
            return Term(value, "has")
        if kind == "constant":
            return Constant(value)
        if kind == "label":
            return self._comparison(value)
        if (kind, value) == ("sign", "("):
            inner = self._either()
            self._expect(")")
            return inner
        raise SelectorTextError(f"{value[:40]!r} does not begin a condition")

    def _comparison(self, key: str) -> Text:
        _, operator = self._take()
        if operator in _OF_VALUE:
            return Term(key, operator, (self._text(),))
        if operator in ("in", "not in"):
            return Term(key, operator, tuple(sorted(set(self._set()), key=str.encode)))
        raise SelectorTextError(f"{operator[:40]!r} is no operator")

    def _set(self) -> list[str]:
        values: list[str] = []
        self._expect("{")
        while self._next < len(self._tokens) and self._tokens[self._next][0] == "text":
            values.append(self._text())
            if not self._is(","):
                break
            self._next += 1
        self._expect("}")
        return values

    def _text(self) -> str:
        kind, value = self._take()
        if kind != "text":
            raise SelectorTextError(f"{value[:40]!r} must be in quotes")
        return value

    def _is(self, sign: str) -> bool:
        return self._next < len(self._tokens) and self._tokens[self._next] == ("sign", sign)

    def _take(self) -> _Token:
        if self._next >= len(self._tokens):
            raise SelectorTextError("it ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, sign: str) -> None:
        if self._take() != ("sign", sign):
            raise SelectorTextError(f"{sign!r} is missing")
