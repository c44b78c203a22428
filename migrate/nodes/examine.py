"""Puts the dumps of nodes to everything that can say something about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import migrate
from migrate.model.documents import Fact
from migrate.model.finding import Effect, Finding
from migrate.model.node_documents import NodeState, NodeStates, RuleHits
from migrate.nodes.calico.examiner import examine_calico
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import UNREAD, NodeDump, node_ref
from migrate.nodes.files import holds_rules
from migrate.nodes.known import known_node
from migrate.nodes.linux import examine_linux
from migrate.nodes.moments import is_after, seconds_until
from migrate.nodes.npm.examiner import examine_npm
from migrate.nodes.windows.examiner import examine_windows
from migrate.scan.inventory.look import text

FILE_NAME = "nodes.json"
FOLDER = "nodes"
NOT_READ = "NODE-NOT-READ"

Observation: TypeAlias = Finding | Fact | RuleHits
Examiner: TypeAlias = Callable[[NodeDump, ClusterView | None], Iterator[Observation]]
"""Says what it sees in a dump. Without a snapshot only what the node alone can tell: facts, leftovers, counters."""

EXAMINERS: tuple[Examiner, ...] = (
    known_node,
    examine_npm,
    examine_windows,
    examine_linux,
    examine_calico,
)


_OF_ITS_TIME = frozenset((examine_calico, examine_windows))
"""Those that know no excuse for objects that are younger than a dump."""
_LONG = 60
"""Seconds between the snapshot and a dump that are worth a word."""
_COMPARED = (
    "Pod",
    "Namespace",
    "Service",
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "NetworkSet",
    "GlobalNetworkSet",
)


def examine(dumps: tuple[NodeDump, ...], view: ClusterView | None, snapshot: str | None) -> NodeStates:
    """The states of all nodes; `snapshot` is the SHA-256 of what `view` was read from."""
    nodes = tuple(_state(dump, view) for dump in dumps)
    findings = tuple(_not_read(dumps, view))
    return NodeStates(
        tool_version=migrate.__version__,
        snapshot=snapshot,
        complete=not findings and all(node.complete for node in nodes),
        nodes=nodes,
        findings=findings,
    )


def _at_its_time(dump: NodeDump, view: ClusterView | None) -> ClusterView | None:
    """The cluster without what was made after the dump was taken: that cannot be on the node."""
    taken = dump.manifest.taken
    if view is None or taken is None:
        return view
    compared = (raw for kind in _COMPARED for raw in view.by_kind.get(kind, ()))
    late = {raw.ref for raw in compared if is_after(text(raw, "metadata", "creationTimestamp"), taken)}
    return view.without(frozenset(late)) if late else view


def _age(dump: NodeDump, view: ClusterView | None) -> Iterator[Fact]:
    """That the cluster went on between the snapshot and the dump, where it did."""
    taken = view.header.taken if view is not None else None
    if (seconds_until(taken, dump.manifest.taken) or 0) > _LONG:
        detail = "the dump was taken after the snapshot: what came or went between them shows as drift"
        yield Fact(topic="dump-after-snapshot", value=dump.manifest.taken or "", detail=f"{detail}; snapshot {taken}")


def _state(dump: NodeDump, view: ClusterView | None) -> NodeState:
    then = _at_its_time(dump, view)
    seen: list[Observation] = [*_age(dump, view)]
    for examiner in EXAMINERS:
        seen += examiner(dump, then if examiner in _OF_ITS_TIME else view)
    found = (*dump.problems, *_without_rules(dump), *(item for item in seen if isinstance(item, Finding)))
    findings = list(dict.fromkeys(found))  # two examiners may read the same file
    return NodeState(
        name=dump.manifest.name,
        system=dump.manifest.system,
        way=dump.manifest.way,
        taken=dump.manifest.taken,
        booted=dump.manifest.booted,
        complete=not any(finding.id == UNREAD for finding in findings),
        files=dump.manifest.files,
        facts=tuple(sorted((item for item in seen if isinstance(item, Fact)), key=_fact_key)),
        findings=tuple(sorted(findings, key=Finding.sort_key)),
        hits=tuple(sorted((item for item in seen if isinstance(item, RuleHits)), key=_hits_key)),
    )


def _without_rules(dump: NodeDump) -> Iterator[Finding]:
    """Nothing that enforces was looked at, as where only NPM's endpoint was asked."""
    manifest = dump.manifest
    if not holds_rules(manifest.system == "windows", (file.name for file in manifest.files)):
        detail = f"node {manifest.name}: its rules are not in the dump, so what it enforces is not known"
        yield Finding(id=UNREAD, detail=detail, effect=Effect.UNKNOWN, subject=dump.node)


def _fact_key(fact: Fact) -> tuple[str, str, str]:
    return (fact.topic, fact.value, fact.detail)


def _hits_key(hits: RuleHits) -> tuple[str, str, str]:
    return (hits.of, hits.verdict, str(hits.at))


def _not_read(dumps: tuple[NodeDump, ...], view: ClusterView | None) -> Iterator[Finding]:
    """Nodes of the cluster that no dump is of: what they enforce is not known."""
    there = {dump.node for dump in dumps}
    for raw in view.by_kind.get("Node", ()) if view is not None else ():
        if raw.ref not in there:
            yield Finding(
                id=NOT_READ,
                detail=f"node {raw.ref.name} was not read",
                effect=Effect.UNKNOWN,
                subject=node_ref(raw.ref.name),
            )
