"""Rules about what runs in the cluster and on its nodes, each with a cluster that has it and one that has not."""

from __future__ import annotations

import pytest

from migrate.model.raw import Json
from tests.readiness.scenes import Scene, policy
from tests.readiness.test_policy_rules import CILIUM, HTTP, IN_SHOP, ISTIO, PLAIN

SIDECAR = """\
apiVersion: v1
kind: Pod
metadata: {name: meshed-0, namespace: shop, labels: {app: meshed}}
spec: {nodeName: n1, containers: [{name: main}, {name: istio-proxy}]}
status: {phase: Running, podIP: 10.244.0.20}"""
ZTUNNEL = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ztunnel, namespace: istio-system}
spec: {template: {spec: {containers: [{name: istio-proxy, image: "ztunnel:1.27.0"}]}}}
status: {desiredNumberScheduled: 2, numberReady: 2}"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param([ISTIO], "istio runs", id="a mesh without pods in it"),
        pytest.param([ISTIO, SIDECAR], "1 pod with a sidecar", id="a pod with a proxy"),
        pytest.param([ISTIO, ZTUNNEL], "in ambient mode", id="ambient"),
        pytest.param([], "", id="none"),
    ],
)
def test_mesh(more: list[str], words: str, scene: Scene) -> None:
    answer = scene.scan("npm", "\n---\n".join(more)).ask("WRK-MESH")
    assert (bool(answer.findings), answer.lacks) == (bool(words), ())
    assert words in answer.details


def test_without_workloads_a_mesh_may_be_there(scene: Scene) -> None:
    answer = scene.scan("npm", without=["kind: Deployment\n"]).ask("WRK-MESH")
    assert (answer.findings, "service-mesh" in answer.lacks[0]) == ((), True)


