"""A translated sample is equivalent, and each planted difference is found with a flow that the real engines confirm."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest
import yaml

from migrate.model.cluster import Cluster
from migrate.model.documents import Cause, FlowExample, Verification
from migrate.model.raw import Json, RawObject
from migrate.sources.cluster import read_cluster
from migrate.verify.engines import Built, build_engine
from migrate.verify.verification import State, Wanted, verify
from tests.differential.harness import Engines, Object, answers
from tests.differential.translation import cluster_objects, translate_objects
from tests.reference.cases import Case, End, Flow, NamedPort, Namespace, Node, Pod

pytestmark = pytest.mark.engine

TARGET = "cilium-1.20"
_HTTP = (NamedPort("http", "TCP", 8080), NamedPort("admin", "TCP", 9090))


def _pod(place: str, number: int, node: int, **labels: str) -> Pod:
    namespace, _, name = place.partition("/")
    ips = (f"10.244.{node}.{number}", f"fd00:244:{node}::{number}")
    return Pod(namespace, name, labels, ips, _HTTP if labels["app"] == "db" else (), node=f"n{node}")


CLUSTER = Case(
    name="planted",
    engine="calico",
    namespaces=(Namespace("shop", {"team": "blue"}), Namespace("data", {"team": "red"})),
    pods=(
        _pod("shop/web-0", 10, 1, app="web"),
        _pod("shop/web-1", 11, 2, app="web"),
        _pod("shop/api", 12, 1, app="api"),
        _pod("data/db", 13, 2, app="db"),
        _pod("data/cache", 14, 1, app="cache"),
    ),
    nodes=tuple(Node(f"n{number}", (f"10.10.0.{number}", f"fd10::{number}")) for number in (1, 2)),
)

POLICIES: list[Any] = list(
    yaml.safe_load_all("""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: data}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {team: blue}}
      podSelector: {matchLabels: {app: web}}
    ports: [{port: http}]
  - from:
    - podSelector: {matchLabels: {app: cache}}
    ports: [{port: 5432, endPort: 5440}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: cache, namespace: data}
spec:
  order: 500
  selector: app == 'cache'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'db'}, destination: {ports: [6379]}}
  - {action: Allow, protocol: UDP, source: {nets: [203.0.113.0/24]}, destination: {ports: [53]}}
  - {action: Allow, protocol: UDP, source: {nets: ['2001:db8:1::/64']}, destination: {ports: [53]}}
  - {action: Allow, protocol: ICMP, icmp: {type: 8}, source: {selector: app == 'db'}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: out}
spec:
  order: 1000
  selector: all()
  types: [Egress]
  egress:
  - {action: Allow, protocol: TCP, destination: {ports: ['1024:65535', 53]}}
  - {action: Allow, protocol: ICMP, icmp: {type: 8}}
  - {action: Allow, protocol: UDP, destination: {ports: [53]}}
