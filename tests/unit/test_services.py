"""The way through a Service: what each engine sees of it, and what a case may say of Services."""

from __future__ import annotations

import pytest

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.verify.simulation import simulate_case

Document = dict[str, Json]
ENGINES = ("kubernetes", "npm", "npm-windows", "calico", "cilium")


def policy(direction: str, *peers: Json, app: str = "db", ports: Json = None) -> Document:
    """Isolates the pods of an app in one direction, but for some peers."""
    key, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    rules: Json = [{ends: list(peers), "ports": ports}] if peers or ports else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{app}-{key}", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": [direction], key: rules},
    }


def block(cidr: str) -> Json:
    return {"ipBlock": {"cidr": cidr}}


def pods(app: str) -> Json:
    return {"podSelector": {"matchLabels": {"app": app}}}


NOBODY = policy("Ingress")
FROM_WEB = policy("Ingress", pods("web"))
FROM_CLIENT = policy("Ingress", block("203.0.113.0/24"))
FROM_ENTRY = policy("Ingress", block("10.1.0.1/32"))
FROM_ALL = policy("Ingress", block("0.0.0.0/0"))
WEB_TO_DB = policy("Egress", pods("db"), app="web")
WEB_TO_NODES = policy("Egress", block("10.1.0.0/24"), app="web", ports=[{"port": 30080}])
DB_TO_NOBODY = policy("Egress")


def named(name: str) -> Json:
    return {"pod": f"shop/{name}"}


def pod(name: str, app: str, address: str, node: str, **more: Json) -> Json:
    return {"namespace": "shop", "name": name, "labels": {"app": app}, "ips": [address], "node": node, **more}


PODS: list[Json] = [
    pod("web", "web", "10.0.1.1", "one"),
    pod("far-web", "web", "10.0.2.1", "two"),
    pod("db", "db", "10.0.1.2", "one"),
    pod("far-db", "db", "10.0.2.2", "two"),
]
NODES: list[Json] = [{"name": "one", "ips": ["10.1.0.1"]}, {"name": "two", "ips": ["10.1.0.2"]}]
OUTSIDE: Json = {"ip": "203.0.113.7"}
WEB, FAR_WEB, DB, FAR_DB = (named(name) for name in ("web", "far-web", "db", "far-db"))
NODE: Json = {"node": "one"}
FAR_NODE: Json = {"node": "two"}


def service(**changed: Json) -> Document:
    """shop/db: port 80 is 8080 on the pods of app db, and 30080 on nodes."""
    port: Json = {"port": 80, "targetPort": 8080, "nodePort": 30080}
    whole: Document = {"namespace": "shop", "name": "db", "type": "NodePort", "clusterIP": "10.2.0.1"}
    return {**whole, "selector": {"app": "db"}, "ports": [port], **changed}


LOCAL = service(externalTrafficPolicy="Local")
AT_ONE: Document = {"service": "shop/db", "nodePort": 30080, "node": "one"}
BY_CLUSTER_IP: Document = {"service": "shop/db"}


def flow(source: Json, destination: Json, via: Json, **changed: Json) -> Document:
    return {"src": source, "dst": destination, "port": 8080, "via": via, **changed}


def case(asked: Document, *policies: Json, services: Json = None, **changed: Json) -> Document:
    return {
        "name": "small",
        "pods": list(PODS),
        "nodes": list(NODES),
        "services": [service()] if services is None else services,
        "policies": list(policies),
        "flows": [asked],
        **changed,
    }


def answer(document: Document, engine: str) -> tuple[str, str, str]:
    (found,) = simulate_case(read_case(RawObject(document, "case.yaml")), engine, 20).flows
    return found.egress, found.ingress, found.verdict


def reasons(document: Document, engine: str) -> str:
    (found,) = simulate_case(read_case(RawObject(document, "case.yaml")), engine, 20).flows
    return " | ".join(by.reason for by in found.decided_by.values())


