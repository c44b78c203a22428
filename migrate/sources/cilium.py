"""Cilium's policy kinds as typed values: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.

Facts: pkg/policy/api of cilium/cilium v1.18.8 and v1.20.2 (rule kinds, port strings with base prefixes, ICMP type
names); Go tells a missing list from an empty one, and so does this reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.addresses import Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Labels, Scope
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import Selector
from migrate.sources.fields import Fields, Problem, Reading, dotted
from migrate.sources.kubernetes import is_port_name, read_label_selector

CNP = "CiliumNetworkPolicy"
CCNP = "CiliumClusterwideNetworkPolicy"
PROTOCOLS = ("TCP", "UDP", "SCTP", "ANY")
EXTENDED_PROTOCOLS = {"VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51}
"""Protocols without ports, since 1.20 (VRRP and IGMP 1.19), by number."""
_NAMESPACE_KEY = "k8s:io.kubernetes.pod.namespace"
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
    """A port: number (0 and None all) with an optional end, or a name. `protocol` ANY is TCP, UDP and SCTP.

    `proxies` are the kinds of L7 rules (http, dns ...) by which a proxy then judges what it lets through.
    """

    port: int | str | None
    protocol: str
    end: int | None = None
    proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IcmpRule:
    """An ICMP type of a family (4 or 6)."""

    family: int
    type: int


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers of a rule. `lists` are those with entries, by their names in the API without from or to.

    `nobody`: a list is there without any entry, and then the rule is about nobody.
    """

    lists: tuple[str, ...] = ()
    nobody: bool = False
    endpoints: tuple[Selector, ...] = ()
    nodes: tuple[Selector, ...] = ()
    entities: tuple[str, ...] = ()
    cidrs: tuple[CidrRule, ...] = ()


@dataclass(frozen=True, slots=True)
class CiliumRule:
    """One item of ingress, ingressDeny, egress or egressDeny. `ports` and `icmp` are None when not limited."""

    peers: Peers
    ports: tuple[PortRule, ...] | None
    icmp: tuple[IcmpRule, ...] | None
    deny: bool
    direction: Direction
    unmodelled: tuple[str, ...]
    field: str
    at: Location | None


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
    nets: tuple[Network, ...]


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
    namespace = (raw.ref.namespace or "default") if raw.ref.kind == CNP else None
    found = [_read_spec(fields, namespace) for fields in ((one,) if one else ()) + (many or ())]
    return CiliumPolicy(raw.ref, raw.at(), namespace, tuple(found), tuple(reading.problems))


def read_group(raw: RawObject) -> CidrGroup:
    """A CiliumCIDRGroup; prefixes that are none are left out."""
    reading = Reading(raw)
    spec = reading.root().child("spec")
    nets = [_network(spec, text) for text in spec.texts("externalCIDRs")] if spec else []
    metadata = reading.root().child("metadata")
    labels = Labels.of(metadata.string_map("labels")) if metadata else Labels()
    return CidrGroup(raw.ref.name, labels, tuple(net for net in nets if net is not None))


def _read_spec(fields: Fields, namespace: str | None) -> CiliumSpec:
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
    if subject is not None and namespace is not None:
        subject = _without_namespace(subject)
    fields.close()
    return CiliumSpec(
        endpoint_selector=None if subject is None else read_label_selector(subject, Scope.POD),
        node_selector=None if nodes is None else read_label_selector(nodes, Scope.POD),
        rules=tuple(rules),
        present=frozenset(present),
        default_deny=given,
    )


def _without_namespace(subject: Fields) -> Fields:
    """A CNP's endpointSelector: Cilium overwrites the namespace in matchLabels when it has the prefix k8s."""
    labels = subject.raw("matchLabels")
    if not isinstance(labels, dict) or _NAMESPACE_KEY not in labels:
        return subject
    kept = {key: value for key, value in labels.items() if key != _NAMESPACE_KEY}
    rest = {key: subject.raw(key) for key in subject.keys()}  # noqa: SIM118
    return Fields(subject.reading, {**rest, "matchLabels": kept}, subject.path)


