"""Calico's selector language: tokenizer, recursive descent, one tree.

Language after libcalico-go/lib/selector/parser (projectcalico/calico): comparison with == and !=, sets with in and
not in, has(), contains, starts with, ends with, all(), global(), !, &&, || and parentheses; && binds tighter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from migrate.errors import InputError
from migrate.model.selectors import EVERYTHING, And, Not, Operator, Or, Requirement, Selector

_KEY = r"[a-zA-Z0-9_./-]{1,512}"
_BLANKS = " \t"
_TOKEN = re.compile(
    rf"""[ \t]*(?P<token>
      "[^"]*" | '[^']*'
    | == | != | && | \|\| | [!(){{}},]
    | has\(\s*{_KEY}\s*\) | all\(\s*\) | global\(\s*\)
    | {_KEY}
    )""",
    re.VERBOSE,
)
_MAX_DEPTH = 100


class SelectorError(InputError):
    """A selector that is not fully understood."""


MakeRequirement = Callable[[str, Operator, tuple[str, ...]], Selector]


def parse_selector(
    text: str, requirement: MakeRequirement = Requirement, everything: Selector = EVERYTHING
) -> Selector:
    """The tree of a selector; an empty selector matches everything.

    `requirement` turns a label name, operator and values into a term, so that automatic label names can be resolved;
    `everything` is what all() stands for. Raises SelectorError naming the selector when anything is left over or
    missing.
    """
    if not text.strip(_BLANKS):
        return EVERYTHING
    return _Parser(text, requirement, everything).whole()


def parse_namespace_selector(text: str, requirement: MakeRequirement, has_namespace: Requirement) -> Selector:
    """A rule's namespaceSelector: all() is "has a namespace", and global(), alone, is its opposite.

    Other terms say nothing of that: team != 'blue' also holds for what has no namespace. Raises SelectorError.
    """
    if re.fullmatch(r"\s*global\(\s*\)\s*", text):
        return has_namespace.negated()
    return parse_selector(text, requirement, has_namespace)


class _Parser:
    def __init__(self, text: str, requirement: MakeRequirement, everything: Selector) -> None:
        self._text = text
        self._requirement = requirement
        self._everything = everything
        self._tokens = self._tokenize()
        self._next = 0
        self._depth = 0

    def whole(self) -> Selector:
        found = self._either()
        if self._peek() is not None:
            raise self._error(f"{self._peek()!r} is left over")
        return found

    def _tokenize(self) -> list[str]:
        tokens: list[str] = []
        position = 0
        end = len(self._text.rstrip(_BLANKS))
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._error(f"{self._text[position : position + 20]!r} is not understood")
            tokens.append(match["token"])
            position = match.end()
        return tokens

    def _either(self) -> Selector:
        return self._chain("||", self._both, Or)

    def _both(self) -> Selector:
        return self._chain("&&", self._term, And)

    def _chain(
        self, sign: str, inner: Callable[[], Selector], join: Callable[[tuple[Selector, ...]], Selector]
    ) -> Selector:
        terms = [inner()]
        while self._peek() == sign:
            self._take()
            terms.append(inner())
        return terms[0] if len(terms) == 1 else join(tuple(terms))

    def _term(self) -> Selector:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"nested deeper than {_MAX_DEPTH} levels")
        try:
            return self._operand()
        finally:
            self._depth -= 1

    def _operand(self) -> Selector:
        token = self._take()
        if token == "!":
            return Not(self._term())
        if token == "(":
            inner = self._either()
            self._expect(")")
            return inner
        if token.startswith("has("):
            return self._requirement(token[4:-1].strip(), Operator.EXISTS, ())
        if token.startswith("all("):
            return self._everything
        if token.startswith("global("):
            raise self._error("global() may only stand alone, in a rule's namespaceSelector")
        return self._comparison(self._label(token))

    def _comparison(self, key: str) -> Selector:
        word = self._word()
        if word in ("==", "!="):
            operator = Operator.IN if word == "==" else Operator.NOT_IN
            return self._requirement(key, operator, (self._string(),))
        if word == "contains":
            return self._requirement(key, Operator.CONTAINS, (self._string(),))
        if word in ("startswith", "endswith"):
            operator = Operator.STARTS_WITH if word == "startswith" else Operator.ENDS_WITH
            return self._requirement(key, operator, (self._string(),))
        if word == "in":
            return self._requirement(key, Operator.IN, self._set())
        if word == "notin":
            return self._requirement(key, Operator.NOT_IN, self._set())
        raise self._error(f"{word!r} is not an operator")

    def _word(self) -> str:
        """An operator; "not in", "starts with" and "ends with" may also be written as one word."""
        word = self._take()
        second = {"not": "in", "starts": "with", "ends": "with"}.get(word)
        if second is None:
            return word
        self._expect(second)
        return word + second

    def _set(self) -> tuple[str, ...]:
        self._expect("{")
        values: list[str] = []
        while self._peek() != "}":
            values.append(self._string())
            if self._peek() != "}":
                self._expect(",")
        self._expect("}")
        return tuple(values)

    def _label(self, token: str) -> str:
        if re.fullmatch(_KEY, token):
            return token
        raise self._error(f"{token!r} is not a label name")

    def _string(self) -> str:
        token = self._take()
        if len(token) >= 2 and token[0] in "\"'" and token[-1] == token[0]:
            return token[1:-1]
        raise self._error(f"{token!r} must be a quoted string")

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise self._error("it ends too early")
        self._next += 1
        return token

    def _expect(self, wanted: str) -> None:
        token = self._take()
        if token != wanted:
            raise self._error(f"{token!r} stands where {wanted!r} should")

    def _error(self, message: str) -> SelectorError:
        return SelectorError(f"selector {self._text!r}: {message}")
