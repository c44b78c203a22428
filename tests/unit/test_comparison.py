"""What the class engine makes of a rule, by hand: one policy with one rule for a pod against no policy at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from migrate.model.addresses import parse_address
from migrate.model.cluster import Cluster, NamedPort, Node, Pod
from migrate.model.flow import TCP, UDP, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels
from migrate.model.ruleset import (
    ANY_END,
    NO_END,
    Action,
    AllOf,
    AnyOf,
    At,
    Chain,
    Except,
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
from migrate.sources.kubernetes_engine import KubernetesEngine
from migrate.verify.compare import ChangeKind, Comparison
from migrate.verify.simulate import Simulator
from tests.property.flow_grid import Grid, boxes_with, verdicts

_NODES = (Node("one", addresses=(parse_address("10.1.0.1"),)), Node("two", addresses=(parse_address("10.1.0.2"),)))


def _pod(number: int, app: str, *ports: NamedPort, node: str = "one") -> Pod:
    address = parse_address(f"10.0.0.{number}")
    return Pod("shop", f"pod-{number}", Labels.of({"app": app}), addresses=(address,), named_ports=ports, node=node)


_CLUSTER = Cluster(
    pods=(
        _pod(1, "web", NamedPort("http", "TCP", 80)),
        _pod(2, "web", NamedPort("http", "TCP", 8080), NamedPort("dns", "UDP", 80)),
        _pod(3, "web", NamedPort("dns", "TCP", 80), node="two"),
        _pod(4, "db"),
        _pod(5, "db"),
    ),
    nodes=_NODES,
    complete=True,
)
_PORTS = (79, 80, 81, 8080)
_GRID = Grid(_CLUSTER, ("192.0.2.1",), _PORTS, (0, 80, 8080), (8,), (0,))


@dataclass(frozen=True)
class OnePolicy:
    """A policy for the pods of a selector, with the same stages in both directions."""

    stages: tuple[Stage, ...]
    selector: Selector = EVERYTHING
    exempt_end: Predicate = NO_END
    unknown: tuple[Provenance, ...] = ()

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return (Subject(self.selector, frozenset(Direction)),)

    @property
    def exempt(self) -> dict[Direction, Predicate]:
        return dict.fromkeys(Direction, self.exempt_end)

    def chain(self, direction: Direction, policies: tuple[int, ...]) -> Chain:
        if not policies:
            return Chain((), Action.ALLOW, enforced=False)
        return Chain(self.stages, Action.DENY)


def _rules(*rules: Rule) -> OnePolicy:
    return OnePolicy((Stage(rules, Action.DENY),))


def _carrying(*traffic: Traffic, peer: Predicate = ANY_END, own: Predicate = ANY_END) -> OnePolicy:
    return _rules(Rule(Action.ALLOW, peer, traffic, own))


def _between(peer: Predicate) -> OnePolicy:
    return _rules(Rule(Action.ALLOW, peer))


def _pass(peer: Predicate) -> Rule:
    return Rule(Action.PASS, peer)


def _app(*values: str) -> Requirement:
    return Requirement("app", Operator.IN, values)


def _numbers(*numbers: int) -> IntervalSet:
    return IntervalSet.of((number, number) for number in numbers)


_HTTP, _DNS, _BOTH = PortSet(names=("http",)), PortSet(names=("dns",)), PortSet(names=("dns", "http"))
_ON_TCP = Traffic(_numbers(TCP))
_ON_BOTH = Traffic(_numbers(TCP, UDP))

_ENGINES = [
    pytest.param(_carrying(replace(_ON_TCP, ports=_HTTP)), id="a port name is another number in each pod"),
    pytest.param(_carrying(replace(_ON_BOTH, ports=_DNS)), id="a port name counts for its protocol only"),
    pytest.param(_carrying(replace(_ON_BOTH, ports=_BOTH)), id="two port names"),
    pytest.param(_carrying(replace(_ON_BOTH, ports=PortSet(_numbers(81), ("http",)))), id="a name beside a number"),
    pytest.param(_carrying(replace(_ON_TCP, not_ports=_HTTP)), id="all ports but a name"),
    pytest.param(_carrying(replace(_ON_TCP, source_ports=_HTTP)), id="a name of a source port"),
    pytest.param(_carrying(replace(_ON_TCP, not_source_ports=_HTTP)), id="all source ports but a name"),
    pytest.param(
        _carrying(replace(_ON_TCP, ports=_HTTP, source_ports=_BOTH)), id="names of ports at both ends of a packet"
    ),
    pytest.param(_carrying(replace(_ON_TCP, ports=PortSet(names=("gone",)))), id="a name that no pod has"),
    pytest.param(
        _carrying(replace(_ON_TCP, ports=_HTTP), replace(_ON_TCP, ports=_DNS)), id="entries that name ports, one by one"
    ),
    pytest.param(_carrying(Traffic(family=6)), id="a rule for the other IP family"),
    pytest.param(_carrying(_ON_TCP, own=Pods(_app("web"))), id="a rule for some of the pods that its policy selects"),
    pytest.param(_between(AllOf((Pods(_app("web")), Pods(EVERYTHING)))), id="all of two, the narrower one first"),
    pytest.param(_between(AllOf((Pods(EVERYTHING), Pods(_app("web"))))), id="all of two, the wider one first"),
    pytest.param(_between(AnyOf((Pods(_app("web")), At(Place.OUTSIDE)))), id="any of two"),
    pytest.param(_between(Except(Pods(_app("web")))), id="everyone but some pods"),
    pytest.param(_between(Pods(Not(_app("web")))), id="pods without a label's value"),
    pytest.param(_between(Pods(And((_app("web", "db"), _app("db"))))), id="pods with two requirements"),
    pytest.param(_between(Pods(Or((_app("web"), _app("db"))))), id="pods with one of two requirements"),
    pytest.param(_between(At(Place.OWN_NODE)), id="the own node, which is another one for other pods"),
    pytest.param(_between(At(Place.OTHER_NODE)), id="the other nodes"),
    pytest.param(replace(_between(NO_END), exempt_end=At(Place.OWN_NODE)), id="a node that is exempt"),
    pytest.param(
        OnePolicy(
            (
                Stage((_pass(Pods(_app("web"))), _pass(At(Place.OUTSIDE))), Action.DENY),
                Stage((Rule(Action.ALLOW, Except(At(Place.OWN_NODE)), (_ON_TCP,)),), Action.DENY),
            )
        ),
        id="what several rules pass on goes to the next stage",
    ),
    pytest.param(
        OnePolicy((Stage((Rule(Action.DENY, Pods(_app("db"))),), Action.PASS), Stage((), Action.ALLOW))),
        id="what no rule of a stage decides goes on to the next",
    ),
    pytest.param(replace(_between(NO_END), selector=_app("db")), id="a policy for some of the pods"),
]


@pytest.mark.parametrize("engine", _ENGINES)
def test_changed_flows_are_those_that_the_rule_denies(engine: OnePolicy) -> None:
    """Against no policies: denied flows, and with the states swapped the same flows newly allowed."""
    nothing = KubernetesEngine([])
    losing, gaining = Comparison(nothing, engine, _CLUSTER), Comparison(engine, nothing, _CLUSTER)
    lost, gained = list(losing.changes()), list(gaining.changes())
    simulators = Simulator(nothing, _CLUSTER), Simulator(engine, _CLUSTER)
    assert lost
    for change in lost:
        flow = losing.flow(change)
        assert boxes_with(flow, losing, lost) == [change]
        assert verdicts(flow, *simulators) == ("allow", "deny")
    for flow in _GRID.flows(Random(0), len(_GRID.packets)):
        changed = verdicts(flow, *simulators) == ("allow", "deny")
        assert [c.kind for c in boxes_with(flow, losing, lost)] == [ChangeKind.NEWLY_DENIED] * changed, flow
        assert [c.kind for c in boxes_with(flow, gaining, gained)] == [ChangeKind.NEWLY_ALLOWED] * changed, flow
