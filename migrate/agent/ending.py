"""The end of a run on a node: stop recording, and take everything of ours away. Both by commands beside the agent."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from migrate.agent.files import RunFiles, cleaned_mark
from migrate.agent.settings import Places, read_settings
from migrate.agent.telling import agent_status
from migrate.audit.kernel import ProbeError
from migrate.audit.leftovers import leftovers, remove_leftovers
from migrate.errors import ClusterError, MigrateError
from migrate.model.agent_documents import PROTOCOL, AgentStatus, Cleaned

_LOOK_AGAIN_SECONDS = 0.2


def stop(places: Places, node: str, patience: float) -> AgentStatus:
    """Ask the agent to end the recording, and wait until all is written, at most `patience` seconds.

    Raises InputError where the settings are missing, ClusterError where it cannot be asked or does not end in time.
    """
    files = RunFiles(places.store, read_settings(places.settings).run)
    try:
        files.ask_to_stop()
    except OSError as error:
        raise ClusterError(f"{files.folder}: cannot be written: {error.strerror}; look at the node's disk") from error
    end = time.monotonic() + patience
    while True:
        told = agent_status(places, node)
        if told.state == "finished":
            return told
        if time.monotonic() > end:
            why = told.failure or f"it is {told.state}"
            raise ClusterError(f"the agent of {node} has not stopped after {patience:.0f} s: {why}; ask again")
        time.sleep(_LOOK_AGAIN_SECONDS)


def clean(places: Places, node: str, patience: float) -> Cleaned:
    """Stop, take everything of ours off the node, and say what the kernel and the disk still have of it.

    The recording goes too; it has to be pulled before. Raises InputError where the settings are missing.
    """
    files = RunFiles(places.store, read_settings(places.settings).run)
    removed, problems = list[str](), list[str]()
    try:
        if files.folder.exists():
            stop(places, node, patience)
        _mark_as_cleaned()
    except (MigrateError, OSError) as error:
        problems.append(str(error))
    try:
        removed += remove_leftovers(places.bpffs)
    except (ProbeError, OSError) as error:
        problems.append(str(error))
    if not problems:
        removed += _without(files.folder, problems)
    left = (*problems, *_in_kernel(places.bpffs), *map(str, _all_of(files.folder)))
    return Cleaned(protocol=PROTOCOL, node=node, removed=tuple(removed), left=left)


def _mark_as_cleaned() -> None:
    """A container of this pod that is started again records nothing anew. Raises OSError."""
    if (mark := cleaned_mark()) is not None:
        mark.touch()


def _without(folder: Path, problems: list[str]) -> list[str]:
    """The names of the files that were there."""
    removed = []
    for path in reversed(_all_of(folder)):
        try:
            path.rmdir() if path.is_dir() else path.unlink()
            removed.append(str(path))
        except OSError as error:
            problems.append(f"{path}: does not go: {error.strerror}")
    with suppress(OSError):  # other runs are in it, or it is a volume
        folder.parent.rmdir()
    return removed


def _in_kernel(bpffs: Path) -> list[str]:
    try:
        return leftovers(bpffs)
    except OSError as error:
        return [f"the kernel does not tell what is left: {error.strerror}"]


def _all_of(folder: Path) -> list[Path]:
    return [folder, *sorted(folder.rglob("*"))] if folder.exists() else []
