"""The one small language that all four policy dialects compile into, and the only thing the verifier reads.

An engine turns the policies that select a pod into a Chain per direction: stages of rules, first match decides, then
what happens at the end. Kubernetes: one stage, allows, then deny. Calico: its tiers. Cilium: denies before allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias, runtime_checkable

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.flow import PROTOCOL_NAMES, Direction, End, EndKind, Packet
from migrate.model.intervals import IntervalSet
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import Selector, matches


class Action(Enum):
    """What a rule, or the end of a stage, does. PASS goes on with the next stage."""

    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods (never those on the host's network) whose labels match."""

    selector: Selector


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes whose labels match; requirements are of scope POD and read the node's own labels."""

    selector: Selector


@dataclass(frozen=True, slots=True)
class Addresses:
    """Whatever has one of these addresses."""

    addresses: AddressSet


class Place(Enum):
    """Where an end is, seen from the pod whose chain is asked."""

    POD = "pod"
    OWN_NODE = "own node"
    OTHER_NODE = "other node"
    OUTSIDE = "outside"
    API_SERVER = "API server"
    ITSELF = "itself"


@dataclass(frozen=True, slots=True)
class At:
    """Ends at a place. API_SERVER may overlap with nodes and the outside, ITSELF with POD."""

    place: Place


