"""A working folder with every document, made by the stages themselves from the sample cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import structs

from migrate.audited import Place, run_judged
from migrate.compared import VerifyRequest
from migrate.readiness.route import Wishes
from migrate.resources import data
from migrate.scan.taking import ScanInputs
from migrate.translate.accepted import matched
from migrate.translate.documents import read_translation
from migrate.verify.verification import Wanted
from migrate.workflow import TranslateRequest, run_plan, run_scan, run_translate, run_verify, write_translation
from tests.recordings import HOUR, START, Recording

NODE = "aks-nodepool1-12345678-vmss000000"
TAKEN = "2026-05-10T07:00:00Z"
HOURS = 24
DNS, POSTGRES = "10.244.0.13", "10.244.0.20"
FRONTEND, LOAD_TEST, CHECKOUT = "10.244.0.18", "10.244.0.21", "10.244.0.19"
REVISION = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: frontend, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: frontend}}
  ingress:
    - fromEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: demo}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: checkout, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: checkout}}
  egress:
    - toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system}}]
    - toCIDR: [203.0.113.0/24]
"""
"""What the traffic is judged by: a revision that forgot load tests, the database and an agent on the nodes."""


def whole_folder(folder: Path) -> Path:
    """Snapshot, translation, verification with a matrix, an audit of one node, and a plan, of the sample cluster."""
    sample = Path(str(data("samples") / "demo")).resolve()
    inputs = ScanInputs(paths=(str(sample / "cluster"),), az_json=sample / "az.json")
    run_scan(inputs, folder, TAKEN, progress=_silent)
    request = TranslateRequest(snapshot=folder / "snapshot.jsonl.gz", inputs=inputs)
    write_translation(folder, run_translate(request, TAKEN, progress=_silent))
    run_verify(VerifyRequest(folder), Wanted(matrix="namespace"))
    audit(folder)
    plan, _ = run_plan(folder, datetime(2026, 5, 11, 9, tzinfo=UTC), Wishes())
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    return folder


def accept(folder: Path, *texts: str) -> None:
    """Takes findings of the translation as they are, as `migrate translate --accept` does."""
    path = folder / "translation.json"
    translation = read_translation(path)
    found = [*translation.findings, *(one for result in translation.results for one in result.findings)]
    items = matched(texts, found).items
    path.write_bytes(msgspec.json.encode(structs.replace(translation, accepted=items)))


def audit(folder: Path, revision: str = REVISION, *, lost: int = 0) -> None:
    """Adds the audit of a day: drops at some hours, one pod that was not watched for three hours, and losses."""
    place = Place(folder)
    place.audit_db.unlink(missing_ok=True)
    recording = Recording(place.audit_db, NODE)
    recording.execute("UPDATE segment SET ended = ?", START + HOURS * HOUR)
    frontend, checkout, load_test = (
        recording.veth(pod, until=START + HOURS * HOUR)
        for pod in (
            "shop/frontend-cbbfxvxd8p-lhff6",
            "shop/checkout-nnfkt7xhz4-cdh4d",
            "staging/load-test-rbk62cgq5k-65g66",
        )
    )
    recording.insert("gap", frontend, START + 5 * HOUR, START + 8 * HOUR, "the agent was restarted")
    recording.insert("gap", checkout, START + 5 * HOUR, START + 8 * HOUR, "the agent was restarted")
    for hour, events in ((0, 40), (1, 12), (9, 3), (20, 55), (21, 61)):
        recording.flow(load_test, "from", LOAD_TEST, FRONTEND, "TCP/8080", events=events, hour=hour)
    for hour in (*range(5), *range(8, HOURS)):
        recording.flow(checkout, "from", CHECKOUT, POSTGRES, "TCP/5432", events=20 + hour, hour=hour)
        recording.flow(checkout, "from", CHECKOUT, DNS, "UDP/53", events=300, hour=hour)
    recording.flow(checkout, "from", CHECKOUT, "10.224.0.4", "TCP/9100", events=12, hour=12)
    recording.flow(checkout, "from", CHECKOUT, "203.0.113.9", "TCP/443", events=77)
    for moment in ("start", "end"):
        recording.connection(moment, (CHECKOUT, 51000), (POSTGRES, 5432))
    recording.close(lost=lost)
    (folder / "revision.yaml").write_text(revision)
    judged = run_judged(Place(folder, policies=folder / "revision.yaml"))
    (folder / "audit.json").write_bytes(msgspec.json.encode(structs.replace(judged, policies="revision.yaml")))


def _silent(kind: str, read: int, total: int | None) -> None:
    """The sample is read in no time."""
