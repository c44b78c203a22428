"""How a cluster is cut into ends: what rules read splits pods, nodes and addresses, and nothing else does."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from migrate.model.addresses import AddressSet, parse_address
from migrate.model.cluster import Cluster, NamedPort, Node, Pod
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import Addresses, AllOf, AnyOf, At, Except, Nodes, Place, Pods, Predicate
from migrate.model.selectors import Operator, Requirement
from migrate.verify.bits import bits, members
from migrate.verify.space import Reads, Space


def pod(name: str, *addresses: str, node: str | None = None, ports: tuple[NamedPort, ...] = (), **labels: str) -> Pod:
    found = tuple(map(parse_address, addresses))
    return Pod("shop", name, Labels.of(labels), addresses=found, node=node, named_ports=ports)


def node(name: str, *addresses: str, **labels: str) -> Node:
    return Node(name, Labels.of(labels), tuple(map(parse_address, addresses)))


def blocks(*texts: str) -> Addresses:
    return Addresses(AddressSet.of(map(ip_network, texts)))


def space(cluster: Cluster, *predicates: Predicate, names: tuple[str, ...] = ()) -> Space:
    reads = Reads(names=set(names))
    for predicate in predicates:
        reads.predicate(predicate)
    return Space(cluster, reads)


def classes(found: Space) -> list[list[str]]:
    return [[one.name for one in group.pods] for group in found.pod_classes]


WEB = Pods(Requirement("app", Operator.IN, ("web",)))
_TWO = Cluster(pods=(pod("a", "10.0.0.1", app="web"), pod("b", "10.0.0.9", app="db")))


@pytest.mark.parametrize(
    ("predicate", "split"),
    [
        pytest.param(WEB, True, id="a label that a rule reads splits pods"),
        pytest.param(Except(WEB), True, id="a negated rule reads the same labels"),
        pytest.param(Pods(Requirement("tier", Operator.EXISTS)), False, id="a label that neither has splits nothing"),
        pytest.param(
            Pods(Requirement("app", Operator.EXISTS, scope=Scope.NAMESPACE)),
            False,
            id="the same key of the namespace is another label",
        ),
        pytest.param(blocks("10.0.0.0/29"), True, id="a block with one of them splits them"),
        pytest.param(blocks("10.0.0.0/28"), False, id="a block with both does not"),
        pytest.param(
            AllOf((blocks("10.0.0.0/29"), At(Place.OUTSIDE))), False, id="a block for the outside alone does not"
        ),
        pytest.param(
            AllOf((blocks("10.0.0.0/29"), AnyOf((At(Place.OUTSIDE), At(Place.POD))))),
            True,
            id="a block for the outside and pods does",
        ),
        pytest.param(Nodes(Requirement("app", Operator.EXISTS)), False, id="a selector of nodes reads no pods"),
    ],
)
def test_pods_that_a_rule_tells_apart_are_two_classes(predicate: Predicate, split: bool) -> None:
    assert classes(space(_TWO, predicate)) == ([["a"], ["b"]] if split else [["a", "b"]])


def test_named_ports_count_only_by_the_names_in_play() -> None:
    http, stats = NamedPort("http", "TCP", 80), NamedPort("stats", "TCP", 9)
    cluster = Cluster(pods=(pod("a", "10.0.0.1", ports=(http,)), pod("b", "10.0.0.2", ports=(http, stats))))
    assert classes(space(cluster, names=("http",))) == [["a", "b"]]
    assert classes(space(cluster, names=("stats",))) == [["a"], ["b"]]


def test_pods_without_an_address_or_on_the_hosts_network_are_no_ends() -> None:
    on_host = Pod("shop", "host", addresses=(parse_address("10.1.0.1"),), node="n", host_network=True)
    found = space(Cluster(pods=(pod("waiting"), on_host), nodes=(node("n", "10.1.0.1"),)))
    assert classes(found) == []
    assert [end.place for end in found.ends if end.end.address == parse_address("10.1.0.1")] == [
        Place.OWN_NODE,
        Place.OTHER_NODE,
    ]


def test_a_pod_has_one_end_for_each_family() -> None:
    found = space(Cluster(pods=(pod("a", "fd00::1", "10.0.0.1"),)))
    assert [found.ends[end].end.address.version for end in found.pod_classes[0].ends] == [4, 6]


def test_every_border_of_a_nodes_addresses_is_an_end_of_it() -> None:
    cluster = Cluster(nodes=(node("n", "10.1.0.1", "192.0.2.1"), node("m", "192.0.2.2", "10.1.0.2")))
    found = space(cluster, blocks("192.0.2.0/24"))
    assert len(found.node_classes) == 1
    assert [str(end.end.address) for end in found.ends if end.place is Place.OWN_NODE] == ["10.1.0.1", "192.0.2.1"]


def test_nodes_split_by_the_labels_that_are_read() -> None:
    cluster = Cluster(nodes=(node("n", "10.1.0.1", pool="a"), node("m", "10.1.0.2", pool="b")))
    assert len(space(cluster).node_classes) == 1
    assert len(space(cluster, Nodes(Requirement("pool", Operator.IN, ("a",)))).node_classes) == 2


@pytest.mark.parametrize(
    ("nodes", "places"),
    [
        pytest.param(("n",), {Place.OWN_NODE}, id="on the only node there is no other"),
        pytest.param(("n", "m"), {Place.OWN_NODE, Place.OTHER_NODE}, id="with a second node of its class there is"),
    ],
)
def test_the_nodes_that_a_pod_sees(nodes: tuple[str, ...], places: set[Place]) -> None:
    known = tuple(node(name, f"10.1.0.{index}") for index, name in enumerate(nodes, 1))
    found = space(Cluster(pods=(pod("a", "10.0.0.1", node="n"),), nodes=known))
    seen = {found.ends[index].place for index in members(found.seen_from(found.pod_classes[0]))}
    assert seen - {Place.POD, Place.OUTSIDE} == places


def test_a_pod_whose_node_is_not_known_sees_only_other_nodes() -> None:
    found = space(Cluster(pods=(pod("a", "10.0.0.1"),), nodes=(node("n", "10.1.0.1"),)))
    seen = {found.ends[index].place for index in members(found.seen_from(found.pod_classes[0]))}
    assert seen - {Place.POD, Place.OUTSIDE} == {Place.OTHER_NODE}


def test_all_addresses_together_are_the_whole_of_each_family() -> None:
    cluster = Cluster(
        pods=(pod("a", "10.0.0.1", "fd00::1"), pod("b", "10.0.0.2")),
        nodes=(node("n", "10.1.0.1"),),
        api_server=(parse_address("203.0.113.1"),),
    )
    found = space(cluster, blocks("10.0.0.0/24", "0.0.0.0/0", "fd00::/64"))
    owned = {4: 3, 6: 1}
    for family, bits_of_family in ((4, 32), (6, 128)):
        outside = [e for e in found.ends if e.place is Place.OUTSIDE and e.end.address.version == family]
        assert sum(end.size for end in outside) == 2**bits_of_family - owned[family]


def test_a_piece_of_which_every_address_is_owned_is_no_end_outside() -> None:
    found = space(Cluster(pods=(pod("a", "10.0.0.0"), pod("b", "10.0.0.1"))), blocks("10.0.0.0/31"))
    outside = {str(end.end.address) for end in found.ends if end.place is Place.OUTSIDE}
    assert outside == {"0.0.0.1", "10.0.0.2", "::1"}


def test_the_example_of_a_piece_is_its_first_free_address() -> None:
    pods = tuple(pod(f"p{index}", f"10.0.0.{index}") for index in range(3))
    found = space(Cluster(pods=pods, nodes=(node("n", "10.0.0.4"),)), blocks("10.0.0.0/24"))
    assert "10.0.0.3" in {str(end.end.address) for end in found.ends if end.place is Place.OUTSIDE}


def test_an_api_server_outside_is_an_end_of_its_own() -> None:
    found = space(Cluster(api_server=(parse_address("203.0.113.1"),)))
    assert [str(found.ends[index].end.address) for index in members(found.at(Place.API_SERVER))] == ["203.0.113.1"]


def test_an_api_server_on_a_node_splits_nodes() -> None:
    nodes = (node("n", "10.1.0.1"), node("m", "10.1.0.2"))
    assert len(space(Cluster(nodes=nodes, api_server=nodes[0].addresses)).node_classes) == 2


@pytest.mark.parametrize("numbers", [[], [0], [7, 8], [0, 9, 64, 1000]])
def test_bits_keep_their_members(numbers: list[int]) -> None:
    assert list(members(bits(numbers))) == numbers
