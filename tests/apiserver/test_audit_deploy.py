"""Agents in a real API server: all of them or nothing, and nothing of them at the end."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from migrate.control.deploy import DeployError, deploy
from migrate.control.manifests import manifests, manifests_yaml
from migrate.control.removal import remove
from migrate.model.agent_documents import DAEMON_SET, SETTINGS_FILE, AgentSettings
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, wait_until
from tests.apiserver.deployments import (
    IMAGE,
    NAMESPACE,
    add_node,
    bind_deployer,
    connection,
    controllers,
    objects_of,
    plan_of,
    take_away,
    wishes,
)
from tests.command_line import Ended, migrate
from tests.prerequisites import require

pytestmark = pytest.mark.apiserver

RUN = "0a1b2c3d"
OWN = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "DaemonSet"]


@pytest.fixture(scope="module")
def server(own_server: ApiServer) -> ApiServer:
    """A cluster where `scanner` may deploy agents, and no more."""
    bind_deployer(Client(own_server.admin), "scanner")
    scanner = Client(own_server.scanner)
    wait_until(lambda: scanner.may("list", "", "resourcequotas", namespace=NAMESPACE))
    return own_server


@pytest.fixture
def nodes(server: ApiServer) -> Iterator[list[str]]:
    """Two nodes. Nothing of a run is there before and after."""
    admin = Client(server.admin)
    names = ["one", "two"]
    for name in names:
        add_node(admin, name)
    yield names
    for run in (RUN, "other"):
        if objects_of(server, run):
            with controllers(server):
                for namespace in (NAMESPACE, "elsewhere"):
                    assert remove(connection(server.admin), namespace, run).left == ()
    take_away(server, *names)


def test_a_run_is_made_with_the_shipped_rights_and_goes_without_a_trace(server: ApiServer, nodes: list[str]) -> None:
    plan = plan_of(server.scanner, wishes(priority=1000))
    assert (plan.impossible, plan.missing, plan.doubts) == ((), (), ())
    assert plan.nodes.watched == tuple(nodes)
    with controllers(server):
        deploy(plan)
        made = [f"{kind} {DAEMON_SET}" for kind in ("PriorityClass", *OWN)]
        wait_until(lambda: len(objects_of(server, RUN)) == len(made) + len(nodes))
        assert objects_of(server, RUN) == [*made, *(f"Pod {DAEMON_SET}-{name}" for name in nodes)]
        done = remove(plan.connection, NAMESPACE, RUN)
    assert done.left == ()
    assert done.removed == tuple(reversed(made))
    assert objects_of(server, RUN) == []


def test_a_namespace_of_the_run_comes_and_goes_with_it(server: ApiServer, nodes: list[str]) -> None:
    plan = plan_of(server.admin, wishes(namespace="elsewhere"))
    assert plan.impossible == ()
    with controllers(server):
        deploy(plan)
        assert "Namespace elsewhere" in objects_of(server, RUN)
        assert remove(plan.connection, "elsewhere", RUN).left == ()
    assert Client(server.admin).call("GET", "/api/v1/namespaces/elsewhere")[0] == 404


def test_a_namespace_that_holds_something_else_by_now_stays(server: ApiServer, nodes: list[str]) -> None:
    admin = Client(server.admin)
    plan = plan_of(server.admin, wishes(namespace="elsewhere"))
    with controllers(server):
        deploy(plan)
        metadata: Object = {"name": "theirs", "namespace": "elsewhere"}
        admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        [left] = remove(plan.connection, "elsewhere", RUN).left
    assert str(left) == "Namespace elsewhere: something else is in it, so it stays: ConfigMap theirs"
    admin.must("DELETE", "/api/v1/namespaces/elsewhere/configmaps/theirs")


def test_agents_on_nodes_that_are_away_are_named_and_the_rest_goes(server: ApiServer, nodes: list[str]) -> None:
    plan = plan_of(server.scanner)
    with controllers(server, away=frozenset({"two"})):
        deploy(plan)
        wait_until(lambda: len(objects_of(server, RUN)) == len(OWN) + len(nodes))
        done = remove(plan.connection, NAMESPACE, RUN, patience=3)
    assert [left.what for left in done.left] == [f"Pod {DAEMON_SET}-two"]
    assert "it is on node two, which has not ended it; is the node ready?" in done.left[0].why
    assert objects_of(server, RUN) == [f"Pod {DAEMON_SET}-two"]


def test_a_lease_of_the_agents_goes_too(server: ApiServer, nodes: list[str]) -> None:
    deploy(plan_of(server.scanner))
    metadata: Object = {"name": DAEMON_SET, "namespace": NAMESPACE, "labels": {"cilium-migrate/run": RUN}}
    Client(server.admin).create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
    with controllers(server):
        assert f"Lease {DAEMON_SET}" in remove(connection(server.scanner), NAMESPACE, RUN).removed
    assert objects_of(server, RUN) == []


@pytest.mark.parametrize("kind", OWN[1:])
def test_what_cannot_be_made_takes_back_what_was_made_before(server: ApiServer, nodes: list[str], kind: str) -> None:
    plan = plan_of(server.scanner)
    admin = Client(server.admin)
    [taken] = [one for one in manifests(wishes("theirs")) if one.kind.kind == kind]
    made = json.loads(taken.body)
    made["metadata"]["labels"] = {"whose": "theirs"}
    admin.create(made)
    try:
        with pytest.raises(DeployError) as refused, controllers(server):
            deploy(plan)
        assert f"{kind} {DAEMON_SET}: the API server does not take it" in str(refused.value)
        assert "already exists" in str(refused.value)
        assert str(refused.value).endswith("What was made before is gone again")
        assert objects_of(server, RUN) == []
        again = plan_of(server.scanner)
        text = f"there is a {kind} {DAEMON_SET} already that is not of any run"
        assert again.impossible == (f"{text}; it is not touched: delete it, or rename it",)
        assert remove(connection(server.admin), NAMESPACE, RUN).removed == ()
    finally:
        theirs = admin.must("GET", taken.path)
        assert cast("Object", theirs["metadata"])["labels"] == {"whose": "theirs"}
        admin.must("DELETE", taken.path)


def test_an_interrupted_deployment_leaves_nothing(server: ApiServer, nodes: list[str]) -> None:
    def interrupt(what: str) -> None:
        if what.startswith("DaemonSet"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), controllers(server):
        deploy(plan_of(server.scanner), interrupt)
    assert objects_of(server, RUN) == []


def test_one_run_at_a_time(server: ApiServer, nodes: list[str]) -> None:
    deploy(plan_of(server.scanner))
    again = plan_of(server.scanner, wishes("other"))
    assert again.running == RUN
    assert again.impossible == (
        f"run {RUN} is there already; migrate audit attach follows it, migrate audit stop ends it",
    )
    with pytest.raises(DeployError, match="is there already"):
        deploy(again)
    assert objects_of(server, "other") == []
    assert len(objects_of(server, RUN)) == len(OWN)


def test_a_run_of_another_namespace_keeps_what_it_has_in_the_whole_cluster(server: ApiServer, nodes: list[str]) -> None:
    with controllers(server):
        deploy(plan_of(server.scanner, wishes(priority=1000)))
        wait_until(lambda: len(objects_of(server, RUN)) == 1 + len(OWN) + len(nodes))
        before = objects_of(server, RUN)
        plan = plan_of(server.admin, wishes("other", namespace="elsewhere", priority=1000))
        [reason] = plan.impossible
        assert reason.startswith(f"run {RUN} has agents in namespace {NAMESPACE} (pod {DAEMON_SET}-")
        with pytest.raises(DeployError, match="has agents in namespace"):
            deploy(plan)
    assert objects_of(server, RUN) == before
    assert objects_of(server, "other") == []


def test_what_a_dead_run_left_goes_before_the_next(server: ApiServer, nodes: list[str]) -> None:
    deploy(plan_of(server.scanner))
    Client(server.admin).must("DELETE", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{DAEMON_SET}")
    plan = plan_of(server.scanner, wishes("other"))
    assert [str(found) for found in plan.remains] == [f"{kind} {DAEMON_SET}" for kind in OWN[:-1]]
    assert plan.impossible == ()
    with controllers(server):
        deploy(plan)
        assert objects_of(server, RUN) == []
        assert {f"{kind} {DAEMON_SET}" for kind in OWN} <= set(objects_of(server, "other"))


def test_pod_security_that_refuses_agents_is_said_before_anything_is_made(server: ApiServer, nodes: list[str]) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    metadata: Object = {"name": "strict", "labels": labels}
    Client(server.admin).create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    [reason] = plan_of(server.admin, wishes(namespace="strict")).impossible
    assert reason.startswith("its pods: Pod Security of namespace strict refuses agents")
    assert reason.endswith("the label pod-security.kubernetes.io/enforce=privileged")


def test_a_quota_without_room_for_all_agents_is_said(server: ApiServer, nodes: list[str]) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
    _quota(server, NAMESPACE, {"pods": "1"}, {"pods": "0"})
    try:
        [doubt] = plan_of(server.scanner).doubts
        assert doubt.startswith("quota small has room for 1 of 2 agents (pods: 0 of 1 used, 1 for each); raise it")
        _quota_status(server, NAMESPACE, {"pods": "1"}, {"pods": "1"})
        wait_until(lambda: plan_of(server.scanner).impossible != ())
        [reason] = plan_of(server.scanner).impossible
        assert reason.startswith(f"its pods: a quota of namespace {NAMESPACE} refuses it (")
        assert "exceeded quota: small" in reason
    finally:
        Client(server.admin).must("DELETE", f"{path}/small")


def test_a_quota_of_other_priorities_does_not_count(server: ApiServer, nodes: list[str]) -> None:
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    _quota(server, NAMESPACE, {"pods": "1"}, {"pods": "0"}, scopeSelector={"matchExpressions": [scope]})
    try:
        assert plan_of(server.scanner).doubts == ()
        [doubt] = plan_of(server.scanner, wishes(priority_class="high")).doubts
        assert "room for 1 of 2 agents" in doubt
    finally:
        Client(server.admin).must("DELETE", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/small")


def _quota(server: ApiServer, namespace: str, hard: Object, used: Object, **more: object) -> None:
    metadata = {"name": "small", "namespace": namespace}
    made: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard, **more}}
    Client(server.admin).create(made)
    _quota_status(server, namespace, hard, used)


def _quota_status(server: ApiServer, namespace: str, hard: Object, used: Object) -> None:
    admin = Client(server.admin)
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/small"
    quota = admin.must("GET", path)
    admin.must("PUT", f"{path}/status", quota | {"status": {"hard": hard, "used": used}})


def test_nodes_that_will_not_be_watched_are_named_with_the_reason(server: ApiServer, nodes: list[str]) -> None:
    admin = Client(server.admin)
    labels = {"pool": "users"}
    taint = {"key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule"}
    odd = {
        "away": {"ready": False, "labels": labels},
        "fargate": {"labels": {**labels, "eks.amazonaws.com/compute-type": "fargate"}},
        "old": {"kernel": "5.4.0-1138-azure", "labels": labels},
        "virtual": {"labels": {**labels, "type": "virtual-kubelet"}},
        "virtual-2": {"labels": labels, "taints": [taint]},
        "watched": {"labels": labels, "taints": [{"key": "busy", "effect": "NoExecute"}]},
        "windows": {"system": "windows", "labels": labels},
    }
    for name, more in odd.items():
        add_node(admin, name, **more)  # type: ignore[arg-type]
    try:
        planned = plan_of(server.scanner, wishes(node_selector=(("pool", "users"),))).nodes
    finally:
        for name in odd:
            admin.must("DELETE", f"/api/v1/nodes/{name}")
    assert planned.watched == ("watched",)
    assert {node.name: node.reason for node in planned.unwatched} == {
        "away": "it is not ready (no heartbeat); its agent begins when it is back",
        "fargate": "it is a virtual node: no machine of the cluster is behind it",
        "old": "its kernel 5.4.0-1138-azure is too old for the probe, which needs 5.10 or newer",
        "one": "--node-selector leaves it out: it does not have pool=users",
        "two": "--node-selector leaves it out: it does not have pool=users",
        "virtual": "it is a virtual node: no machine of the cluster is behind it",
        "virtual-2": "it is a virtual node: no machine of the cluster is behind it",
        "windows": "it is a Windows node: there is no probe for Windows",
    }
    assert planned.agents == 3


def test_without_a_node_nothing_is_deployed(server: ApiServer, nodes: list[str]) -> None:
    plan = plan_of(server.scanner, wishes(node_selector=(("pool", "none"),)))
    assert plan.impossible == ("no node would be watched: none is a Linux machine that is ready and not left out",)


@pytest.fixture(scope="module")
def scanned(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the snapshot of the cluster."""
    folder = tmp_path_factory.mktemp("scanned")
    assert migrate(folder, "scan", "--kubeconfig", server.admin, "-q").status == 0
    return folder


