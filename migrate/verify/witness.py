"""Made-up pods for everything that policies can tell apart, so that a comparison over them holds for any pods.

A flow has two ends, and no rule looks at a third pod. So it is enough that every kind of pod is there twice: each
combination of labels, each piece of the addresses that pods may have, each set of named ports on a number, and each
kind of node. Nodes are those of the cluster where it has some.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import combinations, product
from typing import TypeAlias

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Cluster, NamedPort, Node, Pod
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import AllOf, AnyOf, Engine, Except, Nodes, Pods, Predicate
from migrate.model.selectors import Selector
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.verify.compile import read_engine
from migrate.verify.packets import PacketReads
from migrate.verify.space import Reads, Space
from migrate.verify.witness_labels import Assignment, TooManyError, label_sets

MOST_UNASKED = 250
"""Kinds of pods up to which a comparison tries witnesses by itself, in the snapshot and made-up ones."""
MOST_ASKED = 20_000
"""Kinds of pods up to which it does when asked to."""

_ACCOUNT = "default"
_MOST_NAMES = 8
_MOST_NUMBERS = 100
_TOP = {4: 2**32 - 1, 6: 2**128 - 1}
_USUAL_START = {4: int(IPv4Address("10.0.0.1")), 6: int(IPv6Address("fd00::1"))}
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_Range: TypeAlias = tuple[int, int]
_Place: TypeAlias = tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Clusters of made-up pods that together have all flows there can be; `pods` counts the kinds of pods."""

    worlds: tuple[Cluster, ...]
    pods: int
    assumptions: tuple[str, ...]


def make_witnesses(engines: Sequence[Engine], cluster: Cluster, cap: int) -> Witnesses:
    """Witnesses for some engines, on the nodes and pod networks of a cluster. Raises TooManyError above `cap`.

    The engines are those of the cluster without its pods.
    """
    reads, packets = Reads(), PacketReads()
    for engine in engines:
        read_engine(engine, reads, packets)
    nodes = _nodes(engines, cluster, reads, cap)
    labels = label_sets(_pod_selectors(engines), cap)
    ports = list(_port_sets(reads, packets))
    networks = _networks(cluster)
    places, rooms = _places(cluster, reads, nodes, networks)
    owners = [group.sample.name for group in Space(replace(cluster, pods=(), nodes=nodes), reads).node_classes] or [""]
    count = len(labels) * len(places) * len(ports) * len(owners)
    if count > cap:
        parts = f"{len(labels)} combinations of labels, {len(places)} of addresses, {len(ports)} of named ports"
        raise TooManyError(f"{parts} and {len(owners)} kinds of nodes make {count} kinds of pods, more than {cap}")
    empty = replace(cluster, pods=(), nodes=nodes)
    worlds = [replace(empty, pods=tuple(_pods(labels, places, ports, owners)))]
    if rooms != places:
        worlds.append(replace(empty, pods=tuple(_pods(labels, rooms, ports, owners))))
    return Witnesses(tuple(worlds), count, tuple(_assumptions(cluster, networks)))


def traits(pod: Pod) -> tuple[str, ...]:
    """What rules may look at in a witness, in words."""
    own = [f"{key}={value}" for key, value in pod.labels.pairs]
    around = [f"namespace {key}={value}" for key, value in pod.namespace_labels.pairs if key != NAMESPACE_NAME]
    others = [(key, value) for key, value in pod.service_account_labels.pairs if key != SERVICE_ACCOUNT_NAME]
    account = [] if pod.service_account == _ACCOUNT else [f"service account {pod.service_account}"]
    account += [f"service account {key}={value}" for key, value in others]
    names = sorted({port.name for port in pod.named_ports})
    return (*own, *around, *account, *(f"named port {name}" for name in names))


def _assumptions(cluster: Cluster, networks: AddressSet) -> Iterator[str]:
    if cluster.nodes:
        yield "nodes are like those of the snapshot"
    if networks != AddressSet.everything():
        yield f"pods have addresses in {', '.join(map(str, networks.networks()))}"
    families = cluster.pod_families or cluster.ip_families
    if families:
        yield f"pods have addresses of {' and '.join(f'IPv{family}' for family in sorted(families))}"


def _pod_selectors(engines: Iterable[Engine]) -> Iterator[Selector]:
    for engine in engines:
        yield from (subject.selector for subject in engine.subjects)
        for predicate in _leaves(_predicates(engine)):
            if isinstance(predicate, Pods):
                yield predicate.selector


def _predicates(engine: Engine) -> Iterator[Predicate]:
    everyone = tuple(range(len(engine.subjects)))
    for direction in Direction:
        yield engine.exempt[direction]
        for policies in (everyone, ()):
            for stage in engine.chain(direction, policies).stages:
                for rule in stage.rules:
                    yield from (rule.peer, rule.own)


def _leaves(predicates: Iterable[Predicate]) -> Iterator[Predicate]:
    for predicate in predicates:
        if isinstance(predicate, AllOf | AnyOf):
            yield from _leaves(predicate.terms)
        elif isinstance(predicate, Except):
            yield from _leaves((predicate.term,))
        else:
            yield predicate


def _nodes(engines: Iterable[Engine], cluster: Cluster, reads: Reads, cap: int) -> tuple[Node, ...]:
    """The cluster's nodes with a twin each, so that each kind is the own node and another one; or made-up ones."""
    if cluster.nodes:
        return (*cluster.nodes, *(replace(node, name=f"{node.name}-twin") for node in cluster.nodes))
    asked = (leaf.selector for engine in engines for leaf in _leaves(_predicates(engine)) if isinstance(leaf, Nodes))
    addresses = tuple(
        _usual(family, low, high)
        for family in sorted(cluster.running_families)
        for low, high in _pieces(reads, family)
        if high > low
    )
    sets = [Labels.of({key: value for (_, key), value in found.items()}) for found in label_sets(asked, cap)]
    return tuple(
        Node(f"node-{index}-{twin}", labels, addresses) for index, labels in enumerate(sets) for twin in ("a", "b")
    )


