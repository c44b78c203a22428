"""Made-up clusters as folders of YAML, in the block style of `kubectl get -o yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, Namespace, Node, Pod
from migrate.model.raw import Json, RawObject

_OBJECTS_PER_FILE = 1_000


def write_cluster(cluster: Cluster, folder: Path) -> None:
    """The namespaces, nodes and pods."""
    found = (*map(_namespace, cluster.namespaces), *map(_node, cluster.nodes), *map(_pod, cluster.pods))
    _write(found, folder, "cluster")


def write_policies(policies: Sequence[RawObject], folder: Path) -> None:
    """The policies as they are."""
    _write([policy.data for policy in policies], folder, "policies")


def _write(objects: Sequence[dict[str, Json]], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(objects), _OBJECTS_PER_FILE):
        with (folder / f"{name}-{start // _OBJECTS_PER_FILE:03}.yaml").open("w") as stream:
            for found in objects[start : start + _OBJECTS_PER_FILE]:
                stream.write("---\n" + "\n".join(_lines(found, "")) + "\n")


def _lines(value: Json, indent: str) -> Iterator[str]:
    """A mapping or list that is not empty; lists stand in the column of their key."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if entry and isinstance(entry, dict | list):
                yield f"{indent}{key}:"
                yield from _lines(entry, indent + ("  " if isinstance(entry, dict) else ""))
            else:
                yield f"{indent}{key}: {_scalar(entry)}"
    elif isinstance(value, list):
        for entry in value:
            first, *rest = _lines(entry, indent + "  ") if isinstance(entry, dict) else [indent + "  " + _scalar(entry)]
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest


def _scalar(value: Json) -> str:
    """JSON is YAML."""
    return msgspec.json.encode(value).decode()


def _object(kind: str, namespace: str | None, name: str, labels: Iterable[tuple[str, str]]) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name, "labels": dict(labels)}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def _namespace(namespace: Namespace) -> dict[str, Json]:
    return _object("Namespace", None, namespace.name, namespace.labels.pairs)


def _node(node: Node) -> dict[str, Json]:
    addresses: Json = [{"type": "InternalIP", "address": str(address)} for address in node.addresses]
    return {**_object("Node", None, node.name, node.labels.pairs), "status": {"addresses": addresses}}


def _pod(pod: Pod) -> dict[str, Json]:
    ports: Json = [{"name": p.name, "containerPort": p.port, "protocol": p.protocol} for p in pod.named_ports]
    containers: Json = [{"name": "main", "image": "example.test/app:1", "ports": ports}]
    return {
        **_object("Pod", pod.namespace, pod.name, pod.labels.pairs),
        "spec": {"nodeName": pod.node, "containers": containers},
        "status": {"phase": "Running", "podIP": str(pod.addresses[0]), "podIPs": _ips(pod.addresses)},
    }


def _ips(addresses: Iterable[Address]) -> Json:
    return [{"ip": str(address)} for address in addresses]
