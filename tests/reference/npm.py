"""Azure NPM on Linux (v2) as it behaves, where that is not what NetworkPolicy says.

Measured with NPM's own program on real iptables and ipset: only forwarded IPv4 packets are looked at; an ipBlock
covers every address; a peer is a list of address sets, so one made of negations only also holds for addresses
that are in no set; a namespaceSelector expression with several values becomes one rule for each value; a policy
with an IPv6 block or an odd label value is refused whole, unless an empty rule admits all of that direction, since
then its other rules are not looked at.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator

from tests.reference.cases import FREE, Answer, Case, Directory, Flow, Party, Pod, own_node, same_pod
from tests.reference.network_policy import (
    Direction,
    LabelSelector,
    NetworkPolicy,
    Peer,
    Requirement,
    Rule,
    decide,
    read_policies,
)

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def evaluate(case: Case) -> list[Answer]:
    """What each flow of the case meets."""
    directory = Directory(case)
    policies = [policy for policy in read_policies(case.policies) if not refused(policy)]

    def is_peer(peer: Peer, namespace: str, other: Party) -> bool:
        if peer.ip_block is not None:
            return peer.ip_block.holds(other.address)
        pod = _known(other)
        if not _in_pod_sets(peer.pod_selector, pod):
            return False
        if peer.namespace_selector is None:
            return pod is not None and pod.namespace == namespace
        labels = None if pod is None else directory.namespace_labels[pod.namespace]
        return any(_in_namespace_sets(selector, labels) for selector in _one_value_each(peer.namespace_selector))

    def answer(flow: Flow) -> Answer:
        source, destination = directory.parties(flow)
        ipv6 = source.address.version == 6
        if ipv6 or same_pod(source, destination) or own_node(source, destination):
            return FREE
        ends = _by_primary_address(source), _by_primary_address(destination)
        return decide(policies, (*ends, flow.protocol, flow.port), _isolates, is_peer)

    return [answer(flow) for flow in case.flows]


def refused(policy: NetworkPolicy) -> bool:
    """Whether NPM leaves the whole policy out, its default deny too, with nothing but a line in its log."""
    return any(":" in block for block in _blocks(policy)) or any(
        _LABEL_VALUE.fullmatch(value) is None for selector in _selectors(policy) for value in _values(selector)
    )


def _rules(policy: NetworkPolicy) -> Iterator[Rule]:
    for direction in policy.spec.directions():
        rules = policy.spec.rules(direction)
        if all(rule.peers or rule.ports for rule in rules):
            yield from rules


def _blocks(policy: NetworkPolicy) -> Iterator[str]:
    for rule in _rules(policy):
        for peer in rule.peers:
            if peer.ip_block is not None:
                yield from (peer.ip_block.cidr, *peer.ip_block.holes)


def _selectors(policy: NetworkPolicy) -> Iterator[LabelSelector]:
    yield policy.spec.pod_selector
    for rule in _rules(policy):
        for peer in rule.peers:
            yield from (s for s in (peer.pod_selector, peer.namespace_selector) if s is not None)


def _values(selector: LabelSelector) -> Iterator[str]:
    for expression in selector.match_expressions:
        yield from expression.values


def _known(party: Party) -> Pod | None:
    """The pod behind an address that stands in NPM's sets: a pod's first address, when it is IPv4."""
    primary = party.pod is not None and ipaddress.ip_address(party.pod.ips[0]) == party.address
    return party.pod if primary else None


def _by_primary_address(party: Party) -> Party:
    """The party as NPM sees it: a pod's other addresses belong to nobody, and name no ports."""
    return party if _known(party) is not None else Party(party.address, None, party.node)


def _isolates(policy: NetworkPolicy, direction: Direction, subject: Party) -> bool:
    pod = _known(subject)
    return (
        pod is not None
        and pod.namespace == policy.metadata.namespace
        and direction in policy.spec.directions()
        and policy.spec.pod_selector.holds(pod.labels)
    )


def _in_pod_sets(selector: LabelSelector | None, pod: Pod | None) -> bool:
    """Address sets of pod labels: an address of no pod is in none of them."""
    return selector is None or selector.holds({} if pod is None else pod.labels)


def _in_namespace_sets(selector: LabelSelector, labels: dict[str, str] | None) -> bool:
    """Address sets of namespace labels; the empty selector is the set of all pods."""
    if selector == LabelSelector():
        return labels is not None
    return selector.holds(labels or {})


def _one_value_each(selector: LabelSelector) -> Iterator[LabelSelector]:
    """The rules that NPM makes of a namespaceSelector: one for each choice of one value an expression."""
    choices = [
        [Requirement(e.key, e.operator, (value,)) for value in e.values] if e.values else [e]
        for e in selector.match_expressions
    ]
    for chosen in itertools.product(*choices):
        yield LabelSelector(selector.match_labels, chosen)
