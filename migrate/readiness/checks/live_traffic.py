"""Rules about recorded traffic: what passes today and would be dropped, and which connections would be cut."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from migrate.model.finding import Finding
from migrate.readiness import traffic
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Need


def _would_be_drops(documents: Documents, today: date) -> Iterator[Finding]:
    if documents.audit is not None:
        yield from traffic.would_be_drops(documents.audit)


def _cut_connections(documents: Documents, today: date) -> Iterator[Finding]:
    if documents.audit is not None:
        yield from traffic.cut_connections(documents.audit)


CHECKS: tuple[Check, ...] = (
    Check("AUD-CONNECTION-CUT", _cut_connections, needs=(Need.AUDIT,)),
    Check("AUD-WOULD-DROP", _would_be_drops, needs=(Need.AUDIT,)),
)
