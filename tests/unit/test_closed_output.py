"""Standard output that a shell closed (`>&-`): a status of ours, and no lines about a bug."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.command_line import PATIENCE, PROGRAM, environment


def ended(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, started by a shell that closes its standard output."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, *arguments]
    variables = environment()
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize("arguments", [("rules",), ("rules", "-o", "json"), ("--version",), ("--help",)])
def test_closed_standard_output_is_said(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = ended(tmp_path, *arguments)
    assert done.stderr == "error: standard output is closed; redirect it to a file or to /dev/null\n"
    assert done.returncode == 2
