"""Labels, and the three places where a selector may look for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Scope(Enum):
    """Whose labels a requirement reads: the pod's own, its namespace's, or its service account's."""

    POD = "pod"
    NAMESPACE = "namespace"
    SERVICE_ACCOUNT = "serviceaccount"


@dataclass(frozen=True, slots=True)
class Labels(Mapping[str, str]):
    """An immutable, hashable label map. Two maps with the same pairs are equal."""

    pairs: tuple[tuple[str, str], ...] = ()
    _index: dict[str, str] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.pairs))
        object.__setattr__(self, "pairs", ordered)
        object.__setattr__(self, "_index", dict(ordered))

    @classmethod
    def of(cls, mapping: Mapping[str, str]) -> Labels:
        """Labels of a plain mapping."""
        return cls(tuple(mapping.items()))

    def __getitem__(self, key: str) -> str:
        return self._index[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self.pairs)
