"""What the API server refuses when agents are deployed, said so that a person knows what to change."""

from __future__ import annotations

from migrate.scan.connection import RequestError

ASK = "ask for the roles of docs/rbac-audit.yaml"


def refused(error: RequestError, what: str, namespace: str) -> str:
    """Why something was not made, and what to do."""
    if error.status == 404:
        return f"{what}: there is no namespace {namespace}; kubectl apply -f docs/rbac-audit.yaml makes one"
    if error.status != 403:
        return f"{what}: the API server does not take it: {error}"
    if "violates PodSecurity" in error.reason:
        return (
            f"{what}: Pod Security of namespace {namespace} refuses agents ({error.reason}); docs/audit-deploy.md says "
            "what each right is for; give the namespace the label pod-security.kubernetes.io/enforce=privileged"
        )
    if "exceeded quota" in error.reason or "must specify" in error.reason:
        why = f"a quota of namespace {namespace} refuses it ({error.reason})"
        return f"{what}: {why}; raise it, or choose another namespace"
    if "attempting to grant RBAC permissions not currently held" in error.reason:
        return f"{what}: you may not give agents rights that you do not have yourself ({error.reason}); {ASK}"
    if "cannot " in error.reason and " resource " in error.reason:
        return f"{what}: you may not make it ({error.reason}); {ASK}"
    return f"{what}: the cluster refuses it ({error.reason}); change that policy, or choose another namespace"
