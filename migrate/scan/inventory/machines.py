"""Nodes, versions and numbers: what the cluster is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from migrate.model.documents import Evidence, Fact
from migrate.model.raw import FieldPath, RawObject
from migrate.scan.inventory.gather import POLICY_KINDS, STAGED_KINDS, Inventory
from migrate.scan.inventory.look import counted, dig, evidence, first_few, items, label, text

AKS_LABEL = "kubernetes.azure.com/cluster"
IMAGE_LABEL = "kubernetes.azure.com/node-image-version"
_POOL_LABELS = ("kubernetes.azure.com/agentpool", "agentpool")
_NODE_INFO = ("status", "nodeInfo")
_POOLS = ("spec", "agentPoolProfiles")
_MANAGED = {"eks.amazonaws.com/nodegroup": "eks", "cloud.google.com/gke-nodepool": "gke"}
_PROVIDERS = {"azure": "azure", "aws": "aws", "gce": "gcp", "kind": "kind", "k3s": "k3s"}
_ASK_NODES = "no nodes were read; `kubectl get nodes -o yaml` would tell"


def machine_facts(inventory: Inventory) -> list[Fact]:
    """Facts about the cloud, versions, node systems and the numbers of things."""
    nodes = inventory.all("Node")
    return [
        *_cloud(inventory),
        *_versions(inventory),
        *_systems(inventory),
        *_per_value("node-kernel", [(node, (*_NODE_INFO, "kernelVersion")) for node in nodes]),
        *_images(inventory),
        *_windows(inventory),
        *_counts(inventory),
    ]


def is_aks(inventory: Inventory) -> bool:
    """Whether Azure itself or the labels of its managed nodes say that this is AKS."""
    return inventory.azure is not None or any(label(node, AKS_LABEL) for node in inventory.all("Node"))


def azure_pools(inventory: Inventory) -> Iterable[tuple[RawObject, FieldPath]]:
    """The Azure object and the path of each of its node pools."""
    azure = inventory.azure
    if azure is not None:
        for index in range(len(items(dig(azure.data, *_POOLS)))):
            yield azure, (*_POOLS, index)


def grouped(places: Iterable[tuple[RawObject, FieldPath]]) -> Mapping[str, list[Evidence]]:
    """The distinct values at some places, each with its evidence; places without a value are left out."""
    found: dict[str, list[Evidence]] = {}
    for raw, path in places:
        if value := text(raw, *path):
            found.setdefault(value, []).append(evidence(raw, *path))
    return dict(sorted(found.items()))


def _per_value(topic: str, places: Sequence[tuple[RawObject, FieldPath]], noun: str = "node") -> list[Fact]:
    found = [
        Fact(topic=topic, value=value, detail=counted(len(shown), noun), evidence=first_few(shown))
        for value, shown in grouped(places).items()
    ]
    return found or [Fact(topic=topic, value="unknown", state="unknown", detail=_ASK_NODES)]


def _cloud(inventory: Inventory) -> list[Fact]:
    found: dict[str, list[Evidence]] = {}
    if inventory.azure is not None:
        found.setdefault("aks", []).append(evidence(inventory.azure, "spec", "name"))
    for node in inventory.all("Node"):
        cloud, shown = _cloud_of(node)
        if cloud:
            found.setdefault(cloud, []).append(shown)
    facts = [Fact(topic="cloud", value=cloud, evidence=first_few(shown)) for cloud, shown in found.items()]
    detail = "neither node labels nor spec.providerID name a cloud" if inventory.all("Node") else _ASK_NODES
    return facts or [Fact(topic="cloud", value="unknown", state="unknown", detail=detail)]


def _cloud_of(node: RawObject) -> tuple[str, Evidence]:
    for key, cloud in {AKS_LABEL: "aks", **_MANAGED}.items():
        if label(node, key):
            return cloud, evidence(node, "metadata", "labels", key)
    scheme = text(node, "spec", "providerID").partition("://")[0]
    return _PROVIDERS.get(scheme, ""), evidence(node, "spec", "providerID")


def _versions(inventory: Inventory) -> list[Fact]:
    azure = inventory.azure
    facts = []
    if azure is not None and (version := text(azure, "spec", "currentKubernetesVersion")):
        shown = (evidence(azure, "spec", "currentKubernetesVersion"),)
        facts.append(Fact(topic="kubernetes-version", value=version, detail="control plane", evidence=shown))
    nodes = [(node, (*_NODE_INFO, "kubeletVersion")) for node in inventory.all("Node")]
    kubelets = _per_value("kubernetes-version", nodes, "kubelet")
    return facts + [fact for fact in kubelets if fact.state == "active" or not facts]


def _systems(inventory: Inventory) -> list[Fact]:
    """The operating systems of nodes; from Azure's node pools when no nodes were read."""
    nodes = inventory.all("Node")
    if nodes or inventory.azure is None:
        return _per_value("node-os", [(node, (*_NODE_INFO, "osImage")) for node in nodes])
    return _per_value("node-os", [(raw, (*path, "osSku")) for raw, path in azure_pools(inventory)], "node pool")


