"""The rights that agents are deployed with, for the account of one test's run."""

from __future__ import annotations

import yaml

from migrate.control.manifests import AgentWishes, manifests
from migrate.model.agent_documents import DAEMON_SET, AgentSettings
from migrate.scan.connection import ConnectionOptions
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, wait_until

_GROUP = "rbac.authorization.k8s.io"


def allow_agent(server: ApiServer, settings: AgentSettings) -> ConnectionOptions:
    """Bind the shipped roles to the run's account. Returns how to act as it.

    Roles of the whole cluster are named after the run here, since tests share a cluster.
    """
    admin = Client(server.admin)
    for manifest in manifests(AgentWishes(settings=settings, image="example.com/agent@sha256:" + 64 * "0")):
        if manifest.kind.group != _GROUP:
            continue
        made: Object = yaml.safe_load(manifest.text)
        if not manifest.kind.namespaced:
            made["metadata"] = {"name": settings.run}
        if manifest.kind.kind == "ClusterRoleBinding":
            made["roleRef"] = {"apiGroup": _GROUP, "kind": "ClusterRole", "name": settings.run}
        admin.create(made)
    account = f"system:serviceaccount:{settings.namespace}:{DAEMON_SET}"
    agent = Client(server.admin, account)
    wait_until(
        lambda: agent.may("watch", "", "pods") and agent.may("create", "", "events", namespace=settings.namespace)
    )
    return ConnectionOptions(kubeconfig=str(server.admin), as_user=account)
