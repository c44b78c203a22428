"""Reads the documents of a working folder, whichever of them are there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from migrate.errors import InputError
from migrate.model.documents import SnapshotHeader, Translation
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.report.document import Input
from migrate.scan import snapshot
from migrate.translate.documents import read_translation

SNAPSHOT = snapshot.FILE_NAME
TRANSLATION = "translation.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Documents:
    """What a working folder holds. At least one of `header` and `translation` is there."""

    folder: Path
    header: SnapshotHeader | None
    objects: tuple[RawObject, ...]
    translation: Translation | None
    inputs: tuple[Input, ...]

    def by_ref(self) -> dict[ObjectRef, RawObject]:
        """The snapshot's objects by identity."""
        return {raw.ref: raw for raw in self.objects}


def read_folder(folder: Path) -> Documents:
    """The documents of a working folder. Raises InputError when there are none or one cannot be used."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run `migrate scan` first, or name the working folder with --dir")
    found = [path for path in (folder / SNAPSHOT, folder / TRANSLATION) if path.is_file()]
    if not found:
        raise InputError(f"{folder}: neither {SNAPSHOT} nor {TRANSLATION} is there; run `migrate scan` first")
    header, objects, inputs = None, tuple[RawObject, ...](), []
    if folder / SNAPSHOT in found:
        taken = snapshot.read(folder / SNAPSHOT)
        header, objects = taken.header, tuple(taken.objects)
        inputs.append(_input(folder / SNAPSHOT, "Snapshot", header.tool_version, header.taken, header.complete))
    translation = None
    if folder / TRANSLATION in found:
        translation = read_translation(folder / TRANSLATION)
        inputs.append(_input(folder / TRANSLATION, "Translation", translation.tool_version, None, translation.complete))
    return Documents(folder, header, objects, translation, tuple(inputs))


def _input(path: Path, kind: str, tool_version: str, made: str | None, complete: bool) -> Input:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return Input(
        file=path.name,
        kind=kind,
        sha256=digest.hexdigest(),
        bytes=size,
        tool_version=tool_version,
        made=made,
        complete=complete,
    )
