"""Looking into raw objects: a value at a path, and the evidence that it stood there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from migrate.model.documents import Evidence, KindCount
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.sources.fields import dotted

AZURE_KIND = "AzureManagedCluster"
"""Kind of the object that holds `az aks show -o json` in its spec."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Inventory:
    """A snapshot's objects by kind, in the order of their names, and how each kind was read.

    `every_namespace` is False when only some namespaces were read.
    """

    by_kind: Mapping[str, tuple[RawObject, ...]]
    kinds: tuple[KindCount, ...]
    every_namespace: bool

    @classmethod
    def of(cls, objects: Iterable[RawObject], kinds: Sequence[KindCount], every_namespace: bool = True) -> Inventory:
        """The inventory of a snapshot's objects."""
        found: dict[str, list[RawObject]] = {}
        for raw in objects:
            found.setdefault(raw.ref.kind, []).append(raw)
        ordered = {kind: tuple(sorted(several, key=lambda raw: raw.ref.sort_key())) for kind, several in found.items()}
        return cls(ordered, tuple(kinds), every_namespace)

    def all(self, kind: str) -> tuple[RawObject, ...]:
        """Every object of a kind, whatever its API group."""
        return self.by_kind.get(kind, ())

    def named(self, kind: str, namespace: str | None, name: str) -> RawObject | None:
        """One object by its name."""
        for raw in self.all(kind):
            if raw.ref.namespace == namespace and raw.ref.name == name:
                return raw
        return None

    @property
    def azure(self) -> RawObject | None:
        """What Azure says about the cluster, if it was asked."""
        return next(iter(self.all(AZURE_KIND)), None)

    @property
    def shows_workloads(self) -> bool:
        """Whether a DaemonSet that is not here does not exist.

        A snapshot without nodes is a folder of manifests rather than a cluster: there nothing follows from absence,
        and neither does it when only some namespaces were read.
        """
        return self.every_namespace and self.was_read("DaemonSet") and bool(self.all("Node"))

    def was_read(self, kind: str) -> bool:
        """Whether objects of a kind were asked for and given."""
        return any(count.kind == kind and count.status == "read" for count in self.kinds)

    def groups(self) -> Mapping[str, tuple[KindCount, ...]]:
        """API groups that the cluster knows, or of which objects were given, with the counts of their kinds."""
        found: dict[str, list[KindCount]] = {}
        for count in self.kinds:
            if count.status == "read":
                found.setdefault(count.api_version.rpartition("/")[0], []).append(count)
        return {group: tuple(counts) for group, counts in found.items()}


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
