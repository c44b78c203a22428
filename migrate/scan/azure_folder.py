"""What else Azure says: a folder with the output of `az aks show` and of further commands.

Each file is told by its fields: `az version`, `az vm list-usage`, and `show` or `list` of `az network vnet`,
`az network nsg` and `az network route-table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migrate.errors import InputError
from migrate.model.documents import API_VERSION
from migrate.model.raw import Json, RawObject
from migrate.scan.azure import Kept, cut, read_az, read_json
from migrate.scan.inventory import AZURE_KIND

VERSION_KIND, USAGE_KIND = "AzureCliVersion", "AzureUsage"
NETWORK_KIND, GROUP_KIND, TABLE_KIND = "AzureVirtualNetwork", "AzureSecurityGroup", "AzureRouteTable"

_KNOWN = (
    "az aks show, az version, az vm list-usage, az network vnet show, az network nsg show, az network route-table show"
)
_SPACE: Kept = {"addressPrefixes": None}
_ENDS = ("sourceAddressPrefix", "sourceAddressPrefixes", "destinationAddressPrefix", "destinationAddressPrefixes")
_PORTS = ("destinationPortRange", "destinationPortRanges")
_RULE: Kept = dict.fromkeys(("name", "access", "direction", "priority", "protocol", *_ENDS, *_PORTS))


@dataclass(frozen=True, slots=True)
class _Form:
    """What a command prints: told by one of its fields, and cut to a shape."""

    kind: str
    told_by: str
    shape: Kept


_FORMS = (
    _Form(VERSION_KIND, "azure-cli", {"azure-cli": None, "extensions": None}),
    _Form(
        NETWORK_KIND,
        "addressSpace",
        {
            "addressSpace": _SPACE,
            "virtualNetworkPeerings": [
                {"name": None, "remoteAddressSpace": _SPACE, "remoteVirtualNetworkAddressSpace": _SPACE}
            ],
        },
    ),
    _Form(GROUP_KIND, "securityRules", {"securityRules": [_RULE]}),
    _Form(TABLE_KIND, "routes", {"routes": [{"name": None, "addressPrefix": None, "nextHopType": None}]}),
)
_USAGE: Kept = [{"name": {"value": None}, "currentValue": None, "limit": None}]


def read_azure(path: Path) -> tuple[RawObject, ...]:
    """The managed cluster, and from a folder whatever else is there. Raises InputError for what is something else."""
    if not path.is_dir():
        return (read_az(path),)
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(".json"))
    found = [raw for file in files for raw in _read(file)]
    clusters = [raw.ref.name for raw in found if raw.ref.kind == AZURE_KIND]
    if not clusters:
        raise InputError(f"{path}: none of its .json files is a cluster of AKS; put the output of az aks show there")
    if len(clusters) > 1:
        raise InputError(f"{path}: several clusters of AKS ({', '.join(clusters)}); leave the one that is scanned")
    return tuple(found)


def _read(file: Path) -> Iterator[RawObject]:
    value = read_json(file)
    if isinstance(value, dict) and "networkProfile" in value:
        yield read_az(file)
    elif isinstance(value, list) and value and all(isinstance(item, dict) and "limit" in item for item in value):
        yield _object(USAGE_KIND, file, file.stem, {"usages": cut(value, _USAGE)})
    else:
        for item in value if isinstance(value, list) else [value]:
            yield _known(item, file)


def _known(item: Json, file: Path) -> RawObject:
    form = next((form for form in _FORMS if isinstance(item, dict) and form.told_by in item), None)
    if form is None or not isinstance(item, dict):
        raise InputError(
            f"{file}: not the output of a command that is known here ({_KNOWN}); take it away or replace it"
        )
    name = item.get("name")
    return _object(form.kind, file, name if isinstance(name, str) and name else file.stem, cut(item, form.shape))


def _object(kind: str, file: Path, name: str, spec: Json) -> RawObject:
    return RawObject({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}, str(file))
