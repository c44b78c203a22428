"""Logs of other programs taken into a working folder, one recording for each file.

A recording lies at audit/imported-<name>-<digest>.db, beside those of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import migrate
from migrate.audit import words
from migrate.audit.merge_sources import IMPORT
from migrate.audit.node import cluster_digest, node_here
from migrate.audit.reading import open_recording
from migrate.audit.recording import About
from migrate.audited import Place, read_scene
from migrate.errors import InputError
from migrate.evidence.formats import Format, format_of, reader_of
from migrate.evidence.placed import Places, Unusable
from migrate.evidence.recorded import ImportedRecording, Origin, imported_recording
from migrate.evidence.seen import Counted, SeenFlow, Unread
from migrate.evidence.source_file import SourceFile, digest
from migrate.model.addresses import Address
from migrate.model.import_documents import AuditImport, Counter, ImportedFile, NotUsed, NotUsedKind

FOLDER = "audit"
"""In the working folder: the recordings of nodes, and those of other programs."""

_OPTIONS = "import_options"
_MOST_COUNTERS = 10_000
_NAME_LENGTH = 60
_WITHOUT_TIME = "flows have no time, and stand at that of the file"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import. `since` and `until` are in nanoseconds since 1970; `prefixes` are those of Calico's Log lines."""

    place: Place
    files: Sequence[Path]
    format: str | None = None
    node: str | None = None
    since: int | None = None
    until: int | None = None
    prefixes: Sequence[str] = ()


@dataclass(slots=True)
class _Tally:
    """What was counted of a file."""

    lines: int = 0
    flows: int = 0
    without_time: int = 0
    first: int = 1 << 63
    last: int = 0
    by_verdict: dict[str, int] = field(default_factory=dict)
    not_used: dict[tuple[str, str], NotUsed] = field(default_factory=dict)
    counters: list[Counter] = field(default_factory=list)
    known: set[Address] = field(default_factory=set)

    def skip(self, kind: NotUsedKind, reason: str, at_line: str, times: int = 1, detail: str = "") -> None:
        """Count what gave no record."""
        before = self.not_used.get((kind, reason))
        self.not_used[kind, reason] = NotUsed(
            kind=kind,
            reason=reason,
            count=times + (before.count if before else 0),
            first=before.first if before else at_line,
            detail=before.detail if before else detail,
        )

    def take(self, flow: SeenFlow, at: int) -> None:
        """Count what is a record."""
        self.flows += flow.times
        self.without_time += 0 if flow.at else flow.times
        self.by_verdict[flow.verdict] = self.by_verdict.get(flow.verdict, 0) + flow.times
        self.first, self.last = min(self.first, at), max(self.last, at)


class _Import:
    """One file on its way into a recording."""

    def __init__(self, request: ImportRequest, places: Places, source: SourceFile, form: Format) -> None:
        self._request, self._places, self._source, self.form = request, places, source, form
        self.tally = _Tally()
        self.ended = source.path.stat().st_mtime_ns

    def run(self, recording: ImportedRecording) -> None:
        """Read all of it."""
        read = reader_of(self.form, self._request.prefixes, self.ended)
        for seen in read(self._counted(self._source.lines()), self._source.path.name):
            if isinstance(seen, SeenFlow):
                self._take(seen, recording)
            elif isinstance(seen, Unread):
                self.tally.skip(seen.kind, seen.reason, seen.at_line, seen.times, seen.detail)
            else:
                self._count(seen)

    def _counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.tally.lines += 1
            yield line

    def _take(self, flow: SeenFlow, recording: ImportedRecording) -> None:
        at = flow.at or self.ended
        if not (self._request.since or 0) <= at <= (self._request.until or 1 << 63):
            self.tally.skip("no_flow", "before --since or after --until", flow.at_line, flow.times)
            return
        placed = self._places.place(flow)
        if isinstance(placed, Unusable):
            self.tally.skip(placed.kind, placed.reason, flow.at_line, flow.times)
            return
        if not recording.add(placed, at):
            self.tally.skip("unusable", "of more pods than one file can have", flow.at_line, flow.times)
            return
        self.tally.take(flow, at)
        for address, pod in ((flow.source, flow.source_pod), (flow.destination, flow.destination_pod)):
            if address is not None and pod is not None and pod.name:
                owner = self._places.owner(address, pod)
                if owner is not None:
                    recording.own(address, owner, at)
                    if self._places.has(address, owner):
                        self.tally.known.add(address)

    def _count(self, counted: Counted) -> None:
        labels = tuple(f"{key}={value}" for key, value in counted.labels)
        counter = Counter(name=counted.name, labels=labels, value=counted.value, at=counted.at_line)
        if len(self.tally.counters) < _MOST_COUNTERS:
            self.tally.counters.append(counter)
        else:
            self.tally.skip("unusable", "of more counters than one file can have", counted.at_line)

    def document(self, recording: ImportedRecording | None, path: Path, content: str) -> ImportedFile:
        """What it came to."""
        tally = self.tally
        without_time = (f"{tally.without_time:,} {_WITHOUT_TIME}",) if tally.without_time else ()
        return ImportedFile(
            file=str(self._source.path),
            format=self.form.name,
            digest=content,
            recording=str(path) if tally.flows else "",
            lines=tally.lines,
            flows=tally.flows,
            by_verdict=dict(sorted(tally.by_verdict.items())),
            without_time=tally.without_time,
            since=words.moment(tally.first) if tally.flows else None,
            until=words.moment(tally.last) if tally.flows else None,
            nodes=recording.nodes if recording is not None else (),
            pods=recording.pods if recording is not None else 0,
            broken=self._source.broken,
            not_used=tuple(tally.not_used[key] for key in sorted(tally.not_used)),
            counters=tuple(tally.counters),
            cannot_tell=(*self.form.cannot_tell, *without_time),
        )


