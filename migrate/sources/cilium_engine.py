"""Policies as Cilium enforces them: identities before addresses, deny over allow, default deny by whoever asks.

Facts measured on the policy engines of v1.18.8 and v1.20.2; where they differ, CiliumSettings says which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, SCTP, TCP, UDP, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import (
    ANY_END,
    EVERY_PACKET,
    NO_END,
    Action,
    Addresses,
    AllOf,
    AnyOf,
    At,
    Chain,
    Place,
    Pods,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
)
from migrate.model.selectors import (
    EVERYTHING,
    NOTHING,
    And,
    Not,
    Operator,
    Or,
    Requirement,
    Selector,
    matches,
    requirements,
)
from migrate.sources import kubernetes
from migrate.sources.cilium import CidrGroup, CidrRule, CiliumPolicy, CiliumRule, CiliumSpec, PortRule
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME, NetworkPolicy

_NAMESPACE = "io.kubernetes.pod.namespace"
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
_CLUSTER = "io.cilium.k8s.policy.cluster"
_KEPT = ("io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels", "app.kubernetes.io", _CLUSTER, _ACCOUNT)
_IGNORED = re.compile(
    r"io\.kubernetes|kubernetes\.io|statefulset\.kubernetes\.io/pod-name|apps\.kubernetes\.io/pod-index"
    r"|batch\.kubernetes\.io/job-completion-index|batch\.kubernetes\.io/controller-uid|.*beta\.kubernetes\.io"
    r"|k8s\.io|pod-template-generation|pod-template-hash|controller-revision-hash|controller-uid|annotation|etcd_node"
)
_PORTS = (TCP, UDP, SCTP)
_ALL_V4 = AddressSet.everything().v4
_ALL_V6 = AddressSet.everything().v6


@dataclass(frozen=True, slots=True)
class CiliumSettings:
    """What of the release and of the agent's flags changes a verdict; the defaults are those of 1.20."""

    local_cluster: bool = True
    named_ports_per_identity: bool = True
    range_from_zero_is_all: bool = True
    filters_topology: bool = True
    sctp: bool = True
    icmp_rules: bool = True
    cidr_match_modes: frozenset[str] = frozenset()
    nodes_match_everything: bool = False
    enforcement: str = "default"
    cluster_name: str = "default"

    @classmethod
    def of_release(cls, minor: int) -> CiliumSettings:
        """The defaults of release 1.<minor>. 1.18 and 1.20 were measured; the others follow their nearer neighbour."""
        return cls(
            local_cluster=minor >= 19,
            named_ports_per_identity=minor >= 20,
            range_from_zero_is_all=minor >= 19,
            filters_topology=minor >= 18,
            nodes_match_everything=minor <= 18,
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One policy document of one subject."""

    subject: Selector
    rules: dict[Direction, tuple[tuple[bool, Rule], ...]]
    present: frozenset[Direction]
    denies_by_default: frozenset[Direction]


class CiliumEngine:
    """CNPs, CCNPs and NetworkPolicies together on the pods of a cluster."""

    def __init__(
        self,
        policies: Sequence[CiliumPolicy | NetworkPolicy],
        groups: Sequence[CidrGroup],
        cluster: Cluster,
        settings: CiliumSettings,
    ) -> None:
        self._settings = settings
        self._groups = tuple(groups)
        self._numbers = _cluster_numbers(cluster)
        self._entries: list[_Entry] = []
        self._unknown: list[Provenance] = []
        for policy in policies:
            self._add(policy)
        self.subjects: Sequence[Subject] = tuple(Subject(e.subject, e.present) for e in self._entries)
        self.exempt: dict[Direction, Predicate] = {Direction.INGRESS: NO_END, Direction.EGRESS: NO_END}
        self.unknown: tuple[Provenance, ...] = tuple(self._unknown)

    def _add(self, policy: CiliumPolicy | NetworkPolicy) -> None:
        self._unknown += [Provenance(policy.ref, problem.field, problem.at) for problem in policy.problems]
        if isinstance(policy, NetworkPolicy):
            self._entries.append(self._network_policy(policy))
            return
        for spec in policy.specs:
            if spec.endpoint_selector is not None:
                self._entries.append(self._spec(spec, policy))
            else:
                self._unknown.append(Provenance(policy.ref, "spec.nodeSelector", policy.at))

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """Denies, then allows, then the own host (inwards); the end is default deny if one policy asks for it."""
        entries = [self._entries[index] for index in policies]
        rules = [pair for entry in entries for pair in entry.rules.get(direction, ())]
        if not entries and self._settings.enforcement != "always":
            return Chain((), Action.ALLOW, enforced=False)
        denies = tuple(rule for deny, rule in rules if deny)
        allows = [rule for deny, rule in rules if not deny]
        if direction is Direction.INGRESS:
            allows.append(Rule(Action.ALLOW, At(Place.OWN_NODE), note="Cilium always admits a pod's own node"))
        closed = self._settings.enforcement == "always" or any(direction in e.denies_by_default for e in entries)
        end = Action.DENY if closed else Action.ALLOW
        return Chain((Stage(denies, Action.PASS, "deny rules"), Stage(tuple(allows), end, "allow rules")), end)

    def _spec(self, spec: CiliumSpec, policy: CiliumPolicy) -> _Entry:
        subject = self._subject(spec.endpoint_selector or EVERYTHING, policy.namespace)
        rules: dict[Direction, list[tuple[bool, Rule]]] = {}
        for rule in spec.rules:
            self._unknown += [Provenance(policy.ref, f"{rule.field}.{name}", rule.at) for name in rule.unmodelled]
            compiled = self._rule(rule, policy.ref, policy.namespace)
            rules.setdefault(rule.direction, []).extend((rule.deny, found) for found in compiled)
        closed = frozenset(d for d in spec.present if spec.default_deny.get(d, True))
        return _Entry(subject, {d: tuple(r) for d, r in rules.items()}, spec.present, closed)

    def _subject(self, selector: Selector, namespace: str | None) -> Selector:
        if namespace is None:
            return self._on_pods(selector)
        rest = _without_namespace(selector)
        return And((self._on_pods(rest), _named(namespace)))

    def _rule(self, rule: CiliumRule, ref: ObjectRef, namespace: str | None) -> list[Rule]:
        empty = not rule.has_peers and rule.ports is None and rule.icmp is None
        if empty or (rule.unmodelled and not rule.has_peers):
            return []
        peer = self._peers(rule, namespace) if rule.has_peers else ANY_END
        provenance = Provenance(ref, rule.field, rule.at)
        action = Action.DENY if rule.deny else Action.ALLOW
        traffic = self._traffic(rule)
        note = "then judged by the proxy" if rule.proxied else ""
        return [Rule(action, peer, traffic, provenance=provenance, note=note)] if traffic else []

    def _peers(self, rule: CiliumRule, namespace: str | None) -> Predicate:
        terms: list[Predicate] = [self._endpoints(selector, namespace) for selector in rule.endpoints or ()]
        terms += [self._cidr(cidr) for cidr in rule.cidrs or ()]
        terms += [_entity(name) for name in rule.entities or ()]
        return AnyOf(tuple(terms))

    def _endpoints(self, selector: Selector, namespace: str | None) -> Predicate:
        """Pods by label, and the reserved identities that a selector of negations also matches."""
        keys = [_bare(r.key) for r in _requirements(selector)]
        reserved = any(r.key.startswith(("reserved:", "reserved.")) for r in _requirements(selector))
        wanted = selector
        if not reserved:
            own = any(key == _NAMESPACE or key.startswith(_NAMESPACE_LABELS) for key in keys)
            if namespace is not None and not own:
                wanted = And((wanted, Requirement(_NAMESPACE, Operator.IN, (namespace,))))
            elif namespace is None and not any(key == _NAMESPACE for key in keys):
                wanted = And((wanted, Requirement(_NAMESPACE, Operator.EXISTS)))
            if self._settings.local_cluster:
                wanted = And((wanted, Requirement(_CLUSTER, Operator.IN, (self._settings.cluster_name,))))
        return AnyOf((Pods(self._on_pods(wanted)), *_reserved_places(wanted)))

    def _on_pods(self, selector: Selector) -> Selector:
        """A selector over Cilium's identity labels, as one over the labels of pods, namespaces and accounts."""
        if isinstance(selector, Requirement):
            return self._requirement(selector)
        if isinstance(selector, Not):
            return Not(self._on_pods(selector.term))
        terms = tuple(self._on_pods(term) for term in selector.terms)
        return And(terms) if isinstance(selector, And) else Or(terms)

    def _requirement(self, requirement: Requirement) -> Selector:
        source, key = _source(requirement.key), _bare(requirement.key)
        if source not in ("any", "k8s"):
            return _fixed(requirement, None)
        if key == _CLUSTER:
            return _fixed(requirement, self._settings.cluster_name)
        if key == _NAMESPACE:
            return replace(requirement, key=NAMESPACE_NAME, scope=Scope.NAMESPACE)
        if key.startswith(_NAMESPACE_LABELS):
            return replace(requirement, key=key.removeprefix(_NAMESPACE_LABELS), scope=Scope.NAMESPACE)
        if key == _ACCOUNT:
            return replace(requirement, key=SERVICE_ACCOUNT_NAME, scope=Scope.SERVICE_ACCOUNT)
        if self._filtered(key):
            return _fixed(requirement, None)
        return replace(requirement, key=key)

    def _filtered(self, key: str) -> bool:
        if key.startswith(_KEPT):
            return False
        return bool(_IGNORED.match(key)) or (
            self._settings.filters_topology and key.startswith("topology.kubernetes.io")
        )

    def _cidr(self, rule: CidrRule) -> Predicate:
        if rule.cidr is not None:
            addresses = AddressSet.of([rule.cidr]) - AddressSet.of(rule.excepts)
            return self._outside(addresses, whole=rule.cidr.prefixlen == 0)
        addresses = AddressSet()
        for group in self._groups:
            chosen = group.name == rule.group
            if rule.groups is not None and matches(rule.groups, _Group(group.labels)):
                chosen = True
            if chosen:
                addresses |= group.addresses
        return self._outside(addresses - AddressSet.of(rule.excepts), whole=False)

    def _outside(self, addresses: AddressSet, *, whole: bool) -> Predicate:
        """Ends that a CIDR matches: the outside, and nodes or pods when the match mode says so."""
        places: list[Predicate] = [At(Place.OUTSIDE)]
        modes = self._settings.cidr_match_modes
        if "nodes" in modes and ("pods" in modes or not whole or self._settings.nodes_match_everything):
            places += [At(Place.OWN_NODE), At(Place.OTHER_NODE)]
        if "pods" in modes:
            places.append(At(Place.POD))
        return AllOf((Addresses(addresses), AnyOf(tuple(places))))

    def _traffic(self, rule: CiliumRule) -> tuple[Traffic, ...]:
        if rule.ports is None and rule.icmp is None:
            return EVERY_PACKET
        found = [t for port in rule.ports or () for t in self._port(port, rule.direction)]
        for icmp in rule.icmp or () if self._settings.icmp_rules else ():
            number = ICMP if icmp.family == 4 else ICMPV6
            # Type 0 is the wildcard: it opens the whole family.
            kinds = None if icmp.type == 0 else ((icmp.type, None),)
            found.append(Traffic(IntervalSet(((number, number),)), icmp=kinds))
        return tuple(found)

    def _port(self, port: PortRule, direction: Direction) -> list[Traffic]:
        numbers = _PORTS if port.protocol == "ANY" else (PROTOCOL_NUMBERS[port.protocol],)
        protocols = IntervalSet.of((n, n) for n in numbers if n != SCTP or self._settings.sctp)
        if isinstance(port.port, str):
            return self._named_port(port.port, protocols, direction)
        end = port.end or 0
        if port.port == 0 and (end == 0 or self._settings.range_from_zero_is_all):
            return [Traffic(protocols)]
        high = end if end > port.port else port.port
        return [Traffic(protocols, PortSet(IntervalSet(((port.port, high),))))]

    def _named_port(self, name: str, protocols: IntervalSet, direction: Direction) -> list[Traffic]:
        if direction is Direction.INGRESS or self._settings.named_ports_per_identity:
            return [Traffic(protocols, PortSet(names=(name,)))]
        found: list[Traffic] = []
        for low, high in protocols:
            for protocol in range(low, high + 1):
                known = self._numbers.get((name, protocol), set())
                if len(known) == 1:
                    (number,) = known
                    ports = PortSet(IntervalSet(((number, number),)))
                    found.append(Traffic(IntervalSet(((protocol, protocol),)), ports))
        return found

    def _network_policy(self, policy: NetworkPolicy) -> _Entry:
        """Cilium's own reading: rules of a direction that policyTypes leave out count, and isolate."""
        isolating = policy.directions | frozenset(policy.excluded)
        rules: dict[Direction, tuple[tuple[bool, Rule], ...]] = {}
        for direction in isolating:
            found = policy.ingress if direction is Direction.INGRESS else policy.egress
            rules[direction] = tuple((False, self._kubernetes_rule(rule, policy, direction)) for rule in found)
        subject = And((self._on_pods(policy.subject), _named(policy.ref.namespace or "default")))
        return _Entry(subject, rules, isolating, isolating)

    def _kubernetes_rule(self, rule: kubernetes.Rule, policy: NetworkPolicy, direction: Direction) -> Rule:
        traffic: tuple[Traffic, ...] = EVERY_PACKET
        if rule.ports is not None:
            ports = [PortRule(0 if m.port is None else m.port, m.protocol, m.end) for m in rule.ports]
            traffic = tuple(t for port in ports for t in self._port(port, direction))
        peer: Predicate = ANY_END
        if rule.peers is not None:
            peer = AnyOf(tuple(self._kubernetes_peer(p, policy) for p in rule.peers))
        return Rule(Action.ALLOW, peer, traffic, provenance=Provenance(policy.ref, rule.field, rule.at))

    def _kubernetes_peer(self, peer: kubernetes.Peer, policy: NetworkPolicy) -> Predicate:
        if isinstance(peer, kubernetes.BlockPeer):
            return self._outside(peer.addresses(), whole=peer.cidr.prefixlen == 0)
        if peer.namespaces is None:
            return Pods(And((self._on_pods(peer.pods), _named(policy.ref.namespace or "default"))))
        selector = And((_namespace_keys(peer.namespaces), peer.pods))
        if self._settings.local_cluster:
            selector = And((selector, Requirement(_CLUSTER, Operator.IN, (self._settings.cluster_name,))))
        return AnyOf((Pods(self._on_pods(selector)), *_reserved_places(selector)))


@dataclass(frozen=True, slots=True)
class _Group:
    labels: Labels

    def labels_of(self, scope: Scope) -> Labels:
        return self.labels


def _named(namespace: str) -> Requirement:
    return Requirement(NAMESPACE_NAME, Operator.IN, (namespace,), Scope.NAMESPACE)


def _source(key: str) -> str:
    source, colon, _ = key.partition(":")
    return source if colon else "any"


def _bare(key: str) -> str:
    source, colon, rest = key.partition(":")
    return rest if colon else source


def _fixed(requirement: Requirement, value: str | None) -> Selector:
    """A requirement on a label that every pod has with one value, or (None) that none has."""
    labels = Labels() if value is None else Labels(((requirement.key, value),))
    return EVERYTHING if requirement.matches(labels) else NOTHING


def _requirements(selector: Selector) -> list[Requirement]:
    return list(requirements(selector))


def _without_namespace(selector: Selector) -> Selector:
    """A CNP's endpointSelector: the namespace label that a user put there is overwritten."""
    if isinstance(selector, And):
        kept = (t for t in selector.terms if not (isinstance(t, Requirement) and _bare(t.key) == _NAMESPACE))
        return And(tuple(kept))
    return selector


def _namespace_keys(selector: Selector) -> Selector:
    """A namespaceSelector in Cilium's label names; an empty one asks for any namespace."""
    found = _requirements(selector)
    if not found:
        return Requirement(_NAMESPACE, Operator.EXISTS)
    return And(tuple(replace(r, key=f"k8s:{_NAMESPACE_LABELS}{r.key}", scope=Scope.POD) for r in found))


_RESERVED = {
    Place.OWN_NODE: "reserved:host",
    Place.OTHER_NODE: "reserved:remote-node",
    Place.OUTSIDE: "reserved:world",
    Place.API_SERVER: "reserved:kube-apiserver",
}


def _reserved_places(selector: Selector) -> list[Predicate]:
    """Places whose reserved identity the selector matches: by name, or because it only has negations."""
    wanted = _as_reserved(selector)
    return [At(place) for place, label in _RESERVED.items() if matches(wanted, _Group(Labels(((label, ""),))))]


def _as_reserved(selector: Selector) -> Selector:
    """The selector over labels of source reserved; a key without a source matches every source."""
    if isinstance(selector, Requirement):
        key = selector.key if _source(selector.key) != "any" else f"reserved:{_bare(selector.key)}"
        return replace(selector, key=key, scope=Scope.POD)
    if isinstance(selector, Not):
        return Not(_as_reserved(selector.term))
    terms = tuple(_as_reserved(term) for term in selector.terms)
    return And(terms) if isinstance(selector, And) else Or(terms)


_ENTITIES: dict[str, tuple[Place, ...]] = {
    "world": (Place.OUTSIDE,),
    "host": (Place.OWN_NODE,),
    "remote-node": (Place.OTHER_NODE,),
    "kube-apiserver": (Place.API_SERVER,),
    "cluster": (Place.POD, Place.OWN_NODE, Place.OTHER_NODE, Place.API_SERVER),
}


def _entity(name: str) -> Predicate:
    """The ends of an entity; init, health, ingress, unmanaged and none are no ends of a flow here."""
    if name == "all":
        return ANY_END
    return AnyOf(tuple(At(place) for place in _ENTITIES.get(name, ())))


def _cluster_numbers(cluster: Cluster) -> dict[tuple[str, int], set[int]]:
    """The numbers of each named port and protocol over all pods that are not on the host's network."""
    found: dict[tuple[str, int], set[int]] = {}
    for pod in cluster.pods:
        for port in pod.named_ports if not pod.host_network else ():
            found.setdefault((port.name, PROTOCOL_NUMBERS.get(port.protocol, 0)), set()).add(port.port)
    return found
