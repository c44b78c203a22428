"""Proposals before a real API server: a strict dry run takes them, and what it refuses is not written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrate.translate.profiles import load_profile, profile_names
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, shipped_definitions, wait_until
from tests.conftest import StartApiServer
from tests.unit.policies import calico
from tests.unit.suggestions import NAMES, REQUESTS, egress, hint_file, ingress, proposals, proposed
from tests.unit.translate_command import Command, given

pytestmark = pytest.mark.apiserver

POLICIES = [
    egress({"cidr": "203.0.113.0/24"}, {"cidr": "198.51.100.0/24"}, name="out"),
    ingress({"port": 8080}, {"port": 9090}, name="in"),
]
GLOBAL = calico(
    "GlobalNetworkPolicy",
    {
        "selector": "app == 'web'",
        "types": ["Egress"],
        "egress": [{"action": "Allow", "protocol": "ICMP", "destination": {"nets": ["203.0.113.0/24"]}}],
    },
    {"name": "ping"},
)
RELEASES = ["1.16", "1.18", "1.20"]
# What AKS's admission does by two public reports; the rule is ours.
NO_STAR = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "no-names"},
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
        "validations": [
            {
                "expression": "!has(object.spec.egress) || object.spec.egress.all(rule, !has(rule.toFQDNs))",
                "message": "names are not allowed here",
            }
        ],
    },
}
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "no-names"},
    "spec": {"policyName": "no-names", "validationActions": ["Deny"]},
}


@pytest.mark.parametrize("release", RELEASES)
def test_a_strict_dry_run_takes_every_proposal(release: str, start_api_server: StartApiServer) -> None:
    client = Client(start_api_server().admin)
    client.install(shipped_definitions(f"cilium/{release}"))
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    hints = hint_file(fqdn=[NAMES], http=[REQUESTS])
    targets = [n for n in profile_names() if load_profile(n).crds == release and load_profile(n).fqdn]
    assert targets
    for target in targets:
        done = {**proposals(proposed(POLICIES, hints, target=target))}
        done |= proposals(proposed([GLOBAL], hints, target=target, engines=("calico",)))
        expected = ["suggested/_cluster/ping.yaml", "suggested/shop/out.yaml"]
        assert set(done) == {*expected, *(["suggested/shop/in.yaml"] if load_profile(target).l7 else [])}
        for path, data in done.items():
            kinds = (
                "ciliumclusterwidenetworkpolicies" if "_cluster" in path else "namespaces/shop/ciliumnetworkpolicies"
            )
            url = f"/apis/cilium.io/v2/{kinds}?dryRun=All&fieldValidation=Strict"
            status, answer = client.call("POST", url, data)
            assert (path, status, answer.get("message")) == (path, 201, None)


def test_what_the_cluster_refuses_is_not_proposed(
    own_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    translate, admin = Command(tmp_path, monkeypatch, capsys), Client(own_server.admin)
    admin.install(shipped_definitions("cilium/1.20"))
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    (tmp_path / "hints.yaml").write_text(json.dumps(hint_file(fqdn=[NAMES])))
    asked = ("-f", given(tmp_path, *POLICIES), "--suggest", "fqdn", "--hints", "hints.yaml", "--target", "cilium-1.20")
    server = ("--dry-run", "server", "--kubeconfig", own_server.admin)
    assert (translate(*asked, *server).status, (tmp_path / "migration/suggested/shop/out.yaml").exists()) == (0, True)
    refused = proposals(proposed(POLICIES, hint_file(fqdn=[NAMES])))["suggested/shop/out.yaml"]
    root = "/apis/admissionregistration.k8s.io/v1"
    admin.must("POST", f"{root}/validatingadmissionpolicies", NO_STAR)
    admin.must("POST", f"{root}/validatingadmissionpolicybindings", BINDING)
    url = "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies?dryRun=All"
    wait_until(lambda: admin.call("POST", url, refused)[0] != 201)
    done = translate(*asked, *server, "-o", "json")
    found = [f for result in json.loads(done.out)["results"] for f in result["findings"]]
    (text,) = [f["detail"] for f in found if f["id"] == "POL-SUGGEST-NOT-MADE"]
    assert "suggested/shop/out.yaml was not written" in text
    assert "names are not allowed here" in text
    assert (done.status, (tmp_path / "migration/suggested/shop/out.yaml").exists()) == (0, False)
