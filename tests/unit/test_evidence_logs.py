"""Logs of Calico, cilium monitor and NPM as evidence. Lines are written by hand after the programs' sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.evidence import calico_flow_logs, calico_log, cilium_monitor, npm_metrics
from migrate.evidence.formats import format_of
from migrate.evidence.seen import Counted, SeenFlow, SeenPod, Unread
from migrate.model.raw import Json

SAMPLES = Path(__file__).parent.parent / "cases" / "evidence"
ENDED = 1_795_200_000 * 10**9
"""2026-11-20T18:40:00Z: when the logs were written to last."""
AT = 1_795_166_047 * 10**9
"""2026-11-20T09:14:07Z."""
PACKET = (
    "IN=cali1 OUT=eth0 MAC=aa:aa SRC=10.244.1.10 DST=10.20.7.9 LEN=60 TOS=0x00 TTL=63 ID=3 DF PROTO=TCP "
    "SPT=48122 DPT=5432 WINDOW=64860 RES=0x00 SYN URGP=0"
)
_Read = Callable[[Iterable[bytes], str], Iterator[SeenFlow | Unread]]


def kernel(lines: Iterable[bytes], name: str) -> Iterator[SeenFlow | Unread]:
    """Of a log that ended in November 2026."""
    return calico_log.read(lines, name, before=ENDED)


def only(read: _Read, text: str | bytes) -> SeenFlow | Unread:
    """What one line gives."""
    body = text if isinstance(text, bytes) else text.encode()
    (found,) = read([body + b"\n"], "log")
    return found


def flow(read: _Read, text: str | bytes) -> SeenFlow:
    """The flow of one line."""
    found = only(read, text)
    assert isinstance(found, SeenFlow), found
    return found


def unread(read: _Read, text: str | bytes) -> Unread:
    """Why one line is no flow."""
    found = only(read, text)
    assert isinstance(found, Unread), found
    return found


@pytest.mark.parametrize(
    ("head", "at", "node"),
    [
        pytest.param("Nov 20 09:14:07 n1 kernel: [81532.4] ", AT, "n1", id="syslog"),
        pytest.param("<5>Nov 20 09:14:07 n1 kernel: ", AT, "n1", id="RFC 3164 with its priority"),
        pytest.param("<5>1 2026-11-20T09:14:07Z n1 kernel - - - ", AT, "n1", id="RFC 5424"),
        pytest.param("2026-11-20T10:14:07.5+01:00 n1 kernel: ", AT + 5 * 10**8, "n1", id="rsyslog's own"),
        pytest.param("2026-11-20T09:14:07+0000 n1 kernel: ", AT, "n1", id="journalctl -o short-iso"),
        pytest.param("Nov 20 09:14:07.250000 n1 kernel: ", AT + 250_000_000, "n1", id="short-precise"),
        pytest.param("1795166047.000001 n1 kernel: ", AT + 1000, "n1", id="short-unix"),
        pytest.param("[Fri Nov 20 09:14:07 2026] ", AT, "", id="dmesg -T"),
        pytest.param("2026-11-20T09:14:07,000000+00:00 ", AT, "", id="dmesg --time-format iso"),
        pytest.param("[81532.417702] ", 0, "", id="dmesg has seconds since boot"),
        pytest.param("Dec 31 23:59:59 n1 kernel: ", 1_767_225_599 * 10**9, "n1", id="of last year"),
    ],
)
def test_times_and_nodes_of_the_kernels_log(head: str, at: int, node: str) -> None:
    found = flow(kernel, f"{head}calico-packet: {PACKET}")
    assert (found.at, found.node, found.verdict) == (at, node, "unknown")


def test_a_packet_of_the_kernels_log() -> None:
    assert flow(kernel, f"calico-packet: {PACKET}") == SeenFlow(
        origin="calico-log",
        at_line="log:1",
        at=0,
        verdict="unknown",
        node="",
        source=ip_address("10.244.1.10"),
        destination=ip_address("10.20.7.9"),
        protocol=6,
        port=5432,
        source_port=48122,
        direction="egress",
        is_reply=False,
    )


def test_samples_of_aks() -> None:
    lines = (SAMPLES / "calico-log-syslog.txt").read_bytes().splitlines(keepends=True)
    tcp, udp, icmp = (found for found in kernel(lines, "syslog") if isinstance(found, SeenFlow))
    assert (tcp.direction, tcp.port, tcp.node) == ("egress", 5432, "aks-nodepool1-12345678-vmss000000")
    assert (udp.direction, udp.protocol, udp.port) == ("ingress", 17, 8125)
    assert (icmp.direction, icmp.protocol, icmp.icmp) == ("", 1, (8, 0))


def test_entries_of_the_journal() -> None:
    entry = {"__REALTIME_TIMESTAMP": "1795166047000001", "_HOSTNAME": "n1", "MESSAGE": f"calico-packet: {PACKET}"}
    found = flow(kernel, json.dumps(entry))
    assert (found.at, found.node, found.port) == (AT + 1000, "n1", 5432)
    as_bytes = entry | {"MESSAGE": list(f"calico-packet: {PACKET}".encode())}
    assert flow(kernel, json.dumps(as_bytes)) == found
    assert unread(kernel, json.dumps(entry | {"MESSAGE": "usb 1-1: new device"})).kind == "no_flow"
    assert unread(kernel, json.dumps(entry | {"MESSAGE": 7})).kind == "unreadable"


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(
            "IN= OUT=cali2 SRC=fd00::1 DST=fd00::2 LEN=80 TC=0 HOPLIMIT=64 FLOWLBL=1 PROTO=UDP SPT=5 DPT=53 LEN=40",
            ("fd00::1", "fd00::2", 17, 53, None, "ingress"),
            id="IPv6",
        ),
        pytest.param(
            "IN=cali1 OUT= SRC=fd00::1 DST=fd00::2 PROTO=ICMPv6 TYPE=128 CODE=0 ID=1 SEQ=1",
            ("fd00::1", "fd00::2", 58, 0, (128, 0), "egress"),
            id="ICMPv6",
        ),
        pytest.param(
            "IN=cali1 OUT=eth0 VPROTO=8100 VID=5 SRC=10.0.0.1 DST=10.0.0.2 PROTO=SCTP SPT=7 DPT=9",
            ("10.0.0.1", "10.0.0.2", 132, 9, None, "egress"),
            id="VLAN and SCTP",
        ),
        pytest.param(
            "IN=eth0 OUT=eth1 SRC=10.0.0.1 DST=10.0.0.2 PROTO=ICMP TYPE=3 CODE=1 "
            "[SRC=9.9.9.9 DST=8.8.8.8 PROTO=TCP SPT=1 DPT=2 ]",
            ("10.0.0.1", "10.0.0.2", 1, 0, (3, 1), ""),
            id="the packet within an error is another one",
        ),
        pytest.param(
            "IN=cali1 OUT=cali2 SRC=10.0.0.1 DST=10.0.0.2 PROTO=47",
            ("10.0.0.1", "10.0.0.2", 47, 0, None, ""),
            id="another protocol, between two pods",
        ),
    ],
)
def test_packets_of_the_kernels_log(packet: str, expected: tuple[object, ...]) -> None:
    found = flow(kernel, f"Nov 20 09:14:07 n1 kernel: calico-packet: {packet}")
    ends = str(found.source), str(found.destination)
    assert (*ends, found.protocol, found.port, found.icmp, found.direction) == expected


def test_answers_are_told_by_their_flags() -> None:
    answer = flow(
        kernel, "calico-packet: IN=eth0 OUT=cali1 SRC=10.0.0.2 DST=10.0.0.1 PROTO=TCP SPT=80 DPT=4000 ACK SYN URGP=0"
    )
    assert (answer.is_reply, answer.port, answer.source_port, answer.direction) == (True, 80, 4000, "egress")
    middle = flow(
        kernel, "calico-packet: IN=cali1 OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 PROTO=TCP SPT=1 DPT=80 ACK URGP=0"
    )
    assert (middle.is_reply, middle.port) == (None, 80)


def test_lines_of_other_rules_are_not_calicos_unless_the_prefix_is_given() -> None:
    line = f"Nov 20 09:14:07 n1 kernel: tier-default/deny: {PACKET}"
    found = unread(kernel, line)
    assert (found.kind, found.reason) == ("no_flow", "a packet that another rule logged")
    (taken,) = calico_log.read([line.encode()], "log", prefixes=["tier-default/"], before=ENDED)
    assert isinstance(taken, SeenFlow)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        pytest.param("Nov 20 09:14:07 n1 systemd: started", "no_flow", id="another line"),
        pytest.param(
            "calico-packet: IN=cali1 OUT= SRC=10.0.0.1 DST=10.0.0.2 PROTO=TCP SPT=-1 DPT=80", "unreadable", id="port"
        ),
        pytest.param("calico-packet: IN=cali1 OUT= SRC=10.0.0.1 DST=10.0.0.2 PROTO=TCP SPT=1", "unreadable", id="cut"),
        pytest.param("calico-packet: IN=cali1 OUT= SRC=10.0.0.1 DST=10.0", "unreadable", id="cut in an address"),
        pytest.param("calico-packet: IN=cali1 OUT= SRC=fe80::1%3 DST=fe80::2 PROTO=47", "unreadable", id="zone"),
        pytest.param("calico-packet: IN=a OUT= SRC=10.0.0.1 DST=10.0.0.2 PROTO=ICMP", "unreadable", id="no type"),
        pytest.param("calico-packet: IN=a OUT= SRC=10.0.0.1 DST=10.0.0.2 PROTO=999", "unreadable", id="no protocol"),
        pytest.param("calico-packet: IN=a OUT= SRC=10.0.0.1 DST=10.0.0.2 FRAG:64 PROTO=UDP", "no_flow", id="fragment"),
        pytest.param("Xyz 20 09:14:07 n1 kernel: calico-packet: " + PACKET, "unreadable", id="no month"),
        pytest.param('{"MESSAGE":' * 50_000, "unreadable", id="deep"),
    ],
)
def test_lines_of_the_kernels_log_that_are_no_flow(line: str, kind: str) -> None:
    assert unread(kernel, line).kind == kind


def test_the_last_line_of_a_log_may_be_cut_in_a_number() -> None:
    cut = "calico-packet: IN=cali1 OUT= SRC=10.0.0.1 DST=10.0.0.2 PROTO=SCTP SPT=7 DPT=54"
    (found,) = kernel([cut.encode()], "log")
    assert isinstance(found, Unread)
    assert found.kind == "unreadable"
    (whole,) = kernel([f"{cut} ".encode() + PACKET.encode()], "log")
    assert isinstance(whole, SeenFlow)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            "cali8d1-E: policy ALLOWED proto 6 src 10.65.0.3:36185 dest 10.65.0.2:8055",
            ("forwarded", "egress", 6, "10.65.0.2", 8055),
            id="let out",
        ),
        pytest.param(
            "  <idle>-0 [010] b..1. 6172.255: bpf_trace_printk: "
            "cali8d1-I: policy DENIED  proto 17 src fd00::3:53 dest fd00::2:99",
            ("dropped", "ingress", 17, "fd00::2", 99),
            id="not let in, IPv6",
        ),
    ],
)
def test_verdicts_of_the_ebpf_data_plane(line: str, expected: tuple[object, ...]) -> None:
    found = flow(kernel, line)
    assert (found.verdict, found.direction, found.protocol, str(found.destination), found.port) == expected


def test_a_verdict_without_its_packet_is_said() -> None:
    assert unread(kernel, "cali8d1-E: policy DENIED").kind == "unreadable"
    (cut,) = kernel([b"cali8d1-E: policy ALLOWED proto 6 src 10.65.0.3:36185 dest 10.65.0.2:80"], "log")
    assert isinstance(cut, Unread)


ENTERPRISE: dict[str, Json] = {
    "start_time": 1_795_166_047,
    "end_time": 1_795_166_347,
    "source_ip": None,
    "source_name": "-",
    "source_name_aggr": "access-6b6-*",
    "source_namespace": "demo",
    "source_port": None,
    "source_type": "wep",
    "source_labels": {"labels": ["app=access"]},
    "dest_ip": "10.48.127.224",
    "dest_name": "db-0",
    "dest_name_aggr": "db-*",
    "dest_namespace": "shop",
    "dest_port": 5432,
    "dest_type": "wep",
    "dest_labels": {"labels": ["app=db"]},
    "proto": "tcp",
    "action": "deny",
    "reporter": "dst",
    "policies": {"all_policies": ["0|default|shop/default.db|deny|-1"]},
    "num_flows": 9,
    "num_flows_started": 4,
    "host": "n1",
}


def logged(**changed: Json) -> SeenFlow:
    """An entry of Calico Enterprise with other fields."""
    return flow(calico_flow_logs.read, json.dumps(ENTERPRISE | changed))


def test_an_entry_of_calico_enterprise() -> None:
    assert logged() == SeenFlow(
        origin="calico-flow-logs",
        at_line="log:1",
        at=AT,
        verdict="dropped",
        node="n1",
        source=None,
        destination=ip_address("10.48.127.224"),
        protocol=6,
        port=5432,
        direction="ingress",
        is_reply=False,
        source_pod=SeenPod("demo", "", (("app", "access"),), "access-6b6-*"),
        destination_pod=SeenPod("shop", "db-0", (("app", "db"),)),
        dropped_by="policy",
        policies=("/shop/default.db",),
        times=4,
    )


def test_an_entry_of_goldmane_and_of_whisker() -> None:
    goldmane = {
        "Key": {
            "source_name": "access-6b6-*",
            "source_namespace": "demo",
            "source_type": 1,
            "dest_name": "pub",
            "dest_namespace": "-",
            "dest_type": 4,
            "dest_port": 443,
            "proto": "TCP",
            "reporter": 1,
            "action": 1,
        },
        "start_time": 1_795_166_047,
        "num_connections_started": 2,
    }
    outside = unread(calico_flow_logs.read, json.dumps(goldmane))
    assert (outside.kind, outside.reason) == ("no_flow", "neither an address nor a pod is told of one end")
    goldmane["Key"] |= {"dest_name": "db-*", "dest_namespace": "shop", "dest_type": 1}  # type: ignore[operator]
    found = flow(calico_flow_logs.read, json.dumps({"id": 7, "flow": goldmane}))
    assert (found.verdict, found.direction, found.times, found.port) == ("forwarded", "egress", 2, 443)
    whisker = {
        "start_time": "2026-11-20T09:14:07Z",
        "action": "Deny",
        "source_name": "access-6b6-*",
        "source_namespace": "demo",
        "source_labels": "app=access | tier=front",
        "dest_name": "db-*",
        "dest_namespace": "shop",
        "protocol": "udp",
        "dest_port": 53,
        "reporter": "Dst",
        "policies": {"enforced": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "db"}], "pending": None},
    }
    listed = list(calico_flow_logs.read([json.dumps({"items": [whisker, whisker]}).encode()], "w"))
    assert listed[0] == listed[1] == flow(calico_flow_logs.read, "data: " + json.dumps(whisker))._replace(at_line="w:1")
    assert isinstance(listed[0], SeenFlow)
    assert (listed[0].at, listed[0].verdict, listed[0].policies) == (AT, "dropped", ("NetworkPolicy/shop/db",))
    assert listed[0].source_pod == SeenPod("demo", "", (("app", "access"), ("tier", "front")), "access-6b6-*")


def test_an_entry_as_elasticsearch_exports_it() -> None:
    found = flow(
        calico_flow_logs.read, json.dumps({"_index": "flows", "_source": ENTERPRISE | {"start_time": AT // 10**6}})
    )
    assert found == logged()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"action": "maybe"}, id="no action"),
        pytest.param({"action": 9}, id="no number of an action"),
        pytest.param({"proto": "quic"}, id="no protocol"),
        pytest.param({"dest_port": -1}, id="a negative port"),
        pytest.param({"dest_port": "70000"}, id="a port too high"),
        pytest.param({"dest_ip": "fe80::1%eth0"}, id="a zone"),
        pytest.param({"start_time": "soon"}, id="no time"),
        pytest.param({"num_flows_started": 1 << 63}, id="a count that cannot be"),
        pytest.param({"policies": 7}, id="a number for policies"),
        pytest.param({"reporter": None, "action": None}, id="another object"),
    ],
)
def test_entries_with_values_that_cannot_be(changed: dict[str, Json]) -> None:
    assert unread(calico_flow_logs.read, json.dumps(ENTERPRISE | changed)).kind == "unreadable"


@pytest.mark.parametrize(
    "line", ["", "{", '{"reporter": NaN}', '{"items":' * 60_000, b"\xff\xfe\x00", '["reporter"]', "\x00" * 50]
)
def test_broken_entries(line: str | bytes) -> None:
    body = line if isinstance(line, bytes) else line.encode()
    found = [one for one in calico_flow_logs.read([body], "log") if isinstance(one, SeenFlow)]
    assert found == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            "Policy verdict log: flow 0x483 local EP ID 211, remote ID world, proto 6, ingress, action deny, "
            "match none, 172.26.50.201:60556 -> 10.0.1.185:8082 tcp SYN",
            ("dropped", "ingress", 6, "10.0.1.185", 8082, False),
            id="a denial",
        ),
        pytest.param(
            "Policy verdict log: flow 0x0 local EP ID 3130, remote ID remote-node, proto 6, egress, action allow, "
            "auth: disabled, match L3-Only, [fd00:101::22]:58416 -> [fd00::9cac]:9090 tcp SYN",
            ("forwarded", "egress", 6, "fd00::9cac", 9090, False),
            id="with authentication, IPv6",
        ),
        pytest.param(
            "Policy verdict log: flow 0x0 local EP ID 1, remote ID 6, ingress true, action audit, match none, "
            "10.0.77.4:51234 -> 10.0.0.21:53 udp",
            ("audit", "ingress", 17, "10.0.0.21", 53, False),
            id="an old version, audit mode",
        ),
        pytest.param(
            "xx drop (Policy denied) flow 0x483 to endpoint 211, ifindex 7, file bpf_lxc.c:1178, , "
            "identity world->15435: 172.26.50.201:60556 -> 10.0.1.185:8082 tcp SYN",
            ("dropped", "", 6, "10.0.1.185", 8082, False),
            id="a drop",
        ),
        pytest.param(
            "xx drop (Policy denied) flow 0x483 to endpoint 211, , identity world->1: 10.0.0.1 -> 10.0.1.1 EchoRequest",
            ("dropped", "", 1, "10.0.1.1", 0, None),
            id="a drop of a ping",
        ),
        pytest.param(
            "-> endpoint 3459 flow 0xe6 identity 15194->323 state reply ifindex lxc84 orig-ip 10.60.1.115: "
            "10.63.240.10:53 -> 10.60.0.182:42132 udp",
            ("forwarded", "", 17, "10.60.0.182", 53, True),
            id="a trace of an answer",
        ),
        pytest.param(
            "<- endpoint 3459 flow 0xe6 , identity 15194->unknown state new ifindex 0 orig-ip 0.0.0.0: "
            "10.60.0.182:42132 -> 10.63.240.10:53 udp",
            ("unknown", "", 17, "10.63.240.10", 53, False),
            id="what comes in was not judged yet",
        ),
        pytest.param(
            json.dumps(
                {
                    "type": "drop",
                    "reason": "Policy denied",
                    "summary": {
                        "tcp": "TCP {.. SYN=true ACK=false}",
                        "l3": {"src": "10.0.0.1", "dst": "10.0.0.2"},
                        "l4": {"src": "4000", "dst": "80(http)"},
                    },
                }
            ),
            ("dropped", "", 6, "10.0.0.2", 80, False),
            id="a drop as JSON",
        ),
        pytest.param(
            json.dumps(
                {
                    "type": "trace",
                    "state": "new",
                    "observationPoint": "to-stack",
                    "summary": {
                        "icmpv4": "ICMPv4 {.. TypeCode=DestinationUnreachable(Port) ..}",
                        "l3": {"src": "10.0.0.1", "dst": "10.0.0.2"},
                    },
                }
            ),
            ("forwarded", "", 1, "10.0.0.2", 0, False),
            id="a trace as JSON",
        ),
    ],
)
def test_lines_of_cilium_monitor(line: str, expected: tuple[object, ...]) -> None:
    found = flow(cilium_monitor.read, line)
    assert (
        *(found.verdict, found.direction, found.protocol, str(found.destination)),
        *(found.port, found.is_reply),
    ) == expected


def test_reasons_and_types_of_cilium_monitor() -> None:
    drop = flow(
        cilium_monitor.read,
        "2026-11-20T09:14:07Z xx drop (Unsupported L3 protocol) flow 0x0 to endpoint 0, , identity 1->2: "
        "fd00::1 -> fd00::2 NeighborSolicitation",
    )
    assert (drop.dropped_by, drop.icmp, drop.at) == ("Unsupported L3 protocol", (135, 0), AT)


@pytest.mark.parametrize(
    ("line", "kind", "times"),
    [
        pytest.param("Listening for events on 12 CPUs with 64x4096 of shared memory", "no_flow", 1, id="head"),
        pytest.param("CPU 01: Lost 13 events", "lost", 13, id="lost"),
        pytest.param("CPU 01: MARK 0x8c FROM 1885 DROP: 70 bytes, reason Policy denied", "unreadable", 1, id="verbose"),
        pytest.param("Policy verdict log: flow 0x0 local", "unreadable", 1, id="cut"),
        pytest.param(
            "xx drop (Policy denied) flow 0x0 to endpoint 1, , identity 1->2: [unknown]", "no_flow", 1, id="unknown"
        ),
        pytest.param(
            "xx drop (x) flow 0x0 to endpoint 1, , identity 1->2: 10.0.0.1:1 -> 10.0.0.2:99999 tcp SYN",
            "unreadable",
            1,
            id="no port",
        ),
        pytest.param('{"type":"agent"}', "no_flow", 1, id="an event of the agent"),
        pytest.param('{"type":"drop","summary":[]}', "unreadable", 1, id="a list"),
        pytest.param('{"summary":null}', "unreadable", 1, id="no type"),
        pytest.param('{"type":' + "[" * 80_000, "unreadable", 1, id="deep"),
    ],
)
def test_lines_of_cilium_monitor_that_are_no_flow(line: str, kind: str, times: int) -> None:
    found = unread(cilium_monitor.read, line)
    assert (found.kind, found.times) == (kind, times)


def test_metrics_tell_of_rules_and_drops() -> None:
    text = (SAMPLES / "retina-metrics.txt").read_bytes() + (
        b'npm_add_policy_exec_time_count{had_error="true"} 3\nnpm_num_policies 7\nnpm_num_policies nan\n'
        b'npm_iptables_restore_failure_total 2\nnpm_add_policy_exec_time_count{had_error="false"} 3\nwhat is this\n'
    )
    found = list(npm_metrics.read(text.splitlines(keepends=True), "m"))
    counted = [one for one in found if isinstance(one, Counted)]
    assert [(one.name, one.value) for one in counted] == [
        ("networkobservability_drop_count", 41),
        ("networkobservability_adv_drop_count", 17),
        ("npm_add_policy_exec_time_count", 3),
        ("npm_num_policies", 7),
        ("npm_iptables_restore_failure_total", 2),
    ]
    assert ("podname", "backend-0") in counted[1].labels
    assert [one.at_line for one in found if isinstance(one, Unread) and one.kind == "unreadable"] == ["m:10"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [("NaN", "no_flow"), ("+Inf", "no_flow"), ("-Inf", "no_flow"), ("1e300", "unreadable"), ("x", "unreadable")],
)
def test_metrics_with_values_that_are_no_count(value: str, kind: str) -> None:
    (found,) = npm_metrics.read([f"npm_num_policies {value}\n".encode()], "log")
    assert isinstance(found, Unread)
    assert found.kind == kind


def test_metrics_of_a_node_are_all_read() -> None:
    lines = (SAMPLES / "npm-node-metrics.txt").read_bytes().splitlines(keepends=True)
    assert not [one for one in npm_metrics.read(lines, "m") if isinstance(one, Unread) and one.kind != "no_flow"]


HOSTILE = (
    b"-> flow , " * 6_500,
    b"-> a flow 0x1 " + b"state " * 11_000,
    b"xx drop (" * 7_200,
    b"Policy verdict log: flow 0x1 local EP ID 1, remote ID " * 1_200,
    b"a" * (1 << 16),
    b"a-E: policy ALLOWED proto 6 src " + b"1:" * (1 << 15),
    b"IN= OUT= SRC=" * 5_000,
    b"IN= " * (1 << 14),
    b"{" * (1 << 16),
    b'{"type" ' * (1 << 13),
)
"""Lines that take a search without bounds minutes or more."""


@pytest.mark.parametrize("line", HOSTILE, ids=lambda line: line[:16].decode())
def test_hostile_lines_stand_between_good_ones(line: bytes, tmp_path: Path) -> None:
    verdict = (
        b"Policy verdict log: flow 0x1 local EP ID 1, remote ID 2, proto 6, ingress, action deny, auth: disabled, "
        b"match none, 10.0.0.1:40000 -> 10.0.0.2:5432 tcp SYN\n"
    )
    packet = f"calico-packet: {PACKET}\n".encode()
    for good, name, read in ((verdict, "cilium-monitor", cilium_monitor.read), (packet, "calico-log", kernel)):
        lines = [good] + [line + b"\n"] * 20 + [good]
        assert format_of(lines, tmp_path).name == name
        assert [found.at_line for found in read(lines, "log") if isinstance(found, SeenFlow)] == ["log:1", "log:22"]
    with suppress(InputError):
        format_of([line] * 20, tmp_path)


def test_lines_that_are_too_long_are_told_unless_they_are_of_others() -> None:
    assert unread(cilium_monitor.read, "-> flow " * 300).reason == "a line that is too long for one of cilium monitor"
    assert unread(kernel, "a word " * 300).kind == "no_flow"
    assert unread(kernel, f"calico-packet: {PACKET} " * 30).reason == "a line that is too long for a packet"