def command(server: ApiServer, folder: Path, *more: str | Path, image: str = IMAGE) -> Ended:
    return migrate(folder, "audit", "deploy", "--image", image, "--kubeconfig", server.scanner, *more)


def test_the_command_says_what_it_makes_and_makes_it(server: ApiServer, nodes: list[str], scanned: Path) -> None:
    add_node(Client(server.admin), "windows", system="windows")
    try:
        done = command(server, scanned, "--yes", "--duration", "90m", "--capability", "SYSLOG")
    finally:
        Client(server.admin).must("DELETE", "/api/v1/nodes/windows")
    assert done.status == 4  # a node is not watched
    assert "2 of 3 nodes" in done.stdout
    assert "- each is recorded for 1h30m" in done.stdout
    assert "- not watched: windows: it is a Windows node" in done.stdout
    for capability in ("BPF", "NET_ADMIN", "PERFMON", "SYSLOG"):
        assert f"    {capability}: " in done.stdout
    assert "SYS_ADMIN" not in done.stdout
    assert "- nodes newer than the snapshot: one, two; take a new one" in done.stdout
    admin = Client(server.admin)
    given = admin.must("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{DAEMON_SET}")
    settings = json.loads(cast("dict[str, str]", given["data"])[Path(SETTINGS_FILE).name])
    run = settings["run"]
    assert f"run {run} is deployed" in done.stderr
    assert settings["seconds"] == 5400
    assert settings["cluster"]
    service = admin.must("GET", "/api/v1/namespaces/default/services/kubernetes")
    assert settings["services"] == [cast("Object", service["spec"])["clusterIP"]]
    with controllers(server):
        assert remove(connection(server.scanner), NAMESPACE, run).left == ()


