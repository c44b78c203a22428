"""Single records of a recording judged: ends, Services, node addresses, what is known of today."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from migrate.audit.reading import open_recording
from migrate.audit.replay import Line, Replay
from tests.audit_scene import WEB, revision, scene
from tests.recordings import START, Recording

Fill: TypeAlias = Callable[[Recording], None]
_WEB, _DB, _FREE, _OPEN, _OTHER = "10.1.0.10", "10.1.0.2", "10.1.0.9", "10.1.0.7", "10.1.0.8"
_NODE, _OTHER_NODE, _CLIENT = "10.0.0.1", "10.0.0.2", "198.51.100.7"


def lines(folder: Path, *fills: Fill) -> list[Line]:
    """The lines of a recording that some functions fill; record by record they come to the same."""
    recording = Recording(folder / "audit.db")
    for fill in fills:
        fill(recording)
    with open_recording(recording.close()) as reading:
        whole, singly = (Replay(reading, revision(folder), scene()) for _ in range(2))
        found = whole.run()
        told = [(row, line) for row, line in singly.rows()]
    assert [counted(line) for line in found] == [counted(line) for line in dict.fromkeys(line for _, line in told)]
    assert sum(line.records for line in found) == len(told)
    return found


def counted(line: Line) -> tuple[object, ...]:
    """Everything that a line says."""
    sums = (line.records, line.events, line.answered, line.refused, line.first, line.last)
    return (*sums, line.hours, line.addresses, line.verdict, line.today, line.kind, line.outgoing, line.outcome)


def sent(pod: str, source: str, destination: str, port: str, **more: int) -> Fill:
    """A record of what a pod sends."""
    return lambda recording: recording.flow(recording.veth(pod), "from", source, destination, port, **more)


def got(pod: str, source: str, destination: str, port: str, **more: int) -> Fill:
    """A record of what comes to a pod."""
    return lambda recording: recording.flow(recording.veth(pod), "to", source, destination, port, **more)


def translated(
    pod: str, seen: tuple[str, str, str], original: tuple[str, str, int], backend: str | None = None, way: str = "to"
) -> Fill:
    """A record whose true ends connection tracking told."""

    def fill(recording: Recording) -> None:
        veth = recording.veth(pod)
        recording.flow(veth, way, *seen)
        recording.translated(veth, seen, original, backend)

    return fill


@pytest.mark.parametrize(
    ("record", "verdict", "topic", "side"),
    [
        pytest.param(sent(WEB, _WEB, _DB, "TCP/5432"), "would_allow", "", "", id="a rule admits it"),
        pytest.param(
            sent(WEB, _WEB, _DB, "TCP/5433"), "would_drop", "", "egress", id="another port is denied at the source"
        ),
        pytest.param(
            sent("shop/free", _FREE, _DB, "TCP/5432"), "would_drop", "", "ingress", id="the destination denies"
        ),
        pytest.param(
            got("shop/db-0", _FREE, _DB, "TCP/5432"), "would_drop", "", "ingress", id="seen at the destination"
        ),
        pytest.param(sent("shop/free", _FREE, _CLIENT, "TCP/443"), "would_allow", "", "", id="nothing selects the pod"),
        pytest.param(sent(WEB, _WEB, "203.0.113.9", "TCP/443"), "would_allow", "", "", id="outside, in the CIDR"),
        pytest.param(sent(WEB, _WEB, _CLIENT, "TCP/443"), "would_drop", "", "egress", id="outside, in no CIDR"),
        pytest.param(
            sent(WEB, _WEB, "10.96.0.10", "TCP/5432"), "would_allow", "", "", id="all backends are let through"
        ),
        pytest.param(
            sent(WEB, _WEB, "10.96.0.11", "TCP/5432"), "would_drop", "", "egress", id="one backend of two is denied"
        ),
        pytest.param(
            sent(WEB, _WEB, "10.96.0.13", "TCP/80"), "unknown", "", "", id="nothing stands behind the Service"
        ),
        pytest.param(sent(WEB, _WEB, "10.96.0.10", "TCP/99"), "unknown", "", "", id="the Service has no such port"),
        pytest.param(
            sent(WEB, _WEB, "10.96.0.53", "UDP/53"), "would_allow", "dns", "", id="names, through the Service"
        ),
        pytest.param(
            sent(WEB, _WEB, "168.63.129.16", "UDP/53"), "would_drop", "dns", "egress", id="names, at the platform"
        ),
        pytest.param(
            sent(WEB, _WEB, "10.96.0.1", "TCP/443"), "would_drop", "api_server", "egress", id="API server's Service"
        ),
        pytest.param(
            sent(WEB, _WEB, "192.0.2.100", "TCP/6443"), "would_drop", "api_server", "egress", id="API server itself"
        ),
        pytest.param(
            sent(WEB, _WEB, "169.254.169.254", "TCP/80"), "would_drop", "cloud_metadata", "egress", id="metadata"
        ),
        pytest.param(
            got(WEB, "168.63.129.16", _WEB, "TCP/8080"), "would_drop", "probe", "ingress", id="balancer's probe"
        ),
        pytest.param(got(WEB, _NODE, _WEB, "TCP/9000"), "would_allow", "probe", "", id="the kubelet's probe"),
        pytest.param(
            got("shop/db-0", "10.1.0.1", _DB, "TCP/9"), "would_allow", "", "", id="own node by its bridge's address"
        ),
        pytest.param(
            got("shop/db-0", _OTHER_NODE, _DB, "TCP/9"), "would_drop", "", "ingress", id="a process of another node"
        ),
        pytest.param(
            sent(WEB, _WEB, "10.2.0.77", "TCP/1"), "unknown", "", "", id="a pod's address that nobody is known to have"
        ),
        pytest.param(sent(WEB, "fd00:1::10", "2001:db8::1", "TCP/443"), "would_drop", "", "egress", id="IPv6"),
        pytest.param(sent(WEB, _WEB, _DB, "ICMP/8"), "would_drop", "", "egress", id="an echo request"),
        pytest.param(
            sent(WEB, _WEB, _DB, "ICMP/3", kind=3), "not_judged", "icmp_error", "", id="an ICMP error opens nothing"
        ),
        pytest.param(got(WEB, "198.51.0.0", _WEB, "TCP/0", coarse=1), "unknown", "coarse", "", id="cut to a block"),
        pytest.param(sent(WEB, _WEB, "10.1.0.0", "TCP/0", coarse=1), "unknown", "coarse", "", id="cut, as sent"),
    ],
)
def test_one_record(record: Fill, verdict: str, topic: str, side: str, tmp_path: Path) -> None:
    (line,) = lines(tmp_path, record)
    assert (line.verdict, line.asked.topic, line.outcome.side) == (verdict, topic, side), line.outcome
    assert (verdict != "unknown") or line.outcome.reason


def test_the_deciding_rule_has_its_file_and_line(tmp_path: Path) -> None:
    denied = tmp_path / "deny.yaml"
    text = (
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: shut, namespace: shop}\nspec:\n"
        "  endpointSelector: {}\n  ingressDeny:\n    - fromEndpoints: [{matchLabels: {app: free}}]\n"
    )
    recording = Recording(tmp_path / "audit.db")
    got("shop/db-0", _FREE, _DB, "TCP/1")(recording)
    with open_recording(recording.close()) as reading:
        (line,) = Replay(reading, revision(tmp_path, text, "deny"), scene()).run()
    decided = line.outcome.decided
    assert (decided.object, decided.rule, decided.at) == (
        "CiliumNetworkPolicy shop/shut",
        "spec.ingressDeny[0]",
        f"{denied}:7",
    )


@pytest.mark.parametrize(
    ("record", "verdict", "source"),
    [
        pytest.param(
            translated("shop/db-0", (_NODE, _DB, "TCP/5432"), (_NODE, _DB, 5432)), "would_allow", "node n1",
            id="a process of the node",
        ),
        pytest.param(
            translated("shop/db-0", (_NODE, _DB, "TCP/5432"), (_FREE, "10.96.0.10", 5432)), "would_drop", "shop/free",
            id="a pod behind the node's address",
        ),
        pytest.param(
            translated(WEB, (_NODE, _WEB, "TCP/8080"), (_CLIENT, _NODE, 30080)), "would_drop", _CLIENT,
            id="the client of a node port, denied",
        ),
        pytest.param(
            translated("shop/open", (_NODE, _OPEN, "TCP/8080"), (_CLIENT, _NODE, 30081)), "would_allow", _CLIENT,
            id="the client of a node port, let in",
        ),
        pytest.param(got(WEB, _NODE, _WEB, "TCP/8080"), "unknown", "node n1", id="could be a client of the node port"),
        pytest.param(got("shop/open", _NODE, _OPEN, "TCP/8080"), "would_allow", "node n1", id="all are let in"),
        pytest.param(got(WEB, _OTHER_NODE, _WEB, "TCP/8080"), "would_drop", "node n2", id="came in at another node"),
    ],
)  # fmt: skip
def test_a_node_s_address_as_source(record: Fill, verdict: str, source: str, tmp_path: Path) -> None:
    (line,) = lines(tmp_path, record)
    flow = line.outcome.flow
    assert (line.verdict, str(flow.source if flow else "")) == (verdict, source), line.outcome


def test_a_pod_that_reaches_itself_through_its_service_may_be_seen_in_two_ways(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, translated(WEB, (_NODE, _WEB, "TCP/8080"), (_WEB, "10.96.0.14", 80)))
    assert line.verdict == "unknown"
    assert "pod itself" in line.outcome.reason


def test_a_backend_that_translation_told_counts_though_it_is_not_ready_any_more(tmp_path: Path) -> None:
    seen = (_WEB, "10.96.0.10", "TCP/5432")
    (line,) = lines(tmp_path, translated(WEB, seen, (_WEB, "10.96.0.10", 5432), backend=_OTHER, way="from"))
    assert line.verdict == "would_drop"
    assert str(line.outcome.flow and line.outcome.flow.destination) == "shop/other"


def test_clients_of_another_node_are_a_class_of_their_own(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, got(WEB, _OTHER_NODE, _WEB, "TCP/8080"))
    assert line.asked.topic == "other_node_client"
    assert "another node" in line.outcome.reason


@pytest.mark.parametrize(
    ("fills", "verdict", "today"),
    [
        pytest.param([sent(WEB, _WEB, _CLIENT, "TCP/1", answered=0)], "unknown", "unanswered", id="nobody answered"),
        pytest.param(
            [sent("shop/free", _FREE, _CLIENT, "TCP/1", answered=0)], "would_allow", "unanswered",
            id="nobody answered, and nothing denies it",
        ),
        pytest.param([sent(WEB, _WEB, _CLIENT, "UDP/514", answered=0)], "would_drop", "works", id="UDP may stay so"),
        pytest.param(
            [sent("shop/free", _FREE, _DB, "TCP/1", answered=0), got("shop/db-0", _OTHER, _DB, "TCP/5432")],
            "denied_today", "denied", id="it did not come in at a watched pod",
        ),
        pytest.param(
            [sent("shop/free", _FREE, _DB, "TCP/1", answered=0, refused=1), got("shop/db-0", _FREE, _DB, "TCP/1")],
            "would_drop", "works", id="it came in, and the pod refused it",
        ),
        pytest.param(
            [sent("shop/free", _FREE, "10.96.0.10", "TCP/5432", answered=0), got("shop/db-0", _FREE, _DB, "TCP/5432")],
            "would_drop", "works", id="it came in through the Service",
        ),
        pytest.param(
            [sent("shop/free", _FREE, _DB, "TCP/1", answered=0), lambda r: r.dropped(1, _FREE, _DB, "TCP/1")],
            "denied_today", "denied", id="netfilter dropped it",
        ),
        pytest.param(
            [sent("shop/free", _FREE, "10.96.0.10", "TCP/5432", answered=0),
             lambda r: r.dropped(1, _FREE, _DB, "TCP/5432")],
            "denied_today", "denied", id="netfilter dropped it behind the Service's address",
        ),
        pytest.param(
            [lambda r: r.dropped(r.veth("shop/free"), _FREE, _DB, "TCP/1")], "denied_today", "denied",
            id="only the drop was seen",
        ),
    ],
)  # fmt: skip
def test_what_is_known_of_today(fills: list[Fill], verdict: str, today: str, tmp_path: Path) -> None:
    line = next(line for line in lines(tmp_path, *fills) if line.asked.packet.port in (1, 514, 5432) and line.outgoing)
    assert (line.verdict, line.today) == (verdict, today), line.outcome


@pytest.mark.parametrize(
    "hole",
    [
        pytest.param(lambda r: r.insert("gap", 2, START, None, "hooks removed"), id="the destination was not watched"),
        pytest.param(lambda r: r.insert("loss", 1, START, "store-full", 1, ""), id="rows were not kept"),
        pytest.param(lambda r: r.insert("epoch", 1, 9, START, 1, 0, 1), id="rows are coarse"),
    ],
)
def test_what_does_not_show_may_have_arrived_where_not_all_was_seen(hole: Fill, tmp_path: Path) -> None:
    fills = [sent("shop/free", _FREE, _DB, "TCP/1", answered=0), lambda r: r.veth("shop/db-0") and None, hole]
    (line,) = lines(tmp_path, *fills)
    assert (line.verdict, line.today) == ("unknown", "unanswered")


@pytest.mark.parametrize("kind", ["replies-lost", "drops-lost", "no-connections"])
def test_losses_of_no_flow_leave_known_what_never_arrived(kind: str, tmp_path: Path) -> None:
    lost: Fill = lambda r: r.insert("loss", 1, START, kind, 1, "")  # noqa: E731
    fills = [sent("shop/free", _FREE, _DB, "TCP/1", answered=0), lambda r: r.veth("shop/db-0") and None, lost]
    (line,) = lines(tmp_path, *fills)
    assert (line.verdict, line.today) == ("denied_today", "denied")


def test_an_answer_in_the_next_hour_is_an_answer(tmp_path: Path) -> None:
    def fill(recording: Recording) -> None:
        veth = recording.veth(WEB)
        recording.flow(veth, "from", _WEB, _CLIENT, "TCP/1", answered=0, at=3599)
        recording.flow(veth, "from", _WEB, _CLIENT, "TCP/1", events=0, answered=1, hour=1, at=1)

    (line,) = lines(tmp_path, fill)
    assert (line.verdict, line.today, line.records) == ("would_drop", "works", 1)
