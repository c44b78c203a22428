"""Rules of the Admin tier as ClusterNetworkPolicies: priorities, and the limits of the kind worked around.

Facts: network-policy-api v0.2.0, ClusterNetworkPolicy v1alpha2: 25 rules a direction, 25 peers, networks and protocols
each, priorities 0 to 1000, peers are required, a port is 1 or more. pkg/k8s/cluster_network_policy.go of
cilium/cilium v1.20.2: rule n of a policy stands n hundredths behind its priority, so objects of one priority do not
come between each other's rules when they are about different pods or directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import TypeVar

from migrate.errors import InputError
from migrate.model.finding import Finding
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import Json
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Action
from migrate.model.selectors import Conjunction, Operator, Requirement
from migrate.translate.admin_tier import AdminRule, Split
from migrate.translate.objects import ADMIN_POLICY
from migrate.translate.profiles import Profile, load_profile, profile_names
from migrate.translate.region_rules import by_pods
from migrate.translate.regions import ANY_TRAFFIC, Box, PodSet, TrafficSet, union_of_pods
from migrate.translate.render import JsonMap, marks
from migrate.translate.selectors import in_namespaces

API_VERSION = "policy.networking.k8s.io/v1alpha2"
GUARD_PRIORITY = 0
LAST_PRIORITY = 1000
_STEP = 10
_MOST = 25
_WORDS = {Action.ALLOW: "Accept", Action.DENY: "Deny", Action.PASS: "Pass"}
_SIDES = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class AdminPolicy:
    """One ClusterNetworkPolicy to be written: rules in order, by direction, for the pods of a selector."""

    priority: int
    subject: Conjunction
    rules: Mapping[Direction, tuple[JsonMap, ...]]


def check_target(profile: Profile) -> None:
    """Raise InputError for a target that has no ClusterNetworkPolicy."""
    if not profile.cluster_network_policy:
        having = [name for name in profile_names() if load_profile(name).cluster_network_policy]
        raise InputError(
            f"--ordered cluster-network-policy: {profile.name} does not read ClusterNetworkPolicy; "
            f"{' and '.join(having)} does: choose it with --target, or leave --ordered out"
        )


def admin_policies(splits: Mapping[Direction, Split], indexes: Sequence[int]) -> dict[int, list[AdminPolicy]] | None:
    """The objects of each policy of a list by its index; None when there are more than there are priorities.

    `indexes` are those of the policies in their order.
    """
    runs = {(d, index): _runs(found, d) for d, part in splits.items() for index, found in part.said.items()}
    lengths = {index: max(len(runs.get((d, index), ())) for d in Direction) for index in indexes}
    total = sum(lengths.values())
    step = _STEP if total * _STEP <= LAST_PRIORITY else 1
    if total > LAST_PRIORITY:
        return None
    found: dict[int, list[AdminPolicy]] = {}
    priority = GUARD_PRIORITY
    for index in indexes:
        for number in range(lengths[index]):
            priority += step
            parts = {d: some[number] for d in Direction if number < len(some := runs.get((d, index), []))}
            found.setdefault(index, []).extend(_objects(priority, parts))
    return found


_Run = tuple[PodSet, tuple[JsonMap, ...]]
"""Rules in order for the same pods, no more than one object takes."""


def _runs(rules: Iterable[AdminRule], direction: Direction) -> list[_Run]:
    found: list[_Run] = []
    for pods, some in groupby(_joined(rules), key=lambda rule: rule.box.pods):
        written = [item for rule in some for item in _rules(rule, direction)]
        found += [(pods, tuple(part)) for part in _chunks(written)]
    return found


def _joined(rules: Iterable[AdminRule]) -> Iterator[AdminRule]:
    """Neighbours of one action, between which order does not matter, as few rules."""
    for action, some in groupby(rules, key=lambda rule: rule.action):
        for boxes in by_pods(rule.box for rule in some).values():
            yield from (AdminRule(action, box) for box in boxes)


def _objects(priority: int, parts: Mapping[Direction, _Run]) -> Iterator[AdminPolicy]:
    subjects: dict[Conjunction, dict[Direction, tuple[JsonMap, ...]]] = {}
    for direction, (pods, rules) in parts.items():
        for conjunction in pods:
            subjects.setdefault(conjunction, {})[direction] = rules
    for subject, rules_by_direction in subjects.items():
        yield AdminPolicy(priority, subject, rules_by_direction)


def _rules(rule: AdminRule, direction: Direction) -> Iterator[JsonMap]:
    peers, ports = _peers(rule.box), _ports(rule.box.traffic)
    for some, few in product(_chunks(peers), [()] if ports is None else _chunks(ports)):
        found: JsonMap = {"action": _WORDS[rule.action], _SIDES[direction]: list(some)}
        if few:
            found["protocols"] = list(few)
        yield found


def _peers(box: Box) -> list[Json]:
    found: list[Json] = [_pods(conjunction) for conjunction in union_of_pods((box.peers.pods,))]
    networks = [str(network) for network in box.peers.addresses.networks()]
    found += [{"networks": list(part)} for part in _chunks(networks)]
    return found


def _ports(traffic: TrafficSet) -> list[Json] | None:
    """Ports with their protocols; None for all traffic, and none at all for port 0 alone, which cannot be said."""
    if traffic == ANY_TRAFFIC:
        return None
    return [
        {protocol.lower(): {"destinationPort": _port(max(low, 1), high)}}
        for protocol, ranges in traffic.parts
        for low, high in ranges
        if high > 0
    ]


def _port(low: int, high: int) -> Json:
    return {"number": low} if low == high else {"range": {"start": low, "end": high}}


def _pods(conjunction: Conjunction) -> JsonMap:
    """Pods by their namespace's labels, and by their own where these are asked for.

    Negations of namespace labels alone would also match nodes and the world (measured on v1.20.2).
    """
    about_namespaces = tuple(requirement for requirement in conjunction if requirement.scope is Scope.NAMESPACE)
    namespaces = _selector(in_namespaces(about_namespaces) if about_namespaces else (), Scope.NAMESPACE)
    own = _selector(conjunction, Scope.POD)
    if not own:
        return {"namespaces": namespaces}
    return {"pods": {"namespaceSelector": namespaces, "podSelector": own}}


def _selector(conjunction: Conjunction, scope: Scope) -> JsonMap:
    labels: JsonMap = {}
    expressions: list[Json] = []
    for requirement in sorted((r for r in conjunction if r.scope is scope), key=Requirement.sort_key):
        if requirement.operator is Operator.IN and len(requirement.values) == 1:
            labels[requirement.key] = requirement.values[0]
            continue
        expression: JsonMap = {"key": requirement.key, "operator": requirement.operator.value}
        if requirement.values:
            expression["values"] = list(requirement.values)
        expressions.append(expression)
    return ({"matchLabels": labels} if labels else {}) | ({"matchExpressions": expressions} if expressions else {})


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[start : start + _MOST] for start in range(0, len(items), _MOST)]


def render_admin(policy: AdminPolicy, name: str, source: ObjectRef) -> JsonMap:
    """The object."""
    spec: JsonMap = {"tier": "Admin", "priority": policy.priority, "subject": _pods(policy.subject)}
    for direction in Direction:
        if direction in policy.rules:
            spec[direction.value] = list(policy.rules[direction])
    metadata: JsonMap = {"name": name, **marks(str(source))}
    return {"apiVersion": API_VERSION, "kind": ADMIN_POLICY, "metadata": metadata, "spec": spec}


def needs_switch(target: str) -> Finding:
    """What is told where such objects were written."""
    return Finding(
        id="POL-ADMIN-SWITCH",
        detail=f"ClusterNetworkPolicies were written; {target} enforces them only with k8sClusterNetworkPolicy.enabled "
        "and with the CRD of network-policy-api installed",
    )


def admin_guard(name: str, port: int, origin: str) -> JsonMap:
    """The Deny of UDP to a port for all pods, ahead of every other Admin rule."""
    everyone: list[Json] = [{"namespaces": {}}, {"networks": ["0.0.0.0/0", "::/0"]}]
    protocols: list[Json] = [{"udp": {"destinationPort": {"number": port}}}]
    rule: JsonMap = {"action": "Deny", "to": everyone, "protocols": protocols}
    spec: JsonMap = {"tier": "Admin", "priority": GUARD_PRIORITY, "subject": {"namespaces": {}}, "egress": [rule]}
    metadata: JsonMap = {"name": name, **marks(origin)}
    return {"apiVersion": API_VERSION, "kind": ADMIN_POLICY, "metadata": metadata, "spec": spec}
