"""Rules about addresses: the pods' range, routes, masquerade and what filters between nodes."""

from __future__ import annotations

from migrate.readiness.evaluate import Check

CHECKS: tuple[Check, ...] = ()
