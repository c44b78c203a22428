"""What a snapshot says of programs: whether one runs, and whether all objects of a kind were read."""

from __future__ import annotations

from migrate.model.raw import RawObject
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.software import Software
from migrate.scan.inventory.programs import programs

_CNI_FACTS = {"azure-cni": "azure-cni", "kubenet": "kubenet"}
"""Networks that no workload shows: the beginning of the inventory's fact and the program."""
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
    facts = [fact for fact in view.header.facts if fact.topic == "cni" and fact.state == "active"]
    if software.id in _CNI_FACTS.values():
        own = any(
            _CNI_FACTS.get(start) == software.id and fact.value.startswith(start)
            for fact in facts
            for start in _CNI_FACTS
        )
        return True if own else (False if facts else None)
    if software.id == "cni-plugins":
        return None
    if software.id == "kube-proxy":
        return False if any(f.topic == "kube-proxy-mode" and f.state == "absent" for f in view.header.facts) else None
    return False


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
