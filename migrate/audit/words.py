"""Recorded values in the words of documents: moments, ends, packets, examples."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from migrate.audit.resolver import CLOUD
from migrate.model.audit_documents import AuditEnd
from migrate.model.documents import FlowExample
from migrate.model.flow import PROTOCOL_NAMES, End, EndKind, Flow, Packet

_SECOND = 1_000_000_000
_HOUR = 3600


def moment(nanoseconds: int) -> str:
    """RFC 3339 in UTC, whole seconds, from nanoseconds since 1970."""
    return datetime.fromtimestamp(nanoseconds // _SECOND, UTC).isoformat()[:19] + "Z"


@lru_cache(maxsize=1024)
def hour(number: int) -> str:
    """An hour by its number since 1970, such as 2026-11-21T10."""
    return datetime.fromtimestamp(number * _HOUR, UTC).isoformat()[:13]


def protocol(number: int) -> str:
    """TCP, UDP, ...; "protocol 47" for those without a name."""
    return PROTOCOL_NAMES.get(number, f"protocol {number}")


def audit_end(end: End | None) -> AuditEnd:
    """An end by its workload, node, or place outside."""
    if end is None:
        return AuditEnd(kind="unknown")
    if end.pod is not None:
        return AuditEnd(kind="pod", namespace=end.pod.namespace, name=end.pod.workload or end.pod.name)
    if end.api_server:
        return AuditEnd(kind="api_server", name=end.node_name or "", place="the API server")
    if end.kind is EndKind.NODE:
        return AuditEnd(kind="node", name=end.node_name or "")
    if end.address in CLOUD:
        return AuditEnd(kind="cloud", place=f"{end.address}, {CLOUD[end.address]}")
    return AuditEnd(kind="outside", place="outside the cluster")


def example(source: End | None, destination: End | None, packet: Packet) -> FlowExample:
    """One concrete flow."""
    return FlowExample(
        source=_name(source),
        source_address="" if source is None else str(source.address),
        destination=_name(destination),
        destination_address="" if destination is None else str(destination.address),
        protocol=protocol(packet.protocol),
        port=packet.port,
        source_port=packet.source_port,
        icmp_code=packet.code,
    )


def of_flow(flow: Flow) -> FlowExample:
    """A flow as it arrives."""
    return example(flow.source, flow.destination, arriving(flow))


def arriving(flow: Flow) -> Packet:
    """The packet behind the Service that a flow goes through."""
    packet = flow.packet
    return packet if flow.via is None else Packet(packet.protocol, flow.via.targets[0].port, packet.source_port)


def _name(end: End | None) -> str:
    if end is None:
        return "unknown"
    if end.pod is not None:
        return f"pod {end.pod}"
    return f"node {end.node_name}" if end.kind is EndKind.NODE else f"outside {end.address}"
