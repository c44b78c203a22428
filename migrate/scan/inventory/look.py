"""Looking into raw objects: a value at a path, and the evidence that it stood there."""

from __future__ import annotations

from collections.abc import Iterable

from migrate.model.documents import Evidence
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.sources.fields import dotted

_SHOWN = 3


def dig(value: Json, *path: str | int) -> Json:
    """The value at a path; None when any step is missing."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def text(raw: RawObject, *path: str | int) -> str:
    """The string at a path; empty when missing or no string."""
    value = dig(raw.data, *path)
    return value if isinstance(value, str) else ""


def number(raw: RawObject, *path: str | int) -> int | None:
    """The whole number at a path; None when missing or none."""
    value = dig(raw.data, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def items(value: Json) -> list[Json]:
    """A list's items; none when it is no list."""
    return value if isinstance(value, list) else []


def texts(raw: RawObject, *path: str | int) -> tuple[str, ...]:
    """The strings of the list at a path."""
    return tuple(value for value in items(dig(raw.data, *path)) if isinstance(value, str))


def label(raw: RawObject, key: str) -> str:
    """A label's value; empty when missing."""
    return text(raw, "metadata", "labels", key)


def evidence(raw: RawObject, *path: str | int) -> Evidence:
    """That a value stands at a path of an object; an empty value means that it is missing."""
    value = dig(raw.data, *path)
    return Evidence(object=str(raw.ref), field=field_name(path), value=_shown(value))


def field_name(path: FieldPath) -> str:
    """A path as people write it, with keys that hold dots in brackets: metadata.labels["a.b/c"]."""
    if path and isinstance(path[-1], str) and "." in path[-1]:
        return f'{dotted(path[:-1])}["{path[-1]}"]'
    return dotted(path)


def first_few(found: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Enough of the evidence to check a statement by hand; the statement's detail says how many objects agree."""
    return tuple(sorted(set(found)))[:_SHOWN]


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural."""
    plural = noun if number == 1 else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {plural}"


def _shown(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(_shown(entry) for entry in value)
    return str(value) if not isinstance(value, dict) else "{...}"
