"""A quick reader of the YAML that programs write: block style, one entry a line, words and quoted text without escapes.

It takes whole documents or none: whatever it is not sure of (anchors, tags, flow style, text over several lines, tabs,
doubled keys, wrong indentation) is left to the full reader, which alone complains. Lines repeat a thousandfold in
manifests, so each is taken apart once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

from migrate.model.raw import Json
from migrate.scan.tree import Document
from migrate.scan.yaml_scalars import as_json, as_key, plain

_DEEPEST = 100
_LINES_KEPT = 1 << 16
_LINE = re.compile(
    r"""
    (\ *)(-(?=\ |$)\ *)?                                # indentation, the dash of a list's entry
    (?:(?:([A-Za-z0-9_][-A-Za-z0-9_./]{0,250})          # a key without quotes
        |"([-A-Za-z0-9_./]{0,250})"):(?=\ |$)\ *)?      # or with quotes
    (?:(\{\}|\[\])                                      # an empty mapping or list
      |"([ !\#-\[\]-~]*)"|'([ -&(-~]*)'                 # text in quotes
      |((?:[A-Za-z0-9_./~+=<($^;]|-(?=[!-~]))           # a word: no ": " and no " #" in it
        (?:[ -"$-9;-~]|:(?=[!-~])|(?<=[!-~])\#)*)
    )?\ *(?:(?<!\S)\#[ -~]*)?                           # a comment
    """,
    re.VERBOSE,
)


class _NotSimpleError(Exception):
    """The document is none of the simple ones."""


class _Holds(IntEnum):
    """What stands behind the key or dash of a line."""

    NOTHING = 0
    VALUE = 1
    EMPTY_MAPPING = 2
    EMPTY_LIST = 3


_EMPTY = {"{}": _Holds.EMPTY_MAPPING, "[]": _Holds.EMPTY_LIST}


class _Entry(NamedTuple):
    """One line taken apart. Columns are -1 for what it has not."""

    dash: int
    column: int
    key: str
    value: Json
    holds: _Holds


@lru_cache(maxsize=_LINES_KEPT)
def _take_apart(line: str) -> _Entry | None:
    """A line's entry, None when it has no content. Raises _NotSimpleError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise _NotSimpleError
    indent, dash, word_key, quoted_key, empty, double, single, word = match.groups()
    quoted = single if double is None else double
    has_value = empty is not None or quoted is not None or word is not None
    has_key = word_key is not None or quoted_key is not None
    if dash is None and not has_key:
        if has_value:
            raise _NotSimpleError
        return None
    try:
        key = quoted_key if word_key is None else as_key(plain(word_key))
        value = quoted if word is None else as_json(plain(word.rstrip(" ")))
    except ValueError as error:
        raise _NotSimpleError from error
    start = len(indent)
    column = start + len(dash or "") if has_key else -1
    holds = _EMPTY[empty] if empty else _Holds.VALUE if has_value else _Holds.NOTHING
    return _Entry(start if dash else -1, column, key or "", value, holds)


def read(text: str, first: int) -> Document | None:
    """The document in a text whose first line has that number; None when it is empty or not simple throughout."""
    lines = text.split("\n")
    try:
        start = next(index for index, line in enumerate(lines) if line != "---" and _take_apart(line) is not None)
        value = _value(lines[start:])
    except (StopIteration, _NotSimpleError):
        return None
    return Document(value, first + start, _ChildLines(value, lines[start:], first + start))


def _value(lines: Sequence[str]) -> Json:
    """The mapping or list that the lines make up. Raises _NotSimpleError."""
    nest = _Nest()
    items: list[Json] = []
    fields: dict[str, Json] = {}
    items_at = fields_at = -1  # the column of the innermost one's entries; -1 for the other
    for entry in map(_take_apart, lines):
        if entry is None:
            continue
        dash, column, key, value, holds = entry
        if holds > 1:
            value = {} if holds == _Holds.EMPTY_MAPPING else []
        if dash >= 0:
            if dash != items_at:
                items, items_at, fields_at = nest.items_at(dash), dash, -1
            items.append(value if column < 0 else None)
            nest.waits = column >= 0 or not holds
        if column >= 0:
            if column != fields_at:
                fields, fields_at, items_at = nest.fields_at(column), column, -1
            if key in fields:
                raise _NotSimpleError
            fields[key] = value
            nest.waits = not holds
            nest.last = key
    return nest.whole[0]


class _Nest:
    """The mappings and lists that are open, with the columns of their entries.

    `waits`: the last entry has no value yet; `last` is its key when it stands in a mapping.
    """

    __slots__ = ("_open", "last", "waits", "whole")

    def __init__(self) -> None:
        self.whole: list[Json] = [None]
        self.waits, self.last = True, ""
        self._open: list[tuple[list[Json] | dict[str, Json], int]] = [(self.whole, -1)]

    def items_at(self, column: int) -> list[Json]:
        """The list whose entries stand in a column; a new one when an entry before waits for it."""
        self._leave(column)
        owner, at = self._open[-1]
        if at == column and isinstance(owner, list):
            return owner
        found: list[Json] = []
        self._begin(found, column)
        return found

    def fields_at(self, column: int) -> dict[str, Json]:
        """The mapping whose keys stand in a column; a new one when an entry before waits for it."""
        self._leave(column)
        owner, at = self._open[-1]
        if at == column and isinstance(owner, list):
            self._close()  # it stands in the column of the key that it belongs to
            owner, at = self._open[-1]
        if at == column and isinstance(owner, dict):
            return owner
        found: dict[str, Json] = {}
        self._begin(found, column)
        return found

    def _leave(self, column: int) -> None:
        """Close what stands further to the right."""
        while self._open[-1][1] > column:
            self._close()

    def _close(self) -> None:
        self._open.pop()
        self.waits = False

    def _begin(self, container: list[Json] | dict[str, Json], column: int) -> None:
        owner, _ = self._open[-1]
        if not self.waits or len(self._open) > _DEEPEST:
            raise _NotSimpleError
        if isinstance(owner, list):
            owner[-1] = container
        else:
            owner[self.last] = container
        self._open.append((container, column))


class _ChildLines(Mapping[int, Mapping["str | int", int]]):
    """Lines of what is in each mapping and list of a document, worked out when the first one is asked for.

    Entries stand in the text in the order of the value's own, so walking both together finds each one's line.
    """

    def __init__(self, value: Json, lines: Sequence[str], first: int) -> None:
        self._value, self._lines, self._first = value, lines, first

    @cached_property
    def _found(self) -> dict[int, dict[str | int, int]]:
        found: dict[int, dict[str | int, int]] = {}
        _locate(self._value, list(self._places())[::-1], found)
        return found

    def _places(self) -> Iterator[int]:
        for number, line in enumerate(self._lines, self._first):
            entry = _take_apart(line)
            if entry is not None:
                yield from (number for column in (entry.dash, entry.column) if column >= 0)

    def __getitem__(self, key: int) -> Mapping[str | int, int]:
        return self._found[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _locate(value: Json, places: list[int], found: dict[int, dict[str | int, int]]) -> None:
    """Note the line of every entry; the next one is last in `places`. An entry of a list is where its value begins."""
    if isinstance(value, dict):
        lines = found[id(value)] = {}
        for key, entry in value.items():
            lines[key] = places.pop()
            _locate(entry, places, found)
    elif isinstance(value, list):
        lines = found[id(value)] = {}
        for index, entry in enumerate(value):
            line = places.pop()
            lines[index] = places[-1] if entry and isinstance(entry, dict | list) else line
            _locate(entry, places, found)
