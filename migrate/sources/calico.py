"""Calico's policy kinds as typed values: projectcalico.org/v3, and crd.projectcalico.org/v1 as stored.

Facts: libcalico-go clientv3 (defaults of `types`), felix/calc policy_sorter.go (raw objects without types hold in
both directions), lib/backend/k8s/resources (metadata in the annotation projectcalico.org/metadata).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from migrate.model.addresses import Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Labels, Scope
from migrate.model.raw import Json, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import EVERYTHING, NOTHING, Operator, Requirement, Selector
from migrate.sources.calico_selectors import (
    MakeRequirement,
    SelectorError,
    parse_namespace_selector,
    parse_selector,
)
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.fields import Fields, Problem, Reading, dotted
from migrate.sources.kubernetes import NAMESPACE_NAME, is_port_name

GROUPS = ("projectcalico.org", "crd.projectcalico.org")
HOST_ENDPOINT = "HostEndpoint"
STORED_GROUP = "crd.projectcalico.org"
ACTIONS = ("Allow", "Deny", "Pass", "Log")
PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")
HAS_NAMESPACE = Requirement(NAMESPACE_NAME, Operator.EXISTS, (), Scope.NAMESPACE)
ORCHESTRATOR = "projectcalico.org/orchestrator"
_NUMBERS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLite"}
_NAMES = {name.lower(): name for name in _NUMBERS.values()}


@dataclass(frozen=True, slots=True)
class PortRange:
    """Numeric ports, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class IcmpMatch:
    """An ICMP type and code; None where any will do."""

    type: int | None
    code: int | None


@dataclass(frozen=True, slots=True)
class ServiceMatch:
    """A Service by name; `namespace` is empty for the policy's own."""

    name: str
    namespace: str


@dataclass(frozen=True, slots=True)
class EntityMatch:
    """What a rule asks of one end. All parts that are given must hold.

    `selector` and `not_selector` are None when not given. `ports` holds ranges and names; () when any.
    """

    selector: Selector | None = None
    not_selector: Selector | None = None
    namespaces: Selector | None = None
    account_names: tuple[str, ...] = ()
    account_selector: Selector | None = None
    nets: tuple[Network, ...] = ()
    not_nets: tuple[Network, ...] = ()
    ports: tuple[PortRange | str, ...] = ()
    not_ports: tuple[PortRange | str, ...] = ()
    service: ServiceMatch | None = None
    field: str = ""

    def used(self) -> tuple[str, ...]:
        """Names of the parts that are given, as the API spells them."""
        parts = {
            "selector": self.selector,
            "notSelector": self.not_selector,
            "namespaceSelector": self.namespaces,
            "serviceAccounts": self.account_names or self.account_selector,
            "nets": self.nets,
            "notNets": self.not_nets,
            "ports": self.ports,
            "notPorts": self.not_ports,
            "services": self.service,
        }
        return tuple(name for name, value in parts.items() if value)


@dataclass(frozen=True, slots=True)
class CalicoRule:
    """One rule. `protocol` is a name (TCP, ICMPv6 ...) or the decimal number of a protocol without one."""

    action: str
    protocol: str | None
    not_protocol: str | None
    icmp: IcmpMatch | None
    not_icmp: IcmpMatch | None
    ip_version: int | None
    source: EntityMatch
    destination: EntityMatch
    has_http: bool
    field: str
    at: Location | None


@dataclass(frozen=True, slots=True)
class CalicoPolicy:
    """A NetworkPolicy (namespace given) or a GlobalNetworkPolicy, staged or not.

    `name` is the name that users gave, without the prefix of stored objects. `order` None sorts last.
    """

    ref: ObjectRef
    at: Location | None
    name: str
    namespace: str | None
    staged: bool
    tier: str
    order: float | None
    selector: Selector
    namespace_selector: Selector | None
    account_selector: Selector | None
    directions: frozenset[Direction]
    ingress: tuple[CalicoRule, ...]
    egress: tuple[CalicoRule, ...]
    do_not_track: bool
    pre_dnat: bool
    apply_on_forward: bool
    problems: tuple[Problem, ...]

    def rules(self, direction: Direction) -> tuple[CalicoRule, ...]:
        """The rules of one direction; none when the policy does not hold in it."""
        if direction not in self.directions:
            return ()
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """A NetworkSet (namespace given) or GlobalNetworkSet: addresses with labels of their own.

    A HostEndpoint is one too as far as rules are concerned: its expected addresses with its labels.
    """

    ref: ObjectRef
    at: Location | None
    name: str
    namespace: str | None
    labels: Labels
    namespace_labels: Labels
    nets: tuple[Network, ...]
    problems: tuple[Problem, ...]

    def labels_of(self, scope: Scope) -> Labels:
        """What a requirement of that scope reads; a set has no service account."""
        if scope is Scope.POD:
            return self.labels
        return self.namespace_labels if scope is Scope.NAMESPACE else Labels()


