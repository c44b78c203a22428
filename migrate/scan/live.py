"""Reading a live cluster: every kind of migrate.scan.kinds, with get and list only, and a word on each that could not
be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

import msgspec

from migrate.errors import ClusterError, InputError
from migrate.model.documents import KindCount
from migrate.model.finding import Effect, Finding
from migrate.scan.collector import collector_off
from migrate.scan.connection import Connection, RequestError
from migrate.scan.discovery import Discovery, discover
from migrate.scan.encoded import EncodedObjects
from migrate.scan.kinds import (
    CALICO_API,
    CALICO_STORAGE,
    CONFIG_MAP,
    KINDS,
    NAMESPACE,
    SETTINGS,
    SETTINGS_NAMESPACE,
    Kind,
)
from migrate.scan.prune import Cutter, EncodedObject
from migrate.scan.reader import Listing, Patience, Reader

Progress = Callable[[str, int, int | None], None]
"""Told which kind is being read, how many objects of it were, and how many there are (None: not known)."""


DEFAULT_PATIENCE = Patience()
_NAMESPACE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class LiveReading:
    """A cluster as it was read; objects are sorted by apiVersion, kind, namespace and name.

    `complete` is False when a kind, or part of one, could not be read.
    """

    objects: EncodedObjects
    kinds: tuple[KindCount, ...]
    findings: tuple[Finding, ...]
    server_version: str | None

    @property
    def complete(self) -> bool:
        """Whether nothing was forbidden, failed or unreadable."""
        return all(count.status in ("read", "absent") for count in self.kinds) and not any(
            finding.id == "SCAN-OBJECT-UNREADABLE" for finding in self.findings
        )


@dataclass(slots=True)
class _KindReading:
    """One kind under one API version."""

    count: KindCount
    objects: list[EncodedObject] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_cluster(
    connection: Connection,
    namespaces: tuple[str, ...] | None,
    progress: Progress,
    patience: Patience = DEFAULT_PATIENCE,
) -> LiveReading:
    """Everything that the program reads of a cluster, in all namespaces or in the given ones.

    Raises ClusterError when the server does not answer, refuses the credentials, or lets nothing be read; InputError
    when a given namespace does not exist. What fails for one kind only is a finding.
    """
    chosen = None if namespaces is None else _checked_names(namespaces)
    with collector_off():
        reader = Reader(connection, patience)
        version = _server_version(reader)
        readings = _Scan(reader, discover(reader, KINDS), chosen).run(progress)
    if all(reading.count.status != "read" for reading in readings):
        raise ClusterError(_nothing_read(connection, readings))
    readings.sort(key=lambda reading: reading.count)
    for reading in readings:
        reading.objects.sort()
    findings = sorted((finding for reading in readings for finding in reading.findings), key=Finding.sort_key)
    return LiveReading(
        objects=EncodedObjects([entry.line for reading in readings for entry in reading.objects]),
        kinds=tuple(reading.count for reading in readings),
        findings=tuple(findings),
        server_version=version,
    )


def _checked_names(namespaces: tuple[str, ...]) -> tuple[str, ...]:
    """The namespaces once each, sorted. They become parts of paths, so they must be names."""
    for name in namespaces:
        if not _NAMESPACE_NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot be a namespace: names have small letters, digits and -; see --namespace")
    return tuple(sorted(set(namespaces)))


@dataclass(frozen=True, slots=True)
class _Scan:
    reader: Reader
    discovery: Discovery
    namespaces: tuple[str, ...] | None

    def run(self, progress: Progress) -> list[_KindReading]:
        readings, storage_first = self._calico_order()
        for kind in KINDS:
            found = self._read_kind(kind, progress, storage_first=storage_first)
            if kind is NAMESPACE and self.namespaces is not None:
                self._check_namespaces(self.namespaces, found[0], progress)
            readings += found
        return [*readings, self._read_settings(progress)]

    def _read_kind(self, kind: Kind, progress: Progress, *, storage_first: bool) -> list[_KindReading]:
        """The kind as read from the first group that gives it, after those that refused it."""
        candidates = self.discovery.candidates(kind)
        if not storage_first and CALICO_API in candidates:
            candidates = (CALICO_API,)
        if not candidates:
            return [self._without_candidates(kind)]
        readings: list[_KindReading] = []
        for api_version in candidates:
            readings.append(self._read_version(kind, api_version, progress))
            if readings[-1].count.status == "read":
                break
        _keep_one_copy(readings)
        given = [reading for reading in readings if reading.count.status != "absent"]
        return given or readings[:1]

    def _without_candidates(self, kind: Kind) -> _KindReading:
        silent = [version for version in kind.api_versions if version in self.discovery.unavailable]
        if not silent:
            return _KindReading(KindCount(kind.api_versions[0], kind.kind, "absent"))
        return _unread(silent[0], kind.kind, "failed", 0, "the API server that serves it does not answer")

    def _read_version(self, kind: Kind, api_version: str, progress: Progress) -> _KindReading:
        cutter = Cutter(api_version, kind.kind, kind.shape, kind.detailed)
        places = self.namespaces if kind.namespaced and self.namespaces is not None else (None,)
        whole = Listing()
        for namespace in places:
            before = len(whole.objects)

            def seen(read: int, total: int | None, before: int = before) -> None:
                progress(kind.kind, before + read, None if total is None else before + total)

            part = self.reader.list_all(kind.path(api_version, namespace), cutter, seen)
            _merge(whole, part)
        return _reading_of(api_version, kind.kind, whole)

    def _check_namespaces(self, wanted: tuple[str, ...], reading: _KindReading, progress: Progress) -> None:
        """Namespaces that were asked for must exist: the server gives an empty list for one that does not.

        With rights in a namespace only it cannot be listed among all, but often be read by its name.
        """
        if reading.count.status != "read":
            found = self._get_named(NAMESPACE, [f"{NAMESPACE.path('v1')}/{name}" for name in wanted], progress)
            reading.objects = found.objects
            reading.count = msgspec.structs.replace(reading.count, count=len(found.objects))
            return
        known = {entry.name for entry in reading.objects}
        missing = [name for name in wanted if name not in known]
        if missing:
            near = get_close_matches(missing[0], sorted(known))
            hint = f"did you mean {' or '.join(near)}?" if near else "kubectl get namespaces shows which there are"
            raise InputError(f"{self.reader.connection.host}: no namespace {', '.join(missing)}; {hint}")

    def _read_settings(self, progress: Progress) -> _KindReading:
        root = CONFIG_MAP.path("v1", SETTINGS_NAMESPACE)
        found = self._get_named(CONFIG_MAP, [f"{root}/{name}" for name in SETTINGS], progress)
        return _reading_of("v1", CONFIG_MAP.kind, found)

    def _get_named(self, kind: Kind, paths: list[str], progress: Progress) -> Listing:
        """Objects that are asked for by name; one that does not exist is no failure."""
        cutter = Cutter(kind.api_versions[0], kind.kind, kind.shape)
        found = Listing()
        for path in paths:
            try:
                page = self.reader.fetch(path, cutter.single)
            except RequestError as failure:
                if failure.status != 404:
                    found.failure = failure
                continue
            found.objects.extend(page.objects)
            found.odd.extend(page.odd)
            progress(kind.kind, len(found.objects), None)
        return found

    def _calico_order(self) -> tuple[list[_KindReading], bool]:
        """Whether Calico's stored objects go before its API, and what there is to say about that.

        When both groups are served, the API is either a view of the stored objects (by an API server of Calico's own,
        which shows only policies of tiers that the user may see: the storage is the better source), or made of CRDs
        itself (then objects of the storage group are leftovers that Calico does not read).
        """
        groups = {api_version for api_version, _ in self.discovery.served}
        if CALICO_API not in groups or CALICO_STORAGE not in groups:
            return [], True
        group, version = CALICO_API.split("/")
        path = f"/apis/apiregistration.k8s.io/v1/apiservices/{version}.{group}"
        try:
            return [], self.reader.fetch(path, _is_served_elsewhere)
        except RequestError as failure:
            status: Literal["forbidden", "failed"] = "forbidden" if failure.status == 403 else "failed"
            why = f"so {CALICO_STORAGE} was read, which is wrong if Calico keeps its objects in {CALICO_API}"
            return [_unread("apiregistration.k8s.io/v1", "APIService", status, 0, f"{failure}; {why}")], True


class _ApiServiceSpec(msgspec.Struct, frozen=True):
    service: dict[str, object] | None = None


class _ApiService(msgspec.Struct, frozen=True):
    spec: _ApiServiceSpec = _ApiServiceSpec()


def _is_served_elsewhere(body: bytes) -> bool:
    """Whether an APIService hands its requests to a server of its own rather than to CRDs."""
    return msgspec.json.decode(body, type=_ApiService).spec.service is not None


class _Version(msgspec.Struct, frozen=True):
    version: str = msgspec.field(name="gitVersion")


def _server_version(reader: Reader) -> str | None:
    """The server's version; None when it is not told. It is the first request, so whatever is wrong shows here."""
    try:
        return reader.fetch("/version", lambda body: msgspec.json.decode(body, type=_Version)).version
    except RequestError as failure:
        if failure.status in (403, 404):
            return None
        raise


