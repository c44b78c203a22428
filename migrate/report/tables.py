"""The rows of the page: the first ones as HTML, the others as data that a script turns into the same rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from markupsafe import Markup

Row = TypeVar("Row")
Words: TypeAlias = "str | tuple[Words, ...]"
Indexes: TypeAlias = "int | list[Indexes]"
PAGE = 200


@dataclass(frozen=True, slots=True)
class Shown(Generic[Row]):
    """The rows that the page holds as HTML, and what it says about the others."""

    shown: Sequence[Row]
    status: str


def first_page(rows: Sequence[Row], nouns: tuple[str, str], size: int = PAGE) -> Shown[Row]:
    """The first `size` rows. Without scripts the others are out of reach, so the page says how many they are."""
    if len(rows) <= size:
        return Shown(rows, f"{len(rows):,} {nouns[len(rows) != 1]}.")
    hidden = f"{len(rows) - size:,} more need scripts, or the JSON report"
    return Shown(rows[:size], f"The first {size} of {len(rows):,} {nouns[1]}; {hidden} (migrate report -o json).")


def script_data(lists: Mapping[str, Iterable[Words]]) -> Markup:
    """Rows as JSON in which each string stands once, the most frequent first so that its index is short."""
    kept = {name: tuple(rows) for name, rows in lists.items()}
    counts: Counter[str] = Counter()
    for rows in kept.values():
        _count(rows, counts)
    strings = sorted(counts, key=lambda text: (-counts[text], text))
    index = {text: number for number, text in enumerate(strings)}
    body = {"strings": strings, "lists": {name: [_indexed(row, index) for row in rows] for name, rows in kept.items()}}
    return Markup(json.dumps(body, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _count(words: Words, counts: Counter[str]) -> None:
    if isinstance(words, str):
        counts[words] += 1
    else:
        for word in words:
            _count(word, counts)


def _indexed(words: Words, index: dict[str, int]) -> Indexes:
    return index[words] if isinstance(words, str) else [_indexed(word, index) for word in words]
