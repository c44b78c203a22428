"""Reading raw objects field by field, so that no field is skipped in silence and every complaint has its place."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from migrate.model.raw import FieldPath, Json, RawObject
from migrate.model.refs import Location


class ProblemKind(Enum):
    """Why a field could not be used."""

    UNKNOWN = "unknown"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Problem:
    """A field that this program does not know, or whose value its API would refuse."""

    kind: ProblemKind
    field: str
    message: str
    at: Location | None


def dotted(path: FieldPath) -> str:
    """A field path as people write it: spec.ingress[0].from[1]."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(slots=True)
class Reading:
    """One object being read, with the problems found so far."""

    raw: RawObject
    problems: list[Problem] = field(default_factory=list)

    def complain(self, kind: ProblemKind, path: FieldPath, message: str) -> None:
        """Note a problem with the field at `path`."""
        self.problems.append(Problem(kind, dotted(path), message, self.raw.at(*path)))

    def root(self) -> Fields:
        """The object's own fields."""
        return Fields(self, self.raw.data, ())


class Fields:
    """The fields of one mapping. Each is asked for by type; `close` reports those that nobody asked for.

    null counts as missing, as in Kubernetes' decoder. A value of the wrong type is a problem and reads as missing.
    """

    def __init__(self, reading: Reading, value: Mapping[str, Json], path: FieldPath) -> None:
        self.reading = reading
        self.path = path
        self._value = value
        self._asked: set[str] = set()

    def invalid(self, message: str, *path: str | int) -> None:
        """Note that the field below this mapping (or the mapping itself) holds something its API refuses."""
        self.reading.complain(ProblemKind.INVALID, self.path + path, message)

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self._value.get(key) is not None

    def raw(self, key: str) -> Json:
        """The field's plain value; None when missing."""
        self._asked.add(key)
        return self._value.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, str):
            return value
        self.invalid(f"must be a string, not {_type_name(value)}", key)
        return default

    def integer(self, key: str) -> int | None:
        """An integer."""
        value = self.raw(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.invalid(f"must be a whole number, not {_type_name(value)}", key)
        return None

    def number(self, key: str) -> float | None:
        """A number; None for one that is too large for a float."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.invalid(f"must be a number, not {_type_name(value)}", key)
        elif abs(value) > sys.float_info.max:
            self.invalid("is too large a number", key)
        else:
            return value
        return None

    def flag(self, key: str) -> bool:
        """A boolean; False when missing."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.invalid(f"must be true or false, not {_type_name(value)}", key)
        return False

    def scalar(self, key: str) -> int | str | None:
        """A number or a name, as ports and protocols are."""
        value = self.raw(key)
        if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.invalid(f"must be a number or a name, not {_type_name(value)}", key)
        return None

    def child(self, key: str) -> Fields | None:
        """A mapping; None when missing."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, dict):
            return Fields(self.reading, value, (*self.path, key))
        self.invalid(f"must be a mapping, not {_type_name(value)}", key)
        return None

    def children(self, key: str) -> tuple[Fields, ...] | None:
        """A list of mappings; None when missing, which differs from an empty list."""
        values = self.items(key)
        if values is None:
            return None
        found: list[Fields] = []
        for index, value in enumerate(values):
            if isinstance(value, dict):
                found.append(Fields(self.reading, value, (*self.path, key, index)))
            else:
                self.invalid(f"must be a mapping, not {_type_name(value)}", key, index)
        return tuple(found)

    def items(self, key: str) -> list[Json] | None:
        """A list of anything; None when missing."""
        value = self.raw(key)
        if value is None or isinstance(value, list):
            return value
        self.invalid(f"must be a list, not {_type_name(value)}", key)
        return None

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when missing."""
        found: list[str] = []
        for index, value in enumerate(self.items(key) or ()):
            if isinstance(value, str):
                found.append(value)
            else:
                self.invalid(f"must be a string, not {_type_name(value)}", key, index)
        return tuple(found)

    def string_map(self, key: str) -> dict[str, str]:
        """A mapping of strings, as labels are; empty when missing."""
        child = self.child(key)
        return {} if child is None else {name: child.text(name) for name in child.keys()}  # noqa: SIM118

    def keys(self) -> tuple[str, ...]:
        """The names of all fields that are there."""
        return tuple(self._value)

    def ignore(self, *keys: str) -> None:
        """Fields that carry no meaning for policy."""
        self._asked.update(keys)

    def close(self) -> None:
        """Report each field that was never asked for."""
        for key in self._value:
            if key not in self._asked and self._value[key] is not None:
                self.reading.complain(ProblemKind.UNKNOWN, (*self.path, key), "unknown field")


def _type_name(value: Json) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    return "a string" if isinstance(value, str) else f"the number {value}"
