"""`migrate audit` by a user without rights: what needs none works, and a node's lack of them has the status for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command_line import PATIENCE, PROGRAM, environment, migrate
from tests.prerequisites import require
from tests.unit.audited_folder import CLUSTER, NODE, POLICY, record_into

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a recording, and a folder bpffs that only another user may read, as it is mounted."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/db.yaml").write_text(POLICY)
    assert migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet").status == 0
    record_into(tmp_path)
    (tmp_path / "bpffs").mkdir(mode=0)
    if os.geteuid() == 0:
        require(shutil.which("setpriv") is not None, "setpriv (Debian: util-linux)")
        os.chown(tmp_path / "bpffs", NOBODY, NOBODY)
    return tmp_path


def by_a_user(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command without any capability, even when root runs the tests."""
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    command = [*without, *PROGRAM, "audit", "--bpffs", "bpffs", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_recording_can_be_judged_by_who_may_not_read_the_bpf_filesystem(folder: Path) -> None:
    ended = by_a_user(folder, "replay", "--dir", ".", "--policies", "policies")
    assert ended.returncode == 1, ended.stderr
    assert "WOULD DROP: 1 kind of traffic" in ended.stdout


def test_a_node_without_rights_is_named_as_one_that_cannot_be_probed(folder: Path) -> None:
    (folder / "audit.db").unlink()
    ended = by_a_user(folder, "--dir", ".", "--policies", "policies", "--node", NODE, "--duration", "1h")
    assert ended.returncode == 3, ended.stderr
    assert "no CAP_BPF" in " ".join(ended.stderr.split())