def _port_sets(reads: Reads, packets: PacketReads) -> Iterator[tuple[NamedPort, ...]]:
    """For each set of names pods that have exactly these on some number of every piece of the ports.

    A packet goes to one number, so that other names on other numbers of the same pod do not matter to it.
    """
    names = sorted(reads.names)
    cuts = sorted(packets.ports) if names else []
    if len(cuts) > _MOST_NUMBERS or len(names) > _MOST_NAMES:
        text = f"{len(names)} named ports and {len(cuts)} ranges of ports"
        raise TooManyError(f"{text}, more than {_MOST_NAMES} and {_MOST_NUMBERS}")
    ends = [*cuts[1:], 65536] if names else []
    numbers = [max(low, 1) for low, end in zip(cuts, ends, strict=True) if end > 1]
    for count in range(len(names) + 1):
        for chosen in combinations(names, count):
            yield tuple(NamedPort(*port) for port in product(chosen, _PROTOCOLS, numbers))


def _networks(cluster: Cluster) -> AddressSet:
    """Where pods' addresses are; everywhere unless the cluster's pod networks are known and hold all of its pods."""
    known = cluster.pod_networks
    own = (address for pod in cluster.pods if not pod.host_network for address in pod.addresses)
    families = {4 for _ in known.v4} | {6 for _ in known.v6}
    if not known or not cluster.running_families <= families or any(address not in known for address in own):
        return AddressSet.everything()
    return known


def _places(
    cluster: Cluster, reads: Reads, nodes: Sequence[Node], networks: AddressSet
) -> tuple[list[_Place], list[_Place]]:
    """Addresses of both families for pods, one for each piece; and those that leave room for the outside beside them.

    A flow is of one family, so that a piece of one need not meet every piece of the other.
    """
    taken = {a for node in nodes for a in node.addresses} | set(cluster.api_server)
    sides, roomy = [], []
    for family in sorted(cluster.running_families):
        own = sorted(int(address) for address in taken if address.version == family)
        found = list(_free(_pieces(reads, family), networks.v4 if family == 4 else networks.v6, own, family))
        sides.append([address for address, _ in found])
        roomy.append([address for address, alone in found if not alone])
    return _zipped(sides), _zipped(roomy)


def _zipped(sides: Iterable[list[Address]]) -> list[_Place]:
    known = [side for side in sides if side]
    longest = max(map(len, known), default=0)
    return [tuple(side[min(index, len(side) - 1)] for side in known) for index in range(longest)]


def _pieces(reads: Reads, family: int) -> Iterator[_Range]:
    """The pieces of all addresses that rules tell apart inside the cluster."""
    cuts = sorted(reads.inside_cuts[family])
    return zip(cuts, [*(cut - 1 for cut in cuts[1:]), _TOP[family]], strict=True)


def _free(
    pieces: Iterable[_Range], networks: IntervalSet, taken: Sequence[int], family: int
) -> Iterator[tuple[Address, bool]]:
    """An address in the networks for each piece that nobody has, and whether the piece has no other one."""
    ranges = (networks - IntervalSet.of((number, number) for number in taken)).ranges
    for low, high in pieces:
        index = bisect_left(ranges, low, key=lambda found: found[1])
        if index < len(ranges) and ranges[index][0] <= high:
            left = high - low + 1 - (bisect_right(taken, high) - bisect_left(taken, low))
            start, end = max(ranges[index][0], low), min(ranges[index][1], high)
            yield _usual(family, start, end), left == 1


def _usual(family: int, low: int, high: int) -> Address:
    """An address that people know as one of pods, where the range has one; not its first, if there is another."""
    usual = _USUAL_START[family]
    number = usual if low <= usual <= high else min(low + 1, high)
    return IPv4Address(number) if family == 4 else IPv6Address(number)


def _pods(
    labels: Sequence[Assignment],
    places: Sequence[_Place],
    ports: Sequence[tuple[NamedPort, ...]],
    owners: Sequence[str],
) -> Iterator[Pod]:
    """Two pods of each kind."""
    kinds = product(labels, places, ports, owners)
    for number, (assignment, addresses, named, owner) in enumerate(kinds, start=1):
        for twin in ("a", "b"):
            yield _pod(f"witness-{number}-{twin}", assignment, addresses, named, owner)


def _pod(name: str, assignment: Assignment, addresses: _Place, named: tuple[NamedPort, ...], owner: str) -> Pod:
    by_scope = {scope: {key: value for (found, key), value in assignment.items() if found is scope} for scope in Scope}
    namespace = by_scope[Scope.NAMESPACE].setdefault(NAMESPACE_NAME, "other")
    account = by_scope[Scope.SERVICE_ACCOUNT].setdefault(SERVICE_ACCOUNT_NAME, _ACCOUNT)
    return Pod(
        namespace=namespace,
        name=name,
        labels=Labels.of(by_scope[Scope.POD]),
        namespace_labels=Labels.of(by_scope[Scope.NAMESPACE]),
        service_account=account,
        service_account_labels=Labels.of(by_scope[Scope.SERVICE_ACCOUNT]),
        addresses=addresses,
        named_ports=named,
        node=owner or None,
    )
