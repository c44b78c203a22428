"""Runs the node's own programs, which print rules and sets as nothing else does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migrate.collect.host import Host
from migrate.collect.outcome import UnreadError, one_line

_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Program:
    """A program: this process's own, or the node's, which runs with the node's files as its root (`inside`)."""

    path: str
    inside: Path | None = None

    @property
    def name(self) -> str:
        """Without its folder."""
        return self.path.rpartition("/")[2]

    def shown(self, command: str) -> str:
        """A command as it is really run."""
        return command if self.inside is None else f"chroot {self.inside} {command}"


def find_program(host: Host, name: str) -> Program | None:
    """A program by its name, sooner beside this process than among the node's files; None where there is none."""
    places = os.pathsep.join((os.environ.get("PATH", ""), *_FOLDERS))
    own = shutil.which(name, path=places)
    if own is not None:
        return Program(own)
    for folder in () if host.is_own else _FOLDERS:
        if host.exists(f"{folder}/{name}"):
            return Program(f"{folder}/{name}", host.root)
    return None


def run_program(program: Program, arguments: list[str]) -> bytes:
    """What it prints. Raises UnreadError with its own words when it does not end well."""
    name = program.name
    try:
        done = subprocess.run(
            [program.path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "PATH": os.pathsep.join(_FOLDERS)},
            preexec_fn=_entering(program.inside),
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnreadError(f"{name} did not end within {_PATIENCE_SECONDS} seconds") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise UnreadError(f"{name} cannot be run: {error}") from error
    if done.returncode != 0:
        said = one_line(done.stderr.decode(errors="replace"))
        raise UnreadError(f"{name} ended with {_ended(done.returncode)}: {said or 'it said nothing'}")
    return done.stdout


def _entering(root: Path | None) -> Callable[[], None] | None:
    if root is None:
        return None

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    return enter


def _ended(status: int) -> str:
    return f"status {status}" if status > 0 else signal.Signals(-status).name
