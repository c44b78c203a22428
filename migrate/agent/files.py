"""The files of a run on its node: the recording, what its agent says of itself, and whether it shall end.

The small ones are written in place, as a full disk lets nobody write a new one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from migrate.audit.recording import FILE_NAME
from migrate.model.agent_documents import POD_VARIABLE, AgentState

_STATE_BYTES = 16 << 10
_LONGEST_TEXT = 1000
"""Letters of a failure or note; each takes 4 bytes at most."""
_MOST_NOTES = 2
_TRIES = 5
"""To read what may just be written."""
_ASKED = b"1\n"


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent that runs says of itself. `since` is when it came into its state, in nanoseconds since 1970."""

    state: AgentState
    since: int
    leads: bool = False
    failure: str = ""
    notes: tuple[str, ...] = ()
    is_full: bool = False
    """It has ended as the recording reached its limit."""


class RunFiles:
    """The folder of a run."""

    def __init__(self, store: Path, run: str) -> None:
        self.folder = store / run
        self.recording = self.folder / FILE_NAME
        self._state = self.folder / "agent.json"
        self._stop = self.folder / "stop"

    def make(self) -> None:
        """Make what is not there. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, size in ((self._state, _STATE_BYTES), (self._stop, len(_ASKED))):
            if not path.exists():
                path.write_bytes(b" " * size)

    def said(self) -> Said | None:
        """What the agent said last. None where it never said anything that can be read."""
        for _ in range(_TRIES):
            try:
                return msgspec.json.decode(self._state.read_bytes(), type=Said)
            except OSError:
                return None
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return None

    def say(self, said: Said) -> None:
        """For those who ask. Raises OSError."""
        shown = tuple(_short(note) for note in said.notes[:_MOST_NOTES])
        short = msgspec.structs.replace(said, failure=_short(said.failure), notes=shown)
        _overwrite(self._state, msgspec.json.encode(short).ljust(_STATE_BYTES))

    def is_stop_asked(self) -> bool:
        """Whether somebody wants the recording to end."""
        try:
            return self._stop.read_bytes().startswith(_ASKED)
        except OSError:
            return False

    def ask_to_stop(self) -> None:
        """It stays asked for. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _overwrite(self._stop, _ASKED)


def cleaned_mark() -> Path | None:
    """A file in a pod that says that everything of the run was taken away through it. None where this is no pod.

    It is in the pod's own temporary folder, which outlives its container and goes with the pod, so that nothing of it
    is on the node.
    """
    pod = os.environ.get(POD_VARIABLE, "")
    return Path(tempfile.gettempdir()) / f"cleaned-{pod}" if pod else None


def _overwrite(path: Path, data: bytes) -> None:
    """In place, and in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)


def _short(text: str) -> str:
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"
