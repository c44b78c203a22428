"""The dumps of a working folder: taking them over from elsewhere, and what all of them say, in nodes.json."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from migrate.errors import InputError
from migrate.files import file_digest, read_bytes, write_atomic
from migrate.model.documents import SnapshotHeader
from migrate.model.finding import Finding
from migrate.model.node_documents import NodeFile, NodeManifest, NodeStates
from migrate.model.raw import RawObject
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import dump_files, dump_folders, dumps_below, read_dumps, read_manifest
from migrate.nodes.examine import FILE_NAME, FOLDER, NOT_READ, examine
from migrate.nodes.files import Printed
from migrate.nodes.written import check_name, write_dump
from migrate.scan.snapshot import FILE_NAME as SNAPSHOT


@dataclass(frozen=True, slots=True)
class FoundDump:
    """A dump that is to be taken over, and whose it is."""

    folder: Path
    manifest: NodeManifest


def find_dumps(folders: Sequence[Path]) -> tuple[FoundDump, ...]:
    """The dumps in some folders, without reading their files yet.

    Raises InputError where there is none, it has no node's name, or two are of one node.
    """
    found = [FoundDump(path, read_manifest(path)) for folder in folders for path in dump_folders(folder)]
    seen: dict[str, Path] = {}
    for dump in found:
        name = dump.manifest.name
        check_name(name, f"give the folder {dump.folder} the name of its node")
        if seen.setdefault(name, dump.folder).resolve() != dump.folder.resolve():
            raise InputError(f"{dump.folder}: is of node {name}, as {seen[name]} is; give one of them")
    return tuple(found)


def kept_dumps(folder: Path) -> tuple[FoundDump, ...]:
    """The dumps that a working folder has already. Raises InputError where one is damaged."""
    nodes = folder / FOLDER
    if not nodes.is_dir() or not dumps_below(nodes):
        return ()
    return find_dumps([nodes])


def take_over(folder: Path, dumps: Iterable[FoundDump]) -> None:
    """Copy dumps into a working folder, each in place of an earlier one of its node. Raises InputError."""
    for dump in dumps:
        place = folder / FOLDER / dump.manifest.name
        if place.resolve() != dump.folder.resolve():
            write_dump(folder / FOLDER, *_copied(dump))


def _copied(dump: FoundDump) -> tuple[NodeManifest, dict[str, bytes]]:
    """What is taken over, with its digests. What cannot be read is noted as such."""
    paths, unusable = dump_files(dump.folder)
    commands = {path.name: (printed, path) for printed, several in paths.items() for path in several}
    bodies = {name: read_bytes(path) for name, (_, path) in commands.items()}
    listed = {file.name: file for file in dump.manifest.files}
    for name, (printed, _) in commands.items():
        listed[name] = _with_digest(listed.get(name), name, printed, bodies[name])
    for name, why in unusable.items():
        known = listed.get(name, NodeFile(name=name, command=name))
        listed[name] = msgspec.structs.replace(known, status="failed", detail=why, sha256=None)
    files = tuple(listed[name] for name in sorted(listed))
    return msgspec.structs.replace(dump.manifest, files=files), bodies


def _with_digest(known: NodeFile | None, name: str, printed: Printed, body: bytes) -> NodeFile:
    """As it was listed. A digest that was taken on the node stays, so that a damaged file is still found."""
    file = known or NodeFile(name=name, command=printed.command)
    if file.sha256 is not None or file.status == "failed":
        return file
    return msgspec.structs.replace(file, status="read", detail="", sha256=hashlib.sha256(body).hexdigest())


def examine_folder(
    folder: Path, header: SnapshotHeader, objects: Iterable[RawObject], not_read: tuple[Finding, ...] = ()
) -> NodeStates | None:
    """Compare the dumps of a working folder with its snapshot, and write nodes.json; None where there are no dumps.

    `not_read` are about nodes that were to be read now: an older dump of one is used beside its finding.
    Raises InputError when a dump is damaged beyond use, or nodes.json cannot be written.
    """
    kept = kept_dumps(folder)
    if not kept and not not_read:
        (folder / FILE_NAME).unlink(missing_ok=True)  # what was said of dumps that are gone
        return None
    dumps = read_dumps(folder / FOLDER) if kept else ()
    states = examine(dumps, ClusterView(header, tuple(objects)), file_digest(folder / SNAPSHOT).hex())
    states = _with_reasons(states, not_read)
    write_atomic(folder / FILE_NAME, msgspec.json.format(msgspec.json.encode(states), indent=2) + b"\n")
    return states


def _with_reasons(states: NodeStates, not_read: tuple[Finding, ...]) -> NodeStates:
    """A finding with its reason stands in place of the one that only says that there is no dump."""
    told = {finding.subject for finding in not_read}
    others = [finding for finding in states.findings if finding.id != NOT_READ or finding.subject not in told]
    findings = tuple(sorted((*others, *not_read), key=Finding.sort_key))
    return msgspec.structs.replace(states, complete=states.complete and not not_read, findings=findings)
