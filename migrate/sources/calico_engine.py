"""Policies as Calico enforces them: tiers in order, policies in order, first matching rule decides.

Facts: felix/calc (tier and policy order, end of tier), felix/rules (chains of pods); measured against the engine of
v3.28 and main of 2026-08.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from migrate.model.cluster import Node
from migrate.model.flow import UDP, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Scope
from migrate.model.ruleset import (
    ANY_END,
    Action,
    AnyOf,
    At,
    Chain,
    Place,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
    Way,
)
from migrate.model.selectors import And, Operator, Requirement
from migrate.sources.calico import CalicoPolicy, NetworkSet
from migrate.sources.calico_hosts import HostEndpoint, Hosts
from migrate.sources.calico_packets import RuleCompiler, of_pods
from migrate.sources.calico_tiers import TIE_BREAKS, Entry, Order, TieBreak, Tier
from migrate.sources.endpoints import Backend
from migrate.sources.felix import FelixSettings
from migrate.sources.kubernetes import NAMESPACE_NAME, NetworkPolicy
from migrate.sources.kubernetes_engine import in_namespace

__all__ = ["CalicoEngine", "Tier"]


class CalicoEngine:
    """What Calico does with the traffic of pods and nodes. Sets hold those of `hosts` too, as peers of rules.

    `backends` are what EndpointSlices say; None when none was given, and then rules about Services are unknown.
    `on_nodes` are the objects by which nodes may drop what pods' policies let pass. `ties`: releases differ in how they
    order these policies.
    """

    def __init__(
        self,
        policies: Sequence[CalicoPolicy | NetworkPolicy],
        tiers: Sequence[Tier] = (),
        sets: Sequence[NetworkSet] = (),
        *,
        tie_break: TieBreak = "legacy",
        felix: FelixSettings | None = None,
        hosts: Sequence[HostEndpoint] = (),
        backends: Sequence[Backend] | None = None,
        nodes: Sequence[Node] = (),
    ) -> None:
        self._felix = FelixSettings() if felix is None else felix
        self._order = Order(tiers, tie_break)
        self._compiler = RuleCompiler(sets, backends or ())
        enforced = [policy for policy in policies if isinstance(policy, NetworkPolicy) or not policy.staged]
        entries = self._order.sorted(enforced)
        self._entries = [entry for entry in entries if _polices_pods(entry.policy)]
        self._entry_of = {id(entry.policy): entry for entry in entries}
        self._hosts = Hosts(
            endpoints=tuple(hosts),
            policies=tuple(e.policy for e in entries if isinstance(e.policy, CalicoPolicy) and not e.policy.namespace),
            felix=self._felix,
            stages=self._stages_of,
        )
        self.subjects: Sequence[Subject] = tuple(_subject(entry) for entry in self._entries)
        self.exempt: dict[Direction, Predicate] = {
            Direction.INGRESS: AnyOf((At(Place.ITSELF), At(Place.OWN_NODE))),
            Direction.EGRESS: At(Place.ITSELF),
        }
        self.unknown: tuple[Provenance, ...] = (
            *_unreadable(enforced, tiers, sets, self._felix),
            *(_services(enforced) if backends is None else ()),
            *self._hosts.unknown(nodes, frozenset(_port_names(enforced))),
        )
        self.on_nodes: tuple[Provenance, ...] = tuple(self._hosts.deciding())
        self.ties: bool = len({order.places(enforced) for order in (Order(tiers, t) for t in TIE_BREAKS)}) > 1

    @property
    def ordered(self) -> tuple[tuple[CalicoPolicy | NetworkPolicy, Tier], ...]:
        """The policies that are in force for pods in the order in which they are asked, each with its tier."""
        return tuple((entry.policy, self._order.tier(entry.tier)) for entry in self._entries)

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        """VXLAN guard, one stage per tier that takes part, then the profile, which allows."""
        guarded = direction is Direction.EGRESS and self._felix.drops_vxlan
        before = [_vxlan_stage(self._felix.vxlan_port)] if guarded else []
        stages = self._stages([self._entries[index] for index in policies], direction)
        return Chain((*before, *stages), Action.ALLOW, enforced=bool(policies))

    def host_chain(self, node: Node, direction: Direction, way: Way) -> Chain | None:
        """What HostEndpoints, and Felix's own settings, do with packets that touch a node."""
        return self._hosts.chain(node, direction, way)

    def _stages_of(self, policies: Sequence[CalicoPolicy], direction: Direction) -> list[Stage]:
        entries = (self._entry_of[id(policy)] for policy in policies if direction in policy.directions)
        return self._stages(entries, direction)

    def _stages(self, entries: Iterable[Entry], direction: Direction) -> list[Stage]:
        by_tier: dict[str, list[Rule]] = {}
        for entry in entries:
            by_tier.setdefault(entry.tier, []).extend(self._compiler.rules(entry.policy, direction))
        return [
            Stage(tuple(rules), Action.PASS if self._order.tier(name).passes else Action.DENY, _stage_name(name))
            for name, rules in by_tier.items()
        ]


