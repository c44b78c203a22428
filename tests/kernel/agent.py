"""An agent of the lab's node in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from migrate.audit import conntrack
from migrate.audit.agent import Progress, Settings, run_agent
from migrate.audit.follower import Follower, Pace
from migrate.audit.libbpf_probe import LibbpfProbe
from migrate.audit.store import open_store
from migrate.audit.tracing import Tracing
from migrate.audit.veths import own_addresses
from migrate.audit.writing import SYSTEM_CLOCK, Clock
from tests.kernel.following import KnownPods
from tests.kernel.kube_lab import SERVICE, Lab
from tests.kernel.lab import inside
from tests.unit.audit_records import ABOUT, START


class Audit:
    """An audit that runs in this thread, while `work` runs in another and then ends it."""

    def __init__(
        self,
        lab: Lab,
        probe: LibbpfProbe,
        recording: Path,
        *,
        epoch: float = 0.2,
        traced: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.lab = lab
        self.pods = KnownPods()
        self.pods.tell(lab)
        self._probe = probe
        self._recording = recording
        self._epoch = epoch
        self._traced = traced
        self._clock = clock
        self._stop = threading.Event()
        self._failures: list[Exception] = []
        self._follower: Follower | None = None

    def run(self, work: Callable[[Audit], None]) -> Progress:
        """What it came to."""
        store = open_store(self._recording, ABOUT, clock=self._clock)
        worker = threading.Thread(target=self._work, args=(work,))
        try:
            with inside(self.lab.node):
                pace, clock = Pace(links_per_second=1000), self._clock.realtime
                self._follower = Follower(self._probe, store, self.pods, pace=pace, clock=clock)
                worker.start()
                tracing = Tracing(self._probe, store, own_addresses, [ip_address(SERVICE)]) if self._traced else None
                settings = Settings(START, 3600, conntrack.dump, tracing, shortest_epoch=self._epoch)
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
