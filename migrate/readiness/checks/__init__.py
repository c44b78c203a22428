"""Every rule that is put to the documents. A module holds those of one subject, as `CHECKS`."""

from __future__ import annotations

from migrate.readiness.checks import (
    address_plan,
    after_cutover,
    cluster,
    cutover,
    live_traffic,
    needed_traffic,
    nodes,
    policies,
    services,
    upgrades,
    values,
    windows,
    workloads,
)
from migrate.readiness.evaluate import Check


def all_checks() -> tuple[Check, ...]:
    """All checks, in the order of their ids."""
    modules = (
        *(cluster, upgrades, address_plan, services, policies, needed_traffic),
        *(windows, workloads, nodes, live_traffic, cutover, after_cutover, values),
    )
    return tuple(sorted((check for module in modules for check in module.CHECKS), key=lambda check: check.id))
