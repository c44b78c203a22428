"""Flows → printed as another program prints them, by hand → read again: the same flows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from migrate.evidence import calico_flow_logs, calico_log, cilium_monitor, hubble
from migrate.evidence.formats import FORMATS
from migrate.evidence.seen import SeenFlow, SeenPod, Unread, Verdict
from migrate.evidence.source_file import split_lines
from migrate.model.addresses import Address
from migrate.model.raw import Json

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).filter(
    lambda text: text.strip("-") == text
)
_PODS = st.none() | st.tuples(_NAMES, _NAMES).map(lambda names: SeenPod(*names, (("app", "x=y"),)))
_PORTS = st.integers(1, 0xFFFF)
_V4: st.SearchStrategy[Address] = st.integers(1, 2**32 - 1).map(IPv4Address)
_V6: st.SearchStrategy[Address] = st.integers(2**64, 2**120).map(IPv6Address)
_VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(("forwarded", "dropped", "audit", "unknown"))
_WAYS: st.SearchStrategy[Literal["egress", "ingress", ""]] = st.sampled_from(("egress", "ingress", ""))
_HUBBLE = {"forwarded": "FORWARDED", "dropped": "DROPPED", "audit": "AUDIT", "unknown": "VERDICT_UNKNOWN"}
_NUMBERS = {6: "TCP", 17: "UDP", 132: "SCTP"}


@st.composite
def flows(draw: st.DrawFn) -> SeenFlow:
    """A flow with everything that a program may tell."""
    addresses = draw(st.sampled_from((_V4, _V6)))
    protocol = draw(st.sampled_from((6, 17, 132, 1)))
    if protocol == 1:
        protocol = 1 if addresses is _V4 else 58
    is_icmp = protocol in (1, 58)
    verdict = draw(_VERDICTS)
    return SeenFlow(
        origin="hubble",
        at_line="log:1",
        at=draw(st.integers(1_600_000_000 * 10**9, 1_900_000_000 * 10**9)),
        verdict=verdict,
        node=draw(_NAMES),
        source=draw(addresses),
        destination=draw(addresses),
        protocol=protocol,
        port=0 if is_icmp else draw(_PORTS),
        source_port=0 if is_icmp else draw(_PORTS),
        icmp=(draw(st.integers(0, 255)), draw(st.integers(0, 255))) if is_icmp else None,
        direction=draw(_WAYS),
        is_reply=draw(st.booleans()),
        source_pod=draw(_PODS),
        destination_pod=draw(_PODS),
        dropped_by="POLICY_DENIED" if verdict == "dropped" else "",
        times=draw(st.integers(1, 10**6)),
    )


def stamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def sides(flow: SeenFlow) -> tuple[int, int]:
    """Source and destination port of the packet."""
    return (flow.port, flow.source_port) if flow.is_reply else (flow.source_port, flow.port)


def as_hubble(flow: SeenFlow) -> str:
    """As `hubble observe -o jsonpb` prints it."""
    source_port, port = sides(flow)
    if flow.icmp is not None:
        name = "ICMPv4" if flow.protocol == 1 else "ICMPv6"
        layer: Json = {name: {"type": flow.icmp[0], "code": flow.icmp[1]}}
    else:
        layer = {_NUMBERS[flow.protocol]: {"source_port": source_port, "destination_port": port}}
    told: dict[str, Json] = {
        "time": stamp(flow.at),
        "verdict": _HUBBLE[flow.verdict],
        "IP": {"source": str(flow.source), "destination": str(flow.destination)},
        "l4": layer,
        "node_name": flow.node,
        "is_reply": flow.is_reply,
        "flow_count": str(flow.times),
    }
    if flow.direction:
        told["traffic_direction"] = flow.direction.upper()
    if flow.dropped_by:
        told["drop_reason_desc"] = flow.dropped_by
    for side, pod in (("source", flow.source_pod), ("destination", flow.destination_pod)):
        if pod is not None:
            labels: list[Json] = [f"k8s:{key}={value}" for key, value in pod.labels]
            told[side] = {"namespace": pod.namespace, "pod_name": pod.name, "labels": labels}
    return json.dumps({"flow": told, "node_name": flow.node})


@given(flows())
def test_flows_of_hubble(flow: SeenFlow) -> None:
    assert list(hubble.read([as_hubble(flow).encode()], "log")) == [flow]


@given(flows().filter(lambda flow: flow.direction != ""))
def test_flow_logs_of_calico(flow: SeenFlow) -> None:
    """They have seconds, two verdicts, connections alone and no ICMP types."""
    action = "deny" if flow.verdict == "dropped" else "allow"
    told: dict[str, Json] = {
        "start_time": flow.at // 10**9,
        "source_ip": str(flow.source),
        "source_port": flow.source_port,
        "dest_ip": str(flow.destination),
        "dest_port": flow.port,
        "proto": str(flow.protocol),
        "action": action,
        "reporter": "src" if flow.direction == "egress" else "dst",
        "num_flows_started": flow.times,
        "host": flow.node,
    }
    for side, pod in (("source", flow.source_pod), ("dest", flow.destination_pod)):
        told |= {f"{side}_name": "-", f"{side}_namespace": "-"}
        if pod is not None:
            labels: list[Json] = [f"{key}={value}" for key, value in pod.labels]
            told |= {f"{side}_name": pod.name, f"{side}_namespace": pod.namespace, f"{side}_labels": {"labels": labels}}
    expected = flow._replace(
        origin="calico-flow-logs",
        at=flow.at // 10**9 * 10**9,
        verdict="dropped" if action == "deny" else "forwarded",
        icmp=None,
        is_reply=False,
        dropped_by="policy" if action == "deny" else "",
    )
    assert list(calico_flow_logs.read([json.dumps(told).encode()], "log")) == [expected]


@given(flows())
def test_packets_of_the_kernels_log(flow: SeenFlow) -> None:
    """They have neither verdicts nor pods; of TCP the flags tell what an answer is."""
    source_port, port = sides(flow)
    names = {6: "TCP", 17: "UDP", 132: "SCTP", 1: "ICMP", 58: "ICMPv6"}
    what = (
        f"SPT={source_port} DPT={port} LEN=9" if flow.icmp is None else f"TYPE={flow.icmp[0]} CODE={flow.icmp[1]} ID=7"
    )
    is_reply = bool(flow.is_reply) and flow.protocol == 6
    flags = (" SYN ACK" if is_reply else " SYN") if flow.protocol == 6 else ""
    leaves = (flow.direction == "egress") != is_reply
    way = "IN= OUT=" if not flow.direction else "IN=cali1 OUT=eth0" if leaves else "IN=eth0 OUT=cali1"
    line = (
        f"{stamp(flow.at)} {flow.node} kernel: calico-packet: {way} SRC={flow.source} DST={flow.destination} "
        f"PROTO={names[flow.protocol]} {what}{flags} URGP=0\n"
    )
    ports = (port, source_port) if not is_reply else (source_port, port)
    expected = flow._replace(
        origin="calico-log",
        verdict="unknown",
        is_reply=is_reply,
        port=ports[0],
        source_port=ports[1],
        source_pod=None,
        destination_pod=None,
        dropped_by="",
        times=1,
    )
    assert list(calico_log.read([line.encode()], "log")) == [expected]


@given(flows().filter(lambda flow: flow.icmp is None and flow.direction != "" and flow.verdict != "unknown"))
def test_policy_verdicts_of_cilium_monitor(flow: SeenFlow) -> None:
    """They are of what is new, and have neither times nor pods."""
    action = {"forwarded": "allow", "dropped": "deny", "audit": "audit"}[flow.verdict]
    opened, closed = ("[", "]") if isinstance(flow.source, IPv6Address) else ("", "")
    line = (
        f"Policy verdict log: flow 0x1 local EP ID 1, remote ID 2, proto {flow.protocol}, {flow.direction}, "
        f"action {action}, auth: disabled, match none, {opened}{flow.source}{closed}:{flow.source_port} -> "
        f"{opened}{flow.destination}{closed}:{flow.port} {_NUMBERS[flow.protocol].lower()}"
        f"{' SYN' if flow.protocol == 6 else ''}\n"
    )
    expected = flow._replace(
        origin="cilium-monitor",
        at=0,
        node="",
        is_reply=False,
        source_pod=None,
        destination_pod=None,
        dropped_by="policy" if action == "deny" else "",
        times=1,
    )
    assert list(cilium_monitor.read([line.encode()], "log")) == [expected]


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from(FORMATS))
def test_no_reader_fails_on_any_bytes(pieces: list[bytes], form: object) -> None:
    for one in FORMATS:
        if one is form:
            for seen in one.read(split_lines(pieces), "log"):
                assert isinstance(seen, Unread)


@given(flows(), st.data())
def test_a_flow_that_is_cut_anywhere_is_never_another_flow(flow: SeenFlow, data: st.DataObject) -> None:
    body = as_hubble(flow).encode()
    cut = body[: data.draw(st.integers(1, len(body) - 1))]
    assert all(isinstance(seen, Unread) for seen in hubble.read([cut], "log"))
