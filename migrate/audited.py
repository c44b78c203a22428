"""Recordings of `migrate audit` with the snapshot and the policies that judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import msgspec
from msgspec import structs

import migrate
from migrate.audit.cycles import cycle_coverage
from migrate.audit.exported import ExportedFlow, exported
from migrate.audit.fresh import files_digest, outdated, policies_digest, recording_state
from migrate.audit.hints import hint_text
from migrate.audit.judge import Revision
from migrate.audit.made import audit_of, difference
from migrate.audit.node import cluster_digest
from migrate.audit.reading import Reading, open_recording
from migrate.audit.replay import Line, Replay
from migrate.audit.replay import Scene as Judging
from migrate.audit.status import AuditStatus, status_of
from migrate.audit.suggest import Needed, suggest
from migrate.audit.suggested import AuditSuggestions, Unhelped, objects_of, policy_of, suggested
from migrate.compared import counts, state, unread_kinds, unreadable
from migrate.compared import stale as stale_policies
from migrate.errors import InputError
from migrate.files import write_atomic
from migrate.futures import engine_over, future_objects
from migrate.model.addresses import Network
from migrate.model.audit_documents import Audit, AuditDifference, JudgedFrom
from migrate.model.cluster import Cluster
from migrate.model.documents import SnapshotHeader, Translation, Verification
from migrate.model.raw import RawObject
from migrate.readiness.documents import AUDIT, read_audit
from migrate.scan import snapshot
from migrate.scan.collector import collector_off
from migrate.scan.files import read_files
from migrate.sources.cluster import read_cluster
from migrate.sources.egress_networks import egress_networks
from migrate.sources.endpoints import BACKEND_KINDS, read_backends
from migrate.sources.probes import probe_ports
from migrate.translate.documents import TRANSLATION, read_translation
from migrate.translate.kinds import is_policy
from migrate.translate.profiles import Profile, load_profile, profile_for
from migrate.verify.verification import Wanted, verify
from migrate.verify.ways import ways_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where things stand. `snapshot`, `policies` and `recording` are None for their places in the working folder.

    `policies` is a working folder with a translation, or any folder or file of manifests. `target` is None for the
    translation's.
    """

    folder: Path
    snapshot: Path | None = None
    policies: Path | None = None
    recording: Path | None = None
    target: str | None = None

    @property
    def audit_db(self) -> Path:
        """The recording."""
        return self.recording or self.folder / "audit.db"

    @property
    def snapshot_file(self) -> Path:
        """The snapshot of the cluster."""
        return self.snapshot or self.folder / snapshot.FILE_NAME

    @property
    def policies_folder(self) -> Path:
        """What judges the recording."""
        return self.policies or self.folder

    @property
    def document(self) -> Path | None:
        """Where the result stands for a report; None where not the folder's own snapshot and translation made it."""
        asked = (self.snapshot or self.folder / snapshot.FILE_NAME, self.folder / snapshot.FILE_NAME)
        judged = (self.policies or self.folder, self.folder)
        own = all(given.resolve() == kept.resolve() for given, kept in (asked, judged))
        is_own = own and self.target is None and (self.folder / TRANSLATION).is_file()
        return self.folder / AUDIT if is_own else None


@dataclass(frozen=True)
class Scene:
    """A snapshot, read."""

    path: Path
    header: SnapshotHeader
    objects: Sequence[RawObject]

    @cached_property
    def cluster(self) -> Cluster:
        """What runs in the cluster."""
        return read_cluster(self.objects, complete=self.header.complete)

    @cached_property
    def policies(self) -> list[RawObject]:
        """The policies of today, with what stands behind Services."""
        return [raw for raw in self.objects if counts(raw)]

    @cached_property
    def judging(self) -> Judging:
        """What a recording is judged with besides the policies."""
        return Judging(self.cluster, read_backends(self.objects), probe_ports(self.objects))


