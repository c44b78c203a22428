"""NetworkPolicy of networking.k8s.io/v1 as typed values, by the API's text and validation (v1.36)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import EVERYTHING, And, Operator, Requirement, Selector
from migrate.sources.fields import Fields, Problem, Reading, dotted

NAMESPACE_NAME = "kubernetes.io/metadata.name"
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_LABEL_OPERATORS = {o.value: o for o in (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)}


@dataclass(frozen=True, slots=True)
class PortMatch:
    """Ports of one protocol: a number with an optional end, a container port's name, or all (None)."""

    protocol: str
    port: int | str | None = None
    end: int | None = None
    field: str = ""


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by label. `namespaces` is None for the policy's own namespace."""

    pods: Selector
    namespaces: Selector | None
    field: str = ""


@dataclass(frozen=True, slots=True)
class BlockPeer:
    """Addresses of a CIDR less its exceptions."""

    cidr: Network
    excepts: tuple[Network, ...] = ()
    field: str = ""

    def addresses(self) -> AddressSet:
        """The addresses that are meant."""
        return AddressSet.of([self.cidr]) - AddressSet.of(self.excepts)


Peer: TypeAlias = PodPeer | BlockPeer


@dataclass(frozen=True, slots=True)
class Rule:
    """One ingress or egress rule. `peers` None means any source or destination, `ports` None every protocol."""

    peers: tuple[Peer, ...] | None
    ports: tuple[PortMatch, ...] | None
    field: str
    at: Location | None


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """A NetworkPolicy. `directions` are those it isolates; rules of other directions are in `excluded`."""

    ref: ObjectRef
    at: Location | None
    subject: Selector
    directions: frozenset[Direction]
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    excluded: tuple[Direction, ...]
    problems: tuple[Problem, ...]

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        """The rules of one direction; none when the policy does not isolate it."""
        if direction not in self.directions:
            return ()
        return self.ingress if direction is Direction.INGRESS else self.egress


def read_policy(raw: RawObject) -> NetworkPolicy:
    """A NetworkPolicy from its object; what cannot be used is in `problems`, and then nothing may be built on it."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec")
    root.close()
    if spec is None:
        root.invalid("a NetworkPolicy needs a spec", "spec")
        spec = Fields(reading, {}, ("spec",))
    subject = read_label_selector(spec.child("podSelector"), Scope.POD)
    ingress = _read_rules(spec, "ingress", "from")
    egress = _read_rules(spec, "egress", "to")
    directions = _directions(spec, bool(egress))
    spec.close()
    excluded = [(Direction.INGRESS, ingress), (Direction.EGRESS, egress)]
    return NetworkPolicy(
        ref=raw.ref,
        at=raw.at(),
        subject=subject,
        directions=directions,
        ingress=ingress,
        egress=egress,
        excluded=tuple(direction for direction, rules in excluded if rules and direction not in directions),
        problems=tuple(reading.problems),
    )


def _directions(spec: Fields, has_egress_rules: bool) -> frozenset[Direction]:
    """policyTypes, or the API's default: Ingress always, Egress when there are egress rules."""
    types = spec.texts("policyTypes")
    for index, text in enumerate(types):
        if text not in ("Ingress", "Egress"):
            spec.invalid(f'"{text}" is not Ingress or Egress', "policyTypes", index)
    if not types:
        return frozenset({Direction.INGRESS, Direction.EGRESS} if has_egress_rules else {Direction.INGRESS})
    return frozenset(Direction(text.lower()) for text in types if text in ("Ingress", "Egress"))


def read_label_selector(fields: Fields | None, scope: Scope) -> Selector:
    """A Kubernetes label selector; a missing one and an empty one match everything.

    Callers for which a missing selector means something else must look before they ask.
    """
    if fields is None:
        return EVERYTHING
    terms = [Requirement(key, Operator.IN, (value,), scope) for key, value in fields.string_map("matchLabels").items()]
    for expression in fields.children("matchExpressions") or ():
        requirement = _read_expression(expression, scope)
        if requirement is not None:
            terms.append(requirement)
    fields.close()
    return And(tuple(terms))


