"""What a node's own addresses tell about where packets go."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from migrate.model.addresses import Address

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")
_EVERYONE = 2**32 - 1
_MULTICAST = (0xE, 28), (0xFF, 120)
"""The first bits of multicast addresses, and how many bits follow: 224.0.0.0/4 and ff00::/8."""


@dataclass(frozen=True, slots=True)
class OwnAddresses:
    """The addresses of a node and the broadcast addresses of its networks; None where they are not known."""

    local: frozenset[tuple[int, int]] | None = None
    broadcast: frozenset[int] = frozenset()

    @classmethod
    def of(cls, local: Iterable[Address], broadcast: Iterable[Address] = ()) -> OwnAddresses:
        """A node whose addresses are all known."""
        return cls(
            frozenset((address.version, int(address)) for address in local), frozenset(int(one) for one in broadcast)
        )

    def kind(self, version: int, address: int | None) -> str | None:
        """What the routing table says of an address, as addrtype names it; None when nothing tells.

        Source: fib_frontend.c, __inet_dev_addr_type.
        """
        if address is None:
            return None
        loopback = _LOOPBACK[version == 6]
        if address >> loopback.max_prefixlen - loopback.prefixlen == (
            int(loopback.network_address) >> loopback.max_prefixlen - loopback.prefixlen
        ):
            return "LOCAL"
        first, behind = _MULTICAST[version == 6]
        if address >> behind == first:
            return "MULTICAST"
        if version == 4 and (address == _EVERYONE or address >> 24 == 0 or address in self.broadcast):
            return "BROADCAST"
        if self.local is None:
            return None
        return "LOCAL" if (version, address) in self.local else "UNICAST"

    def is_of(self, version: int, address: int | None, types: tuple[str, ...]) -> bool | None:
        """Whether an address is of one of the types, as addrtype asks; None when nothing tells.

        Of IPv6 every address that is no multicast is UNICAST, the node's own too, and types are asked one after
        another. Source: xt_addrtype.c, match_type6.
        """
        kind = self.kind(version, address)
        if version == 4 or address is None:
            return None if kind is None else kind in types
        facts = {
            "MULTICAST": kind == "MULTICAST",
            "UNICAST": kind != "MULTICAST" and address != 0,
            "UNSPEC": not address,
        }
        if not all(facts.get(one, True) for one in types):
            return False
        if "LOCAL" in types and kind == "LOCAL":
            return True
        looked_up = set(types) - facts.keys()
        return not looked_up or (None if kind is None or looked_up != {"LOCAL"} else False)
