"""Rules that only the state of nodes answers: chains, sets and ACLs as they really are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from migrate.model.finding import Finding
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Need
from migrate.readiness.seen import may_run

_OF_NPM = (
    "NODE-NPM-COUNTERS",
    "NODE-NPM-DRIFT-MISSING",
    "NODE-NPM-DRIFT-STALE",
    "NODE-NPM-HASH-COLLISION",
    "NODE-NPM-JUMP",
    "NODE-NPM-OTHER-BACKEND",
)
_OF_WINDOWS = ("NODE-HNS-DRIFT",)
_OF_ALL = ("NODE-LEFTOVER-AFTER", "WRK-IPTABLES-USERS")


def _nothing(documents: Documents, today: date) -> Iterable[Finding]:
    """No document of today holds the state of nodes, so that this is never asked."""
    return ()


def _on_npm(documents: Documents) -> bool:
    return may_run(documents, "npm-linux")


def _on_windows(documents: Documents) -> bool:
    return may_run(documents, "npm-windows")


_NODES = (Need.SNAPSHOT, Need.NODES)
CHECKS = (
    *(Check(identity, _nothing, needs=_NODES, concerns=_on_npm) for identity in _OF_NPM),
    *(Check(identity, _nothing, needs=_NODES, concerns=_on_windows) for identity in _OF_WINDOWS),
    *(Check(identity, _nothing, needs=_NODES) for identity in _OF_ALL),
)