""")
)
DB, CACHE, OUT = range(3)

Edit = Callable[[list[Any]], None]


@dataclass(frozen=True)
class Plant:
    """One difference: what is done to the policies of today, and what of the counterexample shows that it was found."""

    edit: Edit
    change: str
    shows: Callable[[FlowExample], bool]


def _selector(policies: list[Any]) -> None:
    policies[DB]["spec"]["ingress"][0]["from"][0]["podSelector"] = {"matchLabels": {"app": "api"}}


def _cidr(policies: list[Any]) -> None:
    policies[CACHE]["spec"]["ingress"][1]["source"]["nets"] = ["203.0.113.0/25"]


def _port(policies: list[Any]) -> None:
    policies[DB]["spec"]["ingress"][1]["ports"][0]["endPort"] = 5439


def _protocol(policies: list[Any]) -> None:
    policies[CACHE]["spec"]["ingress"][1]["protocol"] = "TCP"


def _order(policies: list[Any]) -> None:
    spec = {
        "order": 400,
        "selector": "app == 'cache'",
        "types": ["Ingress"],
        "ingress": [{"action": "Deny", "protocol": "TCP"}, {"action": "Pass"}],
    }
    metadata = {"name": "first", "namespace": "data"}
    policies.append({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})


def _host(policies: list[Any]) -> None:
    policies[CACHE]["spec"]["ingress"].append(
        {"action": "Allow", "protocol": "TCP", "source": {"nets": ["10.10.0.0/24"]}, "destination": {"ports": [7000]}}
    )


def _named_port(policies: list[Any]) -> None:
    policies[DB]["spec"]["ingress"][0]["ports"] = [{"port": "admin"}]


def _ipv6(policies: list[Any]) -> None:
    policies[CACHE]["spec"]["ingress"][2]["source"]["nets"] = ["2001:db8:1::/63"]


def _direction(policies: list[Any]) -> None:
    policies[DB]["spec"]["policyTypes"] = ["Egress"]
    policies[DB]["spec"]["egress"] = [{}]


def _icmp(policies: list[Any]) -> None:
    policies[CACHE]["spec"]["ingress"][3]["icmp"] = {"type": 13}
    policies[OUT]["spec"]["egress"][1].pop("icmp")


PLANTS = {
    "selector": Plant(_selector, "newly_denied", lambda flow: flow.source == "pod shop/api"),
    "CIDR": Plant(_cidr, "newly_allowed", lambda flow: flow.source == "outside 203.0.113.128"),
    "port": Plant(_port, "newly_allowed", lambda flow: flow.port == 5440),
    "protocol": Plant(_protocol, "newly_denied", lambda flow: (flow.protocol, flow.port) == ("TCP", 53)),
    "order": Plant(_order, "newly_allowed", lambda flow: (flow.source, flow.port) == ("pod data/db", 6379)),
    "host": Plant(_host, "newly_denied", lambda flow: flow.source == "node n2" and flow.port == 7000),
    "named port": Plant(_named_port, "newly_denied", lambda flow: flow.port == 9090),
    "IPv6": Plant(_ipv6, "newly_denied", lambda flow: flow.source == "outside 2001:db8:1:1::"),
    "direction": Plant(_direction, "newly_denied", lambda flow: flow.destination == "pod data/db"),
    "ICMP": Plant(_icmp, "newly_denied", lambda flow: (flow.protocol, flow.port) == ("ICMP", 13)),
}


def _raw(objects: list[Any]) -> list[RawObject]:
    return [RawObject(cast("dict[str, Json]", item)) for item in objects]


def _state(engine: str, objects: list[Any], cluster: Cluster) -> State:
    def build(other: Cluster) -> Built:
        return build_engine(engine, _raw(objects), other, {})

    return State(engine, build(cluster), build)


def _cluster() -> Cluster:
    return read_cluster(_raw(cluster_objects(CLUSTER)), complete=True)


def _translated() -> list[Object]:
    objects, document = translate_objects([*cluster_objects(CLUSTER), *POLICIES], TARGET, ("calico",))
    assert {result.result.value for result in document.results} <= {"exact", "exact_here"}
    return objects


def _verify(policies: list[Any], emitted: list[Object]) -> Verification:
    cluster = _cluster()
    states = _state("calico", policies, cluster), _state("cilium", emitted, cluster)
    return verify(*states, cluster, wanted=Wanted(proof="snapshot"))


def test_the_translation_of_the_sample_is_equivalent() -> None:
    found = _verify(POLICIES, _translated())
    assert (found.result, found.causes) == ("equivalent", ()), found.causes


def _asked(example: FlowExample) -> Flow:
    return Flow(
        End(ip=example.source_address),
        End(ip=example.destination_address),
        example.protocol,
        example.port,
        example.source_port,
        example.icmp_code,
    )


def _confirm(cause: Cause, policies: list[Any], emitted: list[Object], engines: Engines) -> None:
    case = msgspec.structs.replace(CLUSTER, flows=(_asked(cause.counterexample),))
    states = ((engines.calico, policies), (engines.cilium[TARGET], emitted))
    said = [
        answers(engine(msgspec.structs.replace(case, policies=tuple(objects)).document()))[0].verdict
        for engine, objects in states
    ]
    assert said == (["allow", "deny"] if cause.change == "newly_denied" else ["deny", "allow"]), cause.counterexample


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_difference_is_found_and_the_real_engines_confirm_it(name: str, engines: Engines) -> None:
    plant, policies, emitted = PLANTS[name], copy.deepcopy(POLICIES), _translated()
    plant.edit(policies)
    found = _verify(policies, emitted)
    assert (found.result, found.left_out) == ("different", ())
    assert any(cause.change == plant.change and plant.shows(cause.counterexample) for cause in found.causes), found
    for cause in found.causes:
        _confirm(cause, policies, emitted, engines)


def test_what_was_not_planted_is_not_found() -> None:
    names = {
        name: {msgspec.json.encode(cause.counterexample) for cause in _found(plant).causes}
        for name, plant in PLANTS.items()
    }
    assert len({frozenset(found) for found in names.values()}) == len(PLANTS)


def _found(plant: Plant) -> Verification:
    policies = copy.deepcopy(POLICIES)
    plant.edit(policies)
    return _verify(policies, _translated())
