"""Importing a large log: time and peak memory of `migrate audit import` by the size of the file.

    python -m benchmarks evidence [MEGABYTES]

Flows of Hubble of three pods and a quarter of a million outside addresses, the first ones over and over from there on.
Memory has to stay the same for files of any size.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import measure

_CLUSTER = "".join(
    f"""---
apiVersion: v1
kind: Pod
metadata: {{namespace: shop, name: pod-{number}, labels: {{app: pod-{number}}}}}
spec: {{nodeName: node-1, containers: [{{name: main}}]}}
status: {{phase: Running, podIP: 10.0.0.{number}}}
"""
    for number in (1, 2, 3)
)


def print_all(megabytes: int = 300) -> None:
    """One row for a twentieth, a quarter and the whole of a size."""
    print(f"{'MB':>6}{'flows':>10}{'CPU s':>9}{'us a flow':>11}{'MiB':>7}{'recording MB':>14}")
    for size in (megabytes // 20, megabytes // 4, megabytes):
        with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
            print(_row(Path(folder), size), flush=True)


def _row(folder: Path, megabytes: int) -> str:
    (folder / "cluster.yaml").write_text(_CLUSTER)
    program = (sys.executable, "-m", "migrate")
    measure("scan", (*program, "scan", "-f", str(folder / "cluster.yaml"), "--output-dir", str(folder), "--quiet"))
    flows = write_flows(folder / "flows.jsonl", megabytes * 1_000_000)
    cost = measure(
        "import", (*program, "audit", "import", str(folder / "flows.jsonl"), "--dir", str(folder), "--quiet")
    )
    (recording,) = (folder / "audit").glob("*.db")
    each = cost.cpu_seconds / flows * 1e6
    made = recording.stat().st_size / 1e6
    return f"{megabytes:>6}{flows:>10}{cost.cpu_seconds:>9.1f}{each:>11.0f}{cost.memory_mib:>7.0f}{made:>14.1f}"


def write_flows(path: Path, octets: int) -> int:
    """How many lines a file of that size has."""
    written = number = 0
    with path.open("w") as stream:
        while written < octets:
            written += stream.write(_line(number))
            number += 1
    return number


def _line(number: int) -> str:
    flow = {
        "time": f"2026-11-20T{number // 50_000 % 24:02}:20:11.{number % 10**9:09}Z",
        "uuid": "6a1b0b1e-0000-4000-8000-000000000001",
        "verdict": "FORWARDED",
        "ethernet": {"source": "ae:11:22:33:44:55", "destination": "12:34:56:78:9a:bc"},
        "IP": {
            "source": f"10.0.0.{number % 3 + 1}",
            "destination": f"198.{18 + (number >> 16 & 3)}.{number >> 8 & 255}.{number & 255}",
            "ipVersion": "IPv4",
        },
        "l4": {"TCP": {"source_port": 32768 + number % 28000, "destination_port": 443, "flags": {"SYN": True}}},
        "source": {
            "ID": 311,
            "identity": 18231,
            "namespace": "shop",
            "labels": ["k8s:app=pod", "k8s:io.kubernetes.pod.namespace=shop"],
            "pod_name": f"pod-{number % 3 + 1}",
        },
        "destination": {"identity": 2, "labels": ["reserved:world"]},
        "Type": "L3_L4",
        "node_name": "node-1",
        "event_type": {"type": 4, "sub_type": 3},
        "traffic_direction": "EGRESS",
        "is_reply": False,
        "Summary": "TCP Flags: SYN",
    }
    return json.dumps({"flow": flow, "node_name": "node-1", "time": "2026-11-20T09:20:11Z"}) + "\n"