# The cluster IP.


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("allowed", [True, False])
def test_a_cluster_ip_is_translated_before_policy_so_that_it_is_as_the_direct_flow(engine: str, allowed: bool) -> None:
    rules = (FROM_WEB, WEB_TO_DB) if allowed else (NOBODY, WEB_TO_DB)
    through = case(flow(WEB, FAR_DB, BY_CLUSTER_IP), *rules)
    direct = case(flow(WEB, FAR_DB, None), *rules)
    assert answer(through, engine) == answer(direct, engine)
    assert answer(through, engine)[2] == ("allow" if allowed else "deny")


@pytest.mark.parametrize(
    ("engine", "options", "words"),
    [
        pytest.param("kubernetes", {}, ("unenforced", "unenforced", "allow"), id="its own traffic is free by the text"),
        pytest.param("npm", {}, ("unenforced", "unenforced", "allow"), id="L13 kube-proxy's mark passes NPM by"),
        pytest.param(
            "npm", {"PlaceAzureChainFirst": True}, ("unenforced", "deny", "deny"), id="L13 with NPM first it is checked"
        ),
        pytest.param("calico", {}, ("unenforced", "deny", "deny"), id="Calico checks a pod that goes by its service"),
        pytest.param("cilium", {}, ("unenforced", "unknown", "unknown"), id="Cilium's two readings differ"),
        pytest.param("npm-windows", {}, ("unknown", "unknown", "unknown"), id="of Windows nothing is known"),
    ],
)
def test_a_pod_that_reaches_itself(engine: str, options: Json, words: tuple[str, str, str]) -> None:
    assert answer(case(flow(DB, DB, BY_CLUSTER_IP), NOBODY, options=options), engine) == words


# In at a node.

DROPPED, PASSED = ("unenforced", "deny", "deny"), ("unenforced", "allow", "allow")
FREE, OPEN = ("unenforced", "unenforced", "allow"), ("unenforced", "unknown", "unknown")


@pytest.mark.parametrize(
    ("engine", "backend", "rule", "words"),
    [
        pytest.param("npm", DB, NOBODY, FREE, id="L13 NPM does not check on the entry node"),
        pytest.param("npm", FAR_DB, NOBODY, DROPPED, id="L13 NPM checks on the other node"),
        pytest.param("npm", FAR_DB, FROM_CLIENT, DROPPED, id="L13 where the client's address is lost"),
        pytest.param("npm", FAR_DB, FROM_ENTRY, PASSED, id="L13 and the entry node is the source"),
        pytest.param("calico", DB, NOBODY, DROPPED, id="Calico checks on the entry node"),
        pytest.param("calico", DB, FROM_CLIENT, PASSED, id="Calico sees the client there"),
        pytest.param("calico", DB, FROM_ENTRY, DROPPED, id="Calico does not see the node there"),
        pytest.param("calico", FAR_DB, FROM_CLIENT, DROPPED, id="Calico sees no client on the other node"),
        pytest.param("calico", FAR_DB, FROM_ENTRY, PASSED, id="Calico sees the entry node on the other one"),
        pytest.param("cilium", DB, FROM_CLIENT, PASSED, id="Cilium keeps the client on the entry node"),
        pytest.param("cilium", DB, NOBODY, DROPPED, id="Cilium checks on the entry node"),
        pytest.param("cilium", FAR_DB, NOBODY, DROPPED, id="Cilium denies whoever the sender is taken for"),
        pytest.param("cilium", FAR_DB, FROM_CLIENT, OPEN, id="Cilium may have lost the client on the other node"),
        pytest.param("cilium", FAR_DB, FROM_ALL, OPEN, id="Cilium may take the sender for the world or for a node"),
        pytest.param("kubernetes", DB, NOBODY, OPEN, id="the text frees the own node and not the client"),
        pytest.param("kubernetes", FAR_DB, NOBODY, DROPPED, id="the text denies both addresses"),
        pytest.param("kubernetes", FAR_DB, FROM_CLIENT, OPEN, id="the text leaves open whose address is seen"),
        pytest.param("kubernetes", FAR_DB, FROM_ALL, PASSED, id="the text admits both addresses"),
    ],
)
def test_a_client_outside_comes_in_at_a_node(
    engine: str, backend: Json, rule: Document, words: tuple[str, str, str]
) -> None:
    assert answer(case(flow(OUTSIDE, backend, AT_ONE), rule), engine) == words


