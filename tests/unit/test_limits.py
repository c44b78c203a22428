"""The forecast of policy-map entries and identities, by hand and against the maps of Cilium's own engines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.cluster import Cluster
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.sources.cilium_settings import CiliumSettings
from migrate.translate.limits import figures, forecast
from migrate.translate.limits_identities import PodIdentities
from migrate.translate.limits_keys import prefixes
from migrate.translate.profiles import load_profile
from tests.policy_engines import PolicyEngine
from tests.target_examples import Fields, policy, ports, tcp

VECTORS = sorted((Path(__file__).parents[1] / "cases" / "vectors" / "cilium").glob("*.json"))
_PODS = 10
_WEB = "default/web"
_GROUP: Json = {"matchLabels": {"group": "g", "k8s:io.kubernetes.pod.namespace": "far"}}
_FROM: Fields = {"fromEndpoints": [_GROUP]}
_ANY_POD: Json = {"matchExpressions": [{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}]}
_FIVE: Fields = {"toCIDR": [f"20.0.{number}.0/24" for number in range(5)]}


def _document() -> dict[str, Json]:
    """One pod that policies select, ten others with an identity each, two nodes, and an API server outside."""
    far: list[Json] = [
        {
            "namespace": "far",
            "name": f"p{number}",
            "labels": {"app": f"p{number}", "group": "g"},
            "ips": [f"10.244.1.{number}"],
            "node": "n1",
        }
        for number in range(_PODS)
    ]
    web: Json = {"namespace": "default", "name": "web", "labels": {}, "ips": ["10.244.0.100"], "node": "n1"}
    return {
        "namespaces": [{"name": "default", "labels": {}}, {"name": "far", "labels": {}}],
        "nodes": [{"name": "n1", "ips": ["10.0.0.1"]}, {"name": "n2", "ips": ["10.0.0.2"]}],
        "kubeAPIServer": {"ips": ["10.9.9.9"]},
        "pods": [web, *far],
    }


CASES = [
    pytest.param([policy("ingress", {})], 2, 6, id="a default deny: the own host, and egress open"),
    pytest.param([policy("ingress", {}, egress=[{}])], 1, 1, id="a default deny of both directions: the own host"),
    pytest.param([policy("ingress", _FROM)], 12, 16, id="an entry for each identity"),
    pytest.param([policy("ingress", _FROM | ports(tcp("80")))], 12, 16, id="a port costs as much as all ports"),
    pytest.param([policy("ingress", _FROM | ports({"port": "80"}))], 32, 36, id="a port of any protocol costs three"),
    pytest.param([policy("ingress", _FROM | ports(tcp("1", endPort=1023)))], 102, 106, id="a range costs its prefixes"),
    pytest.param([policy("ingress", _FROM, _FROM | ports(tcp("80")))], 22, 26, id="keys of two rules add up"),
    pytest.param([policy("ingress", _FROM, _FROM)], 12, 16, id="the same key twice is one entry"),
    pytest.param([policy("ingress", ports(tcp("80")))], 3, 11, id="everyone is the wildcard"),
    pytest.param(
        [policy("ingress", ports(tcp("80")), _FROM | ports(tcp("80")))], 3, 11, id="which covers the same key"
    ),
    pytest.param([policy("ingress", {"fromEndpoints": [_ANY_POD]})], 13, 17, id="every pod by label is each identity"),
    pytest.param([policy("egress", _FIVE)], 7, 10, id="an entry for each prefix"),
    pytest.param(
        [policy("egress", {"toCIDRSet": [{"cidr": "20.0.0.0/8", "except": ["20.1.0.0/16", "20.2.0.0/16"]}]})],
        3,
        6,
        id="what is left out has an identity and no entry",
    ),
    pytest.param(
        [policy("ingressDeny", _FROM | ports(tcp("80")), enableDefaultDeny={"ingress": False, "egress": False})],
        13,
        20,
        id="denies cost as much as allows",
    ),
]
ABOUT = [
    pytest.param([policy("ingress", {"fromEntities": ["cluster"]})], id="the entity cluster"),
    pytest.param([policy("ingress", {"fromEntities": ["world"]}, egress=[_FIVE])], id="the entity world"),
    pytest.param([policy("ingress", {"fromCIDR": ["0.0.0.0/0"]}, egress=[_FIVE])], id="every address"),
    pytest.param([policy("ingress", {"fromEntities": ["all"]})], id="the entity all"),
    pytest.param([policy("ingress", {"fromEntities": ["remote-node"]})], id="other nodes"),
    pytest.param([policy("egress", {"toEntities": ["kube-apiserver"]})], id="the API server"),
    pytest.param([policy("ingress", {"fromEntities": ["all"]}, _FROM | ports(tcp("80")))], id="all beside a port"),
]


def _forecast(policies: Sequence[Fields], release: str) -> int:
    """Entries of the pod's map."""
    found = figures(list(map(RawObject, policies)), _cluster(_document()), load_profile(f"cilium-{release}"))
    return next(one.entries for one in found.maps if str(one.pod) == _WEB)


