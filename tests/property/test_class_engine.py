"""The class engine against the walk over the rules, flow by flow: every changed flow lies in one box, no other in any.

First over rulesets made of everything that the language has, then over random policies of every dialect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import combinations
from random import Random
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrate.model.addresses import AddressSet, parse_address
from migrate.model.cluster import Cluster, NamedPort, Node, Pod
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP, Direction, Word
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.raw import Json, RawObject
from migrate.model.ruleset import (
    ANY_END,
    EVERY_PACKET,
    NO_END,
    Action,
    Addresses,
    AllOf,
    AnyOf,
    At,
    Chain,
    Engine,
    Except,
    Nodes,
    Place,
    Pods,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Stage,
    Subject,
    Traffic,
)
from migrate.model.selectors import EVERYTHING, And, Not, Operator, Or, Requirement, Selector
from migrate.sources.cases import read_case
from migrate.sources.kubernetes_engine import KubernetesEngine
from migrate.verify.compare import ChangeKind, Comparison
from migrate.verify.engines import build_engine
from migrate.verify.simulate import Simulator
from tests.property.flow_grid import Grid, boxes_with, verdicts
from tests.reference.cases import Case
from tests.simulate.languages import calico_case, cilium_case, kubernetes_case

_KINDS = {("allow", "deny"): ChangeKind.NEWLY_DENIED, ("deny", "allow"): ChangeKind.NEWLY_ALLOWED}
_SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def check(before: Engine, after: Engine, grid: Grid, chance: Random, packets: int) -> None:
    """Every flow of the grid, and the example of every box."""
    comparison = Comparison(before, after, grid.cluster)
    changes = list(comparison.changes())
    simulators = Simulator(before, grid.cluster), Simulator(after, grid.cluster)
    assert not (comparison.equal and changes)
    for change in changes:
        flow = comparison.flow(change)
        assert _KINDS.get(verdicts(flow, *simulators)) is change.kind, flow
        assert boxes_with(flow, comparison, changes) == [change], flow
        denied = [simulator.answer(flow).egress is Word.DENY for simulator in simulators]
        assert (denied[0] != denied[1]) is (change.side is Direction.EGRESS), flow
    for flow in grid.flows(chance, packets):
        kinds = [change.kind for change in boxes_with(flow, comparison, changes)]
        said = _KINDS.get(verdicts(flow, *simulators))
        assert kinds == ([] if said is None else [said]), flow


# Rulesets over the whole language.

_values = st.sampled_from(["a", "b"])
_keys = st.sampled_from([(Scope.POD, "app"), (Scope.POD, "role"), (Scope.NAMESPACE, "team")])
_operators = st.sampled_from([operator for operator in Operator if "With" not in operator.value])
_NAMES = ("http", "dns")
_PORTS = (0, 1, 79, 80, 81, 8080, 65535)
_BLOCKS = (
    "0.0.0.0/0",
    "10.0.0.0/24",
    "10.0.0.0/31",
    "10.1.0.0/30",
    "192.0.2.0/28",
    "192.0.2.7/32",
    "::/0",
    "fd00::/126",
    "2001:db8::/127",
)


@st.composite
def requirements(draw: st.DrawFn, keys: st.SearchStrategy[tuple[Scope, str]] = _keys) -> Requirement:
    (scope, key), operator = draw(keys), draw(_operators)
    wants = operator not in (Operator.EXISTS, Operator.DOES_NOT_EXIST)
    return Requirement(key, operator, tuple(draw(st.sets(_values, min_size=1))) if wants else (), scope)


def _trees(leaf: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    lists = st.lists(leaf, max_size=2).map(tuple)
    return st.one_of(leaf, leaf, lists.map(And), lists.map(Or), leaf.map(Not))


selectors = _trees(requirements())
_blocks = st.sets(st.sampled_from(_BLOCKS), max_size=3).map(lambda texts: AddressSet.of(map(ip_network, sorted(texts))))
_node_keys = st.just((Scope.POD, "pool"))
_places = st.sampled_from([place for place in Place if place is not Place.ITSELF])
_leaves = st.one_of(
    selectors.map(Pods),
    _trees(requirements(_node_keys)).map(Nodes),
    _blocks.map(Addresses),
    _places.map(At),
    st.just(AllOf((Addresses(AddressSet.of([ip_network("10.0.0.0/25")])), At(Place.OUTSIDE)))),
)


def _combined(leaf: st.SearchStrategy[Predicate]) -> st.SearchStrategy[Predicate]:
    lists = st.lists(leaf, max_size=2).map(tuple)
    return st.one_of(lists.map(AllOf), lists.map(AnyOf), leaf.map(Except))


predicates: st.SearchStrategy[Predicate] = st.recursive(_leaves, _combined, max_leaves=3)


@st.composite
def port_sets(draw: st.DrawFn) -> PortSet | None:
    if draw(st.booleans()):
        return None
    pairs = draw(st.lists(st.tuples(st.sampled_from(_PORTS), st.sampled_from(_PORTS)), max_size=2))
    return PortSet(IntervalSet.of(pairs), tuple(sorted(draw(st.sets(st.sampled_from(_NAMES), max_size=1)))))


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    """Ports only with protocols that have them, types only with ICMP, as every engine writes its rules."""
    family = draw(st.sampled_from([None, None, 4, 6]))
    kind = draw(st.sampled_from(["everything", "ports", "ports", "messages"]))
    if kind == "everything":
        protocols = draw(st.sampled_from([None, IntervalSet(((47, 47),)), IntervalSet(((7, 200),))]))
        return Traffic(protocols, family=family)
    if kind == "messages":
        pairs = st.lists(st.tuples(st.sampled_from([0, 8, 255]), st.sampled_from([None, 0, 1])), max_size=2).map(tuple)
        numbers = draw(st.sets(st.sampled_from([ICMP, ICMPV6]), min_size=1))
        icmp, not_icmp = draw(st.one_of(st.none(), pairs)), draw(st.one_of(st.none(), pairs))
        return Traffic(IntervalSet.of((n, n) for n in numbers), icmp=icmp, not_icmp=not_icmp, family=family)
    numbers = draw(st.sets(st.sampled_from([TCP, UDP, SCTP]), min_size=1))
    return Traffic(
        IntervalSet.of((n, n) for n in numbers),
        ports=draw(port_sets()),
        not_ports=draw(port_sets()),
        source_ports=draw(port_sets()),
        not_source_ports=draw(port_sets()),
        family=family,
    )


_rules = st.builds(
    Rule,
    st.sampled_from([Action.ALLOW, Action.ALLOW, Action.DENY, Action.PASS]),
    predicates,
    st.one_of(st.just(EVERY_PACKET), st.lists(traffics(), max_size=2).map(tuple)),
    st.one_of(st.just(ANY_END), st.just(ANY_END), st.one_of(selectors.map(Pods), _blocks.map(Addresses))),
)


@dataclass(frozen=True)
class Policy:
    """Rules in one of an engine's stages."""

    subject: Subject
    stage: int
    rules: dict[Direction, tuple[Rule, ...]]


