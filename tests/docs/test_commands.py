"""Every command that the documentation shows does what a reader would see: it runs, or it is shell that parses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from migrate.errors import ExitStatus
from migrate.resources import data
from tests.api_server import ApiServer
from tests.command_line import migrate
from tests.documentation import ROOT, Shown, run_shown, shown_commands

pytestmark = pytest.mark.apiserver

_ENDED_WELL = (ExitStatus.FINE, ExitStatus.FINDINGS, ExitStatus.INCOMPLETE)
_ON_A_NODE = "migrate audit"
"""These need a node: tests/kernel/test_documented.py runs them."""
_OURS = [each for each in shown_commands() if each.words.startswith("migrate ")]
_OTHERS = [each for each in shown_commands() if not each.words.startswith("migrate ")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with migration/ of the sample cluster, and the files that the pages speak of."""
    made = tmp_path_factory.mktemp("reader") / "work"
    made.mkdir()
    assert migrate(made, "demo", "--output-dir", "migration").status == 0
    sample = Path(str(data("samples") / "demo"))
    shutil.copy(sample / "az.json", made / "aks.json")
    shutil.copy(made / "migration/snapshot.jsonl.gz", made)
    for name in ("old", "new"):
        shutil.copytree(sample / "cluster", made / name)
    dump = made / "dumps" / "aks-np-0"
    dump.mkdir(parents=True)
    for name in ("iptables-save.txt", "ipset-save.txt"):
        shutil.copy(ROOT / "tests/cases/azure/linux-npm/hash-sha256" / name, dump)
    case = ROOT / "tests/cases/simulate/calico-service-without-namespace.json"
    (made / "folder").mkdir()
    for place in ("case.yaml", "one.json", "folder/two.json"):
        shutil.copy(case, made / place)
    return made


@pytest.mark.parametrize("shown", [each for each in _OURS if not each.words.startswith(_ON_A_NODE)], ids=str)
def test_a_command_runs_as_shown(shown: Shown, demo: Path, tmp_path: Path, api_server: ApiServer) -> None:
    folder = tmp_path / "work"
    shutil.copytree(demo, folder)
    ended = run_shown(shown.words, folder, KUBECONFIG=str(api_server.admin))
    assert ended.returncode in _ENDED_WELL, ended.stderr
    assert ended.stdout


@pytest.mark.parametrize("shown", _OTHERS, ids=str)
def test_other_commands_are_shell_that_parses(shown: Shown) -> None:
    done = subprocess.run(["bash", "-n", "-c", shown.command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
