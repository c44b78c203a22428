"""Sets of small numbers as the bits of one integer: fast to join and to cut, equal when they have the same members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def bits(numbers: Iterable[int]) -> int:
    """The set of some numbers."""
    flags = bytearray()
    for number in numbers:
        place = number >> 3
        if place >= len(flags):
            flags.extend(bytes(place + 1 - len(flags)))
        flags[place] |= 1 << (number & 7)
    return int.from_bytes(flags, "little")


def members(found: int) -> Iterator[int]:
    """The numbers in a set, ascending."""
    digits = bin(found)[:1:-1]
    place = digits.find("1")
    while place >= 0:
        yield place
        place = digits.find("1", place + 1)


def lowest(found: int) -> int:
    """The lowest number of a set that is not empty."""
    return (found & -found).bit_length() - 1


def union(sets: Iterable[int]) -> int:
    """What is in any of the sets."""
    found = 0
    for one in sets:
        found |= one
    return found
