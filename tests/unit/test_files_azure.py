"""What is taken over of `az aks show -o json`, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.model.raw import Json
from migrate.scan.azure import read_az

CLUSTER: dict[str, Json] = {
    "name": "prod",
    "id": "/subscriptions/42/prod",
    "fqdn": "prod.example.com",
    "currentKubernetesVersion": "1.34.1",
    "identity": {"type": "UserAssigned", "principalId": "42"},
    "servicePrincipalProfile": {"clientId": "42", "secret": "hunter2"},
    "networkProfile": {
        "networkPlugin": "azure",
        "networkPluginMode": None,
        "advancedNetworking": {"enabled": True, "security": {"enabled": True, "advancedNetworkPolicies": "L7"}},
        "kubeProxyConfig": {"enabled": True, "mode": "IPVS", "ipvsConfig": {"scheduler": "RoundRobin"}},
        "loadBalancerProfile": {"effectiveOutboundIPs": [{"id": "/42"}]},
    },
    "agentPoolProfiles": [
        {
            "name": "one",
            "osType": "Windows",
            "vmSize": "D4",
            "osDiskSizeGb": 128,
            "upgradeSettings": {"maxSurge": "10%"},
            "localDnsProfile": {"mode": "Required", "state": "Enabled", "vnetDnsOverrides": {"a.example": {}}},
        }
    ],
    "addonProfiles": {"omsagent": {"enabled": True, "config": {"workspace": "42"}}},
    "serviceMeshProfile": {
        "mode": "Istio",
        "istio": {"revisions": ["asm-1"], "certificateAuthority": {"plugin": "42"}},
    },
}


def write(path: Path, value: Json, encoding: str = "utf-8") -> Path:
    path.write_text(json.dumps(value), encoding=encoding)
    return path


def test_only_what_the_rules_read_is_kept(tmp_path: Path) -> None:
    raw = read_az(write(tmp_path / "az.json", CLUSTER))
    assert (raw.ref.api_version, str(raw.ref)) == ("cilium-migrate/v1alpha1", "AzureManagedCluster prod")
    assert raw.source == str(tmp_path / "az.json")
    assert raw.data["spec"] == {
        "name": "prod",
        "currentKubernetesVersion": "1.34.1",
        "identity": {"type": "UserAssigned"},
        "networkProfile": {
            "networkPlugin": "azure",
            "networkPluginMode": None,
            "advancedNetworking": {"enabled": True, "security": {"enabled": True, "advancedNetworkPolicies": "L7"}},
            "kubeProxyConfig": {"enabled": True, "mode": "IPVS"},
        },
        "agentPoolProfiles": [
            {
                "name": "one",
                "osType": "Windows",
                "vmSize": "D4",
                "upgradeSettings": {"maxSurge": "10%"},
                "localDnsProfile": {"mode": "Required", "state": "Enabled"},
            }
        ],
        "addonProfiles": {"omsagent": {"enabled": True}},
        "serviceMeshProfile": {"mode": "Istio", "istio": {"revisions": ["asm-1"]}},
    }


def test_words_that_azure_takes_in_any_case_become_its_own(tmp_path: Path) -> None:
    document: Json = {
        "name": "p",
        "networkProfile": {"networkPlugin": "Azure", "networkPluginMode": "Overlay", "networkPolicy": "Calico"},
        "agentPoolProfiles": [
            {"osType": "windows", "mode": " system", "type": "availabilityset", "osSku": "AZURELINUX"}
        ],
        "nodeProvisioningProfile": {"mode": "auto"},
        "serviceMeshProfile": {"mode": ["Istio"]},
    }
    raw = read_az(write(tmp_path / "az.json", document))
    assert raw.data["spec"] == {
        "name": "p",
        "networkProfile": {"networkPlugin": "azure", "networkPluginMode": "overlay", "networkPolicy": "calico"},
        "agentPoolProfiles": [
            {"osType": "Windows", "mode": "System", "type": "AvailabilitySet", "osSku": "AzureLinux"}
        ],
        "nodeProvisioningProfile": {"mode": "Auto"},
        "serviceMeshProfile": {"mode": ["Istio"]},
    }


def test_null_is_said_and_what_is_no_profile_is_not(tmp_path: Path) -> None:
    said: Json = {"name": "p", "networkProfile": {}, "nodeProvisioningProfile": 7, "serviceMeshProfile": None}
    raw = read_az(write(tmp_path / "az.json", said))
    assert raw.data["spec"] == {"name": "p", "networkProfile": {}, "serviceMeshProfile": None}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_windows(encoding: str, tmp_path: Path) -> None:
    assert read_az(write(tmp_path / "az.json", CLUSTER, encoding)).ref.name == "prod"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param([CLUSTER], "az aks list prints", id="a list of clusters"),
        pytest.param({"name": "prod"}, "no networkProfile", id="something else"),
        pytest.param({"networkProfile": {}}, "no name", id="no name"),
        pytest.param("text", "no networkProfile", id="no mapping"),
    ],
)
def test_what_is_no_cluster_is_refused(value: Json, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_az(write(tmp_path / "az.json", value))
    assert "az aks show" in str(caught.value)


def test_table_output_and_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "az.txt").write_text("Name    Location\nprod    westeurope\n")
    with pytest.raises(InputError, match="not JSON"):
        read_az(tmp_path / "az.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_az(tmp_path / "missing")
