"""A made-up cluster of any size: the same sizes give the same objects, names, labels and addresses.

`objects` are as a client would send them, with status; `write_preload` turns them into the lines that the test API
server puts straight into its storage. Nothing here is validated on that way, so a test sends a small cluster through
the API as well.
"""

from __future__ import annotations

import ipaddress
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Object: TypeAlias = "dict[str, object]"

_TIERS = {"frontend": 8080, "backend": 50051, "cache": 6379, "database": 5432}
_PODS_PER_NODE = 90
_PODS_PER_APP = 6
_STORED_UNDER = {
    "Namespace": "namespaces",
    "Node": "minions",
    "Pod": "pods",
    "ServiceAccount": "serviceaccounts",
    "Service": "services/specs",
    "EndpointSlice": "endpointslices",
    "NetworkPolicy": "networkpolicies",
    "ConfigMap": "configmaps",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many of what; nodes, services and endpoint slices follow from the pods."""

    namespaces: int
    pods: int
    policies: int


@dataclass(frozen=True, slots=True)
class _App:
    """What a Deployment would be."""

    namespace: str
    name: str
    tier: str
    template_hash: str

    @property
    def labels(self) -> dict[str, str]:
        return {"app": self.name, "tier": self.tier, "app.kubernetes.io/name": self.name}


def objects(size: Size) -> Iterator[Object]:
    """All objects of the cluster, each after those that it needs."""
    numbers = random.Random(f"{size}")
    namespaces = [f"team-{i:04d}" for i in range(size.namespaces)]
    nodes = [f"aks-pool-{i:05d}" for i in range(max(1, -(-size.pods // _PODS_PER_NODE)))]
    tiers = sorted(_TIERS)
    apps = [
        _App(namespaces[i % len(namespaces)], f"app-{i:05d}", tiers[i % len(tiers)], f"{numbers.getrandbits(40):010x}")
        for i in range(max(1, size.pods // _PODS_PER_APP))
    ]
    yield from (_namespace(name, i) for i, name in enumerate(namespaces))
    yield from (_node(name, i) for i, name in enumerate(nodes))
    yield from (_pod(apps[i % len(apps)], i, nodes) for i in range(size.pods))
    for i, app in enumerate(apps):
        yield _service(app)
        yield _slice(app, i)
    yield from (_policy(apps[i % len(apps)], numbers.choice(apps), i) for i in range(size.policies))


def write_preload(size: Size, path: Path) -> int:
    """Write the cluster as storage lines; returns how many objects it has."""
    count = 0
    with path.open("w", encoding="utf-8") as lines:
        for count, made in enumerate(objects(size), start=1):
            lines.write(preload_line(made, count))
    return count


def preload_line(made: Object, number: int) -> str:
    """One object as the test API server stores it."""
    metadata = made["metadata"]
    assert isinstance(metadata, dict)
    stored_metadata = metadata | {
        "uid": f"00000000-0000-4000-8000-{number:012x}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    parts = [_STORED_UNDER[str(made["kind"])], metadata.get("namespace"), metadata["name"]]
    key = "/registry/" + "/".join(part for part in parts if part)
    return json.dumps({"key": key, "object": made | {"metadata": stored_metadata}}, separators=(",", ":")) + "\n"


def _namespace(name: str, number: int) -> Object:
    labels = {"kubernetes.io/metadata.name": name, "team": name, "env": ("prod", "test")[number % 2]}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _node_address(number: int) -> str:
    return str(ipaddress.ip_address("10.224.0.4") + number)


def _pod_address(number: int, nodes: int) -> str:
    """Addresses come from the block of the pod's node."""
    return str(ipaddress.ip_address("10.128.0.0") + 256 * (number % nodes) + 2 + number // nodes)


def _node(name: str, number: int) -> Object:
    block = f"{ipaddress.ip_address('10.128.0.0') + 256 * number}/24"
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "agentpool": "pool"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": block, "podCIDRs": [block]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": _node_address(number)}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
            "capacity": {"cpu": "8", "memory": "32863844Ki", "pods": "110"},
            "nodeInfo": _node_info(number),
        },
    }


def _node_info(number: int) -> Object:
    return {
        "machineID": f"{number:032x}",
        "systemUUID": f"{number:032x}",
        "bootID": f"{number:032x}",
        "kernelVersion": "5.15.0-1089-azure",
        "osImage": "Ubuntu 22.04.5 LTS",
        "containerRuntimeVersion": "containerd://1.7.27",
        "kubeletVersion": "v1.34.4",
        "kubeProxyVersion": "v1.34.4",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }


def _pod(app: _App, number: int, nodes: list[str]) -> Object:
    host, address = _node_address(number % len(nodes)), _pod_address(number, len(nodes))
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"{app.name}-{app.template_hash}",
        "uid": f"00000000-0000-4000-9000-{int(app.template_hash, 16):012x}",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app.name}-{app.template_hash}-{number:05d}",
            "namespace": app.namespace,
            "labels": app.labels | {"pod-template-hash": app.template_hash},
            "annotations": {"checksum/config": f"{number:064x}", "prometheus.io/scrape": "true"},
            "ownerReferences": [owner],
        },
        "spec": _pod_spec(app, nodes[number % len(nodes)]),
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "startTime": "2026-01-01T00:00:00Z",
            "qosClass": "Burstable",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [_container_status(app, number)],
        },
    }


def _pod_spec(app: _App, node: str) -> Object:
    port = _TIERS[app.tier]
    container = {
        "name": "main",
        "image": f"registry.example/{app.name}:1.0.0",
        "imagePullPolicy": "IfNotPresent",
        "args": ["--verbose"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "PASSWORD", "value": "not-to-be-read"},
        ],
        "ports": [{"name": "main", "containerPort": port, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": port, "scheme": "HTTP"}, "periodSeconds": 10},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}],
    }
    return {
        "nodeName": node,
        "containers": [container],
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": True,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "volumes": [{"name": "config", "configMap": {"name": f"{app.name}-config", "defaultMode": 420}}],
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for key in ("not-ready", "unreachable")
        ],
    }


def _container_status(app: _App, number: int) -> Object:
    return {
        "name": "main",
        "image": f"registry.example/{app.name}:1.0.0",
        "imageID": f"registry.example/{app.name}@sha256:{number % 17:064x}",
        "containerID": f"containerd://{number:064x}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:03Z"}},
    }


def _service(app: _App) -> Object:
    ports = [{"name": "main", "port": _TIERS[app.tier], "targetPort": "main", "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app.name, "namespace": app.namespace, "labels": {"app": app.name}},
        "spec": {"selector": {"app": app.name}, "clusterIP": "None", "ports": ports},
    }


def _slice(app: _App, number: int) -> Object:
    address = str(ipaddress.ip_address("10.192.0.0") + number)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{app.name}-slice",
            "namespace": app.namespace,
            "labels": {"kubernetes.io/service-name": app.name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "main", "port": _TIERS[app.tier], "protocol": "TCP"}],
    }


def _policy(app: _App, other: _App, number: int) -> Object:
    port = {"protocol": "TCP", "port": ("main", _TIERS[app.tier])[number % 2]}
    peers: list[Object] = [
        {"podSelector": {"matchLabels": {"tier": other.tier}}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": other.namespace}},
            "podSelector": {"matchLabels": {"app": other.name}},
        },
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.224.0.0/16"]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}]}},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"policy-{number:05d}", "namespace": app.namespace},
        "spec": {
            "podSelector": {"matchLabels": {"app": app.name}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peers[number % len(peers)]], "ports": [port]}],
        },
    }
