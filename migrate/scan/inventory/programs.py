"""Programs that matter for a move to Cilium, and how each is known by sight (rules/engines/*.yaml)."""

from __future__ import annotations

from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal

import msgspec

from migrate.model.raw import RawObject
from migrate.resources import data, read_yaml, yaml_files
from migrate.scan.inventory.look import dig, items

Role = Literal["engine", "cni", "chained-cni", "service-mesh", "node-local-dns"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a statement comes from: a place in a public repository, and what it says there."""

    repo: str
    path: str
    says: str


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workload by which a program is known.

    `name` is a glob; `container` must be in it when given; with `windows` it must, or must not, be bound to Windows.
    """

    kind: Literal["DaemonSet", "Deployment"]
    name: str
    container: str = ""
    windows: bool | None = None

    def matches(self, raw: RawObject) -> bool:
        """Whether the object is this workload."""
        if raw.ref.kind != self.kind or raw.ref.group != "apps" or not fnmatchcase(raw.ref.name, self.name):
            return False
        if self.windows is not None and self.windows != _bound_to_windows(raw):
            return False
        return not self.container or self.container in container_names(raw)


class Program(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program that may run in a cluster.

    `enforces` are the API groups whose policies it enforces. `enforcement` says when: "always", "never",
    "setting" (which no object shows; `tell` says where to look), "container" (only with a container named
    `switch`) or "version" (only from the image version `switch` on). `container` is the one whose image carries the
    version. `groups` are API groups that stay in the cluster after it. `embedded` is a part of the kubelet version of
    distributions that run it without any workload.
    """

    id: str
    title: str
    roles: tuple[Role, ...]
    workloads: tuple[Workload, ...]
    container: str = ""
    enforces: tuple[str, ...] = ()
    enforcement: Literal["always", "never", "setting", "container", "version"] = "never"
    switch: str = ""
    tell: str = ""
    groups: tuple[str, ...] = ()
    embedded: str = ""
    as_of: date
    sources: tuple[Source, ...]


@cache
def programs() -> tuple[Program, ...]:
    """All programs that are known by sight, by id."""
    return tuple(read_yaml(file, Program) for file in yaml_files(data("rules") / "engines"))


def is_known(raw: RawObject) -> bool:
    """Whether a workload belongs to a program that is known by sight."""
    return any(workload.matches(raw) for program in programs() for workload in program.workloads)


def container_names(raw: RawObject) -> tuple[str, ...]:
    """Names of the containers in a workload's pod template."""
    containers = items(dig(raw.data, "spec", "template", "spec", "containers"))
    return tuple(name for entry in containers if isinstance(name := dig(entry, "name"), str))


def _bound_to_windows(raw: RawObject) -> bool:
    return dig(raw.data, "spec", "template", "spec", "nodeSelector", "kubernetes.io/os") == "windows"
