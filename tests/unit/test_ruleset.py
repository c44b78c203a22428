"""The meaning of the small language, end by end and packet by packet."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from migrate.model.addresses import AddressSet, parse_address
from migrate.model.cluster import Cluster, NamedPort, Node, Pod
from migrate.model.flow import Direction, End, EndKind, Flow, Packet
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels
from migrate.model.ruleset import (
    ANY_END,
    NO_END,
    Action,
    Addresses,
    AllOf,
    AnyOf,
    At,
    Chain,
    Except,
    Nodes,
    Place,
    Pods,
    PortSet,
    Predicate,
    Rule,
    Stage,
    Traffic,
    carries,
    decide,
    ends_of,
    holds,
)
from migrate.model.selectors import EVERYTHING, Operator, Requirement

HTTP = NamedPort("http", "TCP", 8080)
POD = Pod("shop", "web", Labels.of({"app": "web"}), node="n", addresses=(parse_address("10.0.0.1"),))
TWIN = replace(POD, name="twin", addresses=(parse_address("10.0.0.2"),), named_ports=(HTTP,))
NODE = Node("n", Labels.of({"app": "web"}), (parse_address("10.1.0.1"),))
OWN = End(EndKind.POD, POD.addresses[0], pod=POD)
PEER = End(EndKind.POD, TWIN.addresses[0], pod=TWIN)
OWN_NODE = End(EndKind.NODE, NODE.addresses[0], node=NODE)
OTHER_NODE = End(EndKind.NODE, parse_address("10.1.0.2"), node=replace(NODE, name="m"))
OUTSIDE = End(EndKind.OUTSIDE, parse_address("203.0.113.1"))
SERVER = replace(OUTSIDE, api_server=True)
ENDS = {"itself": OWN, "twin": PEER, "own": OWN_NODE, "other": OTHER_NODE, "outside": OUTSIDE, "server": SERVER}
WEB = Requirement("app", Operator.IN, ("web",))


@pytest.mark.parametrize(
    ("predicate", "names"),
    [
        pytest.param(ANY_END, "itself twin own other outside server", id="every end"),
        pytest.param(NO_END, "", id="no end"),
        pytest.param(Pods(WEB), "itself twin", id="a selector of pods holds for no node with the same labels"),
        pytest.param(Nodes(WEB), "own other", id="a selector of nodes holds for no pod with the same labels"),
        pytest.param(
            Nodes(replace(WEB, values=("db",))), "", id="a selector of nodes holds for no node with other labels"
        ),
        pytest.param(Pods(EVERYTHING), "itself twin", id="an empty selector holds for pods only"),
        pytest.param(
            Addresses(AddressSet.of([ip_network("10.0.0.0/8")])),
            "itself twin own other",
            id="a block is addresses",
        ),
        pytest.param(At(Place.POD), "itself twin", id="pods"),
        pytest.param(At(Place.ITSELF), "itself", id="a replica is not the pod itself"),
        pytest.param(At(Place.OWN_NODE), "own", id="the own node"),
        pytest.param(At(Place.OTHER_NODE), "other", id="other nodes"),
        pytest.param(At(Place.OUTSIDE), "outside server", id="an API server outside is outside"),
        pytest.param(At(Place.API_SERVER), "server", id="the API server"),
        pytest.param(Except(Pods(WEB)), "own other outside server", id="who is not among pods may be anything else"),
        pytest.param(AllOf((Pods(WEB), Except(At(Place.ITSELF)))), "twin", id="both terms"),
        pytest.param(AnyOf((At(Place.OWN_NODE), At(Place.ITSELF))), "itself own", id="one of the terms"),
    ],
)
def test_ends_for_which_a_predicate_holds(predicate: Predicate, names: str) -> None:
    assert [name for name, end in ENDS.items() if holds(predicate, end, OWN)] == names.split()


def test_a_pod_whose_node_is_not_known_sees_every_node_as_another() -> None:
    lost = replace(OWN, pod=replace(POD, node=None))
    assert holds(At(Place.OTHER_NODE), OWN_NODE, lost)
    assert not holds(At(Place.OWN_NODE), OWN_NODE, lost)


def only(*numbers: int) -> IntervalSet:
    return IntervalSet.of((number, number) for number in numbers)


_NAMED = PortSet(names=("http",))


@pytest.mark.parametrize(
    ("traffic", "packet", "source", "destination", "carried"),
    [
        pytest.param(Traffic(), Packet(47), OWN, OUTSIDE, True, id="no part limits"),
        pytest.param(Traffic(only(6)), Packet(17), OWN, OUTSIDE, False, id="another protocol"),
        pytest.param(Traffic(family=6), Packet(6), OWN, OUTSIDE, False, id="the other IP family"),
        pytest.param(Traffic(only(6), ports=_NAMED), Packet(6, 8080), OWN, PEER, True, id="the name's number"),
        pytest.param(Traffic(only(6), ports=_NAMED), Packet(6, 80), OWN, PEER, False, id="another number"),
        pytest.param(
            Traffic(only(6), ports=_NAMED), Packet(6, 8080), PEER, OWN, False, id="a name is the destination's alone"
        ),
        pytest.param(
            Traffic(only(17), ports=_NAMED), Packet(17, 8080), OWN, PEER, False, id="a name is of one protocol"
        ),
        pytest.param(
            Traffic(only(6), ports=_NAMED), Packet(6, 8080), OWN, OUTSIDE, False, id="nobody outside names ports"
        ),
        pytest.param(
            Traffic(only(6), not_ports=_NAMED), Packet(6, 8080), OWN, PEER, False, id="a name that is forbidden"
        ),
        pytest.param(
            Traffic(only(6), source_ports=_NAMED), Packet(6, 1, 8080), PEER, OWN, True, id="a source port's name"
        ),
        pytest.param(
            Traffic(only(6), not_source_ports=PortSet(only(9))),
            Packet(6, 9, 10),
            OWN,
            PEER,
            True,
            id="not the port",
        ),
        pytest.param(Traffic(only(1), icmp=((8, None),)), Packet(1, 8, code=7), OWN, PEER, True, id="any code"),
        pytest.param(Traffic(only(1), icmp=((8, 0),)), Packet(1, 8, code=7), OWN, PEER, False, id="another code"),
        pytest.param(Traffic(only(1), not_icmp=((8, 0),)), Packet(1, 8, code=0), OWN, PEER, False, id="forbidden"),
        pytest.param(Traffic(only(1), icmp=()), Packet(1, 8), OWN, PEER, False, id="no message at all"),
    ],
)
def test_packets_that_a_value_carries(
    traffic: Traffic, packet: Packet, source: End, destination: End, carried: bool
) -> None:
    assert carries(traffic, packet, source, destination) is carried


def rule(action: Action, peer: Predicate = ANY_END, own: Predicate = ANY_END) -> Rule:
    return Rule(action, peer, own=own)


_ALLOW, _DENY, _PASS = (rule(action) for action in (Action.ALLOW, Action.DENY, Action.PASS))
_MISS = rule(Action.ALLOW, NO_END)


@pytest.mark.parametrize(
    ("stages", "default", "action", "stage"),
    [
        pytest.param([], Action.ALLOW, Action.ALLOW, "", id="without stages the default decides"),
        pytest.param([([_DENY, _ALLOW], Action.PASS)], Action.ALLOW, Action.DENY, "0", id="the first match decides"),
        pytest.param([([_MISS], Action.DENY)], Action.ALLOW, Action.DENY, "0", id="the end of a stage decides"),
        pytest.param(
            [([_PASS, _ALLOW], Action.DENY), ([_MISS], Action.DENY)],
            Action.ALLOW,
            Action.DENY,
            "1",
            id="pass skips the rest of its stage",
        ),
        pytest.param([([_PASS], Action.DENY)], Action.ALLOW, Action.ALLOW, "", id="pass at last is the default"),
        pytest.param(
            [([_MISS], Action.PASS), ([_ALLOW], Action.DENY)], Action.DENY, Action.ALLOW, "1", id="the next stage"
        ),
        pytest.param(
            [([rule(Action.ALLOW, own=Except(At(Place.POD)))], Action.DENY)],
            Action.ALLOW,
            Action.DENY,
            "0",
            id="a rule that is not about the pod itself does not match",
        ),
    ],
)
def test_a_walk_over_a_chain(
    stages: list[tuple[list[Rule], Action]], default: Action, action: Action, stage: str
) -> None:
    named = (Stage(tuple(rules), end, str(number)) for number, (rules, end) in enumerate(stages))
    decision = decide(Chain(tuple(named), default), OWN, PEER, Packet(6, 80), Direction.EGRESS)
    assert (decision.action, decision.stage) == (action, stage)


def test_an_address_of_a_node_is_the_node_also_when_a_pod_is_on_the_hosts_network() -> None:
    host = Pod("shop", "host", addresses=NODE.addresses, node="n", host_network=True)
    found = ends_of(Cluster(pods=(host, POD), nodes=(NODE,), api_server=NODE.addresses))
    assert found == {
        "10.1.0.1": replace(OWN_NODE, api_server=True),
        "10.0.0.1": OWN,
    }


def test_a_pod_on_the_hosts_network_has_no_address_of_its_own() -> None:
    assert ends_of(Cluster(pods=(replace(POD, host_network=True),))) == {}


def test_a_pod_may_be_the_api_server() -> None:
    cluster = Cluster(pods=(POD, TWIN), nodes=(NODE,), api_server=POD.addresses)
    assert [end.api_server for end in ends_of(cluster).values()] == [False, True, False]


@pytest.mark.parametrize(
    ("flow", "text"),
    [
        pytest.param(Flow(OWN, PEER, Packet(6, 443)), "shop/web → shop/twin TCP/443", id="pods by name"),
        pytest.param(Flow(OUTSIDE, OWN, Packet(17, 5, 9)), "203.0.113.1 → shop/web UDP/5 from port 9", id="UDP"),
        pytest.param(Flow(OWN_NODE, OWN, Packet(1, 3, code=1)), "node n → shop/web ICMP type 3 code 1", id="ICMP"),
        pytest.param(Flow(OWN, OUTSIDE, Packet(47)), "shop/web → 203.0.113.1 IP protocol 47", id="a bare protocol"),
        pytest.param(
            Flow(replace(OWN, address=parse_address("fd00::1")), PEER, Packet(6, 1)),
            "shop/web → shop/twin TCP/1 over IPv6",
            id="IPv6 is said where names do not show it",
        ),
    ],
)
def test_a_flow_in_words(flow: Flow, text: str) -> None:
    assert str(flow) == text
