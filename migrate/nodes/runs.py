"""What a snapshot says of programs: whether one runs, and whether all objects of a kind were read."""

from __future__ import annotations

from migrate.model.raw import RawObject
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.software import Software
from migrate.scan.inventory.programs import programs

_WITHOUT_WORKLOAD = frozenset(("kubenet", "cni-plugins"))
"""Networks that no workload shows."""
_BESIDE_OTHERS = frozenset(("calico", "cilium"))
"""CNIs of the inventory's fact that may only add policy to a network of another one."""
_WORKLOADS = ("DaemonSet", "Deployment")
_BY_NAME = {
    "kube-proxy": "kube-proxy",
    "ip-masq-agent": "ip-masq-agent",
    "kube-network-policies": "kube-network-policies",
}
"""Programs that rules/engines does not have, and what is in the names of their workloads and pods."""


def all_read(view: ClusterView, kind: str) -> bool:
    """Whether what is not among the objects of a kind does not exist in the cluster."""
    if view.header.namespaces is not None or not view.by_kind.get(kind):
        return False
    return all(count.status in {"read", "absent"} for count in view.header.kinds if count.kind == kind)


def runs(view: ClusterView, software: Software) -> bool | None:
    """Whether the snapshot shows the program; None when it could run without being seen there."""
    if _seen(view, software):
        return True
    if software.role in {"platform", "host"} or not all_read(view, "DaemonSet"):
        return None
    if software.embedded and _version_says(view, software.embedded):
        return None
    if software.id in _WITHOUT_WORKLOAD:
        said = {fact.value for fact in view.header.facts if fact.topic == "cni" and fact.state == "active"}
        return False if software.id == "kubenet" and said and not said & (_BESIDE_OTHERS | {"kubenet"}) else None
    if software.id == "kube-proxy":
        return False if any(f.topic == "kube-proxy-mode" and f.state == "absent" for f in view.header.facts) else None
    return False


def _version_says(view: ClusterView, part: str) -> bool:
    return any(fact.topic == "kubernetes-version" and part in fact.value for fact in view.header.facts)


def _seen(view: ClusterView, software: Software) -> bool:
    if any(
        f.topic in {"engine", "cni"} and f.value == software.id and f.state in {"active", "unknown"}
        for f in view.header.facts
    ):
        return True
    workloads = [raw for kind in _WORKLOADS for raw in view.by_kind.get(kind, ())]
    shown = next((program for program in programs() if program.id == software.id), None)
    if shown is not None:
        return any(workload.matches(raw) for workload in shown.workloads for raw in workloads)
    part = _BY_NAME.get(software.id)
    return part is not None and any(part in raw.ref.name for raw in (*workloads, *_pods(view)))


def _pods(view: ClusterView) -> tuple[RawObject, ...]:
    return view.by_kind.get("Pod", ())
