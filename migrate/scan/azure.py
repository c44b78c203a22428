"""What Azure says about a cluster: the output of `az aks show -o json`, cut to what the readiness rules read."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from migrate.errors import InputError
from migrate.model.documents import API_VERSION
from migrate.model.raw import Json, RawObject
from migrate.scan.inventory import AZURE_KIND

_COMMAND = "az aks show --resource-group GROUP --name CLUSTER -o json"


@dataclass(frozen=True, slots=True)
class Words:
    """A field that holds one of some words. Azure takes them in any case, and prints what was typed or its own."""

    known: tuple[str, ...]

    def of(self, value: Json) -> Json:
        """The word as rules know it; anything else as it is."""
        said = value.strip().lower() if isinstance(value, str) else None
        return next((word for word in self.known if word.lower() == said), value)


Kept: TypeAlias = "Mapping[str, Kept] | Sequence[Kept] | Words | None"
_ANY = "*"
"""Stands for every key of a mapping."""
_LINUX = ("Ubuntu", "Ubuntu2204", "Ubuntu2404", "AzureLinux", "AzureLinux3", "CBLMariner", "Mariner")
_SYSTEMS = (*_LINUX, "Windows2019", "Windows2022", "Windows2025")

_SHAPE: Mapping[str, Kept] = {
    "name": None,
    "resourceGroup": None,
    "location": None,
    "provisioningState": None,
    "powerState": {"code": None},
    "supportPlan": None,
    "kubernetesVersion": None,
    "currentKubernetesVersion": None,
    "identity": {"type": Words(("SystemAssigned", "UserAssigned", "None"))},
    "networkProfile": {
        "networkPlugin": Words(("azure", "kubenet", "none")),
        "networkPluginMode": Words(("overlay",)),
        "networkPolicy": Words(("azure", "calico", "cilium", "none")),
        "networkDataplane": Words(("azure", "cilium")),
        "podCidr": None,
        "podCidrs": None,
        "serviceCidr": None,
        "serviceCidrs": None,
        "dnsServiceIp": None,
        "ipFamilies": None,
        "outboundType": None,
        "loadBalancerSku": None,
        "kubeProxyConfig": {"enabled": None, "mode": None},
        "advancedNetworking": {
            "enabled": None,
            "observability": {"enabled": None},
            "security": {"enabled": None, "advancedNetworkPolicies": Words(("L7", "FQDN", "None"))},
            "performance": {"accelerationMode": None},
        },
    },
    "agentPoolProfiles": [
        {
            "name": None,
            "osType": Words(("Linux", "Windows")),
            "osSku": Words(_SYSTEMS),
            "mode": Words(("System", "User", "Gateway")),
            "type": Words(("VirtualMachineScaleSets", "AvailabilitySet", "VirtualMachines")),
            "vmSize": None,
            "workloadRuntime": None,
            "scaleSetPriority": None,
            "provisioningState": None,
            "powerState": {"code": None},
            "enableAutoScaling": None,
            "count": None,
            "minCount": None,
            "maxCount": None,
            "maxPods": None,
            "vnetSubnetId": None,
            "podSubnetId": None,
            "currentOrchestratorVersion": None,
            "nodeImageVersion": None,
            "upgradeSettings": None,
            "virtualMachinesProfile": {
                "scale": {
                    "manual": [{"count": None, "size": None}],
                    "autoscale": {"minCount": None, "maxCount": None, "size": None},
                }
            },
            "localDnsProfile": {
                "mode": Words(("Required", "Preferred", "Disabled")),
                "state": Words(("Enabled", "Disabled")),
            },
        }
    ],
    "nodeProvisioningProfile": {"mode": Words(("Auto", "Manual"))},
    "serviceMeshProfile": {"mode": Words(("Istio", "Disabled")), "istio": {"revisions": None}},
    "addonProfiles": {_ANY: {"enabled": None}},
}
"""None keeps a value whole, and Words one of some words.

Everything else (addresses, identities, keys of add-ons) never leaves this module."""


def read_az(path: Path) -> RawObject:
    """The managed cluster as an object of its own kind. Raises InputError when the file is something else."""
    value = read_json(path)
    if isinstance(value, list):
        raise InputError(f"{path}: a list, as az aks list prints it, where one cluster is needed; use {_COMMAND}")
    if not isinstance(value, dict) or not isinstance(value.get("networkProfile"), dict):
        raise InputError(f"{path}: no networkProfile in it, so not a cluster of AKS; make it with {_COMMAND}")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: the cluster has no name; give the whole output of {_COMMAND}")
    spec = cut(value, _SHAPE)
    return RawObject(
        {"apiVersion": API_VERSION, "kind": AZURE_KIND, "metadata": {"name": name}, "spec": spec}, str(path)
    )


def read_json(path: Path) -> Json:
    """What a command of the Azure CLI printed into a file. Raises InputError when it is no JSON."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
    try:
        value: Json = msgspec.json.decode(_as_text(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); make it with {_COMMAND}") from error
    return value


def _as_text(body: bytes) -> str:
    """The text without its mark; PowerShell writes UTF-16 when output is redirected."""
    return body.decode("utf-16" if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def cut(value: Json, shape: Kept) -> Json:
    """The fields of a value that are in the shape; what should hold others and does not is left out as not said."""
    if isinstance(shape, Words):
        return shape.of(value)
    if isinstance(value, dict) and isinstance(shape, Mapping):
        wanted = dict.fromkeys(value, shape[_ANY]) if _ANY in shape else shape
        return {
            key: cut(value[key], inner) for key, inner in wanted.items() if key in value and _fits(value[key], inner)
        }
    if isinstance(value, list) and isinstance(shape, Sequence):
        return [cut(item, shape[0]) for item in value]
    return value if shape is None or value is None else None


def _fits(value: Json, shape: Kept) -> bool:
    """Whether a value has the form of the shape, or is null."""
    if value is None or shape is None or isinstance(shape, Words):
        return True
    return isinstance(value, dict if isinstance(shape, Mapping) else list)