GATEWAY = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: out, namespace: istio-system}
spec: {replicas: 1, template: {metadata: {labels: {istio: egressgateway}}, spec: {containers: [{name: istio-proxy}]}}}
status: {replicas: 1, readyReplicas: 1}"""


@pytest.mark.parametrize(
    ("more", "target", "found"),
    [
        pytest.param(GATEWAY, "aks-1.34-acns-l7", True, id="a gateway, and a target with L7 policies"),
        pytest.param(GATEWAY, "aks-1.34", False, id="a target without L7 policies"),
        pytest.param("", "aks-1.34-acns-l7", False, id="no gateway"),
    ],
)
def test_egress_gateway(more: str, target: str, found: bool, scene: Scene) -> None:
    given = "\n---\n".join(filter(None, (PLAIN, more)))
    answer = scene.scan("npm", given, profile="npm-node-subnet").translate("--target", target).ask("WRK-EGRESS-GATEWAY")
    assert (bool(answer.findings), answer.lacks) == (found, ())


def _runs(key: str, number: int, same: bool = False) -> str:
    pods = (
        f"apiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: run-{n}, namespace: shop, labels: {{{key}: run-{0 if same else n}}}}}\n"
        f"spec: {{nodeName: n1, containers: [{{name: main}}]}}\nstatus: {{phase: Running, podIP: 10.244.0.{n + 30}}}"
        for n in range(number)
    )
    return "\n---\n".join(pods)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        pytest.param(_runs("spark-app-selector", 10), True, id="a value for each Spark application"),
        pytest.param(_runs("batch.kubernetes.io/job-name", 10), True, id="a value for each run of a job"),
        pytest.param(_runs("spark-app-selector", 9), False, id="a few runs"),
        pytest.param(_runs("spark-app-selector", 12, same=True), False, id="many pods of one run"),
        pytest.param(_runs("controller-uid", 12), False, id="a label that is no part of identities"),
        pytest.param("", False, id="no such labels"),
    ],
)
def test_identity_churn(more: str, found: bool, scene: Scene) -> None:
    answer = scene.scan("npm", more).ask("WRK-IDENTITY-CHURN")
    assert (bool(answer.findings), answer.lacks) == (found, ())


def _node(kernel: str, system: str = "linux") -> str:
    return (
        f"apiVersion: v1\nkind: Node\nmetadata: {{name: own, labels: {{kubernetes.io/os: {system}}}}}\n"
        f"status: {{nodeInfo: {{kernelVersion: '{kernel}', kubeletVersion: v1.34.2, operatingSystem: {system}}}}}"
    )


@pytest.mark.parametrize(
    ("more", "target", "found"),
    [
        pytest.param(_node("5.4.0-216-generic"), "cilium-1.18", True, id="5.4 for Cilium 1.18"),
        pytest.param(_node("5.4.0-216-generic"), "cilium-1.17", False, id="5.4 for Cilium 1.17"),
        pytest.param(_node("4.19.0-27-amd64"), "cilium-1.16", True, id="an early 4.19 for Cilium 1.16"),
        pytest.param(_node("5.10.0-33-amd64"), "cilium-1.20", False, id="5.10 for Cilium 1.20"),
        pytest.param(_node("4.18.0-372.9.1.el8.x86_64"), "cilium-1.18", False, id="RHEL 8 has what is needed"),
        pytest.param(_node("3.10.0-1160.el7.x86_64"), "cilium-1.16", True, id="RHEL 7 has not"),
        pytest.param(_node("4.²"), "cilium-1.18", True, id="a sign that is a digit and no number"),
        pytest.param(_node("10.0.20348.4294", "windows"), "cilium-1.18", False, id="Windows has another count"),
    ],
)
def test_kernel(more: str, target: str, found: bool, scene: Scene) -> None:
    answer = scene.scan("npm", f"{PLAIN}\n---\n{more}").translate("--target", target).ask("WRK-KERNEL")
    assert ([f.subject.name for f in answer.findings if f.subject], answer.lacks) == (["own"] if found else [], ())


def test_a_node_that_does_not_say_its_kernel_is_not_checked(scene: Scene) -> None:
    answer = scene.scan("npm", _node("")).ask("WRK-KERNEL")
    assert (answer.findings, answer.lacks) == ((), ("the kernel of own: `uname -r` there",))


def _pool(**more: Json) -> Json:
    return [{"name": "one", "osType": "Linux", "osSku": "Ubuntu2404", "vmSize": "Standard_D4s_v5", **more}]


@pytest.mark.parametrize(
    ("azure", "words"),
    [
        pytest.param({"agentPoolProfiles": _pool(vmSize="Standard_DC4s_v2")}, "with overlay", id="DCsv2"),
        pytest.param({"agentPoolProfiles": _pool(vmSize="Standard_DC4as_v5")}, "confidential", id="confidential"),
        pytest.param({"agentPoolProfiles": _pool(workloadRuntime="KataMshvVmIsolation")}, "sandboxes", id="Kata"),
        pytest.param({"addonProfiles": {"aciConnectorLinux": {"enabled": True}}}, "virtual nodes", id="virtual nodes"),
        pytest.param({"agentPoolProfiles": _pool()}, "", id="plain machines"),
        pytest.param({"addonProfiles": {"aciConnectorLinux": {"enabled": False}}}, "", id="virtual nodes are off"),
    ],
)
def test_special_nodes(azure: dict[str, Json], words: str, scene: Scene) -> None:
    answer = scene.scan("npm", profile="npm-node-subnet", azure=azure).ask("WRK-CONFIDENTIAL-SANDBOX")
    assert (bool(answer.findings), answer.lacks) == (bool(words), ())
    assert words in answer.details


WANTED: Json = {"advancedNetworking": {"enabled": True, "performance": {"accelerationMode": "BpfVeth"}}}


@pytest.mark.parametrize(
    ("azure", "words"),
    [
        pytest.param({"agentPoolProfiles": _pool(osSku="Ubuntu2204")}, "runs Ubuntu2204", id="another system"),
        pytest.param({"agentPoolProfiles": _pool(), "currentKubernetesVersion": "1.32.7"}, "1.33", id="Kubernetes"),
        pytest.param({"agentPoolProfiles": _pool(), "serviceMeshProfile": {"mode": "Istio"}}, "Istio", id="a mesh"),
        pytest.param({"agentPoolProfiles": _pool()}, "", id="nothing stands against it"),
    ],
)
def test_host_routing(azure: dict[str, Json], words: str, scene: Scene) -> None:
    given: dict[str, Json] = {"currentKubernetesVersion": "1.34.2", "networkProfile": WANTED, **azure}
    answer = scene.scan("npm", profile="npm-node-subnet", azure=given).ask("WRK-HOST-ROUTING")
    assert (bool(answer.findings), answer.lacks) == (bool(words), ())
    assert words in answer.details


def test_host_routing_that_nobody_asked_for(scene: Scene) -> None:
    pools = _pool(osSku="Ubuntu2204")
    answer = scene.scan("npm", profile="npm-node-subnet", azure={"agentPoolProfiles": pools}).ask("WRK-HOST-ROUTING")
    assert (answer.findings, answer.lacks) == ((), ())


@pytest.mark.parametrize("rule", ["WRK-CONFIDENTIAL-SANDBOX", "WRK-HOST-ROUTING"])
def test_without_azures_word_they_are_not_checked(rule: str, scene: Scene) -> None:
    assert "az aks show" in scene.scan("npm").ask(rule).lacks[0]


@pytest.mark.parametrize("rule", ["WRK-CONFIDENTIAL-SANDBOX", "WRK-HOST-ROUTING"])
def test_elsewhere_azure_has_no_say(rule: str, scene: Scene) -> None:
    answer = scene.scan("calico").ask(rule)
    assert (answer.findings, answer.lacks) == ((), ())


NODE_CACHE = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-local-dns, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{name: node-cache, image: "dns-node-cache:1.23.1"}]}}}
status: {desiredNumberScheduled: 2, numberReady: 2}"""


