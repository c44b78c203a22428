"""Made-up clusters of the size that real ones have, with NetworkPolicies; the same scale is always the same cluster.

Workloads have an app of their own or share one, a tier that says which ports they name, and a few more labels. Their
pods spread with a long tail. Policies are of seven kinds in turn, after a base of default denies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, NamedPort, Namespace, Node, Pod
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject

BASE = "base"
"""Name of the policies that close a namespace but for asking for names."""

_PODS_PER_NODE = 50
_NAME = "kubernetes.io/metadata.name"
_TEAMS = ("orders", "search", "billing", "media", "platform")
_STAGES = ("live", "test", "try")
_PORTS: dict[str, tuple[NamedPort, ...]] = {
    "web": (NamedPort("http", "TCP", 8080), NamedPort("stats", "TCP", 9100)),
    "api": (NamedPort("rpc", "TCP", 7000), NamedPort("http", "TCP", 8081), NamedPort("stats", "TCP", 9101)),
    "store": (NamedPort("sql", "TCP", 5432), NamedPort("stats", "TCP", 9187)),
    "queue": (NamedPort("amqp", "TCP", 5672), NamedPort("log", "UDP", 5140)),
    "signal": (NamedPort("sctp", "SCTP", 3868),),
    "names": (NamedPort("dns", "UDP", 53),),
}
_DNS: Json = {"namespaceSelector": {"matchLabels": {"team": "cluster"}}, "podSelector": {"matchLabels": {"app": "dns"}}}


@dataclass(frozen=True, slots=True)
class Scale:
    """How many of each."""

    namespaces: int
    workloads: int
    pods: int
    policies: int


SCALES = {
    "small": Scale(10, 50, 200, 40),
    "medium": Scale(50, 500, 2_000, 300),
    "large": Scale(200, 3_000, 20_000, 1_500),
    "huge": Scale(500, 15_000, 100_000, 5_000),
}


@dataclass(frozen=True, slots=True)
class _Workload:
    namespace: Namespace
    labels: dict[str, str]
    tier: str
    revision: str

    @property
    def ports(self) -> tuple[NamedPort, ...]:
        return _PORTS[self.tier]


_Kind = Callable[[random.Random, _Workload, _Workload], Json]


def build(scale: Scale, *, dual_stack: bool = False, over_pods: bool = False) -> tuple[Cluster, list[RawObject]]:
    """A cluster and its policies. `over_pods`: some have blocks that hold pods, which engines read differently."""
    chance = random.Random(str(scale))
    namespaces = [_namespace(index) for index in range(scale.namespaces)]
    workloads = [_Workload(namespaces[0], {"app": "dns", "tier": "names"}, "names", "d1")]
    workloads += [_workload(chance, scale, namespaces) for _ in range(scale.workloads - 1)]
    families = (4, 6) if dual_stack else (4,)
    cluster = Cluster(
        namespaces=tuple(namespaces),
        pods=tuple(_pods(chance, scale, workloads, families)),
        nodes=tuple(
            Node(f"node-{index}", Labels(), _addresses("10.32.0.1", "fd00:32::1", index, families))
            for index in range(scale.pods // _PODS_PER_NODE + 1)
        ),
        api_server=(IPv4Address("203.0.113.1"),),
        complete=True,
        ip_families=frozenset(families),
    )
    kinds = (*_KINDS, _to_pod_range) if over_pods else _KINDS
    return cluster, [RawObject(policy) for policy in _policies(chance, scale, namespaces, workloads, kinds)]


def _namespace(index: int) -> Namespace:
    labels = {"team": _TEAMS[index % len(_TEAMS)], "stage": _STAGES[index % len(_STAGES)]} if index else {}
    name = f"space-{index:03d}"
    return Namespace(name, Labels.of({"team": "cluster", **labels, _NAME: name}))


def _workload(chance: random.Random, scale: Scale, namespaces: list[Namespace]) -> _Workload:
    tier = chance.choice(list(_PORTS)[:-1])
    labels = {"app": f"app-{chance.randrange(scale.workloads // 6 + 1)}", "tier": tier}
    labels["release"] = f"r{chance.randrange(4)}"
    if chance.random() < 0.25:
        labels["exposed"] = chance.choice(("yes", "no"))
    return _Workload(chance.choice(namespaces[1:]), labels, tier, f"{chance.getrandbits(40):x}")


def _pods(chance: random.Random, scale: Scale, workloads: list[_Workload], families: tuple[int, ...]) -> Iterator[Pod]:
    """One pod for each workload, the others with a long tail."""
    owners = [*workloads, *chance.choices(workloads, [1 / (i + 5) for i in range(len(workloads))], k=scale.pods)]
    labels = {id(owner): Labels.of(owner.labels | {"pod-template-hash": owner.revision}) for owner in workloads}
    for index, owner in enumerate(owners[: scale.pods]):
        yield Pod(
            namespace=owner.namespace.name,
            name=f"pod-{index}",
            labels=labels[id(owner)],
            namespace_labels=owner.namespace.labels,
            addresses=_addresses("10.64.0.1", "fd00:64::1", index, families),
            named_ports=owner.ports,
            node=f"node-{index // _PODS_PER_NODE}",
        )


def _addresses(first: str, first_v6: str, index: int, families: tuple[int, ...]) -> tuple[Address, ...]:
    found: dict[int, Address] = {4: IPv4Address(first) + index, 6: IPv6Address(first_v6) + index}
    return tuple(found[family] for family in families)


def _policies(
    chance: random.Random,
    scale: Scale,
    namespaces: list[Namespace],
    workloads: list[_Workload],
    kinds: Sequence[_Kind],
) -> Iterator[dict[str, Json]]:
    base = min(len(namespaces) - 1, scale.policies // 4)
    for index in range(base):
        closed: Json = {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [_rule("to", _DNS, "UDP", 53)],
        }
        yield _policy(BASE, namespaces[1 + index], closed)
    for index in range(scale.policies - base):
        own, peer = chance.choice(workloads[1:]), chance.choice(workloads[1:])
        yield _policy(f"policy-{index}", own.namespace, kinds[index % len(kinds)](chance, own, peer))


def _policy(name: str, namespace: Namespace, spec: Json) -> dict[str, Json]:
    metadata: Json = {"name": name, "namespace": namespace.name}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _rule(side: str, peer: Json, protocol: str, port: int | str, end: int | None = None) -> Json:
    ports: dict[str, Json] = {"protocol": protocol, "port": port}
    return {side: [peer], "ports": [ports if end is None else ports | {"endPort": end}]}


def _labelled(workload: _Workload, *keys: str) -> Json:
    return {"matchLabels": {key: workload.labels[key] for key in keys}}


def _team(workload: _Workload, *keys: str) -> Json:
    return {"matchLabels": {key: workload.namespace.labels[key] for key in keys}}


def _from_app(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    port = chance.choice(own.ports)
    source: Json = {"namespaceSelector": _team(peer, "team"), "podSelector": _labelled(peer, "app")}
    return _into(own, _rule("from", source, port.protocol, port.port))


def _from_app_by_name(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    port = chance.choice(own.ports)
    return _into(own, _rule("from", {"podSelector": _labelled(peer, "app")}, port.protocol, port.name))


def _from_stage(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    return _into(own, _rule("from", {"namespaceSelector": _team(peer, "stage")}, "TCP", 9000, 9999))


def _from_outside(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    blocks = (f"198.18.{chance.randrange(256)}.0/24", f"2001:db8:{chance.randrange(4096):x}::/48")
    return _into(own, *(_rule("from", {"ipBlock": {"cidr": block}}, "TCP", own.ports[0].port) for block in blocks))


def _from_others(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    """By negation, and from whoever is exposed."""
    other: Json = {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["store", peer.tier]}]}
    exposed: Json = {"matchExpressions": [{"key": "exposed", "operator": "Exists"}]}
    peers: Json = [{"podSelector": other}, {"namespaceSelector": _team(peer, "team"), "podSelector": exposed}]
    return {"podSelector": _labelled(own, "tier"), "ingress": [{"from": peers}]}


def _to_app(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    port = chance.choice(peer.ports)
    target: Json = {"namespaceSelector": _team(peer, "team", "stage"), "podSelector": _labelled(peer, "app")}
    return _out_of(own, _rule("to", target, port.protocol, port.port), _rule("to", _DNS, "UDP", 53))


def _to_outside(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    partner: Json = {"ipBlock": {"cidr": f"192.0.{chance.randrange(256)}.0/24"}}
    world: Json = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "172.16.0.0/12"]}}
    return _out_of(own, _rule("to", partner, "TCP", 22), _rule("to", world, "TCP", 443))


def _to_pod_range(chance: random.Random, own: _Workload, peer: _Workload) -> Json:
    """A block over pods: whether it holds for them is what NPM and Cilium see differently."""
    block: Json = {"cidr": "10.64.0.0/12", "except": [f"10.64.{chance.randrange(64)}.0/24"]}
    return _out_of(own, {"to": [{"ipBlock": block}]})


def _into(own: _Workload, *rules: Json) -> Json:
    return {"podSelector": _labelled(own, "app", "tier"), "policyTypes": ["Ingress"], "ingress": list(rules)}


def _out_of(own: _Workload, *rules: Json) -> Json:
    return {"podSelector": _labelled(own, "app", "tier"), "policyTypes": ["Egress"], "egress": list(rules)}


_KINDS: tuple[_Kind, ...] = (
    _from_app,
    _from_app_by_name,
    _from_stage,
    _from_outside,
    _from_others,
    _to_app,
    _to_outside,
)
