"""Rules about what Cilium was seen to do after the cutover: they concern a cluster once that was checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

from migrate.model.finding import Finding
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check

_IDS = (
    "CUT-AUDIT-MODE",
    "CUT-COVERAGE",
    "CUT-ENDPOINT-NOT-READY",
    "CUT-MAP-PRESSURE",
    "CUT-NEW-DROP",
    "CUT-NOT-CONFIRMED",
    "CUT-NOT-ENFORCED",
    "CUT-OTHER-DROP",
    "CUT-POLICY-DIFFERS",
    "CUT-POLICY-NOT-IMPORTED",
    "CUT-PREDICTION-MISSED",
    "CUT-PREDICTION-WIDER",
)


def _was_checked(documents: Documents) -> bool:
    return documents.cutover is not None


def _told(identity: str) -> Callable[[Documents, date], Iterator[Finding]]:
    """The findings of one id that the check has."""

    def find(documents: Documents, today: date) -> Iterator[Finding]:
        found = documents.cutover.findings if documents.cutover is not None else ()
        return (finding for finding in found if finding.id == identity)

    return find


CHECKS: tuple[Check, ...] = tuple(Check(identity, _told(identity), concerns=_was_checked) for identity in _IDS)