@pytest.mark.parametrize(
    ("backend", "rule", "words"),
    [
        pytest.param(DB, NOBODY, DROPPED, id="it checks on the entry node"),
        pytest.param(DB, FROM_CLIENT, PASSED, id="where it sees the client"),
        pytest.param(FAR_DB, FROM_CLIENT, DROPPED, id="and on the other node again, where it sees the entry node"),
        pytest.param(FAR_DB, FROM_ENTRY, DROPPED, id="so that the node alone is not enough"),
        pytest.param(FAR_DB, FROM_ALL, PASSED, id="but both are"),
    ],
)
def test_npm_with_its_chain_first(backend: Json, rule: Document, words: tuple[str, str, str]) -> None:
    options: Json = {"PlaceAzureChainFirst": True}
    assert answer(case(flow(OUTSIDE, backend, AT_ONE), rule, options=options), "npm") == words


@pytest.mark.parametrize(
    ("engine", "source", "backend", "rules", "words"),
    [
        pytest.param("npm", WEB, DB, (NOBODY,), FREE, id="NPM: a pod by its own node's port is masqueraded"),
        pytest.param("npm", FAR_WEB, DB, (WEB_TO_NODES,), ("allow", "unenforced", "allow"), id="NPM: egress to a node"),
        pytest.param("npm", FAR_WEB, DB, (WEB_TO_DB,), ("deny", "unenforced", "deny"), id="NPM: egress sees no pod"),
        pytest.param("npm", NODE, DB, (NOBODY,), FREE, id="NPM: a node to its own pod"),
        pytest.param("npm", NODE, FAR_DB, (NOBODY,), DROPPED, id="NPM: a node to another node's pod"),
        pytest.param("npm", FAR_NODE, FAR_DB, (NOBODY,), DROPPED, id="NPM: a node to its own pod by another node"),
        pytest.param("calico", WEB, DB, (FROM_WEB, WEB_TO_DB), ("allow", "allow", "allow"), id="Calico: on one node"),
        pytest.param("calico", WEB, FAR_DB, (FROM_WEB,), DROPPED, id="Calico: to another node masqueraded"),
        pytest.param(
            "calico", FAR_WEB, DB, (WEB_TO_DB,), ("deny", "unenforced", "deny"), id="Calico: egress to a node"
        ),
        pytest.param("calico", NODE, DB, (NOBODY,), FREE, id="Calico: a node to its own pod"),
        pytest.param("cilium", WEB, FAR_DB, (FROM_WEB, WEB_TO_DB), ("allow",) * 3, id="Cilium: translated at the pod"),
        pytest.param(
            "cilium", FAR_WEB, DB, (FROM_WEB, WEB_TO_DB), ("unknown", "allow", "unknown"), id="Cilium: where is open"
        ),
        pytest.param("kubernetes", FAR_WEB, DB, (WEB_TO_DB,), ("unknown", "unenforced", "unknown"), id="text: where"),
    ],
)
def test_clients_inside(
    engine: str, source: Json, backend: Json, rules: tuple[Document, ...], words: tuple[str, str, str]
) -> None:
    assert answer(case(flow(source, backend, AT_ONE), *rules), engine) == words


@pytest.mark.parametrize("engine", ["kubernetes", "npm", "calico", "cilium"])
def test_with_external_traffic_policy_local_the_client_is_seen(engine: str) -> None:
    asked = flow(OUTSIDE, DB, AT_ONE)
    assert answer(case(asked, FROM_CLIENT, services=[LOCAL]), engine) == PASSED
    assert answer(case(asked, FROM_ENTRY, services=[LOCAL]), engine) == DROPPED


