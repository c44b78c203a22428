"""Sets of integers as sorted, disjoint, non-adjacent ranges. Ports and addresses are kept this way."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntervalSet:
    """A set of integers. Two sets with the same members are equal and hash alike."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> IntervalSet:
        """The union of inclusive ranges; a range whose low end is above its high end is empty."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted(r for r in ranges if r[0] <= r[1]):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self.ranges, (value, value)) - 1
        return any(low <= value <= high for low, high in self.ranges[max(index, 0) : index + 2])

    def __or__(self, other: IntervalSet) -> IntervalSet:
        return IntervalSet.of(self.ranges + other.ranges)

    def __and__(self, other: IntervalSet) -> IntervalSet:
        found: list[tuple[int, int]] = []
        mine, theirs = iter(self.ranges), iter(other.ranges)
        a, b = next(mine, None), next(theirs, None)
        while a is not None and b is not None:
            low, high = max(a[0], b[0]), min(a[1], b[1])
            if low <= high:
                found.append((low, high))
            if a[1] < b[1]:
                a = next(mine, None)
            else:
                b = next(theirs, None)
        return IntervalSet(tuple(found))

    def __sub__(self, other: IntervalSet) -> IntervalSet:
        left: list[tuple[int, int]] = []
        first = 0
        for low, high in self.ranges:
            start = low
            while first < len(other.ranges) and other.ranges[first][1] < low:
                first += 1
            for index in range(first, len(other.ranges)):
                cut_low, cut_high = other.ranges[index]
                if cut_low > high:
                    break
                if cut_low > start:
                    left.append((start, cut_low - 1))
                start = cut_high + 1
            if start <= high:
                left.append((start, high))
        return IntervalSet(tuple(left))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.ranges)

    def __le__(self, other: IntervalSet) -> bool:
        """Whether every member is in `other`."""
        return not self - other

    def size(self) -> int:
        """How many integers the set holds."""
        return sum(high - low + 1 for low, high in self.ranges)