def requirement(key: str, operator: Operator, values: tuple[str, ...]) -> Selector:
    """A term of a policy's or rule's selector, with Calico's automatic and inherited labels resolved.

    ORCHESTRATOR stays as it is: pods have it with the value k8s, network sets and hosts do not have it.

    Source: libcalico-go/lib/backend/syncersv1/updateprocessors (pcns., pcsa. and projectcalico.org/ labels).
    """
    if key == "projectcalico.org/namespace":
        return Requirement(NAMESPACE_NAME, operator, values, Scope.NAMESPACE)
    if key == "projectcalico.org/serviceaccount":
        return Requirement(SERVICE_ACCOUNT_NAME, operator, values, Scope.SERVICE_ACCOUNT)
    if key.startswith("pcns."):
        return _scoped(key.removeprefix("pcns."), operator, values, Scope.NAMESPACE)
    if key.startswith("pcsa."):
        return _scoped(key.removeprefix("pcsa."), operator, values, Scope.SERVICE_ACCOUNT)
    return Requirement(key, operator, values)


def namespace_requirement(key: str, operator: Operator, values: tuple[str, ...]) -> Selector:
    """A term of a namespaceSelector: every key is a namespace label."""
    return _scoped(key, operator, values, Scope.NAMESPACE)


def account_requirement(key: str, operator: Operator, values: tuple[str, ...]) -> Selector:
    """A term of a serviceAccountSelector: every key is a service account label."""
    return _scoped(key, operator, values, Scope.SERVICE_ACCOUNT)


def _scoped(key: str, operator: Operator, values: tuple[str, ...], scope: Scope) -> Selector:
    name_key = NAMESPACE_NAME if scope is Scope.NAMESPACE else SERVICE_ACCOUNT_NAME
    return Requirement(name_key if key == "projectcalico.org/name" else key, operator, values, scope)


