"""From the documents of files to the objects of a snapshot, with a word on everything that is not taken over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from migrate.errors import InputError
from migrate.model.finding import Effect, Finding
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.scan.selection import cut, is_namespaced, is_policy, is_setting, known
from migrate.scan.tree import DEEPEST, Document, UnreadableError

HELM_TEMPLATE = "a Helm template; render it first: helm template CHART | migrate ... -f -"

_LONGEST_NAME = 253
_SHOWN = 60
_NEVER_IN_PATHS = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class FileReading:
    """What was in the files: objects in the order they were read, and what was left out."""

    objects: tuple[RawObject, ...]
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Whether no field of an object had to be left out."""
        return not any(finding.id == "SCAN-OBJECT-UNREADABLE" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Origin:
    """A file under the name to show, and where it is. `found` is True when it was met in a folder, not named itself."""

    name: str
    path: str = ""
    found: bool = False


@dataclass(frozen=True, slots=True)
class _Manifest:
    """One object with its document, before anything is cut."""

    data: dict[str, Json]
    line: int
    document: Document


@dataclass(slots=True)
class Collector:
    """Gathers objects, findings and problems over all files."""

    problems: list[str] = field(default_factory=list)
    seen: int = 0
    _objects: dict[tuple[str, ...], RawObject] = field(default_factory=dict)
    _findings: list[Finding] = field(default_factory=list)
    _ignored: dict[tuple[str, str], tuple[int, Location]] = field(default_factory=dict)

    def problem(self, origin: Origin, line: int | None, message: str) -> None:
        """Note what stops the reading of a file."""
        self.problems.append(f"{Location(origin.name, line)}: {message}")

    def skip(self, at: Location, reason: str) -> None:
        """Note what was met in a folder and is no object of a cluster."""
        self._findings.append(Finding(id="SCAN-FILE-SKIPPED", detail=f"{at}: {reason}", at=at))

    def take(self, document: Document, origin: Origin) -> None:
        """The objects of one document."""
        try:
            for value, line in _flatten(document.value, document.line, document, ("", ""), 0):
                self._value(value, line, document, origin)
        except UnreadableError as error:
            self.problem(origin, error.line, str(error))

    def reading(self) -> FileReading:
        """Everything, once all files are read. Raises InputError with one line per problem."""
        if self.problems:
            raise InputError("\n".join(self.problems))
        ignored = [
            Finding(
                id="SCAN-KIND-IGNORED",
                detail=f"{count} of kind {kind} ({version}): a scan does not use this kind",
                at=at,
            )
            for (version, kind), (count, at) in self._ignored.items()
        ]
        findings = tuple(sorted([*self._findings, *ignored], key=Finding.sort_key))
        return FileReading(tuple(self._objects.values()), findings)

    def _value(self, value: Json, line: int, document: Document, origin: Origin) -> None:
        try:
            if not isinstance(value, dict):
                raise _NotAnObjectError("a list or a plain value, no Kubernetes object")
            self._object(_Manifest(value, line, document), origin)
        except _NotAnObjectError as error:
            if origin.found:
                self.skip(Location(origin.name, line), str(error))
            else:
                self.problem(origin, line, f"{error}; give only Kubernetes objects")
        except UnreadableError as error:
            self.problem(origin, error.line, str(error))

    def _object(self, manifest: _Manifest, origin: Origin) -> None:
        ref = _identify(manifest)
        at = Location(origin.name, manifest.line)
        self.seen += 1
        if (ref.group, ref.kind) == ("", "Secret"):
            self._findings.append(
                Finding(id="SCAN-SECRET-IGNORED", detail=f"{ref} was left out unread", subject=ref, at=at)
            )
        elif _is_kept(ref):
            self._keep(ref, manifest, origin)
        else:
            count, first = self._ignored.get((ref.api_version, ref.kind), (0, at))
            self._ignored[ref.api_version, ref.kind] = count + 1, first

    def _keep(self, ref: ObjectRef, manifest: _Manifest, origin: Origin) -> None:
        _check_names(ref, manifest)
        data, odd = cut(_in_namespace(manifest.data, ref.namespace), ref.api_version, ref.kind)
        lines: dict[FieldPath, int] = {(): manifest.line}
        if is_policy(ref.api_version, ref.kind):
            lines = manifest.document.lines(manifest.data, manifest.line)
        raw = RawObject(data, origin.name, lines)
        self._findings += [
            Finding(
                id="SCAN-OBJECT-UNREADABLE",
                detail=f"{ref.api_version} {ref.kind}: {oddity}",
                effect=Effect.UNKNOWN,
                effect_on_intent=Effect.UNKNOWN,
                subject=ref,
                at=raw.at(),
            )
            for oddity in odd
        ]
        key = (ref.group, ref.kind, ref.namespace or "", ref.name)
        earlier = self._objects.pop(key, None)
        if earlier is not None:
            detail = f"{ref} stands in {earlier.at()} too; this later one counts, as for kubectl apply"
            self._findings.append(Finding(id="SCAN-DUPLICATE-OBJECT", detail=detail, subject=ref, at=raw.at()))
        self._objects[key] = raw


class _NotAnObjectError(Exception):
    """A document that is well-formed but is not meant for a cluster."""


def _flatten(
    value: Json, line: int, document: Document, inherited: tuple[str, str], depth: int
) -> Iterator[tuple[Json, int]]:
    """The objects of a document with their lines: itself, or the items of a list, which a typed list need not name."""
    if not isinstance(value, dict):
        yield value, line
        return
    api_version, kind = value.get("apiVersion") or inherited[0], value.get("kind") or inherited[1]
    items = value.get("items")
    is_list = isinstance(kind, str) and kind.endswith("List") and isinstance(items, list | None)
    if not is_list or (items is None and kind != "List"):
        if inherited[1]:
            value.update(apiVersion=api_version, kind=kind)
        yield value, line
        return
    if depth >= DEEPEST:
        raise UnreadableError(line, f"lists nested deeper than {DEEPEST} levels")
    assert isinstance(kind, str)
    typed = ("", "") if kind == "List" else (str(api_version), kind.removesuffix("List"))
    for index, item in enumerate(items if isinstance(items, list) else ()):
        yield from _flatten(item, document.line_of(items, index), document, typed, depth + 1)


def _identify(manifest: _Manifest) -> ObjectRef:
    """Who the object is. Raises _NotAnObjectError or UnreadableError."""
    data = manifest.data
    api_version, kind = data.get("apiVersion"), data.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str) or not api_version or not kind:
        raise _NotAnObjectError("no Kubernetes object: apiVersion and kind are not both there")
    metadata = data.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        _without_name(manifest, api_version, kind, metadata)
    assert isinstance(metadata, dict)
    name = _text(manifest, metadata, "name", kind)
    namespace = _text(manifest, metadata, "namespace", kind)
    namespaced = is_namespaced(api_version, kind)
    if namespaced is not None:
        namespace = (namespace or "default") if namespaced else ""
    return ObjectRef(api_version, kind, namespace or None, name)


