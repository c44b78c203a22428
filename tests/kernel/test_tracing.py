"""Who opened what has the node's address: with the kernel's own look-up switched off, and beside it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrate.audit.layout import address_of
from migrate.audit.tracing import Tracing
from migrate.audit.veths import own_addresses
from tests.kernel.agent import Audit
from tests.kernel.conftest import OpenProbe
from tests.kernel.following import following
from tests.kernel.kube_lab import (
    BACKEND_PORT,
    DNS_BACKEND_PORT,
    DNS_PORT,
    NODE,
    NODE_ADDRESS,
    NODE_PORT,
    OUTSIDE,
    OUTSIDE_CLIENT,
    SERVICE,
    SERVICE_PORT,
    Answer,
    Lab,
)
from tests.kernel.lab import inside
from tests.unit.audit_records import told

pytestmark = pytest.mark.kernel

A, B, C = "10.244.1.2", "10.244.1.3", "10.244.1.4"
PODS = 5
_Row = tuple[str, str, str, str, int, str, int]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        made.serve("b", DNS_BACKEND_PORT, datagrams=True)
        made.serve("c", 7000)
        yield made


def _rows(recording: Path, way: str) -> list[_Row]:
    """Pod, ends as recorded, ends as opened, the backend, and how many connections."""
    query = "SELECT pod, t.source, t.destination, original_source, original_destination, original_port, backend, times"
    side = "IS NULL" if way == "to" else "IS NOT NULL"
    found = told(recording, f"{query} FROM translated t JOIN veth ON veth.id = veth WHERE backend {side} ORDER BY 1, 4")
    return [
        (str(pod), _text(source), _text(first), _text(second), _number(port), _text(backend), _number(n))
        for pod, source, _, first, second, port, backend, n in found
    ]


def _text(address: object) -> str:
    return str(address_of(address)) if isinstance(address, bytes) else ""


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _losses(recording: Path) -> list[tuple[object, ...]]:
    return told(recording, "SELECT kind, count FROM loss WHERE kind = 'not-traced'")


def _open_from_node(lab: Lab, times: int = 1) -> None:
    for _ in range(times):
        assert lab.connect(NODE, B, BACKEND_PORT) is Answer.ANSWERED


def _every_way(lab: Lab) -> None:
    """A process of the node, twice; a pod by way of its own Service; clients of a node port; a reset, as of a probe."""
    _open_from_node(lab, 2)
    assert lab.connect("b", SERVICE, SERVICE_PORT) is Answer.ANSWERED
    for _ in range(3):
        assert lab.connect(OUTSIDE, NODE_ADDRESS, NODE_PORT, source=OUTSIDE_CLIENT) is Answer.ANSWERED
    with inside(lab.namespace(NODE)):
        probing = socket.create_connection((C, 7000))
    with closing(probing):
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


OPENED: list[_Row] = [
    ("b", NODE_ADDRESS, B, SERVICE, SERVICE_PORT, "", 1),
    ("b", NODE_ADDRESS, NODE_ADDRESS, B, BACKEND_PORT, "", 2),
    ("b", NODE_ADDRESS, OUTSIDE_CLIENT, NODE_ADDRESS, NODE_PORT, "", 3),
    ("c", NODE_ADDRESS, NODE_ADDRESS, C, 7000, "", 1),
]


@pytest.mark.parametrize(
    "extras", [pytest.param(False, id="by conntrack alone"), pytest.param(True, id="beside the kernel's programs")]
)
@pytest.mark.parametrize("epoch", [0.2, 60.0])
def test_what_has_the_nodes_address_is_told_apart(
    open_probe: OpenProbe, lab: Lab, tmp_path: Path, extras: bool, epoch: float
) -> None:
    recording = tmp_path / "audit.db"
    with inside(lab.node):
        probe = open_probe(extras=extras)
    assert (probe.translations is not None) is extras

    Audit(lab, probe, recording, epoch=epoch, traced=True).run(_watched(_every_way))

    assert sorted(row for row in _rows(recording, "to") if row[1] == NODE_ADDRESS) == sorted(OPENED)
    assert _losses(recording) == []


def test_backends_of_services_are_asked_for_where_the_kernel_does_not_tell(
    open_probe: OpenProbe, lab: Lab, tmp_path: Path
) -> None:
    recording = tmp_path / "audit.db"
    with inside(lab.node):
        probe = open_probe(extras=False)

    def work(lab: Lab) -> None:
        for _ in range(3):
            assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED
        assert lab.ask("d", SERVICE, DNS_PORT) is Answer.ANSWERED

    Audit(lab, probe, recording, traced=True).run(_watched(work))

    assert _rows(recording, "from") == [
        ("a", A, A, SERVICE, SERVICE_PORT, B, 3),
        ("d", "10.244.2.2", "10.244.2.2", SERVICE, DNS_PORT, B, 1),
    ]


def test_connections_from_before_the_audit_are_not_taken_for_those_in_it(
    open_probe: OpenProbe, lab: Lab, tmp_path: Path
) -> None:
    recording = tmp_path / "audit.db"
    _open_from_node(lab, 3)
    with closing(lab.open("b", SERVICE, SERVICE_PORT)):
        with inside(lab.node):
            probe = open_probe(extras=False)
        Audit(lab, probe, recording, traced=True).run(_watched(lambda lab: _open_from_node(lab, 2)))

    assert _rows(recording, "to") == [("b", NODE_ADDRESS, NODE_ADDRESS, B, BACKEND_PORT, "", 2)]


def test_what_conntrack_has_forgotten_is_a_loss(open_probe: OpenProbe, lab: Lab, tmp_path: Path) -> None:
    with inside(lab.node):
        probe = open_probe(extras=False)
        Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait").write_text("1")
    with following(lab, probe, tmp_path / "audit.db") as running:
        running.wait_until(lambda: running.follower.watched == PODS)
        with inside(lab.node):
            tracing = Tracing(probe, running.store, own_addresses)
            tracing.begin()
        _open_from_node(lab, 2)
        time.sleep(3)  # conntrack has forgotten them by then
        _open_from_node(lab)
        with inside(lab.node):
            tracing.settle(0, probe.flows[0])
            tracing.end()

    assert [row[-1] for row in _rows(tmp_path / "audit.db", "to")] == [1]
    assert _losses(tmp_path / "audit.db") == [("not-traced", 2)]


def _watched(work: Callable[[Lab], None]) -> Callable[[Audit], None]:
    """The work, once all pods are watched."""

    def when_watched(audit: Audit) -> None:
        audit.watch(PODS)
        work(audit.lab)

    return when_watched
