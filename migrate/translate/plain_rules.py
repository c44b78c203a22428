"""Rules of Calico's policies as rules of a plain NetworkPolicy, where that means exactly the same."""

from __future__ import annotations

from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import Json
from migrate.model.selectors import And, Conjunction, Operator, Requirement, Selector, matches
from migrate.sources.calico import CalicoPolicy, CalicoRule, EntityMatch, PortRange
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.calico_selectors import pod_conjunctions
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.render import JsonMap

_PROTOCOLS = (None, "TCP", "UDP", "SCTP")
_PEER_PARTS = ("selector", "namespaceSelector", "nets", "notNets")


class CannotSayError(Exception):
    """Why something is no NetworkPolicy: a field, or a sentence."""


def rules_of(policy: CalicoPolicy, direction: Direction, context: Context) -> list[Json]:
    """The rules of one direction. Raises CannotSayError for the first that cannot be said."""
    found: list[Json] = []
    for rule in policy.rules(direction):
        if rule.action == "Log":
            continue
        _check(rule, direction)
        said = _rule(policy, rule, direction, context)
        if said is not None:
            found.append(said)
    return found


def label_selector(conjunction: Conjunction) -> JsonMap:
    """A selector of the Kubernetes API; without requirements it selects everything."""
    labels: JsonMap = {}
    expressions: list[Json] = []
    for requirement in sorted(conjunction, key=Requirement.sort_key):
        if requirement.operator is Operator.IN and len(requirement.values) == 1:
            labels[requirement.key] = requirement.values[0]
            continue
        expression: JsonMap = {"key": requirement.key, "operator": requirement.operator.value}
        if requirement.values:
            expression["values"] = list(requirement.values)
        expressions.append(expression)
    found: JsonMap = {"matchLabels": labels} if labels else {}
    return found | ({"matchExpressions": expressions} if expressions else {})


def _check(rule: CalicoRule, direction: Direction) -> None:
    """Raise CannotSayError for a part of a rule that no NetworkPolicy has."""
    if rule.action != "Allow":
        raise CannotSayError(f"{rule.field}.action is {rule.action}")
    ingress = direction is Direction.INGRESS
    parts = {
        "notProtocol": rule.not_protocol,
        "icmp": rule.icmp,
        "notICMP": rule.not_icmp,
        "ipVersion": rule.ip_version,
    }
    found = [name for name, value in parts.items() if value is not None] + (["http"] if rule.has_http else [])
    own, other = (rule.destination, rule.source) if ingress else (rule.source, rule.destination)
    found += [f"{'destination' if ingress else 'source'}.{name}" for name in own.used() if (name, ingress) != _PORTS]
    allowed = _PEER_PARTS if ingress else (*_PEER_PARTS, "ports")
    found += [f"{'source' if ingress else 'destination'}.{name}" for name in other.used() if name not in allowed]
    if found:
        raise CannotSayError(f"{rule.field}.{found[0]}")
    if rule.protocol not in _PROTOCOLS:
        raise CannotSayError(f"{rule.field}.protocol is {rule.protocol}")


_PORTS = ("ports", True)


def _rule(policy: CalicoPolicy, rule: CalicoRule, direction: Direction, context: Context) -> JsonMap | None:
    """The rule; None when no peer can ever match, since an empty list of peers would mean everybody."""
    entity = rule.source if direction is Direction.INGRESS else rule.destination
    found: JsonMap = {}
    if entity.nets or entity.not_nets or entity.selector is not None or entity.namespaces is not None:
        peers = _blocks(entity) if entity.nets or entity.not_nets else _pods(policy, entity, context)
        if not peers:
            return None
        found["from" if direction is Direction.INGRESS else "to"] = peers
    ports: list[Json] = [_port(rule, match) for match in rule.destination.ports]
    if rule.protocol is not None:
        found["ports"] = ports or [{"protocol": rule.protocol}]
    return found


def _port(rule: CalicoRule, match: PortRange | str) -> JsonMap:
    if isinstance(match, str):
        raise CannotSayError(f"{rule.field}.destination.ports: a name stands for another number in each engine")
    if match.low < 1:
        raise CannotSayError(f"{rule.field}.destination.ports: port 0")
    found: JsonMap = {"protocol": rule.protocol, "port": match.low}
    return found | ({"endPort": match.high} if match.high > match.low else {})


def _blocks(entity: EntityMatch) -> list[Json]:
    """The address blocks, each less what is taken out of it."""
    if not entity.nets or entity.selector is not None or entity.namespaces is not None:
        raise CannotSayError(f"{entity.field}: addresses that are not just nets less notNets")
    found: list[Json] = []
    for net in entity.nets:
        holes = [hole for hole in entity.not_nets if hole.version == net.version and hole.overlaps(net)]
        if any(hole.prefixlen <= net.prefixlen for hole in holes):
            continue
        block: JsonMap = {"cidr": str(net)}
        if holes:
            block["except"] = [str(hole) for hole in holes]
        found.append({"ipBlock": block})
    return found


def _pods(policy: CalicoPolicy, entity: EntityMatch, context: Context) -> list[Json]:
    """Pods by label; without a namespaceSelector those of the policy's namespace, or of all for a global policy."""
    terms: list[Selector] = [term for term in (entity.selector, entity.namespaces) if term is not None]
    own = policy.namespace if entity.namespaces is None else None
    if own:
        terms.append(Requirement(NAMESPACE_NAME, Operator.IN, (own,), Scope.NAMESPACE))
    for network_set in context.sets:
        if matches(And(tuple(terms)), network_set):
            raise CannotSayError(f"{entity.field}: the selector also means the addresses of {network_set.ref}")
    notes = Notes(policy.ref, policy.at)
    alternatives = pod_conjunctions(terms, entity.field, context, notes)
    if alternatives is None or notes.assumptions:
        raise CannotSayError(f"{entity.field} asks for what labels of a NetworkPolicy cannot say")
    return [_peer(alternative, own) for alternative in alternatives]


def _peer(conjunction: Conjunction, own: str | None) -> JsonMap:
    named = Requirement(NAMESPACE_NAME, Operator.IN, (own or "",), Scope.NAMESPACE)
    rest = tuple(requirement for requirement in conjunction if requirement != named)
    pods = tuple(requirement for requirement in rest if requirement.scope is Scope.POD)
    namespaces = tuple(requirement for requirement in rest if requirement.scope is Scope.NAMESPACE)
    if len(pods) + len(namespaces) < len(rest):
        raise CannotSayError("a selector asks for service accounts")
    if own and not namespaces:
        return {"podSelector": label_selector(pods)}
    found: JsonMap = {"namespaceSelector": label_selector(namespaces)}
    return found | ({"podSelector": label_selector(pods)} if pods else {})
