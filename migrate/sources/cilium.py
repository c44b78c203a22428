"""Cilium's policy kinds as typed values: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.

Facts: pkg/policy/api of cilium/cilium v1.18.8 and v1.20.2 (rule kinds, port strings with base prefixes, ICMP type
names); Go tells a missing list from an empty one, and so does this reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Labels, Scope
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import Selector
from migrate.sources.fields import Fields, Problem, Reading, dotted
from migrate.sources.kubernetes import read_label_selector

CNP = "CiliumNetworkPolicy"
CCNP = "CiliumClusterwideNetworkPolicy"
PROTOCOLS = ("TCP", "UDP", "SCTP", "ANY")
_IPV4_TYPES = {
    "EchoReply": 0,
    "DestinationUnreachable": 3,
    "Redirect": 5,
    "Echo": 8,
    "EchoRequest": 8,
    "RouterAdvertisement": 9,
    "RouterSelection": 10,
    "TimeExceeded": 11,
    "ParameterProblem": 12,
    "Timestamp": 13,
    "TimestampReply": 14,
    "Photuris": 40,
    "ExtendedEchoRequest": 42,
    "ExtendedEchoReply": 43,
}
_IPV6_TYPES = {
    "DestinationUnreachable": 1,
    "PacketTooBig": 2,
    "TimeExceeded": 3,
    "ParameterProblem": 4,
    "EchoRequest": 128,
    "EchoReply": 129,
    "MulticastListenerQuery": 130,
    "MulticastListenerReport": 131,
    "MulticastListenerDone": 132,
    "RouterSolicitation": 133,
    "RouterAdvertisement": 134,
    "NeighborSolicitation": 135,
    "NeighborAdvertisement": 136,
    "RedirectMessage": 137,
    "RouterRenumbering": 138,
    "ICMPNodeInformationQuery": 139,
    "ICMPNodeInformationResponse": 140,
    "InverseNeighborDiscoverySolicitation": 141,
    "InverseNeighborDiscoveryAdvertisement": 142,
    "HomeAgentAddressDiscoveryRequest": 144,
    "HomeAgentAddressDiscoveryReply": 145,
    "MobilePrefixSolicitation": 146,
    "MobilePrefixAdvertisement": 147,
    "DuplicateAddressRequestCodeSuffix": 157,
    "DuplicateAddressConfirmationCodeSuffix": 158,
    "ExtendedEchoRequest": 160,
    "ExtendedEchoReply": 161,
}


@dataclass(frozen=True, slots=True)
class CidrRule:
    """One entry of a CIDR list: a prefix less exceptions, a group by name, or groups by label."""

    cidr: Network | None = None
    excepts: tuple[Network, ...] = ()
    group: str | None = None
    groups: Selector | None = None


@dataclass(frozen=True, slots=True)
class PortRule:
    """A port: number (0 all) with an optional end, or a name. `protocol` ANY is TCP, UDP and SCTP."""

    port: int | str
    protocol: str
    end: int | None = None


@dataclass(frozen=True, slots=True)
class IcmpRule:
    """An ICMP type of a family (4 or 6)."""

    family: int
    type: int


@dataclass(frozen=True, slots=True)
class CiliumRule:
    """One item of ingress, ingressDeny, egress or egressDeny. None: the list is missing, which is not empty."""

    endpoints: tuple[Selector, ...] | None
    cidrs: tuple[CidrRule, ...] | None
    entities: tuple[str, ...] | None
    nodes: tuple[Selector, ...] | None
    ports: tuple[PortRule, ...] | None
    icmp: tuple[IcmpRule, ...] | None
    deny: bool
    direction: Direction
    proxied: bool
    unmodelled: tuple[str, ...]
    field: str
    at: Location | None

    @property
    def has_peers(self) -> bool:
        """Whether any list of peers is there, be it empty."""
        return any(part is not None for part in (self.endpoints, self.cidrs, self.entities, self.nodes))


@dataclass(frozen=True, slots=True)
class CiliumSpec:
    """One rule set with its subject; `node_selector` for host policies. `default_deny` holds what was given."""

    endpoint_selector: Selector | None
    node_selector: Selector | None
    rules: tuple[CiliumRule, ...]
    present: frozenset[Direction]
    default_deny: dict[Direction, bool]


@dataclass(frozen=True, slots=True)
class CiliumPolicy:
    """A CNP (namespace given) or CCNP."""

    ref: ObjectRef
    at: Location | None
    namespace: str | None
    specs: tuple[CiliumSpec, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class CidrGroup:
    """A CiliumCIDRGroup."""

    name: str
    labels: Labels
    addresses: AddressSet


_LISTS = {
    "ingress": (Direction.INGRESS, False),
    "ingressDeny": (Direction.INGRESS, True),
    "egress": (Direction.EGRESS, False),
    "egressDeny": (Direction.EGRESS, True),
}


def read_policy(raw: RawObject) -> CiliumPolicy:
    """A CNP or CCNP from its object; what cannot be used is in `problems`."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    one, many = root.child("spec"), root.children("specs")
    root.close()
    found = [_read_spec(fields) for fields in ((one,) if one else ()) + (many or ())]
    namespace = (raw.ref.namespace or "default") if raw.ref.kind == CNP else None
    return CiliumPolicy(raw.ref, raw.at(), namespace, tuple(found), tuple(reading.problems))


def read_group(raw: RawObject) -> CidrGroup:
    """A CiliumCIDRGroup; prefixes that are none are left out."""
    reading = Reading(raw)
    spec = reading.root().child("spec")
    nets = [_network(spec, text) for text in spec.texts("externalCIDRs")] if spec else []
    metadata = reading.root().child("metadata")
    labels = Labels.of(metadata.string_map("labels")) if metadata else Labels()
    return CidrGroup(raw.ref.name, labels, AddressSet.of(net for net in nets if net is not None))


