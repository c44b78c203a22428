"""Scans of the nodes of a cluster in tests: what pods print, what is said of nodes, what is left."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from migrate.collect.manifest import COLLECTOR, NAME_LABEL
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object
from tests.command_line import Ended, migrate

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


def node_of(pod: Object) -> str:
    return str(cast("Object", pod["spec"])["nodeName"])
