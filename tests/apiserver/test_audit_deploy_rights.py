"""The shipped rights are exactly enough: for the person who deploys agents, and for the agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from migrate.control.deploy import DeployError, deploy
from migrate.control.manifests import DAEMON_SET_KIND, KINDS, agent_pod, manifests
from migrate.control.needed_rights import needed_rights
from migrate.control.objects import Right
from migrate.control.removal import remove
from migrate.model.agent_documents import DAEMON_SET
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object, wait_until
from tests.apiserver.deployments import (
    NAMESPACE,
    RIGHTS,
    add_node,
    bind_deployer,
    controllers,
    objects_of,
    plan_of,
    roles,
    wishes,
)
from tests.apiserver.test_scan_nodes_refused import split

pytestmark = pytest.mark.apiserver

RUN = "0a1b2c3d"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{DAEMON_SET}"
PAGE = Path(RIGHTS).parent / "audit-deploy.md"


@pytest.fixture(scope="module")
def server(own_server: ApiServer) -> ApiServer:
    """A cluster with one node, where `scanner` may deploy agents, and no more."""
    admin = Client(own_server.admin)
    bind_deployer(admin, "scanner")
    add_node(admin, "one")
    scanner = Client(own_server.scanner)
    wait_until(lambda: scanner.may("list", "", "resourcequotas", namespace=NAMESPACE))
    return own_server


def rights_of(role: Object) -> list[Right]:
    """Each single right that a role gives."""
    namespace = str(cast("Object", role["metadata"]).get("namespace", ""))
    rules = cast("list[dict[str, list[str]]]", role["rules"])
    return [
        Right(verb, group, resource, namespace, name)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    ]


def granted() -> list[Right]:
    return [right for role in roles() for right in rights_of(role)]


NEEDED = needed_rights(NAMESPACE, makes_namespace=False, makes_priority=True)


def test_nothing_is_granted_beyond_what_is_needed_and_nothing_twice() -> None:
    assert sorted(map(str, granted())) == sorted(map(str, NEEDED))
    assert len(set(granted())) == len(granted())


@contextmanager
def without(server: ApiServer, right: Right) -> Iterator[None]:
    """`scanner` lacks one right in the block."""
    admin, scanner = Client(server.admin), Client(server.scanner)
    changed = [role for role in roles() if right in rights_of(role)]
    assert len(changed) == 1
    path = _path(changed[0])
    role = admin.must("GET", path)
    rules = [_rule(one) for one in rights_of(changed[0]) if one != right]
    try:
        role["metadata"] = admin.must("PUT", path, role | {"rules": rules})["metadata"]
        wait_until(lambda: not _allows(scanner, right))
        yield
    finally:
        admin.must("PUT", path, role)
        wait_until(lambda: _allows(scanner, right))


def _rule(right: Right) -> Object:
    names: Object = {"resourceNames": [right.name]} if right.name else {}
    return {"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb], **names}


def _path(role: Object) -> str:
    metadata = cast("dict[str, str]", role["metadata"])
    inside = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"/apis/{RBAC_API}{inside}/{str(role['kind']).lower()}s/{metadata['name']}"


def _allows(client: Client, right: Right) -> bool:
    resource, _, part = right.resource.partition("/")
    asked = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": part}
    body = {"spec": {"resourceAttributes": asked | {"namespace": right.namespace, "name": right.name}}}
    answer = client.must("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(cast("Object", answer["status"])["allowed"])


@pytest.mark.parametrize("right", NEEDED, ids=str)
def test_a_right_that_is_missing_is_named_before_anything_is_made(server: ApiServer, right: Right) -> None:
    with without(server, right):
        plan = plan_of(server.scanner, wishes(priority=1))
    assert plan.missing == (right,)
    assert plan.impossible == (f"you may not {right}; ask for the roles of docs/rbac-audit.yaml",)
    assert objects_of(server, RUN) == []


CREATED = [right for right in NEEDED if right.verb == "create" and any(right.resource == k.plural for k in KINDS)]
DELETED = [right for right in NEEDED if right.verb == "delete" and right.resource != "leases"]


@pytest.mark.parametrize("right", CREATED, ids=str)
def test_a_right_that_is_lost_meanwhile_leaves_nothing_behind(server: ApiServer, right: Right) -> None:
    """The API server itself refuses, so the right is needed."""
    plan = plan_of(server.scanner, wishes(priority=1))
    with without(server, right), controllers(server), pytest.raises(DeployError) as refused:
        deploy(plan)
    assert "you may not make it" in str(refused.value)
    assert str(refused.value).endswith("What was made before is gone again")
    assert objects_of(server, RUN) == []


@pytest.mark.parametrize("right", DELETED, ids=str)
def test_what_may_not_be_deleted_is_left_and_named(server: ApiServer, right: Right) -> None:
    plan = plan_of(server.scanner, wishes(priority=1))
    deploy(plan)
    with controllers(server):
        with without(server, right):
            done = remove(plan.connection, NAMESPACE, RUN, patience=0.2 if "daemonsets" in right.resource else 60)
        [kind] = [kind.kind for kind in KINDS if kind.plural == right.resource]
        assert f"{kind} {DAEMON_SET}" in [left.what for left in done.left]
        assert remove(plan.connection, NAMESPACE, RUN).left == ()
    assert objects_of(server, RUN) == []


def test_rights_of_agents_cannot_be_given_without_having_them(server: ApiServer) -> None:
    plan = plan_of(server.scanner)
    with without(server, Right("watch", "", "services")), controllers(server), pytest.raises(DeployError) as refused:
        deploy(plan)
    assert f"ClusterRole {DAEMON_SET}: you may not give agents rights that you do not have" in str(refused.value)
    assert objects_of(server, RUN) == []


def test_without_any_rights_one_message_names_them_all(server: ApiServer) -> None:
    assert len(plan_of(server.nobody).missing) == len(
        needed_rights(NAMESPACE, makes_namespace=False, makes_priority=False)
    )


@pytest.fixture(scope="module")
def deployed(server: ApiServer) -> Iterator[ApiServer]:
    """The agents' roles are there."""
    plan = plan_of(server.scanner)
    deploy(plan)
    agent = Client(server.admin, ACCOUNT)
    wait_until(lambda: agent.may("create", "", "events", namespace=NAMESPACE))
    yield server
    with controllers(server):
        assert remove(plan.connection, NAMESPACE, RUN).left == ()


