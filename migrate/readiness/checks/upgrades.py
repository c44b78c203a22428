"""Rules about the update itself: every node is made anew, and what stands in the way of that."""

from __future__ import annotations

from migrate.readiness.evaluate import Check

CHECKS: tuple[Check, ...] = ()
