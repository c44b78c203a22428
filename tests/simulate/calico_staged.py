"""Staged policies of a case written as the policies that they stand for, by Calico's description of stagedAction."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tests.reference.cases import Case

Object: TypeAlias = dict[str, object]
Identity: TypeAlias = tuple[str, str, str, str]

_KUBERNETES = "StagedKubernetesNetworkPolicy"


def as_if_enforced(case: Case) -> Case:
    """Set puts a policy in place of the one of its name, Delete takes that one away, Learn and Ignore do nothing."""
    kept = {_identity(item): item for item in case.policies if not _staged(item)}
    for item in filter(_staged, case.policies):
        action = _spec(item).get("stagedAction", "Set")
        wanted = _enforced(item)
        if action in ("Set", "Delete"):
            kept.pop(_identity(wanted), None)
        if action == "Set":
            kept[_identity(wanted)] = wanted
    return msgspec.structs.replace(case, policies=tuple(kept.values()))


def _staged(item: Object) -> bool:
    return str(item["kind"]).startswith("Staged")


def _spec(item: Object) -> Object:
    spec = item.get("spec", {})
    assert isinstance(spec, dict)
    return spec


def _enforced(item: Object) -> Object:
    spec = {key: value for key, value in _spec(item).items() if key != "stagedAction"}
    if item["kind"] == _KUBERNETES:
        return {**item, "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec}
    return {**item, "kind": str(item["kind"]).removeprefix("Staged"), "spec": spec}


def _identity(item: Object) -> Identity:
    """A policy's kind, tier, namespace and name without the tier; the API group does not tell policies apart."""
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    kind, name = str(item["kind"]), str(metadata["name"])
    if str(item["apiVersion"]).startswith("networking.k8s.io/"):
        kind = "Kubernetes"
    tier = str(_spec(item).get("tier", "default"))
    return kind, tier, str(metadata.get("namespace", "")), name.removeprefix(f"{tier}.")