LISTED = {
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "nodes": "/api/v1/nodes",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
}
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LEASE: Object = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": DAEMON_SET, "namespace": NAMESPACE},
}
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
EVENT: Object = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"generateName": "agent.", "namespace": NAMESPACE},
    "involvedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": "agent"},
}


def test_an_agent_may_do_what_it_does_and_nothing_else(deployed: ApiServer) -> None:
    agent = Client(deployed.admin, ACCOUNT)
    for path in LISTED.values():
        agent.must("GET", path)
    agent.must("GET", f"{LISTED['pods']}?watch=true&timeoutSeconds=1")
    made = agent.must("POST", LEASES, LEASE)
    agent.must("PUT", f"{LEASES}/{DAEMON_SET}", made | {"spec": {"holderIdentity": "one"}})
    assert agent.must("GET", f"{LEASES}/{DAEMON_SET}")["spec"] == {"holderIdentity": "one"}
    agent.must("POST", EVENTS, EVENT)
    Client(deployed.admin).must("DELETE", f"{LEASES}/{DAEMON_SET}")
    assert granted_to(agent) == [
        "create coordination.k8s.io leases",
        "create events",
        f"get coordination.k8s.io leases {DAEMON_SET}",
        "list discovery.k8s.io endpointslices",
        "list nodes",
        "list pods",
        "list services",
        f"update coordination.k8s.io leases {DAEMON_SET}",
        "watch discovery.k8s.io endpointslices",
        "watch nodes",
        "watch pods",
        "watch services",
    ]


