"""Pods and nodes found by their addresses, without a look at each of them for every CIDR."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence

from migrate.model.addresses import Address, AddressSet


class AddressIndex:
    """What owns addresses, as indexes into the sequence that it was made of."""

    def __init__(self, owned: Sequence[tuple[Address, ...]]) -> None:
        self._counts: dict[int | None, list[int]] = {None: [len(addresses) for addresses in owned]}
        self._numbers: dict[int, list[int]] = {}
        self._owners: dict[int, list[int]] = {}
        for family in (4, 6):
            pairs = sorted((int(a), index) for index, found in enumerate(owned) for a in found if a.version == family)
            self._numbers[family] = [number for number, _ in pairs]
            self._owners[family] = [index for _, index in pairs]
            self._counts[family] = [sum(a.version == family for a in found) for found in owned]

    def split(self, addresses: AddressSet, version: int | None = None) -> tuple[list[int], list[int]]:
        """Indexes of owners whose addresses are all among some, and of those with some among them and some not.

        With an IP version only the owners' addresses of that version count.
        """
        inside: Counter[int] = Counter()
        for family, ranges in ((4, addresses.v4), (6, addresses.v6)):
            if version not in (None, family):
                continue
            numbers, owners = self._numbers[family], self._owners[family]
            for low, high in ranges:
                inside.update(owners[bisect_left(numbers, low) : bisect_right(numbers, high)])
        counts = self._counts[version]
        whole = sorted(index for index, number in inside.items() if number == counts[index])
        return whole, sorted(index for index, number in inside.items() if number != counts[index])
