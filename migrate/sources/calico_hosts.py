"""HostEndpoints: what Calico does with packets of a node's own processes, and with those that nodes pass on.

Facts: felix/rules endpoints.go and static.go (raw, mangle and filter chains of an interface), dataplane/linux
endpoint_mgr.go (which HostEndpoint an interface gets), calc/event_sequencer.go (which policies go into which chain).
A case says nothing of interfaces: a HostEndpoint of a named interface is taken to be the one that the traffic uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Node
from migrate.model.flow import ICMPV6, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.raw import RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.ruleset import (
    ANY_END,
    Action,
    Addresses,
    Chain,
    PortSet,
    Provenance,
    Rule,
    Stage,
    Traffic,
    Way,
)
from migrate.model.selectors import matches
from migrate.sources.calico import CalicoPolicy, object_labels, plain_name
from migrate.sources.felix import FailsafePort, FelixSettings
from migrate.sources.fields import Fields, Problem, Reading

ALL_INTERFACES = "*"
DEFAULT_ALLOW = "projectcalico-default-allow"
_NEIGHBOUR_TYPES = (130, 131, 132, 133, 135, 136)

MakeStages = Callable[[Sequence[CalicoPolicy], Direction], list[Stage]]
"""One stage for each tier of some policies, which are in the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class HostEndpoint:
    """A node's interface, or with interface "*" all of them. `allows`: what no policy decides is allowed."""

    ref: ObjectRef
    at: Location | None
    name: str
    node: str
    interface: str
    addresses: AddressSet
    port_names: frozenset[str]
    allows: bool
    labels: Labels
    problems: tuple[Problem, ...]

    def labels_of(self, scope: Scope) -> Labels:
        """A HostEndpoint has no namespace and no service account."""
        return self.labels if scope is Scope.POD else Labels()

    def fits(self, node: Node) -> bool:
        """Whether it polices traffic of the node on one interface."""
        if self.node != node.name or self.interface == ALL_INTERFACES:
            return False
        return bool(self.interface) or any(address in self.addresses for address in node.addresses)


def read_host_endpoint(raw: RawObject, addresses: AddressSet) -> HostEndpoint:
    """A HostEndpoint; `addresses` are its expectedIPs, whose problems are told where they are read."""
    reading = Reading(raw)
    spec = reading.root().child("spec") or Fields(reading, {}, ("spec",))
    profiles = spec.texts("profiles")
    for index, name in enumerate(profiles):
        if name != DEFAULT_ALLOW:
            spec.invalid(f"profile {name} is not modelled", "profiles", index)
    if not spec.text("node"):
        spec.invalid("a HostEndpoint needs the name of its node", "node")
    return HostEndpoint(
        ref=raw.ref,
        at=raw.at(),
        name=plain_name(raw),
        node=spec.text("node"),
        interface=spec.text("interfaceName"),
        addresses=addresses,
        port_names=frozenset(port.text("name") for port in spec.children("ports") or ()),
        allows=DEFAULT_ALLOW in profiles,
        labels=object_labels(raw),
        problems=tuple(reading.problems),
    )