@pytest.mark.parametrize("engine", ["kubernetes", "npm", "calico", "cilium"])
def test_with_external_traffic_policy_local_other_nodes_get_nothing(engine: str) -> None:
    asked = case(flow(OUTSIDE, FAR_DB, AT_ONE), services=[LOCAL])
    assert answer(asked, engine) == ("unknown", "unknown", "unknown")
    assert "shop/far-db is not on node one" in reasons(asked, engine)
    everyone = case(flow(OUTSIDE, None, AT_ONE, port=80), FROM_CLIENT, services=[LOCAL])
    assert answer(everyone, engine) == PASSED


@pytest.mark.parametrize("engine", ["kubernetes", "npm", "calico", "cilium"])
def test_external_traffic_policy_local_does_not_bind_pods_of_the_entry_node(engine: str) -> None:
    asked = case(flow(WEB, FAR_DB, AT_ONE), FROM_WEB, services=[LOCAL])
    assert answer(asked, engine) == PASSED


def test_on_windows_nothing_is_known_of_node_ports() -> None:
    asked = case(flow(OUTSIDE, DB, AT_ONE))
    assert answer(asked, "npm-windows") == ("unknown", "unknown", "unknown")
    assert "not modelled: what NPM on Windows sees" in reasons(asked, "npm-windows")


def test_host_endpoints_make_ways_in_at_a_node_unknown_to_calico() -> None:
    endpoint: Json = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "HostEndpoint",
        "metadata": {"name": "one"},
        "spec": {"node": "one", "interfaceName": "*"},
    }
    assert answer(case(flow(OUTSIDE, DB, AT_ONE), endpoint), "calico")[2] == "unknown"
    assert answer(case(flow(WEB, DB, BY_CLUSTER_IP), endpoint), "calico")[2] == "allow"


# Every backend and every node.


def test_all_backends_decide_together() -> None:
    by_service = case(flow(WEB, {"service": "shop/db"}, None, port=80), NOBODY)
    by_address = case(flow(WEB, {"ip": "10.2.0.1"}, None, port=80), NOBODY)
    by_via = case(flow(WEB, None, BY_CLUSTER_IP, port=80), NOBODY)
    assert [answer(asked, "npm") for asked in (by_service, by_address, by_via)] == [DROPPED] * 3


def test_backends_that_differ_are_named() -> None:
    asked = case(flow(OUTSIDE, None, AT_ONE, port=80), NOBODY)
    assert answer(asked, "npm") == OPEN
    assert "unenforced to shop/db; deny to shop/far-db" in reasons(asked, "npm")


def test_nodes_that_differ_are_named() -> None:
    asked = case(flow(OUTSIDE, DB, {"service": "shop/db", "nodePort": True}), NOBODY)
    assert answer(asked, "npm") == OPEN
    assert "unenforced in at node one; deny in at node two" in reasons(asked, "npm")
    assert answer(asked, "calico") == DROPPED


def test_the_number_of_a_node_port_matters_where_the_egress_of_its_client_is_policed() -> None:
    unknown: Json = [service(ports=[{"port": 80, "targetPort": 8080}])]
    via: Json = {"service": "shop/db", "nodePort": True, "node": "one"}
    assert answer(case(flow(FAR_WEB, DB, via), services=unknown), "npm") == FREE
    asked = case(flow(FAR_WEB, DB, via), WEB_TO_NODES, services=unknown)
    assert answer(asked, "npm")[2] == "unknown"
    assert "the number of the node port" in reasons(asked, "npm")
    assert answer(case(flow(FAR_WEB, DB, AT_ONE), WEB_TO_NODES, services=unknown), "npm")[2] == "allow"


# What a case may say.


def test_a_case_without_services_may_name_the_way() -> None:
    ways: list[Document] = [AT_ONE, {"nodePort": 30080, "node": "one"}, {"node": "one"}]
    for via in ways:
        assert answer(case(flow(OUTSIDE, FAR_DB, via), FROM_ENTRY, services=[]), "npm") == PASSED
    assert answer(case(flow(WEB, DB, BY_CLUSTER_IP), FROM_WEB, services=[]), "npm") == PASSED


