"""Rules about the cluster as Azure describes it: versions, pools, engines and what an update refuses."""

from __future__ import annotations

from migrate.readiness.evaluate import Check

CHECKS: tuple[Check, ...] = ()
