"""The text of a policy and of what it became, as they stand side by side in the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.report.document import PolicyRow
from migrate.yaml_out import dump

_BOOKKEEPING = ("managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SCALAR = re.compile(r"\s*(?:- )*(?:(?P<key>[^:\s]+|'[^']+'|\"[^\"]+\"): )?(?P<value>[^\s#{\[].*)$")
_PREFIXES = ("any:", "k8s:", "io.cilium.k8s.namespace.labels.")
_STRUCTURE = frozenset({"true", "false", "Ingress", "Egress"})
_NO_RESULT = {
    "kept": "Nothing is written: the policy stays in the cluster.",
    "unsupported": "Nothing was written.",
    "not_translated": "Not translated.",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A caption and the text under it. `marked` are lines, from 0, that say something the other side does not."""

    caption: str
    text: str
    marked: frozenset[int] = frozenset()

    @property
    def lines(self) -> tuple[tuple[bool, str], ...]:
        """Each line, and whether it is marked."""
        return tuple((number in self.marked, line) for number, line in enumerate(self.text.splitlines()))


@dataclass(frozen=True, slots=True)
class Pair:
    """A policy's own text beside the texts of what it became."""

    source: Text
    results: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class PairReader:
    """Finds both sides of a policy: the source in the snapshot, the result in the working folder."""

    folder: Path
    objects: Mapping[ObjectRef, RawObject]

    def read(self, row: PolicyRow) -> Pair:
        """Both sides; what is missing on one says so in its place."""
        results = tuple(Text(file, self._file(file)) for file in row.files)
        nothing = Text("Result", _NO_RESULT.get(row.standing, "No file is named for it."))
        return _compared(self._source(row), results) if results else Pair(self._source(row), (nothing,))

    def _source(self, row: PolicyRow) -> Text:
        raw = self.objects.get(row.source)
        caption = str(row.at) if row.at else f"{row.source.api_version} {row.source}"
        return Text(caption, source_text(raw) if raw else "Its text is not in the snapshot.")

    def _file(self, name: str) -> str:
        """The text of a result. Raises InputError for a file outside the folder: translation.json was tampered with."""
        try:
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder.resolve()):
                place = f"{self.folder / 'translation.json'}: names {name!r}"
                raise InputError(f"{place}, which lies outside the working folder; run `migrate translate` again")
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return "The file is not in the working folder."
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.folder}: {name!r} cannot be read: {error}; run `migrate translate` again"
            ) from error


def _compared(source: Text, results: tuple[Text, ...]) -> Pair:
    """Both sides with what only one of them says marked: values below `spec`, whatever their keys are called."""
    left, right = dict(_values(source.text)), [dict(_values(result.text)) for result in results]
    known_left = set(left.values())
    known_right = {value for values in right for value in values.values()}
    return Pair(
        replace(source, marked=frozenset(line for line, value in left.items() if value not in known_right)),
        tuple(
            replace(result, marked=frozenset(line for line, value in values.items() if value not in known_left))
            for result, values in zip(results, right, strict=True)
        ),
    )


def _values(text: str) -> Iterator[tuple[int, str]]:
    """The values below `spec` with their lines. Label keys count as values, without the prefix that Cilium gives."""
    inside = False
    for number, line in enumerate(text.splitlines()):
        if line and not line.startswith((" ", "#", "-")):
            inside = line.startswith("spec")
            continue
        found = _SCALAR.match(line) if inside and not line.endswith(":") else None
        if found is None or found.group("value") in _STRUCTURE:
            continue
        key = _plain(found.group("key") or "")
        label = f"{key}=" if "/" in key or "." in key else ""
        yield number, label + _plain(found.group("value"))


def _plain(text: str) -> str:
    """A key or value without quotes and the prefixes that Cilium gives to labels."""
    bare = text.strip("'\"")
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix)
    return bare


def source_text(raw: RawObject) -> str:
    """The object as YAML, without status and the bookkeeping of the API server."""
    kept: dict[str, Json] = {key: value for key, value in raw.data.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        kept["metadata"] = {key: _cut(key, value) for key, value in metadata.items() if key not in _BOOKKEEPING}
    return dump(kept)


def _cut(key: str, value: Json) -> Json:
    """A field of the metadata without the copy of the object that kubectl keeps there."""
    if key != "annotations" or not isinstance(value, dict):
        return value
    return {name: text for name, text in value.items() if name != _LAST_APPLIED}
