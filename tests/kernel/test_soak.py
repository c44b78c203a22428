"""Five minutes of `migrate audit` beside mixed traffic with 100,000 distinct flows: every one is in the recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.soak import soak

pytestmark = pytest.mark.kernel

FLOWS, SECONDS = 100_000, 300


def test_all_flows_of_a_busy_node_are_recorded_and_nothing_is_left(tmp_path: Path, bpffs: Path) -> None:
    found = soak(tmp_path, bpffs, FLOWS, SECONDS)

    assert found.nowhere == 0
    assert found.exact + found.coarse == FLOWS
    assert found.coarse <= found.sums.coarse
    assert found.sums.rows + found.sums.coarse + found.sums.lost == found.sums.new >= FLOWS
    assert (found.sums.lost, found.losses, found.open_gaps) == (0, (), 0)
    assert (found.status, found.attached) == (1, []), found.stderr
    assert [path for path in bpffs.rglob("*") if path.suffix != ".debug"] == []
