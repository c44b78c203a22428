"""How many identities the peers of a rule are, as bit sets over all identities that a node knows.

Facts: pkg/policy/aggregate.go of cilium/cilium v1.20.2; entries were counted in the policy maps that the engines of
v1.18.8 and v1.20.2 compute.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

from migrate.model.addresses import Address, AddressSet, Network
from migrate.model.cluster import Cluster
from migrate.model.ruleset import Addresses, AllOf, AnyOf, At, Except, Nodes, Place, Pods, Predicate
from migrate.sources.cilium import CidrGroup, CiliumPolicy
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy
from migrate.translate.limits_identities import PodIdentities

# Reserved identities come in small fixed numbers: these are the most that were counted in either release.
_OWN_NODE, _OTHER_NODE, _API_SERVER, _WORLD, _CLUSTER = 1, 3, 2, 2, 3


@dataclass(frozen=True, slots=True)
class Many:
    """Identities as a mask; `everyone` is the wildcard beside them, which covers all without naming any."""

    mask: int = 0
    everyone: bool = False

    def __or__(self, other: Many) -> Many:
        return Many(self.mask | other.mask, self.everyone or other.everyone)


class Peers:
    """All identities: those of pods first, then nodes, the API server, and the outside by its named prefixes."""

    def __init__(
        self, pods: PodIdentities, prefixes: Sequence[Network], cluster: Cluster, settings: CiliumSettings
    ) -> None:
        self.pods = pods
        self.wildcards = 5 if settings.release >= 20 else 1
        self._aggregates = settings.release >= 20
        outside = _outside(prefixes, [a for a in cluster.api_server if not _is_node(a, cluster)])
        first = len(pods.identities)
        self._own, self._other, self._server, self._cluster = (1 << (first + n) for n in range(4))
        self._first_outside = first + 4
        self._keys = [(address.version, int(address)) for address, _ in outside]
        others = max(len(cluster.nodes), _OTHER_NODE) if settings.node_labels else _OTHER_NODE
        self._weights = (_OWN_NODE, others, _API_SERVER, _CLUSTER)
        self._heavy = sum(1 << (self._first_outside + n) for n, (_, weight) in enumerate(outside) if weight > 1)
        self.outside = ((1 << len(outside)) - 1) << self._first_outside

    def count(self, many: Many) -> int:
        """How many entries a key needs for these peers."""
        plain = many.mask & (self.pods.all | self.outside)
        bits = (self._own, self._other, self._server, self._cluster)
        reserved = sum(weight for bit, weight in zip(bits, self._weights, strict=True) if many.mask & bit)
        heavy = (many.mask & self._heavy).bit_count() * (_WORLD - 1)
        return plain.bit_count() + heavy + reserved

    def of(self, predicate: Predicate) -> Many:
        """The identities that a rule's peers select; entities are one aggregate since 1.20."""
        if predicate == AllOf():
            return Many(everyone=True)
        if isinstance(predicate, AnyOf):
            return reduce(or_, map(self.of, predicate.terms), Many())
        if predicate == At(Place.POD):
            return Many(self._cluster | (0 if self._aggregates else self.pods.all))
        if self._aggregates and predicate == At(Place.OUTSIDE):
            return Many(self._heavy)
        return Many(self._mask(predicate))

    def _mask(self, predicate: Predicate) -> int:
        everything = self.pods.all | self._own | self._other | self._server | self.outside
        if isinstance(predicate, Pods):
            return self.pods.mask(predicate.selector)
        if isinstance(predicate, At):
            return self._at(predicate.place)
        if isinstance(predicate, Addresses):
            return self._addresses(predicate.addresses) | self.pods.all | self._own | self._other
        if isinstance(predicate, AllOf):
            return reduce(and_, map(self._mask, predicate.terms), everything)
        if isinstance(predicate, AnyOf):
            return reduce(or_, map(self._mask, predicate.terms), 0)
        if isinstance(predicate, Except):
            return everything & ~self._mask(predicate.term)
        return self._other if isinstance(predicate, Nodes) else 0

    def _at(self, place: Place) -> int:
        masks = {
            Place.POD: self.pods.all,
            Place.OWN_NODE: self._own,
            Place.OTHER_NODE: self._other,
            Place.OUTSIDE: self.outside,
            Place.API_SERVER: self._server,
        }
        return masks.get(place, 0)

    def _addresses(self, addresses: AddressSet) -> int:
        """The outside identities whose addresses are in the set: neighbours in their order, so ranges of bits."""
        found = 0
        for version, ranges in ((4, addresses.v4), (6, addresses.v6)):
            for low, high in ranges:
                start = bisect_left(self._keys, (version, low))
                end = bisect_right(self._keys, (version, high))
                found |= ((1 << (end - start)) - 1) << start if end > start else 0
        return found << self._first_outside


def named(policies: Iterable[CiliumPolicy | NetworkPolicy], groups: Iterable[CidrGroup]) -> list[Network]:
    """Every prefix that a policy or group names: each is an identity on every node. 0.0.0.0/0 is the world."""
    found = {net for policy in policies for net in _nets(policy)} | {net for group in groups for net in group.nets}
    return sorted((net for net in found if net.prefixlen), key=_order)


def _nets(policy: CiliumPolicy | NetworkPolicy) -> Iterator[Network]:
    if isinstance(policy, NetworkPolicy):
        for peer in (peer for rule in (*policy.ingress, *policy.egress) for peer in rule.peers or ()):
            if isinstance(peer, BlockPeer):
                yield from (peer.cidr, *peer.excepts)
        return
    for entry in (entry for spec in policy.specs for rule in spec.rules for entry in rule.peers.cidrs):
        yield from (*((entry.cidr,) if entry.cidr is not None else ()), *entry.excepts)


def _order(net: Network) -> tuple[int, int, int]:
    return net.version, int(net.network_address), net.prefixlen


def _outside(prefixes: Sequence[Network], servers: Iterable[Address]) -> list[tuple[Address, int]]:
    """One address for each identity outside, with how many entries it needs, in their order."""
    found = [(address, 1) for address in _representatives(prefixes)]
    rest = AddressSet.everything() - AddressSet.of(prefixes)
    found += [(ipaddress.IPv4Address(low), _WORLD) for low, _ in list(rest.v4)[-1:]]
    found += [(ipaddress.IPv6Address(low), _WORLD) for low, _ in list(rest.v6)[-1:]]
    found += [(address, 1) for address in servers]
    return sorted(found, key=lambda pair: (pair[0].version, int(pair[0])))


def _representatives(prefixes: Sequence[Network]) -> Iterator[Address]:
    """For each prefix (in order) an address that no longer prefix has, where there is one."""
    starts = [(net.version, int(net.network_address)) for net in prefixes]
    for index, net in enumerate(prefixes):
        last, free, inner = int(net.broadcast_address), int(net.network_address), index + 1
        while free <= last and inner < len(prefixes) and starts[inner] == (net.version, free):
            end = int(prefixes[inner].broadcast_address)
            free, inner = end + 1, bisect_right(starts, (net.version, end))
        yield ipaddress.ip_address(int(min(free, last)).to_bytes(net.max_prefixlen // 8, "big"))


def _is_node(address: Address, cluster: Cluster) -> bool:
    return any(address in node.addresses for node in cluster.nodes)