def _read_expression(fields: Fields, scope: Scope) -> Requirement | None:
    key, name = fields.text("key"), fields.text("operator")
    values = fields.texts("values")
    fields.close()
    operator = _LABEL_OPERATORS.get(name)
    if operator is None:
        fields.invalid(f'"{name}" is not In, NotIn, Exists or DoesNotExist', "operator")
        return None
    if not key:
        fields.invalid("a label expression needs a key", "key")
        return None
    if (operator in (Operator.IN, Operator.NOT_IN)) is not bool(values):
        fields.invalid(f"{name} {'needs values' if not values else 'takes no values'}", "values")
        return None
    return Requirement(key, operator, values, scope)


def _read_rules(spec: Fields, key: str, peer_key: str) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for fields in spec.children(key) or ():
        peers = [_read_peer(peer) for peer in fields.children(peer_key) or ()]
        ports = [_read_port(port) for port in fields.children("ports") or ()]
        fields.close()
        rules.append(
            Rule(
                peers=tuple(peer for peer in peers if peer is not None) if peers else None,
                ports=tuple(port for port in ports if port is not None) if ports else None,
                field=dotted(fields.path),
                at=fields.reading.raw.at(*fields.path),
            )
        )
    return tuple(rules)


def _read_peer(fields: Fields) -> Peer | None:
    place = dotted(fields.path)
    namespaces, pods, block = fields.child("namespaceSelector"), fields.child("podSelector"), fields.child("ipBlock")
    fields.close()
    if block is not None:
        if namespaces is not None or pods is not None:
            fields.invalid("ipBlock may not stand beside a selector")
        return _read_block(block, place)
    if namespaces is None and pods is None:
        fields.invalid("a peer needs a podSelector, a namespaceSelector or an ipBlock")
        return None
    return PodPeer(
        pods=read_label_selector(pods, Scope.POD),
        namespaces=None if namespaces is None else read_label_selector(namespaces, Scope.NAMESPACE),
        field=place,
    )


def _read_block(fields: Fields, place: str) -> BlockPeer | None:
    cidr = _network(fields, fields.text("cidr"), "cidr")
    excepts = [_network(fields, text, "except", index) for index, text in enumerate(fields.texts("except"))]
    fields.close()
    if cidr is None:
        return None
    for index, hole in enumerate(excepts):
        inside = hole is not None and hole.version == cidr.version and AddressSet.of([hole]) <= AddressSet.of([cidr])
        if hole is not None and (not inside or hole == cidr):
            fields.invalid(f"{hole} must lie inside {cidr} and be smaller", "except", index)
    return BlockPeer(cidr, tuple(hole for hole in excepts if hole is not None), place)


def _network(fields: Fields, text: str, *path: str | int) -> Network | None:
    try:
        if "/" in text:
            return parse_network(text)
    except ValueError:
        pass
    fields.invalid(f'"{text}" is not a CIDR such as 10.0.0.0/8 or fd00::/8', *path)
    return None


def _read_port(fields: Fields) -> PortMatch | None:
    protocol = fields.text("protocol", "TCP")
    port, end = fields.scalar("port"), fields.integer("endPort")
    fields.close()
    if protocol not in _PROTOCOLS:
        fields.invalid(f'"{protocol}" is not TCP, UDP or SCTP', "protocol")
        return None
    if isinstance(port, str) and not is_port_name(port):
        fields.invalid(f'"{port}" is not a port name (at most 15 of a-z, 0-9 and -, with a letter)', "port")
        return None
    if isinstance(port, int) and not 1 <= port <= 65535:
        fields.invalid(f"{port} is not a port (1 to 65535)", "port")
        return None
    if end is not None and not (isinstance(port, int) and port <= end <= 65535):
        fields.invalid(f"endPort {end} needs a numeric port that is not above it", "endPort")
        return None
    return PortMatch(protocol, port, end, dotted(fields.path))


def is_port_name(text: str) -> bool:
    """Whether the text is an IANA service name, as Kubernetes demands of named ports."""
    plain = text.replace("-", "")
    return (
        1 <= len(text) <= 15
        and plain.isascii()
        and plain.isalnum()
        and text == text.lower()
        and any(character.isalpha() for character in plain)
        and "--" not in text
        and not text.startswith("-")
        and not text.endswith("-")
    )
