"""Limits and first versions of products that rules compare a cluster with (rules/platform.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

import msgspec

from migrate.readiness.rules import Source
from migrate.resources import data, read_yaml


class Kernel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest kernel for a release of Cilium and those after it; `kernels_of_rhel` are older ones that do too."""

    cilium: str
    kernel: str
    kernels_of_rhel: str


class Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`numbers` are counts, bytes or hours by name, `versions` first ones; `labels` have a new value with each run."""

    numbers: Mapping[str, int]
    versions: Mapping[str, str]
    labels: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    as_of: date
    sources: tuple[Source, ...]


@cache
def platform() -> Platform:
    """All that is known."""
    return read_yaml(data("rules") / "platform.yaml", Platform)


def number(name: str) -> int:
    """A limit by its name."""
    return platform().numbers[name]


def version(name: str) -> tuple[int, int]:
    """The first version with something, by its name."""
    major, _, rest = platform().versions[name].partition(".")
    return int(major), int(rest)
