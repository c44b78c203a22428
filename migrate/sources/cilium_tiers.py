"""ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2): rules in order, in a tier before all policies or behind.

Facts: pkg/k8s/cluster_network_policy.go of cilium/cilium v1.20.2. The kind is not validated by the agent: what the
API server lets through is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrate.model.addresses import Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.ruleset import Action
from migrate.model.selectors import EVERYTHING, Selector
from migrate.sources.cilium import DomainName
from migrate.sources.cilium_traffic import PortRule
from migrate.sources.fields import Fields, Problem, Reading, dotted
from migrate.sources.kubernetes import read_label_selector

KIND, GROUP, VERSION = "ClusterNetworkPolicy", "policy.networking.k8s.io", "v1alpha2"
ADMIN, BASELINE = "Admin", "Baseline"
_ACTIONS = {"Accept": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class TierPods:
    """Pods by their namespace's labels and, when given, by their own."""

    namespaces: Selector
    pods: Selector | None = None


@dataclass(frozen=True, slots=True)
class TierPeer:
    """One peer; with none of its parts it is nothing that this version of the API knows."""

    pods: TierPods | None = None
    nodes: Selector | None = None
    networks: tuple[Network, ...] | None = None
    domains: tuple[DomainName, ...] | None = None


@dataclass(frozen=True, slots=True)
class TierRule:
    """One rule. `peers` None means everyone, `ports` None every packet."""

    action: Action
    direction: Direction
    peers: tuple[TierPeer, ...] | None
    ports: tuple[PortRule, ...] | None
    field: str
    at: Location | None


@dataclass(frozen=True, slots=True)
class ClusterNetworkPolicy:
    """Rules in order for some pods. A lower priority goes first."""

    ref: ObjectRef
    at: Location | None
    tier: str
    priority: int
    subject: TierPods
    rules: tuple[TierRule, ...]
    problems: tuple[Problem, ...]


def is_cluster_network_policy(raw: RawObject) -> bool:
    """Whether an object is of this kind and version."""
    return raw.ref.kind == KIND and raw.ref.api_version == f"{GROUP}/{VERSION}"


def read_policy(raw: RawObject) -> ClusterNetworkPolicy:
    """A ClusterNetworkPolicy from its object; what cannot be used is in `problems`."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec") or Fields(reading, {}, ("spec",))
    root.close()
    rules = [*_read_rules(spec, "ingress", Direction.INGRESS), *_read_rules(spec, "egress", Direction.EGRESS)]
    subject = spec.child("subject")
    pods = _read_pods(subject) if subject is not None else None
    tier, priority = spec.text("tier"), spec.integer("priority")
    if tier not in (ADMIN, BASELINE):
        spec.invalid(f'"{tier}" is not {ADMIN} or {BASELINE}', "tier")
    if pods is None:
        spec.invalid("needs namespaces or pods", "subject")
    for fields in (subject, spec):
        if fields is not None:
            fields.close()
    found = pods or TierPods(EVERYTHING)
    return ClusterNetworkPolicy(raw.ref, raw.at(), tier, priority or 0, found, tuple(rules), tuple(reading.problems))


def _read_rules(spec: Fields, key: str, direction: Direction) -> Iterator[TierRule]:
    for fields in spec.children(key) or ():
        word = fields.text("action")
        if word not in _ACTIONS:
            fields.invalid(f'"{word}" is not one of {", ".join(_ACTIONS)}', "action")
        peers = fields.children("from" if direction is Direction.INGRESS else "to")
        ports = fields.children("protocols")
        fields.ignore("name")
        fields.close()
        yield TierRule(
            action=_ACTIONS.get(word, Action.ALLOW),
            direction=direction,
            peers=tuple(map(_read_peer, peers)) if peers else None,
            ports=tuple(port for entry in ports for port in _read_protocol(entry)) if ports else None,
            field=dotted(fields.path),
            at=fields.reading.raw.at(*fields.path),
        )


def _read_peer(fields: Fields) -> TierPeer:
    nodes = fields.child("nodes")
    networks, domains = fields.items("networks"), fields.items("domainNames")
    found = TierPeer(
        pods=_read_pods(fields),
        nodes=None if nodes is None else read_label_selector(nodes, Scope.POD),
        networks=None if networks is None else tuple(_networks(fields)),
        domains=None if domains is None else tuple(map(_domain, fields.texts("domainNames"))),
    )
    fields.close()
    return found


def _read_pods(fields: Fields) -> TierPods | None:
    namespaces, pods = fields.child("namespaces"), fields.child("pods")
    if pods is not None:
        found = TierPods(
            read_label_selector(pods.child("namespaceSelector"), Scope.POD),
            read_label_selector(pods.child("podSelector"), Scope.POD),
        )
        pods.close()
        return found
    return None if namespaces is None else TierPods(read_label_selector(namespaces, Scope.POD))


def _networks(fields: Fields) -> Iterator[Network]:
    for index, text in enumerate(fields.texts("networks")):
        try:
            yield parse_network(text)
        except ValueError:
            fields.invalid(f'"{text}" is not a CIDR', "networks", index)


def _domain(text: str) -> DomainName:
    """A star in front means any number of labels here, for which Cilium writes two."""
    is_pattern = text.startswith("*")
    return DomainName(f"*{text}" if is_pattern and not text.startswith("**") else text, is_pattern)


def _read_protocol(fields: Fields) -> Iterator[PortRule]:
    name = fields.text("destinationNamedPort")
    if name:
        yield PortRule(name, "ANY")
    for key in _PROTOCOLS:
        child = fields.child(key)
        if child is not None:
            yield _read_port(child, key.upper())
    fields.close()


def _read_port(fields: Fields, protocol: str) -> PortRule:
    port = fields.child("destinationPort")
    fields.close()
    if port is None:
        return PortRule(0, protocol)
    number, reach = port.integer("number"), port.child("range")
    port.close()
    if reach is None:
        return PortRule(number or 0, protocol)
    found = PortRule(reach.integer("start") or 0, protocol, reach.integer("end"))
    reach.close()
    return found
