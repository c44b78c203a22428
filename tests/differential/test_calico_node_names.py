"""Selectors as Calico's own library spells and names them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from migrate.nodes.calico.selector_text import SelectorTextError, read_text, selector_id
from tests.calico_nodes import SelectorAnswer, ask

_KEYS = ("a", "app", "pcns.x", "contains", "in", "not", "has", "a/b.c", "starts", "all", "1", "-")
_VALUES = ("x", "it's", 'a"b', "", "ü", "Z", "z", "10", " ")
_BLANKS = ("", " ", "\t", "  ")


@pytest.mark.parametrize("seed", range(4))
def test_every_selector_has_calicos_spelling_and_id(calico_renderer: Path, seed: int) -> None:
    random = Random(seed)
    selectors = [_broken(random, _joined(random, 3)) for _ in range(3000)]
    answers = ask(calico_renderer, {"selectors": selectors})["selectors"]
    refused = [answer for answer in answers if "error" in answer]
    assert 100 < len(refused) < 2900
    for text, answer in zip(selectors, answers, strict=True):
        assert _ours(text) == _theirs(answer), text


def _ours(text: str) -> tuple[str, str] | None:
    try:
        read = read_text(text)
    except SelectorTextError:
        return None
    return read.written(), selector_id(read)


def _theirs(answer: SelectorAnswer) -> tuple[str, str] | None:
    return None if "error" in answer else (answer["text"], answer["id"])


def _joined(random: Random, depth: int) -> str:
    sign = random.choice((" && ", "||", " || ", "&&"))
    return sign.join(_term(random, depth) for _ in range(random.randint(1, 3)))


def _term(random: Random, depth: int) -> str:
    kind, key, blank = random.random(), random.choice(_KEYS), random.choice(_BLANKS)
    if depth and kind < 0.25:
        return f"({_joined(random, depth - 1)})"
    if kind < 0.35:
        return "!" * random.randint(1, 3) + blank + _term(random, max(depth - 1, 0))
    if kind < 0.45:
        return f"has({blank}{key}{blank})"
    if kind < 0.5:
        return random.choice(("all()", "global( )", "all( )"))
    if kind < 0.7:
        return f"{key}{random.choice((' ', ''))}{random.choice(('==', '!='))}{blank}{_quoted(random)}"
    if kind < 0.85:
        values = ", ".join(_quoted(random) for _ in range(random.randint(0, 4)))
        word = random.choice(("in", "not in", "notin", "not  in"))
        return f"{key} {word}{blank}{{{values}{random.choice(('', ','))} }}"
    word = random.choice(("contains", "starts with", "startswith", "ends  with"))
    return f"{key} {word}{blank}{_quoted(random)}"


def _quoted(random: Random) -> str:
    value = random.choice(_VALUES)
    single = '"' in value or (random.random() < 0.5 and "'" not in value)
    return f"'{value}'" if single else f'"{value}"'


def _broken(random: Random, text: str) -> str:
    """Three in ten lose a part or get a character too many."""
    place = random.randrange(len(text) + 1)
    if random.random() < 0.7:
        return text
    added = random.choice(" ()!&|='\"{},ain\n")
    return random.choice((text[:place], text[:place] + added + text[place:], text[:place] + text[place + 1 :]))
