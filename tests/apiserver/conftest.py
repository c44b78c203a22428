"""API servers that the tests of one file share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import api_server as api_servers
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, wait_until
from tests.apiserver.fill import Size, write_preload
from tests.apiserver.kubelet import Kubelet, kubelet
from tests.apiserver.node_scans import NAMESPACE, RIGHTS, print_sample
from tests.engine_binaries import EngineUnavailableError, engine_binary
from tests.prerequisites import require

FILLED = Size(namespaces=10, pods=1000, policies=500)


@pytest.fixture(scope="module")
def own_server() -> Iterator[ApiServer]:
    """An empty API server for the tests of one file."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as state:
        server = _start(Path(state), None)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def filled_server() -> Iterator[ApiServer]:
    """An API server with the cluster FILLED, for the tests of one file."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as state:
        lines = Path(state) / "preload.jsonl"
        write_preload(FILLED, lines)
        server = _start(Path(state), lines)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def nodes_server(own_server: ApiServer) -> ApiServer:
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
def kubelets(nodes_server: ApiServer) -> Iterator[Kubelet]:
    with kubelet(nodes_server, print_sample) as running:
        yield running


@pytest.fixture
def nodes(kubelets: Kubelet) -> Iterator[Kubelet]:
    """Kubelets of a cluster that has no nodes yet."""
    yield kubelets
    kubelets.remove_nodes()


def _start(state: Path, preload: Path | None) -> ApiServer:
    try:
        program = engine_binary("apiserver")
    except EngineUnavailableError as error:
        require(False, str(error))
        raise
    return api_servers.start(program, state, (), preload)
