"""An agent's life: record what is left of the time, then wait to be read. What fails is said, and tried again.

It never ends by itself: its container would only be started again. After a kill, a restart of the container or a
reboot the next one goes on with the recording that is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from migrate.agent.files import RunFiles, Said, cleaned_mark
from migrate.agent.names import AgentPods, pods_of
from migrate.agent.settings import Places, read_settings
from migrate.audit.agent import Ending, Progress
from migrate.audit.durations import duration_text
from migrate.audit.kernel import ProbeError
from migrate.audit.leftovers import remove_leftovers
from migrate.audit.reading import open_recording
from migrate.audit.recorder import RecordingPlan, is_complete, record
from migrate.errors import MigrateError
from migrate.model.addresses import parse_address
from migrate.model.agent_documents import AgentSettings, AgentState

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until what failed is tried again."""
_LOOK_AGAIN_SECONDS = 0.5
FAILURES = (MigrateError, ProbeError, OSError)
"""What an agent may meet on a node and lives with."""
_WAITING = "the disk is full or the recording locked: what was seen last waits in the kernel"


@dataclass(frozen=True, slots=True)
class Life:
    """What an agent lives with: `log` tells people, `ended` is set when the process has to end."""

    places: Places
    node: str
    ended: Event
    log: Callable[[str], None]
    pods_of: Callable[[AgentSettings, str], AgentPods] = pods_of
    first_pause: float = FIRST_PAUSE


class _Pauses:
    """How long to wait before what failed is tried again: longer each time, and anew when it fails in another way."""

    def __init__(self, first: float) -> None:
        self._first = self._next = first
        self._reason = ""

    def after(self, reason: str) -> float:
        """Seconds."""
        self._next = min(2 * self._next, LONGEST_PAUSE) if reason == self._reason else self._first
        self._reason = reason
        return self._next


def run(life: Life) -> None:
    """Live until `ended` is set. The recording is kept in any case."""
    pauses = _Pauses(life.first_pause)
    while not life.ended.is_set():
        try:
            settings = read_settings(life.places.settings)
        except MigrateError as error:
            pause = pauses.after(str(error))
            life.log(f"failed: {error}; trying again in {duration_text(round(pause))}")
            life.ended.wait(pause)
            continue
        agent = _Agent(life, settings)
        failure = "" if _is_cleaned(life) else agent.record()
        if not failure:
            agent.wait_to_be_read()
            return
        agent.pause(failure, pauses.after(failure))


def _is_cleaned(life: Life) -> bool:
    """Whether the run was taken off this node through this pod, which only waits for its own end then."""
    mark = cleaned_mark()
    if mark is None or not mark.exists():
        return False
    life.log(f"this run was taken off the node ({mark}): nothing is recorded any more")
    return True


