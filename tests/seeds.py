"""The seed of tests that draw their cases."""

from __future__ import annotations

import os
import secrets

VARIABLE = "MIGRATE_TEST_SEED"
_IN_CI = "in CI"


def drawn_seed() -> str:
    """Another seed in each run, so that runs find what no fixed seed finds; `MIGRATE_TEST_SEED` repeats one.

    With CI=true it is always the same: what a new seed finds is a fault of what is there, not of the change that CI
    judges. `make fresh` runs these tests with seeds that nobody saw.
    """
    given = os.environ.get(VARIABLE)
    return given or (_IN_CI if os.environ.get("CI") == "true" else secrets.token_hex(4))
