"""Each right of docs/rbac.yaml is needed: without it, one finding says so and everything else is still read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
import yaml

from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.kinds import CALICO_API, CALICO_STORAGE, KINDS, Kind
from migrate.scan.live import LiveReading, read_cluster
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC, RBAC_API, Client, Object, definition, wait_until

pytestmark = pytest.mark.apiserver

CLUSTER_ROLE = f"/apis/{RBAC_API}/clusterroles/cilium-migrate-scan"
ROLE = f"/apis/{RBAC_API}/namespaces/kube-system/roles/cilium-migrate-scan"
LISTED = [(kind, version) for kind in KINDS for version in kind.api_versions[:1]]


@pytest.fixture(scope="module")
def server(own_server: ApiServer) -> ApiServer:
    """A server with every kind that a scan reads; Calico's only as they are stored."""
    admin = Client(own_server.admin)
    admin.install(definition(kind, version) for kind, version in LISTED if _is_custom(version))
    admin.bind_shipped_rights("scanner")
    wait_until(lambda: scan(own_server).complete)
    return own_server


def _is_custom(api_version: str) -> bool:
    group = api_version.rpartition("/")[0]
    return "." in group and group not in ("discovery.k8s.io", "networking.k8s.io")


def scan(server: ApiServer) -> LiveReading:
    return read_cluster(connect(ConnectionOptions(kubeconfig=str(server.scanner))), None, lambda *step: None)


@contextmanager
def without(server: ApiServer, path: str, rules: list[Object]) -> Iterator[None]:
    """The role at `path` has other rules in the block."""
    admin = Client(server.admin)
    role = admin.must("GET", path)
    try:
        role["metadata"] = admin.must("PUT", path, role | {"rules": rules})["metadata"]
        yield
    finally:
        admin.must("PUT", path, role)


def rules_without(rules: list[Object], group: str, resource: str) -> list[Object]:
    """The rules, split so that only this resource of this group is missing."""
    split = [
        rule | {"apiGroups": [g], "resources": [r]}
        for rule in rules
        for g in cast("list[str]", rule["apiGroups"])
        for r in cast("list[str]", rule["resources"])
    ]
    return [rule for rule in split if (rule["apiGroups"], rule["resources"]) != ([group], [resource])]


def shipped_rules() -> list[Object]:
    cluster_role, _ = yaml.safe_load_all(RBAC.read_text(encoding="utf-8"))
    return cast("list[Object]", cluster_role["rules"])


def test_the_shipped_rights_read_every_kind(server: ApiServer) -> None:
    reading = scan(server)
    assert reading.findings == ()
    assert {entry.status for entry in reading.kinds} == {"read"}


@pytest.mark.parametrize(("kind", "version"), LISTED, ids=[f"{v} {k.plural}" for k, v in LISTED])
def test_a_missing_right_costs_its_kind_only(server: ApiServer, kind: Kind, version: str) -> None:
    group = version.rpartition("/")[0]
    scanner = Client(server.scanner)
    with without(server, CLUSTER_ROLE, rules_without(shipped_rules(), group, kind.plural)):
        wait_until(lambda: not scanner.may("list", group, kind.plural))
        reading = scan(server)
    wait_until(lambda: scanner.may("list", group, kind.plural))
    assert [(f.id, f.detail.partition(":")[0]) for f in reading.findings] == [
        ("SCAN-KIND-FORBIDDEN", f"{version} {kind.kind}")
    ]
    statuses = {(entry.api_version, entry.kind): entry.status for entry in reading.kinds}
    assert statuses.pop((version, kind.kind)) == "forbidden"
    assert set(statuses.values()) == {"read"}


def test_missing_rights_on_settings_are_said(server: ApiServer) -> None:
    scanner = Client(server.scanner)
    right = {"name": "cilium-config", "namespace": "kube-system"}
    with without(server, ROLE, []):
        wait_until(lambda: not scanner.may("get", "", "configmaps", **right))
        reading = scan(server)
    wait_until(lambda: scanner.may("get", "", "configmaps", **right))
    [finding] = reading.findings
    assert finding.detail.startswith("v1 ConfigMap: ")


def test_calico_kinds_made_of_definitions_go_before_leftovers(server: ApiServer) -> None:
    admin, scanner = Client(server.admin), Client(server.scanner)
    tier = next(kind for kind in KINDS if kind.kind == "Tier")
    admin.create({"apiVersion": CALICO_STORAGE, "kind": "Tier", "metadata": {"name": "leftover"}})
    assert tiers(scan(server)) == ["crd.projectcalico.org/v1 leftover"]
    admin.install([definition(tier, CALICO_API)])
    admin.create({"apiVersion": CALICO_API, "kind": "Tier", "metadata": {"name": "in-force"}})
    wait_until(lambda: tiers(scan(server)) == ["projectcalico.org/v3 in-force"])
    assert scan(server).complete
    with without(server, CLUSTER_ROLE, rules_without(shipped_rules(), "apiregistration.k8s.io", "apiservices")):
        right = {"name": "v3.projectcalico.org"}
        wait_until(lambda: not scanner.may("get", "apiregistration.k8s.io", "apiservices", **right))
        reading = scan(server)
    assert tiers(reading) == ["crd.projectcalico.org/v1 leftover"]
    [finding] = reading.findings
    assert finding.detail.startswith("apiregistration.k8s.io/v1 APIService: ")


def tiers(reading: LiveReading) -> list[str]:
    return [f"{raw.ref.api_version} {raw.ref.name}" for raw in reading.objects if raw.ref.kind == "Tier"]