def read_policy(raw: RawObject) -> CalicoPolicy:
    """A policy from its object; what cannot be used is in `problems`, and then nothing may be built on it."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec") or Fields(reading, {}, ("spec",))
    root.close()
    ingress, egress = _read_rules(spec, "ingress"), _read_rules(spec, "egress")
    tier = spec.text("tier") or "default"
    spec.ignore("performanceHints", "stagedAction")
    policy = CalicoPolicy(
        ref=raw.ref,
        at=raw.at(),
        name=plain_name(raw, tier),
        namespace=owning_namespace(raw),
        staged=raw.ref.kind.startswith("Staged"),
        tier=tier,
        order=spec.number("order"),
        selector=_selector(spec, "selector") or EVERYTHING,
        namespace_selector=_plain_namespace_selector(spec),
        account_selector=_optional(spec, "serviceAccountSelector", account_requirement),
        directions=_directions(raw, spec, bool(ingress), bool(egress)),
        ingress=ingress,
        egress=egress,
        do_not_track=spec.flag("doNotTrack"),
        pre_dnat=spec.flag("preDNAT"),
        apply_on_forward=spec.flag("applyOnForward"),
        problems=(),
    )
    spec.close()
    return _with_problems(policy, reading)


def _with_problems(policy: CalicoPolicy, reading: Reading) -> CalicoPolicy:
    return replace(policy, problems=tuple(reading.problems))


def plain_name(raw: RawObject, tier: str = "default") -> str:
    """The name a user knows: stored objects carry "<tier>." before it, or the real one in an annotation."""
    annotated = stored_metadata(raw).get("name")
    if isinstance(annotated, str) and annotated:
        return annotated
    name = raw.ref.name
    if raw.ref.group == STORED_GROUP:
        return name.removeprefix(f"{tier}.")
    return name


def stored_metadata(raw: RawObject) -> Mapping[str, Json]:
    """What Calico keeps as JSON in the annotation projectcalico.org/metadata of stored objects; empty without it."""
    metadata = raw.data.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.get("projectcalico.org/metadata") if isinstance(annotations, dict) else None
    if not isinstance(text, str):
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def object_labels(raw: RawObject) -> Labels:
    """Labels of a Calico object: those of its metadata and of the annotation, the annotation wins."""
    found: dict[str, str] = {}
    metadata = raw.data.get("metadata")
    for owner in (metadata if isinstance(metadata, dict) else {}, stored_metadata(raw)):
        labels = owner.get("labels")
        if isinstance(labels, dict):
            found |= {key: value for key, value in labels.items() if isinstance(value, str)}
    return Labels.of(found)


def owning_namespace(raw: RawObject) -> str | None:
    """The namespace of a namespaced kind ("default" when none is given); None for a global kind."""
    is_global = "Global" in raw.ref.kind or raw.ref.kind == HOST_ENDPOINT
    return None if is_global else raw.ref.namespace or "default"


def read_network_set(raw: RawObject, namespaces: Mapping[str, Labels]) -> NetworkSet:
    """A set from its object; `namespaces` are the labels of each namespace, which a namespaced set inherits."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec") or Fields(reading, {}, ("spec",))
    root.close()
    is_host = raw.ref.kind == HOST_ENDPOINT
    nets = _networks(spec, "expectedIPs" if is_host else "nets")
    if is_host:
        spec.ignore("node", "interfaceName", "profiles", "ports")
    spec.close()
    namespace = owning_namespace(raw)
    return NetworkSet(
        ref=raw.ref,
        at=raw.at(),
        name=plain_name(raw),
        namespace=namespace,
        labels=object_labels(raw),
        namespace_labels=namespaces.get(namespace or "", _name_label(namespace)),
        nets=nets,
        problems=tuple(reading.problems),
    )


def _name_label(namespace: str | None) -> Labels:
    return Labels(((NAMESPACE_NAME, namespace),)) if namespace else Labels()


def _directions(raw: RawObject, spec: Fields, ingress: bool, egress: bool) -> frozenset[Direction]:
    """`types`, or the default: both for stored objects, by the lists that have rules for all others."""
    types = spec.texts("types")
    for index, text in enumerate(types):
        if text not in ("Ingress", "Egress"):
            spec.invalid(f'"{text}" is not Ingress or Egress', "types", index)
    if types:
        return frozenset(Direction(text.lower()) for text in types if text in ("Ingress", "Egress"))
    if raw.ref.group == STORED_GROUP or (ingress and egress):
        return frozenset(Direction)
    return frozenset({Direction.EGRESS if egress else Direction.INGRESS})


def _read_rules(spec: Fields, key: str) -> tuple[CalicoRule, ...]:
    return tuple(_read_rule(fields) for fields in spec.children(key) or ())


def _read_rule(fields: Fields) -> CalicoRule:
    action = fields.text("action")
    if action not in ACTIONS:
        fields.invalid(f'"{action}" is not Allow, Deny, Pass or Log', "action")
    version = fields.integer("ipVersion")
    if version not in (None, 4, 6):
        fields.invalid(f"{version} is not 4 or 6", "ipVersion")
    http = fields.child("http")
    fields.ignore("metadata")
    rule = CalicoRule(
        action=action,
        protocol=_protocol(fields, "protocol"),
        not_protocol=_protocol(fields, "notProtocol"),
        icmp=_icmp(fields, "icmp"),
        not_icmp=_icmp(fields, "notICMP"),
        ip_version=version,
        source=_entity(fields, "source"),
        destination=_entity(fields, "destination"),
        has_http=http is not None,
        field=dotted(fields.path),
        at=fields.reading.raw.at(*fields.path),
    )
    _check_ports(fields, rule)
    fields.close()
    return rule


