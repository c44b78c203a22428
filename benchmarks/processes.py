"""What a fresh process costs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took. Memory is its peak resident set."""

    cpu_seconds: float
    wall_seconds: float
    memory_mib: float


def measure(name: str, command: Sequence[str], fine: Sequence[int] = (0,)) -> Cost:
    """The cost of a command, its output thrown away. Raises RuntimeError when it ends with another status."""
    started = time.monotonic()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawnp(command[0], list(command), os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) not in fine:
        raise RuntimeError(f"{name} failed: {' '.join(command)}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024)
