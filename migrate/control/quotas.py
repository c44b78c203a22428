"""Whether the quotas of a namespace leave room for a pod on each node."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from migrate.control.manifests import MEMORY_LIMIT, MEMORY_REQUEST, AgentWishes
from migrate.control.objects import ObjectConnection, decoded
from migrate.model.agent_documents import DAEMON_SET

CPU_REQUEST = "20m"
_PER_POD = {
    "pods": "1",
    "count/pods": "1",
    "cpu": CPU_REQUEST,
    "requests.cpu": CPU_REQUEST,
    "memory": MEMORY_REQUEST,
    "requests.memory": MEMORY_REQUEST,
    "limits.memory": MEMORY_LIMIT,
}
"""What one agent takes of each thing that a quota may count
(kubernetes/kubernetes, pkg/quota/v1/evaluator/core/pods.go)."""


class _Scope(msgspec.Struct, frozen=True, rename="camel"):
    scope_name: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_expressions: tuple[_Scope, ...] = ()


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    scopes: tuple[str, ...] = ()
    scope_selector: _Selector | None = None


class _Status(msgspec.Struct, frozen=True):
    hard: dict[str, str] = {}
    used: dict[str, str] = {}


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""


class _Quota(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Quotas(msgspec.Struct, frozen=True):
    items: tuple[_Quota, ...] = ()


def too_small(connection: ObjectConnection, wishes: AgentWishes, agents: int) -> tuple[str, ...]:
    """What each quota has no room for, in sentences. Raises RequestError."""
    path = f"/api/v1/namespaces/{wishes.settings.namespace}/resourcequotas"
    quotas = decoded(connection.get(path), _Quotas, path).items
    counting = [quota for quota in quotas if _counts(quota, _priority_class(wishes))]
    return tuple(text for quota in counting for text in _complaints(quota.metadata.name, quota.status, agents))


def _complaints(name: str, status: _Status, agents: int) -> Iterator[str]:
    for resource, per_pod in _PER_POD.items():
        if resource not in status.hard:
            continue
        left = quantity(status.hard[resource]) - quantity(status.used.get(resource, "0"))
        room = max(0, int(left / quantity(per_pod)))
        if room < agents:
            used = f"{status.used.get(resource, '0')} of {status.hard[resource]} used, {per_pod} for each"
            text = f"quota {name} has room for {room} of {agents} agents ({resource}: {used})"
            yield f"{text}; raise it, or choose another namespace"


def quantity(text: str) -> Decimal:
    """A quantity of Kubernetes as a number."""
    from kubernetes.utils.quantity import parse_quantity

    return Decimal(parse_quantity(text))  # type: ignore[no-untyped-call]


def _priority_class(wishes: AgentWishes) -> str:
    return DAEMON_SET if wishes.priority is not None else wishes.priority_class


def _counts(quota: _Quota, priority_class: str) -> bool:
    """Whether a quota counts agents: they are neither terminating nor best effort."""
    expressions = quota.spec.scope_selector.match_expressions if quota.spec.scope_selector else ()
    scopes = [*(_Scope(name, "Exists") for name in quota.spec.scopes), *expressions]
    return all(_in_scope(scope, priority_class) for scope in scopes)


def _in_scope(scope: _Scope, priority_class: str) -> bool:
    if scope.scope_name == "PriorityClass":
        held = {
            "Exists": priority_class != "",
            "DoesNotExist": priority_class == "",
            "In": priority_class in scope.values,
            "NotIn": priority_class not in scope.values,
        }
        return held.get(scope.operator, True)
    return scope.scope_name in ("NotTerminating", "NotBestEffort")
