"""Replaying a recording: what 100,000 records cost under 1,000 policies.

    python -m benchmarks audit_replay [RECORDS]

A made-up cluster of 2,000 pods, one node's 50 of them watched. Aim: half a second of one core for the replay of a day,
beside building the engine, which every command does that asks about policies.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeAlias

from benchmarks.clusters import Scale, build
from migrate.audit.judge import Revision
from migrate.audit.layout import bytes_of
from migrate.audit.made import audit_of
from migrate.audit.reading import FlowRow, open_recording
from migrate.audit.recording import APPLICATION_ID, SCHEMA
from migrate.audit.replay import Replay, Scene
from migrate.model.cluster import Cluster, Pod
from migrate.verify.engines import build_engine
from migrate.verify.ways import ways_of

_SCALE = Scale(namespaces=50, workloads=500, pods=2_000, policies=1_000)
_NODE = "node-3"
_HOUR = 494_000
_START = _HOUR * 3600 * 10**9
_SCHEMA_FILE = Path(__file__).parents[1] / "migrate/audit/schema.sql"
_TIMES = 3
_HOURS = 24
Mix: TypeAlias = Callable[[Cluster, Sequence[Pod], int], Iterator[FlowRow]]


def a_day(cluster: Cluster, watched: Sequence[Pod], wanted: int) -> Iterator[FlowRow]:
    """Half of them clients from outside, each once; half pods and outside addresses that are talked to each hour."""
    for index in range(wanted // 2):
        number = 1 + index % 5
        client = IPv4Address("198.18.0.0") + index
        yield _row(number, 0, 1, bytes_of(client), bytes_of(watched[number - 1].addresses[0]), 443)
    for row in every_pair(cluster, watched, wanted // 2 // _HOURS + 1):
        for hour in range(_HOURS):
            yield (row[0], _HOUR + hour, *row[2:])


def every_pair(cluster: Cluster, watched: Sequence[Pod], wanted: int) -> Iterator[FlowRow]:
    """Ends and ports at random, none twice: nothing is like anything before. Most of it is denied."""
    chance = random.Random(0)
    seen: set[tuple[int, int, bytes, int]] = set()
    ports = (53, 80, 443, 5432, 7000, 8080, 8081, 9100, 9101, 9187)
    while len(seen) < wanted:
        number, direction = chance.randrange(len(watched)), chance.randrange(2)
        own = bytes_of(watched[number].addresses[0])
        peer = bytes_of(chance.choice(cluster.pods).addresses[0])
        if chance.random() < 0.1:
            peer = bytes_of(IPv4Address("192.0.0.0") + chance.randrange(2048))
        port = chance.choice(ports)
        key = (number, direction, peer, port)
        if key not in seen and own != peer:
            seen.add(key)
            yield _row(number + 1, 0, direction, *((peer, own) if direction else (own, peer)), port)


def _row(veth: int, hour: int, direction: int, source: bytes, destination: bytes, port: int) -> FlowRow:
    head = (veth, _HOUR + hour, direction, 0, 0, source, destination, 17 if port == 53 else 6, port)
    return (*head, _START, _START + 10**9, 3, 300, 3, 0, 0, 40_000)


def write(path: Path, cluster: Cluster, mix: Mix, wanted: int) -> None:
    """The recording."""
    watched = [pod for pod in cluster.pods if pod.node == _NODE]
    with sqlite3.connect(path) as connection:
        connection.executescript(_SCHEMA_FILE.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("INSERT INTO meta VALUES ('node', ?)", (_NODE,))
        segment = (1, "boot", "", "", "libbpf", "tcx", _START, _START + 10**9, "[]")
        connection.execute("INSERT INTO segment VALUES (?,?,?,?,?,?,?,?,?,'')", segment)
        for number, pod in enumerate(watched):
            row = (
                number + 1,
                1,
                number + 1,
                f"veth{number}",
                pod.namespace,
                pod.name,
                "",
                "route",
                _START,
                _START,
                None,
            )
            connection.execute("INSERT INTO veth VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
        owners = [
            (bytes_of(address), "pod", pod.namespace, pod.name, "", 0)
            for pod in cluster.pods
            for address in pod.addresses
        ]
        connection.executemany("INSERT INTO owner VALUES (?,?,?,?,?,?,NULL)", owners)
        rows = islice(mix(cluster, watched, wanted), wanted)
        connection.executemany(f"INSERT INTO flow VALUES ({','.join('?' * 17)}, 0)", rows)


def measure(path: Path, revision: Revision, cluster: Cluster) -> tuple[dict[str, float], str]:
    """CPU seconds of each step, the best of some runs, and what was found."""
    best: dict[str, float] = {}
    for _ in range(_TIMES):
        marks = [("", time.process_time())]
        with open_recording(path) as reading:
            marks.append(("open and check the file", time.process_time()))
            sum(1 for _ in reading.flows())
            marks.append(("floor: only read the rows", time.process_time()))
            replay = Replay(reading, revision, Scene(cluster))
            marks.append(("classes of ends and packets", time.process_time()))
            lines = replay.run()
            marks.append(("read and judge all records", time.process_time()))
            audit = audit_of(replay)
            marks.append(("document", time.process_time()))
        for (_, before), (name, after) in pairwise(marks):
            best[name] = min(best.get(name, after), after - before)
    return best, f"{audit.tally.records} records, {len(lines)} lines, {len(audit.would_drop)} groups of drops"


def print_all(wanted: int = 100_000) -> None:
    """Both mixes."""
    cluster, policies = build(_SCALE)
    revision = Revision("benchmark", build_engine("cilium", policies, cluster, {}), ways_of("cilium", {}, policies))
    for mix in (a_day, every_pair):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "audit.db"
            write(path, cluster, mix, wanted)
            best, found = measure(path, revision, cluster)
        print(f"{mix.__name__}: {found}, {len(policies)} policies")
        for name, seconds in best.items():
            print(f"  {name:32}{seconds:>8.3f} s", flush=True)
