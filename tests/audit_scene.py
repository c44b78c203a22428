"""A small cluster with Services and policies, for recordings of its node n1."""

from __future__ import annotations

from pathlib import Path

from migrate.audit.judge import Revision
from migrate.audit.replay import Scene
from migrate.futures import engine_over
from migrate.model.addresses import AddressSet, parse_address, parse_network
from migrate.model.cluster import Cluster, Namespace, Node, Pod, Service, ServicePort
from migrate.model.labels import Labels
from migrate.scan.files import read_files
from migrate.sources.endpoints import Backend
from migrate.translate.profiles import load_profile
from migrate.verify.ways import ways_of

_NAME = "kubernetes.io/metadata.name"

POLICIES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: web}}]
      toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
    - fromEndpoints: [{matchLabels: {app: db}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: front}}]
  egress:
    - toEndpoints: [{matchLabels: {app: db}}]
      toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
    - toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, app: dns}}]
      toPorts: [{ports: [{port: "53", protocol: UDP}]}]
    - toCIDR: [203.0.113.0/24]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: open, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: open}}
  ingress:
    - fromEntities: [world, cluster]
"""


def _pod(name: str, app: str, node: str, *addresses: str, namespace: str = "shop", workload: str = "") -> Pod:
    return Pod(
        namespace,
        name,
        Labels.of({"app": app}),
        Labels.of({_NAME: namespace}),
        addresses=tuple(map(parse_address, addresses)),
        node=node,
        workload=workload or f"Deployment/{app}",
    )


def _service(name: str, address: str, port: ServicePort, namespace: str = "shop", kind: str = "ClusterIP") -> Service:
    return Service(namespace, name, kind, addresses=(parse_address(address),), ports=(port,))


def _node(number: int) -> Node:
    network = AddressSet.of([parse_network(f"10.{number}.0.0/16")])
    return Node(f"n{number}", addresses=(parse_address(f"10.0.0.{number}"),), pod_networks=network)


PODS = (
    _pod("dns", "dns", "n2", "10.2.0.53", namespace="kube-system"),
    _pod("db-0", "db", "n1", "10.1.0.2", workload="StatefulSet/db"),
    _pod("db-1", "db", "n2", "10.2.0.2", workload="StatefulSet/db"),
    _pod("free", "free", "n1", "10.1.0.9"),
    _pod("open", "open", "n1", "10.1.0.7"),
    _pod("other", "other", "n1", "10.1.0.8"),
    _pod("web-5d8c7f9b6-aaaaa", "web", "n1", "10.1.0.10", "fd00:1::10"),
    _pod("web-5d8c7f9b6-bbbbb", "web", "n2", "10.2.0.10"),
)
WEB = "shop/web-5d8c7f9b6-aaaaa"
CLUSTER = Cluster(
    namespaces=tuple(Namespace(name, Labels.of({_NAME: name})) for name in ("default", "kube-system", "shop")),
    pods=PODS,
    nodes=(_node(1), _node(2)),
    services=(
        _service("kubernetes", "10.96.0.1", ServicePort("TCP", 443, 6443), "default"),
        _service("dns", "10.96.0.53", ServicePort("UDP", 53, 53), "kube-system"),
        _service("db", "10.96.0.10", ServicePort("TCP", 5432, 5432)),
        _service("mixed", "10.96.0.11", ServicePort("TCP", 5432, 5432)),
        _service("open", "10.96.0.12", ServicePort("TCP", 80, 8080, 30081), kind="NodePort"),
        _service("shut", "10.96.0.13", ServicePort("TCP", 80, 8080)),
        _service("web", "10.96.0.14", ServicePort("TCP", 80, 8080, 30080), kind="NodePort"),
    ),
    api_server=(parse_address("192.0.2.100"),),
    pod_networks=AddressSet.of([parse_network("10.1.0.0/16"), parse_network("10.2.0.0/16")]),
    complete=True,
)


def _behind(namespace: str, service: str, port: int, protocol: str, *addresses: str) -> list[Backend]:
    ports = (("", protocol, port),)
    return [Backend(namespace, service, parse_address(address), True, ports) for address in addresses]


BACKENDS = (
    *_behind("default", "kubernetes", 6443, "TCP", "192.0.2.100"),
    *_behind("kube-system", "dns", 53, "UDP", "10.2.0.53"),
    *_behind("shop", "db", 5432, "TCP", "10.1.0.2", "10.2.0.2"),
    *_behind("shop", "mixed", 5432, "TCP", "10.1.0.2", "10.1.0.9"),
    *_behind("shop", "open", 8080, "TCP", "10.1.0.7"),
    *_behind("shop", "web", 8080, "TCP", "10.1.0.10"),
)
PROBES = {"shop/open": frozenset({8080}), WEB: frozenset({9000})}


def scene() -> Scene:
    """The cluster with what stands behind its Services and the ports of probes."""
    return Scene(CLUSTER, BACKENDS, PROBES)


def revision(folder: Path, text: str = POLICIES, name: str = "first") -> Revision:
    """Policies, read from a file, as Cilium 1.20 means them."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    objects = list(read_files([str(path)], None).objects)
    return Revision(
        name, engine_over("cilium", objects, CLUSTER, load_profile("cilium-1.20")), ways_of("cilium", {}, objects)
    )
