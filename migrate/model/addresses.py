"""Sets of IP addresses. IPv4 and IPv6 are apart: 0.0.0.0/0 never holds an IPv6 address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.intervals import IntervalSet

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Addresses of both families as integer ranges."""

    v4: IntervalSet = IntervalSet()
    v6: IntervalSet = IntervalSet()

    @classmethod
    def of(cls, networks: Iterable[Network]) -> AddressSet:
        """The union of networks."""
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        for network in networks:
            side = v4 if network.version == 4 else v6
            low = int(network.network_address)
            side.append((low, low + (1 << network.max_prefixlen - network.prefixlen) - 1))
        return cls(IntervalSet.of(v4), IntervalSet.of(v6))

    @classmethod
    def of_addresses(cls, addresses: Iterable[Address]) -> AddressSet:
        """The set of single addresses."""
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        for address in addresses:
            (v4 if address.version == 4 else v6).append((int(address), int(address)))
        return cls(IntervalSet.of(v4), IntervalSet.of(v6))

    @classmethod
    def everything(cls) -> AddressSet:
        """All addresses of both families."""
        return cls(IntervalSet(((0, 2**32 - 1),)), IntervalSet(((0, 2**128 - 1),)))

    def __contains__(self, address: Address) -> bool:
        return int(address) in (self.v4 if address.version == 4 else self.v6)

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet(self.v4 | other.v4, self.v6 | other.v6)

    def __and__(self, other: AddressSet) -> AddressSet:
        return AddressSet(self.v4 & other.v4, self.v6 & other.v6)

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(self.v4 - other.v4, self.v6 - other.v6)

    def __le__(self, other: AddressSet) -> bool:
        return self.v4 <= other.v4 and self.v6 <= other.v6

    def __bool__(self) -> bool:
        return bool(self.v4) or bool(self.v6)

    def networks(self) -> tuple[Network, ...]:
        """The fewest prefixes that hold exactly these addresses, IPv4 first, ascending."""
        found: list[Network] = []
        for low, high in self.v4:
            found += ipaddress.summarize_address_range(ipaddress.IPv4Address(low), ipaddress.IPv4Address(high))
        for low, high in self.v6:
            found += ipaddress.summarize_address_range(ipaddress.IPv6Address(low), ipaddress.IPv6Address(high))
        return tuple(found)


def parse_network(text: str) -> Network:
    """An IPv4 or IPv6 prefix; host bits are cut off, a bare address is a prefix of one. Raises ValueError."""
    return ipaddress.ip_network(text, strict=False)


def parse_address(text: str) -> Address:
    """An IPv4 or IPv6 address. Raises ValueError."""
    return ipaddress.ip_address(text)