def _read_rule(fields: Fields, direction: Direction, deny: bool) -> CiliumRule:
    side = "from" if direction is Direction.INGRESS else "to"
    others = ("toFQDNs", "toServices", f"{side}Groups", f"{side}Requires")
    rule = CiliumRule(
        peers=_read_peers(fields, side),
        ports=_read_ports(fields),
        icmp=_read_icmp(fields),
        deny=deny,
        direction=direction,
        unmodelled=tuple(key for key in others if fields.has(key)),
        field=dotted(fields.path),
        at=fields.reading.raw.at(*fields.path),
    )
    fields.ignore(*others, "authentication")
    fields.close()
    return rule


def _read_peers(fields: Fields, side: str) -> Peers:
    endpoints, nodes = fields.children(f"{side}Endpoints"), fields.children(f"{side}Nodes")
    sizes = {name: fields.items(f"{side}{name}") for name in ("Endpoints", "Nodes", "Entities", "CIDR", "CIDRSet")}
    plain = [CidrRule(_network(fields, text)) for text in fields.texts(f"{side}CIDR")]
    return Peers(
        lists=tuple(name for name, items in sizes.items() if items),
        nobody=any(items == [] for items in sizes.values()),
        endpoints=tuple(read_label_selector(entry, Scope.POD) for entry in endpoints or ()),
        nodes=tuple(read_label_selector(entry, Scope.POD) for entry in nodes or ()),
        entities=fields.texts(f"{side}Entities"),
        cidrs=(*plain, *map(_read_cidr, fields.children(f"{side}CIDRSet") or ())),
    )


def _read_cidr(entry: Fields) -> CidrRule:
    selector, text = entry.child("cidrGroupSelector"), entry.text("cidr")
    excepts = [_network(entry, hole) for hole in entry.texts("except")]
    found = CidrRule(
        cidr=_network(entry, text) if text else None,
        excepts=tuple(hole for hole in excepts if hole is not None),
        group=entry.text("cidrGroupRef") or None,
        groups=None if selector is None else read_label_selector(selector, Scope.POD),
    )
    entry.close()
    return found


def _network(fields: Fields, text: str) -> Network | None:
    try:
        return parse_network(text)
    except ValueError:
        fields.invalid(f'"{text}" is not a CIDR')
        return None


def _read_ports(fields: Fields) -> tuple[PortRule, ...] | None:
    """The ports of all toPorts items together."""
    items = fields.children("toPorts")
    if not items:
        return None
    found: list[PortRule] = []
    for item in items:
        rules = item.child("rules")
        proxies = tuple(kind for kind in rules.keys() if rules.items(kind)) if rules else ()  # noqa: SIM118
        item.ignore("terminatingTLS", "originatingTLS", "serverNames", "listener")
        for entry in item.children("ports") or ():
            port = _read_port(entry, proxies)
            if port is not None:
                found.append(port)
        item.close()
    return tuple(found)


def _read_port(fields: Fields, proxies: tuple[str, ...]) -> PortRule | None:
    text = str(fields.scalar("port") or "")
    protocol, end = fields.text("protocol", "ANY"), fields.integer("endPort")
    fields.close()
    if protocol not in PROTOCOLS and protocol not in EXTENDED_PROTOCOLS:
        fields.invalid(f'protocol "{protocol}" is not known', "protocol")
        return None
    if not text:
        return PortRule(None, protocol, proxies=proxies)
    if is_port_name(text.lower()):
        return PortRule(text.lower(), protocol, end, proxies)
    number = _port_number(text)
    if number is None or not 0 <= number <= 65535:
        fields.invalid(f"{text} is not a port", "port")
        return None
    return PortRule(number, protocol, end, proxies)


def _port_number(text: str) -> int | None:
    """Go's ParseUint with base 0: a leading 0 means octal; None for what is no number."""
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
