"""The end of a run on a cluster, with a real API server: nothing is lost, and nothing is left."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.control.attach import alone
from migrate.control.state import node_file, read_state
from migrate.control.stopping import Stopped, Stopping, StopWishes
from migrate.errors import ClusterError
from migrate.model.agent_documents import STORE_FOLDER, AgentSettings
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, wait_until
from tests.apiserver.watched_cluster import OBJECTS, RUN, WatchedCluster, watched_cluster
from tests.unit.pulled import content

BY_HAND = (f"migrate audit stop --audit {STORE_FOLDER}/{RUN}/audit.db", f"rm -r {STORE_FOLDER}/{RUN}")


@pytest.fixture(scope="module")
def one_cluster(own_server: ApiServer) -> Iterator[WatchedCluster]:
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder, watched_cluster(own_server, Path(folder)) as made:
        yield made


@pytest.fixture
def cluster(one_cluster: WatchedCluster) -> Iterator[WatchedCluster]:
    yield one_cluster
    one_cluster.clear()


def stopped(
    cluster: WatchedCluster, folder: Path, run: AgentSettings, *, discard: str = "", force: bool = False
) -> Stopped:
    wishes = StopWishes(folder, frozenset(discard.split()), force)
    with alone(folder):
        made = Stopping(cluster.connection(), run, wishes, threading.Event())
        return made.run(cluster.remove, lambda what, number, total: None)


def is_there(cluster: WatchedCluster) -> bool:
    return all(cluster.admin.call("GET", path)[0] == 200 for _, _, path in OBJECTS)


def is_whole(cluster: WatchedCluster, folder: Path, node: str) -> bool:
    return content(folder / "audit" / node_file(node)) == content(cluster.stores / "kept" / f"{node}.db")


def test_everything_is_pulled_and_then_everything_is_gone(cluster: WatchedCluster, tmp_path: Path) -> None:
    cluster.store("failed").mkdir(parents=True)
    (cluster.store("failed") / "failure").write_text("the kernel has no BPF")
    run = cluster.deploy()
    cluster.add("a", "b", "failed")
    cluster.script("b").execs.cuts = [100_000, 900]
    cluster.add_node("never")
    cluster.script("never").mute = True
    cluster.add_pod("never")
    done = stopped(cluster, tmp_path, run)
    assert done.is_clean
    assert [(node.node, node.pulled, node.cleaned, node.commands) for node in done.nodes] == [
        ("a", True, True, ()),
        ("b", True, True, ()),
        ("failed", True, True, ()),
        ("never", True, True, ()),
    ]
    assert all(is_whole(cluster, tmp_path, node) for node in "ab")
    assert not cluster.store("a").exists()
    assert not is_there(cluster)
    state = read_state(tmp_path)
    assert state is not None
    assert state.stopped is not None


def test_nothing_is_taken_away_while_a_node_s_records_are_nowhere_else(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    (cluster.store("b") / "mute").touch()
    done = stopped(cluster, tmp_path, run)
    assert (done.removed, done.unpulled, done.is_clean) == (False, ("b",), False)
    assert "the agent does not answer" in next(node.reason for node in done.nodes if node.node == "b")
    assert is_there(cluster)
    assert not (cluster.store("a") / "cleaned").exists()
    (cluster.store("b") / "mute").unlink()
    assert stopped(cluster, tmp_path, run).is_clean
    assert all(is_whole(cluster, tmp_path, node) for node in "ab")


@pytest.mark.parametrize("force", [False, True])
def test_records_that_are_given_up_hold_nothing_up_and_the_node_is_named(
    cluster: WatchedCluster, tmp_path: Path, force: bool
) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    (cluster.store("b") / "mute").touch()
    done = stopped(cluster, tmp_path, run, discard="" if force else "b", force=force)
    assert done.removed
    assert not done.is_clean
    first, second = done.nodes
    assert (first.cleaned, first.pulled, first.commands) == (True, True, ())
    assert (second.cleaned, second.pulled, second.commands) == (False, False, BY_HAND)
    assert not is_there(cluster)


def test_what_an_agent_cannot_take_away_is_named(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a")
    (cluster.store("a") / "left").write_text("link:7 /sys/fs/bpf/x")
    done = stopped(cluster, tmp_path, run)
    (node,) = done.nodes
    assert done.removed
    assert not done.is_clean
    assert (node.left, node.commands) == (("link:7", "/sys/fs/bpf/x"), BY_HAND)


def test_an_end_that_is_broken_off_takes_nothing_and_can_be_tried_again(
    cluster: WatchedCluster, tmp_path: Path
) -> None:
    run = cluster.deploy()
    cluster.add("a")
    cluster.script("a").execs.hangs = 1
    stop = threading.Event()
    with alone(tmp_path):
        made = Stopping(cluster.connection(), run, StopWishes(tmp_path), stop)
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(ClusterError, match="nothing is lost, run it again"):
            made.run(cluster.remove, lambda what, number, total: None)
    assert is_there(cluster)
    assert stopped(cluster, tmp_path, run).is_clean
    assert is_whole(cluster, tmp_path, "a")


def test_a_node_that_lost_its_pod_just_now_is_not_forgotten(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    (cluster.store("b") / "mute").touch()
    assert stopped(cluster, tmp_path, run).unpulled == ("b",)
    (cluster.store("b") / "mute").unlink()
    cluster.script("b").execs.cuts = [10**6, 10**6, 1, 1, 1]  # status and stop answer, no pull comes through
    assert stopped(cluster, tmp_path, run).unpulled == ("b",)
    cluster.script("b").execs.cuts.clear()
    cluster.admin.must("DELETE", f"{cluster.pod_path('b')}?gracePeriodSeconds=0")
    wait_until(lambda: cluster.kubelets.running() == 1)
    done = stopped(cluster, tmp_path, run)
    assert (done.removed, done.unpulled) == (False, ("b",))
    cluster.add_pod("b")
    wait_until(lambda: cluster.phase("b") == "Running")
    assert stopped(cluster, tmp_path, run).is_clean
    assert all(is_whole(cluster, tmp_path, node) for node in "ab")


def test_an_end_goes_on_where_it_was_killed_after_some_nodes_were_cleaned(
    cluster: WatchedCluster, tmp_path: Path
) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    (cluster.store("b") / "left").write_text("pin")
    with alone(tmp_path):
        made = Stopping(cluster.connection(), run, StopWishes(tmp_path), threading.Event())
        with pytest.raises(InterruptedError):
            made.run(_killed, lambda what, number, total: None)
    assert not cluster.store("a").exists()
    (cluster.store("b") / "left").unlink()
    done = stopped(cluster, tmp_path, run)
    assert done.is_clean
    assert all(is_whole(cluster, tmp_path, node) for node in "ab")


def test_a_node_that_records_anew_after_its_end_is_pulled_again(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    (cluster.store("b") / "mute").touch()
    assert stopped(cluster, tmp_path, run).unpulled == ("b",)
    (cluster.store("b") / "mute").unlink()
    cluster.admin.must("DELETE", f"{cluster.pod_path('a')}?gracePeriodSeconds=0")
    wait_until(lambda: cluster.kubelets.running() == 1)
    shutil.rmtree(cluster.store("a"))
    cluster.add_pod("a")
    wait_until(lambda: (cluster.store("a") / "epoch").exists() and cluster.phase("a") == "Running")
    assert stopped(cluster, tmp_path, run).is_clean
    assert is_whole(cluster, tmp_path, "a")


def test_an_evicted_agent_and_its_replacement_that_waits_are_not_an_agent_that_never_began(
    cluster: WatchedCluster, tmp_path: Path
) -> None:
    run = cluster.deploy()
    cluster.add_node("b")
    cluster.script("b").mute = True
    cluster.add_pod("b")
    cluster.set_status(cluster.pod_path("b"), phase="Failed", reason="Evicted")
    cluster.add_pod("b")
    done = stopped(cluster, tmp_path, run)
    assert (done.removed, done.unpulled) == (False, ("b",))
    forced = stopped(cluster, tmp_path, run, force=True)
    assert forced.removed
    assert [(node.pulled, node.cleaned, node.commands) for node in forced.nodes] == [(False, False, BY_HAND)]


def test_a_node_that_may_have_had_an_agent_is_named(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a")
    cluster.add_node("b")
    cluster.add_node("windows", system="windows")
    done = stopped(cluster, tmp_path, run)
    assert done.removed
    assert not done.is_clean
    assert [(node.node, node.pulled, node.cleaned, node.commands) for node in done.nodes] == [
        ("a", True, True, ()),
        ("b", False, False, BY_HAND),
    ]
    assert "it has no agent yet" in done.nodes[1].reason


def test_nothing_ends_while_the_cluster_does_not_tell_of_its_nodes(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    rules = [
        {"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get", "list", "create"]},
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]},
    ]
    metadata = {"name": "blind-to-nodes"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **metadata}
    user = {"kind": "User", "name": "scanner", "apiGroup": "rbac.authorization.k8s.io"}
    cluster.admin.create({"apiVersion": RBAC_API, "kind": "ClusterRole", "metadata": metadata, "rules": rules})
    binding = {"apiVersion": RBAC_API, "kind": "ClusterRoleBinding", "metadata": metadata}
    cluster.admin.create(binding | {"roleRef": role, "subjects": [user]})
    wait_until(lambda: Client(cluster.server.scanner).may("get", "apps", "daemonsets"))
    wishes = StopWishes(tmp_path, force=True)
    made = Stopping(cluster.connection(cluster.server.scanner), run, wishes, threading.Event())
    with pytest.raises(ClusterError, match=r"nodes.*nothing was taken away"):
        made.run(cluster.remove, lambda what, number, total: None)
    assert is_there(cluster)


def test_a_node_that_left_before_all_was_pulled_is_named(cluster: WatchedCluster, tmp_path: Path) -> None:
    run = cluster.deploy()
    cluster.add("a", "b")
    (cluster.store("a") / "mute").touch()
    cluster.script("b").execs.cuts = [10**6, 10**6, 1, 1, 1]  # status and stop answer, no pull comes through
    assert stopped(cluster, tmp_path, run).unpulled == ("a", "b")
    (cluster.store("a") / "mute").unlink()
    cluster.admin.must("DELETE", f"{cluster.pod_path('b')}?gracePeriodSeconds=0")
    cluster.admin.must("DELETE", "/api/v1/nodes/b")
    done = stopped(cluster, tmp_path, run)
    assert done.removed
    assert not done.is_clean
    first, second = done.nodes
    assert (first.node, first.pulled, first.cleaned) == ("a", True, True)
    assert (second.node, second.pulled, second.cleaned, second.commands) == ("b", False, False, BY_HAND)
    assert second.reason == "it left the cluster during the run"


def _killed() -> tuple[str, ...]:
    raise InterruptedError
