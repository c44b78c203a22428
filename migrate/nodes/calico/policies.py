"""Policies as Felix holds them: every peer one selector in one spelling, NetworkPolicies as rules of Calico's.

Facts: projectcalico/calico libcalico-go/lib/backend/k8s/conversion (NetworkPolicy), .../updateprocessors (selectors
with namespaces and service accounts), felix/calc/rule_scanner.go (which IP sets a rule needs), felix/types (names).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrate.model.addresses import Network
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.nodes.calico.selector_text import SelectorTextError, Text, prefixed, read_text
from migrate.sources import calico, kubernetes
from migrate.sources.calico import CalicoPolicy
from migrate.sources.calico_rules import CalicoRule, EntityMatch, IcmpMatch, PortRange
from migrate.sources.calico_tiers import DEFAULT_TIER, KUBERNETES_ORDER
from migrate.sources.fields import Fields, Reading
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PortMatch

NAMESPACE = "projectcalico.org/namespace"
ACCOUNT = "projectcalico.org/serviceaccount"
ORCHESTRATOR = "projectcalico.org/orchestrator"
NAMESPACE_PREFIX = "pcns."
ACCOUNT_PREFIX = "pcsa."
PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
_FAMILY_OF = {1: 4, 58: 6}
_SHORT = {"NetworkPolicy": "np", "GlobalNetworkPolicy": "gnp"}
_ADMIN = {
    "AdminNetworkPolicy": ("kanp.adminnetworkpolicy.", "kanp/"),
    "BaselineAdminNetworkPolicy": ("kbanp.baselineadminnetworkpolicy.", "kbanp/"),
    "ClusterNetworkPolicy": ("kcnp.kube-admin.", "kcnp.kube-baseline.", "kcnp/"),
}
"""What chains of the administrators' policies of Kubernetes are named by; they are not compared."""


@dataclass(frozen=True, slots=True)
class End:
    """What a rule asks of one end. A selector None is not asked for; `not_selector` only stands without a selector."""

    selector: Text | None = None
    not_selector: Text | None = None
    nets: tuple[Network, ...] = ()
    not_nets: tuple[Network, ...] = ()
    ports: IntervalSet = IntervalSet()
    not_ports: IntervalSet = IntervalSet()
    names: tuple[str, ...] = ()
    not_names: tuple[str, ...] = ()
    service: str | None = None

    @property
    def selector_is_used(self) -> bool:
        """Felix leaves a selector to the sets of named ports when no other port is asked for."""
        return self.selector is not None and (bool(self.ports) or not self.names)


@dataclass(frozen=True, slots=True)
class FelixRule:
    """A rule. `action` is Allow, Deny, Pass or Log; protocols are numbers, None where not asked for."""

    action: str
    source: End
    destination: End
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: IcmpMatch | None = None
    not_icmp: IcmpMatch | None = None
    ip_version: int | None = None
    at: Location | None = None

    def holds_for(self, family: int) -> bool:
        """Whether there is a rule for an IP version: each list of networks needs one of it."""
        version = self.ip_version or _FAMILY_OF.get(self.protocol or 0)
        lists = (nets for end in (self.source, self.destination) for nets in (end.nets, end.not_nets))
        return version in (None, family) and all(any(net.version == family for net in nets) for nets in lists if nets)


@dataclass(frozen=True, slots=True)
class FelixPolicy:
    """A policy. `names` are those that releases of Calico give its chains; `selector` says whom it holds for.

    Not `readable`: its object cannot be understood, so that only its names are of use. `on_pods` is False for
    policies that hold on hosts only.
    """

    ref: ObjectRef
    at: Location | None
    names: frozenset[str]
    tier: str = DEFAULT_TIER
    order: float | None = None
    selector: Text | None = None
    directions: frozenset[Direction] = frozenset()
    ingress: tuple[FelixRule, ...] = ()
    egress: tuple[FelixRule, ...] = ()
    readable: bool = True
    on_pods: bool = True

    def rules(self, direction: Direction) -> tuple[FelixRule, ...]:
        """The rules of a direction, in force or not."""
        return self.ingress if direction is Direction.INGRESS else self.egress


def read_policies(objects: Iterable[RawObject]) -> tuple[FelixPolicy, ...]:
    """All policies among the objects that Felix enforces; one for a policy that stands there in two API groups."""
    found: dict[frozenset[str], FelixPolicy] = {}
    for raw in objects:
        policy = _read(raw)
        if policy is not None:
            found.setdefault(policy.names, policy)
    return tuple(found.values())


def _read(raw: RawObject) -> FelixPolicy | None:
    group, kind = raw.ref.group, raw.ref.kind
    if group == "networking.k8s.io" and kind == "NetworkPolicy":
        return _kubernetes(raw)
    if group in calico.GROUPS and kind in _SHORT:
        return _calico(raw)
    if group == "policy.networking.k8s.io" and kind in _ADMIN:
        names = frozenset(prefix + raw.ref.name for prefix in _ADMIN[kind])
        return FelixPolicy(raw.ref, raw.at(), names, readable=False)
    return None