def _polices_pods(policy: CalicoPolicy | NetworkPolicy) -> bool:
    """Whether a policy is in force for pods: untracked and pre-DNAT ones hold on hosts only."""
    return isinstance(policy, NetworkPolicy) or not (policy.do_not_track or policy.pre_dnat)


def _unreadable(
    policies: Sequence[CalicoPolicy | NetworkPolicy],
    tiers: Sequence[Tier],
    sets: Sequence[NetworkSet],
    felix: FelixSettings,
) -> Iterator[Provenance]:
    for owner in (*policies, *sets, *tiers):
        for problem in owner.problems:
            if owner.ref is not None:
                yield Provenance(owner.ref, problem.field, problem.at)
    for ref, problem in felix.problems:
        yield Provenance(ref, problem.field, problem.at)


def _services(policies: Sequence[CalicoPolicy | NetworkPolicy]) -> Iterator[Provenance]:
    """Every place where a rule is about a Service."""
    for policy in policies:
        for rule in () if isinstance(policy, NetworkPolicy) else (*policy.ingress, *policy.egress):
            for entity in (rule.source, rule.destination):
                if entity.service is not None:
                    yield Provenance(policy.ref, f"{entity.field}.services", rule.at)


def _port_names(policies: Sequence[CalicoPolicy | NetworkPolicy]) -> Iterator[str]:
    """Every port name that a Calico rule asks for."""
    for policy in policies:
        for rule in () if isinstance(policy, NetworkPolicy) else (*policy.ingress, *policy.egress):
            for entity in (rule.source, rule.destination):
                yield from (port for port in (*entity.ports, *entity.not_ports) if isinstance(port, str))


def _subject(entry: Entry) -> Subject:
    policy, stage = entry.policy, _stage_name(entry.tier)
    place = Provenance(policy.ref, "spec", policy.at)
    if isinstance(policy, NetworkPolicy):
        return Subject(in_namespace(policy.subject, policy.ref.namespace), policy.directions, place, stage)
    terms = [policy.selector, policy.namespace_selector, policy.account_selector]
    if policy.namespace:
        terms.append(Requirement(NAMESPACE_NAME, Operator.IN, (policy.namespace,), Scope.NAMESPACE))
    given = tuple(of_pods(term) for term in terms if term is not None)
    return Subject(And(given), policy.directions, place, stage)


def _stage_name(tier: str) -> str:
    return f"tier {tier}"


def _vxlan_stage(port: int) -> Stage:
    packets = Traffic(IntervalSet(((UDP, UDP),)), PortSet(IntervalSet(((port, port),))))
    rule = Rule(Action.DENY, ANY_END, (packets,), note="Calico drops VXLAN that pods send")
    return Stage((rule,), Action.PASS, "VXLAN from pods")
