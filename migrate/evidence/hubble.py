"""Flows of Hubble: `hubble observe -o jsonpb` (or json), files of its exporter, Retina's and those of AKS's ACNS.

One JSON object a line: a GetFlowsResponse or ExportEvent with a flow in it, or the flow alone. Field names and numbers
are those of Cilium's api/v1/flow/flow.proto and observer.proto (1.20), which Retina uses too. Go's plain JSON of the
same messages, which the first versions printed, has numbers for names and {"value": true} for true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Literal

import msgspec

from migrate.evidence.numbered import numbered
from migrate.evidence.seen import SeenFlow, SeenPod, Unread, Verdict
from migrate.evidence.values import address, brief, octet, port, rfc3339, since_1970, whole
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP

ORIGIN: Final = "hubble"

_IGMP, _VRRP = 2, 112
_VERDICT_NAMES = (
    "VERDICT_UNKNOWN",
    "FORWARDED",
    "DROPPED",
    "ERROR",
    "AUDIT",
    "REDIRECTED",
    "TRACED",
    "TRANSLATED",
)
"""By their numbers."""
_VERDICTS: dict[str, Verdict] = {
    "": "unknown",
    "VERDICT_UNKNOWN": "unknown",
    "FORWARDED": "forwarded",
    "DROPPED": "dropped",
    "ERROR": "error",
    "AUDIT": "audit",
    "REDIRECTED": "forwarded",
    "TRACED": "unknown",
    "TRANSLATED": "unknown",
}
_POLICY_DROPS = {133: "POLICY_DENIED", 181: "POLICY_DENY", 189: "AUTH_REQUIRED"}
"""Drop reasons that are a policy's. Other numbers keep their number."""
_TRACE, _SOCKET = 4, 7
"""Types of events: a packet at a point of the datapath, and a socket's call, whose packets are told of again."""
_RECEIVED = frozenset((5, 6, 7, 8, 9, 10, 12))
"""Points at which a packet comes in. Hubble calls it FORWARDED there, before any policy was asked."""
_DERIVED_LABELS = ("io.kubernetes.pod.namespace", "io.cilium.", "io_cilium_")
_CAMEL_KEY = re.compile(rb'"([a-z]+(?:[A-Z][a-z]*)+)"\s*:')
_CAMEL_MARKS = (
    b'"nodeName"',
    b'"podName"',
    b'"trafficDirection"',
    b'"destinationPort"',
    b'"lostEvents"',
    b'"nodeStatus"',
)
_KEPT_KEYS = frozenset((b"ipVersion",))


class _Wrapped(msgspec.Struct):
    value: bool = False


class _Time(msgspec.Struct):
    seconds: int | str = 0
    nanos: int = 0


class _Workload(msgspec.Struct):
    name: str | None = None
    kind: str | None = None


class _Endpoint(msgspec.Struct):
    namespace: str | None = None
    pod_name: str | None = None
    labels: list[str] | None = None
    workloads: list[_Workload] | None = None


class _Ip(msgspec.Struct):
    source: str | None = None
    destination: str | None = None


class _Flags(msgspec.Struct):
    SYN: bool = False
    ACK: bool = False


class _Ports(msgspec.Struct):
    source_port: int = 0
    destination_port: int = 0
    flags: _Flags | None = None


class _Icmp(msgspec.Struct):
    type: int = 0
    code: int = 0


class _Other(msgspec.Struct):
    pass


class _Layer4(msgspec.Struct):
    TCP: _Ports | None = None
    UDP: _Ports | None = None
    SCTP: _Ports | None = None
    ICMPv4: _Icmp | None = None
    ICMPv6: _Icmp | None = None
    IGMP: _Other | None = None
    VRRP: _Other | None = None
    Protocol: _Layer4 | None = None
    """Go's plain JSON has one level more."""


class _Event(msgspec.Struct):
    type: int = 0
    sub_type: int = 0


class _Policy(msgspec.Struct):
    name: str | None = None
    namespace: str | None = None
    kind: str | None = None


class _Aggregate(msgspec.Struct):
    ingress_flow_count: int | str = 0
    egress_flow_count: int | str = 0
    unknown_direction_flow_count: int | str = 0


class _Flow(msgspec.Struct):
    time: str | _Time | None = None
    verdict: str | int | None = None
    drop_reason: int | None = None
    drop_reason_desc: str | int | None = None
    IP: _Ip | None = None
    l4: _Layer4 | None = None
    source: _Endpoint | None = None
    destination: _Endpoint | None = None
    node_name: str | None = None
    traffic_direction: str | int | None = None
    event_type: _Event | None = None
    trace_observation_point: str | int | None = None
    is_reply: bool | _Wrapped | None = None
    reply: bool | None = None
    egress_allowed_by: list[_Policy] | None = None
    ingress_allowed_by: list[_Policy] | None = None
    egress_denied_by: list[_Policy] | None = None
    ingress_denied_by: list[_Policy] | None = None
    aggregate: _Aggregate | None = None
    flow_count: int | str | None = None


