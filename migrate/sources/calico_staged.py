"""Staged policies as if they were enforced: the question that `staged: true` asks.

Fact: a staged policy with stagedAction Set stands for the policy of its name, or for a new one; Delete stands for
that policy's end; Learn and Ignore change nothing (api stagednetworkpolicy.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from migrate.model.raw import RawObject
from migrate.sources import kubernetes
from migrate.sources.calico import CalicoPolicy
from migrate.sources.kubernetes import NetworkPolicy

STAGED_KUBERNETES = "StagedKubernetesNetworkPolicy"
_SET, _DELETE = ("", "Set"), "Delete"

Key: TypeAlias = tuple[str, str, str]


def read_staged_kubernetes(raw: RawObject) -> tuple[NetworkPolicy, str]:
    """The NetworkPolicy that a StagedKubernetesNetworkPolicy holds, and its stagedAction."""
    spec = raw.data.get("spec")
    fields = dict(spec) if isinstance(spec, dict) else {}
    action = fields.pop("stagedAction", None)
    plain = replace(raw, data={**raw.data, "spec": fields})
    return kubernetes.read_policy(plain), action if isinstance(action, str) else ""


def as_if_enforced(
    policies: Iterable[CalicoPolicy | NetworkPolicy], staged: Iterable[tuple[NetworkPolicy, str]]
) -> list[CalicoPolicy | NetworkPolicy]:
    """What would be in force; `staged` are the staged NetworkPolicies with their actions."""
    given = list(policies)
    planned: list[tuple[CalicoPolicy | NetworkPolicy, str]] = [
        (replace(policy, staged=False), policy.staged_action)
        for policy in given
        if isinstance(policy, CalicoPolicy) and policy.staged
    ]
    planned += staged
    changed = {key_of(policy) for policy, action in planned if action in _SET or action == _DELETE}
    enforced = (policy for policy in given if not (isinstance(policy, CalicoPolicy) and policy.staged))
    return [
        *(policy for policy in enforced if key_of(policy) not in changed),
        *(policy for policy, action in planned if action in _SET),
    ]


def key_of(policy: CalicoPolicy | NetworkPolicy) -> Key:
    """Which policy it is: its kind of tier, namespace and name without the tier before it."""
    if isinstance(policy, NetworkPolicy):
        return ("Kubernetes", policy.ref.namespace or "default", policy.ref.name)
    return (policy.tier, policy.namespace or "", policy.name.removeprefix(f"{policy.tier}."))
