"""Cutting objects to the fields that later stages use, while a page of a list is decoded.

A shape says what of an object is kept. It is used twice: as msgspec structs, which skip everything else at the speed
of the parser, and, for the rare page in which an object has an odd value, field by field over plain JSON. What is not
in a shape (environment variables, arguments, annotations of pods) never leaves this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, cast

import msgspec

from migrate.model.raw import Json
from migrate.scan.encoded import HEAD, TAIL

KEEP = None
"""A field that is kept as it is, whatever it holds."""

Shape: TypeAlias = "Mapping[str, Shape] | Sequence[Shape] | None"
"""KEEP, the kept fields of an object, or, in a list of one, the shape of every element of a list."""

METADATA: Shape = {"name": KEEP, "namespace": KEEP, "labels": KEEP}

_KEPT_METADATA = ("name", "namespace", "labels", "annotations", "ownerReferences", "creationTimestamp")
_KEPT_ANNOTATIONS = (
    "projectcalico.org/",  # Calico stores an object's own labels and name here
    "meta.helm.sh/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "fluxcd.io/",
    "kapp.k14s.io/",
    "configmanagement.gke.io/",
    "operatorframework.io/",
)
"""Annotations that say whose an object is; all others of policies are dropped (last-applied-configuration too)."""


class EncodedObject(NamedTuple):
    """One object as a line of a snapshot; sorts by namespace and name."""

    namespace: str
    name: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `odd` says of which object what could not be read."""

    objects: list[EncodedObject]
    odd: list[str] = field(default_factory=list)
    continue_token: str = ""
    remaining: int | None = None


class _ListMeta(msgspec.Struct, frozen=True):
    continue_token: str | None = msgspec.field(default=None, name="continue")
    remaining: int | None = msgspec.field(default=None, name="remainingItemCount")


class _PlainPage(msgspec.Struct, frozen=True):
    """A page whose objects are looked at one by one."""

    items: list[msgspec.Raw] | None
    metadata: _ListMeta | None = None


class _NamedMetadata(Protocol):
    name: str
    namespace: str


class _CutObject(Protocol):
    metadata: _NamedMetadata


class _CutPage(Protocol):
    items: list[_CutObject] | None
    metadata: _ListMeta | None


class Cutter:
    """Decodes the answers for one kind. Without a shape objects stay whole, but for status and bookkeeping.

    Objects whose "namespace/name" begins with the first part of `detailed` have its second part as their shape.
    """

    def __init__(
        self,
        api_version: str,
        kind: str,
        shape: Mapping[str, Shape] | None,
        detailed: tuple[str, Mapping[str, Shape]] | None = None,
    ) -> None:
        self._shape = shape
        self._detailed = detailed
        head = msgspec.json.encode({"apiVersion": api_version, "kind": kind})
        self._head = HEAD + head[:-1] + b","
        self._fast = None if shape is None or detailed is not None else _page_decoder(shape)
        self._plain = msgspec.json.Decoder(_PlainPage)

    def page(self, body: bytes) -> Page:
        """The objects of one page. Raises msgspec.DecodeError when the body is not a whole list."""
        body = _one_line(body)
        if self._fast is not None:
            try:
                return self._cut_page(self._fast.decode(body))
            except msgspec.ValidationError:
                pass  # an odd object: the others of the page must not suffer
        return self._cut_one_by_one(self._plain.decode(body))

    def single(self, body: bytes) -> Page:
        """One object that was asked for by name, as a page."""
        return self._cut_one_by_one(_PlainPage([msgspec.Raw(_one_line(body))]))

    def cut(self, item: dict[str, Json], place: str) -> tuple[dict[str, Json], list[str]]:
        """An object with its metadata at hand, cut, and what of it was odd."""
        odd: list[str] = []
        return self._cut(item, place, odd), [f"{place}: {oddity}; it was left out" for oddity in odd]

    def _cut(self, item: dict[str, Json], place: str, odd: list[str]) -> dict[str, Json]:
        shape = self._shape_of(place)
        return _whole(item) if shape is None else _prune(item, shape, "", odd)

    def _cut_page(self, page: _CutPage) -> Page:
        encode = msgspec.json.Encoder().encode
        objects = [
            EncodedObject(item.metadata.namespace, item.metadata.name, self._line(encode(item)))
            for item in page.items or ()
        ]
        return _with_list_meta(Page(objects), page.metadata)

    def _cut_one_by_one(self, page: _PlainPage) -> Page:
        cut = Page([])
        for index, raw in enumerate(page.items or ()):
            item: Json = msgspec.json.decode(raw)
            metadata = item.get("metadata") if isinstance(item, dict) else None
            identity = _identity(metadata)
            if not isinstance(item, dict) or identity is None:
                cut.odd.append(f"entry {index} of a page is not an object with a name; it was left out")
                continue
            namespace, name = identity
            place = f"{namespace}/{name}" if namespace else name
            odd_fields: list[str] = []
            kept = self._cut(item, place, odd_fields)
            cut.objects.append(EncodedObject(namespace, name, self._line(msgspec.json.encode(kept))))
            cut.odd.extend(f"{place}: {oddity}; it was left out" for oddity in odd_fields)
        return _with_list_meta(cut, page.metadata)

    def _line(self, body: bytes) -> bytes:
        """The line of an object, which gets its apiVersion and kind: items of a list have none of their own."""
        return self._head + body[1:] + TAIL

    def _shape_of(self, place: str) -> Mapping[str, Shape] | None:
        if self._detailed is not None and place.startswith(self._detailed[0]):
            return self._detailed[1]
        return self._shape