_SLICE: Document = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
    "addressType": "IPv4",
    "endpoints": [
        {"addresses": ["10.0.2.2"]},
        {"addresses": ["10.0.1.2"], "conditions": {"ready": False}},
    ],
    "ports": [{"name": "sql", "port": 5432}],
}
_WHOLE: Document = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "db", "namespace": "shop", "labels": {"a": "b"}},
    "spec": {"clusterIP": "10.2.0.1", "selector": {"app": "db"}, "ports": [{"name": "sql", "port": 80}]},
}


@pytest.mark.parametrize(
    ("services", "backends"),
    [
        pytest.param([service()], ["shop/db 8080", "shop/far-db 8080"], id="by selector"),
        pytest.param([_WHOLE], ["shop/db 80", "shop/far-db 80"], id="a whole Service by its selector"),
        pytest.param([_WHOLE, _SLICE], ["shop/far-db 5432"], id="by EndpointSlice, of which the ready ones"),
        pytest.param(
            [
                service(
                    selector=None, endpoints=[{"pod": "shop/web"}, {"ip": "203.0.113.9", "port": 9}, {"node": "two"}]
                )
            ],
            ["shop/web 8080", "203.0.113.9 9", "node two 8080"],
            id="by endpoints",
        ),
        pytest.param(
            [service(clusterIP="None")], ["shop/db 80", "shop/far-db 80"], id="a headless Service translates no ports"
        ),
        pytest.param([service(ports=[{"port": 80, "targetPort": "sql"}])], ["shop/named 5433"], id="by a port's name"),
    ],
)
def test_what_stands_behind_a_service(services: list[Json], backends: list[str]) -> None:
    extra = pod("named", "db", "10.0.1.9", "one", namedPorts=[{"name": "sql", "port": 5433}])
    pods = [*PODS, extra] if "named" in str(backends) else list(PODS)
    document = case(flow(WEB, None, BY_CLUSTER_IP, port=80), services=services, pods=pods)
    (found,) = read_case(RawObject(document, "case.yaml")).flows
    assert found.via is not None
    assert [f"{target.end} {target.port}" for target in found.via.targets] == backends


@pytest.mark.parametrize(
    ("given", "port"),
    [
        pytest.param({"port": 80}, 80, id="the Service's port"),
        pytest.param({"port": 30080}, 80, id="the node port"),
        pytest.param({"port": None}, 80, id="no port, of one"),
    ],
)
def test_the_port_of_a_service(given: Document, port: int) -> None:
    (found,) = read_case(RawObject(case(flow(OUTSIDE, None, AT_ONE, **given)), "case.yaml")).flows
    assert found.packet.port == port


_BALANCED: Document = {
    "kind": "Service",
    "metadata": {"name": "db", "namespace": "shop"},
    "spec": {"type": "LoadBalancer", "selector": {"app": "db"}, "ports": [{"port": 80, "nodePort": 30080}]},
    "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}},
}


def test_a_balancers_address_is_the_way_in_at_every_node() -> None:
    asked = case(flow(OUTSIDE, {"ip": "198.51.100.1"}, None, port=80), FROM_ALL, services=[_BALANCED])
    assert answer(asked, "calico") == PASSED
    assert answer(asked, "npm") == ("unenforced", "unknown", "allow")


_EXTERNAL_NAME = service(type="ExternalName", selector=None, endpoints=[{"pod": "shop/db"}])


