"""Objects in the form in which a snapshot holds them: one line of compact JSON each, decoded when it is looked at.

A line of a pod takes 0.6 KB, and four times as much as Python objects: those of a large cluster would not fit into the
memory that a scan may take.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import cast, overload

import msgspec

from migrate.model.raw import FieldPath, Json, RawObject

HEAD, TAIL = b'{"object":', b"}"
"""What stands around the JSON of an object that was not read from a file."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each of `lines` is a field's path with the number of its line at the end."""

    data: dict[str, object] = msgspec.field(name="object")
    source: str | None = None
    lines: list[list[str | int]] = []


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class EncodedObjects(Sequence[RawObject]):
    """Objects in the order of their identity. Each look decodes anew, so that few are in memory at once."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines

    @classmethod
    def of(cls, objects: Iterable[RawObject]) -> EncodedObjects:
        """The same objects as lines with sorted keys, so that neither their order nor that of their keys shows."""
        return cls([line for _, line in sorted((_order(raw), _encoded(raw)) for raw in objects)])

    def with_object(self, raw: RawObject) -> EncodedObjects:
        """These objects and one more, in its place."""
        place = bisect(self, _order(raw), key=_order)
        return EncodedObjects([*self.lines[:place], _encoded(raw), *self.lines[place:]])

    @overload
    def __getitem__(self, index: int) -> RawObject: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedObjects: ...
    def __getitem__(self, index: int | slice) -> RawObject | EncodedObjects:
        return EncodedObjects(self.lines[index]) if isinstance(index, slice) else decoded(self.lines[index])

    def __iter__(self) -> Iterator[RawObject]:
        return map(decoded, self.lines)

    def __len__(self) -> int:
        return len(self.lines)


def decoded(line: bytes) -> RawObject:
    """The object of a line. Raises msgspec.DecodeError and ValueError when there is none."""
    entry = _decode(line)
    lines = dict(map(_place, entry.lines)) if entry.lines else {}
    return RawObject(cast("dict[str, Json]", entry.data), entry.source, lines)


def _encoded(raw: RawObject) -> bytes:
    return _encode(
        _Line(cast("dict[str, object]", raw.data), raw.source, [[*at, line] for at, line in raw.lines.items()])
    )


def _order(raw: RawObject) -> tuple[str, str, str, str]:
    return raw.ref.sort_key()


def _place(entry: list[str | int]) -> tuple[FieldPath, int]:
    *path, line = entry
    if not isinstance(line, int):
        raise ValueError(f"{line!r} is no line number")
    return tuple(path), line
