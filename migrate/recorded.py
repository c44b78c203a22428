"""`migrate audit` on a node: everything is checked before the kernel is touched, then recorded, then judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from migrate.audit.agent import Progress, Stop
from migrate.audit.cycles import cron_cycles
from migrate.audit.durations import LONGEST, duration_text
from migrate.audit.fresh import policies_digest
from migrate.audit.kernel import ProbeError
from migrate.audit.known_pods import KnownPods, SnapshotPods
from migrate.audit.live import LiveJudge
from migrate.audit.node import cluster_digest, node_here
from migrate.audit.pins import BPFFS
from migrate.audit.recorder import RecordingPlan, earlier_recording, record, wanted_seconds
from migrate.audit.store import DEFAULT_MAX_SIZE
from migrate.audit.watched_pods import WatchedPods
from migrate.audited import Place, Scene, read_policies, read_scene, run_judged
from migrate.errors import ClusterError, InputError
from migrate.model.audit_documents import Audit
from migrate.scan.connection import ConnectionOptions, connect

DEFAULT_SECONDS = 24 * 3600
_AFTER_LAST_RUN = 600
"""Of a cycle of CronJobs: so that the run that comes last is seen at work."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What to record. `seconds` is None for what is left of a recording, or else for a day.

    `node` is None for the one that this machine is. `cluster` is asked which pods come and go; None: nobody is.
    """

    place: Place
    seconds: int | None = None
    until_cron: bool = False
    node: str | None = None
    loader: str = "libbpf"
    max_size: int = DEFAULT_MAX_SIZE
    bpffs: Path = BPFFS
    cluster: ConnectionOptions | None = None


@dataclass(frozen=True, slots=True)
class PreparedAudit:
    """An audit that can begin. `notes` are sentences for the user.

    Of the snapshot and the policies it keeps nothing but addresses, since it may wait for a day.
    """

    place: Place
    plan: RecordingPlan
    pods: SnapshotPods
    cluster: ConnectionOptions | None
    notes: tuple[str, ...]

    def live(self) -> LiveJudge:
        """The would-be drops while it runs."""
        scene = read_scene(self.place)
        return LiveJudge(self.place.audit_db, read_policies(self.place, scene).revision, scene.judging)


def prepare_audit(request: AuditRequest) -> PreparedAudit:
    """Everything that can be refused before the kernel is touched. Raises InputError."""
    place = request.place
    scene = read_scene(place)
    policies = read_policies(place, scene)
    node = node_here(scene.cluster, request.node)
    asked, notes = _asked_seconds(request, scene)
    earlier = earlier_recording(place.audit_db, asked)
    seconds = asked or wanted_seconds(place.audit_db) or DEFAULT_SECONDS
    plan = RecordingPlan(
        path=place.audit_db,
        node=node.name,
        cluster=cluster_digest(scene.cluster),
        seconds=seconds,
        policies=policies.digest,
        services=frozenset(address for service in scene.cluster.services for address in service.addresses),
        loader=request.loader,
        max_size=request.max_size,
        bpffs=request.bpffs,
    )
    if earlier is not None:
        notes.append(f"going on with {place.audit_db}, which has {duration_text(earlier.seconds)} already")
        if earlier.policies not in ("", policies.digest):
            notes.append("the policies have changed since it began; all of it is judged by those of now")
    return PreparedAudit(place, plan, SnapshotPods(scene.cluster), request.cluster, tuple(notes))


def run_audit(
    prepared: PreparedAudit, progress: Callable[[Progress], None], stop: Stop
) -> tuple[Audit, tuple[str, ...]]:
    """Record, then judge; with sentences for the user. Raises ClusterError where the node cannot be probed."""
    try:
        with _pods(prepared) as pods:
            last = record(prepared.plan, pods, progress, stop)
    except ProbeError as error:
        raise ClusterError(str(error)) from error
    notes: list[str] = []
    if last.ending == "stopped":
        notes.append("stopped; all that was recorded is kept, and migrate audit goes on with it")
    if last.ending == "store-full":
        notes.append("the recording reached its size limit and ended; --max-size allows more")
    if policies_digest(prepared.place.policies_folder) != prepared.plan.policies:
        notes.append("the policies changed while the audit ran; it is judged by those of now")
    done = run_judged(prepared.place)
    if not (last.unwritten or last.is_waiting):
        return done, tuple(notes)
    text = f"the disk is full: {last.unwritten} new flows at the end, and what else was to be written, are not recorded"
    notes.append(f"{text}; free space and let migrate audit go on")
    return structs.replace(done, complete=False, incomplete=(*done.incomplete, text)), tuple(notes)


@contextmanager
def _pods(prepared: PreparedAudit) -> Iterator[KnownPods]:
    """The snapshot's pods, or those that the cluster tells of. Raises ClusterError where it does not answer."""
    if prepared.cluster is None:
        yield prepared.pods
        return
    watched = WatchedPods(connect(prepared.cluster))
    watched.start()
    try:
        yield watched
    finally:
        watched.close()


def _asked_seconds(request: AuditRequest, scene: Scene) -> tuple[int | None, list[str]]:
    if not request.until_cron:
        return request.seconds, []
    cycles = cron_cycles(scene.objects)
    if cycles.longest is None:
        why = "; ".join(cycles.unreadable) or "the snapshot has no CronJob that runs"
        raise InputError(f"--until-cron: {why}; give --duration instead")
    job, seconds = cycles.longest.job, cycles.longest.seconds + _AFTER_LAST_RUN
    name, wait = f"{job} ({cycles.longest.schedule})", duration_text(cycles.longest.seconds)
    if seconds > LONGEST:
        raise InputError(f"--until-cron: {name} waits up to {wait} between two runs; give --duration instead")
    notes = [f"{duration_text(seconds)}, since {name} waits up to {wait} between two runs", *cycles.unreadable]
    return max(seconds, request.seconds or 0), notes
