"""Events on the agent's own pod while it lives: it looks at itself from time to time, as everybody else does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol

from migrate.agent.events import EventWriter
from migrate.agent.settings import Places, read_settings
from migrate.agent.telling import agent_status
from migrate.audit.agent_connection import AgentConnection
from migrate.errors import MigrateError
from migrate.model.agent_documents import POD_VARIABLE, AgentSettings, AgentStatus
from migrate.scan.connection import ConnectionOptions, connect_as

_LOOK_AGAIN_SECONDS = 30.0


class Reporter(Protocol):
    """Tells of what has become worse; see `EventWriter`."""

    def report(self, before: AgentStatus | None, now: AgentStatus) -> int: ...


def event_writer(settings: AgentSettings) -> Reporter | None:
    """Where events go; None where there is no cluster to be told, or nobody knows the pod."""
    pod = os.environ.get(POD_VARIABLE, "")
    try:
        return EventWriter(connect_as(AgentConnection, ConnectionOptions()), settings, pod) if pod else None
    except MigrateError:
        return None


def tell_troubles(
    places: Places,
    node: str,
    ended: Event,
    reporter: Callable[[AgentSettings], Reporter | None] = event_writer,
    seconds: float = _LOOK_AGAIN_SECONDS,
) -> Thread:
    """Look every so many seconds, until `ended`; the thread that does so."""
    thread = Thread(target=_look, args=(places, node, ended, reporter, seconds), name="events", daemon=True)
    thread.start()
    return thread


def _look(
    places: Places, node: str, ended: Event, reporter: Callable[[AgentSettings], Reporter | None], seconds: float
) -> None:
    writer: Reporter | None = None
    before: AgentStatus | None = None
    while not ended.wait(seconds):
        try:
            writer = writer or reporter(read_settings(places.settings))
        except MigrateError:  # the settings are not there yet, and so no namespace to write to
            continue
        if writer is not None:
            try:
                now = agent_status(places, node)
            except (MigrateError, OSError, sqlite3.Error):  # the disk or the recording; the next look may tell
                continue
            writer.report(before, now)
            before = now