def granted_to(client: Client) -> list[str]:
    """What the API server lists as a user's rights in the namespace, without what every user has."""
    body = {"spec": {"namespace": NAMESPACE}}
    answer = client.must("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body)
    rules = cast("list[dict[str, list[str]]]", cast("Object", answer["status"])["resourceRules"])
    return sorted(
        " ".join(filter(None, (verb, group, resource, name)))
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        if group not in ("authorization.k8s.io", "authentication.k8s.io")
    )


def agent_rights() -> list[Right]:
    by_kind = {one.kind.kind: json.loads(one.body) for one in manifests(wishes())}
    return [right for kind in ("ClusterRole", "Role") for right in rights_of(by_kind[kind])]


@pytest.mark.parametrize("right", agent_rights(), ids=str)
def test_each_right_of_an_agent_is_needed(deployed: ApiServer, right: Right) -> None:
    admin, agent = Client(deployed.admin), Client(deployed.admin, ACCOUNT)
    [changed] = [
        json.loads(one.body)
        for one in manifests(wishes())
        if one.kind.kind in ("ClusterRole", "Role") and right in rights_of(json.loads(one.body))
    ]
    path = _path(changed)
    role = admin.must("GET", path)
    rules = [_rule(one) for one in rights_of(changed) if one != right]
    try:
        role["metadata"] = admin.must("PUT", path, role | {"rules": rules})["metadata"]
        wait_until(lambda: not _allows(agent, right))
        status, answer = agent.call(*request_of(right))
    finally:
        admin.must("PUT", path, role)
        wait_until(lambda: _allows(agent, right))
    assert status == 403
    assert f'cannot {right.verb} resource "{right.resource}"' in str(answer["message"])


def request_of(right: Right) -> tuple[str, str, object]:
    """A request that asks for just this right."""
    if right.resource == "leases":
        one = f"{LEASES}/{DAEMON_SET}"
        return {"create": ("POST", LEASES, LEASE), "get": ("GET", one, None), "update": ("PUT", one, LEASE)}[right.verb]
    if right.resource == "events":
        return "POST", EVENTS, EVENT
    watch = "?watch=true&timeoutSeconds=1" if right.verb == "watch" else ""
    return "GET", LISTED[right.resource] + watch, None


BASELINE = (
    "host namespaces (hostNetwork=true)",
    'hostPath volumes (volumes "store", "bpffs")',
    'non-default capabilities (container "agent" must not include "BPF", "NET_ADMIN", "PERFMON" in '
    "securityContext.capabilities.add)",
)
RESTRICTED = (
    "host namespaces (hostNetwork=true)",
    'restricted volume types (volumes "store", "bpffs" use restricted volume type "hostPath")',
    'unrestricted capabilities (container "agent" must not include "BPF", "NET_ADMIN", "PERFMON" in '
    "securityContext.capabilities.add)",
    'runAsNonRoot != true (pod or container "agent" must set securityContext.runAsNonRoot=true)',
    "runAsUser=0 (pod must not set runAsUser=0)",
)


@pytest.mark.parametrize(("level", "expected"), [("baseline", BASELINE), ("restricted", RESTRICTED)])
def test_pod_security_warns_of_exactly_what_is_documented(
    server: ApiServer, level: str, expected: tuple[str, ...]
) -> None:
    admin = Client(server.admin)
    labels = {"pod-security.kubernetes.io/warn": level, "pod-security.kubernetes.io/enforce": level}
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": level, "labels": labels}})
    made = manifests(wishes(namespace=level))[-1]
    assert made.kind is DAEMON_SET_KIND
    asked = f"{made.kind.collection(level)}?dryRun=All&fieldValidation=Strict"
    [warning] = admin.warnings("POST", asked, json.loads(made.body))
    assert sorted(split(warning.partition(f'violate PodSecurity "{level}:latest": ')[2])) == sorted(expected)
    status, answer = admin.call("POST", f"/api/v1/namespaces/{level}/pods?dryRun=All", json.loads(agent_pod(made)))
    assert status == 403
    assert sorted(split(str(answer["message"]).partition(f'PodSecurity "{level}:latest": ')[2])) == sorted(expected)
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{complaint}`" in page for complaint in expected)


def test_the_namespaces_that_are_shipped_let_agents_in_without_a_warning(server: ApiServer) -> None:
    admin = Client(server.admin)
    [own] = [one for one in manifests(wishes(namespace="of-the-run")) if one.kind.kind == "Namespace"]
    admin.must("POST", "/api/v1/namespaces", json.loads(own.body))
    for namespace in (NAMESPACE, "of-the-run"):
        made = manifests(wishes(namespace=namespace))[-1]
        body = json.loads(made.body)
        body["metadata"]["name"] = "another"
        asked = f"{made.kind.collection(namespace)}?dryRun=All&fieldValidation=Strict"
        assert admin.warnings("POST", asked, body) == []


def test_the_page_names_every_right() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for role in roles():
        assert f"`{cast('dict[str, str]', role['metadata'])['name']}`" in page
    for right in NEEDED:
        assert right.resource in page, right
