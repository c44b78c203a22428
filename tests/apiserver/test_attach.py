"""Watching a cluster through its agents, with a real API server: what is pulled is what the agents have."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from migrate.control.attach import Attachment, AttachSettings, alone
from migrate.control.runs import required, running
from migrate.control.state import ClusterWatch, NodeState, read_state, store_of
from migrate.errors import InputError
from migrate.model.agent_documents import AgentSettings
from tests.api_server import ApiServer
from tests.apiserver.admin import wait_until
from tests.apiserver.agent_stand_in import recording_in, status
from tests.apiserver.watched_cluster import NAMESPACE, RUN, WatchedCluster, watched_cluster
from tests.unit.pulled import content

QUOTA = "Error creating: exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3"


@pytest.fixture(scope="module")
def one_cluster(own_server: ApiServer) -> Iterator[WatchedCluster]:
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder, watched_cluster(own_server, Path(folder)) as made:
        yield made


@pytest.fixture
def cluster(one_cluster: WatchedCluster) -> Iterator[WatchedCluster]:
    yield one_cluster
    one_cluster.clear()


def attached(cluster: WatchedCluster, folder: Path, run: AgentSettings) -> Attachment:
    return Attachment(cluster.connection, run, AttachSettings(folder), threading.Event())


def turn(cluster: WatchedCluster, folder: Path, run: AgentSettings) -> ClusterWatch:
    """One turn of somebody who attaches anew."""
    with alone(folder):
        made = attached(cluster, folder, run)
        made.turn(lambda state: None)
    assert read_state(folder) == made.state
    return made.state


def node_of(state: ClusterWatch, name: str) -> NodeState:
    return next(node for node in state.nodes if node.name == name)


def stop_recording(cluster: WatchedCluster, *nodes: str) -> None:
    """Their agents end, and have nothing to add any more."""
    for node in nodes:
        (cluster.store(node) / "stop").touch()
    wait_until(lambda: all((cluster.store(node) / "ended").exists() for node in nodes))


def is_whole(cluster: WatchedCluster, folder: Path, state: ClusterWatch, node: str) -> bool:
    return content(store_of(folder, node_of(state, node))) == content(recording_in(cluster.store(node)))


def test_what_is_pulled_turn_by_turn_is_what_the_agents_have(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b", "c")
    first = turn(cluster, tmp_path, run)
    assert {node.name: node.state for node in first.nodes} == dict.fromkeys("abc", "watched")
    stop_recording(cluster, "a", "b", "c")
    second = turn(cluster, tmp_path, run)
    assert all(node.has_ended and not node.reason for node in second.nodes)
    assert all(is_whole(cluster, tmp_path, second, node) for node in "abc")
    third = turn(cluster, tmp_path, run)
    assert [node.octets for node in third.nodes] == [node.octets for node in second.nodes]
    assert (second.run, second.changes, second.trouble) == (RUN, (), "")


def test_cuts_and_slow_lines_lose_nothing(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    cluster.script("a").execs.cuts = [100, 10_000, 700, 3000]
    cluster.script("b").execs.piece, cluster.script("b").execs.pause = 2000, 0.002
    stop_recording(cluster, "a", "b")
    states = [turn(cluster, tmp_path, run) for _ in range(4)]
    assert node_of(states[0], "a").failures > 0
    assert all(is_whole(cluster, tmp_path, states[-1], node) for node in "ab")
    assert all(not node.reason for node in states[-1].nodes)


def test_an_agent_that_is_killed_and_begins_anew_goes_on(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    turn(cluster, tmp_path, run)
    os.kill(cluster.agent("a"), signal.SIGKILL)
    wait_until(lambda: cluster.phase("a") == "Failed")
    between = turn(cluster, tmp_path, run)
    assert node_of(between, "a").reason == "Error"
    assert node_of(between, "b").reason == ""
    cluster.admin.must("DELETE", f"{cluster.pod_path('a')}?gracePeriodSeconds=0")
    cluster.add_pod("a")
    wait_until(lambda: cluster.kubelets.running() == 2)
    stop_recording(cluster, "a", "b")
    last = turn(cluster, tmp_path, run)
    assert is_whole(cluster, tmp_path, last, "a")
    assert node_of(last, "a").reason == ""


def test_a_recording_that_a_node_lost_is_put_aside_and_begun_anew(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a")
    stop_recording(cluster, "a")
    state = turn(cluster, tmp_path, run)
    os.kill(cluster.agent("a"), signal.SIGKILL)
    wait_until(lambda: cluster.kubelets.running() == 0)
    cluster.admin.must("DELETE", f"{cluster.pod_path('a')}?gracePeriodSeconds=0")
    for path in cluster.store("a").iterdir():
        path.unlink()
    (cluster.store("a") / "rest").touch()
    cluster.add_pod("a")
    wait_until(lambda: (cluster.store("a") / "epoch").exists())
    stop_recording(cluster, "a")
    state = turn(cluster, tmp_path, run)
    assert is_whole(cluster, tmp_path, state, "a")
    assert (tmp_path / "audit/a.db.old-1").exists()


def test_nodes_that_cannot_be_watched_are_named_with_why(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("works")
    cluster.add_node("windows", system="windows")
    cluster.add_node("virtual", labels={"type": "virtual-kubelet"})
    cluster.add_node("away", ready="Unknown")
    cluster.set_status(
        "/api/v1/nodes/away",
        conditions=[
            {"type": "Ready", "status": "Unknown", "message": "silent", "lastTransitionTime": "2026-11-21T07:00:00Z"}
        ],
    )
    cluster.add_node("bare")
    for node in ("image", "evicted", "memory"):
        cluster.add_node(node)
        cluster.script(node).mute = True
        cluster.add_pod(node)
    container = {"name": "agent", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    again = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    cluster.set_status(cluster.pod_path("image"), containerStatuses=[container | {"state": waiting}])
    cluster.set_status(
        cluster.pod_path("memory"), containerStatuses=[container | {"state": again, "lastState": killed}]
    )
    cluster.set_status(
        cluster.pod_path("evicted"), phase="Failed", reason="Evicted", message="The node had condition: [DiskPressure]."
    )
    cluster.admin.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e1", "namespace": NAMESPACE},
            "involvedObject": {"kind": "DaemonSet", "name": "cilium-migrate-audit", "namespace": NAMESPACE},
            "reason": "FailedCreate",
            "message": QUOTA,
            "lastTimestamp": "2026-11-22T05:00:00Z",
        }
    )
    reasons = {node.name: node.reason for node in turn(cluster, tmp_path, run).nodes}
    cluster.admin.must("DELETE", f"/api/v1/namespaces/{NAMESPACE}/events/e1")
    assert reasons == {
        "works": "",
        "windows": "it is a Windows node: there is no probe for Windows",
        "virtual": "it is a virtual node: no machine of the cluster is behind it",
        "away": "it is not ready since 2026-11-21T07:00:00Z (silent); its agent begins when it is back",
        "bare": f"it has no agent: the DaemonSet could not make its pod ({QUOTA})",
        "image": "ImagePullBackOff: no such image",
        "memory": "CrashLoopBackOff: back-off (last time: OOMKilled: it needed more memory than its limit)",
        "evicted": "Evicted: The node had condition: [DiskPressure].",
    }


def test_agents_that_are_odd_are_named_and_the_others_are_pulled(cluster: WatchedCluster, tmp_path: Path) -> None:
    for node, word, text in (
        ("older", "protocol", "0"),
        ("ahead", "skew", str(180 * 10**9)),
        ("behind", "skew", str(-180 * 10**9)),
        ("mute", "mute", ""),
        ("failed", "failure", "the kernel has no BPF"),
    ):
        cluster.store(node).mkdir(parents=True)
        (cluster.store(node) / word).write_text(text)
    run = cluster.deploy()
    cluster.add("older", "ahead", "behind", "mute", "failed", "plain")
    state = turn(cluster, tmp_path, run)
    assert {node.name: node.state for node in state.nodes} == {
        "older": "not_watched",
        "ahead": "watched",
        "behind": "watched",
        "mute": "not_watched",
        "failed": "not_watched",
        "plain": "watched",
    }
    assert "(protocol 0), and this program knows protocol 1" in node_of(state, "older").reason
    assert "the agent does not answer" in node_of(state, "mute").reason
    assert node_of(state, "failed").reason == "its agent cannot record: the kernel has no BPF"
    assert abs(node_of(state, "ahead").skew - 180 * 10**9) < 60 * 10**9
    assert abs(node_of(state, "behind").skew + 180 * 10**9) < 60 * 10**9
    assert node_of(state, "plain").skew == 0


def test_nodes_that_join_and_leave_are_told_with_times(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    before = turn(cluster, tmp_path, run)
    cluster.admin.must("DELETE", "/api/v1/nodes/b")
    cluster.admin.must("DELETE", f"{cluster.pod_path('b')}?gracePeriodSeconds=0")
    cluster.add("c")
    state = turn(cluster, tmp_path, run)
    assert [(change.node, change.change) for change in state.changes] == [("c", "joined"), ("b", "left")]
    assert before.turned is not None
    assert all(change.at > before.turned for change in state.changes)
    assert node_of(state, "b").state == "watched"
    assert node_of(state, "b").reason == "it left the cluster during the run"
    assert turn(cluster, tmp_path, run).changes == state.changes


def test_somebody_else_goes_on_from_another_folder(cluster: WatchedCluster, tmp_path: Path) -> None:
    cluster.deploy()
    cluster.add("a")
    run = required(cluster.connection(), NAMESPACE)
    turn(cluster, tmp_path / "one", run)
    stop_recording(cluster, "a")
    state = turn(cluster, tmp_path / "two", run)
    assert is_whole(cluster, tmp_path / "two", state, "a")


def test_a_folder_is_for_one_watcher_and_for_one_run(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    turn(cluster, tmp_path, run)
    with (
        alone(tmp_path),
        pytest.raises(InputError, match=f"process {os.getpid()} watches the cluster into this"),
        alone(tmp_path),
    ):
        pass
    with pytest.raises(InputError, match=f"has the recordings of run {RUN}, and run other is in the cluster"):
        attached(cluster, tmp_path, structs.replace(run, run="other"))


def test_a_cluster_that_does_not_answer_is_asked_again(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a")
    good = turn(cluster, tmp_path, run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(cluster.server.admin.read_text().replace(cluster.server.url, "https://127.0.0.1:9"))
    answers = iter([elsewhere, cluster.server.admin])
    with alone(tmp_path):
        made = Attachment(lambda: cluster.connection(next(answers)), run, AttachSettings(tmp_path), threading.Event())
        made.turn(lambda state: None)
        assert "no connection: Connection refused" in made.state.trouble
        assert node_of(made.state, "a").revision == node_of(good, "a").revision
        wait_until(lambda: status(cluster.store("a"), "a", RUN).revision > node_of(good, "a").revision)
        made.turn(lambda state: None)
    assert made.state.trouble == ""
    assert node_of(made.state, "a").revision > node_of(good, "a").revision


def test_a_user_who_may_not_run_commands_sees_why_at_every_node(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a")
    admin = cluster.admin
    admin.bind_shipped_rights("scanner")
    connection = cluster.connection(cluster.server.scanner)
    wait_until(lambda: connection.may("list", "nodes", "") and connection.may("list", "pods", ""))
    with alone(tmp_path):
        made = Attachment(lambda: connection, run, AttachSettings(tmp_path), threading.Event())
        made.turn(lambda state: None)
    assert "you may not run commands in its agent" in node_of(made.state, "a").reason
    assert "docs/rbac-audit.yaml" in node_of(made.state, "a").reason


def test_no_run_is_said(cluster: WatchedCluster) -> None:
    assert running(cluster.connection(), NAMESPACE) is None
    with pytest.raises(InputError, match="no audit runs there in namespace cilium-migrate"):
        required(cluster.connection(), NAMESPACE)


def test_it_ends_when_all_agents_have_ended_and_are_pulled(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    stop = threading.Event()
    shown: list[ClusterWatch] = []

    def show(state: ClusterWatch) -> None:
        shown.append(state)
        if len(state.nodes) == 2 and all(node.revision for node in state.nodes):
            for node in "ab":
                (cluster.store(node) / "stop").touch()

    with alone(tmp_path):
        made = Attachment(cluster.connection, run, AttachSettings(tmp_path, interval=0.2), stop)
        made.watch(show)
    assert all(node.has_ended for node in made.state.nodes)
    assert all(is_whole(cluster, tmp_path, made.state, node) for node in "ab")


def test_it_ends_when_the_time_is_over(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy(seconds=1)
    cluster.add("a")
    with alone(tmp_path):
        made = attached(cluster, tmp_path, run)
        made.watch(lambda state: None)
    assert made.state.is_over(time.time_ns())
    assert node_of(made.state, "a").state == "watched"


def test_it_ends_when_somebody_took_the_run_away(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a")
    turn(cluster, tmp_path, run)
    cluster.remove()
    with alone(tmp_path):
        made = Attachment(cluster.connection, run, AttachSettings(tmp_path, interval=0.2), threading.Event())
        made.watch(lambda state: None)
    assert made.state.trouble == "the agents' DaemonSet is not there any more"
    assert node_of(made.state, "a").state == "watched"
