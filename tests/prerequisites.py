"""What a test needs from the machine."""

import os

import pytest


def running_in_ci() -> bool:
    """Whether every prerequisite has to be there."""
    return os.environ.get("CI") == "true"


def require(condition: bool, reason: str) -> None:
    """Skip the test unless `condition` holds; with CI=true fail it instead, since there nothing may be missing."""
    if condition:
        return
    if running_in_ci():
        pytest.fail(f"missing on this machine: {reason}", pytrace=False)
    pytest.skip(reason)
