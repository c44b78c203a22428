"""A whole audit of the lab: follower, probe, drain and recording together, while pods come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit import conntrack
from migrate.audit.agent import Progress, Settings, run_agent
from migrate.audit.follower import Follower, Pace
from migrate.audit.layout import bytes_of
from migrate.audit.libbpf_probe import LibbpfProbe
from migrate.audit.store import open_store
from migrate.audit.veths import PodName
from tests.kernel.conftest import OpenProbe
from tests.kernel.following import KnownPods
from tests.kernel.kube_lab import BACKEND_PORT, NODE, SERVICE, SERVICE_PORT, Answer, Lab
from tests.kernel.lab import inside
from tests.unit.audit_records import ABOUT, START, told

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


class Audit:
    """An audit that runs in this thread, while `work` runs in another and then ends it."""

    def __init__(self, lab: Lab, probe: LibbpfProbe, recording: Path) -> None:
        self.lab = lab
        self.pods = KnownPods()
        self.pods.tell(lab)
        self._probe = probe
        self._recording = recording
        self._stop = threading.Event()
        self._failures: list[Exception] = []
        self._follower: Follower | None = None

    def run(self, work: Callable[[Audit], None]) -> Progress:
        """What it came to."""
        store = open_store(self._recording, ABOUT)
        worker = threading.Thread(target=self._work, args=(work,))
        try:
            with inside(self.lab.node):
                self._follower = Follower(self._probe, store, self.pods, pace=Pace(links_per_second=1000))
                worker.start()
                settings = Settings(START, 3600, connections=conntrack.dump, shortest_epoch=0.2)
                last = run_agent(settings, self._probe, store, self._follower, lambda _: None, self._stop)
        finally:
            worker.join()
            store.close()
        for failure in self._failures:
            raise failure
        return last

    def watch(self, count: int) -> None:
        """Until so many veths are watched."""
        while self._follower is None or self._follower.watched != count:
            time.sleep(0.02)

    def _work(self, work: Callable[[Audit], None]) -> None:
        try:
            work(self)
        except Exception as failure:  # noqa: BLE001 - told in the other thread
            self._failures.append(failure)
        finally:
            self._stop.set()
            if self._follower is not None:
                self._follower.wake()


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


def _packed(address: str) -> bytes:
    return bytes_of(ip_address(address))


def _hex(address: str) -> str:
    return _packed(address).hex()
