"""Policies against their chains: which are missing, which are of no policy, and which hold other rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.node_state import Rule
from migrate.nodes.dump import NodeDump
from migrate.nodes.moments import is_after, seconds_until
from migrate.nodes.npm.base_chains import DROPPED
from migrate.nodes.npm.expected import Expected
from migrate.nodes.npm.found import ACCEPT_CHAIN, ALLOW_MARK_CHAIN, NpmTable, commented_key
from migrate.nodes.npm.names import Names, chain_suffix, policy_chain
from migrate.nodes.npm.policies import ExpectedPolicy
from migrate.nodes.npm.rules import ALLOW, DROP, NpmRule, SetUse, read_rule

MISSING, STALE = "NODE-NPM-DRIFT-MISSING", "NODE-NPM-DRIFT-STALE"
RULE, REFUSED = "NODE-NPM-DRIFT-RULE", "NODE-NPM-REFUSED"
_ALLOWS = {Direction.INGRESS: ALLOW_MARK_CHAIN, Direction.EGRESS: ACCEPT_CHAIN}
VERDICTS = {d: {_ALLOWS[d]: ALLOW, f"MARK {DROPPED[d]:#x}/{DROPPED[d]:#x}": DROP} for d in Direction}
"""Which targets in a policy's chain let a packet through, and which mark it to be dropped."""
_SHOWN = 6
_ON_ITS_WAY = 120
"""Seconds within which a policy may still be on its way to a node."""