@dataclass(frozen=True, slots=True)
class Policies:
    """A revision of the policies with what it was read from; `unread` names what of it could not be."""

    revision: Revision
    objects: Sequence[RawObject]
    profile: Profile
    digest: str
    unread: tuple[str, ...] = ()


def read_scene(place: Place) -> Scene:
    """The snapshot. Raises InputError when there is none."""
    taken = snapshot.read(place.snapshot_file)
    with collector_off():
        return Scene(place.snapshot_file, taken.header, list(taken.objects))


def read_policies(place: Place, scene: Scene, added: Sequence[RawObject] = ()) -> Policies:
    """The policies that Cilium will have, with `added` ones beside them. Raises InputError where there are none."""
    folder = place.policies_folder
    with collector_off():
        if (folder / TRANSLATION).is_file():
            document = read_translation(folder / TRANSLATION)
            objects, unread = _translated(folder, document, scene)
            name = place.target or document.target
        else:
            objects, unread = _manifests(folder, scene)
            name = place.target or profile_for(scene.header.facts)[0]
        profile = load_profile(name)
        objects = [*objects, *added]
        built = engine_over("cilium", objects, scene.cluster, profile)
    with_added = f" with {len(added)} more" if added else ""
    revision = Revision(f"{folder}{with_added} on {profile.name}", built, ways_of("cilium", {}, objects))
    return Policies(revision, objects, profile, policies_digest(folder), (*unread_kinds(scene.header), *unread))


def _translated(folder: Path, document: Translation, scene: Scene) -> tuple[list[RawObject], list[str]]:
    unread = list(stale_policies(folder, document, scene.policies))
    if not document.complete and not unread:
        unread.append(f"{TRANSLATION} is not complete")
    return future_objects(folder, document, scene.policies), unread


def _manifests(folder: Path, scene: Scene) -> tuple[list[RawObject], list[str]]:
    """Any policies of files, with what stands behind the cluster's Services."""
    if not folder.exists():
        text = "no such file or folder; run migrate translate first, or name the policies with --policies"
        raise InputError(f"{folder}: {text}")
    reading = read_files([str(folder)], None)
    policies = [raw for raw in reading.objects if is_policy(raw.ref)]
    if not policies:
        raise InputError(
            f"{folder}: neither a {TRANSLATION} nor policies are there; run migrate translate first, "
            "or name the policies with --policies"
        )
    return [*policies, *(raw for raw in scene.policies if raw.ref.kind in BACKEND_KINDS)], list(unreadable(reading))


def run_judged(place: Place, added: Sequence[RawObject] = ()) -> Audit:
    """The recording under one revision of the policies. Raises InputError where something is missing."""
    scene = read_scene(place)
    return judged(place, scene, read_policies(place, scene, added))


def judged(place: Place, scene: Scene, policies: Policies) -> Audit:
    """The recording under policies that were read already."""
    with open_recording(place.audit_db) as reading, collector_off():
        check_cluster(reading, scene)
        snapshot_digest = files_digest(scene.path.parent, [scene.path])
        made_from = JudgedFrom(policies=policies.digest, snapshot=snapshot_digest, recording=recording_state(reading))
        audit = audit_of(Replay(reading, policies.revision, scene.judging))
        interval = reading.interval() or (0, 0)
    since, until = (datetime.fromtimestamp(moment / 1e9, UTC) for moment in interval)
    cycles = cycle_coverage(scene.objects, audit.coverage, since, until)
    audit = structs.replace(audit, judged_from=made_from, cron_jobs=cycles)
    unread = tuple(f"not read: {text}" for text in policies.unread)
    return structs.replace(audit, complete=False, incomplete=(*audit.incomplete, *unread)) if unread else audit


def write_document(place: Place, audit: Audit) -> Path | None:
    """Leave a result in the working folder, for the report; None where it is not of that folder's own policies.

    Raises InputError when it cannot be written.
    """
    if place.document is not None:
        write_atomic(place.document, msgspec.json.format(msgspec.json.encode(audit), indent=2) + b"\n")
    return place.document