@pytest.mark.parametrize(
    ("asked", "services", "reason"),
    [
        pytest.param(flow(WEB, DB, BY_CLUSTER_IP), [_EXTERNAL_NAME], "type ExternalName", id="ExternalName"),
        pytest.param(
            flow(WEB, DB, BY_CLUSTER_IP),
            [service(internalTrafficPolicy="Local")],
            "internalTrafficPolicy",
            id="internal",
        ),
        pytest.param(
            flow(OUTSIDE, DB, AT_ONE), [service(loadBalancerSourceRanges=["10.0.0.0/8"])], "SourceRanges", id="ranges"
        ),
        pytest.param(
            flow(WEB, {"ip": "198.51.100.1"}, None, port=80), [_BALANCED], "balancer's IP", id="a balancer from inside"
        ),
        pytest.param(
            flow(WEB, {"ip": "198.51.100.9"}, None, port=80),
            [service(externalIPs=["198.51.100.9"])],
            "external or a balancer's IP",
            id="an external IP from inside",
        ),
        pytest.param(
            flow(OUTSIDE, DB, BY_CLUSTER_IP), [service(type="ClusterIP")], "outside the cluster", id="a cluster IP"
        ),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_modelled_is_unknown(engine: str, asked: Document, services: Json, reason: str) -> None:
    document = case(asked, services=services)
    assert answer(document, engine) == ("unknown", "unknown", "unknown")
    assert reason in reasons(document, engine)


@pytest.mark.parametrize(
    ("asked", "services", "place", "message"),
    [
        pytest.param(flow(WEB, DB, {}), [], "flows[0].via", "must name a service", id="a way that says nothing"),
        pytest.param(
            flow(WEB, DB, {"hostPort": 1, "node": "one"}), [], "flows[0].via.hostPort", "unknown", id="hostPort"
        ),
        pytest.param(flow(WEB, DB, {"node": "three"}), [], "flows[0].via.node", "node three is not", id="unknown node"),
        pytest.param(flow(WEB, DB, {"nodePort": 70000}), [], "flows[0].via.nodePort", "from 1 to 65535", id="70000"),
        pytest.param(flow(WEB, DB, "shop/db"), [], "flows[0].via", "must be a mapping", id="a way that is text"),
        pytest.param(
            flow(WEB, DB, {"service": "shop/gone"}), None, "flows[0].via.service", "is not in the case", id="service"
        ),
        pytest.param(flow(WEB, None, BY_CLUSTER_IP), [], "flows[0].dst", "must name the backend", id="no backend"),
        pytest.param(flow(WEB, FAR_WEB, AT_ONE), None, "flows[0].dst", "is no backend of", id="another's backend"),
        pytest.param(flow(WEB, None, AT_ONE, port=81), None, "flows[0].port", "no such port", id="another port"),
        pytest.param(
            flow(WEB, None, AT_ONE, protocol="ICMP", port=8), None, "flows[0].port", "no such port", id="ICMP"
        ),
        pytest.param(
            flow(WEB, None, AT_ONE, port=80), [service(selector={"app": "x"})], "flows[0].dst", "no known", id="none"
        ),
        pytest.param(
            flow({"ip": "fd00::1"}, DB, AT_ONE), None, "flows[0]", "addresses of one IP family", id="two families"
        ),
        pytest.param(flow(WEB, DB, AT_ONE), {}, "services", "must be a list", id="services that are no list"),
        pytest.param(
            flow(WEB, DB, AT_ONE), [service(), service()], "services[1]", "stands here twice", id="a name twice"
        ),
        pytest.param(
            flow(WEB, DB, AT_ONE), [service(type="Nodeport")], "services[0].type", '"Nodeport" is not one of', id="type"
        ),
        pytest.param(
            flow(WEB, DB, AT_ONE), [service(ports=[{"port": 0}])], "services[0].ports[0].port", "from 1", id="port 0"
        ),
        pytest.param(
            flow(WEB, DB, AT_ONE), [service(ports=[{}])], "services[0].ports[0].port", "needs its number", id="no port"
        ),
        pytest.param(
            flow(WEB, DB, AT_ONE), [service(colour="red")], "services[0].colour", "unknown field", id="another field"
        ),
        pytest.param(
            flow(WEB, DB, AT_ONE), [{"kind": "Ingress"}], "services[0].kind", "is not Service or", id="another kind"
        ),
        pytest.param(
            flow(WEB, DB, AT_ONE),
            [service(endpoints=[{"pod": "shop/db"}, {"pod": "shop/gone"}])],
            "services[0].endpoints[1].pod",
            "pod shop/gone is not in the case",
            id="an endpoint that is not there",
        ),
    ],
)
def test_what_a_case_cannot_say_of_services(asked: Document, services: Json, place: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_case(RawObject(case(asked, services=services), "case.yaml"))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"case.yaml: case 'small': {place}: ")
    assert message in lines[0]
    assert len(lines) == 1
