"""A recorded flow with its verdict, as one row for other programs: JSON lines and Parquet have these columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

EndKind: TypeAlias = Literal["pod", "node", "service", "api-server", "cloud-metadata", "outside", "unknown"]
Verdict: TypeAlias = Literal["would_drop", "would_allow", "unknown"]


class ExportedEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a flow after service translation. `labels` read "app=web"; `workload` reads "Deployment/web"."""

    address: str
    kind: EndKind
    namespace: str = ""
    name: str = ""
    workload: str = ""
    labels: tuple[str, ...] = ()
    node: str = ""


class ExportedFlow(msgspec.Struct, frozen=True, kw_only=True):
    """One record of one hour, seen at one veth, judged under one revision of the policies.

    `first` and `last` are RFC 3339 in UTC. `port` is the destination's after service translation; for ICMP it is 0
    and the type and code are in their own columns. `coarse` above 0: parts of the record were cut to save room.
    """

    node: str
    first: str
    last: str
    direction: Literal["egress", "ingress"]
    kind: Literal["new", "mid_stream", "icmp_error"] = "new"
    coarse: int = 0
    protocol: str
    protocol_number: int
    port: int = 0
    icmp_type: int | None = None
    icmp_code: int | None = None
    source_port: int = 0
    source: ExportedEnd
    destination: ExportedEnd
    service: str = ""
    service_address: str = ""
    service_port: int | None = None
    events: int
    octets: int
    answered: int = 0
    refused: int = 0
    retransmitted: int = 0
    result: str = ""
    verdict: Verdict
    denied_today: bool = False
    ambiguous: bool = False
    side: Literal["egress", "ingress", ""] = ""
    decided_by: str = ""
    rule: str = ""
    at: str = ""
    reason: str = ""


def json_lines(flows: Iterable[ExportedFlow]) -> Iterator[bytes]:
    """One JSON object a line, with its line end."""
    encoder = msgspec.json.Encoder()
    return (encoder.encode(flow) + b"\n" for flow in flows)