def _kubernetes(raw: RawObject) -> FelixPolicy:
    read = kubernetes.read_policy(raw)
    namespace, name = raw.ref.namespace or "default", raw.ref.name
    names = frozenset({f"{namespace}/knp.default.{name}", f"knp/{namespace}/{name}"})
    spec = Reading(raw).root().child("spec")
    if read.problems or spec is None:
        return FelixPolicy(raw.ref, raw.at(), names, readable=False)
    try:
        return FelixPolicy(
            ref=raw.ref,
            at=raw.at(),
            names=names,
            order=KUBERNETES_ORDER,
            selector=read_text(f"({_pods(spec.child('podSelector'))}) && {NAMESPACE} == '{namespace}'"),
            directions=read.directions,
            ingress=tuple(_from_kubernetes(read, spec, Direction.INGRESS, namespace)),
            egress=tuple(_from_kubernetes(read, spec, Direction.EGRESS, namespace)),
        )
    except SelectorTextError:
        return FelixPolicy(raw.ref, raw.at(), names, readable=False)


def _pods(fields: Fields | None) -> str:
    return " && ".join([f"{ORCHESTRATOR} == 'k8s'", *_terms(fields)])


def _namespaces(fields: Fields | None) -> str:
    """ "" without a selector, all() for an empty one."""
    return "" if fields is None else " && ".join(_terms(fields)) or "all()"


def _terms(fields: Fields | None) -> Iterator[str]:
    if fields is None:
        return
    labels = fields.string_map("matchLabels")
    yield from (f"{key} == '{labels[key]}'" for key in sorted(labels, key=str.encode))
    for expression in fields.children("matchExpressions") or ():
        key, values = expression.text("key"), "', '".join(expression.texts("values"))
        yield {
            "In": f"{key} in {{ '{values}' }}",
            "NotIn": f"{key} not in {{ '{values}' }}",
            "Exists": f"has({key})",
        }.get(expression.text("operator"), f"! has({key})")


def _from_kubernetes(policy: NetworkPolicy, spec: Fields, direction: Direction, namespace: str) -> Iterator[FelixRule]:
    """One rule for each protocol and peer, as Felix takes them apart. Typed rules stand beside their raw fields."""
    ingress = direction is Direction.INGRESS
    typed = policy.ingress if ingress else policy.egress
    for rule, fields in zip(typed, spec.children(direction.value) or (), strict=True):
        peers = fields.children("from" if ingress else "to") or ()
        ends = [_kubernetes_end(peer, raw, namespace) for peer, raw in zip(rule.peers or (), peers, strict=True)] or [
            End()
        ]
        for protocol, ports, names in _ports(rule.ports):
            for end in ends:
                if ingress:
                    yield FelixRule("Allow", end, End(ports=ports, names=names), protocol, at=rule.at)
                else:
                    yield FelixRule("Allow", End(), replace(end, ports=ports, names=names), protocol, at=rule.at)


def _kubernetes_end(peer: kubernetes.Peer, fields: Fields, namespace: str) -> End:
    if isinstance(peer, BlockPeer):
        return End(nets=(peer.cidr,), not_nets=peer.excepts)
    text = _entity_text(
        _namespaces(fields.child("namespaceSelector")), [_pods(fields.child("podSelector"))], "", namespace
    )
    return End(selector=read_text(text))


def _ports(ports: tuple[PortMatch, ...] | None) -> Iterator[tuple[int | None, IntervalSet, tuple[str, ...]]]:
    """Protocol, numbers and names of each protocol, sorted by the protocol's name."""
    if not ports:
        yield None, IntervalSet(), ()
        return
    for protocol in sorted({port.protocol for port in ports}):
        own = [port for port in ports if port.protocol == protocol]
        if any(port.port is None for port in own):
            yield PROTOCOLS[protocol], IntervalSet(), ()
            continue
        numbers = [(port.port, port.end or port.port) for port in own if isinstance(port.port, int)]
        names = tuple(port.port for port in own if isinstance(port.port, str))
        yield PROTOCOLS[protocol], IntervalSet.of(numbers), names


def _calico(raw: RawObject) -> FelixPolicy:
    read = calico.read_policy(raw)
    names = _calico_names(read)
    spec = Reading(raw).root().child("spec")
    if read.problems or spec is None:
        return FelixPolicy(raw.ref, raw.at(), names, readable=False)
    try:
        return FelixPolicy(
            ref=raw.ref,
            at=raw.at(),
            names=names,
            tier=read.tier,
            order=read.order,
            selector=read_text(_policy_text(read, spec)),
            directions=read.directions,
            ingress=_from_calico(read.ingress, spec, Direction.INGRESS, read.namespace),
            egress=_from_calico(read.egress, spec, Direction.EGRESS, read.namespace),
            on_pods=not (read.do_not_track or read.pre_dnat),
        )
    except SelectorTextError:
        return FelixPolicy(raw.ref, raw.at(), names, readable=False)