@dataclass(frozen=True, slots=True)
class AllOf:
    """Ends for which all terms hold; without terms every end."""

    terms: tuple[Predicate, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Ends for which one term holds; without terms no end."""

    terms: tuple[Predicate, ...] = ()


@dataclass(frozen=True, slots=True)
class Except:
    """Ends for which the term does not hold."""

    term: Predicate


Predicate: TypeAlias = Pods | Nodes | Addresses | At | AllOf | AnyOf | Except
ANY_END = AllOf()
NO_END = AnyOf()


@dataclass(frozen=True, slots=True)
class PortSet:
    """Ports by number, and by the name that a pod gives one of its container ports."""

    numbers: IntervalSet = IntervalSet()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """Packets for which every given part holds; a part that is None does not limit.

    `protocols` are IP protocol numbers; `icmp` and `not_icmp` are pairs of type and code (None: any code);
    `family` is 4 or 6. A named destination port is looked up in the destination pod for the packet's protocol.
    """

    protocols: IntervalSet | None = None
    ports: PortSet | None = None
    not_ports: PortSet | None = None
    source_ports: PortSet | None = None
    not_source_ports: PortSet | None = None
    icmp: tuple[tuple[int, int | None], ...] | None = None
    not_icmp: tuple[tuple[int, int | None], ...] | None = None
    family: int | None = None


EVERY_PACKET = (Traffic(),)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a rule stands: the object, the field, and the line if it came from a file."""

    ref: ObjectRef
    field: str
    at: Location | None = None

    def __str__(self) -> str:
        place = f" ({self.at})" if self.at is not None else ""
        return f"{self.ref} {self.field}{place}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Peers × traffic → action. `traffic` is a union; `own` further limits the end whose chain it stands in.

    `note` says what else happens ("judged by the proxy"); None for built-in rules' provenance. `exempts`: what it
    allows the engine does not police at all.
    """

    action: Action
    peer: Predicate
    traffic: tuple[Traffic, ...] = EVERY_PACKET
    own: Predicate = ANY_END
    provenance: Provenance | None = None
    note: str = ""
    exempts: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """Rules of which the first match decides; `end` is what happens when none does."""

    rules: tuple[Rule, ...]
    end: Action
    name: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """All stages of one direction; `default` decides when the last one passes.

    `enforced` False: no policy selects the pod, and only what holds for all pods is in the stages.
    """

    stages: tuple[Stage, ...]
    default: Action
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """Which pods a policy selects, in which directions it takes part, and where it stands.

    `stage` is the name of the stage that its rules are in; empty when the engine does not part policies into stages.
    """

    selector: Selector
    directions: frozenset[Direction]
    provenance: Provenance | None = None
    stage: str = ""


class Engine(Protocol):
    """Policies as one engine means them, for one cluster."""

    @property
    def subjects(self) -> Sequence[Subject]:
        """One for each policy, in the engine's own order."""
        ...

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """What holds for a pod that exactly these policies (indexes into `subjects`, ascending) select."""
        ...

    @property
    def exempt(self) -> dict[Direction, Predicate]:
        """Peers that are never policed in a direction."""
        ...

    @property
    def unknown(self) -> tuple[Provenance, ...]:
        """What could not be read or is not modelled, so that answers that rest on it are unknown."""
        ...


class Way(Enum):
    """How packets touch a node: to or from its own processes, from a pod on it to the node, or passed on by it."""

    PROCESS = "process"
    OWN_POD = "own pod"
    FORWARDED = "forwarded"


@runtime_checkable
class HostEngine(Protocol):
    """An engine that polices nodes too."""

    def host_chain(self, node: Node, direction: Direction, way: Way) -> Chain | None:
        """What holds for packets that touch a node in one way; None where nothing does.

        OWN_POD is asked before the pod's own policy (egress) and in place of the node's (ingress). FORWARDED is asked
        for packets between a pod and another node or the outside, beside the pod's policy.
        """
        ...


def holds(predicate: Predicate, end: End, own: End) -> bool:
    """Whether the predicate holds for `end`, seen from `own`."""
    if isinstance(predicate, Pods):
        return end.kind is EndKind.POD and end.pod is not None and matches(predicate.selector, end.pod)
    if isinstance(predicate, Addresses):
        return end.address in predicate.addresses
    if isinstance(predicate, At):
        return at(predicate.place, end, own)
    if isinstance(predicate, AllOf):
        return all(holds(term, end, own) for term in predicate.terms)
    if isinstance(predicate, AnyOf):
        return any(holds(term, end, own) for term in predicate.terms)
    if isinstance(predicate, Nodes):
        return end.kind is EndKind.NODE and end.node is not None and matches(predicate.selector, end.node)
    return not holds(predicate.term, end, own)


def at(place: Place, end: End, own: End) -> bool:
    """Whether `end` is at a place, seen from `own`. A pod without a known node sees every node as another one."""
    if place is Place.POD:
        return end.kind is EndKind.POD
    if place is Place.OUTSIDE:
        return end.kind is EndKind.OUTSIDE
    if place is Place.API_SERVER:
        return end.api_server
    if place is Place.ITSELF:
        return end.kind is EndKind.POD and own.pod is not None and end.pod == own.pod
    is_own = end.kind is EndKind.NODE and own.node_name is not None and end.node_name == own.node_name
    return is_own if place is Place.OWN_NODE else end.kind is EndKind.NODE and not is_own


def carries(traffic: Traffic, packet: Packet, source: End, destination: End) -> bool:
    """Whether a packet between these ends is among the traffic."""
    if traffic.family not in (None, destination.address.version):
        return False
    if traffic.protocols is not None and packet.protocol not in traffic.protocols:
        return False
    if traffic.icmp is not None and not _icmp(traffic.icmp, packet):
        return False
    if traffic.not_icmp is not None and _icmp(traffic.not_icmp, packet):
        return False
    return (
        (traffic.ports is None or _port(traffic.ports, packet.port, packet, destination))
        and (traffic.not_ports is None or not _port(traffic.not_ports, packet.port, packet, destination))
        and (traffic.source_ports is None or _port(traffic.source_ports, packet.source_port, packet, source))
        and (
            traffic.not_source_ports is None or not _port(traffic.not_source_ports, packet.source_port, packet, source)
        )
    )


def _icmp(wanted: tuple[tuple[int, int | None], ...], packet: Packet) -> bool:
    return any(kind == packet.port and code in (None, packet.code) for kind, code in wanted)


def _port(ports: PortSet, number: int, packet: Packet, owner: End) -> bool:
    if number in ports.numbers:
        return True
    return bool(ports.names) and number in named_numbers(ports.names, packet.protocol, owner.pod)


def named_numbers(names: tuple[str, ...], protocol: int, pod: Pod | None) -> frozenset[int]:
    """The numbers that a pod gives these port names for a protocol."""
    wanted = PROTOCOL_NAMES.get(protocol)
    if pod is None:
        return frozenset()
    return frozenset(port.port for port in pod.named_ports if port.name in names and port.protocol == wanted)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a chain says of one packet: the action, the rule or stage end that decided, and what was passed."""

    action: Action
    rule: Rule | None
    stage: str
    enforced: bool


def decide(chain: Chain, own: End, peer: End, packet: Packet, direction: Direction) -> Decision:
    """Walk the chain for a packet between its own end and the peer."""
    source, destination = (peer, own) if direction is Direction.INGRESS else (own, peer)
    for stage in chain.stages:
        decision = first_match(stage, own, peer, packet, source, destination)
        action = stage.end if decision is None else decision.action
        if action is not Action.PASS:
            enforced = chain.enforced if decision is None else not decision.exempts
            return Decision(action, decision, stage.name, enforced)
    return Decision(chain.default, None, "", chain.enforced)


def first_match(stage: Stage, own: End, peer: End, packet: Packet, source: End, destination: End) -> Rule | None:
    """The rule of a stage that decides; None when the stage ends without one."""
    for rule in stage.rules:
        if (
            any(carries(traffic, packet, source, destination) for traffic in rule.traffic)
            and holds(rule.peer, peer, own)
            and holds(rule.own, own, own)
        ):
            return rule
    return None


def ends_of(cluster: Cluster) -> dict[str, End]:
    """The end for each address that a pod or node of the cluster has, by the address as text."""
    found: dict[str, End] = {}
    api_server = set(cluster.api_server)
    for node in cluster.nodes:
        for address in node.addresses:
            found[str(address)] = End(EndKind.NODE, address, node=node, api_server=address in api_server)
    for pod in cluster.pods:
        for address in pod.addresses if not pod.host_network else ():
            found.setdefault(str(address), End(EndKind.POD, address, pod=pod, api_server=address in api_server))
    return found
