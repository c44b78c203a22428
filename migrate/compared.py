"""The two states that `migrate verify` compares, from a working folder or from two folders of objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from migrate.errors import InputError
from migrate.futures import ENGINES, WRITTEN, built, engine_options, future_objects, release_of
from migrate.model.cluster import Cluster
from migrate.model.documents import SnapshotHeader, Translation
from migrate.model.raw import Json, RawObject
from migrate.scan import snapshot
from migrate.scan.files import FileReading, read_files
from migrate.scan.inventory import engines
from migrate.sources.calico import GROUPS as CALICO_GROUPS
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cluster import read_cluster
from migrate.sources.endpoints import BACKEND_KINDS
from migrate.translate.documents import TRANSLATION, read_translation
from migrate.translate.kinds import CALICO_POLICIES, CILIUM_GROUP, is_policy
from migrate.translate.profiles import Profile, load_profile
from migrate.verify.incremental import digest
from migrate.verify.verification import State

_SETTINGS = ("FelixConfiguration",)
_NEWEST = "cilium-1.20"
_TODAY = ("services", "toServices", "toFQDNs", "domains")


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to compare: a working folder's snapshot with its translation, or two folders of objects.

    With `before` and `after` both are read as files; `snapshot` then gives the cluster. With `intent` the policies'
    text is compared with what enforces them today. Engines and target are None for what the documents say (folders:
    kubernetes).
    """

    folder: Path
    snapshot: Path | None = None
    before: Path | None = None
    after: Path | None = None
    before_engine: str | None = None
    after_engine: str | None = None
    target: str | None = None
    intent: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """Two states over one cluster; `unread` names what of them was not read."""

    before: State
    after: State
    cluster: Cluster
    unread: tuple[str, ...] = ()


def compared(request: VerifyRequest) -> Compared:
    """The two states that are asked for. Raises InputError when an input is missing or cannot be used."""
    if request.before is not None and request.after is not None:
        return _folders(request, request.before, request.after)
    _check_folder(request)
    return _intent(request) if request.intent else _translation(request)


def kept_as(request: VerifyRequest) -> Path | None:
    """Where the result belongs; that of two folders is kept nowhere."""
    if request.before is not None:
        return None
    return request.folder / ("verification-intent.json" if request.intent else "verification.json")


def inputs_digest(request: VerifyRequest, *options: str) -> str:
    """Changes whenever anything does that a comparison reads: files, engines, profile, program."""
    asked = (request.before_engine, request.after_engine, request.target, request.intent, *options)
    given = (request.before, request.after, request.snapshot)
    files = [path for path in given if path is not None]
    if request.before is None:
        files += [request.folder / name for name in (snapshot.FILE_NAME, TRANSLATION, *WRITTEN)]
    return digest([str(part) for part in asked], files)


def _check_folder(request: VerifyRequest) -> None:
    if request.snapshot is None and not request.folder.is_dir():
        text = "no such folder; run migrate scan first, name the working folder with --dir, or compare two folders"
        raise InputError(f"{request.folder}: {text} with --before and --after")


def _folders(request: VerifyRequest, before: Path, after: Path) -> Compared:
    """Two folders of objects; the cluster is in them, or in a snapshot."""
    readings = [read_files([str(path)], None) for path in (before, after)]
    objects: list[RawObject] = []
    unread = [text for reading in readings for text in unreadable(reading)]
    if request.snapshot is not None:
        given = snapshot.read(request.snapshot)
        objects += [raw for raw in given.objects if not is_policy(raw.ref)]
        unread += unread_kinds(given.header)
    known = {raw.ref for raw in objects}
    for raw in (raw for reading in readings for raw in reading.objects):
        if not is_policy(raw.ref) and raw.ref not in known:
            known.add(raw.ref)
            objects.append(raw)
    cluster = read_cluster(objects, complete=not unread)
    profile = load_profile(request.target or _NEWEST)
    backends = [raw for raw in objects if raw.ref.kind in BACKEND_KINDS]
    names = (request.before_engine or "kubernetes", request.after_engine or "kubernetes")
    states = [
        state(f"{name}, {path}", name, [*_of_folder(reading), *backends], cluster, profile)
        for name, path, reading in zip(names, (before, after), readings, strict=True)
    ]
    return Compared(states[0], states[1], cluster, tuple(unread))


def _of_folder(reading: FileReading) -> Iterator[RawObject]:
    """The folder's own policies and settings; the cluster is one for both folders."""
    return (raw for raw in reading.objects if counts(raw) and raw.ref.kind not in BACKEND_KINDS)


def unreadable(reading: FileReading) -> Iterator[str]:
    """What of some files could not be read."""
    for finding in reading.findings:
        if finding.id == "SCAN-OBJECT-UNREADABLE":
            yield f"{finding.at or finding.subject}: {finding.detail}"


def _translation(request: VerifyRequest) -> Compared:
    """What is enforced today against the translation of a working folder."""
    taken = snapshot.read(request.snapshot or request.folder / snapshot.FILE_NAME)
    document = read_translation(request.folder / TRANSLATION)
    profile = load_profile(request.target or document.target)
    cluster = read_cluster(taken.objects, complete=taken.header.complete)
    policies = [raw for raw in taken.objects if counts(raw)]
    name = request.before_engine or engine_today(taken.header)
    before = state(f"enforced today by {name}", name, policies, cluster, profile)
    after_name = request.after_engine or "cilium"
    future = future_objects(request.folder, document, policies)
    after = state(f"{after_name} on {profile.name}", after_name, future, cluster, profile)
    unread = [*unread_kinds(taken.header), *stale(request.folder, document, policies)]
    if not document.complete and not unread:
        unread.append(f"{TRANSLATION} is not complete")
    return Compared(before, after, cluster, tuple(unread))


