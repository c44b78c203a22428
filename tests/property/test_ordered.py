"""Compiled policies against a plain walk over the ordered ones, for every pod, peer and packet of a small world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.model.addresses import AddressSet, parse_network
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import Action
from migrate.model.selectors import Conjunction, Operator, Requirement
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.ordered import Emission, OrderedPolicy, OrderedRule, compile_ordered
from migrate.translate.regions import (
    ANY_PEER,
    ANY_TRAFFIC,
    Box,
    PeerSet,
    PodSet,
    TrafficSet,
    common_pods,
    pods_without,
    region_without,
    union_of_pods,
)

INGRESS = Direction.INGRESS


@dataclass(frozen=True)
class SmallPod:
    """A pod by what requirements read."""

    namespace: str
    labels: Labels

    def labels_of(self, scope: Scope) -> Labels:
        return self.labels if scope is Scope.POD else Labels.of({NAMESPACE_NAME: self.namespace})


def _pods() -> list[SmallPod]:
    values: list[tuple[str | None, str | None]] = list(product((None, "x", "y"), (None, "x")))
    return [
        SmallPod(namespace, Labels.of({key: value for key, value in (("a", a), ("b", b)) if value is not None}))
        for namespace in ("n", "m")
        for a, b in values
    ]


PODS = _pods()
ADDRESSES = [ip_address(text) for text in ("192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1")]
NODES = ("own", "other")
PACKETS = [("TCP", 80), ("TCP", 443), ("UDP", 53), ("ICMP", 0), ("ICMP", 8), ("ICMPv6", 128), ("other", 47)]

requirements = st.one_of(
    st.builds(
        Requirement,
        st.sampled_from(["a", "b"]),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sampled_from([("x",), ("y",), ("x", "y")]),
    ),
    st.builds(Requirement, st.sampled_from(["a", "b"]), st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
    st.builds(
        lambda operator, name: Requirement(NAMESPACE_NAME, operator, (name,), Scope.NAMESPACE),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sampled_from(["n", "m"]),
    ),
)
conjunctions = st.lists(requirements, max_size=2).map(tuple)
pod_sets = st.lists(conjunctions, max_size=2).map(lambda found: union_of_pods((tuple(found),)))
networks = st.sampled_from(["192.0.2.0/24", "192.0.2.128/25", "0.0.0.0/0", "2001:db8::/32"])
peer_sets = st.one_of(
    st.just(ANY_PEER),
    st.builds(
        lambda pods, nets, own, other: PeerSet(pods, AddressSet.of(map(parse_network, nets)), own, other),
        pod_sets,
        st.lists(networks, max_size=2),
        st.booleans(),
        st.booleans(),
    ),
)
ranges = st.sampled_from([(80, 80), (0, 442), (443, 65535), (53, 53)])
traffic_sets = st.one_of(
    st.just(ANY_TRAFFIC),
    st.lists(st.tuples(st.sampled_from(["TCP", "UDP"]), ranges), min_size=1, max_size=2).map(
        lambda parts: TrafficSet.of((protocol, IntervalSet((found,))) for protocol, found in parts)
    ),
    st.sampled_from([TrafficSet.whole("ICMP"), TrafficSet.of([("ICMP", IntervalSet(((8, 8),)))])]),
    st.sampled_from(["UDP", "ICMP"]).map(lambda protocol: ANY_TRAFFIC - TrafficSet.whole(protocol)),
)
rules = st.tuples(st.sampled_from(list(Action)), peer_sets, traffic_sets)
policies = st.tuples(pod_sets.filter(bool), st.lists(rules, max_size=3))
tiers = st.lists(st.tuples(st.booleans(), st.lists(policies, min_size=1, max_size=3)), min_size=1, max_size=3)


def holds(pods: PodSet, pod: SmallPod) -> bool:
    return any(_fits(conjunction, pod) for conjunction in pods)


def _fits(conjunction: Conjunction, pod: SmallPod) -> bool:
    return all(requirement.matches(pod.labels_of(requirement.scope)) for requirement in conjunction)


def _among(peers: PeerSet, peer: object) -> bool:
    if isinstance(peer, SmallPod):
        return holds(peers.pods, peer)
    if peer == "own":
        return peers.own_node
    if peer == "other":
        return peers.other_nodes
    return peer in peers.addresses  # type: ignore[operator]


def _carries(traffic: TrafficSet, packet: tuple[str, int]) -> bool:
    return packet[1] in traffic.values(packet[0])


def _in(box: Box, pod: SmallPod, peer: object, packet: tuple[str, int]) -> bool:
    return holds(box.pods, pod) and _among(box.peers, peer) and _carries(box.traffic, packet)


def _ordered(
    world: Sequence[tuple[bool, Sequence[tuple[PodSet, Sequence[tuple[Action, PeerSet, TrafficSet]]]]]],
) -> list[OrderedPolicy]:
    found: list[OrderedPolicy] = []
    for number, (passes, members) in enumerate(world):
        for pods, given_rules in members:
            ordered = []
            for action, peers, traffic in given_rules:
                box = Box(pods, peers, traffic)
                region = (box,) if box else ()
                ordered.append(OrderedRule(action, region, region))
            found.append(
                OrderedPolicy(len(found), f"tier-{number}", passes, pods, frozenset({INGRESS}), tuple(ordered))
            )
    return found


def _walk(ordered: Sequence[OrderedPolicy], pod: SmallPod, peer: object, packet: tuple[str, int]) -> bool:
    """What Calico decides: the first rule of each tier, then the tier's end, then the profile, which allows."""
    for name in dict.fromkeys(policy.tier for policy in ordered):
        members = [policy for policy in ordered if policy.tier == name and holds(policy.pods, pod)]
        action = _first(members, pod, peer, packet)
        if action is None and members:
            action = Action.PASS if members[0].passes else Action.DENY
        if action in (Action.ALLOW, Action.DENY):
            return action is Action.ALLOW
    return True


