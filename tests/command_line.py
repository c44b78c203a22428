"""Running `migrate` in tests: in this process, which is quick, or in one of its own when it is about the process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from migrate.cli import main

PROGRAM = (sys.executable, "-m", "migrate")
PATIENCE = 60
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it printed."""

    status: int
    stdout: str
    stderr: str


def environment(**more: str) -> dict[str, str]:
    """The environment of every command: none of the user's settings reaches it."""
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "KUBECONFIG")}
    return kept | {"PYTHONPATH": str(_ROOT), "TERM": "xterm"} | more


def migrate(folder: Path, *arguments: str | Path, stdin: bytes = b"", **more: str) -> Ended:
    """The command as run in a folder, from its entry point to its exit status, in this process."""
    written, errors = io.BytesIO(), io.BytesIO()
    stdout, stderr = (io.TextIOWrapper(buffer, write_through=True) for buffer in (written, errors))
    status = status_of(folder, arguments, io.TextIOWrapper(io.BytesIO(stdin)), stdout, stderr, environment(**more))
    return Ended(status, written.getvalue().decode(), errors.getvalue().decode())


def status_of(
    folder: Path,
    arguments: Sequence[str | Path],
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
    variables: Mapping[str, str],
) -> int:
    """How the command ends when run in this process with these standard streams and environment variables."""
    with (
        pytest.MonkeyPatch.context() as patch,
        chdir(folder),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        for name in os.environ.keys() - variables.keys():
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["migrate", *map(str, arguments)])
        patch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            main()
    status = ended.value.code
    assert isinstance(status, int | None)
    return status or 0


def migrate_process(
    folder: Path, *arguments: str | Path, stdout: int = subprocess.PIPE, limit: Callable[[], object] | None = None
) -> Ended:
    """The command in a process of its own; `limit` restricts what that process may do."""
    done = ended_process(folder, *arguments, stdout=stdout, limit=limit)
    return Ended(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())


def ended_process(
    folder: Path, *arguments: str | Path, stdout: int = subprocess.PIPE, limit: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As `migrate_process`, with the bytes as they are."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(),
        preexec_fn=limit,
        check=False,
        timeout=PATIENCE,
    )
