"""Random CIDRs around a cluster: its pods, its nodes, the outside, and the edges of each."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from tests.differential.chance import Chance
from tests.differential.clusters import Families, Traits, versions
from tests.reference.cases import Case

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

OUTSIDE: dict[int, tuple[str, ...]] = {
    4: ("8.8.0.0/16", "8.8.8.0/24", "8.8.8.8/32", "203.0.113.0/24", "203.0.113.128/25", "198.51.100.0/24"),
    6: ("2001:db8::/32", "2001:db8:a::/48", "2001:db8:b::/64", "2001:db8:b::5/128"),
}
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
RANGES = {4: ("10.0.0.0/8", "10.244.0.0/16", "10.10.0.0/24"), 6: ("fd00::/8", "fd00:244::/32", "fd10::/64")}


def draw_version(chance: Chance, families: Families) -> int:
    """An IP version that the cluster has; now and then one that it lacks, which people write all the same."""
    return chance.pick((4, 6) if chance.happens(0.2) else versions(families))


def draw_block(chance: Chance, traits: Traits, case: Case, version: int | None = None) -> Network:
    """A CIDR of one IP version, or of a drawn one."""
    version = version or draw_version(chance, traits.families)
    if version not in versions(traits.families) and chance.happens(0.5):
        return ipaddress.ip_network(EVERYWHERE[version])
    if chance.happens(traits.inside):
        return ipaddress.ip_network(_inside(chance, case, version))
    return ipaddress.ip_network(chance.pick((*OUTSIDE[version], EVERYWHERE[version])))


def _inside(chance: Chance, case: Case, version: int) -> str:
    """A CIDR that covers all, some or one of the cluster's addresses."""
    addresses = [ipaddress.ip_address(ip) for ip in case.addresses()]
    candidates = [address for address in addresses if address.version == version]
    if not candidates or chance.happens(0.4):
        return chance.pick(RANGES[version])
    address = chance.pick(candidates)
    length = address.max_prefixlen - chance.pick((0, 2, 4, 8))
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def draw_holes(chance: Chance, traits: Traits, case: Case, block: Network) -> list[Network]:
    """CIDRs strictly inside the block, some of them around known addresses."""
    found = [draw_block(chance, traits, case, block.version) for _ in range(chance.number(0, 2))]
    inside = [hole for hole in found if hole != block and _within(hole, block)]
    halves: list[Network] = [*block.subnets()] if block.prefixlen < block.max_prefixlen else []
    return [*inside, chance.pick(halves)] if halves and chance.happens(0.3) else inside


def _within(hole: Network, block: Network) -> bool:
    if isinstance(hole, ipaddress.IPv4Network) and isinstance(block, ipaddress.IPv4Network):
        return hole.subnet_of(block)
    if isinstance(hole, ipaddress.IPv6Network) and isinstance(block, ipaddress.IPv6Network):
        return hole.subnet_of(block)
    return False
