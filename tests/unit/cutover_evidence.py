"""What Hubble and Cilium's agents print after a cutover, and the working folder of before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.command_line import migrate
from tests.unit.audited_folder import CLUSTER, record_into

NETWORK_POLICY = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: web}}}]
      ports: [{port: 5432, protocol: TCP}]
"""
WEB, DB, CRON = ("web-0", "10.0.0.1"), ("db-0", "10.0.0.2"), ("cron-0", "10.0.0.3")
WORLD = ("", "203.0.113.7")


def cutover_folder(place: Path) -> Path:
    """A working folder of before the cutover, with a recording: web asks db, and cron does."""
    made = place / "work"
    made.mkdir()
    (place / "cluster.yaml").write_text(CLUSTER + NETWORK_POLICY)
    assert migrate(place, "scan", "-f", "cluster.yaml", "--output-dir", "work", "--quiet").status == 0
    translated = migrate(made, "translate", "--output-dir", ".", "--before-engine", "npm-linux")
    assert translated.status == 0, translated.stderr
    record_into(made)
    return made


def flow(
    source: tuple[str, str],
    destination: tuple[str, str],
    verdict: str = "FORWARDED",
    *,
    port: int = 5432,
    direction: str = "INGRESS",
    reason: str = "",
    reply: bool | None = False,
    source_port: int = 40000,
    labels: Sequence[str] = (),
) -> dict[str, object]:
    """A flow as Hubble prints it; ends are a pod's name and its address."""
    told: dict[str, object] = {
        "time": "2026-11-22T10:00:00Z",
        "verdict": verdict,
        "IP": {"source": source[1], "destination": destination[1]},
        "l4": {"TCP": {"source_port": source_port, "destination_port": port}},
        "node_name": "node-1",
        "event_type": {"type": 5},
        "traffic_direction": direction,
        "is_reply": reply,
    }
    for side, (name, _) in (("source", source), ("destination", destination)):
        told[side] = {"namespace": "shop", "pod_name": name, "labels": list(labels)} if name else {}
    if verdict == "DROPPED":
        told["drop_reason_desc"] = reason or "POLICY_DENIED"
    return {"flow": told}


def endpoint(number: int, pod: str, enabled: str, state: str = "ready", revision: int = 4) -> dict[str, object]:
    """An endpoint as `cilium-dbg endpoint list -o json` prints it."""
    return {
        "id": number,
        "status": {
            "external-identifiers": {"k8s-namespace": "shop", "k8s-pod-name": pod, "pod-name": f"shop/{pod}"},
            "identity": {"id": 1000 + number, "labels": ["k8s:app=x"]},
            "policy": {"realized": {"policy-enabled": enabled, "policy-revision": revision}},
            "state": state,
        },
    }


FINE = (flow(WEB, DB), flow(CRON, DB, "DROPPED"))
HEALTH = {"id": 9, "status": {"identity": {"id": 4, "labels": ["reserved:health"]}, "state": "ready"}}
ENDPOINTS = [endpoint(1, "web-0", "none"), endpoint(2, "db-0", "ingress"), endpoint(3, "cron-0", "none"), HEALTH]
RULE = [
    {
        "labels": [
            {"key": "io.cilium.k8s.policy.name", "value": "db", "source": "k8s"},
            {"key": "io.cilium.k8s.policy.namespace", "value": "shop", "source": "k8s"},
            {"key": "io.cilium.k8s.policy.derived-from", "value": "CiliumNetworkPolicy", "source": "k8s"},
        ]
    }
]
POLICY = {"policy": json.dumps(RULE), "revision": 4}
MAPS = [{"EndpointID": "2", "Path": "x", "Content": [{"Key": {}}]}]
STATUS = {"hubble": {"state": "Ok"}}
