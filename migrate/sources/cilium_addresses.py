"""Whom Cilium's CIDR rules mean: the outside by address, and nodes and pods only where a match mode says so.

Facts: pkg/ipcache (every prefix's identity has the labels of the prefixes around it) and pkg/policy (CIDR selectors)
of v1.18.8 and v1.20.2, measured on their policy engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from migrate.model.addresses import Address, AddressSet, Network
from migrate.model.cluster import Cluster
from migrate.model.ruleset import ANY_END, Addresses, AllOf, AnyOf, At, Place, Predicate
from migrate.model.selectors import NEGATIVE, Requirement, Selector, requirements
from migrate.sources.cilium import CidrGroup, CiliumPolicy
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cilium_tiers import ClusterNetworkPolicy
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy

_EVERYTHING = AddressSet.everything()


def named_prefixes(
    policies: Iterable[CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy], groups: Iterable[CidrGroup]
) -> AddressSet:
    """The addresses of all prefixes that policies and groups name; a policy's prefix of no bits is no name."""
    nets = [net for policy in policies for net in _policy_nets(policy) if net.prefixlen > 0]
    return AddressSet.of([*nets, *(net for group in groups for net in group.nets)])


def _policy_nets(policy: CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy) -> Iterator[Network]:
    if isinstance(policy, ClusterNetworkPolicy):
        for tier_peer in (peer for tier_rule in policy.rules for peer in tier_rule.peers or ()):
            yield from tier_peer.networks or ()
        return
    if isinstance(policy, NetworkPolicy):
        for peer in (peer for rule in (*policy.ingress, *policy.egress) for peer in rule.peers or ()):
            if isinstance(peer, BlockPeer):
                yield from (peer.cidr, *peer.excepts)
        return
    peers = [rule.peers for spec in policy.specs for rule in spec.rules if not rule.peers.nobody]
    for entry in (entry for some in peers for entry in some.cidrs):
        yield from (*((entry.cidr,) if entry.cidr is not None else ()), *entry.excepts)


class CidrPeers:
    """Turns CIDRs and groups of CIDRs into peers, for one agent's settings."""

    def __init__(
        self, settings: CiliumSettings, groups: Sequence[CidrGroup], cluster: Cluster, aggregated: Predicate
    ) -> None:
        self._settings = settings
        self._aggregated = aggregated
        self._groups = sorted(groups, key=lambda group: group.name)
        self._pods = [pod.addresses for pod in cluster.pods if not pod.host_network]
        self._nodes = [node.addresses for node in cluster.nodes]

    def block(self, cidr: Network, holes: Sequence[Network], *, plain: bool = False) -> Predicate:
        """Addresses of a prefix less some others. A prefix of no bits is "the outside" where only nodes match.

        In 1.17 and 1.18 that is so for both IP versions without dual stack, since there is one outside then, other than
        in a `plain` list (pkg/policy/api/cidr.go of v1.18.8).
        """
        whole = cidr.prefixlen == 0
        if whole and not plain and self._settings.outside_is_one and cidr.version not in self._settings.families:
            return AllOf((At(Place.OUTSIDE), Addresses(_EVERYTHING - AddressSet.of(holes))))
        return self._ends(AddressSet.of([cidr]), AddressSet.of(holes), whole=whole)

    def group(self, name: str, holes: Sequence[Network]) -> Predicate:
        """Addresses of a CiliumCIDRGroup; nobody when there is none of that name."""
        inside = AddressSet.of(net for group in self._groups if group.name == name for net in group.nets)
        return self._ends(inside, AddressSet.of(holes), whole=False)

    def groups(self, selector: Selector, holes: Sequence[Network]) -> Predicate:
        """Addresses by the labels of the groups that they are in."""
        asked = list(requirements(selector))
        if not asked and not holes:
            return ANY_END  # Taken for the selector of everyone, which is also empty.
        inside = _EVERYTHING
        for requirement in asked:
            inside &= self._labelled(requirement)
        found = self._ends(inside, AddressSet.of(holes), whole=False)
        if any(requirement.operator not in NEGATIVE for requirement in asked):
            return found
        return AnyOf((found, *self._unrelated()))

    def _unrelated(self) -> tuple[Predicate, ...]:
        """Those whom a selector of negations finds because they have no labels of groups at all."""
        modes = self._settings.cidr_match_modes
        if self._settings.group_labels_add_up:
            return (self._aggregated,) if "pods" in modes else ()
        nodes = () if "nodes" in modes else (At(Place.OWN_NODE), At(Place.OTHER_NODE))
        return (At(Place.POD), *nodes)

    def _labelled(self, requirement: Requirement) -> AddressSet:
        """Addresses for which a requirement on labels of groups holds; those of no group have no labels."""
        positive = requirement.negated() if requirement.operator in NEGATIVE else requirement
        found = AddressSet()
        nets = [
            (net, group) for group in reversed(self._groups) for net in group.nets if requirement.key in group.labels
        ]
        for net, group in sorted(nets, key=lambda pair: pair[0].prefixlen):
            here = AddressSet.of([net])
            if positive.matches(group.labels):
                found |= here
            elif not self._settings.group_labels_add_up:
                found -= here  # The labels of the longer prefix win.
        return _EVERYTHING - found if requirement.operator in NEGATIVE else found

    def _ends(self, inside: AddressSet, holes: AddressSet, *, whole: bool) -> Predicate:
        modes = self._settings.cidr_match_modes
        here = Addresses(inside - holes)
        found: list[Predicate] = [AllOf((At(Place.OUTSIDE), here))]
        if "nodes" in modes and ("pods" in modes or not whole or self._settings.nodes_match_everything):
            found.append(AllOf((At(Place.OTHER_NODE), here)))
            found.append(AllOf((At(Place.OWN_NODE), _owners(self._nodes, inside, holes))))
        if "pods" in modes:
            found.append(AllOf((At(Place.POD), _owners(self._pods, inside, holes))))
        return AnyOf(tuple(found))


def _owners(owners: Iterable[tuple[Address, ...]], inside: AddressSet, holes: AddressSet) -> Addresses:
    """All addresses of those that have one inside and none in a hole: they have one identity for all of them."""
    return Addresses(
        AddressSet.of_addresses(
            address
            for addresses in owners
            if any(a in inside for a in addresses) and not any(a in holes for a in addresses)
            for address in addresses
        )
    )
