"""One run of an audit on this node: the probe in the kernel, the recording on disk, and what joins them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import migrate
from migrate.audit import conntrack
from migrate.audit.agent import Progress, Settings, Stop, run_agent
from migrate.audit.conntrack import Connection
from migrate.audit.follower import Follower
from migrate.audit.kernel import Probe, Sizes
from migrate.audit.known_pods import KnownPods
from migrate.audit.layout import LAYOUT, Address
from migrate.audit.loader import open_probe
from migrate.audit.pins import BPFFS
from migrate.audit.reading import Reading, open_recording
from migrate.audit.recording import About
from migrate.audit.status import recorded_seconds
from migrate.audit.store import DEFAULT_MAX_SIZE, Start, Store, open_store
from migrate.audit.tracing import Tracing
from migrate.audit.veths import own_addresses
from migrate.errors import InputError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SHORTEST_EPOCH = 10.0
_FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """What to record, and where. `seconds` are of the whole recording: a run that goes on takes what is left of it.

    `policies` is a digest of those that judge at the start, `services` are the addresses of Services. `bpffs` None:
    nothing is pinned, so nothing goes on after a kill.
    """

    path: Path
    node: str
    cluster: str
    seconds: int
    policies: str = ""
    services: frozenset[Address] = frozenset()
    loader: str = "libbpf"
    max_size: int = DEFAULT_MAX_SIZE
    bpffs: Path | None = BPFFS
    shortest_epoch: float = _SHORTEST_EPOCH
    run: str = ""
    """Of agents on a cluster."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an unfinished recording has already; `policies` is the digest it was begun with."""

    seconds: int
    policies: str


def earlier_recording(path: Path, wanted: int | None) -> Earlier | None:
    """What a recording has that this audit would go on with; None where there is none.

    Raises InputError where it is finished: then nothing is left to go on with, unless `wanted` seconds are more.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    with open_recording(path) as reading:
        if not reading.segments():
            return None
        before = _recorded(reading)
        planned = int(reading.meta.get("wanted_seconds", "0"))
        if wanted is None and (reading.meta.get(_FINISHED) or before >= planned):
            text = "this audit is finished; judge it again with migrate audit replay, or record into another file"
            raise InputError(f"{path}: {text} with --audit")
        if wanted is not None and before >= wanted:
            raise InputError(f"{path}: has {before} s already; give a longer --duration to go on, or another --audit")
        return Earlier(before, reading.meta.get("policies", ""))


def wanted_seconds(path: Path) -> int | None:
    """How long the recording at `path` was meant to be; None where there is none."""
    if not path.exists() or not path.stat().st_size:
        return None
    with open_recording(path) as reading:
        return int(reading.meta.get("wanted_seconds", "0")) or None


def is_complete(reading: Reading, seconds: int) -> bool:
    """Whether `seconds` were recorded to their end."""
    wanted = int(reading.meta.get("wanted_seconds", "0"))
    return (bool(reading.meta.get(_FINISHED)) and wanted >= seconds) or _recorded(reading) >= seconds


def record(plan: RecordingPlan, pods: KnownPods, progress: Callable[[Progress], None], stop: Stop) -> Progress:
    """Record until the time is over or `stop` is set. Nothing of it stays in the kernel.

    Who ends the watch of the pods when `progress` tells of the end still has recorded what was heard until then.
    Raises InputError for a recording that cannot be used, and ProbeError where the node cannot be probed.
    """
    about = About(plan.node, plan.cluster, plan.seconds, migrate.__version__, time.time_ns())
    store = open_store(plan.path, about, plan.max_size)
    try:
        with open_recording(plan.path) as reading:
            before, interval = _ended(reading), reading.interval()
        if interval is not None:
            pods.resume(store, interval[1])
        store.note("wanted_seconds", str(plan.seconds))
        store.note("policies", plan.policies)
        if plan.run:
            store.note("run", plan.run)
        store.note(_FINISHED, "")
        last = _run(plan, store, pods, max(1, plan.seconds - before), progress, stop)
        if last.ending == "complete":
            store.note(_FINISHED, "1")
        return last
    finally:
        store.close()


def _run(
    plan: RecordingPlan, store: Store, pods: KnownPods, seconds: int, progress: Callable[[Progress], None], stop: Stop
) -> Progress:
    sizes = Sizes()
    probe = open_probe(sizes, plan.loader, bpffs=plan.bpffs)
    try:
        follower = Follower(probe, store, pods)
        tracing = Tracing(probe, store, own_addresses, plan.services)
        settings = Settings(
            start=_start(probe),
            seconds=seconds,
            connections=_standing,
            tracing=tracing,
            capacity=sizes.flows,
            shortest_epoch=plan.shortest_epoch,
        )
    except BaseException:
        probe.remove()
        raise

    def told(now: Progress) -> None:
        pods.tell(store)
        progress(now)
        if now.ending:
            pods.tell(store)

    return run_agent(settings, probe, store, follower, told, stop)


def _standing() -> Iterator[Connection]:
    return (one for one in conntrack.dump() if one.is_open)


def _start(probe: Probe) -> Start:
    return Start(
        boot_id=boot_id(),
        layout=LAYOUT,
        kernel=os.uname().release,
        loader=probe.loader,
        attach=probe.attached_by,
        notes=probe.notes,
        same_tables=probe.resumed,
    )


def boot_id() -> str:
    """Another one after each boot of the node."""
    return _BOOT_ID.read_text().strip()


def _ended(reading: Reading) -> int:
    """Seconds of the runs that cannot go on; the agent counts those of the one that can."""
    here = boot_id()
    interval = reading.interval()
    over = tuple(one for one in reading.segments() if one.ended is not None or one.boot_id != here)
    return recorded_seconds(over, None if interval is None else interval[1])


def _recorded(reading: Reading) -> int:
    interval = reading.interval()
    return recorded_seconds(reading.segments(), None if interval is None else interval[1])
