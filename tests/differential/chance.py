"""Draws of one seeded generator: the same seed gives the same cases."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """A source of random choices."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def happens(self, probability: float) -> bool:
        """True in that share of the draws."""
        return self._random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; repeat one to make it more likely."""
        return options[self._random.randrange(len(options))]

    def number(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return self._random.randint(low, high)

    def some(self, options: Sequence[T], low: int, high: int) -> list[T]:
        """`low` to `high` different options, in random order, or all when there are fewer."""
        count = min(self.number(low, high), len(options))
        return self._random.sample(list(options), count)

    def repeat(self, low: int, high: int, make: Callable[[], T]) -> list[T]:
        """`low` to `high` values made one after the other."""
        return [make() for _ in range(self.number(low, high))]
