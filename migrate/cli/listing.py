"""Lists in texts for people: their first entries, and how many more there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from migrate.cli.emit import wrapped
from migrate.model.words import counted

_Entry = TypeVar("_Entry")
_MOST = 30


def listed(entries: Sequence[_Entry], lines: Callable[[int, _Entry], Iterable[str]]) -> Iterator[str]:
    """The lines of each entry, numbered from 1; of those beyond the first 30 only how many they are."""
    for number, entry in enumerate(entries[:_MOST], start=1):
        yield from lines(number, entry)
    if len(entries) > _MOST:
        yield f"and {len(entries) - _MOST} more, which -o json shows"


def kinds_of_traffic(
    title: str, groups: Sequence[_Entry], lines: Callable[[int, _Entry], Iterable[str]]
) -> Iterator[str]:
    """A section of its own; nothing where there are none."""
    if groups:
        yield ""
        yield f"{title}: {counted(len(groups), 'kind')} of traffic"
    yield from listed(groups, lines)


def paragraphs(*named: tuple[str, Sequence[str]]) -> Iterator[str]:
    """Texts below each other, each after the title of its kind."""
    for title, texts in named:
        if texts:
            yield ""
        yield from listed([f"{title}: {text}" for text in texts], lambda _, text: wrapped(text, "  "))
