"""What a person needs to be allowed for agents to be deployed, watched and taken away (docs/rbac-audit.yaml)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.control.manifests import KINDS, NAMESPACE_KIND, PRIORITY_CLASS_KIND
from migrate.control.objects import ObjectConnection, Right
from migrate.model.agent_documents import DAEMON_SET

_DISCOVERY, _LEASES = "discovery.k8s.io", "coordination.k8s.io"
OF_AGENTS = (
    *(Right(verb, "", resource) for resource in ("nodes", "pods", "services") for verb in ("list", "watch")),
    *(Right(verb, _DISCOVERY, "endpointslices") for verb in ("list", "watch")),
)
"""What agents are given in the whole cluster. Kubernetes lets nobody give what they do not have."""


def needed_rights(namespace: str, *, makes_namespace: bool, makes_priority: bool) -> tuple[Right, ...]:
    """Everything, without doubles, in a fixed order."""
    return tuple(dict.fromkeys(_needed(namespace, makes_namespace, makes_priority)))


def _needed(namespace: str, makes_namespace: bool, makes_priority: bool) -> Iterator[Right]:
    yield from OF_AGENTS
    for kind in KINDS:
        if kind is NAMESPACE_KIND:
            yield Right("get", "", kind.plural, name=namespace)
            made = makes_namespace
        else:
            made = kind is not PRIORITY_CLASS_KIND or makes_priority
        if not made:
            continue
        where, name = (namespace if kind.namespaced else ""), (namespace if kind is NAMESPACE_KIND else DAEMON_SET)
        yield Right("create", kind.group, kind.plural, where)
        for verb in ("get", "delete"):
            yield Right(verb, kind.group, kind.plural, where, name)
    yield from _in_namespace(namespace)


def _in_namespace(namespace: str) -> Iterator[Right]:
    """Pods are made by the DaemonSet alone; creating one is only asked as a dry run, to see what admission says."""
    yield Right("create", _LEASES, "leases", namespace)
    for verb in ("get", "update", "delete"):
        yield Right(verb, _LEASES, "leases", namespace, DAEMON_SET)
    for verb in ("create", "list"):  # listed to say why the DaemonSet could not make a pod
        yield Right(verb, "", "events", namespace)
    yield Right("create", "", "pods", namespace)
    yield Right("list", "", "configmaps", namespace)
    yield Right("list", "", "resourcequotas", namespace)
    for verb in ("create", "get"):  # a websocket is opened by GET, and newer API servers ask for create as well
        yield Right(verb, "", "pods/exec", namespace)


def missing_rights(connection: ObjectConnection, rights: Iterable[Right]) -> tuple[Right, ...]:
    """Those that this user does not have. Raises RequestError."""
    return tuple(right for right in rights if not connection.allows(right))
