"""What the readers of settings say: a Helm value with its reason, an object beside the chart, or a finding."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TypeAlias

import msgspec

from migrate.model.documents import Evidence
from migrate.model.finding import Finding
from migrate.model.raw import Json, RawObject

Setting: TypeAlias = bool | int | str | tuple[str, ...]
Manifest: TypeAlias = dict[str, Json]


class Stage(Enum):
    """When a value holds: while nodes move one by one, and on, or only when all have moved."""

    MIGRATION = "migration"
    FINAL = "final"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A value of the chart, why it is set, and what that rests on. `key` is its path, such as "ipam.mode"."""

    key: str
    value: Setting
    because: str
    evidence: tuple[Evidence, ...] = ()
    stage: Stage = Stage.MIGRATION


Said: TypeAlias = Value | Finding | Manifest


def about(rule_id: str, detail: str, raw: RawObject | None = None, field: str | None = None) -> Finding:
    """A finding about a setting of an object, or about the cluster."""
    if raw is None:
        return Finding(id=rule_id, detail=detail)
    return Finding(id=rule_id, detail=detail, subject=raw.ref, field=field, at=raw.at())


def shown(values: Iterable[object]) -> str:
    """Things in a sentence: three of them and how many there are."""
    texts = [str(value) for value in values]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
