"""A merge of any stores is their union, whatever their order; intervals united hold what each of them held."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.audit.merge_intervals import merged_intervals
from migrate.audit.merged import NodeRow, merge
from tests.node_recordings import plain_rows, random_recording
from tests.recordings import SECOND

_seeds = st.lists(st.integers(0, 10_000), min_size=1, max_size=4, unique=True)
_intervals = st.lists(
    st.tuples(st.integers(0, 20), st.none() | st.integers(0, 20)).map(
        lambda one: (
            one[0],
            None if one[1] is None else max(one),  # type: ignore[type-var]
        )
    ),
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(_seeds, st.lists(st.integers(-10_000, 10_000), min_size=4, max_size=4), st.randoms())
def test_a_merge_is_the_union_of_its_stores_on_the_reader_s_clock(
    seeds: list[int], skews: list[int], chance: object
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nodes = [f"n{number}" for number in range(len(seeds))]
        stores = [random_recording(folder / f"{node}.db", node, seed) for node, seed in zip(nodes, seeds, strict=True)]
        known = [NodeRow(node, skew=skew * SECOND) for node, skew in zip(nodes, skews, strict=False)]
        done = merge(stores, folder / "one" / "audit.db", known)
        again = merge(stores[::-1], folder / "two" / "audit.db", known[::-1])
        assert done.path.read_bytes() == again.path.read_bytes()
        wanted: dict[str, Counter[tuple[object, ...]]] = {}
        for node, store, row in zip(nodes, stores, known, strict=True):
            for table, rows in plain_rows(store, node, -row.skew).items():
                wanted[table] = wanted.get(table, Counter()) + rows
        assert plain_rows(done.path) == wanted
        assert not done.left_out
        assert done.records == wanted["flow"].total()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_a_merged_recording_merged_again_is_the_same(seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = [random_recording(folder / f"{node}.db", node, seed + node_) for node_, node in enumerate(("a", "b"))]
        once = merge(stores, folder / "once.db", [NodeRow("a", skew=90 * SECOND)]).path
        assert plain_rows(merge([once], folder / "twice.db").path) == plain_rows(once)


@given(_intervals)
def test_merged_intervals_hold_the_same_moments_and_do_not_touch(intervals: list[tuple[int, int | None]]) -> None:
    merged = merged_intervals(intervals)
    for moment in range(25):
        assert _holds(merged, moment) == _holds(intervals, moment)
    for (_, end), (start, _) in pairwise(merged):
        assert end is not None
        assert end < start


def _holds(intervals: list[tuple[int, int | None]], moment: int) -> bool:
    return any(since <= moment and (until is None or moment <= until) for since, until in intervals)
