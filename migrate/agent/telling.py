"""How an agent does, told by a command that runs beside it. Whatever is wrong on the node, there is an answer."""

from __future__ import annotations

import os
import time
from pathlib import Path

from msgspec import structs

import migrate
from migrate.agent.files import RunFiles
from migrate.agent.settings import Places, read_settings
from migrate.audit.reading import Reading, open_recording
from migrate.audit.recorder import boot_id
from migrate.audit.recording import free_bytes, writer_of
from migrate.audit.sizes import size_text
from migrate.audit.status import status_of
from migrate.errors import InputError
from migrate.model.agent_documents import PROTOCOL, AgentSettings, AgentStatus

_LITTLE_ROOM = 64 << 20


def agent_status(places: Places, node: str) -> AgentStatus:
    """How the agent of this node does."""
    told = AgentStatus(
        protocol=PROTOCOL,
        tool_version=migrate.__version__,
        run="",
        node=node,
        boot_id=boot_id(),
        state="failed",
        at=time.time_ns(),
    )
    try:
        settings = read_settings(places.settings)
    except InputError as error:
        return structs.replace(told, failure=str(error))
    files = RunFiles(places.store, settings.run)
    notes = tuple(_notes(places, settings))
    told = structs.replace(told, run=settings.run, seconds=settings.seconds, left_seconds=settings.seconds, notes=notes)
    return _with_recording(_with_state(told, files), files.recording)


def _with_state(told: AgentStatus, files: RunFiles) -> AgentStatus:
    """What the agent says of itself, if that can still be true."""
    said = files.said()
    if said is None:
        failure = _why_not_writable(files.folder)
        return structs.replace(told, state="failed" if failure else "starting", failure=failure)
    state = said.state
    if state == "recording" and writer_of(files.recording) is None:
        state = "starting"
    leads = said.leads and state == "recording"
    return structs.replace(told, state=state, leads=leads, failure=said.failure, notes=(*said.notes, *told.notes))


def _with_recording(told: AgentStatus, recording: Path) -> AgentStatus:
    """What is recorded, if anything."""
    if not recording.exists() or not recording.stat().st_size:
        return told
    try:
        with open_recording(recording, whole=False) as reading:
            return _with_figures(told, reading)
    except InputError as error:
        size = recording.stat().st_size
        return structs.replace(told, bytes=size, failure=told.failure or str(error))


def _with_figures(told: AgentStatus, reading: Reading) -> AgentStatus:
    found, interval = status_of(reading), reading.interval()
    return structs.replace(
        told,
        began=interval[0] if interval else None,
        recorded_seconds=found.recorded_seconds,
        left_seconds=0 if told.state == "finished" else max(0, told.seconds - found.recorded_seconds),
        revision=int(reading.meta.get("revision", "0")),
        bytes=found.bytes,
        new_flows=found.new_flows,
        exact=found.exact,
        coarse=found.coarse,
        lost=found.lost,
        watched_pods=found.watched_pods,
        open_gaps=found.open_gaps,
        losses=found.losses,
        notes=(*told.notes, *found.notes),
    )


def _notes(places: Places, settings: AgentSettings) -> list[str]:
    """What is odd, and stops nobody."""
    found = []
    if settings.tool_version != migrate.__version__:
        found.append(f"the run was begun by version {settings.tool_version}, this agent is {migrate.__version__}")
    if places.store.is_dir() and (free := free_bytes(places.store / settings.run)) < _LITTLE_ROOM:
        found.append(f"the disk of {places.store} has only {size_text(free)} left")
    return found


def _why_not_writable(folder: Path) -> str:
    """An agent that cannot write to its folder cannot say so there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        if not there.is_dir():
            return f"{there}: not a folder; the volume of the recordings has to be mounted there"
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return f"{there}: mounted to be read only; the agent has to write there"
    except OSError as error:
        return f"{there}: cannot be read: {error.strerror}; check the node's disk"
    return "" if os.access(there, os.W_OK) else f"{there}: this user may not write there; check its owner and mode"
