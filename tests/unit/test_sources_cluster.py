"""The cluster that objects describe. Expectations: the API reference of core/v1 and discovery.k8s.io/v1."""

import random
from collections.abc import Sequence

import pytest

from migrate.model.addresses import AddressSet, parse_address, parse_network
from migrate.model.cluster import Cluster, NamedPort, Pod, ServicePort
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME, read_cluster
from migrate.sources.kubernetes import NAMESPACE_NAME


def _object(kind: str, name: str, namespace: str | None = None, version: str = "v1", **fields: Json) -> dict[str, Json]:
    given = fields.pop("metadata", {})
    assert isinstance(given, dict)
    metadata: Json = {"name": name, "namespace": namespace, **given}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _cluster(*objects: dict[str, Json]) -> Cluster:
    return read_cluster([RawObject(data) for data in objects], complete=True)


def _pod(**fields: Json) -> Pod:
    (found,) = _cluster(_object("Pod", "web", "shop", "v1", **fields)).pods
    return found


def _addresses(*texts: str) -> tuple[object, ...]:
    return tuple(parse_address(text) for text in texts)


@pytest.mark.parametrize(
    ("containers", "init", "expected"),
    [
        pytest.param(
            [{"ports": [{"name": "http", "containerPort": 80}]}], [], [("http", "TCP", 80)], id="TCP if not said"
        ),
        pytest.param(
            [{"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}], [], [("dns", "UDP", 53)], id="UDP"
        ),
        pytest.param([{"ports": [{"containerPort": 80}]}], [], [], id="a port without a name has none"),
        pytest.param(
            [{"ports": [{"name": "a", "containerPort": 1}]}, {"ports": [{"name": "b", "containerPort": 2}]}],
            [],
            [("a", "TCP", 1), ("b", "TCP", 2)],
            id="of all containers",
        ),
        pytest.param(
            [],
            [{"restartPolicy": "Always", "ports": [{"name": "a", "containerPort": 1}]}],
            [("a", "TCP", 1)],
            id="sidecars",
        ),
        pytest.param(
            [], [{"ports": [{"name": "a", "containerPort": 1}]}], [], id="init containers end and do not listen"
        ),
        pytest.param([{}], [], [], id="a container without ports"),
    ],
)
def test_named_ports(containers: Json, init: Json, expected: list[tuple[str, str, int]]) -> None:
    pod = _pod(spec={"containers": containers, "initContainers": init})
    assert pod.named_ports == tuple(NamedPort(*port) for port in expected)


@pytest.mark.parametrize(
    ("owners", "labels", "workload"),
    [
        pytest.param([], {}, None, id="a pod without an owner"),
        pytest.param([("StatefulSet", "db", True)], {}, "StatefulSet/db", id="its controller"),
        pytest.param([("Node", "n1", False)], {}, None, id="an owner that is no controller"),
        pytest.param(
            [("ReplicaSet", "web-5d4f", True)],
            {"pod-template-hash": "5d4f"},
            "Deployment/web",
            id="a ReplicaSet of a Deployment stands for it",
        ),
        pytest.param(
            [("ReplicaSet", "web", True)], {}, "ReplicaSet/web", id="a ReplicaSet of its own stands for itself"
        ),
        pytest.param(
            [("ReplicaSet", "web-x", True)],
            {"pod-template-hash": "5d4f"},
            "ReplicaSet/web-x",
            id="unless the hash fits",
        ),
        pytest.param([("Job", "run-1", True)], {}, "Job/run-1", id="a Job"),
        pytest.param(
            [("Foo", "a", False), ("DaemonSet", "agent", True)], {}, "DaemonSet/agent", id="the controller among owners"
        ),
    ],
)
def test_workload(owners: list[tuple[str, str, bool]], labels: dict[str, Json], workload: str | None) -> None:
    references: Json = [{"kind": kind, "name": name, "controller": leads} for kind, name, leads in owners]
    assert _pod(metadata={"labels": labels, "ownerReferences": references}).workload == workload


@pytest.mark.parametrize(
    ("status", "addresses"),
    [
        pytest.param({"podIP": "10.244.0.1"}, ["10.244.0.1"], id="one address"),
        pytest.param(
            {"podIP": "10.244.0.1", "podIPs": [{"ip": "10.244.0.1"}, {"ip": "fd00::1"}]},
            ["10.244.0.1", "fd00::1"],
            id="both addresses of a dual-stack pod",
        ),
        pytest.param({"podIPs": []}, [], id="a pod that has none yet"),
        pytest.param({}, [], id="a pod without a status"),
        pytest.param({"podIP": "soon"}, [], id="what is no address"),
    ],
)
def test_pod_addresses(status: Json, addresses: list[str]) -> None:
    assert _pod(status=status).addresses == _addresses(*addresses)


@pytest.mark.parametrize(
    ("phase", "there"),
    [("Running", True), ("Pending", True), ("Unknown", True), ("Succeeded", False), ("Failed", False)],
)
def test_a_pod_that_has_ended_is_not_there(phase: str, there: bool) -> None:
    pods = _cluster(_object("Pod", "web", "shop", status={"phase": phase, "podIP": "10.244.0.1"})).pods
    assert bool(pods) is there


def test_a_pod_knows_its_namespace_account_and_node() -> None:
    cluster = _cluster(
        _object("Namespace", "shop", metadata={"labels": {"team": "blue"}}),
        _object("ServiceAccount", "robot", "shop", metadata={"labels": {"role": "reader"}}),
        _object("ServiceAccount", "robot", "lab", metadata={"labels": {"role": "other"}}),
        _object("Pod", "web", "shop", spec={"serviceAccountName": "robot", "nodeName": "n1", "hostNetwork": True}),
    )
    (pod,) = cluster.pods
    assert dict(pod.namespace_labels) == {"team": "blue", NAMESPACE_NAME: "shop"}
    assert pod.service_account == "robot"
    assert dict(pod.service_account_labels) == {"role": "reader", SERVICE_ACCOUNT_NAME: "robot"}
    assert pod.node == "n1"
    assert pod.host_network


def test_a_pod_alone_still_has_a_namespace_an_account_and_no_node() -> None:
    cluster = _cluster(_object("Pod", "web"))
    (pod,) = cluster.pods
    assert (pod.namespace, pod.service_account, pod.node, pod.host_network) == ("default", "default", None, False)
    assert dict(pod.namespace_labels) == {NAMESPACE_NAME: "default"}
    assert dict(pod.service_account_labels) == {SERVICE_ACCOUNT_NAME: "default"}
    assert [namespace.name for namespace in cluster.namespaces] == ["default"]


@pytest.mark.parametrize(
    ("spec", "status", "addresses", "networks"),
    [
        pytest.param(
            {"podCIDR": "10.244.1.0/24"},
            {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
            ["10.0.0.1"],
            ["10.244.1.0/24"],
            id="one family",
        ),
        pytest.param(
            {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
            {"addresses": [{"type": "InternalIP", "address": a} for a in ("10.0.0.1", "fd00::1")]},
            ["10.0.0.1", "fd00::1"],
            ["10.244.1.0/24", "fd00:1::/64"],
            id="two families",
        ),
        pytest.param(
            {},
            {
                "addresses": [
                    {"type": "Hostname", "address": "10.0.0.9"},
                    {"type": "ExternalIP", "address": "192.0.2.1"},
                ]
            },
            ["192.0.2.1"],
            [],
            id="the external address counts, the name does not",
        ),
        pytest.param({}, {}, [], [], id="a node without a status"),
    ],
)
def test_node(spec: Json, status: Json, addresses: list[str], networks: list[str]) -> None:
    cluster = _cluster(_object("Node", "n1", spec=spec, status=status, metadata={"labels": {"pool": "a"}}))
    (node,) = cluster.nodes
    assert node.addresses == _addresses(*addresses)
    assert node.pod_networks == AddressSet.of(parse_network(network) for network in networks)
    assert cluster.pod_networks == node.pod_networks
    assert dict(node.labels) == {"pool": "a"}


@pytest.mark.parametrize(
    ("info", "labels", "system"),
    [
        pytest.param({"operatingSystem": "windows"}, {}, "windows", id="what the kubelet reports"),
        pytest.param({}, {"kubernetes.io/os": "windows"}, "windows", id="else the label"),
        pytest.param({}, {}, "linux", id="else Linux"),
    ],
)
def test_operating_system(info: Json, labels: dict[str, Json], system: str) -> None:
    (node,) = _cluster(_object("Node", "n1", status={"nodeInfo": info}, metadata={"labels": labels})).nodes
    assert node.operating_system == system


@pytest.mark.parametrize("version", ["crd.projectcalico.org/v1", "projectcalico.org/v3"])
def test_address_pools_are_pod_networks(version: str) -> None:
    cluster = _cluster(
        _object("IPPool", "default-ipv4", version=version, spec={"cidr": "10.244.0.0/16"}),
        _object("IPPool", "default-ipv6", version=version, spec={"cidr": "fd00::/48"}),
        _object("IPPool", "odd", version=version, spec={"cidr": "x"}),
    )
    assert cluster.pod_networks == AddressSet.of([parse_network("10.244.0.0/16"), parse_network("fd00::/48")])


def test_a_pool_of_another_group_is_no_pod_network() -> None:
    cluster = _cluster(_object("IPPool", "x", version="example.org/v1", spec={"cidr": "10.244.0.0/16"}))
    assert not cluster.pod_networks


def _slice(name: str, namespace: str, service: str, *addresses: str) -> dict[str, Json]:
    endpoints: Json = [{"addresses": [address]} for address in addresses]
    labels: Json = {"labels": {"kubernetes.io/service-name": service}}
    return _object("EndpointSlice", name, namespace, "discovery.k8s.io/v1", metadata=labels, endpoints=endpoints)


def test_api_server() -> None:
    cluster = _cluster(
        _slice("kubernetes", "default", "kubernetes", "10.0.0.9", "10.0.0.5"),
        _slice("kubernetes-6", "default", "kubernetes", "fd00::9"),
        _slice("kubernetes", "shop", "kubernetes", "10.1.0.1"),
        _slice("web", "default", "web", "10.1.0.2"),
    )
    assert cluster.api_server == _addresses("10.0.0.5", "10.0.0.9", "fd00::9")


def test_service() -> None:
    cluster = _cluster(
        _object(
            "Service",
            "web",
            "shop",
            spec={
                "type": "LoadBalancer",
                "selector": {"app": "web"},
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.1", "fd00:96::1"],
                "externalIPs": ["192.0.2.1"],
                "externalTrafficPolicy": "Local",
                "ports": [{"port": 80, "targetPort": "http", "nodePort": 30080, "name": "web"}],
            },
            status={"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "x.example"}]}},
        )
    )
    (service,) = cluster.services
    assert service.type == "LoadBalancer"
    assert service.selector == Labels.of({"app": "web"})
    assert service.addresses == _addresses("10.96.0.1", "fd00:96::1", "192.0.2.1", "198.51.100.1")
    assert service.ports == (ServicePort("TCP", 80, "http", 30080, "web"),)
    assert service.external_traffic_policy == "Local"


def test_a_headless_service_without_a_selector() -> None:
    (service,) = _cluster(
        _object("Service", "web", "shop", spec={"clusterIP": "None", "ports": [{"port": 80}]})
    ).services
    assert service.selector is None
    assert service.addresses == ()
    assert service.ports == (ServicePort("TCP", 80),)
    assert (service.type, service.external_traffic_policy) == ("ClusterIP", "Cluster")


@pytest.mark.parametrize(
    ("texts", "families"),
    [
        pytest.param(["10.244.0.1"], {4}, id="IPv4"),
        pytest.param(["fd00::1"], {6}, id="IPv6"),
        pytest.param(["10.244.0.1", "fd00::1"], {4, 6}, id="dual stack"),
        pytest.param([], set(), id="no address is known"),
    ],
)
def test_ip_families(texts: list[str], families: set[int]) -> None:
    addresses: Json = [{"ip": text} for text in texts]
    assert _cluster(_object("Pod", "web", "shop", status={"podIPs": addresses})).ip_families == families


def _names(owners: Sequence[object]) -> list[str]:
    return [str(getattr(owner, "name", owner)) for owner in owners]


def test_the_order_of_objects_does_not_matter() -> None:
    objects = [
        *(_object("Namespace", name) for name in ("shop", "lab")),
        *(_object("Pod", name, namespace) for name in ("web", "db") for namespace in ("shop", "lab")),
        *(_object("Node", name) for name in ("n2", "n1")),
        *(_object("Service", name, "shop") for name in ("b", "a")),
        *(_slice(name, "default", "kubernetes", address) for name, address in (("a", "10.0.0.2"), ("b", "10.0.0.1"))),
    ]
    expected = _cluster(*objects)
    assert _names(expected.namespaces) == ["lab", "shop"]
    assert [str(pod) for pod in expected.pods] == ["lab/db", "lab/web", "shop/db", "shop/web"]
    shuffled = list(objects)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert _cluster(*shuffled) == expected


def test_completeness_is_handed_on() -> None:
    assert read_cluster([], complete=True).complete
    assert not read_cluster([], complete=False).complete
