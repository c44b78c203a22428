"""Which PodDisruptionBudgets would hold up the drain of a node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from migrate.model.cluster import Pod
from migrate.model.finding import Finding
from migrate.model.labels import Labels, Scope
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.selectors import Selector, matches
from migrate.readiness.aks import limits
from migrate.readiness.azure import scaled
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Missing
from migrate.scan.inventory.look import counted, dig, number, text
from migrate.sources.fields import Fields, Reading
from migrate.sources.kubernetes import read_label_selector

_NOT_EVICTED = ("DaemonSet/", "Node/")
_WORKLOADS = ("Deployment", "StatefulSet")


@dataclass(frozen=True, slots=True)
class _Template:
    """Pods that a workload wants, by their labels."""

    namespace: str
    labels: Labels
    replicas: int

    def labels_of(self, scope: Scope) -> Labels:
        """Requirements of budgets are about pods."""
        return self.labels if scope is Scope.POD else Labels()


def check_budgets(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Budgets that allow no eviction of the pods that they are about."""
    asked = documents.was_read("Pod") or any(documents.was_read(kind) for kind in _WORKLOADS)
    for raw in documents.by_kind.get("PodDisruptionBudget", ()):
        pods = _pods(raw, documents)
        if pods is None and not asked:
            yield Missing(f"the pods of {raw.ref}: `kubectl get pods -A -o yaml`")
        elif pods and (why := _why(raw, _wanted(raw, pods, documents))):
            detail = f"{why}, so none of {counted(pods, 'pod')} may be evicted; a drain gives up after "
            detail += f"{limits().drain_timeout_minutes.value} minutes"
            yield Finding(id="CLU-PDB-BLOCKS-DRAIN", detail=detail, subject=raw.ref, field=_field(raw))
    yield from _covered_twice(documents)


def _covered_twice(documents: Documents) -> Iterator[Finding]:
    """Budgets that share pods: the API server evicts no pod that is under more than one."""
    found: dict[str, set[ObjectRef]] = {}
    for raw in documents.by_kind.get("PodDisruptionBudget", ()):
        for pod in _evicted(raw, documents):
            found.setdefault(str(pod), set()).add(raw.ref)
    shared: dict[tuple[ObjectRef, ...], list[str]] = {}
    for name, several in found.items():
        if len(several) > 1:
            shared.setdefault(tuple(sorted(several, key=ObjectRef.sort_key)), []).append(name)
    for budgets, pods in shared.items():
        names = ", ".join(ref.name for ref in budgets)
        detail = f"budgets {names} are about the same {counted(len(pods), 'pod')}, such as {min(pods)}, and the API "
        detail += "server evicts no pod that is under more than one"
        yield Finding(id="CLU-PDB-BLOCKS-DRAIN", detail=detail, subject=budgets[0], field="spec.selector")


def _why(raw: RawObject, pods: int) -> str:
    """Why a budget lets no pod go; empty when it lets one go. What its controller says counts before its text."""
    allowed = number(raw, "status", "disruptionsAllowed")
    healthy, desired = number(raw, "status", "currentHealthy"), number(raw, "status", "desiredHealthy")
    if allowed is not None and allowed > 0:
        return ""
    least, most = _amount(raw, "minAvailable"), _amount(raw, "maxUnavailable")
    if most and scaled(most, pods) == 0:
        return f"maxUnavailable is {most}"
    if least and scaled(least, pods) >= pods:
        return f"minAvailable is {least} of {pods}"
    if allowed is None:
        return ""
    known = healthy is not None and desired is not None
    return f"it allows no disruption now{f' ({healthy} healthy, {desired} needed)' if known else ''}"


def _pods(raw: RawObject, documents: Documents) -> int | None:
    """How many pods a drain would have to evict under a budget; None when nobody knows."""
    selector = _selector(raw)
    if selector is None:
        return 0
    if documents.was_read("Pod"):
        return len(_evicted(raw, documents))
    expected = number(raw, "status", "expectedPods")
    if expected is not None:
        return expected
    known = any(documents.was_read(kind) for kind in _WORKLOADS)
    return _replicas(raw, selector, documents) if known else None


def _evicted(raw: RawObject, documents: Documents) -> list[Pod]:
    """The pods under a budget that a drain evicts."""
    selector, namespace = _selector(raw), raw.ref.namespace or "default"
    if selector is None:
        return []
    inside = [pod for pod in documents.cluster.pods if pod.namespace == namespace]
    evicted = [pod for pod in inside if not (pod.workload or "").startswith(_NOT_EVICTED)]
    return [pod for pod in evicted if matches(selector, pod)]


def _wanted(raw: RawObject, pods: int, documents: Documents) -> int:
    """How many pods there should be under a budget: by its controller, else what runs and what workloads ask for."""
    expected, selector = number(raw, "status", "expectedPods"), _selector(raw)
    if expected or selector is None:
        return expected or pods
    return max(pods, _replicas(raw, selector, documents))


def _replicas(raw: RawObject, selector: Selector, documents: Documents) -> int:
    namespace = raw.ref.namespace or "default"
    found = [template for template in _templates(documents) if template.namespace == namespace]
    return sum(template.replicas for template in found if matches(selector, template))


def _templates(documents: Documents) -> Iterator[_Template]:
    for kind in _WORKLOADS:
        for raw in documents.by_kind.get(kind, ()):
            labels = dig(raw.data, "spec", "template", "metadata", "labels")
            found = {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}
            replicas = number(raw, "spec", "replicas")
            yield _Template(raw.ref.namespace or "default", Labels.of(found), 1 if replicas is None else replicas)


def _selector(raw: RawObject) -> Selector | None:
    """What a budget is about; None when nothing: without a selector, and with an empty one before policy/v1."""
    spec = Reading(raw).root().child("spec")
    fields: Fields | None = None if spec is None else spec.child("selector")
    if fields is None or (raw.ref.api_version.endswith("beta1") and not fields.keys()):
        return None
    return read_label_selector(fields, Scope.POD)


def _amount(raw: RawObject, key: str) -> str:
    """A number or percentage as text; empty when missing."""
    value = number(raw, "spec", key)
    return text(raw, "spec", key) if value is None else str(value)


def _field(raw: RawObject) -> str:
    return next((f"spec.{key}" for key in ("maxUnavailable", "minAvailable") if _amount(raw, key)), "spec")