@dataclass(frozen=True)
class AnyEngine:
    """An engine that does just what it is told."""

    policies: tuple[Policy, ...]
    ends: tuple[Action, ...]
    default: Action
    exempt: dict[Direction, Predicate]
    unknown: tuple[Provenance, ...] = field(default=())

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return tuple(policy.subject for policy in self.policies)

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        chosen = [self.policies[index] for index in policies]
        if not chosen:
            return Chain((), Action.ALLOW, enforced=False)
        stages = [
            Stage(tuple(rule for policy in chosen if policy.stage == number for rule in policy.rules[direction]), end)
            for number, end in enumerate(self.ends)
        ]
        return Chain(tuple(stages), self.default)


_directions = st.sampled_from([frozenset({d}) for d in Direction] + [frozenset(Direction)])
_policies = st.builds(
    Policy,
    st.builds(Subject, st.one_of(st.just(EVERYTHING), selectors), _directions),
    st.integers(0, 1),
    st.fixed_dictionaries({direction: st.lists(_rules, max_size=2).map(tuple) for direction in Direction}),
)
_exempt = st.sampled_from([NO_END, At(Place.OWN_NODE), AnyOf((At(Place.ITSELF), At(Place.OWN_NODE)))])
engines = st.builds(
    AnyEngine,
    st.lists(_policies, max_size=3).map(tuple),
    st.tuples(st.sampled_from([Action.PASS, Action.DENY]), st.sampled_from(list(Action))),
    st.sampled_from([Action.ALLOW, Action.DENY]),
    st.fixed_dictionaries(dict.fromkeys(Direction, _exempt)),
)

