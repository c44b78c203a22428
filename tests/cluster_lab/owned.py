"""Names of what a lab makes on this machine, by which the next one finds what a killed one left behind."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.kernel.lab import run, unmount

_NAME = re.compile(r"mgl(?P<process>\d+)t(?P<began>\d+)-")


def new_token() -> str:
    """The beginning of the names of one lab: they tell which process made them, also when its number is used again."""
    return f"mgl{os.getpid()}t{_began(os.getpid())}-{secrets.token_hex(2)}"


def new_folder(token: str) -> Path:
    """An empty folder for a lab."""
    return Path(tempfile.mkdtemp(prefix=f"{token}-"))


def remove_folder(folder: Path) -> None:
    """Take a folder away with all that is mounted in it."""
    inside = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mounted in sorted((path for path in inside if path.startswith(f"{folder}/")), reverse=True):
        unmount(Path(mounted))
    shutil.rmtree(folder, ignore_errors=True)


def remove_namespaces(token: str) -> None:
    """Take away all network namespaces of a lab."""
    for name in _namespaces():
        if name.startswith(token):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", name)


def sweep() -> None:
    """Take away what is left of labs whose process is gone."""
    for name in _namespaces():
        if _is_left_behind(name):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", name)
    for folder in Path(tempfile.gettempdir()).glob("mgl*"):
        if _is_left_behind(folder.name):
            remove_folder(folder)


def _namespaces() -> list[str]:
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _is_left_behind(name: str) -> bool:
    found = _NAME.match(name)
    if found is None:
        return False
    try:
        return _began(int(found["process"])) != int(found["began"])
    except FileNotFoundError:
        return True


def _began(process: int) -> int:
    """When a process began, in ticks since boot. Raises FileNotFoundError when it is gone."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
