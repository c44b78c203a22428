"""Verdict cases: a small cluster, policy objects as they are stored, and flows (tests/cases/vectors/README.md)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Word: TypeAlias = Literal["allow", "deny", "unenforced"]


class Namespace(msgspec.Struct, frozen=True, rename="camel"):
    """A namespace; its labels always hold kubernetes.io/metadata.name."""

    name: str
    labels: dict[str, str] = {}


class ServiceAccount(msgspec.Struct, frozen=True, rename="camel"):
    """A service account and the labels that Calico reads from it."""

    namespace: str
    name: str
    labels: dict[str, str] = {}


class NamedPort(msgspec.Struct, frozen=True, rename="camel"):
    """A container port with a name."""

    name: str
    protocol: str
    port: int


class Pod(msgspec.Struct, frozen=True, rename="camel"):
    """A pod; with `host_network` it has its node's addresses and is its node for every policy."""

    namespace: str
    name: str
    labels: dict[str, str] = {}
    ips: tuple[str, ...] = ()
    named_ports: tuple[NamedPort, ...] = ()
    service_account: str = "default"
    node: str = ""
    host_network: bool = False

    @property
    def key(self) -> str:
        """The pod's name as flows spell it."""
        return f"{self.namespace}/{self.name}"


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """A node and its addresses."""

    name: str
    ips: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class End(msgspec.Struct, frozen=True, omit_defaults=True):
    """One end of a flow: exactly one of a pod ("namespace/name"), a node's name or an address."""

    pod: str = ""
    node: str = ""
    ip: str = ""

    def __str__(self) -> str:
        return self.pod or self.node or self.ip


class Flow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The first packet of a connection after service translation. For ICMP `port` is the type."""

    src: End
    dst: End
    protocol: str
    port: int
    src_port: int = 0
    icmp_code: int = 0
    egress: str = ""
    ingress: str = ""
    verdict: str = ""

    def __str__(self) -> str:
        return f"{self.src} -> {self.dst} {self.protocol}/{self.port}"


class ApiServer(msgspec.Struct, frozen=True):
    """Addresses of the Kubernetes API server."""

    ips: tuple[str, ...] = ()


class Service(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A Service; without a selector its endpoints are addresses of anything."""

    namespace: str
    name: str
    labels: dict[str, str] = {}
    selector: dict[str, str] = {}
    endpoints: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One small cluster with everything that its flows' verdicts depend on."""

    name: str
    engine: str = "kubernetes"
    namespaces: tuple[Namespace, ...] = ()
    service_accounts: tuple[ServiceAccount, ...] = ()
    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    dns: dict[str, tuple[str, ...]] | None = None
    policies: tuple[dict[str, object], ...] = ()
    flows: tuple[Flow, ...] = ()
    options: dict[str, object] = {}
    api_server: ApiServer = msgspec.field(default=ApiServer(), name="kubeAPIServer")

    def addresses(self) -> tuple[str, ...]:
        """Every address of a pod or a node."""
        return tuple(
            dict.fromkeys([ip for pod in self.pods for ip in pod.ips] + [ip for node in self.nodes for ip in node.ips])
        )

    def document(self) -> dict[str, object]:
        """The JSON document that the engines read."""
        return {"version": 1, **msgspec.json.decode(msgspec.json.encode(self), type=dict[str, object])}


def read_case(path: Path) -> Case:
    """The case in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Case)


@dataclass(frozen=True, slots=True)
class Answer:
    """What each side says about a flow."""

    egress: Word
    ingress: Word

    @property
    def verdict(self) -> Literal["allow", "deny"]:
        """deny when one side denies."""
        return "deny" if "deny" in (self.egress, self.ingress) else "allow"


FREE = Answer("unenforced", "unenforced")


@dataclass(frozen=True, slots=True)
class Party:
    """An end of one flow with the address it uses. Neither pod nor node: outside the cluster."""

    address: Address
    pod: Pod | None = None
    node: str = ""


class Directory:
    """Who has which name and address in a case."""

    def __init__(self, case: Case) -> None:
        self.namespace_labels = {namespace.name: namespace.labels for namespace in case.namespaces}
        self._pods = {pod.key: pod for pod in case.pods}
        self._nodes = {node.name: node for node in case.nodes}
        self._pod_of = {ipaddress.ip_address(ip): pod for pod in case.pods if not pod.host_network for ip in pod.ips}
        self._node_of = {ipaddress.ip_address(ip): node.name for node in case.nodes for ip in node.ips}

    def parties(self, flow: Flow) -> tuple[Party, Party]:
        """Source and destination with the first pair of addresses of one family that the protocol can use."""
        version = {"ICMP": 4, "ICMPv6": 6}.get(flow.protocol)
        for source in self._addresses(flow.src):
            for destination in self._addresses(flow.dst):
                if source.version == destination.version and version in (None, source.version):
                    return self._party(source), self._party(destination)
        raise ValueError(f"{flow}: the ends have no addresses of one family")

    def _addresses(self, end: End) -> Iterable[Address]:
        if end.ip:
            return [ipaddress.ip_address(end.ip)]
        owner = self._pods[end.pod] if end.pod else self._nodes[end.node]
        return [ipaddress.ip_address(ip) for ip in owner.ips]

    def _party(self, address: Address) -> Party:
        return Party(address, self._pod_of.get(address), self._node_of.get(address, ""))


def same_pod(source: Party, destination: Party) -> bool:
    """Whether a pod talks to itself."""
    return source.pod is not None and source.pod == destination.pod


def own_node(source: Party, destination: Party) -> bool:
    """Whether one party is a pod and the other the node that it runs on."""
    pod, node = (source.pod, destination.node) if source.pod else (destination.pod, source.node)
    return pod is not None and node != "" and pod.node == node
