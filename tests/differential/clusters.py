"""Random small clusters: few labels and few values, so that selectors often match, and often match only in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tests.differential.chance import Chance
from tests.reference.cases import ApiServer, Case, NamedPort, Namespace, Node, Pod, ServiceAccount

Families: TypeAlias = Literal["IPv4", "IPv6", "dual"]

POD_LABELS: dict[str, tuple[str, ...]] = {
    "app": ("web", "db", "api"),
    "tier": ("front-1", "front-2", "back"),
    "app.kubernetes.io/name": ("shop", "pay"),
    "quarantine": ("", "true"),
}
IGNORED_LABELS: dict[str, tuple[str, ...]] = {
    "pod-template-hash": ("5d8c7", "7f9b2"),
    "statefulset.kubernetes.io/pod-name": ("db-0", "db-1"),
    "topology.kubernetes.io/zone": ("1", "2"),
}
"""Labels that Cilium leaves out of a pod's identity, the last one since 1.19."""
NAMESPACE_LABELS: dict[str, tuple[str, ...]] = {
    "team": ("blue", "red", "green"),
    "env": ("prod", "dev"),
    "pci": ("true",),
    "pod-security.kubernetes.io/enforce": ("baseline", "restricted"),
}
ACCOUNT_LABELS: dict[str, tuple[str, ...]] = {"role": ("reader", "writer")}
ACCOUNTS = ("default", "builder")
NAMESPACES = ("default", "alpha", "shop", "zulu")
PORT_NAMES: dict[str, tuple[tuple[str, int], ...]] = {
    "http": (("TCP", 80), ("TCP", 8080)),
    "dns": (("UDP", 53), ("TCP", 53), ("UDP", 5353)),
    "sig": (("SCTP", 9999), ("SCTP", 7777)),
}
OUTSIDE_API_SERVER = {4: "198.51.100.7", 6: "2001:db8:a::7"}


@dataclass(frozen=True, slots=True)
class Traits:
    """How often the troublesome things occur in one cluster; most clusters have few of them.

    `inside` is the share of CIDRs that cover pods or nodes, `names` the share of ports given by name, `ignored` the
    share of selectors that read labels without an identity, `exotic` the share of rarely used fields.
    """

    families: Families
    inside: float
    names: float
    ignored: float
    exotic: float


def draw_traits(chance: Chance) -> Traits:
    """The traits of one cluster."""
    return Traits(
        families=chance.pick(("IPv4", "IPv4", "IPv4", "dual", "dual", "IPv6")),
        inside=chance.pick((0.0, 0.0, 0.1, 0.5)),
        names=chance.pick((0.0, 0.1, 0.4)),
        ignored=chance.pick((0.0, 0.0, 0.0, 0.2)),
        exotic=chance.pick((0.0, 0.0, 0.2, 0.6)),
    )


def draw_cluster(chance: Chance, traits: Traits, name: str) -> Case:
    """A cluster without policies and flows."""
    namespaces = tuple(_namespace(chance, name) for name in chance.some(NAMESPACES, 2, 3))
    accounts = tuple(
        ServiceAccount(namespace.name, account, labels(chance, ACCOUNT_LABELS, 0.6))
        for namespace in namespaces
        for account in ACCOUNTS
    )
    nodes = tuple(_node(index, traits.families) for index in range(chance.number(2, 3)))
    pods = tuple(_pod(chance, traits, namespaces, nodes, index) for index in range(chance.number(4, 9)))
    return Case(
        name=name,
        namespaces=namespaces,
        service_accounts=accounts,
        pods=pods,
        nodes=nodes,
        options=_options(traits.families),
        api_server=_api_server(chance, nodes, traits.families),
    )


def draw_namespace(chance: Chance, case: Case) -> str:
    """A namespace for a policy, mostly one with pods."""
    if chance.happens(0.9):
        return chance.pick(case.pods).namespace
    return chance.pick(case.namespaces).name


def labels(chance: Chance, pool: dict[str, tuple[str, ...]], share: float) -> dict[str, str]:
    """Some labels of a pool; each is missing often enough to matter."""
    return {key: chance.pick(values) for key, values in pool.items() if chance.happens(share)}


def _namespace(chance: Chance, name: str) -> Namespace:
    own = {"kubernetes.io/metadata.name": name}
    return Namespace(name, labels(chance, NAMESPACE_LABELS, 0.5) | own)


def _node(index: int, families: Families) -> Node:
    found = {4: f"10.10.0.{11 + index}", 6: f"fd10::{11 + index}"}
    return Node(
        f"node-{index}", tuple(found[v] for v in versions(families)), {"kubernetes.io/hostname": f"node-{index}"}
    )


def versions(families: Families) -> tuple[int, ...]:
    """The IP versions of a cluster."""
    return {"IPv4": (4,), "IPv6": (6,), "dual": (4, 6)}[families]


def _pod(chance: Chance, traits: Traits, namespaces: tuple[Namespace, ...], nodes: tuple[Node, ...], index: int) -> Pod:
    at = chance.number(0, len(nodes) - 1)
    own = {4: f"10.244.{at}.{10 + index}", 6: f"fd00:244:{at}::{10 + index}"}
    used = versions(traits.families)
    if len(used) > 1 and chance.happens(0.2):
        used = (chance.pick(used),)
    on_host = chance.happens(0.08)
    return Pod(
        namespace=chance.pick(namespaces).name,
        name=f"pod-{index}",
        labels=labels(chance, POD_LABELS, 0.5) | labels(chance, IGNORED_LABELS, 0.3 if traits.ignored else 0.05),
        ips=nodes[at].ips if on_host else tuple(own[version] for version in used),
        named_ports=_named_ports(chance),
        service_account=chance.pick(ACCOUNTS),
        node=nodes[at].name,
        host_network=on_host,
    )


def _named_ports(chance: Chance) -> tuple[NamedPort, ...]:
    names = [name for name in PORT_NAMES if chance.happens(0.45)]
    return tuple(NamedPort(name, *chance.pick(PORT_NAMES[name])) for name in names)


def _options(families: Families) -> dict[str, object]:
    if families == "dual":
        return {}
    return {"ipv6": False} if families == "IPv4" else {"ipv4": False}


def _api_server(chance: Chance, nodes: tuple[Node, ...], families: Families) -> ApiServer:
    where = chance.pick(("unknown", "unknown", "node", "outside"))
    if where == "unknown":
        return ApiServer()
    return ApiServer(nodes[0].ips[:1] if where == "node" else (OUTSIDE_API_SERVER[versions(families)[0]],))