_labels = st.dictionaries(st.sampled_from(["app", "role", "ignored"]), _values, max_size=2).map(Labels.of)
_named_ports = st.lists(
    st.builds(NamedPort, st.sampled_from(_NAMES), st.sampled_from(["TCP", "UDP"]), st.sampled_from([80, 8080])),
    max_size=2,
).map(tuple)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """One to three nodes, some with two addresses of a family; pods of one or both families, some of them replicas."""
    versions = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    nodes = [_node(draw, index, versions) for index in range(draw(st.integers(1, 3)))]
    pods: list[Pod] = []
    for index in range(draw(st.integers(1, 3))):
        labels, ports = draw(_labels), draw(_named_ports)
        team = Labels.of(draw(st.sampled_from([{}, {"team": "a"}, {"team": "b"}])))
        own = draw(st.sampled_from([versions, versions, versions[:1]]))
        for replica in range(draw(st.integers(1, 2))):
            at = draw(st.sampled_from([*nodes, None]))
            where = None if at is None else at.name
            pods.append(Pod("n", f"p{index}-{replica}", labels, team, named_ports=ports, node=where))
            number = len(pods) - 1
            found = {4: f"10.0.0.{number}", 6: f"fd00::{number + 1:x}"}
            addresses = tuple(parse_address(found[version]) for version in own)
            pods[-1] = Pod("n", f"p{index}-{replica}", labels, team, "x", Labels(), addresses, ports, where)
    pods.append(Pod("n", "host", addresses=nodes[0].addresses, node=nodes[0].name, host_network=True))
    servers = {4: "192.0.2.7", 6: "2001:db8::1"}
    server = draw(st.sampled_from([(), nodes[0].addresses[:1], (parse_address(servers[versions[0]]),)]))
    return Cluster(pods=tuple(pods), nodes=tuple(nodes), api_server=server, complete=True)


def _node(draw: st.DrawFn, index: int, versions: tuple[int, ...]) -> Node:
    found = {4: (f"10.1.0.{index + 1}", f"192.0.2.{index + 1}"), 6: (f"fd00::1:{index}",)}
    several = draw(st.booleans())
    addresses = [address for version in versions for address in (found[version] if several else found[version][:1])]
    labels = draw(st.sampled_from([{}, {"pool": "a"}, {"pool": "b"}]))
    return Node(f"node-{index}", Labels.of(labels), tuple(map(parse_address, addresses)))


def _around(blocks: Iterable[str]) -> tuple[str, ...]:
    """The addresses at both sides of each border of some networks."""
    found: set[str] = set()
    for block in blocks:
        network = ip_network(block, strict=False)
        for border in (network.network_address, network.broadcast_address):
            top = 2**network.max_prefixlen - 1
            found |= {str(type(border)(n)) for n in range(int(border) - 1, int(border) + 2) if 0 < n < top}
    return tuple(sorted(found))


_OUTSIDE = _around(_BLOCKS)


def _grid(cluster: Cluster) -> Grid:
    return Grid(cluster, _OUTSIDE, (0, 2, *_PORTS[1:]), (0, 79, 80, 8080), (0, 1, 8, 255), (0, 1, 2))


@given(engines, engines, clusters(), st.randoms(use_true_random=False))
@_SLOW
def test_a_flow_lies_in_a_box_exactly_if_the_engines_differ(
    before: AnyEngine, after: AnyEngine, cluster: Cluster, chance: Random
) -> None:
    check(before, after, _grid(cluster), chance, 3)


