"""The objects of a run of agents, as they are sent to the API server and shown to people."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from string import Template

import msgspec
import yaml

from migrate.control.settings import settings_text
from migrate.model.agent_documents import (
    BPFFS_FOLDER,
    BPFFS_VARIABLE,
    CONTAINER,
    DAEMON_SET,
    NODE_VARIABLE,
    POD_VARIABLE,
    SETTINGS_FILE,
    STORE_FOLDER,
    AgentSettings,
)
from migrate.resources import data, read_yaml

MEMORY_REQUEST, MEMORY_LIMIT = "128Mi", "384Mi"
"""For an agent: its process, about 36 MiB of maps, and what the kernel keeps of files for it (docs/audit-deploy.md)."""
NODE_CRITICAL = "system-node-critical"
_SYSTEM = ("kubernetes.io/os", "linux")


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A kind of object that a run has, and where the API server keeps it."""

    kind: str
    group: str
    plural: str
    namespaced: bool
    file: str = ""

    def collection(self, namespace: str) -> str:
        """The path that objects are created at."""
        version = "v1"
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{root}/{self.plural}"


_RBAC = "rbac.authorization.k8s.io"
NAMESPACE_KIND = ObjectKind("Namespace", "", "namespaces", False, "namespace.yaml")
PRIORITY_CLASS_KIND = ObjectKind("PriorityClass", "scheduling.k8s.io", "priorityclasses", False, "priority-class.yaml")
CONFIG_MAP_KIND = ObjectKind("ConfigMap", "", "configmaps", True, "config-map.yaml")
DAEMON_SET_KIND = ObjectKind("DaemonSet", "apps", "daemonsets", True, "daemon-set.yaml")
LEASE_KIND = ObjectKind("Lease", "coordination.k8s.io", "leases", True)
"""Made by the agents themselves."""
KINDS = (
    NAMESPACE_KIND,
    PRIORITY_CLASS_KIND,
    ObjectKind("ServiceAccount", "", "serviceaccounts", True, "service-account.yaml"),
    ObjectKind("ClusterRole", _RBAC, "clusterroles", False, "cluster-role.yaml"),
    ObjectKind("ClusterRoleBinding", _RBAC, "clusterrolebindings", False, "cluster-role-binding.yaml"),
    ObjectKind("Role", _RBAC, "roles", True, "role.yaml"),
    ObjectKind("RoleBinding", _RBAC, "rolebindings", True, "role-binding.yaml"),
    CONFIG_MAP_KIND,
    DAEMON_SET_KIND,
)
"""In the order in which they are made."""


