"""Calico policies over a made-up cluster: most only allow, some are ordered and deny or pass on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from migrate.model.cluster import Cluster, Pod
from migrate.model.raw import Json, RawObject

_ORDERED_EVERY = 20
"""In one of so many namespaces the order of policies decides."""

_Kind = Callable[[random.Random, Pod, Pod], dict[str, Json]]


def calico_policies(cluster: Cluster, count: int, *, in_order: bool) -> list[RawObject]:
    """Policies of five kinds in turn; `in_order`: the order decides somewhere. Same question, same policies."""
    chance = random.Random(count)
    spaces = [namespace.name for namespace in cluster.namespaces]
    ordered = frozenset(spaces[1::_ORDERED_EVERY] if in_order else ())
    pods = [pod for pod in cluster.pods if pod.namespace != spaces[0]]
    return [RawObject(_policy(chance, pods, ordered, index)) for index in range(count)]


def _policy(chance: random.Random, pods: list[Pod], ordered: frozenset[str], index: int) -> dict[str, Json]:
    own, peer = chance.choice(pods), chance.choice(pods)
    name = f"calico-{index}"
    if own.namespace in ordered:
        spec = {"order": chance.randrange(1, 50) * 10, **_in_order(chance, own, peer)}
        return _object("NetworkPolicy", {"name": name, "namespace": own.namespace}, spec)
    kind = _KINDS[index % len(_KINDS)]
    if kind is _for_stage:
        return _object("GlobalNetworkPolicy", {"name": name}, kind(chance, own, peer))
    return _object("NetworkPolicy", {"name": name, "namespace": own.namespace}, kind(chance, own, peer))


def _object(kind: str, metadata: dict[str, Json], spec: dict[str, Json]) -> dict[str, Json]:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def _equal(labels: Iterator[tuple[str, str]]) -> str:
    return " && ".join(f"{key} == '{value}'" for key, value in labels)


def _labelled(pod: Pod, *keys: str) -> str:
    return _equal((key, value) for key, value in pod.labels.pairs if key in keys)


def _team(pod: Pod, *keys: str) -> str:
    return _equal((key, value) for key, value in pod.namespace_labels.pairs if key in keys)


def _ports(pod: Pod) -> list[Json]:
    return [port.port for port in pod.named_ports if port.protocol == "TCP"] or [443]


def _from_app(chance: random.Random, own: Pod, peer: Pod) -> dict[str, Json]:
    source: Json = {"namespaceSelector": _team(peer, "team"), "selector": _labelled(peer, "app")}
    rule: Json = {"action": "Allow", "protocol": "TCP", "source": source, "destination": {"ports": _ports(own)}}
    return {"selector": _labelled(own, "app", "tier"), "types": ["Ingress"], "ingress": [rule]}


def _from_some(chance: random.Random, own: Pod, peer: Pod) -> dict[str, Json]:
    apps = ", ".join(f"'app-{chance.randrange(80)}'" for _ in range(3))
    rules: Json = [
        {"action": "Allow", "source": {"selector": f"app in {{{apps}}}"}},
        {"action": "Allow", "protocol": "TCP", "source": {"selector": "tier != 'store' && has(release)"}},
    ]
    return {"selector": _labelled(own, "tier"), "types": ["Ingress"], "ingress": rules}


def _to_outside(chance: random.Random, own: Pod, peer: Pod) -> dict[str, Json]:
    partner: Json = {"nets": [f"192.0.{chance.randrange(256)}.0/24"], "ports": [22, "8000:8100"]}
    world: Json = {"nets": ["0.0.0.0/0"], "notNets": ["10.0.0.0/8", "172.16.0.0/12"], "ports": [443]}
    rules: Json = [{"action": "Allow", "protocol": "TCP", "destination": found} for found in (partner, world)]
    return {"selector": _labelled(own, "app", "tier"), "types": ["Egress"], "egress": rules}


def _to_app(chance: random.Random, own: Pod, peer: Pod) -> dict[str, Json]:
    target: Json = {"namespaceSelector": _team(peer, "team", "stage"), "selector": _labelled(peer, "app")}
    names: Json = {"namespaceSelector": "team == 'cluster'", "selector": "app == 'dns'", "ports": [53]}
    rules: Json = [
        {"action": "Allow", "protocol": "TCP", "destination": target},
        {"action": "Allow", "protocol": "UDP", "destination": names},
    ]
    return {"selector": _labelled(own, "app", "tier"), "types": ["Egress"], "egress": rules}


def _for_stage(chance: random.Random, own: Pod, peer: Pod) -> dict[str, Json]:
    rule: Json = {"action": "Allow", "protocol": "TCP", "source": {"selector": _labelled(peer, "app", "tier")}}
    return {
        "namespaceSelector": _team(own, "stage", "team"),
        "selector": _labelled(own, "app"),
        "types": ["Ingress"],
        "ingress": [rule],
    }


def _in_order(chance: random.Random, own: Pod, peer: Pod) -> dict[str, Json]:
    """Denies or passes on what comes from one release, and allows an app."""
    release: Json = {"selector": _labelled(peer, "release")}
    first: Json = {"action": chance.choice(("Deny", "Pass")), "source": release}
    then: Json = {"action": "Allow", "protocol": "TCP", "source": {"selector": _labelled(peer, "app")}}
    return {"selector": _labelled(own, "app"), "types": ["Ingress"], "ingress": [first, then]}


_KINDS: tuple[_Kind, ...] = (_from_app, _from_some, _to_outside, _to_app, _for_stage)
