"""A lab whose pods are followed by a real probe into a real recording."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from migrate.audit.follower import Follower, Pace
from migrate.audit.layout import Address, Direction, FlowKey, FlowValue
from migrate.audit.libbpf_probe import LibbpfProbe
from migrate.audit.store import Start, Store, open_store
from migrate.audit.veths import PodName
from tests.kernel.kube_lab import Lab
from tests.kernel.lab import inside
from tests.kernel.records import rows
from tests.unit.audit_records import ABOUT, START, told

STEP_SECONDS = 0.05
AT_ONCE = Pace(links_per_second=1000, reconcile_seconds=0, rest=0, repair_seconds=0, learn_seconds=0)
_NEIGHBOUR_DISCOVERY = range(130, 144)
"""Of ICMPv6, with reports on multicast groups."""
_GROUPS = 2
"""IGMP: the same for IPv4."""


@dataclass
class KnownPods:
    """What the API has told of pods."""

    by_address: dict[Address, PodName] = field(default_factory=dict)

    def tell(self, lab: Lab) -> None:
        """All pods of a lab."""
        for pod in lab.pods.values():
            for address in (pod.address, pod.address_6):
                self.by_address[ip_address(address)] = PodName("shop", pod.name, f"uid-{pod.name}")

    def pod_at(self, address: Address) -> PodName | None:
        """The pod that has this address."""
        return self.by_address.get(address)


@dataclass(frozen=True)
class Following:
    """A running follower of a lab."""

    lab: Lab
    probe: LibbpfProbe
    store: Store
    pods: KnownPods
    follower: Follower
    path: Path

    def wait(self, seconds: float = 0) -> None:
        """Let it follow for this long."""
        with inside(self.lab.node):
            self.follower.wait(seconds)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Let it follow until then; the test's timeout ends what never comes."""
        while not reached():
            self.wait(STEP_SECONDS)

    def during(self, work: Callable[[], None]) -> None:
        """Let it follow while another thread works, and until it has read what came of it."""
        worker = threading.Thread(target=work)
        worker.start()
        self.wait_until(lambda: not worker.is_alive())
        worker.join()
        self.wait(STEP_SECONDS)

    def check(self) -> None:
        """What it does at the end of an epoch."""
        with inside(self.lab.node):
            self.follower.check(self.store.clock.realtime())

    def told(self, query: str) -> list[tuple[object, ...]]:
        """What the recording has."""
        self.store.flush()
        return told(self.path, query)

    def lives(self, name: str) -> list[dict[str, object]]:
        """The lives of a veth."""
        columns = ("id", "namespace", "pod", "uid", "found_by", "appeared", "since", "until")
        found = self.told(f"SELECT {', '.join(columns)} FROM veth WHERE name = '{name}' ORDER BY id")
        return [dict(zip(columns, row, strict=True)) for row in found]

    def gaps(self, name: str) -> list[tuple[str, bool]]:
        """The gaps of a veth: why, and whether they have ended."""
        query = "SELECT reason, gap.until IS NOT NULL FROM gap JOIN veth ON veth.id = veth WHERE name"
        return [(str(reason), bool(ended)) for reason, ended in self.told(f"{query} = '{name}' ORDER BY gap.since")]

    def records(self) -> list[str]:
        """The records of all pods by their veths, without neighbour discovery."""
        names = {pod.ifindex: pod.name for pod in self.lab.pods.values()}
        return sorted(
            f"{names.get(key.ifindex, key.ifindex)} {_line(key, value)}"
            for table in self.probe.flows
            for key, value in rows(table).items()
            if not _is_noise(key)
        )

    def forget(self) -> None:
        """Empty the tables."""
        for table in self.probe.flows:
            for batch in table.batches():
                table.delete([key for key, _ in batch])


@contextmanager
def following(
    lab: Lab,
    probe: LibbpfProbe,
    path: Path,
    *,
    start: Start = START,
    pace: Pace = AT_ONCE,
) -> Iterator[Following]:
    """Follow from now on. The API knows the pods of now; the first attach takes no time unless `pace` says so."""
    known = KnownPods()
    known.tell(lab)
    store = open_store(path, ABOUT)
    try:
        store.segment(start)
        with inside(lab.node):
            follower = Follower(probe, store, known, pace=pace, clock=store.clock.realtime)
        try:
            with inside(lab.node):
                follower.start(store.clock.realtime())
            yield Following(lab, probe, store, known, follower, path)
        finally:
            with inside(lab.node):
                follower.close(store.clock.realtime())
    finally:
        store.close()


def _is_noise(key: FlowKey) -> bool:
    """What kernels tell of neighbours and of multicast groups at any time."""
    return key.protocol == _GROUPS or (key.protocol == 58 and key.port >> 8 in _NEIGHBOUR_DISCOVERY)


def _line(key: FlowKey, value: FlowValue) -> str:
    way = "from" if key.direction is Direction.FROM_POD else "to"
    kind = f" {key.kind.name}" if key.kind else ""
    counted = {"answered": value.answered, "refused": value.refused, "again": value.retransmitted}
    seen = "".join(f" {name} {number}" for name, number in counted.items() if number)
    return f"{way}{kind} {key.source} > {key.destination} {key.protocol}/{key.port}: {value.events}{seen}"
