"""Names of objects and places in files."""

import msgspec


class ObjectRef(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    """Identity of a Kubernetes object. `namespace` is None for objects that have none."""

    api_version: str
    kind: str
    namespace: str | None
    name: str

    @property
    def group(self) -> str:
        """API group without the version; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def sort_key(self) -> tuple[str, str, str, str]:
        """Order of objects in every document: apiVersion, kind, namespace, name."""
        return (self.api_version, self.kind, self.namespace or "", self.name)

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


class Location(msgspec.Struct, frozen=True, order=True):
    """A line of a file, counted from 1; `line` is None when only the file is known."""

    file: str
    line: int | None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"