@dataclass(frozen=True)
class PolicyDrift:
    """Compares the policies of a cluster with one node's chains."""

    dump: NodeDump
    npm: NpmTable
    expected: Expected
    names: Names
    namespaces: frozenset[str] | None
    """The namespaces that were read; None for all."""

    def findings(self) -> Iterator[Finding]:
        """All that differs. A table that is not complete says nothing of what it lacks."""
        if self.npm.table.complete:
            for key in sorted(self.expected.policies):
                yield from self._of_policy(self.expected.policies[key])
        yield from self._stale()

    def refused(self) -> Iterator[Finding]:
        """Policies that NPM does not take, and that have indeed no chain in use."""
        for key, refused in sorted(self.expected.refused.items()):
            if not any(self._jumps(direction, self._chain(direction, key)) for direction in Direction):
                detail = f"node {self._node}: policy {key} has no chain, since NPM refuses it: {refused.why}"
                yield Finding(id=REFUSED, detail=detail, effect=Effect.NARROWS, subject=refused.ref)

    @property
    def _node(self) -> str:
        return self.dump.manifest.name

    def _chain(self, direction: Direction, key: str) -> str:
        return policy_chain(direction, chain_suffix(key, self.names.scheme))

    def _jumps(self, direction: Direction, chain: str) -> list[Rule]:
        return self.npm.jumps.get((direction, chain), [])

    def _of_policy(self, policy: ExpectedPolicy) -> Iterator[Finding]:
        gaps: list[str] = []
        for direction in policy.rules:
            name = self._chain(direction, policy.key)
            if name not in self.npm.chains:
                gaps.append(f"there is no chain {name}")
            elif not self._jumps(direction, name):
                gaps.append(f"nothing leads to its chain {name}")
            else:
                yield from self._compared(policy, direction, name)
        if gaps and not is_after(policy.created, self.dump.manifest.taken):
            age = seconds_until(policy.created, self.dump.manifest.taken)
            late = f"; it was only {age:.0f} s old" if age is not None and age < _ON_ITS_WAY else ""
            detail = f"node {self._node} does not enforce policy {policy.key}: {' and '.join(gaps)}{late}"
            at = self.npm.at(self.npm.table)
            yield Finding(id=MISSING, detail=detail, effect=Effect.NARROWS, subject=policy.ref, at=at)

    def _compared(self, policy: ExpectedPolicy, direction: Direction, name: str) -> Iterator[Finding]:
        """Of policies that share a chain, it may hold the rules of any."""
        sharing = [other for other in self._sharing(policy) if direction in other.rules]
        jumps = {self._read(rule, {}): rule for rule in self._jumps(direction, name)}
        lead_to = {other.key: NpmRule(name, sets=self._renamed(other.jumps[direction])) for other in sharing}
        missing = [lead_to[policy.key]] if lead_to[policy.key] not in jumps else []
        extra = {rule: found for rule, found in jumps.items() if rule not in lead_to.values()}
        if missing or extra:
            yield self._differs(policy, direction, f"the jump to {name}", missing, extra)
        chain = self.npm.chains[name]
        found = {self._read(rule, VERDICTS[direction]): rule for rule in chain.rules}
        asked = [frozenset(self._as_found(rule) for rule in other.rules[direction]) for other in sharing]
        if not any(found.keys() == rules for rules in asked):
            own = asked[sharing.index(policy)]
            rest = {rule: place for rule, place in found.items() if rule not in own}
            yield self._differs(policy, direction, f"chain {name}", own - found.keys(), rest)

    def _sharing(self, policy: ExpectedPolicy) -> list[ExpectedPolicy]:
        keys = self.expected.chains(self.names.scheme)[chain_suffix(policy.key, self.names.scheme)]
        return [self.expected.policies[key] for key in keys if key in self.expected.policies]

    def _differs(
        self,
        policy: ExpectedPolicy,
        direction: Direction,
        place: str,
        missing: Iterable[NpmRule],
        extra: dict[NpmRule, Rule],
    ) -> Finding:
        said = f"node {self._node}: policy {policy.key}, {direction.value}, {place}"
        detail = f"{said}: expected {_listed(missing)}, found {_listed(extra)}"
        at = self.npm.at(min(extra.values(), key=lambda rule: rule.line)) if extra else None
        return Finding(
            id=RULE,
            detail=detail,
            effect=Effect.UNKNOWN,
            subject=policy.ref,
            at=at or self.npm.at(self.npm.chains[self._chain(direction, policy.key)]),
        )

    def _stale(self) -> Iterator[Finding]:
        """Chains in use that no policy asks for. One that nothing leads to is on its way out, and harmless."""
        owners = self.expected.chains(self.names.scheme)
        found: dict[str, list[tuple[str, Rule]]] = {}
        for direction, suffix, chain in self.npm.policy_chains():
            keys = owners.get(suffix, ())
            asked = any(key in self.expected.unread or self._asks(key, direction) for key in keys)
            jumps = self._jumps(direction, chain.name)
            if jumps and not asked:
                key = (keys and keys[0]) or next(filter(None, map(commented_key, jumps)), "")
                found.setdefault(key or suffix, []).append((chain.name, jumps[0]))
        for key, chains in sorted(found.items()):
            if self.namespaces is None or key.partition("/")[0] in self.namespaces:
                yield self._stale_policy(key, chains)

    def _asks(self, key: str, direction: Direction) -> bool:
        policy = self.expected.policies.get(key)
        return policy is not None and direction in policy.rules

    def _stale_policy(self, key: str, chains: list[tuple[str, Rule]]) -> Finding:
        names = ", ".join(name for name, _ in chains)
        refused = self.expected.refused.get(key)
        if refused is not None:
            why = f"NPM refuses policy {key} as it is now ({refused.why}): an earlier text of it is in force"
        elif key in self.expected.policies:
            why = f"policy {key} does not isolate in this direction"
        else:
            named = "/" in key
            why = f"the snapshot has no policy {key}" if named else "no policy of the snapshot has such a chain"
        known = refused.ref if refused else self.expected.policies[key].ref if key in self.expected.policies else None
        detail = f"node {self._node} still enforces {names}: {why}"
        subject, at = known or self.dump.node, self.npm.at(chains[0][1])
        return Finding(id=STALE, detail=detail, effect=Effect.UNKNOWN, subject=subject, at=at)

    def _read(self, rule: Rule, verdicts: dict[str, str]) -> NpmRule:
        return read_rule(rule, self.names.name, verdicts)

    def _as_found(self, rule: NpmRule) -> NpmRule:
        return replace(rule, sets=self._renamed(rule.sets))

    def _renamed(self, uses: frozenset[SetUse]) -> frozenset[SetUse]:
        return frozenset(replace(use, name=self.names.stands_for(use.name)) for use in uses)


def _listed(rules: Iterable[NpmRule]) -> str:
    texts = [f"`{rule}`" for rule in sorted(rules, key=NpmRule.sort_key)]
    shown = texts[:_SHOWN] + ([f"{len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else [])
    return ", ".join(shown) or "nothing"
