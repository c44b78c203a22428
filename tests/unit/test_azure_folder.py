"""A folder with what Azure says: which commands are told by what they print, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.model.raw import Json
from migrate.scan.azure_folder import read_azure

CLUSTER: Json = {"name": "prod", "networkProfile": {"networkPlugin": "azure"}}
NETWORK: Json = {
    "name": "vnet1",
    "id": "/subscriptions/42",
    "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
    "virtualNetworkPeerings": [
        {
            "name": "hub",
            "remoteAddressSpace": {"addressPrefixes": ["192.168.0.0/16"]},
            "remoteVirtualNetwork": {"id": "x"},
        }
    ],
    "dhcpOptions": {"dnsServers": ["10.0.0.4"]},
}
USAGE: Json = [{"name": {"value": "cores", "localizedValue": "x"}, "currentValue": "4", "limit": "10", "unit": "Count"}]
VERSION: Json = {"azure-cli": "2.70.0", "azure-cli-core": "2.70.0", "extensions": {"aks-preview": "14.0.0"}}


def folder(place: Path, **files: Json) -> Path:
    for name, value in files.items():
        (place / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return place


def test_a_file_is_the_cluster_alone(tmp_path: Path) -> None:
    (raw,) = read_azure(folder(tmp_path, cluster=CLUSTER) / "cluster.json")
    assert str(raw.ref) == "AzureManagedCluster prod"


def test_each_output_is_told_by_its_fields_and_cut(tmp_path: Path) -> None:
    table: Json = [{"name": "table", "routes": [{"name": "r", "addressPrefix": "0.0.0.0/0", "id": "x"}], "tags": {}}]
    place = folder(tmp_path, a=CLUSTER, b=NETWORK, c=USAGE, d=VERSION, e=table)
    (place / "notes.txt").write_text("not read")
    specs = {str(raw.ref): raw.data["spec"] for raw in read_azure(place)}
    peering = {"name": "hub", "remoteAddressSpace": {"addressPrefixes": ["192.168.0.0/16"]}}
    assert specs == {
        "AzureManagedCluster prod": CLUSTER,
        "AzureVirtualNetwork vnet1": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
            "virtualNetworkPeerings": [peering],
        },
        "AzureUsage c": {"usages": [{"name": {"value": "cores"}, "currentValue": "4", "limit": "10"}]},
        "AzureCliVersion d": {"azure-cli": "2.70.0", "extensions": {"aks-preview": "14.0.0"}},
        "AzureRouteTable table": {"routes": [{"name": "r", "addressPrefix": "0.0.0.0/0"}]},
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param({"version": VERSION}, "none of its .json files is a cluster", id="no cluster"),
        pytest.param({}, "none of its .json files is a cluster", id="nothing at all"),
        pytest.param({"a": CLUSTER, "b": CLUSTER}, r"several clusters of AKS \(prod, prod\)", id="two clusters"),
        pytest.param({"a": CLUSTER, "b": {"name": "x"}}, "b.json: not the output", id="another command"),
        pytest.param({"a": CLUSTER, "b": "text"}, "b.json: not the output", id="a text"),
    ],
)
def test_what_is_refused(files: dict[str, Json], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_azure(folder(tmp_path, **files))
