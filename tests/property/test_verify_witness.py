"""What made-up pods prove holds for every pod: random labels, random clusters, and cases made to slip through."""

from __future__ import annotations

import copy
from dataclasses import replace
from ipaddress import ip_network
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrate.model.addresses import AddressSet, parse_address
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.documents import Verification
from migrate.model.labels import Labels, Scope
from migrate.model.raw import Json, RawObject
from migrate.model.selectors import And, Not, Operator, Or, Requirement, Selector, matches
from migrate.sources.cases import read_case
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.verify.engines import Built, build_engine
from migrate.verify.verification import State, Wanted, verify
from migrate.verify.witness_labels import Assignment, TooManyError, label_sets
from tests.simulate.languages import kubernetes_case

_CAP = 2_000
_TEXTS = ("", "a", "b", "ab", "ba", "aba", "b-a")


@st.composite
def _requirements(draw: st.DrawFn) -> Requirement:
    scope, key = draw(st.sampled_from([(Scope.POD, "app"), (Scope.POD, "tier"), (Scope.NAMESPACE, NAMESPACE_NAME)]))
    operator = draw(st.sampled_from(list(Operator)))
    exists = operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST)
    values = () if exists else tuple(draw(st.sets(st.sampled_from(_TEXTS), min_size=1, max_size=2)))
    return Requirement(key, operator, values, scope)


