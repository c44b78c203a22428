"""Scanning a real API server with 1,000 pods and 500 policies, with the rights that docs/rbac.yaml gives."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from migrate.errors import ClusterError, InputError
from migrate.model.refs import ObjectRef
from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.live import LiveReading, read_cluster
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, wait_until
from tests.apiserver.conftest import FILLED
from tests.apiserver.fill import Object, Size, objects

pytestmark = pytest.mark.apiserver


def scan(kubeconfig: Path, *namespaces: str, as_user: str | None = None) -> LiveReading:
    options = ConnectionOptions(kubeconfig=str(kubeconfig), as_user=as_user)
    return read_cluster(connect(options), namespaces or None, lambda *step: None)


def counts(reading: LiveReading) -> dict[str, int]:
    return {entry.kind: entry.count for entry in reading.kinds if entry.count}


def metadata(made: Object) -> Object:
    found = made["metadata"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def server(filled_server: ApiServer) -> ApiServer:
    """The filled server, whose user `scanner` has the shipped rights."""
    Client(filled_server.admin).bind_shipped_rights("scanner")
    wait_until(lambda: Client(filled_server.scanner).may("list", "", "pods"))
    return filled_server


def test_the_shipped_rights_are_enough_for_everything(server: ApiServer) -> None:
    reading = scan(server.scanner)
    assert (reading.findings, reading.complete) == ((), True)
    assert {entry.status for entry in reading.kinds} == {"read", "absent"}
    assert (counts(reading)["Pod"], counts(reading)["NetworkPolicy"]) == (FILLED.pods, FILLED.policies)
    assert reading.server_version is not None
    assert reading.server_version.startswith("v")


def test_two_readings_are_the_same_whoever_reads(server: ApiServer) -> None:
    first, second = scan(server.scanner), scan(server.admin)
    assert [raw.data for raw in first.objects] == [raw.data for raw in second.objects]


def test_what_was_written_is_what_is_read(server: ApiServer) -> None:
    read = {raw.ref: raw for raw in scan(server.scanner).objects}
    written = [made for made in objects(FILLED) if made["kind"] in ("Pod", "NetworkPolicy")]
    found = [raw for ref, raw in read.items() if ref.kind in ("Pod", "NetworkPolicy")]
    identities = [(raw.ref.kind, raw.ref.namespace, raw.ref.name) for raw in found]
    assert sorted(identities) == sorted((m["kind"], metadata(m)["namespace"], metadata(m)["name"]) for m in written)
    policies = {metadata(made)["name"]: made["spec"] for made in written if made["kind"] == "NetworkPolicy"}
    assert {raw.ref.name: raw.data["spec"] for raw in found if raw.ref.kind == "NetworkPolicy"} == policies
    ports = {metadata(made)["name"]: _ports(made) for made in written if made["kind"] == "Pod"}
    assert {raw.ref.name: _ports(dict(raw.data)) for raw in found if raw.ref.kind == "Pod"} == ports


def _ports(made: Object) -> list[object]:
    spec = made["spec"]
    assert isinstance(spec, dict)
    return [container["ports"] for container in spec["containers"]]


def test_environment_arguments_and_annotations_of_pods_are_not_read(server: ApiServer) -> None:
    text = msgspec.json.encode([raw.data for raw in scan(server.admin).objects if raw.ref.kind == "Pod"])
    for word in (b"not-to-be-read", b"--verbose", b"checksum/config", b"containerID", b"restartCount", b"conditions"):
        assert word not in text


def test_objects_are_in_the_order_of_their_identity(server: ApiServer) -> None:
    refs = [raw.ref for raw in scan(server.scanner).objects]
    assert refs == sorted(refs, key=ObjectRef.sort_key)


def test_a_user_without_rights_gets_an_error(server: ApiServer) -> None:
    with pytest.raises(ClusterError, match=r'nothing could be read .*User "nobody" cannot list.*docs/rbac\.md'):
        scan(server.nobody)


def test_impersonating_without_the_right_to_is_an_error(server: ApiServer) -> None:
    with pytest.raises(ClusterError, match='User "scanner" cannot impersonate'):
        scan(server.scanner, as_user="admin")


def test_a_wrong_token_is_an_error(server: ApiServer, tmp_path: Path) -> None:
    text = server.admin.read_text(encoding="utf-8")
    stale = tmp_path / "stale"
    stale.write_text(text.replace("token:", "token: x"), encoding="utf-8")
    with pytest.raises(ClusterError, match=r"401: .* log in again"):
        scan(stale)


def test_a_server_with_another_certificate_is_not_trusted(server: ApiServer, tmp_path: Path) -> None:
    text = server.admin.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "certificate-authority" not in line]
    untrusted = tmp_path / "untrusted"
    untrusted.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ClusterError, match=r"no trusted connection: .*certificate"):
        scan(untrusted)


def test_rights_in_one_namespace_are_enough_for_it(server: ApiServer) -> None:
    admin, user, namespace = Client(server.admin), "jane", "team-0003"
    rules = [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {"apiGroups": ["", "networking.k8s.io"], "resources": ["pods", "networkpolicies"], "verbs": ["list"]},
    ]
    place = {"name": "reader", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]
    admin.create({"apiVersion": RBAC_API, "kind": "Role", "metadata": place, "rules": rules})
    binding = {"apiVersion": RBAC_API, "kind": "RoleBinding", "metadata": place}
    admin.create(binding | {"roleRef": reference, "subjects": subjects})
    wait_until(lambda: Client(server.admin, user).may("list", "", "pods", namespace=namespace))
    reading = scan(server.admin, namespace, as_user=user)
    there = [made["kind"] for made in objects(FILLED) if metadata(made).get("namespace") == namespace]
    expected = {"Namespace": 1, "NetworkPolicy": there.count("NetworkPolicy"), "Pod": there.count("Pod")}
    assert counts(reading) == expected
    assert {raw.ref.namespace or raw.ref.name for raw in reading.objects} == {namespace}
    read = {entry.kind for entry in reading.kinds if entry.status == "read"}
    assert read == {"Pod", "NetworkPolicy"}
    assert {finding.id for finding in reading.findings} == {"SCAN-KIND-FORBIDDEN"}


def test_given_namespaces_only(server: ApiServer) -> None:
    reading = scan(server.scanner, "team-0001", "team-0002")
    assert {raw.ref.namespace for raw in reading.objects if raw.ref.kind == "Pod"} == {"team-0001", "team-0002"}
    assert reading.complete
    with pytest.raises(InputError, match="no namespace team-9999"):
        scan(server.scanner, "team-9999")


def test_the_made_up_cluster_is_one_that_the_api_takes(server: ApiServer) -> None:
    admin = Client(server.admin)
    for made in objects(Size(namespaces=2, pods=14, policies=8)):
        renamed = made | {"metadata": metadata(made) | {"name": f"new-{metadata(made)['name']}"}}
        if made["kind"] == "Namespace":
            renamed["metadata"] = metadata(renamed) | {"labels": {}}
        admin.create(renamed, query="&dryRun=All")