def _without_name(manifest: _Manifest, api_version: str, kind: str, metadata: Json) -> None:
    generated = isinstance(metadata, dict) and metadata.get("generateName")
    if not (generated or is_policy(api_version, kind) or known(api_version, kind)):
        raise _NotAnObjectError(f"{kind} ({api_version}) without metadata.name")
    has = "metadata.generateName, which gets another name at each apply" if generated else "no metadata.name"
    raise UnreadableError(manifest.line, f"{kind} ({api_version}) has {has}; give it a name")


def _text(manifest: _Manifest, metadata: dict[str, Json], key: str, kind: str) -> str:
    value = metadata.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    line = manifest.document.line_of(metadata, key)
    raise UnreadableError(line, f"metadata.{key} of {kind} is not text; put quotes around {str(value)[:_SHOWN]}")


def _check_names(ref: ObjectRef, manifest: _Manifest) -> None:
    """Names become parts of paths, so what could lead elsewhere is refused; names that no API server takes are not."""
    metadata = manifest.data["metadata"]
    for key, name in (("name", ref.name), ("namespace", ref.namespace)):
        wrong = None if name is None else _unfit_for_paths(name)
        if name is None or wrong is None:
            continue
        line = manifest.document.line_of(metadata, key)
        if "{{" in name:
            raise UnreadableError(line, HELM_TEMPLATE)
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        raise UnreadableError(line, f"metadata.{key} {shown!r} of {ref.kind} {wrong}; use a-z, 0-9, - and .")


def _unfit_for_paths(name: str) -> str | None:
    """Why a name cannot be a part of a path, None when it can."""
    if len(name) > _LONGEST_NAME:
        return f"has more than {_LONGEST_NAME} characters"
    if name in (".", "..") or _NEVER_IN_PATHS.search(name):
        return "cannot be a part of a path"
    return "is a template" if "{{" in name else None


def _is_kept(ref: ObjectRef) -> bool:
    return (
        known(ref.api_version, ref.kind) is not None
        or is_policy(ref.api_version, ref.kind)
        or is_setting(ref.api_version, ref.kind, ref.namespace, ref.name)
    )


def _in_namespace(data: dict[str, Json], namespace: str | None) -> dict[str, Json]:
    """The object where kubectl would create it."""
    metadata = data["metadata"]
    assert isinstance(metadata, dict)
    others = {key: value for key, value in metadata.items() if key != "namespace"}
    return {**data, "metadata": others if namespace is None else {**others, "namespace": namespace}}
