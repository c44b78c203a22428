"""Whether a document of an audit still says what a working folder holds: what it was judged from, and what is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from migrate.audit.reading import Reading, open_recording
from migrate.audit.recording import FILE_NAME
from migrate.errors import InputError
from migrate.files import file_digest, files_below
from migrate.model.audit_documents import Audit
from migrate.translate.documents import TRANSLATION

_JUDGING = (TRANSLATION, "cilium", "compat")
_LENGTH = 12


def policies_digest(folder: Path) -> str:
    """Changes whenever a file does that policies are read from: those of a translation, else all. Not with its place.

    Raises InputError for a file that cannot be read.
    """
    if folder.is_file():
        return files_digest(folder.parent, [folder])
    if (folder / TRANSLATION).is_file():
        return files_digest(folder, (file for name in _JUDGING for file in files_below(folder / name)))
    return files_digest(folder, files_below(folder))


def files_digest(root: Path, files: Iterable[Path]) -> str:
    """Of the names below a folder, and the bytes, of files. Raises InputError for one that cannot be read."""
    found = hashlib.sha256()
    for file in files:
        found.update(str(file.relative_to(root)).encode(errors="surrogateescape") + b"\0" + file_digest(file))
    return found.hexdigest()[:_LENGTH]


def recording_state(reading: Reading) -> str:
    """Which recording, by when it was made; and behind a slash what changes whenever it has more than before."""
    interval, sums = reading.interval(), reading.sums().values()
    have = f"{len(reading.segments())} {interval[1] if interval else 0} {sum(one.new for one in sums)}"
    return f"{reading.meta.get('created', '')}/{have}"


def outdated(audit: Audit, folder: Path, snapshot: Path) -> tuple[str, ...]:
    """What has changed in a working folder since its document was made, one sentence each; empty: nothing has.

    Where there is no recording in the folder, or one of another node, nothing is said of it. Raises InputError for
    policies or a snapshot that cannot be read.
    """
    return tuple(_changes(audit, folder, snapshot))


def _changes(audit: Audit, folder: Path, snapshot: Path) -> Iterator[str]:
    if audit.judged_from is None:
        yield "it does not say what it was judged from"
        return
    if policies_digest(folder) != audit.judged_from.policies:
        yield "the policies have changed since"
    if snapshot.is_file() and files_digest(snapshot.parent, [snapshot]) != audit.judged_from.snapshot:
        yield "the snapshot is another one since"
    if (folder / FILE_NAME).is_file():
        try:
            with open_recording(folder / FILE_NAME) as reading:
                node, state = reading.node, recording_state(reading)
        except InputError as error:
            yield str(error)
            return
        is_same = state.partition("/")[0] == audit.judged_from.recording.partition("/")[0]
        if node == audit.node and state != audit.judged_from.recording:
            yield "the recording has more since" if is_same else f"{FILE_NAME} is another recording"
