"""A working folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.readiness.scenes import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """An empty working folder."""
    return Scene(tmp_path)