class _Agent:
    """One try of a run."""

    def __init__(self, life: Life, settings: AgentSettings) -> None:
        self._life = life
        self._settings = settings
        self._files = RunFiles(life.places.store, settings.run)
        self._said: Said | None = None

    def record(self) -> str:
        """Record what is left; why that failed, if it did and there is reason to try again."""
        failure = ""
        try:
            self._files.make()
            self._said = self._files.said()
            if self._has_more():
                self._record()
        except FAILURES as error:
            if not self._files.is_stop_asked():
                return str(error)
            failure = str(error)
            self._life.log(f"asked to stop, and what is left cannot be read: {failure}")
        if not self._life.ended.is_set():
            self._finish(failure)
        return ""

    def pause(self, failure: str, seconds: float) -> None:
        """Wait until it is time to try again, or to stop."""
        self._life.log(f"failed: {failure}; trying again in {duration_text(round(seconds))}")
        self._say("failed", failure=failure)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_set():
            self._life.ended.wait(_LOOK_AGAIN_SECONDS)

    def wait_to_be_read(self) -> None:
        """In the end nobody comes: what is of ours on the node goes, but for the recording."""
        since = time.time_ns() if self._said is None else self._said.since
        is_tidy = False
        while not self._life.ended.wait(_LOOK_AGAIN_SECONDS):
            if not is_tidy and time.time_ns() - since > self._settings.forgotten_seconds * 1_000_000_000:
                self._tidy()
                is_tidy = True
            if self._files.said() is None and self._files.is_stop_asked():
                self._say_again()

    def _say_again(self) -> None:
        """Somebody asks it to stop after what it said was taken away with its recording."""
        try:
            self._files.say(Said(state="finished", since=time.time_ns()))
        except OSError as error:
            self._life.log(f"{self._files.folder}: cannot be written: {error.strerror}")

    def is_set(self) -> bool:
        """Whether to stop recording; see `Stop`."""
        return self._life.ended.is_set() or self._files.is_stop_asked()

    def _has_more(self) -> bool:
        """Whether there is time left to record, or something of an agent before that is not written yet."""
        is_over = self._files.is_stop_asked() or (self._said is not None and self._said.is_full)
        if not self._files.recording.exists() or not self._files.recording.stat().st_size:
            return not is_over
        with open_recording(self._files.recording, whole=False) as reading:
            if any(segment.ended is None for segment in reading.segments()):
                return True
            return not is_over and not is_complete(reading, self._settings.seconds)

    def _record(self) -> None:
        self._say("starting")
        pods = self._life.pods_of(self._settings, self._life.node)
        pods.start()
        try:
            last = record(self._plan(), pods, lambda progress: self._told(progress, pods), self)
        finally:
            pods.close()
        self._life.log(f"recording ended: {last.ending}")
        notes = []
        if last.ending == Ending.STORE_FULL:
            notes.append("the recording reached its size limit and ended; a larger one has to be asked for")
        if last.unwritten or last.is_waiting:
            notes.append(f"the disk was full at the end: {last.unwritten} new flows are not recorded")
        self._say("starting", notes=tuple(notes), is_full=last.ending == Ending.STORE_FULL)

    def _plan(self) -> RecordingPlan:
        settings = self._settings
        return RecordingPlan(
            path=self._files.recording,
            node=self._life.node,
            cluster=settings.cluster,
            seconds=settings.seconds,
            policies=settings.policies,
            services=frozenset(map(parse_address, settings.services)),
            loader=settings.loader,
            max_size=settings.max_size,
            bpffs=self._life.places.bpffs,
            shortest_epoch=settings.shortest_epoch,
            run=settings.run,
        )

    def _told(self, progress: Progress, pods: AgentPods) -> None:
        self._say("recording", leads=pods.leads, notes=(_WAITING,) if progress.is_waiting else ())
        if progress.ending:
            pods.close()

    def _finish(self, failure: str) -> None:
        before = self._said
        if before is None or failure:
            self._say("finished", failure=failure)
        elif before.state != "finished":
            self._say("finished", notes=before.notes, is_full=before.is_full)

    def _say(
        self,
        state: AgentState,
        *,
        leads: bool = False,
        failure: str = "",
        notes: tuple[str, ...] = (),
        is_full: bool = False,
    ) -> None:
        """What is said already is not written again. Where it cannot be written, those who ask find the reason."""
        before = self._said
        since = before.since if before is not None and before.state == state else time.time_ns()
        said = Said(state=state, since=since, leads=leads, failure=failure, notes=notes, is_full=is_full)
        if said == before:
            return
        if state != "failed" and (before is None or before.state != state):
            self._life.log(f"{state}: {self._files.recording}")
        self._said = said
        try:
            self._files.say(said)
        except OSError as error:
            self._life.log(f"{self._files.folder}: cannot be written: {error.strerror}")

    def _tidy(self) -> None:
        """Nothing is there, unless an agent was killed and could not go on."""
        try:
            removed = ", ".join(remove_leftovers(self._life.places.bpffs)) or "nothing was left"
        except FAILURES as error:
            removed = f"that failed: {error}"
        waited = duration_text(self._settings.forgotten_seconds)
        self._life.log(f"nobody came for {waited}, so the kernel is tidied: {removed}; the recording stays")