def _trees(leaf: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    lists = st.lists(leaf, max_size=3).map(tuple)
    return st.one_of(lists.map(And), lists.map(Or), leaf.map(Not))


_selectors: st.SearchStrategy[Selector] = st.recursive(_requirements(), _trees, max_leaves=5)
_values = st.one_of(st.sampled_from(_TEXTS), st.text("ab-x", max_size=5))
_pods = st.builds(
    lambda labels, namespace: Pod("n", "p", Labels.of(labels), Labels.of({NAMESPACE_NAME: namespace})),
    st.dictionaries(st.sampled_from(["app", "tier"]), _values),
    _values,
)


def _pod(labels: Assignment) -> Pod:
    own, around = (
        Labels.of({key: value for (at, key), value in labels.items() if at is scope})
        for scope in (Scope.POD, Scope.NAMESPACE)
    )
    return Pod("n", "p", own, around)


def _answers(selectors: list[Selector], pod: Pod) -> tuple[bool, ...]:
    return tuple(matches(selector, pod) for selector in selectors)


@given(st.lists(_selectors, max_size=4), st.lists(_pods, max_size=8))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_pod_has_a_witness_that_no_selector_tells_apart(selectors: list[Selector], pods: list[Pod]) -> None:
    known = {_answers(selectors, _pod(labels)) for labels in label_sets(selectors, _CAP)}
    assert {_answers(selectors, pod) for pod in pods} <= known


@given(st.lists(st.builds(Requirement, st.sampled_from("abc"), st.just(Operator.IN), st.just(("x", "y"))), max_size=4))
@settings(max_examples=50, deadline=None)
def test_no_two_witnesses_are_alike(selectors: list[Selector]) -> None:
    found = [_answers(selectors, _pod(labels)) for labels in label_sets(selectors, _CAP)]
    assert len(found) == len(set(found))


def test_keys_that_no_longer_matter_are_not_combined() -> None:
    pairs = [
        And((Requirement("app", Operator.IN, (f"app-{n}",)), Requirement(f"key-{n}", Operator.EXISTS)))
        for n in range(30)
    ]
    assert len(label_sets(pairs, _CAP)) == 31


def test_more_combinations_than_the_cap_are_refused() -> None:
    with pytest.raises(TooManyError, match="more than 100 combinations of labels"):
        label_sets([Requirement(f"key-{number}", Operator.EXISTS) for number in range(8)], 100)


# Whole comparisons.


def _state(engine: str, policies: list[Any], cluster: Cluster) -> State:
    name, _, release = engine.partition("-1.")
    raw = [RawObject(cast("dict[str, Json]", item)) for item in policies]

    def build(other: Cluster) -> Built:
        return build_engine(name, raw, other, {}, int(release or 20))

    return State(engine, build(cluster), build)


def _verify(
    engines: tuple[str, str], before: list[Any], after: list[Any], cluster: Cluster, wanted: Wanted
) -> Verification:
    states = _state(engines[0], before, cluster), _state(engines[1], after, cluster)
    return verify(*states, cluster, wanted=wanted)


def _for_any_pods(engines: tuple[str, str], before: list[Any], after: list[Any]) -> str:
    found = _verify(engines, before, after, Cluster(complete=True), Wanted(proof="witness"))
    return found.result


def _reworded(chance: Random, policies: list[Any]) -> list[Any]:
    """Mostly the same meaning: rules in policies of their own, and now and then one value changed or gone."""
    found: list[Any] = []
    for policy in copy.deepcopy(policies):
        for direction in ("Ingress", "Egress"):
            rules = policy["spec"].get(direction.lower()) or []
            types = policy["spec"].get("policyTypes") or (
                ["Ingress", "Egress"] if "egress" in policy["spec"] else ["Ingress"]
            )
            for number, listed in enumerate([[rule] for rule in rules] or [[]]) if direction in types else ():
                metadata = {**policy["metadata"], "name": f"{policy['metadata']['name']}-{direction.lower()}-{number}"}
                spec = {"podSelector": policy["spec"].get("podSelector", {}), "policyTypes": [direction]}
                found.append({**policy, "metadata": metadata, "spec": {**spec, direction.lower(): listed}})
    if found and chance.random() < 0.4:
        found.pop(chance.randrange(len(found)))
    return found


_PAIRS = [("kubernetes", "kubernetes"), ("npm", "npm"), ("cilium-1.20", "cilium-1.20"), ("calico", "calico")]


@pytest.mark.parametrize("engines", _PAIRS, ids=" then ".join)
def test_no_cluster_contradicts_what_was_proved_for_any_pods(engines: tuple[str, str]) -> None:
    results = []
    for seed in range(4):
        chance = Random(seed)
        policies = list(kubernetes_case(f"witness-{seed}").policies)[:2]
        after = _reworded(chance, policies)
        results.append(_for_any_pods(engines, policies, after))
        if results[-1] == "equivalent":
            for other in range(2):
                case = kubernetes_case(f"witness-{seed}-{other}" if other else f"witness-{seed}")
                cluster = read_case(RawObject(cast("dict[str, Json]", case.document()))).cluster
                found = _verify(engines, policies, after, cluster, Wanted(proof="snapshot"))
                assert found.result == "equivalent", (case.name, found.causes)
    assert results.count("equivalent") >= 1, results


def _policy(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "shop"}
    whole = {"podSelector": {}, "policyTypes": ["Ingress"], **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": whole}


def _from(*peers: Any, **more: Any) -> dict[str, Any]:
    return _policy(ingress=[{"from": list(peers), **more}])


def _labels(**labels: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def _expression(operator: str, *values: str) -> dict[str, Any]:
    expression: dict[str, Any] = {"key": "app", "operator": operator, **({"values": list(values)} if values else {})}
    return {"podSelector": {"matchExpressions": [expression]}}


def _teams(team: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"team": team}}}


def _block(cidr: str, *holes: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": cidr, **({"except": list(holes)} if holes else {})}}


@pytest.mark.parametrize(
    ("engines", "before", "after", "result"),
    [
        pytest.param(
            "kubernetes", _from(_expression("Exists")), _from(_expression("In", "a")), "different", id="any other value"
        ),
        pytest.param(
            "kubernetes",
            _from(_expression("In", "a", "b")),
            _from(_expression("In", "b"), _expression("In", "a")),
            "equivalent",
            id="values one by one",
        ),
        pytest.param(
            "kubernetes",
            _from(_expression("NotIn", "a")),
            _from(_expression("Exists")),
            "different",
            id="no label at all",
        ),
        pytest.param(
            "kubernetes", _from(_teams("x")), _from({"namespaceSelector": {}}), "different", id="a namespace's label"
        ),
        pytest.param(
            "kubernetes",
            _from(_labels(app="a")),
            _from({"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "shop"}}, **_labels(app="a")}),
            "equivalent",
            id="the own namespace by its name",
        ),
        pytest.param("kubernetes", _from(_block("10.9.8.7/32")), _policy(ingress=[]), "different", id="one address"),
        pytest.param(
            "kubernetes",
            _from(_block("10.9.8.6/31")),
            _from(_block("10.9.8.6/32"), _block("10.9.8.7/32")),
            "equivalent",
            id="two single addresses",
        ),
        pytest.param(
            "kubernetes", _from(_block("::/0")), _from(_block("::/0", "fd00::/16")), "different", id="a hole in IPv6"
        ),
        pytest.param(
            "kubernetes",
            _from(_labels(app="a"), ports=[{"port": "http"}, {"port": 80}]),
            _from(_labels(app="a"), ports=[{"port": "http"}]),
            "different",
            id="a name that is another number",
        ),
        pytest.param(
            "calico",
            _policy(ingress=[{"ports": [{"port": "http"}, {"port": "web"}]}]),
            _policy(ingress=[{"ports": [{"port": "web"}, {"port": "http"}]}]),
            "equivalent",
            id="two names the other way round",
        ),
        pytest.param("npm", _from(_teams("x")), _from(_teams("x")), "equivalent", id="the same twice"),
        pytest.param("cilium-1.20", _from(_teams("x")), _from(_teams("y")), "different", id="labels by Cilium"),
    ],
)
def test_cases_made_to_slip_through(engines: str, before: Any, after: Any, result: str) -> None:
    assert _for_any_pods((engines, engines), [before], [after]) == result


@pytest.mark.parametrize(
    ("engines", "policy", "result"),
    [
        pytest.param(("kubernetes", "npm"), _from(_labels(app="a")), "different", id="IPv6, which NPM does not see"),
        pytest.param(("kubernetes", "cilium-1.20"), _from(_labels(app="a")), "equivalent", id="labels mean the same"),
        pytest.param(("kubernetes", "cilium-1.20"), _from(_block("10.0.0.0/8")), "different", id="blocks do not"),
        pytest.param(
            ("kubernetes", "cilium-1.20"),
            _policy(policyTypes=["Egress"], egress=[]),
            "different",
            id="the own node is free by the text only",
        ),
    ],
)
def test_one_text_under_two_engines(engines: tuple[str, str], policy: Any, result: str) -> None:
    assert _for_any_pods(engines, [policy], [policy]) == result


def _known(network: str) -> Cluster:
    nodes = tuple(Node(f"n{number}", addresses=(parse_address(f"10.1.0.{number}"),)) for number in (1, 2))
    own = Pod("shop", "p", addresses=(parse_address("10.244.0.5"),), node="n1")
    whole = Cluster(pods=(own,), nodes=nodes, ip_families=frozenset({4}), complete=True)
    return replace(whole, pod_networks=AddressSet.of([ip_network(network)]))


@pytest.mark.parametrize(
    ("network", "result"),
    [
        pytest.param("10.244.0.0/16", "equivalent", id="pods are elsewhere"),
        pytest.param("10.244.0.0/30", "different", id="networks that do not hold all pods say nothing"),
        pytest.param("10.0.0.0/8", "different", id="pods may be in the block"),
    ],
)
def test_known_pod_networks_bound_where_pods_can_be(network: str, result: str) -> None:
    policies = [_from(_block("10.9.0.0/16"))]
    cluster = _known(network)
    found = _verify(("kubernetes", "cilium-1.20"), policies, policies, cluster, Wanted(proof="witness"))
    assert found.result == result
    assert found.witness is not None
    assert (f"pods have addresses in {network}" in found.witness.assumptions) is (network != "10.244.0.0/30")
