"""NPM's own endpoint through the API server's proxy: what it tells, and how it fails."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from migrate.nodes import files
from migrate.nodes.dump import read_dump
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet
from tests.apiserver.node_scans import SAMPLE, reasons, scan
from tests.kernel.lab import run
from tests.prerequisites import require

pytestmark = pytest.mark.apiserver

PORT = 10091
ROLE = f"/apis/{RBAC_API}/namespaces/kube-system/roles/cilium-migrate-npm"
PODS = "/api/v1/namespaces/kube-system/pods"
MANAGER = (SAMPLE / "npm-debug-manager.json").read_bytes()
METRICS = b'npm_ipset_counts{set_hash="azure-npm-2jtt8xpa1d6w9vrdbxz8",set_name="ns-demo"} 3\n'
ANSWERS = {
    "/npm/v1/debug/manager": (200, MANAGER),
    "/node-metrics": (200, b"npm_num_policies 3\n"),
    "/cluster-metrics": (200, METRICS),
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """An address of this machine that is not loopback: the API server's proxy goes to no other."""
    require(os.geteuid() == 0 and shutil.which("ip") is not None, "root and ip (Debian: iproute2)")
    number = secrets.randbelow(200) + 20
    device, found = f"mig{secrets.token_hex(4)}", f"192.0.2.{number}"
    run("ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}p")
    try:
        run("ip", "address", "add", f"{found}/32", "dev", device)
        run("ip", "link", "set", device, "up")
        yield found
    finally:
        run("ip", "link", "delete", device)