@pytest.mark.parametrize(("policies", "older", "newer"), CASES)
def test_entries_of_a_map(policies: list[Fields], older: int, newer: int) -> None:
    assert (_forecast(policies, "1.18"), _forecast(policies, "1.20")) == (older, newer)


@pytest.mark.engine
@pytest.mark.parametrize(("policies", "older", "newer"), CASES)
def test_the_engines_compute_the_same_maps(
    policies: list[Fields], older: int, newer: int, cilium_engine_118: PolicyEngine, cilium_engine_120: PolicyEngine
) -> None:
    document = _document() | {"policies": [*policies]}
    assert _entries(cilium_engine_118, document, _WEB) == older
    assert _entries(cilium_engine_120, document, _WEB) == newer


@pytest.mark.engine
@pytest.mark.parametrize("policies", ABOUT)
def test_reserved_identities_are_counted_to_within_two(
    policies: list[Fields], cilium_engine_118: PolicyEngine, cilium_engine_120: PolicyEngine
) -> None:
    document = _document() | {"policies": [*policies]}
    for release, engine in (("1.18", cilium_engine_118), ("1.20", cilium_engine_120)):
        assert 0 <= _forecast(policies, release) - _entries(engine, document, _WEB) <= 2


@pytest.mark.engine
@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
def test_random_policies_never_need_more_than_forecast(vector: Path, cilium_engine_120: PolicyEngine) -> None:
    """But for the identity of the entity init, which is no end of any flow here."""
    case = json.loads(vector.read_text())
    document = {key: case[key] for key in ("namespaces", "nodes", "pods", "policies")}
    maps = figures(list(map(RawObject, case["policies"])), _cluster(case), load_profile("cilium-1.20")).maps
    for one in maps[:4]:
        assert _entries(cilium_engine_120, document, str(one.pod)) <= one.entries + 1


def _entries(engine: PolicyEngine, document: dict[str, Json], pod: str) -> int:
    """What the engine counts for one pod: only the map of the pod that a flow ends at is computed."""
    flow: Json = {"src": {"ip": "198.51.100.200"}, "dst": {"pod": pod}, "protocol": "TCP", "port": 80}
    return engine({**document, "flows": [flow]})["stats"]["mapEntries"]


def _cluster(document: dict[str, Json]) -> Cluster:
    return read_case(RawObject({"version": 1, "policies": [], "flows": [], **document})).cluster


def test_identities_are_what_policy_can_tell_apart() -> None:
    hashes: list[Json] = [
        {"namespace": "a", "name": f"p{n}", "labels": {"app": "x", "pod-template-hash": str(n)}, "ips": [f"10.1.0.{n}"]}
        for n in range(1, 5)
    ]
    other: Json = {"namespace": "a", "name": "other", "labels": {"app": "y"}, "ips": ["10.1.0.9"]}
    cluster = _cluster({"namespaces": [{"name": "a"}], "pods": [*hashes, other]})
    identities = PodIdentities(cluster, CiliumSettings.of_release(18)).identities
    assert sorted(len(one.pods) for one in identities) == [1, 4]