def _protocol(fields: Fields, key: str) -> str | None:
    value = fields.scalar(key)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int):
        if not 1 <= value <= 255:
            fields.invalid(f"{value} is not a protocol number (1 to 255)", key)
        return _NUMBERS.get(value, str(value))
    name = _NAMES.get(value.lower())
    if name is None:
        fields.invalid(f'"{value}" is not a protocol that Calico knows', key)
    return name


def _icmp(fields: Fields, key: str) -> IcmpMatch | None:
    child = fields.child(key)
    if child is None:
        return None
    found = IcmpMatch(child.integer("type"), child.integer("code"))
    if found.code is not None and found.type is None:
        child.invalid("an ICMP code needs a type", "code")
    for name, value, top in (("type", found.type, 254), ("code", found.code, 255)):
        if value is not None and not 0 <= value <= top:
            child.invalid(f"{value} is not an ICMP {name} (0 to {top})", name)
    child.close()
    return found


def _check_ports(fields: Fields, rule: CalicoRule) -> None:
    """Calico refuses ports of a rule whose protocol has none, by number or by name."""
    if rule.protocol in PORT_PROTOCOLS:
        return
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        for key in ("ports", "notPorts"):
            if key in entity.used():
                fields.invalid(f"ports need protocol {', '.join(PORT_PROTOCOLS)}", name, key)


def _entity(fields: Fields, key: str) -> EntityMatch:
    child = fields.child(key)
    if child is None:
        return EntityMatch(field=f"{dotted(fields.path)}.{key}")
    accounts, service = child.child("serviceAccounts"), child.child("services")
    found = EntityMatch(
        selector=_selector(child, "selector"),
        not_selector=_selector(child, "notSelector"),
        namespaces=_namespaces(child),
        account_names=accounts.texts("names") if accounts else (),
        account_selector=_optional(accounts, "selector", account_requirement) if accounts else None,
        nets=_networks(child, "nets", bare=False),
        not_nets=_networks(child, "notNets", bare=False),
        ports=_ports(child, "ports"),
        not_ports=_ports(child, "notPorts"),
        service=ServiceMatch(service.text("name"), service.text("namespace")) if service else None,
        field=dotted(child.path),
    )
    for part in (accounts, service, child):
        if part is not None:
            part.close()
    return found


def _selector(fields: Fields, key: str) -> Selector | None:
    return _optional(fields, key, requirement)


def _optional(fields: Fields, key: str, make: MakeRequirement) -> Selector | None:
    text = fields.text(key)
    if not text.strip(" \t"):
        return None
    try:
        return parse_selector(text, make)
    except SelectorError as error:
        fields.invalid(str(error), key)
        return NOTHING


def _namespaces(fields: Fields) -> Selector | None:
    text = fields.text("namespaceSelector")
    if not text.strip(" \t"):
        return None
    try:
        return parse_namespace_selector(text, namespace_requirement, HAS_NAMESPACE)
    except SelectorError as error:
        fields.invalid(str(error), "namespaceSelector")
        return NOTHING


def _plain_namespace_selector(fields: Fields) -> Selector | None:
    return _optional(fields, "namespaceSelector", namespace_requirement)


def _networks(fields: Fields, key: str, *, bare: bool = True) -> tuple[Network, ...]:
    """A list of CIDRs; network sets and host endpoints may hold bare addresses too, rules may not."""
    found: list[Network] = []
    for index, text in enumerate(fields.texts(key)):
        try:
            network = parse_network(text) if bare or "/" in text else None
        except ValueError:
            network = None
        if network is None:
            fields.invalid(f'"{text}" is not a CIDR such as 10.0.0.0/8', key, index)
        else:
            found.append(network)
    return tuple(found)


def _ports(fields: Fields, key: str) -> tuple[PortRange | str, ...]:
    found: list[PortRange | str] = []
    for index, value in enumerate(fields.items(key) or ()):
        port = _port(value)
        if port is None:
            fields.invalid(f"{value!r} is not a port, a range such as 80:90, or a port name", key, index)
        else:
            found.append(port)
    return tuple(found)


def _port(value: Json) -> PortRange | str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    low, colon, high = text.partition(":")
    if low.isascii() and low.isdigit() and (not colon or (high.isascii() and high.isdigit())):
        found = PortRange(int(low), int(high if colon else low))
        return found if 1 <= found.low <= found.high <= 65535 else None
    return text if is_port_name(text) else None
