"""One concrete flow as documents show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from migrate.model.cluster import Pod
from migrate.model.documents import FlowExample
from migrate.model.flow import PROTOCOL_NAMES, End, EndKind, Flow

Traits: TypeAlias = Callable[[Pod], tuple[str, ...]]
"""What to say of a pod beside its name."""


def no_traits(pod: Pod) -> tuple[str, ...]:
    """Nothing."""
    return ()


def example(flow: Flow, traits: Traits = no_traits) -> FlowExample:
    """The flow with the names of its ends."""
    packet = flow.packet
    return FlowExample(
        source=_end(flow.source),
        source_address=str(flow.source.address),
        destination=_end(flow.destination),
        destination_address=str(flow.destination.address),
        protocol=PROTOCOL_NAMES.get(packet.protocol, str(packet.protocol)),
        port=packet.port,
        source_port=packet.source_port,
        icmp_code=packet.code,
        source_traits=() if flow.source.pod is None else traits(flow.source.pod),
        destination_traits=() if flow.destination.pod is None else traits(flow.destination.pod),
    )


def _end(end: End) -> str:
    if end.kind is EndKind.POD:
        return f"pod {end.pod}"
    return f"node {end.node_name}" if end.kind is EndKind.NODE else f"outside {end.address}"
