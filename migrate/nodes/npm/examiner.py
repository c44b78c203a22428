"""Everything that a dump of a Linux node says of Azure NPM."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.node_documents import RuleHits
from migrate.model.refs import ObjectRef
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.nodes.npm.base_chains import EMPTY, base_findings, forward_findings
from migrate.nodes.npm.collisions import collisions
from migrate.nodes.npm.counters import counted_since, denials, rule_hits
from migrate.nodes.npm.expected import Expected, expectations
from migrate.nodes.npm.found import NpmFound, NpmTable, find_npm
from migrate.nodes.npm.given_names import given_names
from migrate.nodes.npm.leftovers import old_version, other_backend, runs_npm, without_npm
from migrate.nodes.npm.names import BASE, SET_PREFIX, Scheme
from migrate.nodes.npm.policy_drift import PolicyDrift
from migrate.nodes.npm.set_drift import SetDrift
from migrate.nodes.wording import printable

_LOST = ("forbidden", "failed")
"""Characters of a finding's detail."""


def examine_npm(dump: NodeDump, view: ClusterView | None) -> Iterator[Finding | Fact | RuleHits]:
    """NPM on a Linux node: its chains and sets against the objects, what it left behind, and what it counted."""
    for said in _examined(dump, view) if dump.manifest.system == "linux" else ():
        yield printable(said) if isinstance(said, Finding) else said


def _examined(dump: NodeDump, view: ClusterView | None) -> Iterator[Finding | Fact | RuleHits]:
    found = find_npm(dump)
    yield from other_backend(dump, found)
    yield from old_version(dump, found)
    left = found.active is not None and view is not None and runs_npm(view) is False
    if found.active is not None:
        yield from _facts(dump, found, found.active, left=left)
        yield from _counters(dump, view, found, found.active)
    if view is None:
        return
    if found.active is None:
        yield from _nothing_there(dump, view)
    elif left:
        yield without_npm(dump, view, found.active)
    elif not found.active.is_old():
        yield from _Comparison(dump, view, found, found.active).findings()


class _Comparison:
    """One node beside the state that it should have."""

    def __init__(self, dump: NodeDump, view: ClusterView, found: NpmFound, npm: NpmTable) -> None:
        self._dump = dump
        self._view = view
        self._npm = npm
        self._expected = expectations(view)
        names = self._expected.names(found.scheme or Scheme.SHA256)
        self._names = names.with_given(given_names(dump), self._expected.sets.spellings)
        self._sets = self._set_drift()

    def findings(self) -> Iterator[Finding]:
        """All that differs; of a node of another cluster only that it is one."""
        if self._sets is not None and self._sets.is_foreign():
            yield self._sets.foreign()
            return
        base = list(self._base()) if self._npm.table.complete else []
        yield from base
        yield from collisions(self._dump, self._expected, self._names)
        asleep = any(finding.id == EMPTY for finding in base) and not any(True for _ in self._npm.policy_chains())
        yield from self._policies(asleep=asleep)
        if self._sets is not None:
            yield from self._sets.findings()

    def _base(self) -> Iterator[Finding]:
        if _was_read(self._view, "NetworkPolicy"):
            yield from base_findings(self._dump, self._npm, active=bool(self._npm.jumps or self._expected.policies))
        yield from forward_findings(self._dump, self._npm, first=self._expected.toggles.place_azure_chain_first)

    def _policies(self, *, asleep: bool) -> Iterator[Finding]:
        if not _was_read(self._view, "NetworkPolicy"):
            return
        namespaces = self._view.header.namespaces
        known = None if namespaces is None else frozenset(namespaces)
        drift = PolicyDrift(self._dump, self._npm, self._expected, self._names, known)
        if self._npm.table.complete:
            yield from drift.refused()
        if not asleep:
            yield from drift.findings()

    def _set_drift(self) -> SetDrift | None:
        """The comparison of the sets, where they and the pods are known."""
        sets, kinds = self._dump.sets, ("Pod", "Namespace")
        if sets is None or not self._view.by_kind.get("Pod"):
            return None
        whole = not any(problem.detail.startswith(sets.source) for problem in self._dump.problems)
        sees_all = self._view.header.namespaces is None and all(
            _was_read(self._view, kind) and self._view.by_kind.get(kind) for kind in kinds
        )
        return SetDrift(self._dump, sets, self._npm, self._expected, self._names, whole, sees_all)


def _nothing_there(dump: NodeDump, view: ClusterView) -> Iterator[Finding]:
    """NPM runs and there are policies, but no chain of it is in any filter table of the node."""
    tables = [table for ruleset in dump.rulesets for table in ruleset.tables]
    whole = bool(dump.rulesets) and not dump.problems and all(table.complete for table in tables)
    policies = len(expectations(view).policies) if whole and runs_npm(view) else 0
    if policies:
        there = "is 1 policy" if policies == 1 else f"are {policies} policies"
        detail = f"node {dump.manifest.name}: no chain {BASE} is there although there {there}: nothing is enforced"
        yield Finding(id=EMPTY, detail=detail, effect=Effect.NARROWS, subject=dump.node)


def _facts(dump: NodeDump, found: NpmFound, npm: NpmTable, *, left: bool) -> Iterator[Fact]:
    """What NPM is on the node: its version, by what scheme it names things, and how much of it is there."""
    chain = next(iter(npm.chains.values()))
    at = npm.at(chain)
    evidence = (Evidence(object=str(dump.node), field=str(at), value=chain.name),)
    policies = len({suffix for _, suffix, chain in npm.policy_chains() if chain.rules})
    sets = sum(each.name.startswith(SET_PREFIX) for each in dump.sets.sets) if dump.sets is not None else 0
    counted = f"{policies} policies, {npm.count()} rules, {sets} sets"
    version = "v1" if npm.is_old() else "v2"
    yield Fact(
        topic="npm",
        value=version,
        state="present" if left else "active",
        detail=counted,
        evidence=evidence,
    )
    yield Fact(topic="npm-backend", value=npm.backend, detail=f"{BASE} in iptables-{npm.backend}", evidence=evidence)
    if found.scheme is not None:
        yield Fact(topic="npm-names", value=found.scheme.value, detail="the digest in names", evidence=evidence)


def _counters(dump: NodeDump, view: ClusterView | None, found: NpmFound, npm: NpmTable) -> Iterator[Finding | RuleHits]:
    expected = expectations(view) if view is not None else None
    since = counted_since(dump.manifest, view)

    def known(_: Direction, suffix: str) -> tuple[str, ObjectRef] | None:
        return None if expected is None else _owner(expected, found.scheme or Scheme.SHA256, suffix)

    hits = list(rule_hits(npm, since, known))
    yield from hits
    yield from denials(dump, npm, hits, since)


def _owner(expected: Expected, scheme: Scheme, suffix: str) -> tuple[str, ObjectRef] | None:
    """The policy that a chain is of; none where several share it."""
    keys = [key for key in expected.chains(scheme).get(suffix, ()) if key in expected.policies]
    return (keys[0], expected.policies[keys[0]].ref) if len(keys) == 1 else None


def _was_read(view: ClusterView, kind: str) -> bool:
    return not any(count.kind == kind and count.status in _LOST for count in view.header.kinds)
