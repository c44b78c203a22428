"""Runs all checks, each in a process of its own, and writes one line of JSON for each to the file that is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from migrate.audit.attach import has_tcx
from tests.kernel_matrix.checks import CHECKS
from tests.kernel_matrix.scene import keep_mounts_apart

_PATIENCE_SECONDS = 150


def main(results: Path) -> None:
    """Run them. Those of clsact filters would load pyroute2 each, as they fork."""
    if not has_tcx():
        import pyroute2.netlink.exceptions  # noqa: F401
    with results.open("w") as written:
        for name, check in CHECKS.items():
            began = time.monotonic()
            error, told = _outcome(check)
            seconds = round(time.monotonic() - began, 1)
            written.write(json.dumps({"check": name, "seconds": seconds, "error": error, "told": told}) + "\n")
            written.flush()


def _outcome(check: Callable[[], list[str]]) -> tuple[str, list[str]]:
    """The error of a check, and what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(check, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    error, told = json.loads(text) if text else ("", [])
    if os.WIFSIGNALED(status):
        error = f"ended by {signal.Signals(os.WTERMSIG(status)).name}, after {_PATIENCE_SECONDS} s at most"
    return (error, told)


def _run(check: Callable[[], list[str]], writing: int) -> None:
    signal.alarm(_PATIENCE_SECONDS)
    try:
        keep_mounts_apart()
        outcome = "", check()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the tests show it
        said = str(error.stderr) if isinstance(error, subprocess.CalledProcessError) else ""
        outcome = traceback.format_exc() + said, []
    os.write(writing, json.dumps(outcome).encode()[:60_000])
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
