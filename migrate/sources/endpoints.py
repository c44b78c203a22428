"""What stands behind Services, as EndpointSlices list it, and pods that ended: what a Cluster leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from migrate.model.addresses import Address, parse_address
from migrate.model.raw import Json, RawObject, as_list, as_map
from migrate.sources.cluster import FINISHED, SERVICE_NAME

BACKEND_KINDS = ("Service", "EndpointSlice")
"""The kinds that say what stands behind Services."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One address behind a Service, with the Service's ports there by name and protocol; None is any number."""

    namespace: str
    service: str
    address: Address
    ready: bool
    ports: tuple[tuple[str, str, int | None], ...]


def read_backends(objects: Iterable[RawObject]) -> tuple[Backend, ...]:
    """All addresses of all EndpointSlices that belong to a Service, in the order of the slices."""
    return tuple(backend for raw in objects if raw.ref.kind == "EndpointSlice" for backend in _of_slice(raw))


def finished_pods(objects: Iterable[RawObject]) -> frozenset[str]:
    """The pods that ended, as namespace/name: they have no traffic, and their addresses may be another pod's by now."""
    pods = (raw for raw in objects if raw.ref.kind == "Pod" and not raw.ref.group)
    ended = (raw.ref for raw in pods if as_map(raw.data.get("status")).get("phase") in FINISHED)
    return frozenset(f"{ref.namespace or 'default'}/{ref.name}" for ref in ended)


def _of_slice(raw: RawObject) -> Iterator[Backend]:
    service = as_map(as_map(raw.data.get("metadata")).get("labels")).get(SERVICE_NAME)
    if not isinstance(service, str) or raw.data.get("addressType") == "FQDN":
        return
    ports = tuple(_port(as_map(entry)) for entry in as_list(raw.data.get("ports")))
    for entry in as_list(raw.data.get("endpoints")):
        ready = as_map(as_map(entry).get("conditions")).get("ready") is not False
        for text in as_list(as_map(entry).get("addresses")):
            address = _address(text)
            if address is not None:
                yield Backend(raw.ref.namespace or "default", service, address, ready, ports)


def _port(entry: Mapping[str, Json]) -> tuple[str, str, int | None]:
    name, protocol, port = entry.get("name"), entry.get("protocol"), entry.get("port")
    return (
        name if isinstance(name, str) else "",
        protocol if isinstance(protocol, str) else "TCP",
        port if isinstance(port, int) else None,
    )


def _address(text: Json) -> Address | None:
    try:
        return parse_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