def test_nobody_to_ask_makes_nothing(server: ApiServer, nodes: list[str], scanned: Path) -> None:
    done = command(server, scanned)
    assert done.status == 2
    assert "give --yes, or see --dry-run -o yaml" in done.stderr
    assert Client(server.admin).call("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{DAEMON_SET}")[0] == 404


def test_a_snapshot_of_another_cluster_is_refused(
    server: ApiServer, nodes: list[str], scanned: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "cluster.yaml"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}}
    manifest.write_text(json.dumps(service | {"spec": {"clusterIP": "172.16.0.1", "ports": [{"port": 443}]}}))
    assert migrate(tmp_path, "scan", "-f", manifest, "-q").status == 0
    done = command(server, tmp_path, "--yes")
    assert done.status == 2
    assert "a snapshot of another cluster than" in done.stderr
    assert "default/kubernetes has the address" in done.stderr


def test_the_printed_objects_are_taken_by_kubectl(
    server: ApiServer, nodes: list[str], scanned: Path, tmp_path: Path
) -> None:
    """Offline, piped into kubectl apply --server-side, as the documentation shows it."""
    require(shutil.which("kubectl") is not None, "needs kubectl")
    more = ("--namespace", "elsewhere", "--priority", "5", "--node-selector", "pool=users", "--pull-secret", "registry")
    nowhere = ("--kubeconfig", str(tmp_path / "nowhere"))
    printed = migrate(scanned, "audit", "deploy", "--image", IMAGE, "--dry-run", "-o", "yaml", *more, *nowhere)
    assert printed.status == 0
    kubectl = ["kubectl", "--kubeconfig", str(server.admin), "apply", "--server-side", "--validate=strict", "-f", "-"]
    applied = subprocess.run(kubectl, input=printed.stdout.encode(), capture_output=True, check=False, timeout=60)
    assert applied.returncode == 0, applied.stderr.decode()
    assert applied.stdout.decode().count("serverside-applied") == 9
    run = Client(server.admin).must("GET", f"/apis/apps/v1/namespaces/elsewhere/daemonsets/{DAEMON_SET}")
    labels = cast("Object", cast("Object", run["metadata"])["labels"])
    with controllers(server):
        assert remove(connection(server.admin), "elsewhere", str(labels["cilium-migrate/run"])).left == ()