def _calico_names(policy: CalicoPolicy) -> frozenset[str]:
    """What chains of the policy end in: up to v3.31 the stored name, later kind, namespace and name."""
    plain, prefix = policy.name, f"{policy.tier}."
    stored = plain if plain.startswith(prefix) else prefix + plain
    shown = {plain, policy.ref.name, stored}
    space = "" if policy.namespace is None else f"{policy.namespace}/"
    kind = _SHORT[policy.ref.kind]
    return frozenset({space + stored, space + policy.ref.name, *(f"{kind}/{space}{name}" for name in shown)})


def _policy_text(policy: CalicoPolicy, spec: Fields) -> str:
    selector = spec.text("selector")
    accounts = spec.text("serviceAccountSelector")
    if policy.namespace is not None:
        own = f"{NAMESPACE} == '{policy.namespace}'"
        selector = f"({selector}) && {own}" if selector else own
        return _appended(selector, accounts, ACCOUNT_PREFIX)
    namespaces = spec.text("namespaceSelector")
    if namespaces:
        selector = _appended(selector, namespaces, NAMESPACE_PREFIX).replace("all()", f"has({NAMESPACE})")
    if accounts:
        selector = _appended(selector, accounts, ACCOUNT_PREFIX).replace("all()", f"has({ACCOUNT})")
    return selector


def _appended(selector: str, other: str, prefix: str) -> str:
    if not other:
        return selector
    added = prefixed(other, prefix)
    return f"({selector}) && {added}" if selector else added


def _from_calico(
    rules: tuple[CalicoRule, ...], spec: Fields, direction: Direction, namespace: str | None
) -> tuple[FelixRule, ...]:
    fields = spec.children(direction.value) or ()
    return tuple(_calico_rule(rule, raw, namespace) for rule, raw in zip(rules, fields, strict=True))


def _calico_rule(rule: CalicoRule, fields: Fields, namespace: str | None) -> FelixRule:
    return FelixRule(
        action=rule.action,
        source=_calico_end(rule.source, fields.child("source"), namespace),
        destination=_calico_end(rule.destination, fields.child("destination"), namespace),
        protocol=_number(rule.protocol),
        not_protocol=_number(rule.not_protocol),
        icmp=rule.icmp,
        not_icmp=rule.not_icmp,
        ip_version=rule.ip_version,
        at=rule.at,
    )


def _number(protocol: str | None) -> int | None:
    return None if protocol is None else PROTOCOLS.get(protocol) or int(protocol)


def _calico_end(match: EntityMatch, fields: Fields | None, namespace: str | None) -> End:
    if fields is None:
        return End()
    negative = fields.text("notSelector")
    positive = _entity_text(fields.text("namespaceSelector"), _labelled(match, fields), negative, namespace or "")
    if positive and negative:
        positive, negative = f"({positive}) && (!({negative}))", ""
    return End(
        selector=read_text(positive) if positive else None,
        not_selector=read_text(negative) if negative else None,
        nets=match.nets,
        not_nets=match.not_nets,
        ports=_numbers(match.ports),
        not_ports=_numbers(match.not_ports),
        names=tuple(port for port in match.ports if isinstance(port, str)),
        not_names=tuple(port for port in match.not_ports if isinstance(port, str)),
        service=None if match.service is None else f"{match.service.namespace}/{match.service.name}",
    )


def _labelled(match: EntityMatch, fields: Fields) -> list[str]:
    """The service accounts and the labels that are asked for."""
    accounts = fields.child("serviceAccounts")
    selector = accounts.text("selector") if accounts is not None else ""
    given = prefixed(selector, ACCOUNT_PREFIX) if selector else ""
    if match.account_names:
        listed = "', '".join(match.account_names)
        names = read_text(f"{ACCOUNT} in {{ '{listed}' }}").written()
        given = f"({given}) && ({names})" if given else names
    return [text for text in (given, fields.text("selector")) if text]


def _entity_text(namespaces: str, given: list[str], negative: str, namespace: str) -> str:
    """All that is asked of the labels of one end; "" when nothing is."""
    within = f"{NAMESPACE} == '{namespace}'" if namespace else ""
    if namespaces:
        within = prefixed(namespaces, NAMESPACE_PREFIX)
        within = within.replace("all()", f"has({NAMESPACE})").replace("global()", f"!has({NAMESPACE})")
    selector = given[0] if len(given) == 1 else "(" + ") && (".join(given) + ")" if given else ""
    if not within or not (selector or negative or namespaces):
        return selector
    return f"({within}) && ({selector})" if selector else within


def _numbers(ports: tuple[PortRange | str, ...]) -> IntervalSet:
    return IntervalSet.of((port.low, port.high) for port in ports if isinstance(port, PortRange))
