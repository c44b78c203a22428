"""Flows of Hubble as evidence. Shapes are those of Cilium's flow.proto and observer.proto, written by hand."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.evidence.hubble import read
from migrate.evidence.numbered import LONGEST_LINE
from migrate.evidence.seen import SeenFlow, SeenPod, Unread
from migrate.model.raw import Json

SAMPLES = Path(__file__).parent.parent / "cases" / "evidence"
AT = 1_795_166_411_402_113_934
FLOW: dict[str, Json] = {
    "time": "2026-11-20T09:20:11.402113934Z",
    "verdict": "FORWARDED",
    "IP": {"source": "10.244.1.10", "destination": "10.244.1.11", "ipVersion": "IPv4"},
    "l4": {"TCP": {"source_port": 48122, "destination_port": 5432, "flags": {"SYN": True}}},
    "source": {"namespace": "demo", "pod_name": "web-0", "labels": ["k8s:app=web"]},
    "destination": {"identity": 2, "labels": ["reserved:world"]},
    "node_name": "node-1",
    "traffic_direction": "EGRESS",
    "event_type": {"type": 5},
    "is_reply": False,
}


def read_text(text: str | bytes) -> list[SeenFlow | Unread]:
    """What a file with this text gives."""
    body = text.encode() if isinstance(text, str) else text
    return list(read(body.splitlines(keepends=True), "flows.jsonl"))


def seen(**changed: Json) -> SeenFlow:
    """The flow above with other fields; None takes one away."""
    flow = {key: value for key, value in (FLOW | changed).items() if value is not None}
    (found,) = read_text(json.dumps({"flow": flow, "node_name": "node-2", "time": "2026-11-20T10:00:00Z"}))
    assert isinstance(found, SeenFlow), found
    return found


def unread(text: str | bytes) -> Unread:
    """Why a file of one line gives no flow."""
    (found,) = read_text(text)
    assert isinstance(found, Unread), found
    return found


def test_a_flow_has_all_that_the_line_tells() -> None:
    assert seen() == SeenFlow(
        origin="hubble",
        at_line="flows.jsonl:1",
        at=AT,
        verdict="forwarded",
        node="node-1",
        source=ip_address("10.244.1.10"),
        destination=ip_address("10.244.1.11"),
        protocol=6,
        port=5432,
        source_port=48122,
        direction="egress",
        is_reply=False,
        source_pod=SeenPod("demo", "web-0", (("app", "web"),)),
    )


def test_samples_of_azure() -> None:
    dropped, audit = read_text((SAMPLES / "hubble-flows.jsonl").read_bytes())
    assert isinstance(dropped, SeenFlow)
    assert isinstance(audit, SeenFlow)
    assert (dropped.verdict, dropped.dropped_by, dropped.port) == ("dropped", "POLICY_DENIED", 5432)
    assert (audit.verdict, audit.port, audit.destination_pod) == ("audit", 10250, None)
    (stored,) = read_text((SAMPLES / "acns-events-aggregated.jsonl").read_bytes())
    assert isinstance(stored, SeenFlow)
    assert (stored.source, stored.destination, stored.times) == (None, None, 4)
    assert stored.source_pod == SeenPod("demo", "", (), "Deployment/frontend")


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        pytest.param("FORWARDED", "forwarded", id="a name"),
        pytest.param(1, "forwarded", id="a number"),
        pytest.param("DROPPED", "dropped", id="dropped"),
        pytest.param(2, "dropped", id="dropped, a number"),
        pytest.param(3, "error", id="an error"),
        pytest.param("AUDIT", "audit", id="audit mode"),
        pytest.param(4, "audit", id="audit mode, a number"),
        pytest.param("REDIRECTED", "forwarded", id="given to the proxy"),
        pytest.param("TRACED", "unknown", id="no verdict was reached"),
        pytest.param(7, "unknown", id="a translation alone"),
        pytest.param(None, "unknown", id="Protobuf leaves out the zero"),
    ],
)
def test_verdicts(told: Json, verdict: str) -> None:
    assert seen(verdict=told).verdict == verdict


def test_a_packet_that_comes_in_was_not_judged_yet() -> None:
    assert seen(event_type={"type": 4, "sub_type": 5}).verdict == "unknown"
    assert seen(event_type={"type": 4}).verdict == "forwarded"
    assert seen(event_type={"type": 4, "sub_type": 3}).verdict == "forwarded"
    assert seen(event_type=None, trace_observation_point="FROM_NETWORK").verdict == "unknown"
    assert seen(event_type=None, trace_observation_point="TO_ENDPOINT").verdict == "forwarded"
    assert seen(event_type=None, trace_observation_point=101).verdict == "forwarded"
    assert seen(event_type=None, trace_observation_point=5).verdict == "unknown"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"drop_reason": 133, "drop_reason_desc": "POLICY_DENIED"}, "POLICY_DENIED", id="both"),
        pytest.param({"drop_reason": 181}, "POLICY_DENY", id="a policy's number"),
        pytest.param({"drop_reason_desc": 133}, "POLICY_DENIED", id="a name as a number"),
        pytest.param({"drop_reason": 169}, "169", id="another number"),
        pytest.param({}, "", id="none"),
    ],
)
def test_reasons_of_drops(fields: dict[str, Json], reason: str) -> None:
    assert seen(verdict="DROPPED", **fields).dropped_by == reason
    assert seen(**fields).dropped_by == ""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param({"UDP": {"source_port": 1, "destination_port": 53}}, (17, 53, 1, None), id="UDP"),
        pytest.param({"SCTP": {"destination_port": 7}}, (132, 7, 0, None), id="SCTP"),
        pytest.param({"ICMPv4": {"type": 8}}, (1, 0, 0, (8, 0)), id="ICMP"),
        pytest.param({"ICMPv6": {"type": 1, "code": 4}}, (58, 0, 0, (1, 4)), id="ICMPv6"),
        pytest.param({"Protocol": {"TCP": {"destination_port": 80}}}, (6, 80, 0, None), id="Go's plain JSON"),
        pytest.param({"VRRP": {"type": 1, "vrid": 3}}, (112, 0, 0, None), id="VRRP"),
    ],
)
def test_protocols(layer: Json, expected: tuple[object, ...]) -> None:
    found = seen(l4=layer)
    assert (found.protocol, found.port, found.source_port, found.icmp) == expected


@pytest.mark.parametrize(
    ("fields", "is_reply", "port"),
    [
        pytest.param({"is_reply": True}, True, 48122, id="a reply, whose source is the responder"),
        pytest.param({"is_reply": {"value": True}}, True, 48122, id="a wrapped value"),
        pytest.param({"is_reply": {}}, False, 5432, id="a wrapped false"),
        pytest.param({"is_reply": None}, False, 5432, id="a SYN opens"),
        pytest.param(
            {"is_reply": None, "l4": {"TCP": {"source_port": 9, "destination_port": 1, "flags": {"ACK": True}}}},
            None,
            1,
            id="an ACK is any packet",
        ),
        pytest.param({"is_reply": None, "reply": True}, True, 48122, id="the field of old versions"),
    ],
)
def test_replies(fields: dict[str, Json], is_reply: bool | None, port: int) -> None:
    found = seen(**fields)
    assert (found.is_reply, found.port) == (is_reply, port)


def test_a_syn_with_an_ack_answers() -> None:
    layer: Json = {"TCP": {"source_port": 80, "destination_port": 40000, "flags": {"SYN": True, "ACK": True}}}
    found = seen(is_reply=None, l4=layer)
    assert (found.is_reply, found.port, found.source_port) == (True, 80, 40000)


def test_policies_of_both_sides_are_named() -> None:
    allowed: Json = [{"name": "dns", "kind": "CiliumClusterwideNetworkPolicy"}]
    denied: Json = [{"name": "web", "namespace": "demo", "kind": "NetworkPolicy", "revision": "3"}]
    found = seen(egress_allowed_by=allowed, ingress_denied_by=denied)
    assert found.policies == ("NetworkPolicy/demo/web", "CiliumClusterwideNetworkPolicy//dns")


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        pytest.param({"aggregate": {"ingress_flow_count": 3, "egress_flow_count": 4}}, 7, id="both ways"),
        pytest.param({"aggregate": {}}, 1, id="empty"),
        pytest.param({"flow_count": 4}, 4, id="one count"),
        pytest.param({"flow_count": "4"}, 4, id="a number of 64 bits is text"),
    ],
)
def test_aggregates_keep_their_counts(fields: dict[str, Json], times: int) -> None:
    assert seen(**fields).times == times


def test_a_bare_flow_and_one_with_names_of_other_writers() -> None:
    (bare,) = read_text(json.dumps(FLOW))
    assert bare == seen()
    camel = json.dumps({"flow": FLOW, "nodeName": "x"})
    for name in ("pod_name", "node_name", "traffic_direction", "event_type", "is_reply", "source_port"):
        first, _, rest = name.partition("_")
        camel = camel.replace(f'"{name}"', f'"{first}{rest.title()}"')
    camel = camel.replace('"destination_port"', '"destinationPort"')
    assert read_text(camel) == [seen()]


def test_node_and_time_of_the_line_stand_for_those_of_the_flow() -> None:
    found = seen(node_name=None, time=None)
    assert (found.node, found.at) == ("node-2", 1_795_168_800 * 10**9)
    assert seen(time={"seconds": 1_795_166_411, "nanos": 402_113_934}).at == AT
    assert seen(time="2026-11-20T10:20:11.402113934+01:00").at == AT


def test_labels_are_the_pods_own() -> None:
    labels: Json = ["k8s:b=2", "k8s:a", "k8s:io.kubernetes.pod.namespace=demo", "reserved:x"]
    found = seen(source={"namespace": "demo", "pod_name": "web-0", "labels": labels})
    assert found.source_pod == SeenPod("demo", "web-0", (("a", ""), ("b", "2")))


@pytest.mark.parametrize(
    ("line", "kind", "times"),
    [
        pytest.param(
            {"lost_events": {"source": "PERF_EVENT_RING_BUFFER", "num_events_lost": "12"}}, "lost", 12, id="lost"
        ),
        pytest.param({"lostEvents": {"numEventsLost": 3}}, "lost", 3, id="lost, in other names"),
        pytest.param({"lost_events": {}}, "lost", 1, id="some were lost"),
        pytest.param({"node_status": {"state_change": "NODE_CONNECTED"}}, "no_flow", 1, id="connected"),
        pytest.param({"node_status": {"state_change": "NODE_GONE", "node_names": ["a"]}}, "lost", 1, id="gone"),
        pytest.param({"agent_event": {"type": "AGENT_STARTED"}}, "no_flow", 1, id="an event of the agent"),
        pytest.param({"flow": FLOW | {"event_type": {"type": 7}}}, "no_flow", 1, id="a socket's call"),
        pytest.param({"flow": FLOW | {"IP": None, "source": None}}, "no_flow", 1, id="no end"),
        pytest.param({"flow": FLOW | {"l4": None}}, "no_flow", 1, id="no protocol"),
        pytest.param({"a": 1}, "unreadable", 1, id="another object"),
        pytest.param({"flow": None}, "unreadable", 1, id="no flow at all"),
    ],
)
def test_lines_that_are_no_flow(line: Json, kind: str, times: int) -> None:
    found = unread(json.dumps(line))
    assert (found.kind, found.times) == (kind, times)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"verdict": "BLOCKED"}, id="a verdict that Hubble has not"),
        pytest.param({"verdict": 99}, id="a number that no verdict has"),
        pytest.param({"verdict": True}, id="a verdict of another type"),
        pytest.param({"IP": {"source": "10.0.0.256", "destination": "10.0.0.1"}}, id="no address"),
        pytest.param({"IP": {"source": "fe80::1%eth0", "destination": "fe80::2"}}, id="an address with a zone"),
        pytest.param({"IP": ["10.0.0.1"]}, id="a list for an object"),
        pytest.param({"l4": {"TCP": {"destination_port": -1}}}, id="a negative port"),
        pytest.param({"l4": {"TCP": {"destination_port": 65536}}}, id="a port too high"),
        pytest.param({"l4": {"UDP": {"destination_port": 10**30}}}, id="a number without end"),
        pytest.param({"l4": {"ICMPv4": {"type": 256}}}, id="no type of ICMP"),
        pytest.param({"time": "yesterday"}, id="no time"),
        pytest.param({"time": "2026-13-45T99:00:00Z"}, id="a time that cannot be"),
        pytest.param({"time": {"seconds": -1}}, id="before 1970"),
        pytest.param({"flow_count": "-3"}, id="a negative count"),
        pytest.param({"flow_count": 1 << 60}, id="a count that cannot be"),
        pytest.param({"source": {"namespace": 3}}, id="a number for a name"),
    ],
)
def test_values_that_cannot_be_are_named_with_their_place(fields: dict[str, Json]) -> None:
    found = unread(json.dumps({"flow": FLOW | fields}))
    assert (found.kind, found.at_line) == ("unreadable", "flows.jsonl:1")
    assert found.detail


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(json.dumps({"flow": FLOW})[:90], id="cut off"),
        pytest.param(b"\x7fELF\x00\x01\x02", id="binary"),
        pytest.param(b'{"flow":{"verdict":"\xff\xfe"}}', id="not UTF-8"),
        pytest.param('{"flow":{"flow_count":NaN,"verdict":"DROPPED"}}', id="no number"),
        pytest.param('{"flow":' * 100_000, id="too deep"),
        pytest.param('{"x":' + "[" * 100_000 + "]" * 100_000 + "}", id="deep in a field that nobody reads"),
        pytest.param('"flow"', id="text"),
        pytest.param("[]", id="a list"),
        pytest.param("a" * (LONGEST_LINE + 1), id="too long"),
    ],
)
def test_broken_lines_do_not_hide_those_around_them(line: str | bytes) -> None:
    good = json.dumps({"flow": FLOW}).encode()
    body = line.encode() if isinstance(line, str) else line
    first, broken, last = read_text(good + b"\n\n" + body + b"\n" + good)
    assert isinstance(first, SeenFlow)
    assert isinstance(last, SeenFlow)
    assert isinstance(broken, Unread)
    assert (broken.kind, broken.at_line, last.at_line) == ("unreadable", "flows.jsonl:3", "flows.jsonl:4")