def test_objects_as_json_are_the_same(server: ApiServer, scanned: Path) -> None:
    done = command(server, scanned, "--dry-run", "-o", "json", "--system-node-critical")
    items = {item["kind"]: item for item in json.loads(done.stdout)["items"]}
    assert list(items) == ["Namespace", *OWN]
    assert items["DaemonSet"]["spec"]["template"]["spec"]["priorityClassName"] == "system-node-critical"


def test_every_object_passes_a_strict_dry_run(server: ApiServer, nodes: list[str]) -> None:
    admin = Client(server.admin)
    full = replace(
        wishes(priority=7, node_selector=(("pool", "users"),), capabilities=("SYSLOG",), pull_secrets=("registry",))
    )
    for one in manifests(full):
        if one.kind.kind == "Namespace":
            continue  # it is there already
        status, answer = admin.call(
            "POST", f"{one.kind.collection(NAMESPACE)}?dryRun=All&fieldValidation=Strict", json.loads(one.body)
        )
        assert status == 201, (str(one), answer)
        stored = cast("Object", answer["metadata"])
        assert cast("Object", stored["labels"])["cilium-migrate/run"] == RUN
    assert manifests_yaml(manifests(full)).count("\n---\n") == 8
    assert objects_of(server, RUN) == []


def test_settings_reach_the_agent_whole(server: ApiServer, nodes: list[str]) -> None:
    import msgspec

    wished = wishes()
    services = tuple(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(60_000))
    wished = replace(wished, settings=msgspec.structs.replace(wished.settings, services=services))
    deploy(plan_of(server.scanner, wished))
    stored = Client(server.admin).must("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{DAEMON_SET}")
    text = cast("dict[str, str]", stored["data"])["run.json"]
    assert msgspec.json.decode(text, type=AgentSettings) == wished.settings
