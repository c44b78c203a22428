"""A whole audit of the lab: follower, probe, drain and recording together, while pods come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.coverage import balance, coverage
from migrate.audit.layout import bytes_of
from migrate.audit.lives import lives
from migrate.audit.reading import Reading, open_recording
from migrate.audit.veths import PodName
from migrate.audit.world import World
from migrate.audit.writing import Clock
from migrate.model.cluster import Cluster
from tests.kernel.agent import Audit
from tests.kernel.conftest import OpenProbe
from tests.kernel.kube_lab import BACKEND_PORT, NODE, SERVICE, SERVICE_PORT, Answer, Lab
from tests.kernel.lab import inside
from tests.unit.audit_records import told

pytestmark = pytest.mark.kernel

PODS = 5
CALLS = 20
CHURN, AT_ONCE = 200, 20
JOB = "10.244.1.5"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        yield made


def _traffic(audit: Audit) -> None:
    lab = audit.lab
    audit.watch(PODS)
    for _ in range(CALLS):
        assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED
    lab.add_pod("job")
    audit.pods.by_address[ip_address(JOB)] = PodName("shop", "job", "uid-job")
    audit.watch(PODS + 1)
    assert lab.connect("job", SERVICE, SERVICE_PORT) is Answer.ANSWERED
    lab.remove_pod("job")
    for begin in range(0, CHURN, AT_ONCE):
        _churn(lab, range(begin, begin + AT_ONCE))
    audit.watch(PODS)
    with closing(lab.open("a", SERVICE, SERVICE_PORT)):
        audit.lab.connect("d", "10.244.1.3", BACKEND_PORT)


def world_of(reading: Reading) -> World:
    """Of a snapshot without anything."""
    return World(Cluster(), reading.owners(), reading.veths(), reading.node)


def _churn(lab: Lab, numbers: range) -> None:
    peer = lab.pods["c"].namespace
    lab.run_ip(NODE, *(f"link add churn{number} type veth peer name p{number} netns {peer}" for number in numbers))
    assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED
    lab.run_ip(NODE, *(f"link delete churn{number}" for number in numbers))


def test_every_connection_is_in_the_recording_under_its_pod(open_probe: OpenProbe, lab: Lab, tmp_path: Path) -> None:
    recording = tmp_path / "audit.db"
    with inside(lab.node):
        probe = open_probe()

    last = Audit(lab, probe, recording).run(_traffic)

    assert last.balance.missing == last.balance.lost == 0
    assert last.coverage.veths == PODS + 1 + CHURN
    flows = told(
        recording,
        "SELECT pod, direction, source, port, sum(events), sum(answered) FROM flow JOIN veth ON veth.id = veth "
        f"WHERE destination IN (x'{_hex(SERVICE)}', x'{_hex('10.244.1.3')}') AND kind = 0 AND protocol = 6 "
        "GROUP BY pod, direction, source, port ORDER BY pod, source",
    )
    calls = CALLS + CHURN // AT_ONCE + 1
    assert flows == [
        ("a", 0, _packed("10.244.1.2"), SERVICE_PORT, calls, calls),
        ("b", 1, _packed("10.244.1.2"), BACKEND_PORT, calls, calls),
        ("b", 1, _packed(JOB), BACKEND_PORT, 1, 1),
        ("b", 1, _packed("10.244.2.2"), BACKEND_PORT, 1, 1),
        ("d", 0, _packed("10.244.2.2"), BACKEND_PORT, 1, 1),
        ("job", 0, _packed(JOB), SERVICE_PORT, 1, 1),
    ]
    assert told(recording, "SELECT count(*) FROM veth WHERE until IS NULL OR until < since OR since < appeared") == [
        (0,)
    ]
    assert told(recording, "SELECT * FROM gap") == []


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_is_said_and_breaks_no_account(
    open_probe: OpenProbe, lab: Lab, tmp_path: Path, jump: int
) -> None:
    recording = tmp_path / "audit.db"
    offset = 0

    def work(audit: Audit) -> None:
        nonlocal offset
        audit.watch(PODS)
        assert lab.connect("a", "10.244.1.3", BACKEND_PORT) is Answer.ANSWERED
        time.sleep(0.5)  # an epoch or two
        offset = jump * 1_000_000_000
        time.sleep(0.5)
        assert lab.connect("a", "10.244.1.3", BACKEND_PORT) is Answer.ANSWERED
        lab.remove_pod("e")
        audit.watch(PODS - 1)

    with inside(lab.node):
        probe = open_probe()
    last = Audit(lab, probe, recording, clock=Clock(lambda: time.time_ns() + offset)).run(work)

    assert last.balance.missing == last.balance.lost == 0
    told_of = [str(row[0]) for row in told(recording, "SELECT detail FROM loss WHERE kind = 'clock-jump'")]
    assert told_of == [f"the clock was set by {jump:+} s"]
    broken = "SELECT count(*) FROM veth WHERE until IS NULL OR until < since OR since < appeared"
    assert told(recording, broken) == [(0,)]
    calls = f"SELECT sum(events) FROM flow WHERE source = x'{_hex('10.244.1.2')}' AND direction = 1 AND protocol = 6"
    assert told(recording, calls) == [(2,)]
    with open_recording(recording) as reading:
        assert balance(reading).holds
        assert all(
            0 <= one.watched_seconds <= one.alive_seconds for one in coverage(lives(reading), world_of(reading), {})
        )


def _packed(address: str) -> bytes:
    return bytes_of(ip_address(address))


def _hex(address: str) -> str:
    return _packed(address).hex()
