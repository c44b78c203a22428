"""The two states that `migrate verify` compares, from a working folder or from two folders of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from migrate.errors import InputError
from migrate.model.cluster import Cluster
from migrate.model.documents import Result, SnapshotHeader, Translation
from migrate.model.raw import Json, RawObject
from migrate.scan import snapshot
from migrate.scan.files import read_files
from migrate.scan.inventory import engines
from migrate.sources.cluster import read_cluster
from migrate.translate.documents import read_translation
from migrate.translate.kinds import is_policy
from migrate.translate.profiles import Profile, load_profile
from migrate.verify.engines import build_engine
from migrate.verify.verification import State

_ENGINES = {"npm-linux": "npm", "npm-windows": "npm-windows", "calico": "calico", "cilium": "cilium"}
_SETTINGS = ("FelixConfiguration",)


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to compare: a working folder's snapshot with its translation, or two folders of objects.

    With `before` and `after` both are read as files; `snapshot` then gives the cluster. Engines and target are None
    for what the documents say (folders: kubernetes).
    """

    folder: Path
    snapshot: Path | None = None
    before: Path | None = None
    after: Path | None = None
    before_engine: str | None = None
    after_engine: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """Two states over one cluster; `complete` says whether all of both was read."""

    before: State
    after: State
    cluster: Cluster
    complete: bool


def folders(request: VerifyRequest) -> Compared:
    """Two folders of objects; the cluster is in them, or in a snapshot."""
    readings = [read_files([str(path)], None) for path in (request.before, request.after) if path is not None]
    objects: list[RawObject] = []
    complete = all(reading.complete for reading in readings)
    if request.snapshot is not None:
        given = snapshot.read(request.snapshot)
        objects += [raw for raw in given.objects if not is_policy(raw.ref)]
        complete = complete and given.header.complete
    for reading in readings:
        known = {raw.ref for raw in objects}
        objects += [raw for raw in reading.objects if not is_policy(raw.ref) and raw.ref not in known]
    cluster = read_cluster(objects, complete=complete)
    profile = load_profile(request.target or "cilium-1.20")
    names = (request.before_engine or "kubernetes", request.after_engine or "kubernetes")
    paths = (request.before, request.after)
    states = [
        _state(f"{name}, {path}", name, [r for r in reading.objects if _counts(r)], cluster, profile)
        for name, path, reading in zip(names, paths, readings, strict=True)
    ]
    return Compared(states[0], states[1], cluster, complete)


def translation(request: VerifyRequest) -> Compared:
    """What is enforced today against the translation of a working folder."""
    taken = snapshot.read(request.snapshot or request.folder / snapshot.FILE_NAME)
    document = read_translation(request.folder / "translation.json")
    profile = load_profile(request.target or document.target)
    cluster = read_cluster(taken.objects, complete=taken.header.complete)
    policies = [raw for raw in taken.objects if _counts(raw)]
    name = request.before_engine or _engine_today(taken.header)
    today = [] if name == "none" else policies
    before = _state(f"enforced today by {name}", "kubernetes" if name == "none" else name, today, cluster, profile)
    after_name = request.after_engine or "cilium"
    future = _future(request.folder, document, policies)
    after = _state(f"{after_name} on {profile.name}", after_name, future, cluster, profile)
    return Compared(before, after, cluster, taken.header.complete and document.complete)


def _counts(raw: RawObject) -> bool:
    return is_policy(raw.ref) or raw.ref.kind in _SETTINGS


def _engine_today(header: SnapshotHeader) -> str:
    found = [engine for engine in engines(header.facts) if engine in _ENGINES]
    if len(found) == 1:
        return _ENGINES[found[0]]
    what = "several engines enforce policy" if found else "no engine that enforces policy was seen"
    raise InputError(f"{what} in the snapshot; say with --before-engine which one to compare with (or none)")


def _future(folder: Path, document: Translation, policies: Sequence[RawObject]) -> list[RawObject]:
    """The objects that Cilium will read: those written, Cilium's own of today, and NetworkPolicies that stay."""
    written = read_files([str(folder / "cilium")], None).objects if (folder / "cilium").is_dir() else ()
    staying = {result.source for result in document.results if result.result is Result.KEPT}
    if document.networkpolicy != "rewrite":
        gone = {r.source for r in document.results if any(f.id == "POL-SOURCE-STAYS" for f in r.findings) and r.objects}
        staying |= {r.source for r in document.results if r.source.group == "networking.k8s.io"} - gone
    return [*written, *(raw for raw in policies if raw.ref in staying)]


def _state(name: str, engine: str, policies: Sequence[RawObject], cluster: Cluster, profile: Profile) -> State:
    options: Mapping[str, Json] = {}
    if engine == "cilium":
        options = {
            "enable-sctp": profile.sctp,
            "enable-icmp-rules": profile.icmp_rules,
            "policy-cidr-match-mode": [*profile.cidr_match_modes],
        }
    release = int(profile.crds.partition(".")[2])
    return State(name, build_engine(engine, policies, cluster, options, release))
