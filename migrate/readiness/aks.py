"""What AKS's documents say of versions and limits: rules/azure/, each value with its source and date."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from functools import cache
from typing import TypeAlias

import msgspec

from migrate.resources import data, read_yaml

Release: TypeAlias = tuple[int, int]
"""Major and minor number of a version: they order releases."""


class SupersededCilium(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that a document once gave, and the date of the copy that no longer does."""

    cilium: str
    until: datetime.date


class KubernetesVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Kubernetes version of AKS; the days are its last with support. `cilium` is the oldest that comes with it."""

    kubernetes: str
    cilium: str | None
    end_of_life: datetime.date
    lts_end_of_life: datetime.date
    superseded: tuple[SupersededCilium, ...] = ()


class VersionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All versions that the documents name, with the documents."""

    cilium_source: str
    cilium_source_date: datetime.date
    lifecycle_source: str
    lifecycle_source_date: datetime.date
    versions: tuple[KubernetesVersion, ...]

    def find(self, release: Release) -> KubernetesVersion | None:
        """The row of a version."""
        return next((row for row in self.versions if release_of(row.kubernetes) == release), None)


class SupersededValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that a document once gave, and the date of the copy that no longer does."""

    value: str
    until: datetime.date


class _Stated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that a document says."""

    source: str
    source_date: datetime.date
    superseded: tuple[SupersededValue, ...] = ()

    def __str__(self) -> str:
        return f"{self.source} of {self.source_date.isoformat()}"


class Text(_Stated, frozen=True, kw_only=True):
    """A word or a version."""

    value: str


class Number(_Stated, frozen=True, kw_only=True):
    """A number."""

    value: int


class Texts(_Stated, frozen=True, kw_only=True):
    """Several words."""

    value: tuple[str, ...]


class Numbers(_Stated, frozen=True, kw_only=True):
    """Several numbers."""

    value: tuple[int, ...]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What AKS asks for and what it can hold. `cli` are the oldest versions of the Azure CLI, by step of a way."""

    overlay_kubernetes: Text
    node_block_prefix: Number
    name_length: Number
    npm_nodes: Number
    npm_pods: Number
    default_surge: Text
    advised_surge: Text
    spot_surge: Text
    drain_timeout_minutes: Number
    host_port_cilium: Text
    kube_proxy_ports: Numbers
    reserved_ranges: Texts
    cli: Mapping[str, Text]


@cache
def versions() -> VersionTable:
    """The versions of Kubernetes on AKS."""
    return read_yaml(data("rules") / "azure" / "kubernetes-versions.yaml", VersionTable)


@cache
def limits() -> Limits:
    """What AKS asks for and what it can hold."""
    return read_yaml(data("rules") / "azure" / "limits.yaml", Limits)


def release_of(text: str) -> Release | None:
    """The release of a version such as "1.32", "v1.32.4" or "1.32.4-hotfix"; None when it is no version."""
    found = re.match(r"v?(\d+)\.(\d+)(?![\d])", text.strip())
    return None if found is None else (int(found[1]), int(found[2]))
