"""One small cluster for questions to Calico's model and to Calico's own engine."""

from __future__ import annotations

from typing import TypeAlias

from migrate.model.documents import SimulatedCase, SimulatedFlow
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.verify.simulation import simulate_case

Object: TypeAlias = dict[str, Json]

V3, STORED = "projectcalico.org/v3", "crd.projectcalico.org/v1"
WEB, DB, OUTSIDE = "shop/web", "shop/db", "8.8.8.8"
_ENDS: Object = {
    "namespaces": [{"name": "shop", "labels": {"team": "shop"}}],
    "serviceAccounts": [{"namespace": "shop", "name": "default", "labels": {}}],
    "nodes": [{"name": "n1", "ips": ["192.168.0.1"]}, {"name": "n2", "ips": ["192.168.0.2"]}],
    "pods": [
        {"namespace": "shop", "name": "web", "labels": {"app": "web"}, "ips": ["10.0.0.1"], "node": "n1"},
        {"namespace": "shop", "name": "db", "labels": {"app": "db"}, "ips": ["10.0.0.2"], "node": "n2"},
    ],
}


def calico(kind: str, name: str, spec: Object, namespace: str = "", version: str = V3) -> Object:
    """A Calico object; one with a namespace is in it."""
    metadata: Object = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def everywhere(name: str, spec: Object) -> Object:
    """A GlobalNetworkPolicy."""
    return calico("GlobalNetworkPolicy", name, spec)


def within(name: str, spec: Object) -> Object:
    """A NetworkPolicy of the namespace shop."""
    return calico("NetworkPolicy", name, spec, "shop")


def host(name: str, spec: Object, labels: dict[str, Json] | None = None) -> Object:
    """A HostEndpoint with labels."""
    found = calico("HostEndpoint", name, spec)
    found["metadata"] = {"name": name, "labels": labels or {}}
    return found


def flow(text: str) -> Object:
    """A flow from "source > destination protocol/port", an end being a pod, a node or an address."""
    source, destination, packet = text.replace(" > ", " ").split(" ")
    protocol, port, *source_port = packet.split("/")
    found: Object = {"src": _end(source), "dst": _end(destination), "protocol": protocol, "port": int(port)}
    if source_port:
        found["srcPort"] = int(source_port[0])
    return found


def _end(text: str) -> Object:
    kind = "pod" if "/" in text else "node" if text.startswith("n") else "ip"
    return {kind: text}


def case(policies: list[Object], flows: list[str], options: Object | None = None) -> Object:
    """The case's document, which the real engine reads too."""
    asked: list[Json] = [flow(text) for text in flows]
    return {**_ENDS, "name": "case", "policies": [*policies], "flows": asked, "options": options or {}}


def simulate(policies: list[Object], flows: list[str], options: Object | None = None) -> SimulatedCase:
    """What the model says."""
    return simulate_case(read_case(RawObject(case(policies, flows, options), "case.yaml")), "calico", 20)


def words(answered: SimulatedFlow) -> tuple[str, str]:
    """What both sides say."""
    return answered.egress, answered.ingress
