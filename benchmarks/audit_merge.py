"""Merging and judging the recordings of many nodes: what each node more costs in time, memory and room.

    python -m benchmarks audit_merge [NODES] [RECORDS]

A made-up cluster with 50 pods on each node; of each node a day's recording, written by the store of the agent itself.
Each step runs in a process of its own, for a quarter, a half and all of the nodes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

from benchmarks.audit_replay import a_day
from benchmarks.clusters import Scale, build
from migrate.audit.flow_rows import Record
from migrate.audit.judge import Revision
from migrate.audit.layout import Counter, FlowKey, FlowValue
from migrate.audit.made import audit_of
from migrate.audit.merged import NodeRow, merge
from migrate.audit.merged_parquet import merge_into_parquet
from migrate.audit.reading import FlowRow, open_recording
from migrate.audit.recording import About
from migrate.audit.replay import Replay, Scene
from migrate.audit.store import Start, open_store
from migrate.audit.writing import Clock
from migrate.model.cluster import Cluster
from migrate.model.raw import RawObject
from migrate.verify.engines import build_engine
from migrate.verify.ways import ways_of

_PODS_PER_NODE = 50
_HOUR = 3600 * 10**9
_START = 494_000 * _HOUR
_DAY = 86_400
_MAX_SIZE = 1 << 32
_STEPS = ("merge", "parquet", "replay")
_SKEW = 90 * 10**9


def cluster_of(nodes: int) -> tuple[Cluster, list[RawObject]]:
    """As many nodes, with 1,000 policies for their pods."""
    return build(Scale(namespaces=50, workloads=500, pods=nodes * _PODS_PER_NODE, policies=1_000))


def write_stores(folder: Path, cluster: Cluster, records: int) -> None:
    """The recording of each node; the first node's agent tells of all nodes, and each of its own pods."""
    full = [node for node in cluster.nodes if sum(pod.node == node.name for pod in cluster.pods) == _PODS_PER_NODE]
    for number, node in enumerate(full):
        path = folder / f"{node.name}.db"
        now = [_START]
        about = About(node.name, "cluster", _DAY, "1.0", _START + number)
        store = open_store(path, about, _MAX_SIZE, Clock(lambda now=now: now[0], lambda now=now: now[0] - _START))  # type: ignore[misc]
        store.segment(Start(f"boot-{number}", "layout", "6.18", "libbpf", "tcx"))
        store.set_base(dict.fromkeys(Counter, 0))
        watched = [pod for pod in cluster.pods if pod.node == node.name]
        for index, pod in enumerate(watched, start=1):
            store.name_veth(
                store.veth(index, f"veth{index}", _START, _START), pod.namespace, pod.name, str(pod), "route"
            )
            for address in pod.addresses:
                store.own(address, "pod", pod.namespace, pod.name, str(pod), 0)
        for other in cluster.nodes if not number else ():
            for address in other.addresses:
                store.own(address, "node", "", other.name, other.name, 0)
        new = 0
        rows = sorted(islice(a_day(cluster, watched, records), records), key=itemgetter(1))
        for hour, of_hour in groupby(rows, key=itemgetter(1)):
            found = [_record(row) for row in of_hour]
            new += sum(FlowValue.FORMAT.unpack(value)[2] for _, value in found)
            now[0] = (hour + 1) * _HOUR - 1
            store.commit_epoch(hour, found, dict.fromkeys(Counter, 0) | {Counter.NEW: new}, now[0])
        now[0] = _START + _DAY * 10**9
        store.end()
        store.close()


def _record(row: FlowRow) -> Record:
    """As the kernel has it, at the begin of the hour of the row."""
    veth, hour, direction, kind, _, source, destination, protocol, port, *_ = row
    key = FlowKey.FORMAT.pack(source, destination, veth, port, protocol, kind << 1 | direction)
    first = hour * _HOUR - _START
    return key, FlowValue.FORMAT.pack(first, first + 10**9, row[11], row[12], row[13], row[14], row[16], 0, row[15])


def run_step(step: str, folder: Path, nodes: int) -> None:
    """One step in this process, with a line of figures."""
    stores = sorted(folder.glob("*.db"), key=lambda path: int(path.stem.rpartition("-")[2]))[:nodes]
    into = folder / f"merged-{nodes}" / "audit.db"
    known = [NodeRow(path.stem, skew=_SKEW) for path in stores]
    before = _seconds()
    if step == "merge":
        done = merge(stores, into, known)
        room = into.stat().st_size
        print(f"{done.records:,} records, {room / 2**20:.0f} MiB, {_cost(before)}")
    elif step == "parquet":
        merge_into_parquet(stores, into.parent / "parquet", known)
        room = sum(path.stat().st_size for path in (into.parent / "parquet").rglob("*.parquet"))
        print(f"{room / 2**20:.0f} MiB, {_cost(before)}")
    else:
        _replay(into, len(list(folder.glob("*.db"))))


def _replay(path: Path, nodes: int) -> None:
    cluster, policies = cluster_of(nodes)
    revision = Revision("benchmark", build_engine("cilium", policies, cluster, {}), ways_of("cilium", {}, policies))
    floor, before = _memory(), _seconds()
    with open_recording(path) as reading:
        replay = Replay(reading, revision, Scene(cluster))
        lines = replay.run()
        judged = _cost(before)
        before = _seconds()
        audit = audit_of(replay)
    found = f"{len(lines):,} lines, {len(audit.would_drop):,} groups, {len(audit.nodes)} nodes"
    print(f"{found}; judged {judged} (of it {floor:.0f} MiB before), document {_cost(before)}")


def _seconds() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _cost(before: tuple[float, float]) -> str:
    return f"{time.monotonic() - before[0]:.1f} s ({time.process_time() - before[1]:.1f} s CPU), {_memory():.0f} MiB"


def _memory() -> float:
    """The most that this process ever had, in MiB; not that of who started it, which getrusage may tell."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _parts(nodes: int) -> Iterator[int]:
    yield from sorted({max(1, nodes // 4), max(1, nodes // 2), nodes})


def print_all(nodes: int = 100, records: int = 100_000) -> None:
    """All steps for a quarter, a half and all of the nodes."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as name:
        folder = Path(name)
        before = _seconds()
        cluster, _ = cluster_of(nodes)
        write_stores(folder, cluster, records)
        room = sum(path.stat().st_size for path in folder.glob("*.db"))
        print(f"{nodes} stores of {records:,} records, {room / nodes / 2**20:.1f} MiB each, written in {_cost(before)}")
        for part in _parts(nodes):
            for step in _STEPS:
                command = [sys.executable, "-m", "benchmarks.audit_merge", step, name, str(part)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(f"{part:>5} {step:8} {told.strip()}", flush=True)


if __name__ == "__main__":
    run_step(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
