"""Ending the audit that writes a recording."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from migrate.audit.kernel import ProbeError
from migrate.audit.leftovers import remove_leftovers
from migrate.audit.reading import open_recording
from migrate.audit.recording import writer_of
from migrate.errors import ClusterError, InputError

_LOOK_AGAIN_SECONDS = 0.2


def stop_audit(recording: Path, patience: float, bpffs: Path) -> list[str]:
    """Ask the audit to end, and wait until it has written everything, at most `patience` seconds.

    Of one that was killed, what it left in the kernel is removed; the names of that are returned. Raises InputError
    when none runs, and ClusterError when it does not end or belongs to somebody else.
    """
    running = writer_of(recording)
    if running is None:
        return _cleared(recording, bpffs)
    _end(running, recording, patience)
    return []


def _cleared(recording: Path, bpffs: Path) -> list[str]:
    with open_recording(recording) as reading:
        was_killed = any(segment.ended is None for segment in reading.segments())
    if not was_killed:
        raise InputError(f"{recording}: no audit is running; migrate audit status shows what was recorded")
    try:
        return remove_leftovers(bpffs)
    except (ProbeError, OSError) as error:
        raise ClusterError(f"what the killed audit left in the kernel cannot be removed: {error}; be root") from error


def _end(running: int, recording: Path, patience: float) -> None:
    try:
        os.kill(running, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise ClusterError(f"the audit (process {running}) is another user's; stop it as that user or root") from error
    end = time.monotonic() + patience
    while writer_of(recording) == running:
        if time.monotonic() > end:
            text = f"the audit (process {running}) has not ended after {patience:.0f} s"
            raise ClusterError(f"{text}; it goes on writing, look again with migrate audit status")
        time.sleep(_LOOK_AGAIN_SECONDS)
