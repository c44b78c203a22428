"""Reading the nodes of a cluster: a real API server, and kubelets that run what the pods say."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import yaml

from migrate.collect.manifest import COLLECTOR, NAME_LABEL
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet, Script, kubelet, waiting
from tests.command_line import Ended, migrate

pytestmark = pytest.mark.apiserver

NAMESPACE = "cilium-migrate"
RIGHTS = Path(__file__).parents[2] / "docs" / "rbac-nodes.yaml"
SAMPLE = Path(__file__).parents[1] / "cases/azure/linux-npm/hash-sha256"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
COLLECTORS = f"{PODS}?labelSelector={NAME_LABEL}={COLLECTOR}"
ROLE = f"/apis/{RBAC_API}/namespaces/{NAMESPACE}/roles/cilium-migrate-nodes"
PRINT_SAMPLE = """
import sys
from hashlib import sha256
from pathlib import Path
from migrate.collect.bundle import bundle_text
from migrate.model.node_documents import NodeFile, NodeManifest
print("a word on stderr", file=sys.stderr, flush=True)
names = {"iptables-save.txt": "iptables-nft-save.txt", "ipset-save.txt": "ipset-save.txt"}
files = {to: Path(sys.argv[1], name).read_bytes() for name, to in names.items()}
files["modules.txt"] = b"".join(sha256(b"%d" % number).digest() for number in range(1000))
listed = tuple(NodeFile(name=name, command="x") for name in files)
manifest = NodeManifest(tool_version="1", name="whoever", system="linux", way="node", files=listed)
print(bundle_text(manifest, files), end="")
"""


def print_sample(pod: Object) -> Sequence[str]:
    return [sys.executable, "-c", PRINT_SAMPLE, str(SAMPLE)]


def print_line(pod: Object) -> str:
    """The same for a shell."""
    return shlex.join(print_sample(pod))


@pytest.fixture(scope="module")
def server(own_server: ApiServer) -> ApiServer:
    """A server where `scanner` has the shipped rights."""
    admin = Client(own_server.admin)
    admin.bind_shipped_rights("scanner")
    subjects = [{"kind": "User", "name": "scanner", "apiGroup": "rbac.authorization.k8s.io"}]
    for made in yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")):
        admin.create(made)
        if made["kind"] == "Role":
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": made["metadata"]["name"]}
            binding = {"apiVersion": RBAC_API, "kind": "RoleBinding", "metadata": made["metadata"]}
            admin.create(binding | {"roleRef": reference, "subjects": subjects})
    scanner = Client(own_server.scanner)
    wait_until(lambda: scanner.may("delete", "", "pods", namespace=NAMESPACE))
    return own_server


@pytest.fixture(scope="module")
def kubelets(server: ApiServer) -> Iterator[Kubelet]:
    with kubelet(server, print_sample) as running:
        yield running


@pytest.fixture
def nodes(kubelets: Kubelet) -> Iterator[Kubelet]:
    """Kubelets of a cluster that has no nodes yet."""
    yield kubelets
    kubelets.remove_nodes()


def scan(server: ApiServer, folder: Path, *more: str) -> Ended:
    image = () if "--npm-only" in more or "--image" in more else ("--image", "registry.example/migrate:1.0")
    return migrate(folder, "scan", "--nodes", *image, "--kubeconfig", server.scanner, "-o", "json", "-q", *more)


def reasons(done: Ended) -> list[str]:
    """What is said of nodes that were not read."""
    states = json.loads(done.stdout)["nodeStates"]
    assert states["complete"] is False
    assert done.status == 4
    return [finding["detail"] for finding in states["findings"] if finding["id"] == "NODE-NOT-READ"]


def pods_left(server: ApiServer) -> list[Object]:
    return cast("list[Object]", Client(server.admin).must("GET", COLLECTORS)["items"])


def test_each_node_is_read_and_no_pod_stays(server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    for number in range(10):
        nodes.add_node(f"node-{number}")
    done = scan(server, tmp_path, "--yes", "--node-parallel", "3")
    assert done.status == 0, done.stderr
    states = json.loads(done.stdout)["nodeStates"]
    assert [node["name"] for node in states["nodes"]] == [f"node-{number}" for number in range(10)]
    assert {node["way"] for node in states["nodes"]} == {"pod"}
    assert json.loads((tmp_path / "migration/nodes.json").read_text()) == states
    for name, source in (("iptables-nft-save.txt", "iptables-save.txt"), ("ipset-save.txt", "ipset-save.txt")):
        assert (tmp_path / "migration/nodes/node-7" / name).read_bytes() == (SAMPLE / source).read_bytes()
    assert pods_left(server) == []
    wait_until(lambda: nodes.running() == 0)
    assert "10 pods are created in namespace cilium-migrate, 3 at a time" in done.stderr


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(
            Script(states=(waiting("ErrImagePull", "no such manifest"),), runs=False),
            "ErrImagePull: no such manifest",
            id="the image is not there",
        ),
        pytest.param(
            Script(states=(waiting("CreateContainerError", "no space left"),), runs=False),
            "CreateContainerError: no space left",
            id="the runtime cannot make the container",
        ),
        pytest.param(
            Script(states=({"phase": "Failed", "reason": "OutOfpods", "message": "Node has no room"},), runs=False),
            "OutOfpods: Node has no room",
            id="the kubelet does not admit the pod",
        ),
        pytest.param(
            Script(
                command=lambda pod: ["sh", "-c", "echo it is going down >&2"],
                ending={"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."},
            ),
            "Evicted: The node was low on memory.",
            id="the pod is evicted",
        ),
        pytest.param(
            Script(command=lambda pod: ["sh", "-c", "echo no iptables here >&2; exit 3"]),
            "the collector ended with status 3 (Error); it said: no iptables here",
            id="the collector fails, and its last words are told",
        ),
        pytest.param(
            Script(command=lambda pod: ["sh", "-c", "echo hello"]),
            'the log holds no dump; the last line is "hello"',
            id="the image has another program",
        ),
        pytest.param(
            Script(command=lambda pod: ["sh", "-c", f"{print_line(pod)} | head -n 3"]),
            "the log is cut: 2 of",
            id="the dump is cut off in the middle",
        ),
        pytest.param(
            Script(rotated=2000),
            "the log begins with line 1 of the dump: the kubelet had rotated it",
            id="the log was rotated before it was read",
        ),
    ],
)
def test_a_node_that_cannot_be_read_says_why_and_the_others_are_read(
    server: ApiServer, nodes: Kubelet, tmp_path: Path, script: Script, expected: str
) -> None:
    nodes.add_node("good")
    nodes.add_node("bad", script)
    done = scan(server, tmp_path, "--yes")
    [reason] = reasons(done)
    assert reason.startswith(f"node bad was not read: {expected}")
    assert [node["name"] for node in json.loads(done.stdout)["nodeStates"]["nodes"]] == ["good"]
    assert pods_left(server) == []
    wait_until(lambda: nodes.running() == 0)


def test_a_log_that_breaks_off_is_read_again(server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    nodes.add_node("node", Script(cuts=2, cut_at=9000))
    done = scan(server, tmp_path, "--yes")
    assert done.status == 0, done.stdout
    assert len(nodes.asked_for_logs) == 3
    assert pods_left(server) == []


def test_a_pod_that_is_deleted_by_somebody_else_is_told(server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    admin = Client(server.admin)

    def delete(pod: Object) -> list[str]:
        name = cast("dict[str, str]", pod["metadata"])["name"]
        admin.must("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
        return ["sleep", "1000"]

    nodes.add_node("node", Script(command=delete))
    [reason] = reasons(scan(server, tmp_path, "--yes"))
    assert (
        reason == "node node was not read: somebody else deleted the pod before the node was read, or the node is gone"
    )


@pytest.mark.parametrize("waits", ["mute", "hangs"])
def test_a_node_has_its_time_and_no_more(server: ApiServer, nodes: Kubelet, tmp_path: Path, waits: str) -> None:
    script = Script(mute=True) if waits == "mute" else Script(command=lambda pod: ["sleep", "1000"])
    nodes.add_node("good")
    nodes.add_node("slow", script)
    [reason] = reasons(scan(server, tmp_path, "--yes", "--node-timeout", "3s"))
    assert "within 3 s" in reason
    assert pods_left(server) == []
    wait_until(lambda: nodes.running() == 0)


def test_nodes_that_no_pod_can_read_are_told_before_and_get_none(
    server: ApiServer, nodes: Kubelet, tmp_path: Path
) -> None:
    nodes.add_node("good")
    nodes.add_node("away", ready="Unknown")
    nodes.add_node("virtual", labels={"type": "virtual-kubelet"})
    nodes.add_node("windows", system="windows")
    done = scan(server, tmp_path, "--yes")
    assert reasons(done) == [
        "node away was not read: it is not ready (Kubelet stopped posting node status.)",
        "node virtual was not read: it is a virtual node: no machine of the cluster is behind it, and no pod can look "
        "at its rules",
        "node windows was not read: it is a Windows node, and no image for its pod was given; give one with "
        "--windows-image",
    ]
    assert [node_of(pod) for pod in nodes.seen] == ["good"]
    assert "- not read: away: it is not ready" in done.stderr


def test_only_the_named_nodes_are_read(server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    for name in ("one", "two"):
        nodes.add_node(name)
    done = scan(server, tmp_path, "--yes", "--node", "two")
    assert [node_of(pod) for pod in nodes.seen] == ["two"]
    assert reasons(done) == ["node one was not read"]
    wrong = scan(server, tmp_path, "--yes", "--node", "tow")
    assert (wrong.status, wrong.stderr) == (2, "error: --node tow: the cluster has no such node; did you mean two?\n")


def node_of(pod: Object) -> str:
    return str(cast("Object", pod["spec"])["nodeName"])
