"""A small cluster, a policy for it, and a recording of an hour as a store writes it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from migrate.audit.layout import Direction
from migrate.audit.node import cluster_digest
from migrate.audit.recording import About
from migrate.audit.store import Start, open_store
from migrate.audited import Place, read_scene
from tests.unit.audit_records import Hands, counters, record

NODE, HOURS = "node-1", 3600
DAY = 24 * HOURS
CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {namespace: shop, name: invoices}
spec: {schedule: "0 4 * * 0"}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web-0, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {phase: Running, podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db-0, labels: {app: db}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {phase: Running, podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: cron-0, labels: {app: cron}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {phase: Running, podIP: 10.0.0.3}
"""
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: web}}]
      toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
"""


def record_into(folder: Path, *, cluster: str | None = None, seconds: int = HOURS, dropping: bool = True) -> Path:
    """A recording of an hour: web asks db, and (dropping) cron does."""
    hands, path = Hands(), folder / "audit.db"
    digest = cluster_digest(read_scene(Place(folder)).cluster) if cluster is None else cluster
    store = open_store(path, About(NODE, digest, seconds, "0", hands.boot), clock=hands.clock())
    with closing(store):
        store.segment(Start("boot", "layout", "6.18", "libbpf", "tcx"))
        store.set_base(counters(0))
        for number, pod in ((7, "web-0"), (8, "db-0"), (9, "cron-0")):
            veth = store.veth(number, f"veth{number}", hands.boot + hands.uptime, hands.boot + hands.uptime)
            store.name_veth(veth, "shop", pod, "", "route")
        rows = [
            record(port=5432, ifindex=7, events=3),
            record(port=5432, ifindex=8, events=3, direction=Direction.TO_POD),
        ]
        if dropping:
            rows.append(record(source="10.0.0.3", port=5432, ifindex=9, events=2))
        hands.uptime += HOURS * 1_000_000_000
        store.commit_epoch(1, rows, counters(8 if dropping else 6))
        store.end()
    return path
