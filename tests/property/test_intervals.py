"""Interval sets against Python's own sets of integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.intervals import IntervalSet

_small = st.integers(0, 40)
interval_sets = st.lists(st.tuples(_small, _small), max_size=5).map(IntervalSet.of)


def members(intervals: IntervalSet) -> set[int]:
    """Every member, asked one by one."""
    return {value for value in range(-2, 50) if value in intervals}


@given(st.lists(st.tuples(_small, _small), max_size=5))
def test_a_union_of_ranges_holds_what_the_ranges_hold(ranges: list[tuple[int, int]]) -> None:
    expected = {value for low, high in ranges for value in range(low, high + 1)}

    assert members(IntervalSet.of(ranges)) == expected


@given(interval_sets, interval_sets)
def test_operators_agree_with_python_sets(a: IntervalSet, b: IntervalSet) -> None:
    assert members(a | b) == members(a) | members(b)
    assert members(a & b) == members(a) & members(b)
    assert members(a - b) == members(a) - members(b)
    assert (a <= b) == (members(a) <= members(b))


@given(interval_sets, interval_sets)
def test_every_result_is_in_the_one_normal_form(a: IntervalSet, b: IntervalSet) -> None:
    for result in (a | b, a & b, a - b):
        assert result == IntervalSet.of(result.ranges)
        assert all(high + 1 < low for (_, high), (low, _) in zip(result.ranges, result.ranges[1:], strict=False))


@given(interval_sets, interval_sets)
def test_equal_members_mean_equal_sets_and_hashes(a: IntervalSet, b: IntervalSet) -> None:
    assert (a == b) == (members(a) == members(b))
    assert a != b or hash(a) == hash(b)


@given(interval_sets)
def test_size_and_truth_count_the_members(a: IntervalSet) -> None:
    assert a.size() == len(members(a))
    assert bool(a) == bool(members(a))


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        pytest.param([(1, 2), (3, 4)], ((1, 4),), id="ranges that touch become one"),
        pytest.param([(1, 2), (4, 5)], ((1, 2), (4, 5)), id="a gap of one stays a gap"),
        pytest.param([(1, 9), (3, 4)], ((1, 9),), id="a range inside another adds nothing"),
        pytest.param([(5, 4)], (), id="a range that ends before it starts is empty"),
    ],
)
def test_normal_form(ranges: list[tuple[int, int]], expected: tuple[tuple[int, int], ...]) -> None:
    assert IntervalSet.of(ranges).ranges == expected
