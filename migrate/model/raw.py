"""An object as it was read, before anything is understood: the one place where plain JSON is allowed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.model.refs import Location, ObjectRef

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
FieldPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RawObject:
    """A Kubernetes object and where it came from.

    `lines` maps field paths (("spec", "ingress", 0)) to line numbers from 1; it is empty for objects of a cluster.
    The empty path () is the object's first line.
    """

    data: dict[str, Json]
    source: str | None = None
    lines: Mapping[FieldPath, int] = field(default_factory=dict)

    @property
    def ref(self) -> ObjectRef:
        """The object's identity; missing parts read as empty strings (readers refuse those with a message)."""
        meta = as_map(self.data.get("metadata"))
        namespace = meta.get("namespace")
        return ObjectRef(
            api_version=as_text(self.data.get("apiVersion")),
            kind=as_text(self.data.get("kind")),
            namespace=as_text(namespace) or None,
            name=as_text(meta.get("name")),
        )

    def at(self, *path: str | int) -> Location | None:
        """The file and line of a field, or of the nearest field above it; None for objects of a cluster."""
        if self.source is None:
            return None
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return Location(self.source, line)
        return Location(self.source, None)


def as_map(value: Json) -> dict[str, Json]:
    """A mapping; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_text(value: Json) -> str:
    """A string; empty for anything else."""
    return value if isinstance(value, str) else ""


def as_number(value: Json) -> int | None:
    """A whole number; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def by_kind(objects: Iterable[RawObject]) -> dict[str, tuple[RawObject, ...]]:
    """The objects of each kind, in their order."""
    found: dict[str, list[RawObject]] = {}
    for raw in objects:
        found.setdefault(raw.ref.kind, []).append(raw)
    return {kind: tuple(several) for kind, several in found.items()}
