"""The commands of `migrate audit` as the documentation shows them, on a node of namespaces."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate import yaml_out
from migrate.errors import ExitStatus
from migrate.model.raw import Json
from tests.command_line import migrate
from tests.documentation import run_shown, shown_commands, with_program
from tests.kernel.audited_lab import PATIENCE, Audited, objects
from tests.kernel.kube_lab import Answer, Lab

pytestmark = pytest.mark.kernel

_PODS = 5
_ENDED_WELL = (ExitStatus.FINE, ExitStatus.FINDINGS, ExitStatus.INCOMPLETE)
_STOP = "migrate audit stop"
_STATUS = "migrate audit status"
_OF_A_CLUSTER = ("--context", "migrate audit deploy", "migrate audit attach", "/var/lib/cilium-migrate")
"""These need a whole cluster: tests/cluster_lab."""
_OF_FILES = ("migrate audit merge", "migrate audit import", "migrate audit verify-cutover", "imported-")
"""These need files of other nodes or programs, and have tests of their own."""
_ELSEWHERE = (*_OF_A_CLUSTER, *_OF_FILES)
_SHOWN = (each.words for each in shown_commands() if not any(part in each.words for part in _ELSEWHERE))
_WORDS = tuple(dict.fromkeys(words for words in _SHOWN if words.startswith("migrate audit ")))
_LIVE = tuple(words for words in _WORDS if words.startswith(("migrate audit --duration", "migrate audit --until-cron")))
_LATER = tuple(words for words in _WORDS if words not in (*_LIVE, _STOP, _STATUS))
_MORE: tuple[dict[str, Json], ...] = (
    {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "shop"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "b", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"ports": [{"port": 9999}]}]},
    },
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A node with pods; b serves."""
    with Lab() as made:
        made.serve("b", 8080)
        yield made


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    """A folder with migration/ as scan and translate leave it, and another revision of the policies."""
    made = tmp_path / "work"
    made.mkdir()
    cluster = [*objects(lab), *_MORE]
    (made / "cluster.yaml").write_text("---\n".join(yaml_out.dump(entry) for entry in cluster))
    assert migrate(made, "scan", "-f", "cluster.yaml", "--quiet").status == ExitStatus.FINE
    assert migrate(made, "translate", "--fail-on", "never", "--quiet").status == ExitStatus.FINE
    shutil.copytree(made / "migration/cilium", made / "revision")
    return made


@pytest.mark.parametrize("words", _LIVE)
def test_an_audit_goes_as_the_page_shows(words: str, lab: Lab, folder: Path) -> None:
    command = ["nsenter", f"--net=/run/netns/{lab.node}", *words.split()]
    process = subprocess.Popen(
        command, cwd=folder, env=with_program(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        Audited(process, folder / "migration/audit.db").wait_until_watching(_PODS)
        assert lab.connect("a", lab.pods["b"].address, 8080) is Answer.ANSWERED
        for asked in (_STATUS, _STOP):
            ended = run_shown(asked, folder)
            assert ended.returncode in _ENDED_WELL, ended.stderr
        stdout, stderr = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == ExitStatus.FINDINGS, stderr
    assert "Would be dropped" in stdout
    for later in _LATER:
        ended = run_shown(later, folder)
        assert ended.returncode in _ENDED_WELL, f"{later}: {ended.stderr}"


def test_the_page_shows_how_to_stop() -> None:
    assert _STOP in _WORDS
    assert _STATUS in _WORDS
    assert len(_LIVE) > 1
    assert _LATER