def _one_line(body: bytes) -> bytes:
    """The body as one line of UTF-8: fields that are kept unread are neither checked nor compacted by the parser."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(str(error)) from error
    return body.replace(b"\n", b"")


def _with_list_meta(page: Page, metadata: _ListMeta | None) -> Page:
    meta = metadata or _ListMeta()
    return Page(page.objects, page.odd, meta.continue_token or "", meta.remaining)


def _page_decoder(shape: Mapping[str, Shape]) -> msgspec.json.Decoder[_CutPage]:
    metadata = shape["metadata"]
    assert isinstance(metadata, Mapping)
    others = {key: value for key, value in metadata.items() if key not in ("name", "namespace")}
    named = msgspec.defstruct(
        "Metadata",
        [("name", str), ("namespace", str, ""), *_fields(others)],
        omit_defaults=True,
        rename=_keys(others),
    )
    rest = {key: value for key, value in shape.items() if key != "metadata"}
    item = msgspec.defstruct("Item", [("metadata", named), *_fields(rest)], omit_defaults=True, rename=_keys(rest))
    page = msgspec.defstruct("CutPage", [("items", list[item] | None), ("metadata", _ListMeta | None, None)])  # type: ignore[valid-type]
    return cast("msgspec.json.Decoder[_CutPage]", msgspec.json.Decoder(page))


def _fields(shape: Mapping[str, Shape]) -> list[tuple[str, object, object]]:
    """Struct fields; null stands for a missing list or object, as it does for Kubernetes."""
    return [(_identifier(key), *_type_and_default(inner)) for key, inner in shape.items()]


def _type_and_default(shape: Shape) -> tuple[object, object]:
    if shape is KEEP:
        return msgspec.Raw | msgspec.UnsetType, msgspec.UNSET
    return _type_of(shape) | None, None  # type: ignore[operator]


def _identifier(key: str) -> str:
    """A key as a name of Python: keys of annotations are none."""
    return key if key.isidentifier() else f"key_{key.encode().hex()}"


def _keys(shape: Mapping[str, Shape]) -> dict[str, str]:
    """The keys that are no names of Python, by the names that stand for them."""
    return {_identifier(key): key for key in shape if not key.isidentifier()}


def _type_of(shape: Mapping[str, Shape] | Sequence[Shape]) -> object:
    if isinstance(shape, Mapping):
        return msgspec.defstruct("Part", _fields(shape), omit_defaults=True, rename=_keys(shape))
    element = shape[0]
    assert element is not KEEP
    return list[_type_of(element)]  # type: ignore[misc]


def _identity(metadata: Json) -> tuple[str, str] | None:
    """Namespace and name, or None when the object has no name to speak of."""
    if not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace") or ""
    return (namespace, name) if isinstance(name, str) and name and isinstance(namespace, str) else None


def _whole(item: dict[str, Json]) -> dict[str, Json]:
    """The object without its status and the bookkeeping of its metadata."""
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    kept_metadata = {key: metadata[key] for key in _KEPT_METADATA if key in metadata}
    annotations = kept_metadata.pop("annotations", None)
    if isinstance(annotations, dict):
        ours = {key: value for key, value in annotations.items() if key.startswith(_KEPT_ANNOTATIONS)}
        kept_metadata |= {"annotations": ours} if ours else {}
    managers = _managers(metadata.get("managedFields"))
    kept_metadata |= {"managedFields": managers} if managers else {}
    rest = {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    return {"metadata": kept_metadata, **rest}


def _managers(entries: Json) -> list[Json]:
    """The names alone of those who wrote fields of the object, each once: they say whose it is."""
    found = [entry.get("manager") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [{"manager": name} for name in dict.fromkeys(name for name in found if isinstance(name, str) and name)]


def _prune(value: dict[str, Json], shape: Mapping[str, Shape], path: str, odd: list[str]) -> dict[str, Json]:
    """The fields of `value` that are in the shape, in its order; `odd` gets what has another type than it should."""
    kept: dict[str, Json] = {}
    for key, inner in shape.items():
        if key not in value:
            continue
        place = f"{path}.{key}" if path else key
        found = value[key]
        if inner is KEEP:
            kept[key] = found
        elif found is None:
            continue
        elif isinstance(inner, Mapping) and isinstance(found, dict):
            kept[key] = _prune(found, inner, place, odd)
        elif not isinstance(inner, Mapping) and isinstance(found, list):
            kept[key] = _prune_elements(found, inner, place, odd)
        else:
            odd.append(f"{place} is not of the type it should be")
    return kept


def _prune_elements(found: list[Json], shape: Sequence[Shape], path: str, odd: list[str]) -> list[Json]:
    element = shape[0]
    assert isinstance(element, Mapping)
    kept: list[Json] = []
    for index, entry in enumerate(found):
        if isinstance(entry, dict):
            kept.append(_prune(entry, element, f"{path}[{index}]", odd))
        elif entry is not None:
            odd.append(f"{path}[{index}] is not of the type it should be")
    return kept
