"""`migrate audit attach`, `status`, `stop` and `migrate audit` itself on a cluster, as commands."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrate.audit.node import cluster_digest
from migrate.audited import Place, read_scene
from migrate.control.state import read_state
from tests.api_server import ApiServer
from tests.apiserver.admin import wait_until
from tests.apiserver.agent_stand_in import recording_in
from tests.apiserver.watched_cluster import OBJECTS, RUN, WatchedCluster, watched_cluster
from tests.command_line import PROGRAM, Ended, environment, migrate
from tests.unit.pulled import content

_PATIENCE = 120


@pytest.fixture(scope="module")
def one_cluster(own_server: ApiServer) -> Iterator[WatchedCluster]:
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder, watched_cluster(own_server, Path(folder)) as made:
        yield made


@pytest.fixture
def cluster(one_cluster: WatchedCluster) -> Iterator[WatchedCluster]:
    yield one_cluster
    one_cluster.clear()


def audit(cluster: WatchedCluster, folder: Path, *words: str) -> Ended:
    return migrate(folder, "audit", *words, "--kubeconfig", cluster.server.admin)


def attaching(cluster: WatchedCluster, folder: Path) -> subprocess.Popen[bytes]:
    words = ("audit", "attach", "--interval", "1s", "--kubeconfig", str(cluster.server.admin))
    return subprocess.Popen(
        [*PROGRAM, *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def nodes_in(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return list(connection.execute("SELECT name, state FROM node ORDER BY name"))


def end_recording(cluster: WatchedCluster, *nodes: str) -> None:
    for node in nodes:
        (cluster.store(node) / "stop").touch()
    wait_until(lambda: all((cluster.store(node) / "ended").exists() for node in nodes))


def test_attach_once_status_and_stop(cluster: WatchedCluster, tmp_path: Path) -> None:
    cluster.deploy()
    cluster.add("a")
    cluster.add_node("windows", system="windows")
    done = audit(cluster, tmp_path, "attach", "--once", "-o", "json")
    state = json.loads(done.stdout)
    assert (done.status, state["kind"], state["run"]) == (4, "ClusterWatch", RUN)
    assert "not watched: windows: it is a Windows node" in done.stderr
    assert nodes_in(tmp_path / "migration/audit.db") == [("a", "watched"), ("windows", "not_watched")]
    said = audit(cluster, tmp_path, "status")
    assert said.status == 4
    assert f"run {RUN}" in said.stdout
    assert "recording" in said.stdout
    with cluster.collected():
        ended = audit(cluster, tmp_path, "stop")
    assert ended.status == 0, ended.stderr + ended.stdout
    assert "no object of the run is left in the cluster" in ended.stdout
    assert all(cluster.admin.call("GET", path)[0] == 404 for _, _, path in OBJECTS)
    assert content(tmp_path / "migration/audit/a.db") == content(cluster.stores / "kept/a.db")
    again = audit(cluster, tmp_path, "stop")
    assert (again.status, "no audit runs there" in again.stderr) == (2, True)


def test_a_run_whose_settings_were_deleted_by_hand_is_drained_before_it_goes(
    cluster: WatchedCluster, tmp_path: Path
) -> None:
    cluster.deploy()
    cluster.add("a")
    assert audit(cluster, tmp_path, "attach", "--once").status == 0
    cluster.admin.must("DELETE", OBJECTS[1][2])
    elsewhere = audit(cluster, tmp_path, "stop", "--namespace", "default")
    assert (elsewhere.status, "give --namespace cilium-migrate" in elsewhere.stderr) == (2, True)
    with cluster.collected():
        ended = audit(cluster, tmp_path, "stop")
    assert ended.status == 0, ended.stderr + ended.stdout
    assert content(tmp_path / "migration/audit/a.db") == content(cluster.stores / "kept/a.db")


def test_status_and_stop_mean_the_cluster_that_the_folder_follows(cluster: WatchedCluster, tmp_path: Path) -> None:
    cluster.deploy()
    cluster.add("a")
    assert audit(cluster, tmp_path, "attach", "--once").status == 0
    default = str(cluster.server.admin)
    said = migrate(tmp_path, "audit", "status", KUBECONFIG=default)
    assert (said.status, f"run {RUN}" in said.stdout) == (0, True), said.stderr
    with cluster.collected():
        ended = migrate(tmp_path, "audit", "stop", KUBECONFIG=default)
    assert ended.status == 0, ended.stderr + ended.stdout
    assert all(cluster.admin.call("GET", path)[0] == 404 for _, _, path in OBJECTS)


def test_a_watcher_that_is_killed_at_any_moment_loses_nothing(cluster: WatchedCluster, tmp_path: Path) -> None:
    cluster.deploy()
    cluster.add("a", "b")
    cluster.script("a").execs.piece, cluster.script("a").execs.pause = 400, 0.01
    chance = random.Random(9)
    for _ in range(4):
        with attaching(cluster, tmp_path) as process:
            time.sleep(chance.uniform(0.5, 4))
            process.kill()
    end_recording(cluster, "a", "b")
    done = audit(cluster, tmp_path, "attach", "--once")
    assert done.status == 0, done.stderr
    folder = tmp_path / "migration/audit"
    assert all(content(folder / f"{node}.db") == content(recording_in(cluster.store(node))) for node in "ab")


def test_ctrl_c_leaves_the_agents_at_work_and_says_how_to_come_back(cluster: WatchedCluster, tmp_path: Path) -> None:
    cluster.deploy()
    cluster.add("a")
    state = tmp_path / "migration"
    with attaching(cluster, tmp_path) as process:
        wait_until(lambda: _pulled(state) > 0)
        second = audit(cluster, tmp_path, "attach", "--once")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=_PATIENCE)
    assert (second.status, "watches the cluster into this folder already" in second.stderr) == (2, True)
    assert process.returncode == 130
    assert b"the agents go on; come back with: migrate audit attach --kubeconfig" in errors
    assert cluster.kubelets.running() == 1
    assert _pulled(state) > 0


def _pulled(state: Path) -> int:
    """The last revision of the first node that is known in a working folder."""
    known = read_state(state)
    return known.nodes[0].revision if known is not None and known.nodes else 0


def test_migrate_audit_from_outside_follows_ends_and_judges(cluster: WatchedCluster, tmp_path: Path) -> None:
    for node in ("a", "b"):
        cluster.add_node(node)
        address = {"addresses": [{"type": "Hostname", "address": "127.0.0.1"}]}  # not of this machine, for the snapshot
        cluster.set_status(f"/api/v1/nodes/{node}", **address)
    scanned = migrate(tmp_path, "scan", "--kubeconfig", cluster.server.admin, "-q")
    assert scanned.status in (0, 1, 4), scanned.stderr
    translated = migrate(tmp_path, "translate", "-q")
    assert translated.status in (0, 1, 4), translated.stderr
    nothing = audit(cluster, tmp_path)
    assert nothing.status == 2
    assert "give the agents' image with --image" in nothing.stderr
    digest = cluster_digest(read_scene(Place(tmp_path / "migration")).cluster)
    cluster.deploy(cluster=digest, seconds=3)
    for node in ("a", "b"):
        cluster.add_pod(node)
    wait_until(lambda: all((cluster.store(node) / "epoch").exists() for node in "ab"))
    with cluster.collected():
        done = audit(cluster, tmp_path, "-o", "json")
    assert done.status in (1, 4), done.stderr
    assert json.loads(done.stdout)["kind"] == "Audit"
    assert nodes_in(tmp_path / "migration/audit.db") == [("a", "watched"), ("b", "watched")]
    assert all(cluster.admin.call("GET", path)[0] == 404 for _, _, path in OBJECTS)
