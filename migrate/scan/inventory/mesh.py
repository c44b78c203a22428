"""Service meshes, a Cilium that is there already, and what AKS lets its policies say."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.documents import Fact
from migrate.scan.inventory.gather import Inventory
from migrate.scan.inventory.look import dig, evidence, text
from migrate.scan.inventory.machines import is_aks
from migrate.scan.inventory.sightings import Sighting, with_role

_ISTIO = ("spec", "serviceMeshProfile", "mode")
_OPEN_SERVICE_MESH = ("spec", "addonProfiles", "openServiceMesh", "enabled")
_ADVANCED = ("spec", "networkProfile", "advancedNetworking")
_ADVANCED_ENABLED = (*_ADVANCED, "enabled")
_SECURITY_ENABLED = (*_ADVANCED, "security", "enabled")
_ADVANCED_POLICIES = (*_ADVANCED, "security", "advancedNetworkPolicies")
_NOT_READ = "not every workload and node was read; `kubectl get daemonsets,deployments,nodes -A -o yaml` would tell"


def mesh_facts(inventory: Inventory, seen: Sequence[Sighting]) -> list[Fact]:
    """One fact for each service mesh, or that there is none."""
    found = {sighting.id: sighting.fact("service-mesh") for sighting in with_role(seen, "service-mesh")}
    azure = inventory.azure
    if azure is not None and text(azure, *_ISTIO) == "Istio":
        said = Fact(topic="service-mesh", value="istio", detail="AKS add-on", evidence=(evidence(azure, *_ISTIO),))
        found.setdefault("istio", said)
    if azure is not None and dig(azure.data, *_OPEN_SERVICE_MESH) is True:
        shown = (evidence(azure, *_OPEN_SERVICE_MESH),)
        found.setdefault("osm", Fact(topic="service-mesh", value="osm", detail="AKS add-on", evidence=shown))
    if found:
        return list(found.values())
    if inventory.shows_workloads and inventory.was_read("Deployment"):
        return [Fact(topic="service-mesh", value="none", state="absent", detail="no control plane of a known mesh")]
    return [Fact(topic="service-mesh", value="unknown", state="unknown", detail=_NOT_READ)]


def cilium_fact(inventory: Inventory, engines: Sequence[Sighting]) -> Fact:
    """Whether Cilium is in the cluster already; the value is its version when an image names one."""
    for sighting in engines:
        if sighting.id == "cilium":
            value = sighting.version or "version unknown"
            said = ", ".join(sighting.details)
            return Fact(topic="cilium", value=value, state=sighting.state, detail=said, evidence=sighting.evidence)
    if inventory.shows_workloads:
        return Fact(topic="cilium", value="none", state="absent", detail="no DaemonSet and no kind of it")
    return Fact(topic="cilium", value="unknown", state="unknown", detail=_NOT_READ)


def acns_facts(inventory: Inventory) -> list[Fact]:
    """Which policies of Advanced Container Networking Services an AKS cluster takes: "fqdn", "l7" (both) or "none"."""
    azure = inventory.azure
    if azure is None:
        detail = "`az aks show -o json`, given with --az-json, would tell"
        return [Fact(topic="acns", value="unknown", state="unknown", detail=detail)] if is_aks(inventory) else []
    shown = tuple(evidence(azure, *path) for path in (_ADVANCED_ENABLED, _SECURITY_ENABLED, _ADVANCED_POLICIES))
    if not all(dig(azure.data, *path) is True for path in (_ADVANCED_ENABLED, _SECURITY_ENABLED)):
        return [Fact(topic="acns", value="none", state="absent", evidence=shown)]
    value = text(azure, *_ADVANCED_POLICIES).lower()
    if value == "none":
        return [Fact(topic="acns", value=value, state="absent", evidence=shown)]
    detail = "" if value else "Azure names none, and FQDN is what it then takes"
    return [Fact(topic="acns", value=value or "fqdn", detail=detail, evidence=shown)]
