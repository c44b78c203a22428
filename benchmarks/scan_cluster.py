"""What a scan of 50,000 pods costs, beside the typed client and beside no parsing at all.

    python -m benchmarks.scan_cluster [PODS]

Starts the test API server with the pods preloaded (3 GB of memory for 50,000), then runs each way in a process of its
own and prints the CPU time, wall time and peak memory of that process, imports included. The scan is the complete
command, which reads every kind, takes the inventory and writes the snapshot; the others only list pods. Last comes the
translation of that snapshot.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import measure
from tests import api_server
from tests.apiserver.fill import Size, write_preload
from tests.engine_binaries import engine_binary

PAGE_SIZE = 500


def typed_client(kubeconfig: str) -> int:
    """Only the pods, as models of the Kubernetes client."""
    from kubernetes import client, config

    config.load_kube_config(kubeconfig)  # type: ignore[no-untyped-call]
    api = client.CoreV1Api()
    kept, token = [], None
    while token != "":
        page = api.list_pod_for_all_namespaces(limit=PAGE_SIZE, _continue=token)
        kept += page.items
        token = (page.metadata and page.metadata._continue) or ""
    return len(kept)


def bytes_only(kubeconfig: str) -> int:
    """Only the pods, downloaded and unpacked as by the scan and thrown away; the number of bytes."""
    from urllib.parse import urlencode

    from migrate.scan.connection import ConnectionOptions, connect

    connection = connect(ConnectionOptions(kubeconfig=kubeconfig))
    read, token = 0, None
    while token != "":
        query = {"limit": PAGE_SIZE} | ({"continue": token} if token else {})
        page = connection.get(f"/api/v1/pods?{urlencode(query)}")
        read += len(page)
        token = page[:1000].partition(b'"continue":"')[2].partition(b'"')[0].decode()
    return read


LISTINGS: dict[str, Callable[[str], int]] = {"typed client": typed_client, "bytes only": bytes_only}


def commands(kubeconfig: Path, folder: Path) -> dict[str, list[str]]:
    """What is measured, in its order: the translation needs what the scan wrote."""
    listings = {name: ["benchmarks.scan_cluster", "--list", name, str(kubeconfig)] for name in LISTINGS}
    scan = ["migrate", "scan", "--kubeconfig", str(kubeconfig), "--output-dir", str(folder), "-o", "json"]
    translate = ["migrate", "translate", "--output-dir", str(folder), "-o", "json", "--fail-on", "never"]
    return {"scan": scan, **listings, "translate": translate}


@contextmanager
def filled_server(size: Size) -> Iterator[api_server.ApiServer]:
    """An API server that holds a cluster of that size."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        lines = Path(folder) / "preload.jsonl"
        count = write_preload(size, lines)
        print(f"{count} objects of {lines.stat().st_size / 1e6:.0f} MB go into the server", file=sys.stderr)
        server = api_server.start(engine_binary("apiserver"), Path(folder), (), lines)
        try:
            yield server
        finally:
            server.stop()


def main() -> int:
    """Print one line for each way, and how the scan compares."""
    if sys.argv[1:2] == ["--list"]:
        print(f"  {sys.argv[2]}: {LISTINGS[sys.argv[2]](sys.argv[3])}", file=sys.stderr)
        return 0
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with filled_server(Size(max(1, pods // 250), pods, pods // 25)) as server:
        found = commands(server.admin, server.state / "migration")
        costs = {name: measure(name, [sys.executable, "-m", *command]) for name, command in found.items()}
    print(f"{pods} pods, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"{'':14}{'CPU s':>8}{'wall s':>8}{'MiB':>8}{'CPU ratio':>11}{'MiB ratio':>11}")
    ours = costs["scan"]
    for name, cost in costs.items():
        ratios = f"{cost.cpu_seconds / ours.cpu_seconds:>11.1f}{cost.memory_mib / ours.memory_mib:>11.1f}"
        print(f"{name:14}{cost.cpu_seconds:>8.1f}{cost.wall_seconds:>8.1f}{cost.memory_mib:>8.0f}{ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