def run_difference(place: Place, before: Path) -> AuditDifference:
    """The recording under the policies of another folder and under those of `place`."""
    scene = read_scene(place)
    places = (replace(place, policies=folder) for folder in (before, place.policies_folder))
    first, second = (judged(one, scene, read_policies(one, scene)) for one in places)
    return difference(first, second)


def run_export(place: Place, write: Callable[[Iterable[ExportedFlow]], None]) -> None:
    """All records with their verdicts, given to `write`."""
    scene = read_scene(place)
    policies = read_policies(place, scene)
    with open_recording(place.audit_db) as reading:
        check_cluster(reading, scene)
        write(exported(Replay(reading, policies.revision, scene.judging)))


def run_hints(place: Place) -> str:
    """The outside addresses that pods called, as the beginning of a hint file for `migrate translate`."""
    scene = read_scene(place)
    policies = read_policies(place, scene)
    networks: dict[str, frozenset[Network]] = {}
    for raw in policies.objects:
        namespace = raw.ref.namespace or ""
        networks[namespace] = networks.get(namespace, frozenset()) | egress_networks(raw)
    with open_recording(place.audit_db) as reading:
        check_cluster(reading, scene)
        return hint_text(exported(Replay(reading, policies.revision, scene.judging)), networks)


def run_suggest(place: Place, wanted: Callable[[Needed], bool]) -> AuditSuggestions:
    """Policies that would let through what is wanted, judged again by the recording and by `verify`."""
    scene = read_scene(place)
    policies = read_policies(place, scene)
    taken = [raw.ref for raw in (*scene.objects, *policies.objects)]

    def judge(added: Sequence[RawObject]) -> Iterable[Line]:
        revised = read_policies(place, scene, added) if added else policies
        return Replay(reading, revised.revision, scene.judging).run()

    with open_recording(place.audit_db) as reading, collector_off():
        check_cluster(reading, scene)
        done = suggested(judge, lambda needed: suggest(needed, scene.cluster, policies.profile, taken), wanted)
        opened = _opened(scene, policies, objects_of(done.suggestions))
    return AuditSuggestions(
        tool_version=migrate.__version__,
        policies=policies.revision.name,
        complete=opened.complete and not policies.unread,
        dropped_before=done.before,
        dropped_after=done.after,
        suggested=tuple(policy_of(one) for one in done.suggestions.made),
        unhelped=tuple(Unhelped(flow=flow, reason=reason) for flow, reason in done.suggestions.not_made),
        opens=opened.causes,
        left_out=(*policies.unread, *opened.left_out),
    )


def _opened(scene: Scene, policies: Policies, added: Sequence[RawObject]) -> Verification:
    """What the policies admit with some more beside them."""
    before = state("without", "cilium", policies.objects, scene.cluster, policies.profile)
    after = state("with", "cilium", [*policies.objects, *added], scene.cluster, policies.profile)
    return verify(before, after, scene.cluster, wanted=Wanted("snapshot"))


def run_status(place: Place) -> AuditStatus:
    """How far a recording is, and whether the folder's result is of it. Raises InputError where there is none."""
    with open_recording(place.audit_db) as reading:
        found = status_of(reading)
    audit = read_audit(place.folder)
    if audit is None:
        return found
    return structs.replace(found, judged=True, outdated=outdated(audit, place.folder, place.snapshot_file))


def check_cluster(reading: Reading, scene: Scene) -> None:
    """Raises InputError where the recording was made with a snapshot of another cluster."""
    known, here = reading.meta.get("cluster", ""), cluster_digest(scene.cluster)
    if known and known != here:
        raise InputError(
            f"{scene.path}: a snapshot of another cluster than {reading.path} was recorded in; "
            "give the snapshot of that cluster with --snapshot"
        )
