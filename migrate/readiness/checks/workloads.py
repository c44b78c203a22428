"""Rules about what runs in the cluster and on its nodes: meshes, labels, kernels, encryption, special nodes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from fnmatch import fnmatchcase

from migrate.model.documents import Fact
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.readiness import limits
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.readiness.seen import for_aks, is_on, may_run, minor, runs, target
from migrate.scan.inventory.look import counted, dig, items, label, text
from migrate.translate.limits_identities import PodIdentities
from migrate.translate.limits_settings import settings_of
from migrate.translate.profiles import label_is_identity_relevant

_PROXIES = ("istio-proxy", "linkerd-proxy", "envoy-sidecar", "kuma-sidecar", "osm-proxy")
_AMBIENT = "ztunnel"
_GATEWAY_LABEL, _GATEWAY = "istio", "egressgateway"
_POOLS = ("spec", "agentPoolProfiles")
_NETWORK = ("spec", "networkProfile")
_OVERLAY_HAS_NONE = "Standard_DC*s_v2"
_CONFIDENTIAL = ("Standard_DC*a*_v[5-9]", "Standard_EC*a*_v[5-9]", "Standard_DC*e*_v[5-9]", "Standard_EC*e*_v[5-9]")
_SANDBOXED = "Kata"
_HOST_ROUTED = ("Ubuntu2404", "AzureLinux3")
_IS_RHEL = ".el8"


def _mesh(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    meshes = [fact for fact in _known(documents, "service-mesh") if fact.state == "active"]
    sidecars = sum(_has_proxy(raw) for raw in documents.by_kind.get("Pod", ()))
    ambient = any(raw.ref.name == _AMBIENT for raw in documents.by_kind.get("DaemonSet", ()))
    for fact in meshes:
        said = [f"{fact.value} runs", *([fact.detail] if fact.detail else [])]
        said += [f"{counted(sidecars, 'pod')} with a sidecar"] if sidecars else []
        said += ["in ambient mode, with ztunnel on every node"] if ambient and fact.value == "istio" else []
        yield Finding(id="WRK-MESH", detail=", ".join(said), effect=Effect.UNKNOWN)
    if not meshes:
        yield from _in_doubt(documents, "service-mesh")


def _has_proxy(raw: RawObject) -> bool:
    spec = dig(raw.data, "spec")
    containers = [*items(dig(spec, "containers")), *items(dig(spec, "initContainers"))]
    return any(dig(container, "name") in _PROXIES for container in containers)


def _egress_gateway(documents: Documents, today: date) -> Iterator[Finding]:
    """Istio's egress gateways, where L7 policies are or can be written for their pods too."""
    for raw in documents.by_kind.get("Deployment", ()):
        labels = dig(raw.data, "spec", "template", "metadata", "labels", _GATEWAY_LABEL)
        if labels == _GATEWAY or raw.ref.name.startswith("istio-egressgateway"):
            detail = "an egress gateway of Istio: what passes it is judged as its own traffic, at L7 by Istio only"
            yield Finding(id="WRK-EGRESS-GATEWAY", detail=detail, effect=Effect.UNKNOWN, subject=raw.ref, at=raw.at())


def _churn(documents: Documents, today: date) -> Iterator[Finding]:
    """Labels of single runs that make an identity each, and the number of identities that there are now."""
    profile = target(documents)
    identities = len(PodIdentities(documents.cluster, settings_of(profile, documents.cluster)).identities)
    limit = limits.number("identities_over_time")
    if identities > limit:
        detail = f"the pods of today have {identities} identities; {profile.identities} is the limit"
        yield Finding(id="WRK-IDENTITY-CHURN", detail=detail, effect=Effect.UNKNOWN)
    pods = [pod for pod in documents.cluster.pods if not pod.host_network]
    for key in limits.platform().labels:
        values = {value for pod in pods if (value := pod.labels.get(key)) is not None}
        if len(values) >= limits.number("churning_values") and label_is_identity_relevant(profile, key):
            detail = f"label {key} has {len(values)} values on pods that are there now, and a new one with each run"
            yield Finding(id="WRK-IDENTITY-CHURN", detail=detail, effect=Effect.UNKNOWN)