class _Lost(msgspec.Struct):
    source: str | int | None = None
    num_events_lost: int | str = 0


class _NodeStatus(msgspec.Struct):
    state_change: str | int | None = None
    node_names: list[str] | None = None
    message: str | None = None


class _Line(_Flow):
    """A flow alone, or what one of the other fields has."""

    flow: _Flow | None = None
    lost_events: _Lost | None = None
    node_status: _NodeStatus | None = None
    agent_event: _Other | None = None
    debug_event: _Other | None = None


_DECODE = msgspec.json.Decoder(_Line).decode


def read(lines: Iterable[bytes], name: str) -> Iterator[SeenFlow | Unread]:
    """The flows of a file, in its order; `name` is what places in it are called by."""
    for line in numbered(lines, name):
        if isinstance(line, Unread):
            yield line
            continue
        at_line, text, _ = line
        try:
            yield _read_line(at_line, text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Unread(at_line, "unreadable", "not a flow of Hubble", brief(str(error)))
        except RecursionError:
            yield Unread(at_line, "unreadable", "not a flow of Hubble", "nested too deep")
        except ValueError as error:
            yield Unread(at_line, "unreadable", "a flow with a value that cannot be", str(error))


def _read_line(at_line: str, text: bytes) -> SeenFlow | Unread:
    if any(mark in text for mark in _CAMEL_MARKS):
        text = _CAMEL_KEY.sub(_snake, text)
    line = _DECODE(text)
    if line.lost_events is not None:
        lost = line.lost_events
        times = max(1, whole(lost.num_events_lost))
        return Unread(at_line, "lost", "events that Hubble lost", str(lost.source or ""), times)
    if line.node_status is not None:
        return _status(at_line, line.node_status)
    if line.agent_event is not None or line.debug_event is not None:
        return Unread(at_line, "no_flow", "an event of the agent")
    flow = line.flow or line
    if flow.verdict is None and flow.IP is None and flow.source is None and flow.destination is None:
        return Unread(at_line, "unreadable", "not a flow of Hubble", "an object without any field of a flow")
    return _seen(at_line, flow, line)


def _snake(key: re.Match[bytes]) -> bytes:
    """A name of Protobuf's JSON as it stands in the message."""
    if key[1] in _KEPT_KEYS:
        return key[0]
    return b'"' + re.sub(rb"[A-Z]", lambda letter: b"_" + letter[0].lower(), key[1]) + b'":'


def _status(at_line: str, status: _NodeStatus) -> Unread:
    """State changes of relay.proto: 1 connected, 2 unavailable, 3 gone, 4 error."""
    state = str(status.state_change or "")
    names = ", ".join(status.node_names or ())
    if state in ("1", "NODE_CONNECTED"):
        return Unread(at_line, "no_flow", "a node that Hubble Relay reached", brief(names))
    return Unread(at_line, "lost", "a node that Hubble Relay did not hear", brief(f"{names} {status.message or ''}"))


def _seen(at_line: str, flow: _Flow, line: _Line) -> SeenFlow | Unread:
    """Time and node of the line stand for those that the flow does not tell. A node may read "cluster/node"."""
    event = flow.event_type or _Event()
    if event.type == _SOCKET:
        return Unread(at_line, "no_flow", "a call of a socket, whose packets are told of apart")
    ip = flow.IP or _Ip()
    ends = address(ip.source or ""), address(ip.destination or "")
    pods = _pod(flow.source), _pod(flow.destination)
    for end, pod in zip(ends, pods, strict=True):
        if end is None and pod is None:
            return Unread(at_line, "no_flow", "neither an address nor a pod is told of one end")
    transport = _transport(flow.l4)
    if transport is None:
        return Unread(at_line, "no_flow", "no protocol is told")
    protocol, source_port, destination_port, icmp, flags = transport
    is_reply = _is_reply(flow, flags)
    if is_reply:
        source_port, destination_port = destination_port, source_port
    verdict = _verdict(flow.verdict)
    if verdict == "forwarded" and _is_received(flow.trace_observation_point, event):
        verdict = "unknown"
    return SeenFlow(
        origin=ORIGIN,
        at_line=at_line,
        at=_time(flow.time) or _time(line.time),
        verdict=verdict,
        node=(flow.node_name or line.node_name or "").rpartition("/")[2],
        source=ends[0],
        destination=ends[1],
        protocol=protocol,
        port=destination_port,
        source_port=source_port,
        icmp=icmp,
        direction=_direction(flow.traffic_direction),
        is_reply=is_reply,
        source_pod=pods[0],
        destination_pod=pods[1],
        dropped_by=_dropped_by(flow) if verdict == "dropped" else "",
        policies=tuple(_policies(flow)),
        times=_times(flow),
    )


def _is_received(point: str | int | None, event: _Event) -> bool:
    """Whether a packet was seen as it came in. Names of points and their numbers are TraceObservationPoint's."""
    if isinstance(point, str) and point:
        return point.startswith("FROM_")
    return point in _RECEIVED or (not point and event.type == _TRACE and event.sub_type in _RECEIVED)


def _verdict(told: str | int | None) -> Verdict:
    if isinstance(told, int):
        if not 0 <= told < len(_VERDICT_NAMES):
            raise ValueError(f"no verdict of Hubble: {told}")
        told = _VERDICT_NAMES[told]
    verdict = _VERDICTS.get(told or "")
    if verdict is None:
        raise ValueError(f"no verdict of Hubble: {brief(told or '')}")
    return verdict


def _transport(layer: _Layer4 | None) -> tuple[int, int, int, tuple[int, int] | None, _Flags | None] | None:
    """Protocol, source and destination port, type and code of ICMP, flags of TCP."""
    if layer is None:
        return None
    if layer.Protocol is not None:
        layer = layer.Protocol
    for protocol, ports in ((TCP, layer.TCP), (UDP, layer.UDP), (SCTP, layer.SCTP)):
        if ports is not None:
            return protocol, port(ports.source_port), port(ports.destination_port), None, ports.flags
    for protocol, icmp in ((ICMP, layer.ICMPv4), (ICMPV6, layer.ICMPv6)):
        if icmp is not None:
            return protocol, 0, 0, (octet(icmp.type), octet(icmp.code)), None
    for protocol, other in ((_IGMP, layer.IGMP), (_VRRP, layer.VRRP)):
        if other is not None:
            return protocol, 0, 0, None, None
    return None


def _is_reply(flow: _Flow, flags: _Flags | None) -> bool | None:
    """Where Hubble does not know, a SYN does: alone it opens a connection, with an ACK it answers one."""
    if isinstance(flow.is_reply, _Wrapped):
        return flow.is_reply.value
    if flow.is_reply is not None:
        return flow.is_reply
    if flow.reply:
        return True
    return flags.ACK if flags is not None and flags.SYN else None


def _direction(told: str | int | None) -> Literal["egress", "ingress", ""]:
    if told in (1, "INGRESS"):
        return "ingress"
    return "egress" if told in (2, "EGRESS") else ""


def _time(told: str | _Time | None) -> int:
    """Nanoseconds since 1970; 0 where nothing is told."""
    if not told:
        return 0
    if isinstance(told, _Time):
        return since_1970(whole(told.seconds), told.nanos)
    return rfc3339(told)


def _pod(end: _Endpoint | None) -> SeenPod | None:
    """None of what is no pod, as the node itself or the world."""
    if end is None or not end.namespace:
        return None
    works = [work for work in end.workloads or () if work.name]
    workload = f"{works[0].kind or ''}/{works[0].name}" if works else ""
    if not (end.pod_name or workload):
        return None
    return SeenPod(end.namespace, end.pod_name or "", _labels(tuple(end.labels or ())), workload)


@lru_cache(1 << 12)
def _labels(told: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The pod's own of what reads "k8s:app=web"; others are Cilium's, as those of its namespace."""
    own = (text.removeprefix("k8s:") for text in told if text.startswith("k8s:"))
    pairs = (text.partition("=") for text in own if not text.startswith(_DERIVED_LABELS))
    return tuple(sorted((key, value) for key, _, value in pairs))


def _dropped_by(flow: _Flow) -> str:
    """The name of the reason; its number where only that is told and it is no policy's."""
    for reason in (flow.drop_reason_desc, flow.drop_reason):
        if reason:
            return _POLICY_DROPS.get(reason, str(reason)) if isinstance(reason, int) else reason
    return ""


def _policies(flow: _Flow) -> Iterator[str]:
    lists = (flow.egress_denied_by, flow.ingress_denied_by, flow.egress_allowed_by, flow.ingress_allowed_by)
    for policy in (policy for policies in lists for policy in policies or ()):
        yield f"{policy.kind or ''}/{policy.namespace or ''}/{policy.name or ''}"


def _times(flow: _Flow) -> int:
    """How many flows an aggregate of an exporter stands for."""
    if flow.aggregate is not None:
        both = flow.aggregate
        counts = (both.ingress_flow_count, both.egress_flow_count, both.unknown_direction_flow_count)
        return max(1, sum(whole(count) for count in counts))
    return max(1, whole(flow.flow_count)) if flow.flow_count is not None else 1
