"""What the API server refuses when nodes are to be read: each is said with what to do, and the scan goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
import yaml

from migrate.collect.manifest import PodWish, pod_json
from migrate.model.node_documents import System
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet, Script
from tests.apiserver.node_scans import NAMESPACE, PODS, RIGHTS, ROLE, pods_left, reasons, scan
from tests.command_line import Ended

pytestmark = pytest.mark.apiserver

SCAN_ROLE = f"/apis/{RBAC_API}/clusterroles/cilium-migrate-scan"
NPM_ROLE = f"/apis/{RBAC_API}/namespaces/kube-system/roles/cilium-migrate-npm"


def shipped(name: str) -> list[Object]:
    """The rules of a role of docs/rbac-nodes.yaml."""
    made = yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8"))
    return cast("list[Object]", next(role["rules"] for role in made if role["metadata"]["name"] == name))


def each_right(name: str) -> list[tuple[str, str]]:
    rules = cast("list[dict[str, list[str]]]", shipped(name))
    return [(verb, kind) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]]


@contextmanager
def without(server: ApiServer, verb: str, kind: str) -> Iterator[None]:
    """The role for pods lacks one right in the block, and no other role gives it."""
    admin, scanner = Client(server.admin), Client(server.scanner)
    role = admin.must("GET", ROLE)
    kept = [(v, k) for v, k in each_right("cilium-migrate-nodes") if (v, k) != (verb, kind)]
    rules = [{"apiGroups": [""], "resources": [k], "verbs": [v]} for v, k in kept]
    plural, _, part = kind.partition("/")
    asked = {"verb": verb, "group": "", "resource": plural, "subresource": part, "namespace": NAMESPACE}
    body = {"spec": {"resourceAttributes": asked}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def allowed() -> bool:
        return bool(cast("Object", scanner.must("POST", path, body)["status"])["allowed"])

    scan_role = admin.must("GET", SCAN_ROLE)
    scan_rules = json.loads(json.dumps(scan_role["rules"]))
    if (verb, kind) == ("list", "pods"):
        scan_rules[0]["resources"].remove("pods")
    try:
        role["metadata"] = admin.must("PUT", ROLE, role | {"rules": rules})["metadata"]
        scan_role["metadata"] = admin.must("PUT", SCAN_ROLE, scan_role | {"rules": scan_rules})["metadata"]
        wait_until(lambda: not allowed())
        yield
    finally:
        admin.must("PUT", ROLE, role)
        admin.must("PUT", SCAN_ROLE, scan_role)
        wait_until(allowed)


@pytest.mark.parametrize(("verb", "kind"), each_right("cilium-migrate-nodes"))
def test_each_right_is_needed_and_its_lack_is_said_before_a_pod_is_made(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, verb: str, kind: str
) -> None:
    nodes.add_node("node")
    with without(nodes_server, verb, kind):
        done = scan(nodes_server, tmp_path, "--yes")
    missing = (
        f"you may not {verb} {kind} in namespace cilium-migrate; ask for the role cilium-migrate-nodes of docs/rbac"
    )
    assert reasons(done) == [f"node node was not read: {missing}-nodes.yaml"]
    assert f"- no pod will be created: {missing}" in done.stderr
    assert nodes.seen == []


def test_a_namespace_that_is_not_there_is_said(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    nodes.add_node("node")
    done = scan(
        nodes_server, tmp_path, "--yes", "--collector-namespace", "nowhere", "--kubeconfig", str(nodes_server.admin)
    )
    [reason] = reasons(done)
    assert reason.startswith(
        "node node was not read: there is no namespace nowhere; kubectl apply -f docs/rbac-nodes.yaml"
    )


def test_pod_security_that_refuses_is_said_with_the_label_that_is_needed(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    metadata: Object = {"name": "strict", "labels": labels}
    Client(nodes_server.admin).create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    nodes.add_node("node")
    [reason] = reasons(as_admin(nodes_server, tmp_path, "strict"))
    assert "Pod Security of namespace strict refuses the pod" in reason
    assert "host namespaces (hostNetwork=true)" in reason
    assert "pod-security.kubernetes.io/enforce=privileged" in reason


def test_a_quota_that_refuses_is_said(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    admin = Client(nodes_server.admin)
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "small"}})
    made: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "small"}}
    quota = admin.create(made | {"spec": {"hard": {"pods": "1"}}})
    path = "/api/v1/namespaces/small/resourcequotas/none"
    admin.must("PUT", f"{path}/status", quota | {"status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}})
    for number in range(3):
        nodes.add_node(f"node-{number}", Script(command=lambda pod: ["sleep", "2"]))
    found = reasons(as_admin(nodes_server, tmp_path, "small", "--node-parallel", "3"))
    refused = [reason for reason in found if "a quota of namespace small refuses the pod" in reason]
    assert len(refused) == 2
    assert "exceeded quota: none" in refused[0]


def as_admin(server: ApiServer, folder: Path, namespace: str, *more: str) -> Ended:
    return scan(server, folder, "--yes", "--collector-namespace", namespace, "--kubeconfig", str(server.admin), *more)


_OF_LINUX = (
    "host namespaces (hostNetwork=true)",
    'non-default capabilities (container "collector" must not include "BPF", "NET_ADMIN", "NET_RAW" in '
    "securityContext.capabilities.add)",
    'hostPath volumes (volume "node")',
)
_OF_WINDOWS = (
    "host namespaces (hostNetwork=true)",
    "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
)


@pytest.mark.parametrize(("system", "expected"), [("linux", _OF_LINUX), ("windows", _OF_WINDOWS)])
def test_the_pods_are_legal_and_pod_security_has_only_the_documented_complaints(
    nodes_server: ApiServer, system: System, expected: tuple[str, ...]
) -> None:
    admin = Client(nodes_server.admin)
    name = f"checked-{system}"
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    strictly = "?dryRun=All&fieldValidation=Strict"
    wish = PodWish("pod", NAMESPACE, "node", system, "registry.example/image:1", "0123abcd", 120)
    made = json.loads(pod_json(wish))
    admin.must("POST", f"{PODS}{strictly}", made)
    made["metadata"]["namespace"] = name
    status, answer = admin.call("POST", f"/api/v1/namespaces/{name}/pods{strictly}", made)
    assert status == 403
    complaints = str(answer["message"]).partition('violates PodSecurity "baseline:latest": ')[2]
    assert sorted(split(complaints)) == sorted(expected)
    documented = (Path(RIGHTS).parent / "nodes-cluster.md").read_text(encoding="utf-8")
    assert all(f"`{complaint}`" in documented for complaint in expected)


def split(complaints: str) -> list[str]:
    """Complaints are told apart by the commas outside of parentheses and quotes."""
    found, depth, start, quoted = [], 0, 0, False
    for at, character in enumerate(complaints):
        depth += {"(": 1, ")": -1}.get(character, 0)
        quoted ^= character == '"'
        if character == "," and depth == 0 and not quoted:
            found.append(complaints[start:at].strip())
            start = at + 1
    return [*found, complaints[start:].strip()]


def test_no_pod_is_left_by_a_refusal(nodes_server: ApiServer) -> None:
    assert pods_left(nodes_server) == []