def _first(members: Sequence[OrderedPolicy], pod: SmallPod, peer: object, packet: tuple[str, int]) -> Action | None:
    for policy in members:
        for rule in policy.rules(INGRESS):
            if any(_in(box, pod, peer, packet) for box in rule.exact):
                return rule.action
    return None


def _union(
    emissions: dict[int, Emission],
    ordered: Sequence[OrderedPolicy],
    pod: SmallPod,
    peer: object,
    packet: tuple[str, int],
) -> bool:
    """What Cilium decides: a deny wins; then an allow; then whether something isolates the pod."""
    isolated = False
    for policy in ordered:
        emission = emissions[policy.index]
        if any(_in(box, pod, peer, packet) for box in emission.denies):
            return False
        isolated |= emission.isolates and holds(policy.pods, pod)
        isolated |= holds(emission.isolates_also, pod)
    if not isolated:
        return True
    return any(_in(box, pod, peer, packet) for emission in emissions.values() for box in emission.allows)


def _sayable(traffic: TrafficSet) -> bool:
    return traffic == ANY_TRAFFIC or not traffic.values("other")


@settings(deadline=None, max_examples=80)
@given(tiers)
def test_compiled_policies_decide_as_the_ordered_ones(
    world: list[tuple[bool, list[tuple[PodSet, list[object]]]]],
) -> None:
    ordered = _ordered(world)  # type: ignore[arg-type]
    emissions = compile_ordered(ordered, _sayable)[INGRESS]
    for pod, peer, packet in product(PODS[::3], (*PODS[1::4], *ADDRESSES, *NODES), PACKETS):
        wanted = _walk(ordered, pod, peer, packet)
        assert _union(emissions, ordered, pod, peer, packet) is wanted, (pod, peer, packet)


@settings(deadline=None)
@given(pod_sets, pod_sets)
def test_sets_of_pods_are_closed(first: PodSet, second: PodSet) -> None:
    both, left = common_pods(first, second), pods_without(first, second)
    for pod in PODS:
        assert holds(both, pod) == (holds(first, pod) and holds(second, pod))
        assert holds(left, pod) == (holds(first, pod) and not holds(second, pod))
        assert holds(union_of_pods((first, second)), pod) == (holds(first, pod) or holds(second, pod))


@settings(deadline=None)
@given(
    st.builds(Box, pod_sets, peer_sets, traffic_sets),
    st.lists(st.builds(Box, pod_sets, peer_sets, traffic_sets), max_size=3),
)
def test_a_region_without_others(box: Box, others: list[Box]) -> None:
    left = region_without([box] if box else [], others)
    for pod, peer, packet in product(PODS[::3], (*PODS[1::4], *ADDRESSES, *NODES), PACKETS):
        wanted = _in(box, pod, peer, packet) and not any(_in(other, pod, peer, packet) for other in others)
        assert any(_in(part, pod, peer, packet) for part in left) is wanted