@dataclass(frozen=True, slots=True)
class Hosts:
    """The chains of nodes. `policies` are the global ones in the order in which they are asked."""

    endpoints: tuple[HostEndpoint, ...]
    policies: tuple[CalicoPolicy, ...]
    felix: FelixSettings
    stages: MakeStages

    def chain(self, node: Node, direction: Direction, way: Way) -> Chain | None:
        """What holds for packets that touch a node in one way; None where nothing does."""
        if way is Way.OWN_POD:
            return self._own_pod(direction)
        endpoint = self.of_node(node)
        if endpoint is None:
            return None
        if way is Way.PROCESS:
            return self._process(endpoint, direction)
        return self._forwarded(endpoint, direction)

    def of_node(self, node: Node) -> HostEndpoint | None:
        """The HostEndpoint that polices a node: of an interface before that of all, the first by name."""
        fitting = sorted((e for e in self.endpoints if e.fits(node)), key=lambda endpoint: endpoint.name)
        everywhere = (e for e in self.endpoints if e.node == node.name and e.interface == ALL_INTERFACES)
        return next(iter((*fitting, *sorted(everywhere, key=lambda endpoint: endpoint.name))), None)

    def unknown(self, nodes: Iterable[Node], port_names: frozenset[str]) -> list[Provenance]:
        """What is not modelled: several interfaces of a node, named ports that rules ask for, the eBPF data plane."""
        found = [Provenance(e.ref, problem.field, problem.at) for e in self.endpoints for problem in e.problems]
        for node in nodes:
            fitting = [endpoint for endpoint in self.endpoints if endpoint.fits(node)]
            if len({endpoint.interface for endpoint in fitting}) > 1:
                found += [Provenance(e.ref, "spec.interfaceName", e.at) for e in fitting]
        found += [Provenance(e.ref, "spec.ports", e.at) for e in self.endpoints if e.port_names & port_names]
        if self.endpoints and self.felix.bpf and self.felix.ref is not None:
            found.append(Provenance(self.felix.ref, "spec.bpfEnabled"))
        return found

    def deciding(self) -> list[Provenance]:
        """The objects by which nodes may drop packets that pods' policies let pass."""
        places = [Provenance(e.ref, "spec", e.at) for e in self.endpoints if not e.allows or self._selecting(e)]
        if self.felix.endpoint_to_host == "Drop" and self.felix.ref is not None:
            places.append(Provenance(self.felix.ref, "spec.defaultEndpointToHostAction"))
        return places

    def _selecting(self, endpoint: HostEndpoint) -> list[CalicoPolicy]:
        return [policy for policy in self.policies if matches(policy.selects_hosts, endpoint)]

    def _own_pod(self, direction: Direction) -> Chain | None:
        """A pod and its own node: what a router needs is free; else, on ingress, Felix's action for all of them."""
        if direction is Direction.EGRESS:
            return Chain((_NEIGHBOURS,), Action.PASS, enforced=False)
        if self.felix.endpoint_to_host != "Drop":
            return None
        return Chain((_NEIGHBOURS, Stage((), Action.DENY, "defaultEndpointToHostAction Drop")), Action.DENY)

    def _process(self, endpoint: HostEndpoint, direction: Direction) -> Chain:
        open_ports = _failsafe_stage(self._failsafe(direction), Action.ALLOW)
        normal = [p for p in self._selecting(endpoint) if not (p.do_not_track or p.pre_dnat)]
        stages = [open_ports, *self._before(endpoint, direction), *self.stages(normal, direction)]
        return Chain(tuple(stages), Action.ALLOW if endpoint.allows else Action.DENY)

    def _forwarded(self, endpoint: HostEndpoint, direction: Direction) -> Chain:
        """What comes in passes the raw and mangle tables; what a pod sends out on an interface does not."""
        policies = self._selecting(endpoint)
        forward = [p for p in policies if p.apply_on_forward and not (p.do_not_track or p.pre_dnat)]
        stages = self.stages(forward, direction)
        before = self._before(endpoint, direction) if direction is Direction.INGRESS else []
        return Chain((*before, *stages), Action.ALLOW, enforced=bool(stages))

    def _before(self, endpoint: HostEndpoint, direction: Direction) -> list[Stage]:
        """The raw and mangle tables: an Allow there is final, and no match goes on; failsafe ports pass them by."""
        policies = self._selecting(endpoint)
        open_ports = _failsafe_stage(self._failsafe(direction), Action.PASS)
        opposite = Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS
        replies = _failsafe_stage(self._failsafe(opposite), Action.PASS, replies=True)
        untracked = [p for p in policies if p.do_not_track and endpoint.interface != ALL_INTERFACES]
        found = [_guarded(stage, open_ports, replies) for stage in self.stages(untracked, direction)]
        if direction is Direction.INGRESS:
            pre_dnat = [policy for policy in policies if policy.pre_dnat]
            found += [_guarded(stage, open_ports) for stage in self.stages(pre_dnat, direction)]
        return found

    def _failsafe(self, direction: Direction) -> tuple[FailsafePort, ...]:
        return self.felix.inbound if direction is Direction.INGRESS else self.felix.outbound


def _guarded(stage: Stage, *guards: Stage) -> Stage:
    """The stage behind rules that pass it by; it ends without a decision."""
    before = tuple(rule for guard in guards for rule in guard.rules)
    return Stage((*before, *stage.rules), Action.PASS, stage.name)


def _failsafe_stage(ports: Iterable[FailsafePort], action: Action, *, replies: bool = False) -> Stage:
    """Rules for failsafe ports; `replies`: for packets that look like the answers of such a connection."""
    return Stage(tuple(_failsafe_rule(port, action, replies) for port in ports), Action.PASS, "failsafe ports")


def _failsafe_rule(port: FailsafePort, action: Action, replies: bool) -> Rule:
    protocols, ports = _single(port.protocol), PortSet(_single(port.port))
    return Rule(
        action=action,
        peer=ANY_END if port.net is None else Addresses(AddressSet.of([port.net])),
        traffic=(Traffic(protocols, source_ports=ports) if replies else Traffic(protocols, ports),),
        note="a failsafe port of Felix",
    )


def _single(number: int) -> IntervalSet:
    return IntervalSet(((number, number),))


_NEIGHBOURS = Stage(
    (
        Rule(
            Action.ALLOW,
            ANY_END,
            (Traffic(_single(ICMPV6), icmp=tuple((kind, None) for kind in _NEIGHBOUR_TYPES)),),
            note="ICMPv6 that a router needs",
        ),
    ),
    Action.PASS,
    "neighbour discovery",
)
