"""Rules of Calico's policies as typed values, with what Calico's own validation refuses.

Facts: libcalico-go/lib/validator/v3 (what a rule may hold), lib/backend/syncersv1/updateprocessors (label names).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from migrate.model.addresses import Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import Json
from migrate.model.refs import Location
from migrate.model.selectors import EVERYTHING, NOTHING, Not, Operator, Requirement, Selector
from migrate.sources.calico_selectors import (
    MakeRequirement,
    SelectorError,
    parse_namespace_selector,
    parse_selector,
)
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.fields import Fields, dotted
from migrate.sources.kubernetes import NAMESPACE_NAME, is_port_name

ACTIONS = ("Allow", "Deny", "Pass", "Log")
PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")
HAS_NAMESPACE = Requirement(NAMESPACE_NAME, Operator.EXISTS, (), Scope.NAMESPACE)
_NUMBERS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLite"}
_NAMES = {name.lower(): name for name in _NUMBERS.values()}
_FAMILY_OF = {"ICMP": 4, "ICMPv6": 6}
_MOST_DIGITS = 20
"""A port or protocol with more digits is none; Python refuses to read some thousands."""
_NUMBER = re.compile(rf"[0-9]{{1,{_MOST_DIGITS}}}")
_PORTS = re.compile(r"([0-9]+)(?::([0-9]+))?")


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
    """A Service by name. An empty `namespace` should be the policy's own, but Calico then finds no Service."""

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

    def is_labelled(self, namespace: str | None) -> bool:
        """Whether only endpoints and sets with labels are meant, in a policy of a namespace or (None) a global one.

        A notSelector alone means any address without the labels in a global policy; in a namespace it narrows.
        """
        return bool(
            self.selector is not None
            or self.account_names
            or self.account_selector is not None
            or self.namespaces is not None
            or (self.not_selector is not None and namespace)
        )

    def label_terms(self) -> tuple[Selector, ...]:
        """What is asked of labels, but for namespaces; all of it must hold."""
        accounts = self.account_names
        terms = (
            self.selector,
            Requirement(SERVICE_ACCOUNT_NAME, Operator.IN, accounts, Scope.SERVICE_ACCOUNT) if accounts else None,
            self.account_selector,
            None if self.not_selector is None else Not(self.not_selector),
        )
        return tuple(term for term in terms if term is not None)

    def terms(self, namespace: str | None) -> tuple[Selector, ...]:
        """What is asked of labels, with the namespaces that are named or that a policy of a namespace implies."""
        if self.namespaces is not None:
            return (*self.label_terms(), self.namespaces)
        if namespace:
            own = Requirement(NAMESPACE_NAME, Operator.IN, (namespace,), Scope.NAMESPACE)
            return (*self.label_terms(), own)
        return self.label_terms()


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

    @property
    def families(self) -> frozenset[int]:
        """The IP versions that the rule holds for: a list of networks without one of a version rules that out."""
        found = {4, 6} if self.ip_version is None else {self.ip_version}
        for entity in (self.source, self.destination):
            for nets in (entity.nets, entity.not_nets):
                if nets:
                    found &= {net.version for net in nets}
        return frozenset(found)


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


def read_rules(spec: Fields, direction: Direction, namespace: str | None) -> tuple[CalicoRule, ...]:
    """The rules of one direction; `namespace` is that of the policy, None for a global one."""
    children = spec.children(direction.value) or ()
    return tuple(_read_rule(fields, direction, namespace) for fields in children)


def _read_rule(fields: Fields, direction: Direction, namespace: str | None) -> CalicoRule:
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
    for check in (_check_ports, _check_families, _check_icmp, _check_http, _check_services):
        check(fields, rule, direction)
    if namespace is None:
        _check_service_namespace(fields, rule)
    fields.close()
    return rule


def _protocol(fields: Fields, key: str) -> str | None:
    value = fields.scalar(key)
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
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


def _check_ports(fields: Fields, rule: CalicoRule, direction: Direction) -> None:
    """Calico refuses ports of a rule whose protocol has none, by number or by name."""
    if rule.protocol in PORT_PROTOCOLS:
        return
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        for key in ("ports", "notPorts"):
            if key in entity.used():
                fields.invalid(f"ports need protocol {', '.join(PORT_PROTOCOLS)}", name, key)


