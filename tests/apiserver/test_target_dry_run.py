"""`migrate translate --dry-run server`: a real API server is asked, says what it refuses, and keeps nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from migrate.model.raw import Json
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, shipped_definitions, wait_until
from tests.unit.policies import calico, network_policy
from tests.unit.translate_command import CLIENT, Command, given

pytestmark = pytest.mark.apiserver

RELEASE = "1.20"
PLAIN = network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": CLIENT}]}]}, "plain", "shop")
ELSEWHERE = network_policy({"podSelector": {}}, "elsewhere", "nowhere")
CALICO = calico("NetworkPolicy", {"selector": "all()", "types": ["Ingress"]}, {"name": "c", "namespace": "shop"})
CNPS = "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies"
NO_ANNOTATIONS: Mapping[str, Json] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "no-guests"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["cilium.io"],
                    "apiVersions": ["v2"],
                    "operations": ["CREATE"],
                    "resources": ["ciliumnetworkpolicies"],
                }
            ]
        },
        "validations": [{"expression": "object.metadata.name != 'guest'", "message": "guests are not allowed here"}],
    },
}
BINDING: Mapping[str, Json] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "no-guests"},
    "spec": {"policyName": "no-guests", "validationActions": ["Deny"]},
}


@pytest.fixture(scope="module")
def server(own_server: ApiServer) -> ApiServer:
    """An API server with Cilium's kinds and one namespace."""
    admin = Client(own_server.admin)
    admin.install(shipped_definitions(f"cilium/{RELEASE}"))
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    return own_server


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def refusals(document: str) -> list[str]:
    """What the server refused."""
    results = json.loads(document)["results"]
    return [f["detail"] for result in results for f in result["findings"] if f["id"] == "POL-PROFILE-REFUSES"]


def test_what_is_taken_is_said_by_silence_and_not_stored(server: ApiServer, translate: Command) -> None:
    asked = (
        "--dry-run",
        "server",
        "--kubeconfig",
        server.admin,
        "--emit",
        "networkpolicy",
        "--kustomize",
        "-o",
        "json",
    )
    done = translate("-f", given(translate.folder, PLAIN, CALICO), *asked)
    assert (done.status, refusals(done.out)) == (0, [])
    assert Client(server.admin).must("GET", CNPS)["items"] == []


def test_an_object_that_is_there_already_is_fine(server: ApiServer, translate: Command) -> None:
    source = given(translate.folder, network_policy({"podSelector": {}}, "twice"), name="twice.yaml")
    translate("-f", source)
    Client(server.admin).create(yaml.safe_load((translate.folder / "migration/cilium/shop/twice.yaml").read_text()))
    done = translate("-f", source, "--dry-run", "server", "--kubeconfig", server.admin, "-o", "json")
    Client(server.admin).must("DELETE", f"{CNPS}/twice")
    assert (done.status, refusals(done.out)) == (0, [])


def test_what_is_refused_is_a_blocker_with_the_servers_words(server: ApiServer, translate: Command) -> None:
    done = translate(
        "-f",
        given(translate.folder, PLAIN, ELSEWHERE),
        "--dry-run",
        "server",
        "--kubeconfig",
        server.admin,
        "-o",
        "json",
    )
    (text,) = refusals(done.out)
    assert done.status == 1
    assert "refuses CiliumNetworkPolicy nowhere/elsewhere: " in text
    assert 'namespaces "nowhere" not found' in text


def test_an_admission_policy_of_the_cluster_speaks(server: ApiServer, translate: Command) -> None:
    admin = Client(server.admin)
    root = "/apis/admissionregistration.k8s.io/v1"
    admin.must("POST", f"{root}/validatingadmissionpolicies", NO_ANNOTATIONS)
    admin.must("POST", f"{root}/validatingadmissionpolicybindings", BINDING)
    translate("-f", given(translate.folder, network_policy({"podSelector": {}}, "guest"), name="guest.yaml"))
    guest = yaml.safe_load((translate.folder / "migration/cilium/shop/guest.yaml").read_text())
    wait_until(lambda: admin.call("POST", f"{CNPS}?dryRun=All", guest)[0] != 201)
    done = translate("-f", "guest.yaml", "--dry-run", "server", "--kubeconfig", server.admin, "-o", "json")
    (text,) = refusals(done.out)
    assert (done.status, "guests are not allowed here" in text) == (1, True)


def test_the_label_finds_what_was_written_and_nothing_else(server: ApiServer, translate: Command) -> None:
    admin = Client(server.admin)
    translate("-f", given(translate.folder, PLAIN, network_policy({"podSelector": {}}, "second")))
    for path in sorted((translate.folder / "migration/cilium/shop").iterdir()):
        admin.create(yaml.safe_load(path.read_text()))
    own: Json = {"endpointSelector": {}, "ingress": [{}]}
    metadata = {"name": "own", "namespace": "shop"}
    admin.create({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": own})
    found = admin.must("GET", f"{CNPS}?labelSelector=app.kubernetes.io/managed-by%3Dcilium-migrate")["items"]
    assert isinstance(found, list)
    assert sorted(item["metadata"]["name"] for item in found) == ["plain", "second"]
    for name in ("plain", "second", "own"):
        admin.must("DELETE", f"{CNPS}/{name}")


def test_a_cluster_without_the_kinds_refuses_them(server: ApiServer, translate: Command) -> None:
    ccnp = calico("GlobalNetworkPolicy", {"types": ["Ingress"]}, {"name": "g"})
    source = given(translate.folder, PLAIN, ccnp)
    assert translate("-f", source, "--dry-run", "server", "--kubeconfig", server.admin).status == 0
    admin = Client(server.admin)
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ciliumclusterwidenetworkpolicies.cilium.io"
    admin.must("DELETE", root)
    wait_until(lambda: admin.call("GET", "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies")[0] == 404)
    done = translate("-f", source, "--dry-run", "server", "--kubeconfig", server.admin, "-o", "json")
    (text,) = refusals(done.out)
    assert (done.status, "it does not know this kind" in text) == (1, True)


def test_a_user_who_may_not_ask_ends_with_3_and_nothing_is_written(server: ApiServer, translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN), "--dry-run", "server", "--kubeconfig", server.nobody)
    assert (done.status, done.out) == (3, "")
    assert 'User "nobody" cannot create resource "ciliumnetworkpolicies"' in done.err
    assert not (translate.folder / "migration").exists()


def test_a_cluster_that_does_not_answer_ends_with_3(server: ApiServer, translate: Command) -> None:
    config = server.admin.read_text().replace(server.url, "https://127.0.0.1:1")
    (translate.folder / "config").write_text(config)
    done = translate("-f", given(translate.folder, PLAIN), "--dry-run", "server", "--kubeconfig", "config")
    assert (done.status, done.out, "no connection" in done.err) == (3, "", True)
