"""Which kinds are asked for, under which API version, and what is said when that cannot be found out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.kinds import CONFIG_MAP, KINDS, SETTINGS
from migrate.scan.live import LiveReading, read_cluster
from migrate.scan.reader import Patience
from tests.unit.scripted_server import (
    Reply,
    ScriptedServer,
    aggregated,
    as_json,
    error,
    listing,
    scripted_server,
    write_kubeconfig,
)

ROOT = Path(__file__).parents[2]
APISERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v3.projectcalico.org"
STORED = "crd.projectcalico.org/v1"
NATIVE = "projectcalico.org/v3"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


def scan(server: ScriptedServer, folder: Path) -> LiveReading:
    connection = connect(ConnectionOptions(kubeconfig=write_kubeconfig(folder / "config", server.url)))
    return read_cluster(connection, None, lambda *step: None, Patience(sleep=lambda seconds: None))


def statuses(reading: LiveReading, kind: str) -> dict[str, str]:
    return {entry.api_version: entry.status for entry in reading.kinds if entry.kind == kind}


def named(name: str) -> Reply:
    return listing({"metadata": {"name": name}})


def test_a_kind_that_is_not_served_is_absent_and_not_asked_for(server: ScriptedServer, tmp_path: Path) -> None:
    reading = scan(server, tmp_path)
    assert statuses(reading, "CiliumNetworkPolicy") == {"cilium.io/v2": "absent"}
    assert server.asked("/apis/cilium.io/v2/ciliumnetworkpolicies") == 0
    assert (reading.findings, reading.complete) == ((), True)


def test_an_older_server_is_asked_for_each_version(server: ScriptedServer, tmp_path: Path) -> None:
    pods = [{"name": "pods", "kind": "Pod"}, {"name": "pods/log", "kind": "PodLog"}]
    server.script("/api", as_json({"kind": "APIVersions", "versions": ["v1"]}))
    server.script("/api/v1", as_json({"kind": "APIResourceList", "resources": pods}))
    groups = [{"name": name, "versions": [{"groupVersion": f"{name}/v1"}]} for name in ("apps", "unrelated.example")]
    server.script("/apis", as_json({"kind": "APIGroupList", "groups": groups}))
    server.script("/apis/apps/v1", as_json({"kind": "APIResourceList", "resources": None}))
    reading = scan(server, tmp_path)
    assert statuses(reading, "Pod") == {"v1": "read"}
    assert statuses(reading, "DaemonSet") == {"apps/v1": "absent"}
    assert server.asked("/apis/unrelated.example/v1") == 0


@pytest.mark.parametrize("aggregated_discovery", [True, False])
def test_a_group_whose_server_is_silent_is_failed_and_not_absent(
    server: ScriptedServer, tmp_path: Path, aggregated_discovery: bool
) -> None:
    if aggregated_discovery:
        server.script("/apis", aggregated(stale=(NATIVE,)))
    else:
        groups = [{"versions": [{"groupVersion": NATIVE}]}]
        server.script("/apis", as_json({"kind": "APIGroupList", "groups": groups}))
        server.script(f"/apis/{NATIVE}", error(503, "service unavailable"))
    reading = scan(server, tmp_path)
    assert statuses(reading, "GlobalNetworkPolicy") == {NATIVE: "failed"}
    assert "SCAN-KIND-FAILED" in {finding.id for finding in reading.findings}
    assert not reading.complete


def test_without_discovery_every_kind_is_tried(server: ScriptedServer, tmp_path: Path) -> None:
    server.script("/apis", error(403, "no discovery for you"))
    server.script("/apis/cilium.io/v2/ciliumnetworkpolicies", error(403, "forbidden"))
    server.script("/apis/cilium.io/v2alpha1/ciliumcidrgroups", named("office"))
    reading = scan(server, tmp_path)
    assert statuses(reading, "CiliumNetworkPolicy") == {"cilium.io/v2": "forbidden"}
    assert statuses(reading, "CiliumCIDRGroup") == {"cilium.io/v2alpha1": "read"}
    assert statuses(reading, "CronJob") == {"batch/v1": "absent"}


@pytest.mark.parametrize(
    ("served", "read"),
    [
        pytest.param(["v2", "v2alpha1"], "v2", id="of two versions the preferred one"),
        pytest.param(["v2alpha1"], "v2alpha1", id="an old version when there is no other"),
        pytest.param(["v3"], "v3", id="a version of the future rather than nothing"),
    ],
)
def test_one_version_of_a_kind_is_read(server: ScriptedServer, tmp_path: Path, served: list[str], read: str) -> None:
    server.script("/apis", aggregated(*((f"cilium.io/{version}", "CiliumCIDRGroup") for version in served)))
    for version in served:
        server.script(f"/apis/cilium.io/{version}/ciliumcidrgroups", named(version))
    reading = scan(server, tmp_path)
    assert statuses(reading, "CiliumCIDRGroup") == {f"cilium.io/{read}": "read"}
    assert [raw.ref.name for raw in reading.objects] == [read]
    assert reading.objects[0].ref.api_version == f"cilium.io/{read}"


def calico(server: ScriptedServer, *groups: str, api_service: Reply) -> None:
    server.script("/apis", aggregated(*((group, "Tier") for group in groups)))
    server.script(f"/apis/{STORED}/tiers", named("stored"))
    server.script(f"/apis/{NATIVE}/tiers", named("native"))
    server.script(APISERVICE, api_service)


ELSEWHERE = as_json({"spec": {"service": {"name": "calico-api", "namespace": "calico-system"}}})
LOCAL = as_json({"spec": {"group": "projectcalico.org", "version": "v3"}})


@pytest.mark.parametrize(
    ("groups", "api_service", "read"),
    [
        pytest.param([STORED], LOCAL, "stored", id="only the storage is served"),
        pytest.param([NATIVE], LOCAL, "native", id="only the API is served"),
        pytest.param([STORED, NATIVE], ELSEWHERE, "stored", id="Calico's API server shows what is stored"),
        pytest.param([STORED, NATIVE], LOCAL, "native", id="the API is made of CRDs, the storage is a leftover"),
    ],
)
def test_calico_objects_are_read_once(
    server: ScriptedServer, tmp_path: Path, groups: list[str], api_service: Reply, read: str
) -> None:
    calico(server, *groups, api_service=api_service)
    reading = scan(server, tmp_path)
    assert [raw.ref.name for raw in reading.objects] == [read]
    assert list(statuses(reading, "Tier").values()) == ["read"]
    assert server.asked(APISERVICE) == (len(groups) == 2)
    assert reading.complete


def test_not_knowing_where_calico_keeps_its_objects_is_said(server: ScriptedServer, tmp_path: Path) -> None:
    calico(server, STORED, NATIVE, api_service=error(403, "not yours"))
    reading = scan(server, tmp_path)
    assert [raw.ref.name for raw in reading.objects] == ["stored"]
    assert statuses(reading, "APIService") == {"apiregistration.k8s.io/v1": "forbidden"}
    [finding] = reading.findings
    assert finding.id == "SCAN-KIND-FORBIDDEN"
    assert "crd.projectcalico.org/v1 was read" in finding.detail


def test_calico_api_server_stands_in_for_forbidden_storage(server: ScriptedServer, tmp_path: Path) -> None:
    calico(server, STORED, NATIVE, api_service=ELSEWHERE)
    server.script(f"/apis/{STORED}/tiers", error(403, "not yours"))
    reading = scan(server, tmp_path)
    assert [raw.ref.name for raw in reading.objects] == ["native"]
    assert statuses(reading, "Tier") == {STORED: "forbidden", NATIVE: "read"}
    assert not reading.complete


def test_half_a_list_is_not_kept_beside_a_whole_one(server: ScriptedServer, tmp_path: Path) -> None:
    calico(server, STORED, NATIVE, api_service=ELSEWHERE)
    server.script(f"/apis/{STORED}/tiers?limit=500", listing({"metadata": {"name": "stored"}}, token="next"))
    server.script(f"/apis/{STORED}/tiers?limit=500&continue=next", error(403, "not any more"))
    reading = scan(server, tmp_path)
    assert [raw.ref.name for raw in reading.objects] == ["native"]
    assert [(entry.status, entry.count) for entry in reading.kinds if entry.kind == "Tier"] == [
        ("forbidden", 0),
        ("read", 1),
    ]


def test_leftovers_do_not_stand_in_for_forbidden_objects(server: ScriptedServer, tmp_path: Path) -> None:
    calico(server, STORED, NATIVE, api_service=LOCAL)
    server.script(f"/apis/{NATIVE}/tiers", error(403, "not yours"))
    reading = scan(server, tmp_path)
    assert list(reading.objects) == []
    assert statuses(reading, "Tier") == {NATIVE: "forbidden"}


def test_settings_are_asked_for_by_name(server: ScriptedServer, tmp_path: Path) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps"
    body = {"metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": {"a": "b"}, "binaryData": {}}
    server.script(f"{path}/cilium-config", as_json(body))
    reading = scan(server, tmp_path)
    assert [(str(raw.ref), raw.data["data"]) for raw in reading.objects] == [
        ("ConfigMap kube-system/cilium-config", {"a": "b"})
    ]
    assert server.asked(path) == 0
    assert statuses(reading, "ConfigMap") == {"v1": "read"}


def test_the_shipped_rights_are_what_the_scan_uses() -> None:
    cluster_role, role = yaml.safe_load_all((ROOT / "docs" / "rbac.yaml").read_text(encoding="utf-8"))
    granted = {
        (group, resource, name, verb)
        for rule in cluster_role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [None])
        for verb in rule["verbs"]
    }
    groups = [(kind, version.rpartition("/")[0]) for kind in KINDS for version in kind.api_versions]
    used = {(group, kind.plural, None, "list") for kind, group in groups}
    assert granted == used | {("apiregistration.k8s.io", "apiservices", "v3.projectcalico.org", "get")}
    names = list(SETTINGS)
    assert role["rules"] == [
        {"apiGroups": [""], "resources": [CONFIG_MAP.plural], "resourceNames": names, "verbs": ["get"]}
    ]
