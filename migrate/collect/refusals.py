"""What the API server refuses when pods are to read nodes, said so that a person knows whom to ask for what."""

from __future__ import annotations

from migrate.collect.pod_connection import PodConnection
from migrate.scan.connection import RequestError

RIGHTS = (
    ("create", "pods"),
    ("delete", "pods"),
    ("get", "pods"),
    ("list", "pods"),
    ("watch", "pods"),
    ("get", "pods/log"),
)
"""Verbs and resources that a run needs in the namespace of its pods."""
_ASK = "ask for the role cilium-migrate-nodes of docs/rbac-nodes.yaml"
_ASK_NPM = "ask for the role cilium-migrate-npm of docs/rbac-nodes.yaml"


def missing_rights(connection: PodConnection, namespace: str) -> str:
    """What this user may not do but has to, empty when nothing is known to be missing."""
    try:
        missing = [f"{verb} {kind}" for verb, kind in RIGHTS if not connection.may(verb, kind, namespace)]
    except RequestError:
        return ""  # a server that does not tell is asked for the thing itself
    return f"you may not {', '.join(missing)} in namespace {namespace}; {_ASK}" if missing else ""


def refused(error: RequestError, verb: str, namespace: str) -> str:
    """Why a request for a pod was refused, and what to do."""
    if error.status == 404:
        return (
            f"there is no namespace {namespace}; kubectl apply -f docs/rbac-nodes.yaml makes one that allows the pods"
        )
    if error.status != 403:
        return f"the API server did not {verb}: {error}"
    if "violates PodSecurity" in error.reason:
        return (
            f"Pod Security of namespace {namespace} refuses the pod ({error.reason}); it has to see the node's network "
            "and files, so choose a namespace with the label pod-security.kubernetes.io/enforce=privileged"
        )
    if "exceeded quota" in error.reason or "must specify" in error.reason:
        return (
            f"a quota of namespace {namespace} refuses the pod ({error.reason}); raise it, or choose another namespace"
        )
    if "cannot " in error.reason and " resource " in error.reason:
        return f"you may not {verb} in namespace {namespace} ({error.reason}); {_ASK}"
    return f"namespace {namespace} refuses the pod ({error.reason}); change that policy, or choose another namespace"


def refused_npm(error: RequestError) -> str:
    """Why NPM's endpoint could not be read, and what to do."""
    if error.status == 403:
        return f"you may not get pods/proxy in namespace kube-system ({error.reason}); {_ASK_NPM}"
    return str(error)
