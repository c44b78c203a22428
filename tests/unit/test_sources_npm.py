"""Azure NPM: what it refuses, its options, dual-stack pods, and the clusters on which it was measured with packets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from migrate.errors import InputError
from migrate.model.cluster import Pod
from migrate.model.flow import Direction
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.sources.cluster import read_cluster
from migrate.sources.npm_engine import NpmLinuxEngine
from migrate.verify.engines import build_engine
from migrate.verify.simulation import simulate_case

Document = dict[str, Json]
MEASURED = Path(__file__).parents[1] / "cases" / "azure" / "policies"


def policy(**spec: Json) -> Document:
    whole: Json = {"podSelector": {}, **spec}
    metadata: Json = {"name": "rule", "namespace": "demo"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": whole}


def ingress(*rules: Json, **spec: Json) -> Document:
    return policy(policyTypes=["Ingress"], ingress=list(rules), **spec)


def egress(*rules: Json, **spec: Json) -> Document:
    return policy(policyTypes=["Egress"], egress=list(rules), **spec)


def chosen(operator: str, *values: str, key: str = "app") -> Json:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def from_block(cidr: str, *holes: Json) -> Json:
    return {"from": [{"ipBlock": {"cidr": cidr, "except": list(holes)}}]}


BLOCK_V6 = from_block("2001:db8::/32")
WEB: Json = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}


def refusal(engine: str, given: Document, options: Document | None = None) -> str | None:
    """Why the engine refuses a policy; None when it does not."""
    read = read_case(RawObject({"name": "x", "policies": [given], "flows": []}))
    built = build_engine(engine, read.policies, read.cluster, options or {})
    assert isinstance(built.engine, NpmLinuxEngine)
    return next(iter(built.engine.refused.values()), None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(ingress(BLOCK_V6), "IPv6 block", id="L8 an IPv6 block"),
        pytest.param(egress({"to": [{"ipBlock": {"cidr": "fd00::/8"}}]}), "IPv6 block", id="L8 also for egress"),
        pytest.param(
            policy(policyTypes=["Ingress", "Egress"], ingress=[BLOCK_V6], egress=[{}]),
            "IPv6 block",
            id="L8 in one of two directions",
        ),
        pytest.param(ingress(BLOCK_V6, {}), None, id="L8 not where another rule admits everything"),
        pytest.param(
            policy(policyTypes=["Ingress"], egress=[{"to": [{"ipBlock": {"cidr": "::/0"}}]}]), None, id="L8 off"
        ),
        pytest.param(
            ingress(podSelector=chosen("In", "a b")), "spec.podSelector.matchExpressions[0].values[0]", id="L10"
        ),
        pytest.param(
            ingress({"from": [{"podSelector": chosen("NotIn", "web", "-web")}]}),
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].values[1] is no label value",
            id="L10 a value that begins with a sign",
        ),
        pytest.param(
            ingress({"from": [{"namespaceSelector": chosen("In", "web.")}]}), "values[0]", id="L10 namespaces"
        ),
        pytest.param(ingress({"from": [{"podSelector": chosen("In", "")}]}), None, id="L10 the empty value is one"),
        pytest.param(
            ingress({"from": [{"podSelector": chosen("In", "A_b-c.9" * 9)}]}), None, id="L10 63 odd characters"
        ),
        pytest.param(ingress({"from": [{"podSelector": chosen("In", "é")}]}), "values[0]", id="L10 only ASCII"),
        pytest.param(
            ingress({"from": [{"podSelector": {"matchLabels": {"app": "a b"}}}]}), None, id="L10 not in matchLabels"
        ),
        pytest.param(ingress({"from": [{"podSelector": chosen("In", "a b")}]}, {}), None, id="L10 not beside {}"),
        pytest.param(ingress({"ports": [{"port": "http", "protocol": "SCTP"}]}), None, id="names and SCTP are taken"),
    ],
)
def test_what_npm_refuses_on_linux(given: Document, reason: str | None) -> None:
    found = refusal("npm", given)
    assert found is None if reason is None else reason in str(found)


NOT_TEAM: Json = {"namespaceSelector": chosen("NotIn", "ops", key="team")}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(ingress(BLOCK_V6), "IPv6 block", id="an IPv6 block"),
        pytest.param(ingress({"ports": [{"port": "http"}]}), 'named port "http"', id="a named port"),
        pytest.param(ingress({"ports": [{"port": 1, "protocol": "SCTP"}]}), "SCTP", id="SCTP"),
        pytest.param(ingress(from_block("10.0.0.0/8", "10.1.0.0/16")), "except", id="a block with holes"),
        pytest.param(
            ingress(podSelector=chosen("NotIn", "web")), "its podSelector has NotIn", id="a negated podSelector"
        ),
        pytest.param(
            ingress(WEB, podSelector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
            "DoesNotExist",
            id="a podSelector by a missing label",
        ),
        pytest.param(ingress({"from": [{"podSelector": chosen("NotIn", "web")}]}), "of a peer", id="a negated peer"),
        pytest.param(ingress({"from": [NOT_TEAM]}), "fails for ever", id="a negated ingress namespaceSelector"),
        pytest.param(egress({"to": [NOT_TEAM]}), None, id="but not a negated egress one"),
        pytest.param(ingress({"from": [NOT_TEAM]}, {}), None, id="nor one beside a rule that admits everything"),
        pytest.param(ingress(WEB), None, id="nor a plain policy"),
    ],
)
def test_what_npm_refuses_on_windows(given: Document, reason: str | None) -> None:
    found = refusal("npm-windows", given)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize("engine", ["npm", "npm-windows"])
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(ingress(WEB), "selector as a peer", id="a selector"),
        pytest.param(ingress({"ports": [{"port": "http"}]}), "named port", id="a named port"),
        pytest.param(ingress(from_block("10.0.0.0/8")), None, id="a block is taken"),
        pytest.param(ingress(), None, id="nobody is taken"),
        pytest.param(ingress({}, WEB), None, id="everybody is taken"),
    ],
)
def test_what_npm_lite_refuses(engine: str, given: Document, reason: str | None) -> None:
    found = refusal(engine, given, {"EnableNPMLite": True})
    assert found is None if reason is None else reason in str(found)


def test_exceptions_are_unknown_to_npm_lite_on_windows() -> None:
    given = ingress(from_block("10.0.0.0/8", "10.1.0.0/16"))
    read = read_case(RawObject({"name": "x", "policies": [given], "flows": []}))
    built = build_engine("npm-windows", read.policies, read.cluster, {"EnableNPMLite": True})
    assert [place.field for place in built.engine.unknown] == ["spec.ingress[0].from[0].ipBlock.except"]


def test_exceptions_are_unknown_beside_what_cannot_be_read() -> None:
    given = ingress(from_block("10.0.0.0/8", "10.1.0.0/16"), colour="blue")
    read = read_case(RawObject({"name": "x", "policies": [given], "flows": []}))
    built = build_engine("npm-windows", read.policies, read.cluster, {"EnableNPMLite": True})
    assert {place.field for place in built.engine.unknown} == {"spec.colour", "spec.ingress[0].from[0].ipBlock.except"}


def test_the_engine_names_the_places_of_policies_rules_and_problems() -> None:
    given = ingress({"ports": [{"port": 0}]})
    lines = {(): 3, ("spec", "ingress", 0): 9, ("spec", "ingress", 0, "ports", 0, "port"): 11}
    read = read_case(RawObject({"name": "x", "flows": []}))
    engine = build_engine("npm", [RawObject(given, "p.yaml", lines)], read.cluster, {}).engine
    (stage,) = engine.chain(Direction.INGRESS, (0,)).stages
    assert stage.name == "Azure NPM"
    assert [str(rule.provenance) for rule in stage.rules] == ["NetworkPolicy demo/rule spec.ingress[0] (p.yaml:9)"]
    assert [str(one.provenance) for one in engine.subjects] == ["NetworkPolicy demo/rule spec (p.yaml:3)"]
    assert list(map(str, engine.unknown)) == ["NetworkPolicy demo/rule spec.ingress[0].ports[0].port (p.yaml:11)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"EnableV2NPM": False}, "before version 2 is not modelled", id="version 1"),
        pytest.param({"PlaceAzureChainFirst": "true"}, "'true' is not true or false", id="text"),
        pytest.param({"placeAzureChainFirst": True}, "placeAzureChainFirst", id="another spelling"),
    ],
)
def test_options_that_are_refused(options: Document, message: str) -> None:
    with pytest.raises(InputError, match=message):
        refusal("npm", ingress(), options)


# Flows.


def words(engine: str, document: Document) -> list[tuple[str, str, str]]:
    done = simulate_case(read_case(RawObject(document)), engine, 20)
    assert not done.left_out
    return [(flow.egress, flow.ingress, flow.verdict) for flow in done.flows]


NAMED: Json = [{"name": "http", "port": 80}]
DUAL: Document = {
    "name": "dual",
    "namespaces": [{"name": "demo", "labels": {"team": "shop"}}],
    "pods": [
        {"namespace": "demo", "name": "web", "labels": {"app": "web"}, "ips": ["10.0.1.1", "fd00:1::1"], "node": "one"},
        {"namespace": "demo", "name": "v6", "labels": {"app": "web"}, "ips": ["fd00:1::2", "10.0.1.2"], "node": "one",
         "namedPorts": NAMED},
        {"namespace": "demo", "name": "db", "labels": {"app": "db"}, "ips": ["10.0.2.1", "fd00:2::1"], "node": "two",
         "namedPorts": NAMED},
    ],
    "nodes": [{"name": "one", "ips": ["10.1.0.1", "fd00:3::1"]}, {"name": "two", "ips": ["10.1.0.2", "fd00:3::2"]}],
}  # fmt: skip
FIRST: Json = {"ip": "10.0.1.1"}
SECOND: Json = {"ip": "10.0.1.2"}
DB_V4: Json = {"ip": "10.0.2.1"}
DB_V6: Json = {"ip": "fd00:2::1"}


@pytest.mark.parametrize(
    ("given", "source", "destination", "expected"),
    [
        pytest.param(ingress(), FIRST, DB_V4, "deny", id="L9 the first address is policed"),
        pytest.param(ingress(), {"ip": "fd00:1::1"}, DB_V6, "unenforced", id="L9 the second one is not"),
        pytest.param(ingress(), FIRST, SECOND, "unenforced", id="L9 nor an IPv4 one behind an IPv6 one"),
        pytest.param(ingress({}), FIRST, SECOND, "unenforced", id="L9 whatever the rules say"),
        pytest.param(
            ingress({"ports": [{"port": "http"}]}), SECOND, DB_V4, "allow", id="L9 but finds the name of another's port"
        ),
        pytest.param(ingress(WEB), SECOND, DB_V4, "deny", id="L9 a second address is in no set of labels"),
        pytest.param(ingress({"from": [{"podSelector": {}}]}), SECOND, DB_V4, "deny", id="L9 nor of a namespace"),
        pytest.param(ingress({"from": [{"namespaceSelector": {}}]}), SECOND, DB_V4, "deny", id="L9 nor of all of them"),
        pytest.param(ingress({"from": [NOT_TEAM]}), SECOND, DB_V4, "allow", id="L9 so that a negation finds it"),
        pytest.param(ingress(from_block("10.0.1.2/32")), SECOND, DB_V4, "allow", id="L9 and a block covers it"),
    ],
)
def test_dual_stack_pods(given: Document, source: Json, destination: Json, expected: str) -> None:
    flow: Json = {"src": source, "dst": destination, "port": 80}
    policies: Json = [given]
    ((_, found, _),) = words("npm", {**DUAL, "policies": policies, "flows": [flow]})
    assert found == expected


def test_a_second_address_has_no_named_ports() -> None:
    given = egress({"ports": [{"port": "http"}, {"port": 81}]})
    flows: Json = [{"src": FIRST, "dst": end, "port": port} for end in (DB_V4, SECOND) for port in (80, 81)]
    policies: Json = [given]
    found = words("npm", {**DUAL, "policies": policies, "flows": flows})
    assert [side for side, _, _ in found] == ["allow", "allow", "deny", "allow"]


def test_windows_turns_a_negated_egress_peer_around() -> None:
    namespaces: Json = [{"name": "demo", "labels": {}}, {"name": "ops", "labels": {"team": "ops"}}]
    pods: Json = [
        {"namespace": "demo", "name": "web", "ips": ["10.0.1.1"]},
        {"namespace": "demo", "name": "other", "ips": ["10.0.1.3"]},
        {"namespace": "ops", "name": "agent", "ips": ["10.0.1.2"]},
    ]
    flows: Json = [{"src": {"pod": "demo/web"}, "dst": {"pod": to}, "port": 80} for to in ("ops/agent", "demo/other")]
    given: Document = {"name": "x", "namespaces": namespaces, "pods": pods, "policies": [egress({"to": [NOT_TEAM]})]}
    assert [side for side, _, _ in words("npm-windows", {**given, "flows": flows})] == ["allow", "deny"]
    assert [side for side, _, _ in words("npm", {**given, "flows": flows})] == ["deny", "allow"]


# The cluster on which the rules and packets were measured.

NODES: Json = [
    {"name": "aks-nodepool1-12345678-vmss000000", "ips": ["10.224.0.4"]},
    {"name": "aks-nodepool1-12345678-vmss000001", "ips": ["10.224.0.5"]},
]


def end(kind: str, name: str) -> Json:
    return {kind: name}


FRONTEND, BACKEND_0, BACKEND_1 = (end("pod", f"demo/{name}") for name in ("frontend-0", "backend-0", "backend-1"))
PROBER, DNS, EXPORTER = (end("pod", name) for name in ("ops/prober-0", "kube-system/coredns-0", "ops/node-exporter-0"))
NODE_0, NODE_1 = (end("node", f"aks-nodepool1-12345678-vmss00000{index}") for index in (0, 1))
CLIENT: Json = {"ip": "203.0.113.7"}


def _objects(*names: str) -> list[Document]:
    return [item for name in names for item in yaml.safe_load_all((MEASURED / name).read_text(encoding="utf-8"))]


def _pod(pod: Pod) -> Json:
    ports: list[Json] = [{"name": p.name, "port": p.port, "protocol": p.protocol} for p in pod.named_ports]
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "labels": dict(pod.labels),
        "ips": [str(address) for address in pod.addresses],
        "node": pod.node,
        "hostNetwork": pod.host_network,
        "namedPorts": ports,
    }


def measured(*files: str, flows: list[Json]) -> Document:
    """The measured cluster with the policies of some files."""
    cluster = read_cluster(map(RawObject, _objects("cluster.yaml")), complete=True)
    spaces: Json = [{"name": space.name, "labels": dict(space.labels)} for space in cluster.namespaces]
    policies: Json = [*_objects(*files)]
    parts: Document = {"namespaces": spaces, "nodes": NODES, "policies": policies, "flows": flows}
    return {"name": "measured", "pods": list(map(_pod, cluster.pods)), **parts}


def to(source: Json, destination: Json, port: int, protocol: str = "TCP") -> Json:
    return {"src": source, "dst": destination, "port": port, "protocol": protocol}


ALL = ("policies.yaml", "linux-only.yaml", "linux-rejected.yaml")
_MEASURED = [
    pytest.param(ALL[:1], to(FRONTEND, BACKEND_0, 8080), "deny", "allow", id="the rule admits it, egress does not"),
    pytest.param(ALL[:1], to(FRONTEND, BACKEND_0, 443), "allow", "deny", id="L4 a block covers pods for egress"),
    pytest.param(ALL[:1], to(FRONTEND, CLIENT, 443), "allow", "unenforced", id="L4 and the outside"),
    pytest.param(ALL[:1], to(FRONTEND, DNS, 53, "UDP"), "allow", "unenforced", id="pods by two selectors"),
    pytest.param(ALL[:1], to(PROBER, BACKEND_0, 9091), "deny", "allow", id="a range of ports"),
    pytest.param(ALL[:1], to(PROBER, BACKEND_0, 9093), "deny", "deny", id="and its end"),
    pytest.param(ALL[:1], to(BACKEND_0, PROBER, 80), "unenforced", "deny", id="a policy for nobody"),
    pytest.param(ALL[:1], to(NODE_0, BACKEND_0, 9090), "unenforced", "unenforced", id="L1 the own node"),
    pytest.param(ALL[:1], to(NODE_1, BACKEND_0, 9090), "unenforced", "deny", id="L1 the other node"),
    pytest.param(ALL[:1], to(PROBER, NODE_1, 10250), "unenforced", "unenforced", id="L1 to the own node"),
    pytest.param(ALL[:1], to(PROBER, NODE_0, 10250), "deny", "unenforced", id="L1 to the other node"),
    pytest.param(ALL[:1], to(EXPORTER, BACKEND_1, 9090), "unenforced", "deny", id="L3 a pod on its host is in no set"),
    pytest.param(ALL[:2], to(CLIENT, BACKEND_0, 9090), "unenforced", "allow", id="L6 NotIn of two lets the outside in"),
    pytest.param(ALL[:2], to(NODE_1, BACKEND_0, 9090), "unenforced", "allow", id="L6 and the other node"),
    pytest.param(ALL[:2], to(CLIENT, BACKEND_0, 9191), "unenforced", "deny", id="L11 a named port by its pod"),
    pytest.param(ALL[:2], to(CLIENT, BACKEND_1, 9191), "unenforced", "allow", id="L11 is another number there"),
    pytest.param(ALL[:2], to(CLIENT, BACKEND_0, 8080), "unenforced", "deny", id="L5 every namespace is no outside"),
    pytest.param(ALL[:2], to(BACKEND_1, BACKEND_0, 5), "deny", "allow", id="L5 a label that does not exist"),
    pytest.param(ALL[:2], to(BACKEND_0, {"ip": "10.30.1.1"}, 5), "allow", "unenforced", id="L14 all TCP ports"),
    pytest.param(ALL[:2], to(BACKEND_0, {"ip": "10.30.5.1"}, 5), "deny", "unenforced", id="an exception"),
    pytest.param(
        ALL[:2], to(BACKEND_0, {"ip": "10.30.1.1"}, 8, "ICMP"), "deny", "unenforced", id="L15 ports keep ICMP in"
    ),
    pytest.param(ALL[2:], to(CLIENT, BACKEND_0, 80), "unenforced", "unenforced", id="L8 a refused policy is none"),
    pytest.param(ALL, to(CLIENT, BACKEND_0, 8080), "unenforced", "deny", id="L8 and the others hold"),
]


@pytest.mark.parametrize(("files", "flow", "leaving", "arriving"), _MEASURED)
def test_npm_as_it_was_measured(files: tuple[str, ...], flow: Json, leaving: str, arriving: str) -> None:
    ((out, into, _),) = words("npm", measured(*files, flows=[flow]))
    assert (out, into) == (leaving, arriving)


def test_windows_takes_the_plain_policies_and_refuses_the_others() -> None:
    flows: list[Json] = [to(PROBER, BACKEND_0, 9091), to(CLIENT, BACKEND_0, 9090), to(BACKEND_0, CLIENT, 80)]
    assert words("npm-windows", measured(*ALL, flows=flows)) == words("npm", measured(ALL[0], flows=flows))


@pytest.mark.parametrize(
    ("backend", "first", "word"),
    [
        pytest.param(BACKEND_0, False, "unenforced", id="L13 the entry node's own backend is reached"),
        pytest.param(BACKEND_1, False, "deny", id="L13 another node's is not"),
        pytest.param(BACKEND_0, True, "deny", id="L13 with its chain first neither is"),
        pytest.param(BACKEND_1, True, "deny", id="L13 with its chain first as well"),
    ],
)
def test_node_ports_as_they_were_measured(backend: Json, first: bool, word: str) -> None:
    via: Json = {"nodePort": 30080, "node": "aks-nodepool1-12345678-vmss000000"}
    flow: Json = {"src": CLIENT, "dst": backend, "port": 8080, "via": via}
    document = measured("policies.yaml", flows=[flow])
    ((_, found, _),) = words("npm", {**document, "options": {"PlaceAzureChainFirst": first}})
    assert found == word
