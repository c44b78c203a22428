"""Clusters that are not as one would like them: lists that expire, API servers that are away, odd objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.kinds import CALICO_API, CALICO_STORAGE, KINDS
from migrate.scan.live import LiveReading, Progress, read_cluster
from migrate.scan.reader import Patience
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, definition, shipped_definitions, wait_until
from tests.apiserver.fill import Size, write_preload
from tests.conftest import StartApiServer

pytestmark = pytest.mark.apiserver


def scan(server: ApiServer, progress: Progress = lambda *step: None) -> LiveReading:
    patience = Patience(tries=2, first_wait=0)
    return read_cluster(connect(ConnectionOptions(kubeconfig=str(server.admin))), None, progress, patience)


def statuses(reading: LiveReading, kind: str) -> dict[str, str]:
    return {entry.api_version: entry.status for entry in reading.kinds if entry.kind == kind}


def names(reading: LiveReading, kind: str) -> list[str]:
    return [raw.ref.name for raw in reading.objects if raw.ref.kind == kind]


def test_a_list_that_expires_between_pages_is_read_to_the_end(start_api_server: StartApiServer, tmp_path: Path) -> None:
    lines = tmp_path / "preload.jsonl"
    write_preload(Size(namespaces=4, pods=1000, policies=0), lines)
    server = start_api_server("--compaction-interval=1s", preload=lines)
    admin = Client(server.admin)
    first = admin.must("GET", "/api/v1/pods?limit=1")["metadata"]
    assert isinstance(first, dict)
    waited: list[bool] = []

    def expired() -> bool:
        """Each write moves the cluster on, so that the server forgets the state that the list began with."""
        admin.must("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "write-"}})
        path = f"/api/v1/pods?limit=1&resourceVersionMatch=Exact&resourceVersion={moment}"
        return admin.call("GET", path)[0] == 410

    moment = first["resourceVersion"]

    def wait_between_pages(kind: str, read: int, total: int | None) -> None:
        if kind == "Pod" and not waited:
            waited.append(True)
            wait_until(expired)

    reading = scan(server, wait_between_pages)
    assert len(set(names(reading, "Pod"))) == 1000
    assert len(names(reading, "Pod")) == 1000
    assert [(f.id, f.detail.partition(":")[0]) for f in reading.findings] == [("SCAN-LIST-INCONSISTENT", "v1 Pod")]
    assert reading.complete


def tier(api_version: str, name: str) -> Object:
    return {"apiVersion": api_version, "kind": "Tier", "metadata": {"name": name}}


def test_calico_api_server_that_is_away_does_not_hide_what_is_stored(own_server: ApiServer) -> None:
    admin = Client(own_server.admin)
    service = {"name": "calico-api", "namespace": "calico-system", "port": 443}
    spec = {"group": "projectcalico.org", "version": "v3", "service": service, "insecureSkipTLSVerify": True}
    priorities = {"groupPriorityMinimum": 1500, "versionPriority": 200}
    api_service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    admin.create(api_service | {"metadata": {"name": "v3.projectcalico.org"}, "spec": spec | priorities})
    wait_until(lambda: statuses(scan(own_server), "Tier") == {CALICO_API: "failed"})
    reading = scan(own_server)
    assert not reading.complete
    assert {finding.id for finding in reading.findings} == {"SCAN-KIND-FAILED"}

    kind = next(kind for kind in KINDS if kind.kind == "Tier")
    admin.install([definition(kind, CALICO_STORAGE)])
    admin.create(tier(CALICO_STORAGE, "platform"))
    wait_until(lambda: names(scan(own_server), "Tier") == ["platform"])
    assert statuses(scan(own_server), "Tier") == {CALICO_STORAGE: "read"}


def test_an_object_whose_fields_have_odd_types_is_read_without_them(own_server: ApiServer) -> None:
    admin = Client(own_server.admin)
    kind = next(kind for kind in KINDS if kind.kind == "CiliumNode")
    admin.install([definition(kind, "cilium.io/v2")])
    for name, spec in {"good": {"ipam": {"podCIDRs": ["10.0.0.0/24"]}}, "odd": "text", "null": None}.items():
        admin.create({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": name}, "spec": spec})
    reading = scan(own_server)
    assert names(reading, "CiliumNode") == ["good", "null", "odd"]
    details = [finding.detail for finding in reading.findings if finding.id == "SCAN-OBJECT-UNREADABLE"]
    assert details == ["cilium.io/v2 CiliumNode: odd: spec is not of the type it should be; it was left out"]


SHIPPED = ("cilium/1.20", "calico/crd.projectcalico.org", "network-policy-api/clusternetworkpolicies.standard.yaml")
POLICIES: list[Object] = [
    {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"fromEntities": ["cluster"]}]},
    },
    {
        "apiVersion": CALICO_STORAGE,
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "default.web", "annotations": {"projectcalico.org/metadata": "{}", "note": "x"}},
        "spec": {"tier": "default", "selector": "app == 'web'", "order": 10, "ingress": [{"action": "Allow"}]},
    },
]


def test_policies_of_real_definitions_are_read_whole(start_api_server: StartApiServer) -> None:
    server = start_api_server()
    admin = Client(server.admin)
    admin.install(shipped_definitions(*SHIPPED))
    for policy in POLICIES:
        admin.create(policy)
    wait_until(lambda: statuses(scan(server), "ClusterNetworkPolicy") == {"policy.networking.k8s.io/v1alpha2": "read"})
    reading = scan(server)
    assert reading.findings == ()
    specs = {raw.ref.kind: raw.data["spec"] for raw in reading.objects if "spec" in raw.data}
    assert specs["CiliumNetworkPolicy"] == POLICIES[0]["spec"]
    assert specs["GlobalNetworkPolicy"] == POLICIES[1]["spec"]
    [stored] = [raw for raw in reading.objects if raw.ref.kind == "GlobalNetworkPolicy"]
    metadata = stored.data["metadata"]
    assert isinstance(metadata, dict)
    assert str(metadata.pop("creationTimestamp")).endswith("Z")
    assert metadata == {
        "name": "default.web",
        "annotations": {"projectcalico.org/metadata": "{}"},
        "managedFields": [{"manager": "python-urllib3"}],
    }
    assert statuses(reading, "CiliumNetworkPolicy") == {"cilium.io/v2": "read"}
    assert statuses(reading, "CiliumNode") == {"cilium.io/v2": "absent"}
