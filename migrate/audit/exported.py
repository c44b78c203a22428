"""Recorded flows with their verdicts, as rows for other programs: JSON lines and Parquet have these columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from migrate.audit.layout import Direction, Kind, address_of
from migrate.audit.reading import FlowRow
from migrate.audit.replay import Line, Replay
from migrate.audit.resolver import CLOUD
from migrate.audit.times import rfc3339
from migrate.audit.world import Who
from migrate.model.audit_documents import AuditVerdict, Topic
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NAMES, End, EndKind

ExportedKind: TypeAlias = Literal["pod", "node", "service", "api_server", "cloud", "outside", "unknown"]
_KINDS: dict[int, Literal["new", "mid_stream", "icmp_error"]] = {
    Kind.NEW: "new",
    Kind.MID_STREAM: "mid_stream",
    Kind.ICMP_ERROR: "icmp_error",
}


class ExportedEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a record, as its address says. `labels` read "app=web"; `workload` reads "Deployment/web".

    "unknown": nobody or several are known to have had the address then.
    """

    address: str
    kind: ExportedKind
    namespace: str = ""
    name: str = ""
    workload: str = ""
    labels: tuple[str, ...] = ()
    node: str = ""


class ExportedFlow(msgspec.Struct, frozen=True, kw_only=True):
    """One record: what was seen at one veth within one hour, judged under one revision of the policies.

    `first` and `last` are RFC 3339 in UTC. `port` is the responder's; for ICMP it is 0, and type and code have columns
    of their own. `coarse` above 0: parts of the record were cut to save room. `future` is what Cilium says, also where
    `verdict` is about today; `judged` is the flow that decided, behind Services and translated addresses.
    """

    node: str
    interface: int
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
    events: int
    octets: int
    answered: int = 0
    refused: int = 0
    retransmitted: int = 0
    topic: Topic = ""
    verdict: AuditVerdict
    future: Literal["would_drop", "would_allow", "unknown"]
    side: Literal["", "egress", "ingress"] = ""
    decided_by: str = ""
    rule: str = ""
    at: str = ""
    reason: str = ""
    judged: str = ""


def exported(replay: Replay) -> Iterator[ExportedFlow]:
    """All records of a recording, in its order. Records of which only answers were seen are not flows."""
    ends = _Ends(replay)
    return (_flow(row, line, ends, replay.resolver.node_of(row[0])) for row, line in replay.rows())


def json_lines(flows: Iterable[ExportedFlow]) -> Iterator[bytes]:
    """One JSON object a line, with its line end."""
    encoder = msgspec.json.Encoder()
    return (encoder.encode(flow) + b"\n" for flow in flows)


class _Ends:
    """Who the ends of records are, made once for each."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._made: dict[tuple[bytes, End], ExportedEnd] = {}

    def own(self, row: FlowRow, data: bytes) -> ExportedEnd:
        """The end at the interface."""
        return self._of(data, self._replay.resolver.own(row[0], data, row[9], row[10]))

    def peer(self, row: FlowRow, data: bytes, line: Line) -> ExportedEnd:
        """The far end."""
        if line.asked.service and line.outgoing:
            namespace, _, name = line.asked.service.partition("/")
            return ExportedEnd(address=str(address_of(data)), kind="service", namespace=namespace, name=name)
        if row[4]:
            return ExportedEnd(address=str(address_of(data)), kind="unknown")
        return self._of(data, self._replay.world.who(data, row[9], row[10]))

    def _of(self, data: bytes, who: Who) -> ExportedEnd:
        if len(who.ends) != 1:
            return ExportedEnd(address=str(address_of(data)), kind="unknown")
        key = (data, who.ends[0])
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = _end(str(address_of(data)), who.ends[0])
        return found


def _end(address: str, end: End) -> ExportedEnd:
    pod = end.pod
    if pod is not None:
        return ExportedEnd(
            address=address,
            kind="pod",
            namespace=pod.namespace,
            name=pod.name,
            workload=pod.workload or "",
            labels=tuple(f"{key}={value}" for key, value in pod.labels.pairs),
            node=pod.node or "",
        )
    node = end.node_name or ""
    if end.api_server:
        return ExportedEnd(address=address, kind="api_server", node=node)
    if end.kind is EndKind.NODE:
        return ExportedEnd(address=address, kind="node", name=node, node=node)
    return ExportedEnd(address=address, kind="cloud" if end.address in CLOUD else "outside")


def _flow(row: FlowRow, line: Line, ends: _Ends, node: str) -> ExportedFlow:
    veth, _, direction, kind, coarse, source, destination, protocol, port, first, last = row[:11]
    outgoing = direction == Direction.FROM_POD
    icmp = protocol in (ICMP, ICMPV6)
    outcome = line.outcome
    return ExportedFlow(
        node=node,
        interface=veth,
        first=rfc3339(first),
        last=rfc3339(last),
        direction="egress" if outgoing else "ingress",
        kind=_KINDS[kind],
        coarse=coarse,
        protocol=PROTOCOL_NAMES.get(protocol, str(protocol)),
        protocol_number=protocol,
        port=0 if icmp else port,
        icmp_type=port >> 8 if icmp else None,
        icmp_code=port & 0xFF if icmp else None,
        source_port=row[16],
        source=ends.own(row, source) if outgoing else ends.peer(row, source, line),
        destination=ends.peer(row, destination, line) if outgoing else ends.own(row, destination),
        service=line.asked.service,
        events=row[11],
        octets=row[12],
        answered=row[13],
        refused=row[14],
        retransmitted=row[15],
        topic=line.asked.topic,
        verdict=line.verdict,
        future=outcome.future,
        side=outcome.side,
        decided_by=outcome.decided.object or "",
        rule=outcome.decided.rule or "",
        at=outcome.decided.at or "",
        reason=outcome.decided.reason or outcome.reason,
        judged="" if outcome.flow is None else str(outcome.flow),
    )
