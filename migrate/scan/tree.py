"""Building the value of one document piece by piece, with the line of every field.

Both readers of files use it, so that duplicate keys and depth are judged alike in YAML and JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from migrate.model.raw import FieldPath, Json

DEEPEST = 200
"""Levels of nesting that are read; the deepest Kubernetes schemas need some 30."""


class UnreadableError(Exception):
    """Text that is no value. `line` counts from 1 in the file, None when only the file is known."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line


ChildLines = Mapping[int, Mapping["str | int", int]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. `children` holds, by identity of a mapping or list, the lines of what is in it."""

    value: Json
    line: int
    children: ChildLines = field(default_factory=dict)

    def line_of(self, container: Json, key: str | int) -> int:
        """The line of one entry of a mapping or list; the document's own where it is not known."""
        return self.children.get(id(container), {}).get(key, self.line)

    def lines(self, value: Json, line: int) -> dict[FieldPath, int]:
        """The lines of every field below `value`, which itself stands at `line`."""
        found: dict[FieldPath, int] = {}
        waiting: list[tuple[FieldPath, Json, int]] = [((), value, line)]
        while waiting:
            path, part, at = waiting.pop()
            found[path] = at
            if isinstance(part, dict):
                waiting += [((*path, key), part[key], self.line_of(part, key)) for key in reversed(part)]
            elif isinstance(part, list):
                waiting += [((*path, i), part[i], self.line_of(part, i)) for i in reversed(range(len(part)))]
        return found


class _Merge:
    """The key `<<`: its value's entries belong to the mapping around it."""


MERGE: Final = _Merge()


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open."""

    container: dict[str, Json] | list[Json]
    line: int
    lines: dict[str | int, int] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)
    key: str | _Merge | None = None
    key_line: int = 0


class TreeBuilder:
    """A value that grows as its parts are read, in the order of the text."""

    def __init__(self) -> None:
        self.children: dict[int, dict[str | int, int]] = {}
        self.value: Json = None
        self._open: list[_Frame] = []
        self._frame: _Frame | None = None

    @property
    def depth(self) -> int:
        """How many mappings and lists are open."""
        return len(self._open)

    @property
    def wants_key(self) -> bool:
        """Whether a mapping is open that waits for its next key."""
        frame = self._frame
        return frame is not None and frame.key is None and isinstance(frame.container, dict)

    def begin(self, container: dict[str, Json] | list[Json], line: int) -> None:
        """Open a mapping or list."""
        if self.wants_key:
            raise UnreadableError(line, "a mapping or list stands where a key should be; put text in quotes")
        if len(self._open) >= DEEPEST:
            raise UnreadableError(line, f"nested deeper than {DEEPEST} levels; no Kubernetes object is")
        self._frame = _Frame(container, line)
        self._open.append(self._frame)

    def end(self) -> Json:
        """Close the mapping or list opened last, and give it to the one around it."""
        closed = self._open.pop()
        self._frame = self._open[-1] if self._open else None
        self.children[id(closed.container)] = closed.lines
        self.add(closed.container, closed.line)
        return closed.container

    def key(self, key: str | _Merge, line: int) -> None:
        """The next key of the open mapping."""
        frame = self._frame
        assert frame is not None
        if isinstance(key, str):
            first = frame.lines.get(key)
            if first is not None and key not in frame.merged:
                raise UnreadableError(line, f'the key "{key}" stands here and in line {first}; remove one of them')
            frame.merged.discard(key)
        frame.key, frame.key_line = key, line

    def add(self, value: Json, line: int) -> None:
        """A finished value for the place that is open."""
        frame = self._frame
        if frame is None:
            self.value = value
        elif isinstance(frame.container, list):
            frame.lines[len(frame.container)] = line
            frame.container.append(value)
        elif isinstance(frame.key, str):
            frame.container[frame.key] = value
            frame.lines[frame.key] = frame.key_line
            frame.key = None
        else:
            self._merge(frame, frame.container, value)

    def _merge(self, frame: _Frame, target: dict[str, Json], value: Json) -> None:
        """Take over entries as go-yaml does: over those that stand before `<<`; of several sources the first wins."""
        sources = value if isinstance(value, list) else [value]
        for source in reversed(sources):
            if not isinstance(source, dict):
                raise UnreadableError(frame.key_line, "the value of << must be a mapping or a list of mappings")
            lines = self.children.get(id(source), {})
            for key, entry in source.items():
                if key not in frame.lines:
                    frame.merged.add(key)
                target[key] = entry
                frame.lines[key] = lines.get(key, frame.key_line)
        frame.key = None
