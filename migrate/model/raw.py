"""An object as it was read, before anything is understood: the one place where plain JSON is allowed."""

from collections.abc import Mapping
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
        metadata = self.data.get("metadata")
        meta = metadata if isinstance(metadata, dict) else {}
        namespace = meta.get("namespace")
        return ObjectRef(
            api_version=_text(self.data.get("apiVersion")),
            kind=_text(self.data.get("kind")),
            namespace=_text(namespace) or None,
            name=_text(meta.get("name")),
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


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
