"""Clusters that end with their test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from migrate.audit.loader import missing_pieces
from tests.cluster_lab.cluster import ClusterLab
from tests.prerequisites import require


@pytest.fixture(autouse=True)
def _needs_root_and_bpf() -> None:
    require(os.geteuid() == 0, "root")
    pieces = [piece for piece in missing_pieces(None) if piece.required]
    require(pieces == [], "a kernel and rights for BPF, libbpf.so.1")


@pytest.fixture
def cluster() -> Iterator[ClusterLab]:
    """A cluster without nodes."""
    with ClusterLab() as made:
        yield made