def _read_spec(fields: Fields) -> CiliumSpec:
    fields.ignore("description", "labels", "log")
    default = fields.child("enableDefaultDeny")
    given: dict[Direction, bool] = {}
    if default is not None:
        given = {d: default.flag(d.value) for d in Direction if default.has(d.value)}
        default.close()
    rules: list[CiliumRule] = []
    present: set[Direction] = set()
    for key, (direction, deny) in _LISTS.items():
        items = fields.children(key)
        if items:
            present.add(direction)
        rules += [_read_rule(item, direction, deny) for item in items or ()]
    subject, nodes = fields.child("endpointSelector"), fields.child("nodeSelector")
    fields.close()
    return CiliumSpec(
        endpoint_selector=None if subject is None else read_label_selector(subject, Scope.POD),
        node_selector=None if nodes is None else read_label_selector(nodes, Scope.POD),
        rules=tuple(rules),
        present=frozenset(present),
        default_deny=given,
    )


def _read_rule(fields: Fields, direction: Direction, deny: bool) -> CiliumRule:
    side = "from" if direction is Direction.INGRESS else "to"
    endpoints, nodes = fields.children(f"{side}Endpoints"), fields.children(f"{side}Nodes")
    entities = fields.items(f"{side}Entities")
    names = None if entities is None else fields.texts(f"{side}Entities")
    ports, proxied = _read_ports(fields)
    rule = CiliumRule(
        endpoints=None if endpoints is None else tuple(read_label_selector(e, Scope.POD) for e in endpoints),
        cidrs=_read_cidrs(fields, side),
        entities=names,
        nodes=None if nodes is None else tuple(read_label_selector(n, Scope.POD) for n in nodes),
        ports=ports,
        icmp=_read_icmp(fields),
        deny=deny,
        direction=direction,
        proxied=proxied,
        unmodelled=tuple(k for k in ("toFQDNs", "toServices", f"{side}Groups", f"{side}Requires") if fields.has(k)),
        field=dotted(fields.path),
        at=fields.reading.raw.at(*fields.path),
    )
    fields.ignore("toFQDNs", "toServices", f"{side}Groups", f"{side}Requires", "authentication")
    fields.close()
    return rule


def _read_cidrs(fields: Fields, side: str) -> tuple[CidrRule, ...] | None:
    plain, sets = fields.items(f"{side}CIDR"), fields.children(f"{side}CIDRSet")
    if plain is None and sets is None:
        return None
    found = [CidrRule(_network(fields, text)) for text in fields.texts(f"{side}CIDR")]
    for entry in sets or ():
        selector = entry.child("cidrGroupSelector")
        text = entry.text("cidr")
        excepts = [_network(entry, hole) for hole in entry.texts("except")]
        found.append(
            CidrRule(
                cidr=_network(entry, text) if text else None,
                excepts=tuple(hole for hole in excepts if hole is not None),
                group=entry.text("cidrGroupRef") or None,
                groups=None if selector is None else read_label_selector(selector, Scope.POD),
            )
        )
        entry.close()
    return tuple(found)


def _network(fields: Fields, text: str) -> Network | None:
    try:
        return parse_network(text)
    except ValueError:
        fields.invalid(f'"{text}" is not a CIDR')
        return None


def _read_ports(fields: Fields) -> tuple[tuple[PortRule, ...] | None, bool]:
    """The ports of all toPorts items together, and whether a proxy judges what they let through."""
    items = fields.children("toPorts")
    if items is None:
        return None, False
    found: list[PortRule] = []
    proxied = False
    for item in items:
        proxied = proxied or item.has("rules")
        item.ignore("rules", "terminatingTLS", "originatingTLS", "serverNames", "listener")
        for entry in item.children("ports") or ():
            port = _read_port(entry)
            if port is not None:
                found.append(port)
        item.close()
    return (tuple(found) if items else None), proxied


def _read_port(fields: Fields) -> PortRule | None:
    text = str(fields.scalar("port") or "0")
    protocol, end = fields.text("protocol", "ANY"), fields.integer("endPort")
    fields.close()
    if protocol not in PROTOCOLS:
        fields.invalid(f'protocol "{protocol}" is not modelled', "protocol")
        return None
    number = _port_number(text)
    if number is None:
        return PortRule(text.lower(), protocol)
    if not 0 <= number <= 65535:
        fields.invalid(f"{number} is not a port", "port")
        return None
    return PortRule(number, protocol, end)


def _port_number(text: str) -> int | None:
    """Go's ParseUint with base 0: a leading 0 means octal, 0x hexadecimal; None for a name."""
    octal = len(text) > 1 and text[0] == "0" and text.isascii() and text.isdigit()
    try:
        return int(text, 8) if octal else int(text, 0)
    except ValueError:
        return None


def _read_icmp(fields: Fields) -> tuple[IcmpRule, ...] | None:
    items = fields.children("icmps")
    if items is None:
        return None
    found: list[IcmpRule] = []
    for item in items:
        for entry in item.children("fields") or ():
            family, kind = entry.text("family", "IPv4"), entry.scalar("type")
            entry.close()
            names = _IPV6_TYPES if family == "IPv6" else _IPV4_TYPES
            number = names.get(kind) if isinstance(kind, str) and not kind.isdigit() else int(kind or 0)
            if number is None:
                entry.invalid(f'"{kind}" is not an ICMP type of {family}', "type")
                continue
            found.append(IcmpRule(6 if family == "IPv6" else 4, number))
        item.close()
    return tuple(found) if items else None
