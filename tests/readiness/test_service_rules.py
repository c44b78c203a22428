"""Rules about services: found, not found, and not answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from migrate.model.raw import Json
from migrate.readiness.checks import all_checks
from migrate.readiness.evaluate import evaluate
from tests.readiness.folders import translated
from tests.readiness.rule_rows import TODAY, Row, shown

OLD: Mapping[str, Json] = {"currentKubernetesVersion": "1.31.9", "kubernetesVersion": "1.31"}
OLDER: Mapping[str, Json] = {"currentKubernetesVersion": "1.27.3", "kubernetesVersion": "1.27"}
UNNAMED: Mapping[str, Json] = {"currentKubernetesVersion": "1.37.0", "kubernetesVersion": "1.37"}
NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
CLOSED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]
---
"""
OUT_ONLY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress]}
---
"""
GLOBAL = """
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: {name: default.web}
spec: {selector: app == 'web', types: [Ingress], ingress: [{action: Allow}]}
---
"""
TWO_PORTS = """
apiVersion: v1
kind: Pod
metadata: {name: resolver, namespace: shop}
spec:
  nodeName: aks-user-1-vmss000000
  containers:
    - name: dns
      ports: [{containerPort: 53, hostPort: 5300, protocol: UDP}, {containerPort: 53, hostPort: 5300}]
