"""Addresses replaced so that prefixes stay: two addresses share as many leading bits afterwards as before.

Each bit is flipped, or not, by a keyed function of the bits before it (Xu, Fan, Ammar and Moon, "Prefix-preserving IP
address anonymization", 2002). Bits are not flipped that lead to ranges with a meaning of their own: what is private,
link-local or a cloud's metadata address stays so, and nothing else becomes it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

from migrate.model.addresses import Address, Network

_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
        *("169.254.169.254/32", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "2001:db8::/32", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)
"""Each is mapped onto itself; 168.63.129.16 is Azure's wire server."""
_STEP = 8
"""Bits that one digest decides: it has a bit for each of the 255 prefixes within eight bits."""


class AddressMap:
    """The pseudonyms of addresses and networks under a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._digests: dict[tuple[int, int, int], int] = {}
        self._kept = {
            (network.version, length, int(network.network_address) >> (network.max_prefixlen - length))
            for network in _SPECIAL
            for length in range(network.prefixlen)
        }

    def address(self, address: Address) -> Address:
        """The pseudonym of an address. Loopback stays as it is; an IPv4 address within IPv6 is mapped as that."""
        if address.is_loopback:
            return address
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            inner = self._mapped(4, int(address.ipv4_mapped), 32)
            return ipaddress.IPv6Address(int(address) & ~0xFFFFFFFF | inner)
        mapped = self._mapped(address.version, int(address), address.max_prefixlen)
        return ipaddress.IPv4Address(mapped) if address.version == 4 else ipaddress.IPv6Address(mapped)

    def network(self, network: Network) -> Network:
        """The pseudonym of a network: it has the pseudonyms of its addresses."""
        if network.is_loopback:
            return network
        if network.prefixlen >= 96 and isinstance(network, ipaddress.IPv6Network):
            inside = network.network_address.ipv4_mapped
            if inside is not None:
                mapped = self._mapped(4, int(inside), network.prefixlen - 96)
                return ipaddress.IPv6Network((int(network.network_address) & ~0xFFFFFFFF | mapped, network.prefixlen))
        mapped = self._mapped(network.version, int(network.network_address), network.prefixlen)
        made = ipaddress.IPv4Network if network.version == 4 else ipaddress.IPv6Network
        return made((mapped, network.prefixlen))

    def _mapped(self, version: int, value: int, length: int) -> int:
        """The first `length` bits of a number mapped; the rest as it was."""
        width = 32 if version == 4 else 128
        flips = 0
        for bit in range(length):
            before = value >> (width - bit)
            if (version, bit, before) not in self._kept and self._flips(version, bit, before):
                flips |= 1 << (width - bit - 1)
        return value ^ flips

    def _flips(self, version: int, length: int, prefix: int) -> bool:
        """Whether the bit after a prefix is flipped."""
        inside = length % _STEP
        base = prefix >> inside
        digest = self._digests.get((version, length - inside, base))
        if digest is None:
            text = f"{version}/{length - inside}/{base:x}".encode()
            digest = int.from_bytes(hmac.digest(self._key, text, hashlib.sha256))
            self._digests[version, length - inside, base] = digest
        return bool(digest >> (1 << inside | prefix & (1 << inside) - 1) & 1)
