"""The real engines run, and their own tests pass: what every comparison with them rests on."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.api_server import ApiServer
from tests.conftest import StartApiServer
from tests.engine_binaries import BUILD_FLAGS, engine_binary, go_environment, module_folder
from tests.policy_engines import PolicyEngine

_WEB_FROM_CLIENT = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 80}]}],
    },
}


def _pod(name: str, address: str) -> Mapping[str, object]:
    return {"namespace": "shop", "name": name, "labels": {"app": name}, "ips": [address], "node": "n1"}


def _flow(source: str, port: int) -> Mapping[str, object]:
    return {"src": {"pod": source}, "dst": {"pod": "shop/web"}, "protocol": "TCP", "port": port}


_CASE: Mapping[str, object] = {
    "namespaces": [{"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}],
    "nodes": [{"name": "n1", "ips": ["10.1.0.1"]}],
    "pods": [_pod("web", "10.0.0.1"), _pod("client", "10.0.0.2"), _pod("other", "10.0.0.3")],
    "policies": [_WEB_FROM_CLIENT],
    "flows": [_flow("shop/client", 80), _flow("shop/client", 81), _flow("shop/other", 80)],
}


@pytest.mark.engine
@pytest.mark.parametrize("fixture", ["cilium_engine_118", "cilium_engine_120", "calico_engine"])
def test_engine_enforces_a_network_policy(fixture: str, request: pytest.FixtureRequest) -> None:
    engine: PolicyEngine = request.getfixturevalue(fixture)

    answer = engine(_CASE)

    assert [policy["ok"] for policy in answer["policies"]] == [True]
    assert [flow["ingress"] for flow in answer["flows"]] == ["allow", "deny", "deny"]
    assert [flow["egress"] for flow in answer["flows"]] == ["unenforced"] * 3
    assert [flow["verdict"] for flow in answer["flows"]] == ["allow", "deny", "deny"]


@pytest.mark.engine
def test_engine_that_refuses_its_input_is_an_error_and_not_an_answer(cilium_engine_120: PolicyEngine) -> None:
    with pytest.raises(RuntimeError, match="version 2"):
        cilium_engine_120({"version": 2})


@pytest.mark.engine
@pytest.mark.parametrize("name", ["calico", "cilium-1.18", "cilium-1.20"])
def test_the_engine_passes_its_own_tests(name: str, go: str) -> None:
    command = [go, "test", "-vet=off", *BUILD_FLAGS, "."]

    ran = subprocess.run(command, cwd=module_folder(name), env=go_environment(), capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_binary_named_by_the_environment_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATE_ENGINE_CILIUM_1_20", "some/program")

    assert engine_binary("cilium-1.20") == Path("some/program")


def _get(server: ApiServer, kubeconfig: Path, path: str) -> tuple[int, str]:
    """Status and body of one request with the kubeconfig's token."""
    token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    request = urllib.request.Request(f"{server.url}{path}", headers={"Authorization": f"Bearer {token}"})
    trusted = ssl.create_default_context(cafile=server.state / "ca.crt")
    try:
        with urllib.request.urlopen(request, context=trusted) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


@pytest.mark.apiserver
def test_api_server_is_ready_and_lists_namespaces(api_server: ApiServer) -> None:
    assert _get(api_server, api_server.admin, "/readyz") == (200, "ok")

    status, body = _get(api_server, api_server.admin, "/api/v1/namespaces")

    assert status == 200
    assert "default" in {namespace["metadata"]["name"] for namespace in json.loads(body)["items"]}


@pytest.mark.apiserver
@pytest.mark.parametrize("user", ["scanner", "nobody"])
def test_users_without_a_role_are_refused(api_server: ApiServer, user: str) -> None:
    kubeconfig: Path = getattr(api_server, user)

    status, body = _get(api_server, kubeconfig, "/api/v1/pods")

    assert status == 403
    assert json.loads(body)["message"].startswith(f'pods is forbidden: User "{user}" cannot list')


@pytest.mark.apiserver
def test_started_server_has_the_preloaded_objects_and_takes_flags(
    start_api_server: StartApiServer, tmp_path: Path
) -> None:
    uid = "0b5ad4b1-0000-4000-8000-000000000000"
    stored = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "loaded", "uid": uid}}
    preload = tmp_path / "objects.jsonl"
    preload.write_text(json.dumps({"key": "/registry/namespaces/loaded", "object": stored}) + "\n")

    server = start_api_server("--compaction-interval=1m", "--", "--runtime-config=batch/v1=false", preload=preload)

    assert json.loads(_get(server, server.admin, "/api/v1/namespaces/loaded")[1])["metadata"]["uid"] == uid
    assert _get(server, server.admin, "/apis/batch/v1/jobs")[0] == 404
    server.stop()
    assert server.process.returncode is not None
