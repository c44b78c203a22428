"""The scripts of `migrate plan`, run by a person's shell and kubectl against a real API server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from migrate.model.raw import Json
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, shipped_definitions, wait_until
from tests.command_line import migrate
from tests.conftest import StartApiServer
from tests.prerequisites import require
from tests.readiness.folders import azure_json
from tests.unit.policies import network_policy

pytestmark = pytest.mark.apiserver

SPACE = "plan-scripts"
CLIENT: dict[str, Json] = {"matchLabels": {"app": "client"}}
POLICY: Object = {
    **network_policy(
        {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": CLIENT}]}]},
        "plain",
        SPACE,
    )
}
OLD = f"/apis/networking.k8s.io/v1/namespaces/{SPACE}/networkpolicies"
NEW = f"/apis/cilium.io/v2/namespaces/{SPACE}/ciliumnetworkpolicies"
PATIENCE = 120


def names(admin: Client, path: str) -> list[str]:
    """What the API server has there; nothing for a kind that it does not know."""
    status, answer = admin.call("GET", path)
    items = answer.get("items") if status == 200 else []
    assert isinstance(items, list)
    return [item["metadata"]["name"] for item in items]


def script(
    folder: Path, kubeconfig: Path, name: str, *arguments: str, seconds: int = PATIENCE
) -> subprocess.Popen[str]:
    """A script of the plan, begun from another folder."""
    variables = {**os.environ, "KUBECONFIG": str(kubeconfig), "LIMIT_SECONDS": str(seconds)}
    command = ["bash", str(folder / name), *arguments]
    return subprocess.Popen(
        command, env=variables, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a script said, once it ended well."""
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


def test_scripts_wait_apply_remove_and_restore(own_server: ApiServer, tmp_path: Path) -> None:
    require(shutil.which("kubectl") is not None, "needs kubectl")
    admin = Client(own_server.admin)
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    admin.create(POLICY)
    azure = azure_json(tmp_path, "npm-node-subnet", {})
    kubeconfig = ("--kubeconfig", own_server.admin)
    assert migrate(tmp_path, "scan", *kubeconfig, "--az-json", azure, "-q").status in (0, 4)
    assert migrate(tmp_path, "translate", "-q").status in (0, 1)
    assert migrate(tmp_path, "plan").status in (0, 4)
    folder = tmp_path / "migration"

    waiting = script(folder, own_server.admin, "apply.sh")
    assert waiting.poll() is None
    admin.install(shipped_definitions("cilium/1.18"))
    assert "applied cilium" in ended(waiting)
    assert names(admin, NEW) == ["plain"]

    ended(script(folder, own_server.admin, "remove-old-policies.sh"))
    assert names(admin, OLD) == ["plain"]
    ended(script(folder, own_server.admin, "remove-old-policies.sh", "--apply"))
    assert names(admin, OLD) == []

    ended(script(folder, own_server.admin, "backup/restore.sh"))
    assert names(admin, OLD) == []
    ended(script(folder, own_server.admin, "backup/restore.sh", "--apply"))
    wait_until(lambda: names(admin, OLD) == ["plain"])
    kept = admin.must("GET", f"{OLD}/plain")
    assert kept["spec"] == POLICY["spec"]

    checked = migrate(tmp_path, "plan", "--check", *kubeconfig, "-q")
    assert "CiliumNetworkPolicy (cilium.io) plan-scripts/plain" in checked.stdout
    assert "the way to Cilium" not in checked.stdout


def test_a_script_that_waits_in_vain_ends(start_api_server: StartApiServer, tmp_path: Path) -> None:
    require(shutil.which("kubectl") is not None, "needs kubectl")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    azure = azure_json(tmp_path, "npm-node-subnet", {})
    migrate(tmp_path, "scan", "-f", policy, "--az-json", azure, "-q")
    migrate(tmp_path, "translate", "-q")
    migrate(tmp_path, "plan")
    vain = script(tmp_path / "migration", start_api_server().admin, "apply.sh", seconds=1)
    said, _ = vain.communicate(timeout=PATIENCE)
    assert vain.returncode == 1
    assert "is not Established after 1 seconds" in said
