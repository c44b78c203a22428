"""Addresses of nobody in the cluster, which rules tell apart only by the piece of the outside that they are in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Set

from migrate.audit.judge import Judge
from migrate.audit.world import World
from migrate.model.intervals import IntervalSet

_IPV4_FIRST, _IPV4_AFTER = 0xFFFF << 32, 0x10000 << 32
"""IPv4 addresses are kept as ::ffff:a.b.c.d."""


class Strangers:
    """Finds the pieces of addresses as bytes; `known` ones stand for themselves."""

    def __init__(self, world: World, judge: Judge, known: Set[bytes]) -> None:
        self.known = frozenset(world.known | known)
        networks = world.snapshot.pod_networks
        inside = [*_ranges(networks.v4, _IPV4_FIRST), *_ranges(networks.v6, 0)]
        bounds = {0, _IPV4_FIRST, _IPV4_AFTER, *judge.bounds()}
        bounds.update(bound for low, high in inside for bound in (low, high + 1))
        self.lows = [bound.to_bytes(16) for bound in sorted(bounds) if bound < 1 << 128]
        self.pieces = [
            None if any(low <= int.from_bytes(data) <= high for low, high in inside) else judge.piece(data)
            for data in self.lows
        ]
        """For each of `lows` the index of the piece from there up to the next; None where there is none."""

    def piece(self, address: bytes) -> int | None:
        """The piece of an address; None where only the address itself tells who it is."""
        return None if address in self.known else self.pieces[bisect_right(self.lows, address) - 1]


def _ranges(numbers: IntervalSet, first: int) -> Iterator[tuple[int, int]]:
    return ((first + low, first + high) for low, high in numbers.ranges)
