"""Rules about services: who gets in from outside, and what took kube-proxy for granted."""

from __future__ import annotations

from migrate.readiness.evaluate import Check

CHECKS: tuple[Check, ...] = ()