def test_pods_on_the_host_s_network_have_no_identity_of_their_own() -> None:
    pod: Json = {"namespace": "a", "name": "p", "ips": ["10.0.0.1"], "node": "n1", "hostNetwork": True}
    cluster = _cluster({"namespaces": [{"name": "a"}], "nodes": [{"name": "n1", "ips": ["10.0.0.1"]}], "pods": [pod]})
    assert PodIdentities(cluster, CiliumSettings.of_release(20)).identities == []


def _blocks(count: int) -> Fields:
    return {"toCIDR": [f"20.{number >> 8}.{number & 255}.0/24" for number in range(count)]}


@pytest.mark.parametrize(
    ("prefixes_named", "found"),
    [
        pytest.param(13_000, [], id="13,006 entries are 79 % and fine"),
        pytest.param(13_200, ["LIM-POLICY-MAP"], id="13,206 entries are 80.6 % and red"),
    ],
)
def test_a_map_is_red_above_80_percent(prefixes_named: int, found: list[str]) -> None:
    objects = [RawObject(policy("egress", _blocks(prefixes_named)))]
    findings = forecast(objects, _cluster(_document()), load_profile("cilium-1.20"))
    assert [finding.id for finding in findings] == found


def test_the_finding_names_the_rule_that_costs_most() -> None:
    objects = [RawObject(policy("egress", _FIVE, _blocks(14_000)))]
    (finding,) = forecast(objects, _cluster(_document()), load_profile("cilium-1.20"))
    assert finding.field == "spec.egress[1]"
    assert "14000 of them by CiliumNetworkPolicy default/example spec.egress[1]" in finding.detail


@pytest.mark.parametrize(
    ("limit", "found"),
    [pytest.param(13, ["LIM-IDENTITIES"], id="11 of 13"), pytest.param(14, [], id="11 of 14")],
)
def test_identities_are_red_above_80_percent(limit: int, found: list[str]) -> None:
    profile = msgspec.structs.replace(load_profile("cilium-1.20"), identities=limit)
    findings = forecast([RawObject(policy("ingress", {}))], _cluster(_document()), profile)
    assert [finding.id for finding in findings] == found


@pytest.mark.parametrize(
    ("count", "found"),
    [pytest.param(40, [], id="as many as it takes"), pytest.param(41, ["LIM-PORTS"], id="one more")],
)
def test_ports_of_a_rule(count: int, found: list[str]) -> None:
    objects = [RawObject(policy("ingress", ports(*(tcp(str(number)) for number in range(1, count + 1)))))]
    assert [f.id for f in forecast(objects, _cluster(_document()), load_profile("cilium-1.20"))] == found


def test_every_prefix_is_an_identity_and_no_bits_are_the_world() -> None:
    objects = [RawObject(policy("egress", _FIVE, _FIVE, {"toCIDR": ["0.0.0.0/0"]}))]
    assert figures(objects, _cluster(_document()), load_profile("cilium-1.20")).cidr_identities == 5


def test_what_no_policy_selects_has_no_forecast() -> None:
    assert figures([], _cluster(_document()), load_profile("cilium-1.20")).maps == ()


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_the_prefixes_of_a_range_are_its_ports_once(one: int, other: int) -> None:
    low, high = sorted((one, other))
    found = list(prefixes(low, high))
    sizes = [1 << (16 - length) for _, length in found]
    starts = [first for first, _ in found]
    assert all(first % size == 0 for first, size in zip(starts, sizes, strict=True))
    assert starts == [low, *(first + size for first, size in zip(starts, sizes, strict=True))][: len(starts)]
    assert starts[-1] + sizes[-1] == high + 1
    assert len(found) <= 30
