"""Which clusters a rule is about, and what several rules ask in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.readiness.aks import Release, release_of
from migrate.readiness.azure import ManagedCluster, Pool, managed_cluster
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Missing
from migrate.readiness.route import Route, Step, route_of
from migrate.readiness.seen import may_run
from migrate.scan.inventory.look import dig, items, text

POOL_LABELS = ("kubernetes.azure.com/agentpool", "agentpool")
"""Labels by which a node of AKS names its pool."""


def way(documents: Documents) -> Route:
    """The way of the cluster, as it was chosen."""
    return route_of(documents, documents.wishes)


def to_managed_cilium(documents: Documents) -> bool:
    """Whether the cluster goes to Azure CNI Powered by Cilium, as far as can be told."""
    target = documents.translation.target if documents.translation is not None else ""
    return way(documents).path in ("aks", "unknown") and not target.startswith("cilium-")


def to_any_cilium(documents: Documents) -> bool:
    """Whether the cluster still has to go to Cilium, whoever runs it."""
    return way(documents).path != "already-cilium"


def may_be_kubenet(documents: Documents) -> bool:
    """Whether the cluster goes to managed Cilium and has kubenet, as far as can be told."""
    return to_managed_cilium(documents) and way(documents).cni in ("kubenet", "unknown")


def has_npm(documents: Documents) -> bool:
    """Whether NPM enforces policy on Linux nodes, as far as can be told."""
    route = way(documents)
    return route.engine == "npm-linux" or (route.path == "unknown" and may_run(documents, "npm-linux"))


def takes(documents: Documents, step: Step) -> bool | None:
    """Whether the way has a step, or was wished to have it; None when the way is not known."""
    route, wishes = way(documents), documents.wishes
    if step == "overlay" and route.cni == "azure-cni-pod-subnet":
        return wishes is not None and wishes.overlay
    return None if route.path == "unknown" else route.takes(step)


def may_take_overlay(documents: Documents) -> bool:
    """Whether the cluster goes to managed Cilium by way of an overlay, as far as can be told."""
    return to_managed_cilium(documents) and takes(documents, "overlay") is not False


def way_unknown(documents: Documents) -> Iterator[Missing]:
    """What it lacks to tell the way."""
    yield from (Missing(what) for what in way(documents).missing)


def azure(documents: Documents) -> ManagedCluster:
    """What Azure said; only for rules that need it."""
    found = managed_cluster(documents)
    assert found is not None, "a rule that did not say that it needs Azure's settings"
    return found


def at_pool(cluster: ManagedCluster, pool: Pool, name: str) -> tuple[ObjectRef, str]:
    """The place of a pool's field."""
    return cluster.raw.ref, f"agentPoolProfiles[{pool.index}].{name}"


def unsaid(cluster: ManagedCluster, field: str, is_said: Callable[[Pool], bool]) -> Iterator[Missing]:
    """That pools do not say what stands in a field, or that there are no pools to say it."""
    silent = [pool.name or f"number {pool.index + 1}" for pool in cluster.pools if not is_said(pool)]
    if silent:
        yield Missing(f"{field} of pool {', '.join(silent)}, which the given settings do not say")
    if not cluster.pools:
        yield Missing("the node pools (agentPoolProfiles), which the given settings do not list")


def kubernetes_version(documents: Documents) -> tuple[str, Release] | None:
    """The control plane's version: by Azure, by the server, else the newest of the nodes."""
    cluster = managed_cluster(documents)
    header = documents.header
    said = [cluster.version if cluster is not None else "", (header.server_version or "") if header is not None else ""]
    for version in said:
        if (release := release_of(version)) is not None:
            return version, release
    kubelets = [text(node, "status", "nodeInfo", "kubeletVersion") for node in documents.by_kind.get("Node", ())]
    known = [(release, version) for version in kubelets if (release := release_of(version)) is not None]
    if not known:
        return None
    release, version = max(known)
    return version, release


VERSION_UNKNOWN = Missing("the version of Kubernetes: Azure's settings, or nodes (`kubectl get nodes -o yaml`)")


def endings(pod: RawObject) -> Iterator[str]:
    """Why containers of a pod ended the last time."""
    for status in items(dig(pod.data, "status", "containerStatuses")):
        reason = dig(status, "lastState", "terminated", "reason")
        if isinstance(reason, str):
            yield reason
