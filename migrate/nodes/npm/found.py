"""NPM's part of a node's dump: its chains in each backend, which of them is in use, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from migrate.model.flow import Direction
from migrate.model.node_state import Backend, Chain, InSet, Jump, Rule, Ruleset, Table
from migrate.model.refs import Location
from migrate.nodes.dump import NodeDump
from migrate.nodes.npm.names import BASE, SET_PREFIX, Scheme, read_policy_chain, scheme_of

FORWARD = "FORWARD"
DIRECTION_CHAIN = {direction: f"{BASE}-{direction.name}" for direction in Direction}
ACCEPT_CHAIN = f"{BASE}-ACCEPT"
ALLOW_MARK_CHAIN = f"{BASE}-INGRESS-ALLOW-MARK"
BASE_CHAINS = (BASE, *DIRECTION_CHAIN.values(), ALLOW_MARK_CHAIN, ACCEPT_CHAIN)
OLD_CHAINS = frozenset(
    f"{BASE}-{rest}"
    for rest in (
        *("INGRESS-PORT", "INGRESS-FROM", "INGRESS-DROPS", "INRGESS-DROPS"),
        *("EGRESS-PORT", "EGRESS-TO", "EGRESS-DROPS", "TARGET-SETS", "KUBE-SYSTEM"),
    )
)
"""Chains that NPM had before its version 2. One name is misspelt there. Source: npm/util/const.go of that program."""
_POLICY_COMMENT = re.compile(r"(?:IN|E)GRESS-POLICY-([a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9][-.a-z0-9]*?)-(?:TO|FROM)-")


@dataclass(frozen=True)
class NpmTable:
    """A filter table that holds something of NPM. `chains` are NPM's own, by name."""

    ruleset: Ruleset
    table: Table
    chains: Mapping[str, Chain]

    @property
    def backend(self) -> str:
        """The backend as people call it."""
        return (self.table.backend or Backend.NFT).value

    @property
    def forward(self) -> Chain | None:
        """The kernel's chain from which NPM's are reached."""
        return next((chain for chain in self.table.chains if chain.name == FORWARD), None)

    def policy_chains(self) -> Iterator[tuple[Direction, str, Chain]]:
        """The chains of policies, with what their names say."""
        for name, chain in self.chains.items():
            read = read_policy_chain(name)
            if read is not None:
                yield *read, chain

    @cached_property
    def jumps(self) -> Mapping[tuple[Direction, str], list[Rule]]:
        """Rules that lead on to policies' chains, by the direction of the chain that they are in, and that chain."""
        found: dict[tuple[Direction, str], list[Rule]] = {}
        for direction, name in DIRECTION_CHAIN.items():
            base = self.chains.get(name)
            for rule in base.rules if base is not None else ():
                if isinstance(rule.target, Jump) and read_policy_chain(rule.target.chain):
                    found.setdefault((direction, rule.target.chain), []).append(rule)
        return found

    @cached_property
    def used_sets(self) -> frozenset[str]:
        """NPM's sets that its rules ask for."""
        return frozenset(
            condition.name
            for chain in self.chains.values()
            for rule in chain.rules
            for condition in rule.conditions
            if isinstance(condition, InSet) and condition.name.startswith(SET_PREFIX)
        )

    def forward_jumps(self) -> list[tuple[int, Rule]]:
        """Rules of FORWARD that lead into NPM's chains, with their position from 1."""
        rules = self.forward.rules if self.forward is not None else ()
        return [(number, rule) for number, rule in enumerate(rules, 1) if _leads_to(rule, BASE)]

    def count(self) -> int:
        """How many rules are in NPM's chains."""
        return sum(len(chain.rules) for chain in self.chains.values())

    def at(self, part: Table | Chain | Rule) -> Location:
        """The file and line of a part."""
        return self.ruleset.at(part)

    def old_chains(self) -> tuple[str, ...]:
        """Chains of the first version that are there."""
        return tuple(sorted(self.chains.keys() & OLD_CHAINS))

    def is_old(self) -> bool:
        """Whether the first version's chains are in force: one of its main chains leads on to them."""
        mains = (self.chains.get(name) for name in (BASE, *DIRECTION_CHAIN.values()))
        return any(_leads_to(rule, *OLD_CHAINS) for chain in mains if chain is not None for rule in chain.rules)


@dataclass(frozen=True)
class NpmFound:
    """What a dump has of NPM. `active` is the table that counts, `others` are in the backend that nobody writes to.

    `dumped` is the filter table of the active backend, whether something of NPM is in it or not.
    """

    active: NpmTable | None
    others: tuple[NpmTable, ...]
    dumped: tuple[Ruleset, Table] | None
    scheme: Scheme | None


def find_npm(dump: NodeDump) -> NpmFound:
    """NPM's part of a dump."""
    tables = [NpmTable(ruleset, table, _own(table)) for ruleset, table in dump.tables("filter")]
    with_chains = [found for found in tables if found.chains]
    backend = dump.active_backend or _likely(with_chains)
    active = next((found for found in with_chains if found.table.backend is backend), None)
    dumped = next((found for found in tables if found.table.backend is backend), None)
    others = tuple(found for found in with_chains if found.table.backend is not backend)
    sets = active.used_sets if active is not None else frozenset()
    known = sets or {found.name for found in (dump.sets.sets if dump.sets is not None else ())}
    scheme = scheme_of(known, active.chains if active is not None else ())
    return NpmFound(active, others, (dumped.ruleset, dumped.table) if dumped is not None else None, scheme)


def commented_key(rule: Rule) -> str | None:
    """The policy "namespace/name" that a jump's comment begins with; the rest of a comment may be cut off."""
    found = (_POLICY_COMMENT.match(comment) for comment in rule.comments)
    return next((match[1] for match in found if match is not None), None)


def _own(table: Table) -> dict[str, Chain]:
    return {chain.name: chain for chain in table.chains if chain.name == BASE or chain.name.startswith(f"{BASE}-")}


def _likely(tables: list[NpmTable]) -> Backend | None:
    """Where nothing tells which backend is in use, the one that has the jump, and then the one with most rules."""
    if not tables:
        return None
    return max(tables, key=lambda found: (bool(found.forward_jumps()), found.count())).table.backend


def _leads_to(rule: Rule, *chains: str) -> bool:
    return isinstance(rule.target, Jump) and rule.target.chain in chains
