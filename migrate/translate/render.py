"""Cilium policies as the objects that are written: one canonical form per meaning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import Json
from migrate.model.selectors import Conjunction, Operator, Requirement
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.objects import Block, CidrGroup, CiliumPolicy, CiliumRule, Peers, PolicySpec, Port

MANAGED_BY = "app.kubernetes.io/managed-by"
SOURCE = "cilium-migrate/source"
NAMESPACE_KEY = "k8s:io.kubernetes.pod.namespace"
NAMESPACE_LABEL_PREFIX = "k8s:io.cilium.k8s.namespace.labels."
SERVICE_ACCOUNT_KEY = "k8s:io.cilium.k8s.policy.serviceaccount"
_PORTS_PER_RULE = 40
_SIDES = {Direction.INGRESS: "from", Direction.EGRESS: "to"}

JsonMap: TypeAlias = dict[str, Json]
_Item = TypeVar("_Item")


def render_policy(policy: CiliumPolicy) -> JsonMap:
    """A CNP or CCNP with protocol and enableDefaultDeny always explicit."""
    metadata: JsonMap = {"name": policy.name}
    if policy.namespace:
        metadata["namespace"] = policy.namespace
    metadata |= marks(str(policy.source), policy.labels)
    found: JsonMap = {"apiVersion": "cilium.io/v2", "kind": policy.kind, "metadata": metadata}
    specs: list[Json] = [_render_spec(spec) for spec in policy.specs]
    if len(specs) == 1:
        return found | {"spec": specs[0]}
    return found | {"specs": specs}


def render_group(group: CidrGroup) -> JsonMap:
    """A CiliumCIDRGroup."""
    metadata: JsonMap = {"name": group.name, **marks(str(group.source), group.labels)}
    networks: list[Json] = [str(network) for network in group.networks]
    return {
        "apiVersion": group.api_version,
        "kind": "CiliumCIDRGroup",
        "metadata": metadata,
        "spec": {"externalCIDRs": networks},
    }


def marks(source: str, labels: Iterable[tuple[str, str]] = ()) -> JsonMap:
    """Metadata by which our objects are known: an ownership label and the source object."""
    own: JsonMap = dict(labels)
    own[MANAGED_BY] = "cilium-migrate"
    return {"labels": own, "annotations": {SOURCE: source}}


def _render_spec(spec: PolicySpec) -> JsonMap:
    found: JsonMap = {
        "endpointSelector": render_selector(spec.subject),
        "enableDefaultDeny": {direction.value: direction in spec.isolates for direction in Direction},
    }
    for direction in Direction:
        allows, denies = (_rendered(spec, direction, deny) for deny in (False, True))
        if allows:
            found[direction.value] = allows
        elif direction in spec.isolates:
            # An empty rule allows nothing; it is there because a list without rules asks for nothing.
            found[direction.value] = [{}]
        if denies:
            found[f"{direction.value}Deny"] = denies
    return found


def _rendered(spec: PolicySpec, direction: Direction, deny: bool) -> list[Json]:
    chosen = (rule for rule in spec.rules if rule.direction is direction and rule.deny is deny)
    return list(_unique([item for rule in chosen for item in _render_rule(rule)]))


def _unique(rules: list[JsonMap]) -> Iterable[JsonMap]:
    seen: list[JsonMap] = []
    for rule in rules:
        if rule not in seen:
            seen.append(rule)
    return seen


def _render_rule(rule: CiliumRule) -> list[JsonMap]:
    """One item per kind of peer, since Cilium refuses to combine them, and per kind of traffic."""
    traffic: list[JsonMap] = []
    if rule.ports:
        traffic.append({"toPorts": _render_ports(rule.ports)})
    if rule.icmp:
        traffic += [
            {"icmps": [{"fields": [{"family": i.family, "type": i.type} for i in part]}]} for part in _chunks(rule.icmp)
        ]
    if rule.ports is None and rule.icmp is None:
        traffic.append({})
    return [peers | part for part in traffic for peers in _render_peers(rule.direction, rule.peers)]


def _render_peers(direction: Direction, peers: Peers) -> list[JsonMap]:
    side = _SIDES[direction]
    found: list[JsonMap] = []
    if peers.endpoints:
        found.append({f"{side}Endpoints": [render_selector(conjunction) for conjunction in peers.endpoints]})
    if peers.blocks:
        found.append({f"{side}CIDRSet": [_render_block(b) for b in sorted(peers.blocks, key=Block.sort_key)]})
    if peers.entities:
        entities: list[Json] = []
        entities += sorted(peers.entities)
        found.append({f"{side}Entities": entities})
    return found


def _render_block(block: Block) -> JsonMap:
    if block.cidr is None:
        return {"cidrGroupRef": block.group}
    found: JsonMap = {"cidr": str(block.cidr)}
    if block.excepts:
        found["except"] = [
            str(hole) for hole in sorted(block.excepts, key=lambda n: (int(n.network_address), n.prefixlen))
        ]
    return found


def _render_ports(ports: tuple[Port, ...]) -> list[Json]:
    unique = sorted(set(ports), key=Port.sort_key)
    return [{"ports": [_render_port(port) for port in part]} for part in _chunks(unique)]


def _render_port(port: Port) -> JsonMap:
    found: JsonMap = {"port": str(port.port), "protocol": port.protocol}
    if port.end is not None:
        found["endPort"] = port.end
    return found


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[start : start + _PORTS_PER_RULE] for start in range(0, len(items), _PORTS_PER_RULE)]


def render_selector(conjunction: Conjunction) -> JsonMap:
    """A Cilium selector: matchLabels where one value is asked for, else matchExpressions, both sorted."""
    labels: JsonMap = {}
    expressions: list[Json] = []
    for requirement in sorted(conjunction, key=Requirement.sort_key):
        key = cilium_key(requirement)
        if requirement.operator is Operator.IN and len(requirement.values) == 1:
            labels[key] = requirement.values[0]
        else:
            expression: JsonMap = {"key": key, "operator": requirement.operator.value}
            if requirement.values:
                expression["values"] = list(requirement.values)
            expressions.append(expression)
    found: JsonMap = {}
    if labels:
        found["matchLabels"] = dict(sorted(labels.items()))
    if expressions:
        found["matchExpressions"] = expressions
    return found


def cilium_key(requirement: Requirement) -> str:
    """The label key under which Cilium knows what a requirement reads."""
    if requirement.scope is Scope.NAMESPACE:
        return NAMESPACE_KEY if requirement.key == NAMESPACE_NAME else f"{NAMESPACE_LABEL_PREFIX}{requirement.key}"
    if requirement.scope is Scope.SERVICE_ACCOUNT:
        if requirement.key != SERVICE_ACCOUNT_NAME:
            raise ValueError(f"service account label {requirement.key} has no name in Cilium")
        return SERVICE_ACCOUNT_KEY
    return requirement.key
