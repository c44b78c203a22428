"""The ACLs that NPM makes of a NetworkPolicy on every endpoint that the policy selects.

Facts: npm/pkg/controlplane/translation, and policy_windows.go and policymanager_windows.go in
npm/pkg/dataplane/policies of Azure/azure-container-networking; the ACLs that its conversion gave for sample policies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from migrate.model.addresses import Network
from migrate.model.flow import PROTOCOL_NUMBERS, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.refs import ObjectRef
from migrate.model.selectors import NEGATIVE, Operator, Requirement, Selector, requirements
from migrate.nodes.windows import names
from migrate.nodes.windows.rules import NODE, Rule
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, Peer, PortMatch
from migrate.sources.kubernetes import Rule as PolicyRule
from migrate.sources.npm_refusals import translated_rules

ALLOW, BLOCK, FROM_NODE = 222, 3000, 201
"""Priorities of NPM's ACLs."""
ACL_PREFIX = "azure-acl-"


def acl_id(ref: ObjectRef) -> str:
    """The id of all ACLs of a policy. Several policies may have the same: a name may hold the mark between the two."""
    return f"{ACL_PREFIX}{ref.namespace or 'default'}-{ref.name}"


def converted(policy: NetworkPolicy) -> frozenset[Rule]:
    """The ACLs of a policy that NPM does not refuse, with the set names that this program uses."""
    found = {Rule(inbound=True, allows=True, priority=FROM_NODE, remote=frozenset({NODE}))}
    for direction in policy.directions:
        inbound = direction is Direction.INGRESS
        rules = policy.rules(direction)
        if any(rule.peers is None and rule.ports is None for rule in rules):
            found.add(Rule(inbound, True, ALLOW))
            continue
        for index, rule in enumerate(rules):
            found |= set(_allows(policy, rule, index, inbound))
        found.add(Rule(inbound, False, BLOCK))
    return frozenset(found)


def direct_forms(policy: NetworkPolicy) -> dict[Rule, frozenset[Rule]]:
    """ACLs that name a block's set, with the block itself in its place: with EnableNPMLite there may be no sets."""
    blocks = dict(_blocks(policy))
    found: dict[Rule, frozenset[Rule]] = {}
    for rule in converted(policy):
        network = next((blocks[name] for name in rule.sets() if name in blocks), None)
        if network is not None:
            several = (network, *network.subnets()) if network.prefixlen == 0 else (network,)
            texts = [several[:1], several[1:]] if len(several) > 1 else [several]
            found[rule] = frozenset(replace(rule, local=None, remote=frozenset(map(str, each))) for each in texts)
    return found


def _blocks(policy: NetworkPolicy) -> Iterator[tuple[str, Network]]:
    for direction in policy.directions:
        for index, rule in enumerate(policy.rules(direction)):
            for place, peer in enumerate(rule.peers or ()):
                if isinstance(peer, BlockPeer):
                    inbound = direction is Direction.INGRESS
                    several = names.block(policy.ref.namespace or "default", policy.ref.name, index, place, inbound)
                    yield several[0], peer.cidr


def inverted(policy: NetworkPolicy) -> bool:
    """Whether the conversion loses the negation of an egress peer."""
    return any(
        requirement.operator in NEGATIVE
        for direction, rule in translated_rules(policy)
        for peer in rule.peers or ()
        if direction is Direction.EGRESS and not isinstance(peer, BlockPeer) and peer.namespaces is not None
        for requirement in requirements(peer.namespaces)
    )


def _allows(policy: NetworkPolicy, rule: PolicyRule, index: int, inbound: bool) -> Iterator[Rule]:
    """One ACL for each combination of a peer's sets with an entry of ports."""
    sources: list[frozenset[str] | None] = [None]
    if rule.peers is not None:
        sources = [sets for i, peer in enumerate(rule.peers) for sets in _sets(policy.ref, peer, index, i, inbound)]
    for sets, match in product(sources, rule.ports or (None,)):
        numbers = None if match is None else frozenset({PROTOCOL_NUMBERS[match.protocol]})
        ports = _ports(match)
        if inbound:
            yield Rule(inbound, True, ALLOW, numbers, local=sets, local_ports=ports)
        else:
            yield Rule(inbound, True, ALLOW, numbers, remote=sets, remote_ports=ports)


def _ports(match: PortMatch | None) -> IntervalSet | None:
    if match is None or not isinstance(match.port, int):
        return None
    return IntervalSet(((match.port, match.end or match.port),))


def _sets(ref: ObjectRef, peer: Peer, rule: int, index: int, inbound: bool) -> Iterator[frozenset[str]]:
    """The sets that hold together, for each combination of single values of a namespaceSelector."""
    namespace = ref.namespace or "default"
    if isinstance(peer, BlockPeer):
        yield frozenset({names.block(namespace, ref.name, rule, index, inbound)[0]})
        return
    pods = frozenset(_pod_set(ref, requirement) for requirement in requirements(peer.pods))
    if peer.namespaces is None:
        yield pods | {names.namespace_set(namespace)}
        return
    for several in product(*_namespace_sets(peer.namespaces)):
        yield pods | frozenset(several)


def _pod_set(ref: ObjectRef, requirement: Requirement) -> str:
    if requirement.operator is Operator.EXISTS:
        return names.pod_label(requirement.key)
    if len(requirement.values) == 1:
        return names.pod_label(requirement.key, requirement.values[0])
    return names.any_of(ref.namespace or "default", ref.name, requirement.key, requirement.values)[0]


def _namespace_sets(selector: Selector) -> list[list[str]]:
    """For each requirement its sets, one of which is enough. Whether it is negated is not looked at."""
    asked = list(requirements(selector))
    if not asked:
        return [[names.ALL_NAMESPACES]]
    return [[names.namespace_label(r.key, value) for value in r.values or (None,)] for r in asked]
