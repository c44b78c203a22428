"""Every rule that is put to the documents. A module holds those of one subject, as `CHECKS`."""

from __future__ import annotations

from migrate.readiness.checks import (
    address_plan,
    cluster,
    cutover,
    live_traffic,
    nodes,
    policies,
    services,
    traffic,
    upgrades,
    windows,
    workloads,
)
from migrate.readiness.evaluate import Check


def all_checks() -> tuple[Check, ...]:
    """All checks, in the order of their ids."""
    modules = (
        *(cluster.CHECKS, upgrades.CHECKS, address_plan.CHECKS, services.CHECKS),
        *(policies.CHECKS, traffic.CHECKS, live_traffic.CHECKS, windows.CHECKS, workloads.CHECKS, nodes.CHECKS, cutover.CHECKS),
    )
    return tuple(sorted((check for checks in modules for check in checks), key=lambda check: check.id))
