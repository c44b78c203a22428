"""The nodes of the snapshot, as the report lists them."""

from __future__ import annotations

from collections import Counter

from migrate.model.raw import Json, RawObject
from migrate.readiness.documents import Documents
from migrate.report.document import NodeRow

_POOLS = ("kubernetes.azure.com/agentpool", "agentpool", "node.kubernetes.io/instance-type")


def node_rows(documents: Documents) -> tuple[NodeRow, ...]:
    """One row per node, by name."""
    pods = Counter(_text(raw, "spec", "nodeName") for raw in documents.by_kind.get("Pod", ()))
    audited = documents.audit.node if documents.audit else None
    rows = [_row(raw, pods, audited) for raw in documents.by_kind.get("Node", ())]
    return tuple(sorted(rows, key=lambda row: row.name))


def _row(raw: RawObject, pods: Counter[str], audited: str | None) -> NodeRow:
    name = raw.ref.name
    info = ("status", "nodeInfo")
    return NodeRow(
        name=name,
        pool=next((found for key in _POOLS if (found := _text(raw, "metadata", "labels", key))), ""),
        os=_text(raw, *info, "operatingSystem") or _text(raw, "metadata", "labels", "kubernetes.io/os"),
        image=_text(raw, *info, "osImage"),
        kernel=_text(raw, *info, "kernelVersion"),
        kubelet=_text(raw, *info, "kubeletVersion"),
        pods=pods[name],
        audited=name == audited,
    )


def _text(raw: RawObject, *path: str) -> str:
    """A text deep in an object; empty when it is not there."""
    value: Json = raw.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
