"""Sets of small numbers as the bits of one integer: fast to join and to cut, equal when they have the same members."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NOT_ZERO = re.compile(rb"[^\0]")
_OFFSETS = tuple(tuple(offset for offset in range(8) if byte >> offset & 1) for byte in range(256))


def bits(numbers: Iterable[int]) -> int:
    """The set of some numbers."""
    known = list(numbers)
    flags = bytearray((max(known) >> 3) + 1 if known else 0)
    for number in known:
        flags[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(flags, "little")


def members(found: int) -> Iterator[int]:
    """The numbers in a set, ascending."""
    flags = found.to_bytes((found.bit_length() + 7) // 8, "little")
    for match in _NOT_ZERO.finditer(flags):
        place = match.start()
        for offset in _OFFSETS[flags[place]]:
            yield place * 8 + offset


def lowest(found: int) -> int:
    """The lowest number of a set that is not empty."""
    return (found & -found).bit_length() - 1


def union(sets: Iterable[int]) -> int:
    """What is in any of the sets."""
    found = 0
    for one in sets:
        found |= one
    return found