@contextmanager
def endpoint(
    address: str, answers: dict[str, tuple[int, bytes]], hold: threading.Event | None = None
) -> Iterator[list[str]]:
    """NPM's endpoint at an address; the paths that were asked for. With `hold` it answers when that is set."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if hold is not None:
                hold.wait()
            status, body = answers.get(self.path, (404, b"404 page not found\n"))
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, form: str, *values: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer((address, PORT), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield asked
    finally:
        if hold is not None:
            hold.set()
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def npm(nodes_server: ApiServer, nodes: Kubelet, address: str) -> Iterator[str]:
    """A node with a pod of NPM at the address, and one without."""
    admin = Client(nodes_server.admin)
    nodes.add_node("with-npm")
    nodes.add_node("without")
    admin.call(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}
    )
    container: Object = {"name": "azure-npm", "image": "npm"}
    made = admin.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "azure-npm-x", "namespace": "kube-system", "labels": {"k8s-app": "azure-npm"}},
            "spec": {"nodeName": "with-npm", "hostNetwork": True, "containers": [container]},
        }
    )
    admin.must("PUT", f"{PODS}/azure-npm-x/status", made | {"status": running(address)})
    yield "with-npm"
    admin.must("DELETE", f"{PODS}/azure-npm-x?gracePeriodSeconds=0")


def running(address: str) -> Object:
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": address}


def test_what_npm_tells_of_its_node_becomes_a_dump_and_nothing_is_created(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, address: str, npm: str
) -> None:
    with endpoint(address, ANSWERS) as asked:
        done = scan(nodes_server, tmp_path, "--npm-only")
    assert sorted(asked) == sorted(ANSWERS)
    assert reasons(done) == ["node without was not read: no pod of NPM (label k8s-app=azure-npm) is on it"]
    dump = read_dump(tmp_path / "migration/nodes" / npm)
    assert (dump.manifest.way, dump.problems) == ("proxy", ())
    assert [body for _, body in dump.bodies(files.NPM_MANAGER)] == [MANAGER]
    assert dump.text(files.NPM_CLUSTER_METRICS) == METRICS.decode()
    assert nodes.seen == []


def test_what_npm_tells_goes_into_the_dump_that_the_pod_prints(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, address: str, npm: str
) -> None:
    with endpoint(address, ANSWERS):
        done = scan(nodes_server, tmp_path, "--yes", "--node", npm)
    assert [node["name"] for node in json.loads(done.stdout)["nodeStates"]["nodes"]] == [npm]
    dump = read_dump(tmp_path / "migration/nodes" / npm)
    assert (dump.manifest.way, dump.problems) == ("pod", ())
    assert dump.text(files.NPM_MANAGER) == MANAGER.decode()
    assert dump.sets is not None


def test_a_part_that_npm_has_turned_off_is_absent(
    nodes_server: ApiServer, tmp_path: Path, address: str, npm: str
) -> None:
    with endpoint(address, {path: answer for path, answer in ANSWERS.items() if "debug" not in path}):
        scan(nodes_server, tmp_path, "--npm-only", "--node", npm)
    dump = read_dump(tmp_path / "migration/nodes" / npm)
    statuses = {file.name: file.status for file in dump.manifest.files}
    assert statuses == {
        "npm-debug-manager.json": "absent",
        "npm-node-metrics.txt": "read",
        "npm-cluster-metrics.txt": "read",
    }
    assert dump.problems == ()


def test_an_endpoint_that_nobody_serves_is_said(nodes_server: ApiServer, tmp_path: Path, npm: str) -> None:
    found = reasons(scan(nodes_server, tmp_path, "--npm-only", "--node", npm))
    assert found[0].startswith(f"node {npm} was not read: NPM's endpoint told nothing: ")
    assert "connection refused" in found[0]


def test_an_endpoint_that_does_not_answer_is_left(
    nodes_server: ApiServer, tmp_path: Path, address: str, npm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrate.collect.pod_connection._PROXY_SECONDS", 1.0)
    with endpoint(address, ANSWERS, threading.Event()) as asked:
        found = reasons(scan(nodes_server, tmp_path, "--npm-only", "--node", npm))
    assert "timed out" in found[0]
    assert asked == ["/npm/v1/debug/manager"]


def test_a_pod_of_npm_that_does_not_run_is_said(
    nodes_server: ApiServer, tmp_path: Path, address: str, npm: str
) -> None:
    admin = Client(nodes_server.admin)
    pod = admin.must("GET", f"{PODS}/azure-npm-x")
    admin.must("PUT", f"{PODS}/azure-npm-x/status", pod | {"status": {"phase": "Pending"}})
    found = reasons(scan(nodes_server, tmp_path, "--npm-only", "--node", npm))
    assert "pod kube-system/azure-npm-x does not run" in found[0]


def test_a_missing_right_on_the_proxy_names_the_role(
    nodes_server: ApiServer, tmp_path: Path, address: str, npm: str
) -> None:
    admin, scanner = Client(nodes_server.admin), Client(nodes_server.scanner)
    role = admin.must("GET", ROLE)
    path = f"{PODS}/azure-npm-x:{PORT}/proxy/node-metrics"
    with endpoint(address, ANSWERS):
        try:
            role["metadata"] = admin.must("PUT", ROLE, role | {"rules": []})["metadata"]
            wait_until(lambda: scanner.call("GET", path)[0] == 403)
            found = reasons(scan(nodes_server, tmp_path, "--npm-only", "--node", npm))
        finally:
            admin.must("PUT", ROLE, role)
        wait_until(lambda: scanner.call("GET", path)[0] == 200)
    assert "you may not get pods/proxy in namespace kube-system" in found[0]
    assert "ask for the role cilium-migrate-npm of docs/rbac-nodes.yaml" in found[0]


def test_the_role_for_npm_alone_does_not_open_kubelets(nodes_server: ApiServer) -> None:
    rules = cast("list[dict[str, list[str]]]", Client(nodes_server.admin).must("GET", ROLE)["rules"])
    assert [(rule["resources"], rule["verbs"]) for rule in rules] == [(["pods/proxy"], ["get"])]
    assert Client(nodes_server.scanner).call("GET", "/api/v1/nodes/any/proxy/metrics")[0] == 403
