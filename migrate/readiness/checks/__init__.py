"""Every rule that is put to the documents. A module holds those of one subject, as `CHECKS`."""

from __future__ import annotations

from migrate.readiness.checks import address_plan, cluster, services, upgrades
from migrate.readiness.evaluate import Check


def all_checks() -> tuple[Check, ...]:
    """All checks, in the order of their ids."""
    checks = (*cluster.CHECKS, *upgrades.CHECKS, *address_plan.CHECKS, *services.CHECKS)
    return tuple(sorted(checks, key=lambda check: check.id))
