"""Whose traces are on a node: names of chains, sets, links and files → programs (rules/node/programs.yaml)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from fnmatch import translate
from functools import cache, cached_property
from typing import Literal, TypeAlias

import msgspec

from migrate.model.addresses import Network, parse_network
from migrate.resources import data, read_yaml

Role: TypeAlias = Literal["engine", "network", "proxy", "platform", "host"]
What: TypeAlias = Literal["chains", "sets", "links", "tables", "cni", "paths", "pinned", "bpf", "comments"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a statement comes from: a place in a public repository, and what it says there."""

    repo: str
    path: str
    says: str


class Software(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program by the globs of what it leaves on a node.

    `own_findings`: what it leaves behind has findings of its own, unless Cilium runs on the node. `addresses` are
    destinations that only its rules name. `embedded` is a part of the version of kubelets that run it without any
    workload. `remove` are commands.
    """

    id: str
    title: str
    role: Role
    own_findings: bool = False
    chains: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    cni: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    bpf: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    embedded: str = ""
    remove: tuple[str, ...] = ()
    sources: tuple[Source, ...]

    def names(self, what: What) -> tuple[str, ...]:
        """Its globs of one sort."""
        return {
            "chains": self.chains,
            "sets": self.sets,
            "links": self.links,
            "tables": self.tables,
            "cni": self.cni,
            "paths": self.paths,
            "pinned": self.pinned,
            "bpf": self.bpf,
            "comments": self.comments,
        }[what]


class _Programs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    as_of: date
    programs: tuple[Software, ...]


@dataclass(frozen=True, eq=False)
class Known:
    """All programs, with one expression for each sort of name: dumps hold tens of thousands of names."""

    programs: tuple[Software, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Software]:
        """The programs by their ids."""
        return {program.id: program for program in self.programs}

    @cached_property
    def by_address(self) -> Mapping[Network, Software]:
        """The programs by the destinations that only their rules name."""
        return {parse_network(text): program for program in self.programs for text in program.addresses}

    @cached_property
    def _tables(self) -> dict[What, tuple[re.Pattern[str], tuple[tuple[Software, ...], ...]]]:
        return {}

    def owners(self, what: What, name: str) -> tuple[Software, ...]:
        """The programs that a name may be of; none when nobody is known for it."""
        if what not in self._tables:
            self._tables[what] = self._table(what)
        pattern, owners = self._tables[what]
        found = pattern.match(name)
        return owners[found.lastindex - 1] if found is not None and found.lastindex else ()

    def _table(self, what: What) -> tuple[re.Pattern[str], tuple[tuple[Software, ...], ...]]:
        """An expression with a group for each glob, and whose each group is."""
        globs: dict[str, list[Software]] = {}
        for program in self.programs:
            for glob in program.names(what):
                globs.setdefault(glob, []).append(program)
        pattern = "|".join(f"({translate(glob)})" for glob in globs) or "(?!)"
        return re.compile(pattern), tuple(tuple(owners) for owners in globs.values())


class ReservedPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A UDP port of the node that Cilium listens on when told to, and what for."""

    port: int
    what: str


class CiliumOnNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Cilium takes for itself on a node (rules/node/cilium.yaml): bits of packet marks, ports, its CNI file."""

    as_of: date
    mark_mask: int
    marks: dict[int, str]
    ports: tuple[ReservedPort, ...]
    cni_file: str
    sources: tuple[Source, ...]


@cache
def known() -> Known:
    """All programs that are known by what they leave on a node."""
    return Known(read_yaml(data("rules") / "node" / "programs.yaml", _Programs).programs)


@cache
def cilium_on_node() -> CiliumOnNode:
    """What Cilium takes for itself on a node."""
    return read_yaml(data("rules") / "node" / "cilium.yaml", CiliumOnNode)


def titles(programs: Iterable[Software]) -> str:
    """The programs by name, for people."""
    return " or ".join(program.title for program in programs)
