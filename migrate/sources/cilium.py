"""Cilium's policy kinds as typed values: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.

Facts: pkg/policy/api of cilium/cilium v1.18.8 and v1.20.2; Go tells a missing list from an empty one, and so does
this reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.addresses import Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Labels, Scope
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import Selector
from migrate.sources.cilium_traffic import IcmpRule, PortItem, PortRule, read_icmp, read_ports
from migrate.sources.fields import Fields, Problem, Reading, dotted
from migrate.sources.kubernetes import read_label_selector

CNP = "CiliumNetworkPolicy"
CCNP = "CiliumClusterwideNetworkPolicy"
_NAMESPACE_KEY = "k8s:io.kubernetes.pod.namespace"


@dataclass(frozen=True, slots=True)
class CidrRule:
    """One entry of a CIDR list: a prefix less exceptions, a group by name, or groups by label.

    `plain` are those of fromCIDR and toCIDR, which releases do not always take like a CIDRSet.
    """

    cidr: Network | None = None
    excepts: tuple[Network, ...] = ()
    group: str | None = None
    groups: Selector | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class ServicePeer:
    """Services by name, or (selector given) by their labels; `namespace` is empty for every namespace."""

    name: str
    namespace: str
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class DomainName:
    """A DNS name, or a pattern with stars."""

    text: str
    is_pattern: bool


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
    services: tuple[ServicePeer, ...] = ()
    domains: tuple[DomainName, ...] = ()

    @property
    def select(self) -> bool:
        """Whether there is a selector of peers: services are none before they are resolved."""
        return bool(self.endpoints or self.nodes or self.entities or self.cidrs or self.domains)


@dataclass(frozen=True, slots=True)
class CiliumRule:
    """One item of ingress, ingressDeny, egress or egressDeny. `items` and `icmp` are None when not limited.

    `required` are further conditions on the endpoints of all rules beside it; `authentication` is its mode.
    """

    peers: Peers
    items: tuple[PortItem, ...] | None
    icmp: tuple[IcmpRule, ...] | None
    deny: bool
    direction: Direction
    required: tuple[Selector, ...]
    authentication: str
    unmodelled: tuple[str, ...]
    field: str
    at: Location | None

    @property
    def ports(self) -> tuple[PortRule, ...]:
        """The ports of all items together."""
        return tuple(port for item in self.items or () for port in item.ports)


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
    mode = fields.child("authentication")
    rule = CiliumRule(
        peers=_read_peers(fields, side),
        items=read_ports(fields),
        icmp=read_icmp(fields),
        deny=deny,
        direction=direction,
        required=_selectors(fields, f"{side}Requires"),
        authentication=mode.text("mode") if mode is not None else "",
        unmodelled=(f"{side}Groups",) if fields.items(f"{side}Groups") else (),
        field=dotted(fields.path),
        at=fields.reading.raw.at(*fields.path),
    )
    fields.close()
    return rule


_KINDS = ("Endpoints", "Nodes", "Entities", "CIDR", "CIDRSet", "FQDNs", "Services", "Groups")
_NOBODY_KINDS = _KINDS[:5]


def _read_peers(fields: Fields, side: str) -> Peers:
    sizes = {name: fields.items(f"{side}{name}") for name in _KINDS if fields.has(f"{side}{name}")}
    plain = [CidrRule(_network(fields, text), plain=True) for text in fields.texts(f"{side}CIDR")]
    return Peers(
        lists=tuple(name for name, items in sizes.items() if items),
        nobody=any(sizes.get(name) == [] for name in _NOBODY_KINDS),
        endpoints=_selectors(fields, f"{side}Endpoints"),
        nodes=_selectors(fields, f"{side}Nodes"),
        entities=fields.texts(f"{side}Entities"),
        cidrs=(*plain, *map(_read_cidr, fields.children(f"{side}CIDRSet") or ())),
        services=tuple(map(_read_service, fields.children("toServices") or ())) if side == "to" else (),
        domains=tuple(map(_read_domain, fields.children("toFQDNs") or ())) if side == "to" else (),
    )


def _selectors(fields: Fields, key: str) -> tuple[Selector, ...]:
    return tuple(read_label_selector(entry, Scope.POD) for entry in fields.children(key) or ())


def _read_service(entry: Fields) -> ServicePeer:
    """By labels where both ways are given, as Cilium does."""
    named, labelled = entry.child("k8sService"), entry.child("k8sServiceSelector")
    entry.close()
    found = ServicePeer("", "")
    if named is not None:
        found = ServicePeer(named.text("serviceName"), named.text("namespace"))
        named.close()
    if labelled is not None:
        chosen = labelled.child("selector")
        found = ServicePeer("", labelled.text("namespace"), read_label_selector(chosen, Scope.POD))
        labelled.close()
    return found


def _read_domain(entry: Fields) -> DomainName:
    name, pattern = entry.text("matchName"), entry.text("matchPattern")
    entry.close()
    if bool(name) is bool(pattern):
        entry.invalid("needs either matchName or matchPattern")
    return DomainName(name or pattern, is_pattern=not name)


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
