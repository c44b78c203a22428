"""What of a policy and its translation matters to a proof for any pods: not the names, nor which label values.

Selectors in lists and maps compare values for equality only. So two policies that differ in their label values alone,
each value for another one, have the same proof.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from migrate.model.raw import Json, RawObject

_DEFAULT = "default"


def shape_of(before: Sequence[RawObject], after: Sequence[RawObject]) -> bytes:
    """Equal for pairs that one renaming of label values and namespaces makes the same."""
    return msgspec.json.encode(_Renaming().objects((*before, *after)))


class _Renaming:
    """Label values and namespaces by the order in which they are met."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def objects(self, given: Sequence[RawObject]) -> list[Json]:
        """The objects without their metadata but for the namespace."""
        found: list[Json] = []
        for raw in given:
            own: dict[str, Json] = {"kind": raw.ref.kind, "group": raw.ref.group}
            if raw.ref.namespace or raw.ref.kind == "NetworkPolicy":
                own["namespace"] = self._name(raw.ref.namespace or _DEFAULT)
            found.append(own | {key: self._value(raw.data.get(key)) for key in ("spec", "specs")})
        return found

    def _name(self, value: Json) -> Json:
        if not isinstance(value, str):
            return value
        return self._names.setdefault(value, f"value {len(self._names)}")

    def _value(self, value: Json) -> Json:
        if isinstance(value, list):
            return [self._value(part) for part in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("operator"), str) and isinstance(value.get("values"), list):
            return value | {"values": self._list(value["values"])}
        return {key: self._labels(part) if key == "matchLabels" else self._value(part) for key, part in value.items()}

    def _labels(self, value: Json) -> Json:
        return {key: self._name(part) for key, part in value.items()} if isinstance(value, dict) else value

    def _list(self, value: Json) -> Json:
        return [self._name(part) for part in value] if isinstance(value, list) else value