def _check_families(fields: Fields, rule: CalicoRule, direction: Direction) -> None:
    """One rule is about one IP version as soon as it names ICMP or networks."""
    if rule.icmp is not None and rule.protocol not in _FAMILY_OF:
        fields.invalid("it needs protocol ICMP or ICMPv6", "icmp")
    seen = rule.ip_version
    for protocol in (rule.protocol, rule.not_protocol):
        version = _FAMILY_OF.get(protocol or "")
        if version is not None and rule.ip_version not in (None, version):
            fields.invalid(f"{protocol} is IPv{version}", "ipVersion")
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        for key, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
            for net in nets:
                seen = seen or net.version
                if net.version != seen:
                    fields.invalid("a rule is about IPv4 or about IPv6, not both", name, key)
                    return


def _check_icmp(fields: Fields, rule: CalicoRule, direction: Direction) -> None:
    """Felix's dataplanes differ on a negated type without a protocol: iptables refuses it, eBPF asks any packet."""
    if rule.not_icmp is not None and rule.protocol not in ("ICMP", "ICMPv6"):
        fields.invalid("without protocol ICMP or ICMPv6 Calico's dataplanes differ on what it means", "notICMP")


def _check_http(fields: Fields, rule: CalicoRule, direction: Direction) -> None:
    if not rule.has_http:
        return
    if rule.action != "Allow" or direction is Direction.EGRESS:
        fields.invalid("only a rule with action Allow under ingress may have it", "http")
    elif rule.protocol not in (None, "TCP"):
        fields.invalid(f"it needs protocol TCP, not {rule.protocol}", "http")


def _check_services(fields: Fields, rule: CalicoRule, direction: Direction) -> None:
    """A Service stands where the peer does, by name, and beside no other condition on that end."""
    wanted = "source" if direction is Direction.INGRESS else "destination"
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        if entity.service is None:
            continue
        others = [part for part in entity.used() if part != "services"]
        if name == "source":
            others = [part for part in others if part not in ("ports", "notPorts")]
        if name != wanted:
            fields.invalid(f"an {direction.value} rule may only have it as its {wanted}", name, "services")
        elif not entity.service.name:
            fields.invalid("it needs the name of a Service", name, "services")
        elif others:
            fields.invalid(f"it cannot stand beside {', '.join(others)}", name, "services")


def _check_service_namespace(fields: Fields, rule: CalicoRule) -> None:
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        if entity.service is not None and not entity.service.namespace:
            fields.invalid("in a GlobalNetworkPolicy it needs the namespace of the Service", name, "services")


def _entity(fields: Fields, key: str) -> EntityMatch:
    child = fields.child(key)
    if child is None:
        return EntityMatch(field=f"{dotted(fields.path)}.{key}")
    accounts, service = child.child("serviceAccounts"), child.child("services")
    found = EntityMatch(
        selector=read_selector(child, "selector"),
        not_selector=read_selector(child, "notSelector"),
        namespaces=_namespaces(child),
        account_names=accounts.texts("names") if accounts else (),
        account_selector=optional_selector(accounts, "selector", account_requirement) if accounts else None,
        nets=read_networks(child, "nets", bare=False),
        not_nets=read_networks(child, "notNets", bare=False),
        ports=_ports(child, "ports"),
        not_ports=_ports(child, "notPorts"),
        service=ServiceMatch(service.text("name"), service.text("namespace")) if service else None,
        field=dotted(child.path),
    )
    for part in (accounts, service, child):
        if part is not None:
            part.close()
    return found


def read_selector(fields: Fields, key: str) -> Selector | None:
    """A selector over the labels of endpoints and sets; None when it is empty."""
    return optional_selector(fields, key, requirement)


def optional_selector(
    fields: Fields, key: str, make: MakeRequirement, everything: Selector = EVERYTHING
) -> Selector | None:
    """A selector whose terms are made by `make`, all() being `everything`; None when it is empty."""
    text = fields.text(key)
    if not text.strip(" \t"):
        return None
    try:
        return parse_selector(text, make, everything)
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


def read_networks(fields: Fields, key: str, *, bare: bool = True) -> tuple[Network, ...]:
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
    match = _PORTS.fullmatch(text)
    if match is None:
        return text if is_port_name(text) else None
    low, high = (0 if len(part) > _MOST_DIGITS else int(part) for part in (match[1], match[2] or match[1]))
    return PortRange(low, high) if 1 <= low <= high <= 65535 else None