@pytest.mark.parametrize(
    ("more", "found"),
    [pytest.param(NODE_CACHE, True, id="NodeLocal DNSCache"), pytest.param("", False, id="none")],
)
def test_local_dns(more: str, found: bool, scene: Scene) -> None:
    answer = scene.scan("npm", more).ask("WRK-LOCAL-DNS")
    assert (bool(answer.findings), answer.lacks) == (found, ())


def test_without_nodes_a_dns_cache_may_be_there(scene: Scene) -> None:
    answer = scene.scan("npm", without=["kind: Node\n"]).ask("WRK-LOCAL-DNS")
    assert (answer.findings, "node-local-dns" in answer.lacks[0]) == ((), True)


def test_encryption_of_calico(scene: Scene) -> None:
    assert len(scene.scan("calico").ask("WRK-WIREGUARD").findings) == 1


def test_calico_without_encryption(scene: Scene) -> None:
    off = "apiVersion: crd.projectcalico.org/v1\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {}"
    answer = scene.scan("calico", off, without=["wireguardEnabled"]).ask("WRK-WIREGUARD")
    assert (answer.findings, answer.lacks) == ((), ())


@pytest.mark.parametrize(
    ("version", "found"),
    [pytest.param("v1.31.9", True, id="1.31"), pytest.param("v1.34.2", False, id="1.34")],
)
def test_endpoint_slices(version: str, found: bool, scene: Scene) -> None:
    node = (
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {kubernetes.azure.com/cluster: MC_shop}}\n"
        f"status: {{nodeInfo: {{kubeletVersion: {version}, operatingSystem: linux}}}}"
    )
    answer = scene.scan("npm", node, without=["kind: Node\n"]).ask("WRK-ENDPOINT-SLICES")
    assert (bool(answer.findings), answer.lacks) == (found, ())


def test_layer_seven_of_a_large_cluster(scene: Scene) -> None:
    """More nodes than L7 policies are supported for."""
    given = CILIUM % ("CiliumNetworkPolicy", IN_SHOP, HTTP)

    nodes = "\n---\n".join(f"apiVersion: v1\nkind: Node\nmetadata: {{name: extra-{n}}}" for n in range(1000))
    answer = scene.scan("npm", "\n---\n".join((given, nodes))).translate("--target", "aks-1.34-acns-l7", "--no-verify")
    assert "1002 nodes, and 1000 are supported" in answer.ask("POL-L7").details


def test_rules_of_nodes_are_listed_as_not_checked(scene: Scene) -> None:
    made = scene.scan("npm", policy("any", "{podSelector: {}}"))
    for rule in ("NODE-NPM-JUMP", "NODE-LEFTOVER-AFTER", "WRK-IPTABLES-USERS"):
        assert made.ask(rule).lacks == ("what the nodes enforce: `migrate scan --nodes`",)
    assert made.ask("NODE-HNS-DRIFT").lacks == ()
