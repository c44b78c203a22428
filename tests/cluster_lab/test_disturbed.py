"""An audit of a cluster that is disturbed: what was sent is all there or named as lost, and nothing is left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrate.errors import ExitStatus
from tests.apiserver.admin import wait_until
from tests.cluster_lab.cluster import ClusterLab
from tests.cluster_lab.flows import counted, recorded
from tests.cluster_lab.kubelet import NodeScript
from tests.cluster_lab.laptop import IMAGE, PATIENCE, Laptop
from tests.cluster_lab.objects import items
from tests.cluster_lab.pods import LabPod
from tests.cluster_lab.scene import DB, Scene, working_folder
from tests.cluster_lab.soak import INTERVAL, Soak, differences, wait_until_watching

pytestmark = [pytest.mark.kernel, pytest.mark.apiserver]

_SECONDS, _SEED = 12, 20


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ClusterLab() as lab:
        yield Scene(lab)


@pytest.fixture
def laptop(scene: Scene, tmp_path: Path) -> Laptop:
    working_folder(scene.lab, tmp_path / "folder")
    return Laptop(scene.lab, tmp_path / "folder")


def test_whoever_is_killed_or_cut_off_nothing_is_counted_twice_or_lost(scene: Scene, laptop: Laptop) -> None:
    soak = Soak(scene, laptop, _SEED)
    try:
        stopped = soak.run(_SECONDS)
    finally:
        soak.close()

    assert stopped.status == 0, (soak.done, stopped)
    assert differences(scene, laptop.folder / "audit.db") == {}, soak.done
    assert scene.lab.left() == {}, soak.done
    _check_gone(scene.lab)


def test_nodes_that_join_reboot_or_refuse_are_named_and_what_they_saw_is_kept(scene: Scene, laptop: Laptop) -> None:
    lab = scene.lab
    before = counted(scene.pods)
    deployed = laptop.run("deploy", "--image", IMAGE, "--duration", "1h", "--yes")
    assert deployed.status == 0, deployed.stderr
    with laptop.running("attach", "--interval", INTERVAL) as watch:
        wait_until_watching(laptop, scene.watched)
        lab.add_node("node-d", skew=60)
        late = lab.add_pod("late-0", "node-d")
        wait_until_watching(laptop, scene.watched)
        boots = {lab.nodes["node-b"].boot_id}
        scene.talk(2)
        assert late.ask(scene.db_1.network.address, DB) == {"answered": 1}
        sent = counted((*scene.pods, late)) - before
        wait_until(
            lambda: recorded_of(laptop, sent_by=(scene.db_0,)) == counted((scene.db_0,)) - before, seconds=PATIENCE
        )
        lab.reboot("node-b")
        boots.add(lab.nodes["node-b"].boot_id)
        wait_until_watching(laptop, scene.watched)
        lab.kubelets.scripts["node-d"] = NodeScript(forbidden=True)
        watch.interrupt()
    refused = laptop.run("stop")
    assert refused.status == ExitStatus.INCOMPLETE
    assert "node-d" in refused.stdout
    assert items(lab.admin, "/apis/apps/v1/daemonsets"), "records of a node are nowhere else"
    lab.kubelets.scripts["node-d"] = NodeScript()
    stopped = laptop.run("stop")

    assert stopped.status == 0, stopped.stdout + stopped.stderr
    assert recorded(laptop.folder / "audit.db") == sent
    assert _boots(laptop.folder / "audit.db", "node-b") == boots
    assert lab.left() == {}
    _check_gone(lab)


def recorded_of(laptop: Laptop, sent_by: tuple[LabPod, ...]) -> object:
    """What was pulled of some pods."""
    names = {pod.name for pod in sent_by}
    stores = (laptop.folder / "audit").glob("*.db")
    found = [recorded(store) for store in stores]
    return {way: times for kept in found for way, times in kept.items() if way.pod in names}


def _boots(recording: Path, node: str) -> set[str]:
    with closing(sqlite3.connect(f"file:{recording}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT boot_id FROM segment WHERE node = ?", (node,)).fetchall()
    return {str(boot) for (boot,) in rows}


def _check_gone(lab: ClusterLab) -> None:
    """No object of a run is in the cluster any more."""
    selector = "labelSelector=cilium-migrate/run"
    kinds = ("/api/v1/pods", "/api/v1/namespaces", "/api/v1/configmaps", "/apis/apps/v1/daemonsets")
    assert [made for path in kinds for made in items(lab.admin, f"{path}?{selector}") or []] == []
