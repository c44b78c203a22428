"""Asking agents: the commands that are run in their containers, and what they answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from migrate.audit.pulling import Pulled, pulled_revision, receive
from migrate.control.agent_pods import AgentPod
from migrate.control.exec import ExecConnection
from migrate.errors import ClusterError
from migrate.model.agent_documents import CONTAINER, PROTOCOL, AgentStatus, Cleaned
from migrate.scan.connection import RequestError

AGENT = ("migrate", "audit", "agent")
STATUS_SECONDS, PULL_SECONDS = 60.0, 300.0
"""How long an agent may say nothing; a container on a busy node takes its time to begin, and a slow disk to be read."""
STOP_SECONDS, CLEAN_SECONDS = 300.0, 300.0
_LONGEST_ANSWER = 1 << 20

Answer = TypeVar("Answer", AgentStatus, Cleaned)


class AgentError(ClusterError):
    """An agent that answered, but nothing that can be used."""


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    """What every version of an agent says first."""

    protocol: int
    tool_version: str = "?"


@dataclass(frozen=True, slots=True)
class Asked:
    """What an agent said, and how far its node's clock is from this one, in nanoseconds."""

    status: AgentStatus
    skew: int


class Agents:
    """Commands in agents' containers. Threads share it; what runs is left when `stop` is set."""

    def __init__(self, connection: ExecConnection, stop: threading.Event) -> None:
        self._connection = connection
        self._stop = stop

    def status(self, pod: AgentPod, run: str) -> Asked:
        """How an agent does. Raises ClusterError, an AgentError for one of another version or run."""
        before = time.time_ns()
        printed, heard = self._printed(pod, "status", STATUS_SECONDS)
        status = read_answer(printed, pod.name, "status", AgentStatus)
        if not status.run:
            raise AgentError(f"its agent does not know its run: {status.failure or 'it does not say why'}")
        if status.run != run:
            raise AgentError(f"its agent is of the run {status.run}, not of {run}; end that one first")
        return Asked(status, _skew(before, status.at, heard))

    def end(self, pod: AgentPod) -> AgentStatus:
        """Ask for the end of a recording and wait until all of it is written. Raises ClusterError."""
        return self._answer(pod, "stop", AgentStatus, STOP_SECONDS)

    def clean(self, pod: AgentPod) -> Cleaned:
        """Have all of ours taken off a node, with what the agent found there afterwards. Raises ClusterError."""
        return self._answer(pod, "clean", Cleaned, CLEAN_SECONDS)

    def pull(self, pod: AgentPod, store: Path, seconds: float) -> Pulled:
        """Get what is new, for at most so many seconds. What came whole is kept whatever happens.

        Raises ClusterError when it was cut off, so that there is more, and InputError when it cannot be written.
        """
        command = (*AGENT, "pull", "--since", str(pulled_revision(store)))
        chunks = self._connection.execute(pod.path, CONTAINER, command, PULL_SECONDS, self._stop)
        return receive(_until(time.monotonic() + seconds, chunks), store)

    def _answer(self, pod: AgentPod, word: str, kind: type[Answer], seconds: float) -> Answer:
        return read_answer(self._printed(pod, word, seconds)[0], pod.name, word, kind)

    def _printed(self, pod: AgentPod, word: str, seconds: float) -> tuple[bytes, int]:
        """What a command printed, and when the first of it came, in nanoseconds since 1970."""
        printed, heard = b"", 0
        for chunk in self._connection.execute(pod.path, CONTAINER, (*AGENT, word), seconds, self._stop):
            heard = heard or time.time_ns()
            printed += chunk
            if len(printed) > _LONGEST_ANSWER:
                raise AgentError(f"{pod.name}: what answers to {word} is no agent: it does not come to an end")
        return printed, heard or time.time_ns()


def read_answer(printed: bytes, pod: str, word: str, kind: type[Answer]) -> Answer:
    """The answer of an agent of this program's protocol. Raises AgentError for another one."""
    try:
        head = msgspec.json.decode(printed, type=_Head)
        if head.protocol == PROTOCOL:
            return msgspec.json.decode(printed, type=kind)
    except msgspec.DecodeError as error:
        shown = printed[:80].decode(errors="replace")
        raise AgentError(f"{pod}: what answers to {word} is no agent: {error} ({shown!r})") from error
    raise AgentError(
        f"its agent is of version {head.tool_version} (protocol {head.protocol}), and this program knows protocol "
        f"{PROTOCOL}; read it with version {head.tool_version}"
    )


def _until(deadline: float, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Not for longer, so that one slow line does not hold up the others."""
    for chunk in chunks:
        yield chunk
        if time.monotonic() > deadline:
            raise RequestError("it takes long, and goes on with the next turn", temporary=True)


def _skew(before: int, there: int, heard: int) -> int:
    """A clock that may have been right between question and answer is taken to be right.

    What an agent says is said at the end of a command that takes seconds to begin, and comes at once: its time is that
    of when it is heard.
    """
    return 0 if before <= there <= heard else there - heard
