"""0.0.0.0/0 and ::/0 where Cilium runs one IP version: in 1.17 and 1.18 the other one's means the whole outside.

Without dual stack there is one identity for the outside, and a prefix of no bits in a CIDRSet or an ipBlock (not in a
plain list of CIDRs) stands for it, whatever its version. So in an IPv4 cluster ::/0 admits (or denies) every IPv4
address outside. Prefixes of one bit are never taken so.
Facts: pkg/policy/api/cidr.go of v1.16.0 (where it is not so), v1.17.0 and v1.18.8, pkg/labels/cidr.go of v1.19.0 and
v1.20.2; measured on the policy engines 1.18.8 (admits) and 1.20.2 (does not).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from migrate.model.addresses import AddressSet, Network
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy
from migrate.translate.blocks import covers_everything
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.objects import Block, CiliumPolicy, CiliumRule
from migrate.translate.profiles import Profile

_IPV4 = frozenset({4})
"""What a cluster is taken to have when no pod's address tells. A cluster with IPv6 only is not thought of then."""


def means_the_outside(net: Network, profile: Profile, families: Collection[int]) -> bool:
    """Whether the target takes the prefix for addresses of the IP versions that pods have, of which it has none."""
    return profile.zero_prefix_is_world and net.prefixlen == 0 and net.version not in (families or _IPV4)


def outside_prefixes(
    blocks: Sequence[tuple[Network, Sequence[Network]]], profile: Profile, families: Collection[int]
) -> list[Network]:
    """Of the blocks of one rule (each with its exceptions) those that let the outside in or out and no other does."""
    taken = [net for net, _ in blocks if means_the_outside(net, profile, families)]
    if not taken:
        return []
    covered = AddressSet()
    for net, holes in blocks:
        covered |= AddressSet.of([net]) - AddressSet.of(holes)
    return [] if covers_everything(covered, families or _IPV4) else taken


def outside_blocks(policy: NetworkPolicy, profile: Profile, families: Collection[int]) -> Iterator[BlockPeer]:
    """Blocks of the policy that let the outside in or out where no other block of their rule does."""
    for rule in (*policy.ingress, *policy.egress):
        blocks = [peer for peer in rule.peers or () if isinstance(peer, BlockPeer)]
        taken = outside_prefixes([(block.cidr, block.excepts) for block in blocks], profile, families)
        yield from (block for block in blocks if block.cidr in taken)


def in_halves(policy: CiliumPolicy, context: Context, notes: Notes) -> CiliumPolicy:
    """The policy with such prefixes as two of one bit, which mean the same in every cluster; with a finding if so."""
    specs = tuple(replace(spec, rules=tuple(_halved(rule, context) for rule in spec.rules)) for spec in policy.specs)
    if specs == policy.specs:
        return policy
    notes.find(
        "POL-CIDR-ZERO",
        f"a prefix of no bits was written as two halves: {context.profile.name} takes it for the whole outside where "
        "only the other IP version runs",
    )
    return replace(policy, specs=specs)


def _halved(rule: CiliumRule, context: Context) -> CiliumRule:
    blocks = tuple(dict.fromkeys(half for block in rule.peers.blocks for half in _halves(block, context)))
    return rule if blocks == rule.peers.blocks else replace(rule, peers=replace(rule.peers, blocks=blocks))


def _halves(block: Block, context: Context) -> Iterator[Block]:
    if block.cidr is None or not means_the_outside(block.cidr, context.profile, context.cluster.pod_families):
        yield block
        return
    for half in block.cidr.subnets():
        inside = AddressSet.of([half])
        holes = tuple(net for net in block.excepts if AddressSet.of([net]) <= inside)
        yield Block(half, holes)