def _keep_one_copy(readings: list[_KindReading]) -> None:
    """Of several readings of the same objects keep those of the last when it is whole, else of the longest."""
    best = readings[-1] if readings[-1].count.status == "read" else max(readings, key=lambda found: found.count.count)
    for reading in readings:
        if reading is not best:
            reading.objects = []
            reading.count = msgspec.structs.replace(reading.count, count=0)


def _merge(whole: Listing, part: Listing) -> None:
    whole.objects.extend(part.objects)
    whole.odd.extend(part.odd)
    whole.inconsistent |= part.inconsistent
    whole.failure = part.failure or whole.failure


def _reading_of(api_version: str, kind: str, listing: Listing) -> _KindReading:
    title = f"{api_version} {kind}"
    findings = [_finding("SCAN-OBJECT-UNREADABLE", f"{title}: {odd}", Effect.UNKNOWN) for odd in listing.odd]
    if listing.inconsistent:
        detail = f"{title}: the list took longer than the server remembers; its parts are of different moments"
        findings.append(_finding("SCAN-LIST-INCONSISTENT", detail, Effect.NONE))
    read = len(listing.objects)
    failure = listing.failure
    if failure is None:
        return _KindReading(KindCount(api_version, kind, "read", read), listing.objects, findings)
    if failure.status == 404 and not read:
        return _KindReading(KindCount(api_version, kind, "absent"))
    reading = _unread(api_version, kind, "forbidden" if failure.status == 403 else "failed", read, str(failure))
    reading.objects = listing.objects
    reading.findings += findings
    return reading


def _unread(api_version: str, kind: str, status: Literal["forbidden", "failed"], read: int, why: str) -> _KindReading:
    """A kind that could not be read, or not wholly; `read` objects of it were."""
    identifier = "SCAN-KIND-FORBIDDEN" if status == "forbidden" else "SCAN-KIND-FAILED"
    after = f" after the first {read}" if read else ""
    finding = _finding(identifier, f"{api_version} {kind}{after}: {why}", Effect.UNKNOWN)
    return _KindReading(KindCount(api_version, kind, status, read, why), findings=[finding])


def _finding(identifier: str, detail: str, effect: Effect) -> Finding:
    return Finding(id=identifier, detail=detail, effect=effect, effect_on_intent=effect)


def _nothing_read(connection: Connection, readings: list[_KindReading]) -> str:
    first = next((reading.count.detail for reading in readings if reading.count.detail), "no kind is served")
    return (
        f"{connection.host}: nothing could be read ({first}); ask for the rights of docs/rbac.md, "
        "or choose another --context or --as"
    )
