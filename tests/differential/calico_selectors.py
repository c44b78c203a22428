"""Random selectors in Calico's language: every operator, negation, conjunction, alternatives, parentheses."""

from __future__ import annotations

from tests.differential.chance import Chance

Pool = dict[str, tuple[str, ...]]

_COMPARISONS = ("==", "!=", "in", "not in", "has", "!has", "starts with", "ends with", "contains")


def draw_selector(chance: Chance, pool: Pool, depth: int = 2) -> str:
    """A selector over the labels of a pool."""
    shape = chance.pick(("one", "one", "one", "and", "or", "not", "all")) if depth else "one"
    if shape == "all":
        return "all()"
    if shape == "not":
        return f"!({draw_selector(chance, pool, depth - 1)})"
    if shape in ("and", "or"):
        word = " && " if shape == "and" else " || "
        return word.join(chance.repeat(2, 2, lambda: _grouped(draw_selector(chance, pool, depth - 1))))
    return _comparison(chance, pool)


def _grouped(text: str) -> str:
    return f"({text})" if "||" in text or "&&" in text else text


def _comparison(chance: Chance, pool: Pool) -> str:
    key = chance.pick(list(pool))
    operator = chance.pick(_COMPARISONS)
    if operator in ("has", "!has"):
        return f"{operator}({key})"
    quote = chance.pick(("'", "'", '"'))
    if operator in ("in", "not in"):
        values = ", ".join(f"{quote}{value}{quote}" for value in chance.some((*pool[key], "other"), 1, 3))
        return f"{key} {operator} {{{values}}}"
    value = chance.pick(pool[key])
    if operator in ("starts with", "ends with", "contains"):
        value = _part(chance, value, operator)
    return f"{key} {operator} {quote}{value}{quote}"


def _part(chance: Chance, value: str, operator: str) -> str:
    """A piece of a value that the operator finds in it, and now and then in its neighbours too."""
    length = chance.number(1, max(1, len(value)))
    if operator == "ends with":
        return value[-length:]
    start = chance.number(0, max(0, len(value) - length)) if operator == "contains" else 0
    return value[start : start + length]
