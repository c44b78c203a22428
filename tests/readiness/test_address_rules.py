"""Rules about the address plan: found, not found, and not answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from migrate.model.raw import Json
from tests.readiness.rule_rows import KUBENET, NODE_SUBNET, OVERLAY, TO_OVERLAY, Row, pools, shown

LONG = "n" * 64
MASQUERADE = "{apiVersion: v1, kind: ConfigMap, metadata: {name: azure-ip-masq-agent-config, namespace: kube-system}}"
NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
BY_CLASS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway, namespace: shop}
spec: {ingressClassName: azure-application-gateway}
"""
BY_ANNOTATION = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway, namespace: shop, annotations: {kubernetes.io/ingress.class: azure/application-gateway, a: b}}
"""
NODE_AT = (
    "{{apiVersion: v1, kind: Node, metadata: {{name: n1}}, status: {{addresses: [{{type: InternalIP, address: {}}}]}}}}"
)


def subnet(group: str = "rg", network: str = "vnet", name: str = "nodes") -> str:
    base = f"/subscriptions/0/resourceGroups/{group}/providers/Microsoft.Network"
    return f"{base}/virtualNetworks/{network}/subnets/{name}"


def network(**changes: Json) -> dict[str, Json]:
    return {"networkProfile": changes}


def ranges(*texts: str) -> dict[str, Json]:
    return network(podCidr=texts[0], podCidrs=list(texts))


def around(network: str, peered: str = "", place: str = "remoteVirtualNetworkAddressSpace") -> Mapping[str, Json]:
    peerings: list[Json] = [{"name": "hub", "peeringState": "Connected", place: {"addressPrefixes": [peered]}}]
    return {
        "vnet": {
            "name": "vnet1",
            "addressSpace": {"addressPrefixes": [network]},
            "virtualNetworkPeerings": peerings if peered else [],
            "subnets": [],
        }
    }


def routed(**routes: str) -> Mapping[str, Json]:
    listed: list[Json] = [{"name": name, "addressPrefix": to, "nextHopType": "None"} for name, to in routes.items()]
    return {"routes": [{"name": "table", "routes": listed, "subnets": []}]}


def filtered(*rules: Mapping[str, Json]) -> Mapping[str, Json]:
    """A group of rules, which are inbound and about everything unless they say something else."""
    rule: dict[str, Json] = {
        "access": "Deny",
        "direction": "Inbound",
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    listed: list[Json] = [{**rule, "name": f"r{n}", "priority": 100 + n, **more} for n, more in enumerate(rules)]
    return {"nsg": {"name": "group", "securityRules": listed, "defaultSecurityRules": []}}


OUT_TO_A_PART: dict[str, Json] = {
    "direction": "Outbound",
    "destinationAddressPrefix": None,
    "destinationAddressPrefixes": ["10.244.3.0/24"],
}
ALLOW: dict[str, Json] = {"access": "Allow"}


def sized(*changes: Mapping[str, Json], profile: str = OVERLAY) -> dict[str, Json]:
    return {"agentPoolProfiles": pools(*changes, profile=profile), "nodeProvisioningProfile": None}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param(Row("NET-PODCIDR-SIZE", profile=OVERLAY), "16 blocks of /24", id="an autoscaler beyond the range"),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"count": 15, "maxCount": 15})),
            "15 nodes and 2 more",
            id="only the surge nodes have no block",
        ),
        pytest.param(
            Row(
                "NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"maxCount": 9}, {"maxCount": 9, "osType": "Windows"})
            ),
            "18 nodes and 2 more",
            id="several pools together",
        ),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"maxCount": 2}) | ranges("10.244.0.0/25")),
            "0 blocks",
            id="less than the block of one node",
        ),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=KUBENET, azure=ranges("10.244.0.0/22", "fd00:10:244::/64")),
            "has 4 blocks",
            id="the IPv6 range has no room for IPv4",
        ),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=KUBENET, azure=network(podCidr="10.244.0.0/23", podCidrs=None)),
            "has 2 blocks",
            id="an API version with one range only",
        ),
        pytest.param(
            Row("NET-PODCIDR-OVERLAP", profile=KUBENET, azure=ranges("10.0.128.0/17")),
            "10.0.0.0/16 (the range of services)",
            id="services",
        ),
        pytest.param(
            Row("NET-PODCIDR-OVERLAP", profile=KUBENET, azure=ranges("172.16.0.0/12")),
            "172.30.0.0/16 (reserved by AKS), 172.31.0.0/16",
            id="what AKS keeps",
        ),
        pytest.param(
            Row("NET-PODCIDR-OVERLAP", NODE_AT.format("10.244.7.4"), profile=KUBENET),
            "10.244.7.4/32 (an address of node n1)",
            id="the nodes' network",
        ),
        pytest.param(
            Row(
                "NET-PODCIDR-OVERLAP",
                profile=KUBENET,
                azure=network(podCidrs=["10.244.0.0/16", "fd00::/48"], serviceCidrs=["10.0.0.0/16", "fd00::/108"]),
            ),
            "fd00::/48 meets fd00::/108",
            id="IPv6 ranges",
        ),
        pytest.param(Row("NET-PODCIDR-REQUIRED", wishes=TO_OVERLAY), "--pod-cidr", id="a node subnet has no range"),
        pytest.param(Row("NET-POD-IP-EXPOSED", BY_CLASS, wishes=TO_OVERLAY), "Ingress shop/gateway", id="by its class"),
        pytest.param(
            Row("NET-POD-IP-EXPOSED", BY_ANNOTATION, wishes=TO_OVERLAY), "Ingress shop/gateway", id="by its annotation"
        ),
        pytest.param(
            Row(
                "NET-POD-IP-EXPOSED",
                azure={"addonProfiles": {"ingressApplicationGateway": {"enabled": True}}},
                wishes=TO_OVERLAY,
            ),
            "add-on",
            id="the add-on",
        ),
        pytest.param(Row("NET-UDR-ROUTES", profile=KUBENET), "userDefinedRouting", id="routes of the owner"),
        pytest.param(Row("NET-KUBENET-IDENTITY", profile=KUBENET), "system-assigned", id="a system-assigned identity"),
        pytest.param(
            Row("NET-KUBENET-IDENTITY", profile=KUBENET, azure={"identity": None}), "no managed one", id="a principal"
        ),
        pytest.param(Row("NET-IPMASQ-CUSTOM", MASQUERADE), "azure-ip-masq-agent-config", id="left over"),
        pytest.param(
            Row("NET-IPMASQ-CUSTOM", MASQUERADE, profile=KUBENET), "cannot reach the ranges", id="with overlay"
        ),
        pytest.param(
            Row("NET-NAME-LENGTH", profile=KUBENET, azure=sized({"vnetSubnetId": subnet(name=LONG)}, profile=KUBENET)),
            "the subnet of pool pool0 has a name of 64 characters",
            id="a subnet",
        ),
        pytest.param(
            Row(
                "NET-NAME-LENGTH", profile=KUBENET, azure=sized({"vnetSubnetId": subnet(network=LONG)}, profile=KUBENET)
            ),
            "the virtual network",
            id="a network",
        ),
        pytest.param(
            Row(
                "NET-NAME-LENGTH",
                azure=sized({}, {"vnetSubnetId": subnet(group=LONG).lower()}, profile=NODE_SUBNET),
                wishes=TO_OVERLAY,
            ),
            "agentPoolProfiles[1].vnetSubnetId the resource group",
            id="a resource group, written in lower case",
        ),
        pytest.param(
            Row("NET-PODCIDR-OVERLAP", profile=KUBENET, beside=around("10.128.0.0/9")),
            "10.128.0.0/9 (the virtual network vnet1)",
            id="the virtual network",
        ),
        pytest.param(
            Row("NET-PODCIDR-OVERLAP", profile=KUBENET, beside=around("10.1.0.0/16", "10.244.8.0/24")),
            "10.244.8.0/24 (the peered network behind hub)",
            id="a peered network",
        ),
        pytest.param(
            Row(
                "NET-PODCIDR-OVERLAP",
                profile=KUBENET,
                beside=around("10.1.0.0/16", "10.244.8.0/24", "remoteAddressSpace"),
            ),
            "the peered network behind hub",
            id="a peered network in an older form",
        ),
        pytest.param(
            Row(
                "NET-UDR-ROUTES",
                profile=KUBENET,
                azure=network(outboundType="loadBalancer"),
                beside=routed(toFirewall="0.0.0.0/0", back="10.244.3.0/24"),
            ),
            "routes[1] route back to 10.244.3.0/24",
            id="a route into the pods' range",
        ),
        pytest.param(
            Row("NET-NSG-POD-TRAFFIC", profile=OVERLAY, beside=filtered({})),
            "denies nodes to nodes, nodes to pods, pods to pods",
            id="everything is denied",
        ),
        pytest.param(
            Row(
                "NET-NSG-POD-TRAFFIC",
                profile=OVERLAY,
                beside=filtered({**ALLOW, "sourceAddressPrefix": "VirtualNetwork"}, {}),
            ),
            "r1 (inbound) denies pods to pods",
            id="Azure's tag does not mean pods of an overlay",
        ),
        pytest.param(
            Row(
                "NET-NSG-POD-TRAFFIC",
                profile=OVERLAY,
                beside=filtered(OUT_TO_A_PART),
            ),
            "r0 (outbound) denies nodes to pods, pods to pods",
            id="a part of the pods",
        ),
        pytest.param(
            Row("NET-NSG-POD-TRAFFIC", profile=OVERLAY, beside=filtered({**ALLOW, "destinationPortRange": "443"}, {})),
            "r1 (inbound) denies nodes to nodes",
            id="one port that is allowed is not all",
        ),
    ],
)
def test_found(row: Row, said: str, tmp_path: Path) -> None:
    (found,) = shown(row.findings(tmp_path))
    assert said in found


ANSWERED = [
    pytest.param(
        Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"maxCount": 14})), id="16 blocks for 14 nodes and 2 more"
    ),
    pytest.param(
        Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"maxCount": 16, "scaleSetPriority": "Spot"})),
        id="a Spot pool has no surge nodes",
    ),
    pytest.param(
        Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"maxCount": 16, "upgradeSettings": {"maxSurge": "0"}})),
        id="nor has one that takes nodes away first",
    ),
    pytest.param(Row("NET-PODCIDR-SIZE", profile=KUBENET), id="a /16"),
    pytest.param(Row("NET-PODCIDR-SIZE"), id="pods with addresses of the node subnet"),
    pytest.param(Row("NET-PODCIDR-REQUIRED", profile=KUBENET), id="kubenet keeps its range"),
    pytest.param(Row("NET-PODCIDR-REQUIRED"), id="no overlay"),
    pytest.param(Row("NET-POD-IP-EXPOSED", BY_CLASS), id="pods that keep their addresses"),
    pytest.param(
        Row(
            "NET-UDR-ROUTES",
            profile=KUBENET,
            azure=network(outboundType="loadBalancer") | sized({"vnetSubnetId": None}),
        ),
        id="a network of AKS",
    ),
    pytest.param(Row("NET-UDR-ROUTES", azure=network(outboundType="userDefinedRouting")), id="no kubenet"),
    pytest.param(
        Row("NET-KUBENET-IDENTITY", profile=KUBENET, azure={"identity": {"type": "UserAssigned"}}), id="its own"
    ),
    pytest.param(Row("NET-KUBENET-IDENTITY", profile=KUBENET, azure=sized({"vnetSubnetId": None})), id="AKS's network"),
    pytest.param(Row("NET-KUBENET-IDENTITY", azure={"identity": {"type": "SystemAssigned"}}), id="no route table"),
    pytest.param(Row("NET-IPMASQ-CUSTOM"), id="only what AKS keeps"),
    pytest.param(Row("NET-NAME-LENGTH", profile=KUBENET), id="short names"),
    pytest.param(
        Row("NET-NAME-LENGTH", profile=KUBENET, azure=sized({"vnetSubnetId": subnet("r" * 63, "v" * 63, "s" * 63)})),
        id="names of 63 characters",
    ),
    pytest.param(Row("NET-NAME-LENGTH", azure=sized({"vnetSubnetId": subnet(name=LONG)})), id="long, and no overlay"),
    pytest.param(
        Row(
            "NET-UDR-ROUTES",
            profile=KUBENET,
            azure=network(outboundType="loadBalancer"),
            beside=routed(**{"aks-nodepool1-1-vmss000000____1024400024": "10.244.0.0/24", "out": "0.0.0.0/0"}),
        ),
        id="AKS's own routes and the default one",
    ),
    pytest.param(
        Row("NET-NSG-POD-TRAFFIC", profile=OVERLAY, beside=filtered(ALLOW, {})), id="allowed before it is denied"
    ),
    pytest.param(
        Row("NET-NSG-POD-TRAFFIC", profile=OVERLAY, beside=filtered({"sourceAddressPrefix": "Internet"})),
        id="the internet is denied",
    ),
    pytest.param(
        Row("NET-NSG-POD-TRAFFIC", profile=OVERLAY, beside=filtered({"sourceAddressPrefix": "192.0.2.0/24"})),
        id="addresses of neither nodes nor pods",
    ),
    pytest.param(Row("NET-NSG-POD-TRAFFIC"), id="pods with addresses of the node subnet are in its groups already"),
]


@pytest.mark.parametrize("row", ANSWERED)
def test_not_found(row: Row, tmp_path: Path) -> None:
    evaluation = row.evaluation(tmp_path)
    assert (shown(evaluation.findings), evaluation.unchecked) == ([], ())


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        pytest.param(Row("NET-PODCIDR-OVERLAP", profile=KUBENET), "az network vnet show", id="networks around"),
        pytest.param(
            Row("NET-PODCIDR-OVERLAP", profile=KUBENET, beside=around("10.1.0.0/16")), "by a gateway", id="gateways"
        ),
        pytest.param(Row("NET-POD-IP-EXPOSED", wishes=TO_OVERLAY), "lists of firewalls", id="lists somewhere else"),
        pytest.param(Row("NET-NSG-POD-TRAFFIC", profile=OVERLAY), "az network nsg show", id="security groups"),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure={"agentPoolProfiles": pools({"maxCount": 5})}),
            "limits of the NodePools",
            id="nodes that Azure adds by itself",
        ),
    ],
)
def test_what_is_not_in_the_documents_is_not_found_to_be_fine(row: Row, lack: str, tmp_path: Path) -> None:
    evaluation = row.evaluation(tmp_path)
    assert shown(evaluation.findings) == []
    assert lack in " | ".join(each for unchecked in evaluation.unchecked for each in unchecked.lacks)


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=network(podCidr=None, podCidrs=None)),
            "podCidr",
            id="no range",
        ),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure=sized({"count": None, "maxCount": None})),
            "pool pool0",
            id="no size",
        ),
        pytest.param(Row("NET-PODCIDR-SIZE", NAMESPACE, profile="", alone=True), "az aks show", id="nothing at all"),
        pytest.param(
            Row("NET-PODCIDR-SIZE", profile=OVERLAY, azure={"agentPoolProfiles": None}),
            "agentPoolProfiles",
            id="no pools",
        ),
        pytest.param(
            Row(
                "NET-UDR-ROUTES",
                profile=KUBENET,
                azure=network(outboundType="loadBalancer") | sized({"vnetSubnetId": "absent"}),
            ),
            "vnetSubnetId of pool pool0",
            id="a network of nobody knows whom",
        ),
        pytest.param(
            Row("NET-KUBENET-IDENTITY", profile=KUBENET, azure=sized({"vnetSubnetId": "absent"})),
            "vnetSubnetId of pool pool0",
            id="an identity for nobody knows which network",
        ),
        pytest.param(
            Row("NET-NAME-LENGTH", profile=KUBENET, azure=sized({"vnetSubnetId": "nodes"})),
            "vnetSubnetId of pool pool0",
            id="no names in the subnet",
        ),
        pytest.param(
            Row("NET-UDR-ROUTES", profile=KUBENET, azure=network(outboundType="loadBalancer")),
            "route-table",
            id="a table of the owner's",
        ),
        pytest.param(
            Row("NET-UDR-ROUTES", profile=KUBENET, azure=network(outboundType=None) | sized({"vnetSubnetId": None})),
            "outboundType",
            id="no way out",
        ),
        pytest.param(Row("NET-IPMASQ-CUSTOM", NAMESPACE, alone=True), "kind ConfigMap", id="no ConfigMaps"),
        pytest.param(
            Row(
                "NET-IPMASQ-CUSTOM",
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}",
                alone=True,
            ),
            "ConfigMap",
            id="ConfigMaps of other namespaces",
        ),
    ],
)
def test_not_answered(row: Row, lack: str, tmp_path: Path) -> None:
    assert lack in row.lacks(tmp_path)
