"""What is known about Helm values and about the settings that they replace, as data of rules/helm/."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Literal

import msgspec

from migrate.readiness.rules import Source
from migrate.resources import data, read_yaml


class ChartValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value of the chart. `commented`: its values.yaml has it only in a comment, so its schema does not know it."""

    key: str
    type: Literal["array", "boolean", "integer", "string"]
    commented: bool = False


class Chart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values that may be written, and the releases of the chart that have all of them."""

    chart: str
    versions: tuple[str, ...]
    sources: tuple[Source, ...]
    as_of: date
    values: tuple[ChartValue, ...]

    def keys(self) -> Mapping[str, ChartValue]:
        """The values by their keys, such as ipam.mode."""
        return {value.key: value for value in self.values}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a kind: taken over, lost (with what that means), or the same without being said."""

    value: tuple[str, ...]
    none: Mapping[str, str]
    same: tuple[str, ...]

    def knows(self, name: str) -> bool:
        """Whether a setting is one of these."""
        return name in self.value or name in self.none or any(_named(name, pattern) for pattern in self.same)


class Replaced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of an engine by kind of object."""

    sources: tuple[Source, ...]
    as_of: date
    settings: Mapping[str, Settings]


@cache
def chart() -> Chart:
    """What Cilium's chart can be told."""
    return read_yaml(data("rules") / "helm" / "cilium.yaml", Chart)


@cache
def calico_settings() -> Mapping[str, Settings]:
    """Calico's settings by kind."""
    return read_yaml(data("rules") / "helm" / "calico.yaml", Replaced).settings


def _named(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
