"""Calico's chains of one IP version on a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from migrate.model.flow import Direction
from migrate.model.node_state import (
    Backend,
    Chain,
    Comment,
    Condition,
    DeviceIs,
    Ending,
    Jump,
    MarkIs,
    Reject,
    Rule,
    Ruleset,
    Table,
)
from migrate.model.refs import Location
from migrate.nodes.calico.names import DISPATCH, HOST, PREFIX, RULE_HASH
from migrate.nodes.calico.shapes import Marks
from migrate.nodes.dump import NodeDump

FAMILIES = (4, 6)
_ACCEPTED = "Return if policy accepted"
_NOT_PASSED = "if no policies passed packet"


@dataclass(frozen=True, eq=False)
class Chains:
    """The tables of one IP version and backend in which Calico writes, by name; there is always a filter table.

    `others` are tables of the other backend that hold chains of Calico: nothing keeps them up to date. `nft`: they
    stand in nftables' own table "calico".
    """

    family: int
    ruleset: Ruleset
    tables: Mapping[str, Table]
    others: tuple[tuple[Ruleset, Table], ...] = ()
    nft: bool = False

    @property
    def filter(self) -> Table:
        """The table that policies are in."""
        return self.tables["filter"]

    @cached_property
    def by_name(self) -> Mapping[str, Chain]:
        """The chains of the filter table."""
        return self.filter.by_name()

    @cached_property
    def marks(self) -> Marks:
        """The bits that this node's Felix uses, as its rules tell; Felix's defaults where they do not."""
        accept, passed = Marks().accept, Marks().passed
        for chain in self.own():
            for rule in chain.rules:
                bits = next((c for c in rule.conditions if isinstance(c, MarkIs) and not c.connection), None)
                if bits is None:
                    continue
                if _ACCEPTED in rule.comments:
                    accept = bits.value
                elif says(rule, _NOT_PASSED) and not bits.value:
                    passed = bits.mask
        return Marks(accept, passed)

    def own(self) -> Iterator[Chain]:
        """Calico's chains in the filter table."""
        return (chain for chain in self.filter.chains if chain.name.startswith(PREFIX))

    def at(self, part: Chain | Rule | Table) -> Location:
        """Where a part stands."""
        return self.ruleset.at(part)

    def jumps(self, name: str) -> tuple[str, ...]:
        """The chains that a chain's rules lead to, in order."""
        chain = self.by_name.get(name)
        rules = () if chain is None else chain.rules
        return tuple(rule.target.chain for rule in rules if isinstance(rule.target, Jump))

    def behind(self, names: tuple[str, ...], prefixes: tuple[str, ...], through: tuple[str, ...]) -> dict[str, None]:
        """The chains of some prefixes that chains lead to, at once or through chains of other prefixes, in order."""
        found: dict[str, None] = {}
        for name in names:
            for target in self.jumps(name):
                if target.startswith(prefixes):
                    found.setdefault(target)
                elif target.startswith(through):
                    found |= dict.fromkeys(inner for inner in self.jumps(target) if inner.startswith(prefixes))
        return found

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The chains of host endpoints, in all tables of this IP version."""
        return tuple(c.name for table in self.tables.values() for c in table.chains if c.name.startswith(HOST))

    def dispatched(self, direction: Direction) -> frozenset[tuple[str, str]]:
        """Interface and chain of each pod that packets of a direction are led to."""
        root = DISPATCH[direction]
        found: set[tuple[str, str]] = set()
        names = (root, *(target for target in self.jumps(root) if target.startswith(f"{root}-")))
        for name in names if root in self.by_name else self.by_name:
            chain = self.by_name.get(name)
            for rule in () if chain is None else chain.rules:
                devices = [c for c in rule.conditions if isinstance(c, DeviceIs)]
                if isinstance(rule.target, Jump) and len(devices) == 1 and not devices[0].negated:
                    found.add((devices[0].name, rule.target.chain))
        return frozenset(found)


def says(rule: Rule, text: str) -> bool:
    """Whether a comment of a rule ends with a text; Felix begins those of verdicts with what it does."""
    return any(comment.endswith(text) for comment in rule.comments)


def is_felix(rule: Rule) -> bool:
    """Whether Felix wrote a rule: it marks each one with a hash."""
    return any(comment.startswith(RULE_HASH) for comment in rule.comments)


def stops(rule: Rule) -> bool:
    """Whether a rule drops what it takes."""
    return rule.target is Ending.DROP or isinstance(rule.target, Reject)


def asked_of(rule: Rule) -> tuple[Condition, ...]:
    """What a rule asks of packets."""
    return tuple(condition for condition in rule.conditions if not isinstance(condition, Comment))


def calico_chains(dump: NodeDump, family: int) -> Chains | None:
    """Calico's chains of an IP version; None when there are none. Of two backends the one that the node uses."""
    sides: dict[Backend | None, dict[str, tuple[Ruleset, Table]]] = {}
    for name in ("filter", "nat", "mangle", "raw"):
        for ruleset, table in dump.tables(name, family):
            sides.setdefault(table.backend, {}).setdefault(name, (ruleset, table))
    with_calico = [backend for backend, tables in sides.items() if _count(tables)]
    if not with_calico:
        return None
    chosen = max(with_calico, key=lambda backend: _weight(backend, sides[backend], dump.active_backend))
    if "filter" not in sides[chosen]:
        return None
    others = tuple(
        (ruleset, table)
        for backend in with_calico
        if backend is not chosen
        for ruleset, table in sides[backend].values()
        if any(chain.name.startswith(PREFIX) for chain in table.chains)
    )
    tables = {name: table for name, (_, table) in sides[chosen].items()}
    return Chains(family, sides[chosen]["filter"][0], tables, others)


def _count(tables: Mapping[str, tuple[Ruleset, Table]]) -> int:
    return sum(chain.name.startswith(PREFIX) for _, table in tables.values() for chain in table.chains)


def _weight(
    backend: Backend | None, tables: Mapping[str, tuple[Ruleset, Table]], active: Backend | None
) -> tuple[bool, bool, int]:
    return ("filter" in tables, backend is active, _count(tables))