@dataclass(frozen=True, slots=True)
class AgentWishes:
    """What agents run, where and with what. `priority` is that of a PriorityClass of their own, made for the run.

    `capabilities` are those beside the ones that every agent has, `pull_secrets` names of Secrets in the namespace.
    """

    settings: AgentSettings
    image: str
    node_selector: tuple[tuple[str, str], ...] = ()
    priority_class: str = ""
    priority: int | None = None
    capabilities: tuple[str, ...] = ()
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object; `text` is its YAML, with the reasons for what it asks."""

    kind: ObjectKind
    namespace: str
    name: str
    text: str

    @property
    def path(self) -> str:
        """The path of the object itself."""
        return f"{self.kind.collection(self.namespace)}/{self.name}"

    @property
    def body(self) -> bytes:
        """The object as the API server is asked for it."""
        return msgspec.json.encode(yaml.load(self.text, Loader=yaml.CSafeLoader))

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.name}"


class Capability(msgspec.Struct, frozen=True):
    """A capability of Linux that agents have or may be given, and what for."""

    name: str
    why: str


class _Capabilities(msgspec.Struct, frozen=True):
    needed: tuple[Capability, ...]
    optional: tuple[Capability, ...]


class NodeLabel(msgspec.Struct, frozen=True):
    """A label of nodes that are no machines."""

    key: str
    value: str


class _VirtualNodes(msgspec.Struct, frozen=True):
    labels: tuple[NodeLabel, ...]


def needed_capabilities() -> tuple[Capability, ...]:
    """What every agent has."""
    return read_yaml(_file("capabilities.yaml"), _Capabilities).needed


def optional_capabilities() -> tuple[Capability, ...]:
    """What agents get only when asked for."""
    return read_yaml(_file("capabilities.yaml"), _Capabilities).optional


def virtual_labels() -> tuple[NodeLabel, ...]:
    """Labels that tell virtual nodes."""
    return read_yaml(_file("virtual-nodes.yaml"), _VirtualNodes).labels


def manifests(wishes: AgentWishes) -> tuple[Manifest, ...]:
    """All objects of a run, in the order in which they are made. Raises InputError where the settings are too large."""
    values = _values(wishes)
    kinds = (kind for kind in KINDS if kind is not PRIORITY_CLASS_KIND or wishes.priority is not None)
    return tuple(_manifest(kind, wishes.settings.namespace, values) for kind in kinds)


def manifests_yaml(objects: tuple[Manifest, ...]) -> str:
    """Objects as one text, for people and for kubectl."""
    return "".join(f"---\n{one.text}" for one in objects)


def agent_pod(daemon_set: Manifest) -> bytes:
    """A pod as the DaemonSet will make it, to ask whether the namespace lets it in."""
    made = msgspec.json.decode(daemon_set.body, type=_DaemonSet)
    template = made.spec.template
    name = f"{daemon_set.name}-{secrets.token_hex(3)}"
    metadata = {**template["metadata"], "name": name, "namespace": daemon_set.namespace}
    return msgspec.json.encode({"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata})


class _DaemonSetSpec(msgspec.Struct, frozen=True):
    template: dict[str, dict[str, object]]


class _DaemonSet(msgspec.Struct, frozen=True):
    spec: _DaemonSetSpec


def _manifest(kind: ObjectKind, namespace: str, values: dict[str, str]) -> Manifest:
    text = Template(_file(kind.file).read_text(encoding="utf-8")).substitute(values)
    name = namespace if kind is NAMESPACE_KIND else DAEMON_SET
    return Manifest(kind, namespace if kind.namespaced else "", name, text)


def _values(wishes: AgentWishes) -> dict[str, str]:
    """What stands for each name in the files; JSON is YAML too."""
    priority_class = DAEMON_SET if wishes.priority is not None else wishes.priority_class
    capabilities = [capability.name for capability in needed_capabilities()]
    given = {
        "name": DAEMON_SET,
        "namespace": wishes.settings.namespace,
        "run": wishes.settings.run,
        "container": CONTAINER,
        "image": wishes.image,
        "settings": settings_text(wishes.settings),
        "settings_key": PurePosixPath(SETTINGS_FILE).name,
        "settings_folder": str(PurePosixPath(SETTINGS_FILE).parent),
        "store": STORE_FOLDER,
        "node_variable": NODE_VARIABLE,
        "pod_variable": POD_VARIABLE,
        "bpffs_variable": BPFFS_VARIABLE,
        "bpffs": BPFFS_FOLDER,
        "memory_request": MEMORY_REQUEST,
        "memory_limit": MEMORY_LIMIT,
        "node_selector": dict([_SYSTEM, *wishes.node_selector]),
        "machines": list(_machines()),
        "capabilities": sorted({*capabilities, *wishes.capabilities}),
        "pull_secrets": [{"name": name} for name in wishes.pull_secrets],
    }
    quoted = {key: msgspec.json.encode(value).decode() for key, value in given.items()}
    quoted["priority"] = str(wishes.priority or 0)
    asked = f"priorityClassName: {msgspec.json.encode(priority_class).decode()}"
    quoted["priority_class"] = asked if priority_class else "# priorityClassName: only when asked for"
    return quoted


def _machines() -> Iterator[dict[str, object]]:
    """What a node's labels have to be like for it to be a machine."""
    for label in virtual_labels():
        yield {"key": label.key, "operator": "NotIn", "values": [label.value]}


def _file(name: str) -> Traversable:
    return data("rules").joinpath("audit", name)
