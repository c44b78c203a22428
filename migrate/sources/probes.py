"""The ports that the kubelet asks whether pods are alive, ready or started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migrate.model.raw import Json, RawObject, as_map

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_ACTIONS = ("httpGet", "tcpSocket", "grpc")


def probe_ports(objects: Iterable[RawObject]) -> dict[str, frozenset[int]]:
    """For each pod (namespace/name) the TCP ports of its probes; those that run a command have none."""
    pods = (raw for raw in objects if raw.ref.kind == "Pod" and not raw.ref.group)
    return {f"{raw.ref.namespace or 'default'}/{raw.ref.name}": frozenset(_of_pod(raw)) for raw in pods}


def _of_pod(raw: RawObject) -> Iterator[int]:
    spec = as_map(raw.data.get("spec"))
    for container in (*_maps(spec.get("containers")), *_maps(spec.get("initContainers"))):
        names = {entry.get("name"): entry.get("containerPort") for entry in _maps(container.get("ports"))}
        for probe in _PROBES:
            for action in _ACTIONS:
                port = as_map(as_map(container.get(probe)).get(action)).get("port")
                number = names.get(port) if isinstance(port, str) and not port.isdecimal() else port
                if isinstance(number, int | str) and str(number).isdecimal():
                    yield int(number)


def _maps(value: Json) -> Iterator[Mapping[str, Json]]:
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else iter(())
