"""What of a cluster is not as it was, as far as a plan rests on it: policies, labels, nodes, Services, engines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from migrate.model.cluster import Pod
from migrate.model.plan_documents import ChangedObject
from migrate.model.raw import Json, RawObject
from migrate.readiness.documents import Documents
from migrate.scan.inventory import AZURE_KIND
from migrate.sources.fields import dotted
from migrate.translate.kinds import is_policy
from migrate.verify.causes import workload

_Change: TypeAlias = Literal["added", "removed", "changed"]
_TOPICS = (
    *("engine", "policy-enforcement", "cni", "kubernetes-version", "windows-pool", "acns"),
    *("kube-proxy-mode", "node-local-dns", "service-mesh"),
)
_MADE_BY_CONTROLLERS = ("pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name")
"""Labels that differ from pod to pod, or with each rollout of the same workload."""
_PARTS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "Namespace": [("metadata", "labels")],
    "Node": [("metadata", "labels"), ("spec", "podCIDRs"), ("status", "addresses"), ("status", "nodeInfo")],
    "Service": [("metadata", "labels"), ("spec",)],
    "FelixConfiguration": [("spec",)],
    "Installation": [("spec",)],
    "IPPool": [("spec",)],
    "ConfigMap": [("data",)],
    AZURE_KIND: [("spec",)],
}
"""Of each kind what counts; policies count with all but their annotations."""
_MOST_FIELDS = 5


def changes(before: Documents, after: Documents) -> tuple[ChangedObject, ...]:
    """All that differs, by kind and name."""
    found = [*_objects(before, after), *_workloads(before, after), *_facts(before, after)]
    return tuple(sorted(found, key=lambda each: (each.kind, each.object, each.change)))


def changed_workloads(before: Documents, after: Documents) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Workloads that are new, and those whose pods have other labels or ports; both as namespace/Kind/name."""
    old, new = _shapes(before.cluster.pods), _shapes(after.cluster.pods)
    added = tuple(sorted(new.keys() - old.keys()))
    return added, tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name]))


def _objects(before: Documents, after: Documents) -> Iterator[ChangedObject]:
    old, new = _parts(before.objects), _parts(after.objects)
    for key in old.keys() | new.keys():
        kind, name = key
        if key not in new:
            yield ChangedObject(change="removed", kind=kind, object=name)
        elif key not in old:
            yield ChangedObject(change="added", kind=kind, object=name)
        elif old[key] != new[key]:
            yield ChangedObject(change="changed", kind=kind, object=name, fields=_fields(old[key], new[key]))


def _parts(objects: Iterable[RawObject]) -> dict[tuple[str, str], dict[str, Json]]:
    """What counts of each object, by its kind and its name."""
    found: dict[tuple[str, str], dict[str, Json]] = {}
    for raw in objects:
        ref = raw.ref
        place = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
        if is_policy(ref):
            found[f"{ref.kind} ({ref.group})", place] = _policy(raw)
        elif ref.kind in _PARTS:
            found[ref.kind, place] = {dotted(path): _at(raw.data, path) for path in _PARTS[ref.kind]}
    return found


def _policy(raw: RawObject) -> dict[str, Json]:
    kept: dict[str, Json] = {key: value for key, value in raw.data.items() if key not in ("metadata", "status")}
    return {**kept, "labels": _at(raw.data, ("metadata", "labels"))}


def _at(value: Json, path: Sequence[str]) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _fields(old: Mapping[str, Json], new: Mapping[str, Json]) -> tuple[str, ...]:
    """The paths that differ, the first few of them."""
    from deepdiff import DeepDiff

    found = DeepDiff(old, new, view="tree")
    paths = sorted({dotted(tuple(change.path(output_format="list"))) for kind in found for change in found[kind]})
    more = [f"{len(paths) - _MOST_FIELDS} more"] if len(paths) > _MOST_FIELDS else []
    return (*paths[:_MOST_FIELDS], *more)


def _shapes(pods: Iterable[Pod]) -> dict[str, frozenset[str]]:
    """What policies see of each workload's pods: labels, ports, service account, host network."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        labels = {key: value for key, value in pod.labels.items() if key not in _MADE_BY_CONTROLLERS}
        ports = sorted(str(port) for port in pod.named_ports)
        shape = f"{sorted(labels.items())} {ports} {pod.service_account} {pod.host_network}"
        found.setdefault(f"{pod.namespace}/{workload(pod)}", set()).add(shape)
    return {name: frozenset(shapes) for name, shapes in found.items()}


def _workloads(before: Documents, after: Documents) -> Iterator[ChangedObject]:
    old, new = _shapes(before.cluster.pods), _shapes(after.cluster.pods)
    for name in old.keys() | new.keys():
        change: _Change = "changed"
        if name not in old or name not in new:
            change = "added" if name in new else "removed"
        if old.get(name) != new.get(name):
            yield ChangedObject(change=change, kind="Pods", object=name)


def _facts(before: Documents, after: Documents) -> Iterator[ChangedObject]:
    old, new = _said(before), _said(after)
    for topic in _TOPICS:
        if old.get(topic) != new.get(topic):
            values = tuple(
                f"{name}: {', '.join(said.get(topic, ())) or 'nothing'}" for name, said in (("was", old), ("is", new))
            )
            yield ChangedObject(change="changed", kind="Fact", object=topic, fields=values)


def _said(documents: Documents) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for fact in documents.header.facts if documents.header is not None else ():
        if fact.topic in _TOPICS:
            found.setdefault(fact.topic, set()).add(f"{fact.value} ({fact.state})")
    return {topic: tuple(sorted(values)) for topic, values in found.items()}
