"""Rules that only the state of nodes answers: chains, sets and ACLs as they really are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from functools import partial

from migrate.model.finding import Finding
from migrate.model.node_documents import NodeStates
from migrate.readiness import nodes_read
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need, always
from migrate.readiness.seen import may_run

_OF_NPM = (
    "NODE-NPM-COUNTERS",
    "NODE-NPM-DRIFT-MEMBERS",
    "NODE-NPM-DRIFT-MISSING",
    "NODE-NPM-DRIFT-RULE",
    "NODE-NPM-DRIFT-STALE",
    "NODE-NPM-EMPTY",
    "NODE-NPM-HASH-COLLISION",
    "NODE-NPM-JUMP",
    "NODE-NPM-OTHER-BACKEND",
    "NODE-NPM-REFUSED",
)
_OF_WINDOWS = (
    "NODE-HNS-2025",
    "NODE-HNS-BASE",
    "NODE-HNS-DISAGREE",
    "NODE-HNS-DRIFT",
    "NODE-HNS-INVERTED",
    "NODE-HNS-REFUSED",
    "NODE-HNS-SHARED-ID",
)
_OF_CALICO = (
    "NODE-CALICO-BPF",
    "NODE-CALICO-HOOK",
    "NODE-CALICO-LEFT",
    "NODE-CALICO-OTHER-RULES",
    "NODE-CALICO-POD",
    "NODE-CALICO-POLICY-MISSING",
    "NODE-CALICO-POLICY-STALE",
    "NODE-CALICO-RULES",
    "NODE-CALICO-SET",
)
_OF_ALL = (
    "NODE-BPF-PROGRAMS",
    "NODE-BRIDGE-UNFILTERED",
    "NODE-CNI-CHAINED",
    "NODE-CNI-FIRST",
    "NODE-HNS-LEFTOVER",
    "NODE-LEFTOVER",
    "NODE-LEFTOVER-AFTER",
    "NODE-MARK-OVERLAP",
    "NODE-NO-ENGINE",
    "NODE-NPM-LEFT",
    "NODE-NPM-V1-LEFT",
    "NODE-OTHER-RULES",
    "NODE-POD-CIDR",
    "NODE-PROXY-MISSING",
    "NODE-PROXY-MODE",
    "NODE-PROXY-RANGES",
    "NODE-PROXY-STALE",
    "NODE-PROXY-UNCHECKED",
    "NODE-SOURCE-ADDRESS",
    "NODE-TUNNEL-PORT",
    "WRK-IPTABLES-USERS",
)
_OF_DUMPS = (
    "NODE-DUMP-UNREAD",
    "NODE-HNS-OTHER-CLUSTER",
    "NODE-NOT-IN-SNAPSHOT",
    "NODE-NOT-READ",
    "NODE-NPM-OTHER-CLUSTER",
)
"""About the dumps themselves: they have something to say only when nodes were read."""


def _found(documents: Documents, today: date, identity: str) -> Iterable[Finding | Missing]:
    """What the comparison of the nodes found, and which nodes it could not tell of."""
    if documents.nodes is not None:
        yield from _of(documents.nodes, identity)
        yield from map(Missing, nodes_read.not_known(documents))


def _only_found(documents: Documents, today: date, identity: str) -> Iterable[Finding]:
    return () if documents.nodes is None else _of(documents.nodes, identity)


def _of(states: NodeStates, identity: str) -> Iterable[Finding]:
    every = (states.findings, *(node.findings for node in states.nodes))
    return (finding for findings in every for finding in findings if finding.id == identity)


def _concerns(documents: Documents, identity: str, engines: tuple[str, ...]) -> bool:
    """An engine may run, or it left something on a node that was read."""
    return may_run(documents, *engines) or any(_only_found(documents, date.min, identity))


def _was_read(documents: Documents) -> bool:
    return documents.nodes is not None


def _check(identity: str, concerns: Callable[[Documents], bool] = always) -> Check:
    return Check(identity, partial(_found, identity=identity), needs=_NODES, concerns=concerns)


def _check_for(identity: str, *engines: str) -> Check:
    return _check(identity, partial(_concerns, identity=identity, engines=engines))


_NODES = (Need.SNAPSHOT, Need.NODES)
CHECKS = (
    *(_check_for(identity, "npm-linux") for identity in _OF_NPM),
    *(_check_for(identity, "npm-windows") for identity in _OF_WINDOWS),
    *(_check_for(identity, "calico") for identity in _OF_CALICO),
    *(_check(identity) for identity in _OF_ALL),
    *(Check(one, partial(_only_found, identity=one), needs=_NODES, concerns=_was_read) for one in _OF_DUMPS),
)