status: {phase: Running}
---
"""


def service(spec: str, metadata: str = "", name: str = "extra", namespace: str = "shop") -> str:
    named = f"name: {name}, namespace: {namespace}{', ' if metadata else ''}{metadata}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{{named}}}\nspec: {{{spec}}}\n---\n"


def annotated(**by_short_name: str) -> str:
    notes = ", ".join(
        f"service.beta.kubernetes.io/{key.replace('_', '-')}: {value}" for key, value in by_short_name.items()
    )
    return f"annotations: {{{notes}, example.com/other: x}}"


BALANCER = "type: LoadBalancer, selector: {app: web}, ports: [{port: 80, nodePort: 30081}]"
UDP = "type: NodePort, selector: {app: web}, ports: [{port: 80, protocol: UDP, nodePort: 30080}]"
RANGED = f"{BALANCER}, loadBalancerSourceRanges: [203.0.113.0/24, 198.51.100.0/24]"
LOCAL = f"{BALANCER}, externalTrafficPolicy: Local, healthCheckNodePort: 31000"
EXTERNAL = "selector: {app: web}, externalIPs: [198.51.100.7], ports: [{port: 80}]"
METRICS = "clusterIP: None, selector: {component: kube-proxy}, ports: [{port: 9999}]"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param(Row("SVC-LB-SOURCE-RANGES", service(RANGED)), "203.0.113.0/24, 198.51.100.0/24", id="ranges"),
        pytest.param(
            Row("SVC-LB-SOURCE-RANGES", service(BALANCER, annotated(azure_allowed_ip_ranges="203.0.113.0/24"))),
            "203.0.113.0/24",
            id="ranges in an annotation",
        ),
        pytest.param(
            Row("SVC-LB-SOURCE-RANGES", service(BALANCER, annotated(azure_allowed_service_tags="AzureFrontDoor"))),
            "AzureFrontDoor",
            id="tags of Azure's networks",
        ),
        pytest.param(Row("SVC-LB-SOURCE-RANGES", CLOSED), "lists no ranges of clients", id="ranges in policies alone"),
        pytest.param(Row("SVC-HEALTH-PROBE", service(LOCAL)), "port 31000", id="Local"),
        pytest.param(
            Row("SVC-HEALTH-PROBE", service(BALANCER, annotated(azure_load_balancer_health_probe_request_path="/up"))),
            "azure-load-balancer-health-probe-request-path is set",
            id="a probe of the owner's",
        ),
        pytest.param(
            Row("SVC-HOSTPORT-DUAL-PROTO", TWO_PORTS, azure=OLD), "host port 5300", id="a host port with both"
        ),
        pytest.param(
            Row("SVC-HOSTPORT-DUAL-PROTO", service(UDP), azure=OLD),
            "node port 30080 is used with TCP by Service shop/web and with UDP by Service shop/extra",
            id="a node port with both",
        ),
        pytest.param(
            Row("SVC-HOSTPORT-DUAL-PROTO", TWO_PORTS, azure=OLDER), "Cilium 1.14.20", id="older than the table"
        ),
        pytest.param(
            Row(
                "SVC-KUBE-PROXY-CONFIG",
                azure={"networkProfile": {"kubeProxyConfig": {"enabled": True, "mode": "IPVS"}}},
            ),
            "mode ipvs",
            id="IPVS",
        ),
        pytest.param(
            Row("SVC-KUBE-PROXY-CONFIG", azure={"networkProfile": {"kubeProxyConfig": {"enabled": False}}}),
            "switched off",
            id="no kube-proxy of AKS",
        ),
        pytest.param(
            Row("SVC-KUBE-PROXY-CONFIG", service(METRICS, namespace="kube-system")), "pods of kube-proxy", id="its pods"
        ),
        pytest.param(
            Row("SVC-KUBE-PROXY-CONFIG", service("ports: [{port: 80, targetPort: 10249}]")), "port 10249", id="metrics"
        ),
        pytest.param(Row("SVC-EXTERNAL-IPS", service(EXTERNAL)), "198.51.100.7", id="external addresses"),
        pytest.param(
            Row("SVC-EXTERNAL-IPS", OUT_ONLY + GLOBAL + service(EXTERNAL)), "198.51.100.7", id="isolated by Calico"
        ),
    ],
)
def test_found(row: Row, said: str, tmp_path: Path) -> None:
    (found,) = shown(row.findings(tmp_path))
    assert said in found


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row("SVC-LB-SOURCE-RANGES"), id="policies that admit everybody"),
        pytest.param(
            Row(
                "SVC-LB-SOURCE-RANGES",
                service("type: NodePort, ports: [{port: 1}]", annotated(azure_allowed_ip_ranges="a")),
            ),
            id="no balancer",
        ),
        pytest.param(
            Row("SVC-LB-SOURCE-RANGES", CLOSED + service(f"{BALANCER}, externalTrafficPolicy: Local", name="web")),
            id="Local shows policies the client",
        ),
        pytest.param(Row("SVC-HEALTH-PROBE"), id="Cluster without a probe"),
        pytest.param(
            Row("SVC-HEALTH-PROBE", service("type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 1}]")),
            id="no balancer asks",
        ),
        pytest.param(Row("SVC-HOSTPORT-DUAL-PROTO", TWO_PORTS), id="a Cilium that tells them apart"),
        pytest.param(Row("SVC-HOSTPORT-DUAL-PROTO", azure=OLD), id="one protocol each"),
        pytest.param(
            Row("SVC-HOSTPORT-DUAL-PROTO", TWO_PORTS.replace("spec:\n", "spec:\n  hostNetwork: true\n"), azure=OLD),
            id="pods on the node's network",
        ),
        pytest.param(
            Row("SVC-HOSTPORT-DUAL-PROTO", service(UDP.replace("30080", "30099")), azure=OLD), id="another node port"
        ),
        pytest.param(Row("SVC-KUBE-PROXY-CONFIG"), id="kube-proxy as AKS runs it"),
        pytest.param(
            Row(
                "SVC-KUBE-PROXY-CONFIG",
                azure={"networkProfile": {"kubeProxyConfig": {"enabled": True, "mode": "IPTABLES"}}},
            ),
            id="what is the default, written down",
        ),
        pytest.param(Row("SVC-EXTERNAL-IPS"), id="no external addresses"),
        pytest.param(Row("SVC-EXTERNAL-IPS", OUT_ONLY + service(EXTERNAL)), id="pods that anybody reaches"),
        pytest.param(
            Row("SVC-EXTERNAL-IPS", service(EXTERNAL.replace("app: web", "app: other"))), id="a policy for other pods"
        ),
    ],
)
def test_not_found(row: Row, tmp_path: Path) -> None:
    evaluation = row.evaluation(tmp_path)
    assert (shown(evaluation.findings), evaluation.unchecked) == ([], ())


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        pytest.param(Row("SVC-LB-SOURCE-RANGES", NAMESPACE, alone=True), "kind Service", id="no services"),
        pytest.param(Row("SVC-LB-SOURCE-RANGES", service(BALANCER), alone=True), "kind Pod", id="no pods behind one"),
        pytest.param(Row("SVC-HEALTH-PROBE", NAMESPACE, alone=True), "kind Service", id="no services to be asked"),
        pytest.param(Row("SVC-HOSTPORT-DUAL-PROTO", azure=UNNAMED), "no document names", id="a Cilium nobody names"),
        pytest.param(Row("SVC-KUBE-PROXY-CONFIG", NAMESPACE, alone=True), "mode of kube-proxy", id="no kube-proxy"),
        pytest.param(Row("SVC-EXTERNAL-IPS", service(EXTERNAL), alone=True), "kind NetworkPolicy", id="no policies"),
        pytest.param(Row("SVC-ETP-CLUSTER"), "migrate translate", id="no translation"),
    ],
)
def test_not_answered(row: Row, lack: str, tmp_path: Path) -> None:
    assert lack in row.lacks(tmp_path)


@pytest.mark.parametrize(
    ("policy", "found"),
    [pytest.param(CLOSED, ["Service shop/web"], id="closed"), pytest.param("", [], id="open to everybody")],
)
def test_clients_of_a_node_port_as_the_translation_tells(policy: str, found: list[str], tmp_path: Path) -> None:
    Row("SVC-ETP-CLUSTER", policy).documents(tmp_path)
    check = [check for check in all_checks() if check.id == "SVC-ETP-CLUSTER"]
    evaluation = evaluate(translated(tmp_path), TODAY, check)
    assert [str(finding.subject) for finding in evaluation.findings] == found
    assert evaluation.unchecked == ()