@given(engines, clusters(), st.randoms(use_true_random=False))
@_SLOW
def test_what_one_engine_denies_is_what_no_policies_would_allow(
    engine: AnyEngine, cluster: Cluster, chance: Random
) -> None:
    check(engine, KubernetesEngine([]), _grid(cluster), chance, 3)


@given(engines, clusters())
@_SLOW
def test_an_engine_equals_itself(engine: AnyEngine, cluster: Cluster) -> None:
    comparison = Comparison(engine, engine, cluster)
    assert comparison.equal
    assert not list(comparison.changes())


@given(engines, engines, clusters())
@_SLOW
def test_boxes_are_disjoint(before: AnyEngine, after: AnyEngine, cluster: Cluster) -> None:
    for one, other in combinations(list(Comparison(before, after, cluster).changes())[:100], 2):
        shared = (one.sources & other.sources, one.destinations & other.destinations, one.packets & other.packets)
        assert not all(shared)


@given(engines, clusters(), st.randoms(use_true_random=False))
@_SLOW
def test_pods_of_one_class_may_be_swapped(engine: AnyEngine, cluster: Cluster, chance: Random) -> None:
    simulator, grid = Simulator(engine, cluster), _grid(cluster)
    groups = Comparison(engine, engine, cluster).space.pod_classes
    for first, second in (group.pods[:2] for group in groups if len(group.pods) > 1):
        for flow in grid.flows(chance, 2):
            pods = flow.source.pod, flow.destination.pod
            if first in pods and second not in pods and flow.source.node is flow.destination.node is None:
                swapped = grid.swap(flow, first, second)
                assert simulator.answer(flow).verdict == simulator.answer(swapped).verdict, flow


# Policies of every dialect.

_SEEDS = range(5)
_PAIRS = {
    "kubernetes": [
        ("kubernetes", "npm"),
        ("npm", "npm-windows"),
        ("npm", "cilium-1.18"),
        ("calico", "kubernetes"),
        ("kubernetes", "cilium-1.20"),
        ("npm", "nothing"),
    ],
    "calico": [("calico", "nothing"), ("calico", "cilium-1.20")],
    "cilium": [("cilium-1.18", "cilium-1.20"), ("cilium-1.20", "nothing"), ("cilium-1.18", "nothing")],
}


def _case(dialect: str, seed: int) -> Case:
    if dialect == "kubernetes":
        return kubernetes_case(str(seed))
    return calico_case(str(seed)) if dialect == "calico" else cilium_case(str(seed), 20)


def _engine(name: str, policies: tuple[RawObject, ...], cluster: Cluster) -> Engine:
    """An engine with its default settings, of a release for Cilium."""
    if name == "nothing":
        return KubernetesEngine([])
    name, _, release = name.partition("-1.")
    return build_engine(name, policies, cluster, {}, int(release or 20)).engine


def _numbers(case: Case) -> tuple[int, ...]:
    """Both sides of each number in the policies that may be a port."""
    written = (int(text) for text in re.findall(r"(?<![\w.:-])\d{1,5}(?![\w.-])", str(case.policies)))
    near = {number + step for number in written for step in (-1, 0, 1)}
    return tuple(sorted(number for number in {0, 80, 8080, 65535, *near} if 0 <= number <= 65535))


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("dialect", _PAIRS)
def test_policies_of_a_dialect(dialect: str, seed: int) -> None:
    case = _case(dialect, seed)
    read = read_case(RawObject(cast("dict[str, Json]", case.document())))
    blocks = re.findall(r"[0-9a-f.:]+/\d+", str(case.policies))
    several = (0, 1) if dialect == "calico" else (0,)
    grid = Grid(read.cluster, _around(blocks), _numbers(case), (0, 1023, 40000), (0, 3, 8, 128, 254), several)
    for pair in _PAIRS[dialect]:
        before, after = (_engine(name, read.policies, read.cluster) for name in pair)
        check(before, after, grid, Random(seed), 4)