def _kernel(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    release = minor(target(documents).crds)
    known = [one for one in limits.platform().kernels if release is None or (minor(one.cilium) or (0, 0)) <= release]
    needed = max(known, key=lambda one: minor(one.cilium) or (0, 0))
    for raw in documents.by_kind.get("Node", ()):
        kernel = text(raw, "status", "nodeInfo", "kernelVersion") or _kernel_by_dump(documents, raw.ref.name)
        if (
            text(raw, "status", "nodeInfo", "operatingSystem") == "windows"
            or label(raw, "kubernetes.io/os") == "windows"
        ):
            continue
        lowest = needed.kernels_of_rhel if _IS_RHEL in kernel else needed.kernel
        if not kernel:
            yield Missing(f"the kernel of {raw.ref.name}: `uname -r` there")
        elif _numbers(kernel) < _numbers(lowest):
            detail = f"it has kernel {kernel}; Cilium {needed.cilium} and newer need {lowest}"
            yield Finding(id="WRK-KERNEL", detail=detail, effect=Effect.UNKNOWN, subject=raw.ref, at=raw.at())


def _kernel_by_dump(documents: Documents, name: str) -> str:
    """What the node itself says; empty when nobody asked it."""
    nodes = documents.nodes.nodes if documents.nodes is not None else ()
    facts = (fact for node in nodes if node.name == name for fact in node.facts)
    return next((fact.value for fact in facts if fact.topic == "kernel"), "")


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 5.15.0-1090-azure is 5, 15, 0."""
    numbers = (part for part in version.partition("-")[0].split("."))
    return tuple(int(part) for part in numbers if part.isdecimal())


def _special_nodes(documents: Documents, today: date) -> Iterator[Finding]:
    azure = documents.azure
    for pool in items(dig(azure.data, *_POOLS)) if azure is not None else ():
        size, runtime = str(dig(pool, "vmSize") or ""), str(dig(pool, "workloadRuntime") or "")
        said = []
        if fnmatchcase(size, _OVERLAY_HAS_NONE):
            said.append(f"{size} does not work with overlay")
        if any(fnmatchcase(size, form) for form in _CONFIDENTIAL):
            said.append(f"{size} are confidential machines, which eBPF host routing does not take")
        if runtime.startswith(_SANDBOXED):
            said.append(f"{runtime} sandboxes pods, which eBPF host routing does not take")
        for one in said:
            yield _of_azure(documents, "WRK-CONFIDENTIAL-SANDBOX", f"pool {dig(pool, 'name')}: {one}")
    if azure is not None and dig(azure.data, "spec", "addonProfiles", "aciConnectorLinux", "enabled") is True:
        yield _of_azure(documents, "WRK-CONFIDENTIAL-SANDBOX", "virtual nodes do not work with overlay")


def _host_routing(documents: Documents, today: date) -> Iterator[Finding]:
    """What stands against eBPF host routing, where Azure says that it is wanted."""
    azure = documents.azure
    mode = "" if azure is None else text(azure, *_NETWORK, "advancedNetworking", "performance", "accelerationMode")
    if azure is None or mode.lower() != "bpfveth":
        return
    version, first = minor(text(azure, "spec", "currentKubernetesVersion")), limits.version("host_routing_kubernetes")
    against = [f"it needs Kubernetes {first[0]}.{first[1]}"] if version is not None and version < first else []
    for pool in items(dig(azure.data, *_POOLS)):
        if dig(pool, "osSku") not in _HOST_ROUTED:
            against.append(f"pool {dig(pool, 'name')} runs {dig(pool, 'osSku')}")
    if text(azure, "spec", "serviceMeshProfile", "mode") == "Istio":
        against.append("the Istio add-on is on")
    if len(items(dig(azure.data, *_NETWORK, "ipFamilies"))) > 1:
        against.append("the cluster is dual-stack")
    for one in against:
        yield _of_azure(documents, "WRK-HOST-ROUTING", f"eBPF host routing is asked for, and {one}")


def _local_dns(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    caches = list(documents.facts("node-local-dns"))
    for fact in caches:
        shown = f" ({fact.detail})" if fact.detail else ""
        yield Finding(id="WRK-LOCAL-DNS", detail=f"{fact.value} answers DNS on the nodes{shown}", effect=Effect.UNKNOWN)
    if not caches:
        yield from _in_doubt(documents, "node-local-dns")


def _wire_guard(documents: Documents, today: date) -> Iterator[Finding]:
    for raw in documents.by_kind.get("FelixConfiguration", ()):
        for key in ("wireguardEnabled", "wireguardEnabledV6"):
            if dig(raw.data, "spec", key) is True:
                detail = "Calico encrypts between nodes with WireGuard, and Cilium does so only when it is told to"
                yield Finding(id="WRK-WIREGUARD", detail=detail, subject=raw.ref, field=f"spec.{key}", at=raw.at())


def _endpoint_slices(documents: Documents, today: date) -> Iterator[Finding]:
    versions = [version for fact in documents.facts("kubernetes-version") if (version := minor(fact.value))]
    first = limits.version("endpoint_slices_kubernetes")
    if versions and max(versions) < first and not runs(documents, "cilium"):
        pods = len(documents.by_kind.get("Pod", ()))
        detail = f"without CiliumEndpointSlice each of {pods} pods is an object that every node watches"
        yield Finding(id="WRK-ENDPOINT-SLICES", detail=detail)


def _known(documents: Documents, topic: str) -> list[Fact]:
    return [fact for fact in documents.header.facts if fact.topic == topic] if documents.header else []


def _in_doubt(documents: Documents, topic: str) -> Iterator[Missing]:
    """What would tell, where the snapshot does not."""
    for fact in _known(documents, topic):
        if fact.state == "unknown":
            yield Missing(f"{topic}: {fact.detail}")


def _of_azure(documents: Documents, identity: str, detail: str) -> Finding:
    azure = documents.azure
    return Finding(id=identity, detail=detail, subject=None if azure is None else azure.ref)


def _on_aks(documents: Documents) -> bool:
    """Nodes of AKS say so; without nodes nobody knows."""
    return is_on(documents, "aks") or not documents.by_kind.get("Node")


def _takes_requests(documents: Documents) -> bool:
    """Whether there are or can be L7 policies; Azure may not have been asked."""
    asked = [fact for fact in _known(documents, "acns") if fact.state == "unknown" or fact.value == "l7"]
    return target(documents).l7 or bool(asked)


def _on_calico(documents: Documents) -> bool:
    return may_run(documents, "calico")


_SNAPSHOT = (Need.SNAPSHOT,)
_AZURE = (Need.SNAPSHOT, Need.AZURE)
CHECKS = (
    Check("WRK-MESH", _mesh),
    Check("WRK-EGRESS-GATEWAY", _egress_gateway, kinds=("Deployment",), concerns=_takes_requests),
    Check("WRK-IDENTITY-CHURN", _churn, kinds=("Pod",)),
    Check("WRK-KERNEL", _kernel, kinds=("Node",)),
    Check("WRK-CONFIDENTIAL-SANDBOX", _special_nodes, needs=_AZURE, concerns=_on_aks),
    Check("WRK-HOST-ROUTING", _host_routing, needs=_AZURE, concerns=_on_aks),
    Check("WRK-LOCAL-DNS", _local_dns),
    Check("WRK-WIREGUARD", _wire_guard, kinds=("FelixConfiguration",), concerns=_on_calico),
    Check("WRK-ENDPOINT-SLICES", _endpoint_slices, kinds=("Node",), concerns=for_aks),
)
