"""The nodes of a live cluster, and which of them can be read by a pod."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import quote

import msgspec

from migrate.errors import InputError
from migrate.model.node_documents import System
from migrate.scan.reader import Reader

_PAGE = 500
_VIRTUAL_TAINT = "virtual-kubelet.io/provider"
_VIRTUAL_TYPE = "virtual-kubelet"


@dataclass(frozen=True, slots=True, order=True)
class ClusterNode:
    """A node; `cannot` says why no pod can read it, empty when one can. `kernel` is empty where it is not told."""

    name: str
    system: System
    cannot: str = ""
    is_virtual: bool = False
    kernel: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    labels: dict[str, str] = {}


class _Taint(msgspec.Struct, frozen=True):
    key: str = ""


class _Spec(msgspec.Struct, frozen=True):
    taints: tuple[_Taint, ...] = ()


class _Condition(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    operating_system: str = "linux"
    kernel_version: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    conditions: tuple[_Condition, ...] = ()
    node_info: _Info = _Info()


class _Node(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _ListMeta(msgspec.Struct, frozen=True):
    token: str = msgspec.field(default="", name="continue")


class _Nodes(msgspec.Struct, frozen=True):
    items: tuple[_Node, ...] = ()
    metadata: _ListMeta = _ListMeta()


def nodes_of(reader: Reader, wanted: tuple[str, ...]) -> tuple[ClusterNode, ...]:
    """The nodes of these names, or all, by name. Raises RequestError, and InputError for a name that no node has."""
    found = sorted(_read(node) for page in _pages(reader) for node in page.items)
    names = {node.name for node in found}
    for name in wanted:
        if name not in names:
            near = get_close_matches(name, sorted(names))
            hint = f"did you mean {' or '.join(near)}?" if near else "kubectl get nodes shows which there are"
            raise InputError(f"--node {name}: the cluster has no such node; {hint}")
    return tuple(node for node in found if not wanted or node.name in wanted)


def _pages(reader: Reader) -> list[_Nodes]:
    pages: list[_Nodes] = []
    token = ""
    while True:
        more = f"&continue={quote(token, safe='')}" if token else ""
        page = reader.fetch(f"/api/v1/nodes?limit={_PAGE}{more}", lambda body: msgspec.json.decode(body, type=_Nodes))
        pages.append(page)
        token = page.metadata.token
        if not token:
            return pages


def _read(node: _Node) -> ClusterNode:
    info = node.status.node_info
    return ClusterNode(
        name=node.metadata.name,
        system="windows" if info.operating_system.lower() == "windows" else "linux",
        cannot=_obstacle(node),
        is_virtual=_is_virtual(node),
        kernel=info.kernel_version,
        labels=tuple(sorted(node.metadata.labels.items())),
    )


def _is_virtual(node: _Node) -> bool:
    labelled = node.metadata.labels.get("type") == _VIRTUAL_TYPE
    return labelled or any(taint.key == _VIRTUAL_TAINT for taint in node.spec.taints)


def _obstacle(node: _Node) -> str:
    if _is_virtual(node):
        return "it is a virtual node: no machine of the cluster is behind it, and no pod can look at its rules"
    ready = next((condition for condition in node.status.conditions if condition.type == "Ready"), None)
    if ready is None or ready.status != "True":
        why = "its kubelet never reported" if ready is None else ready.message or ready.reason or "no reason is given"
        since = f" since {ready.last_transition_time}" if ready is not None and ready.last_transition_time else ""
        return f"it is not ready{since} ({why})"
    return ""