def run_import(request: ImportRequest) -> AuditImport:
    """Import files one after another. One that cannot be used is named, and others are. Raises InputError for none."""
    scene = read_scene(request.place)
    if request.node is not None:
        node_here(scene.cluster, request.node)
    places = Places(scene.cluster, request.node or "")
    cluster = cluster_digest(scene.cluster)
    files = tuple(_imports(request, places, cluster))
    return AuditImport(tool_version=migrate.__version__, complete=all(one.complete for one in files), files=files)


def _imports(request: ImportRequest, places: Places, cluster: str) -> Iterator[ImportedFile]:
    failures: list[InputError] = []
    for path in request.files:
        try:
            yield _import_file(request, places, cluster, path)
        except InputError as error:
            failures.append(error)
            yield ImportedFile(file=str(path), format="", digest="", broken=str(error))
    if len(failures) == len(request.files):
        raise failures[0]


def _import_file(request: ImportRequest, places: Places, cluster: str, path: Path) -> ImportedFile:
    source = SourceFile(path)
    content = digest(path)
    form = format_of(source.lines(), path, request.format)
    folder = request.place.folder / FOLDER
    options = _options(request, form, cluster)
    known = sorted(folder.glob(f"imported-*-{content}.db"))
    for found in known:
        if (before := _imported_before(found, options)) is not None:
            return msgspec.structs.replace(before, file=str(path), recording=str(found), again=True)
    target = known[0] if known else folder / f"imported-{_plain_name(path)}-{content}.db"
    _make(folder)
    work = _Import(request, places, source, form)
    about = About(request.node or "", cluster, 0, migrate.__version__, work.ended)
    with imported_recording(target, about, Origin(form.name, content)) as recording:
        work.run(recording)
        done = work.document(recording, target, content)
        if done.flows:
            losses = {(f"import-{one.kind}", one.reason): one.count for one in done.not_used if one.kind != "no_flow"}
            if done.broken:
                losses["import-cut", done.broken] = 1
            recording.finish(_meta(done, options, work.ended), losses, frozenset(work.tally.known))
    return done


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}; check the folder and its rights") from error


def _meta(done: ImportedFile, options: str, ended: int) -> dict[str, str]:
    node = {"node": done.nodes[0]} if len(done.nodes) == 1 else {}
    notes = f"{done.format} of {done.file.rpartition('/')[2]}: {'; '.join(done.cannot_tell)}"
    return {
        IMPORT: msgspec.json.encode(done).decode(),
        _OPTIONS: options,
        "import_notes": notes,
        "created": str(ended),
        **node,
    }


def _options(request: ImportRequest, form: Format, cluster: str) -> str:
    """What besides a file decides what is made of it."""
    asked = [form.name, request.node, request.since, request.until, list(request.prefixes), cluster]
    return msgspec.json.encode([*asked, migrate.__version__]).decode()


def _imported_before(path: Path, options: str) -> ImportedFile | None:
    """What an import of the same came to; None where there was none, or another one."""
    try:
        with open_recording(path) as reading:
            if reading.meta.get(_OPTIONS) != options:
                return None
            return msgspec.json.decode(reading.meta.get(IMPORT, ""), type=ImportedFile)
    except (InputError, msgspec.DecodeError):
        return None


def _plain_name(path: Path) -> str:
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in path.stem)
    return name[:_NAME_LENGTH].strip("-") or "log"
