"""The commands that the documentation shows, and the running of them as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.command_line import PATIENCE, environment

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shown:
    """A command on a page; one that goes on in further lines is one."""

    page: str
    command: str

    @property
    def words(self) -> str:
        """The command without the remark behind it."""
        return self.command.partition("  #")[0].partition(" # ")[0].strip()

    def __str__(self) -> str:
        return f"{self.page}: {self.words}"


def pages() -> list[Path]:
    """Every page that people read."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown_commands() -> Iterator[Shown]:
    """All of them, in the order of the pages."""
    for page in pages():
        for block in _BLOCK.findall(page.read_text()):
            yield from (Shown(str(page.relative_to(ROOT)), command) for command in _commands(block))


def _commands(block: str) -> Iterator[str]:
    """The lines of a block; lines that are indented go on the one before."""
    lines: list[str] = []
    for line in block.splitlines():
        if line.startswith((" ", "\t")) and lines:
            lines[-1] += f"\n{line}"
        elif line.strip():
            lines.append(line)
    return iter(lines)


def with_program(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which `migrate` is this program; it stands beside the folder."""
    programs = folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "migrate"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m migrate "$@"\n')
    program.chmod(0o755)
    known = environment(**more)
    return known | {"PATH": f"{programs}:{known['PATH']}"}


def run_shown(words: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell that knows `migrate`."""
    return subprocess.run(
        ["bash", "-c", words],
        cwd=folder,
        env=with_program(folder, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 5,
    )