def _images(inventory: Inventory) -> list[Fact]:
    """Node images of AKS; elsewhere a node has none by name."""
    if not is_aks(inventory):
        return []
    nodes = [(node, ("metadata", "labels", IMAGE_LABEL)) for node in inventory.all("Node")]
    pools = [(raw, (*path, "nodeImageVersion")) for raw, path in azure_pools(inventory)]
    running = grouped(nodes)
    others = [(raw, path) for raw, path in pools if text(raw, *path) not in running]
    found = _per_value("node-image", nodes) if running else []
    return [*found, *_per_value("node-image", others, "node pool")] if others or not found else found


def _windows(inventory: Inventory) -> list[Fact]:
    found: dict[str, list[Evidence]] = {}
    for node in inventory.all("Node"):
        if text(node, *_NODE_INFO, "operatingSystem") == "windows" or label(node, "kubernetes.io/os") == "windows":
            pool = next((name for key in _POOL_LABELS if (name := label(node, key))), node.ref.name)
            found.setdefault(pool, []).append(evidence(node, *_NODE_INFO, "operatingSystem"))
    for raw, path in azure_pools(inventory):
        if text(raw, *path, "osType") == "Windows":
            found.setdefault(text(raw, *path, "name"), []).append(evidence(raw, *path, "osType"))
    if found:
        return [Fact(topic="windows-pool", value=pool, evidence=first_few(found[pool])) for pool in found]
    silent = [str(path[-1]) for raw, path in azure_pools(inventory) if not text(raw, *path, "osType")]
    if silent:
        detail = f"Azure does not say the osType of pool number {', '.join(str(int(one) + 1) for one in silent)}"
        return [Fact(topic="windows-pool", value="unknown", state="unknown", detail=detail)]
    if inventory.all("Node") or any(azure_pools(inventory)):
        return [Fact(topic="windows-pool", value="none", state="absent", detail="every node or pool is Linux")]
    return [Fact(topic="windows-pool", value="unknown", state="unknown", detail=_ASK_NODES)]


def _counts(inventory: Inventory) -> list[Fact]:
    pods = inventory.pods
    of_pods = f"{pods.running} running, {pods.on_host} on their node's network"
    facts = [
        _count("node-count", inventory, "Node", len(inventory.all("Node")), "nodes"),
        _count("pod-count", inventory, "Pod", pods.total, "pods -A", of_pods),
    ]
    for kind in (*POLICY_KINDS, *STAGED_KINDS):
        versions = [raw.ref.api_version for raw in inventory.all(kind)]
        facts += [_policy_count(kind, version, versions.count(version)) for version in sorted(set(versions))]
    if not any(fact.topic == "policy-count" for fact in facts):
        detail = "no policy of any kind"
        facts.append(_count("policy-count", inventory, "NetworkPolicy", 0, "networkpolicies -A", detail))
    return facts


def _count(topic: str, inventory: Inventory, kind: str, number: int, plural: str, detail: str = "") -> Fact:
    if not number and not inventory.was_read(kind):
        tell = f"no {kind} was read; `kubectl get {plural}` would tell"
        return Fact(topic=topic, value="unknown", state="unknown", detail=tell)
    return Fact(topic=topic, value=str(number), detail=detail)


def _policy_count(kind: str, version: str, number: int) -> Fact:
    shown = (Evidence(object=f"{version} {kind}", field="count", value=str(number)),)
    return Fact(topic="policy-count", value=f"{kind} ({version}): {number}", evidence=shown)