def _intent(request: VerifyRequest) -> Compared:
    """The policies' text against what enforces them today."""
    taken = snapshot.read(request.snapshot or request.folder / snapshot.FILE_NAME)
    profile = load_profile(request.target or _NEWEST)
    cluster = read_cluster(taken.objects, complete=taken.header.complete)
    policies = [raw for raw in taken.objects if counts(raw)]
    today = request.after_engine or engine_today(taken.header)
    running = engines(taken.header.facts) if request.after_engine in (None, "none") else (today,)
    text = request.before_engine or intent_engine(policies, running)
    before = state(f"the policies' text, as {text} means it", text, policies, cluster, profile)
    after = state(f"enforced today by {today}", today, policies, cluster, profile)
    return Compared(before, after, cluster, tuple(unread_kinds(taken.header)))


def counts(raw: RawObject) -> bool:
    """Whether an engine looks at the object: policies, what they refer to, settings, and what is behind Services."""
    return is_policy(raw.ref) or raw.ref.kind in (*_SETTINGS, *BACKEND_KINDS)


def intent_engine(policies: Sequence[RawObject], running: Sequence[str] = ()) -> str:
    """Whose API the policies are written for; Calico and Cilium read Kubernetes' own beside theirs.

    `running` are the engines that act today, () when nobody knows: what is left over of Calico is nobody's intent.
    """
    alive = not running or "calico" in running
    if alive and any(raw.ref.group in CALICO_GROUPS and raw.ref.kind in CALICO_POLICIES for raw in policies):
        return "calico"
    return "cilium" if any(raw.ref.group == CILIUM_GROUP for raw in policies) else "kubernetes"


def engine_today(header: SnapshotHeader) -> str:
    """The engine that enforces policies. Raises InputError when the snapshot does not show just one."""
    found = [engine for engine in engines(header.facts) if engine in ENGINES]
    if len(found) == 1:
        return ENGINES[found[0]]
    what = "several engines enforce policy" if found else "no engine that enforces policy was seen"
    raise InputError(f"{what} in the snapshot; say with --before-engine which one to compare with (or none)")


def unread_kinds(header: SnapshotHeader) -> Iterator[str]:
    """What a scan did not read, and what might therefore decide otherwise."""
    for kind in header.kinds:
        if kind.status in ("forbidden", "failed"):
            yield f"{kind.kind}: {kind.status} when the snapshot was taken"
    if header.namespaces is not None:
        yield f"the snapshot has only the namespaces {', '.join(header.namespaces)}"
    elif not header.complete and not any(kind.status in ("forbidden", "failed") for kind in header.kinds):
        yield "the snapshot is not complete"


def stale(folder: Path, document: Translation, policies: Sequence[RawObject]) -> Iterator[str]:
    """Policies that the translation does not know. Raises InputError for an object of it that is not there."""
    for written in (written for result in document.results for written in result.objects):
        if not (folder / written.file).is_file():
            text = f"{TRANSLATION} names it and it is not there; run migrate translate again"
            raise InputError(f"{folder / written.file}: {text}")
    known = {result.source for result in document.results}
    for raw in policies:
        if is_policy(raw.ref) and raw.ref not in known:
            yield f"{raw.ref}: not in {TRANSLATION}, which is older than the snapshot; run migrate translate again"


def state(name: str, engine: str, policies: Sequence[RawObject], cluster: Cluster, profile: Profile) -> State:
    """Policies as an engine means them; Cilium is the one that the profile describes, none enforces nothing."""
    options, release = engine_options(engine, profile, policies, cluster), release_of(profile)
    whole_cluster = _of_services(policies)
    if engine == "cilium":
        whole_cluster = whole_cluster or _of_cilium(policies, CiliumSettings.of_release(release).with_flags(options))
    if engine == "none":
        engine, policies = "kubernetes", []
    build = partial(built, engine, tuple(policies), options, release)
    return State(name, build(cluster), build, whole_cluster)


def _of_services(policies: Sequence[RawObject]) -> str:
    """Why answers depend on what stands behind Services and names today."""
    used = {key for raw in policies for entry in _maps(raw.data) for key in _TODAY if entry.get(key)}
    return f"{', '.join(sorted(used))} in a rule means the addresses of today" if used else ""


def _of_cilium(policies: Sequence[RawObject], settings: CiliumSettings) -> str:
    """Why Cilium's answer for two ends may depend on others, or on all addresses of one."""
    names = [entry for raw in policies for entry in _maps(raw.data) if _is_name(entry.get("port"))]
    if names and not settings.named_ports_per_identity:
        return "before Cilium 1.20 a named port is one number for the whole cluster"
    if any(entry.get("endPort") for entry in names):
        return "a range that begins at a named port is another one for each pod"
    if settings.cidr_match_modes:
        return "with a match mode Cilium's CIDRs mean pods or nodes by all of their addresses"
    return ""


def _is_name(port: Json) -> bool:
    return isinstance(port, str) and bool(port) and not port.isdecimal()


def _maps(value: Json) -> Iterator[Mapping[str, Json]]:
    """Every map in an object."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _maps(part)
    elif isinstance(value, list):
        for part in value:
            yield from _maps(part)
