"""How single engines show themselves, and what Azure or node labels say when nothing else does."""

import pytest

from migrate.model.documents import Fact, KindCount
from migrate.model.raw import Json, RawObject
from migrate.scan.inventory import engines
from tests.unit.inventory_cases import azure, counts, facts_of, findings_of, only, values

NODE: dict[str, Json] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
POLICY: dict[str, Json] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"podSelector": {}},
}


def daemon(name: str, *containers: tuple[str, str], wanted: int | None = 1, **pod: Json) -> RawObject:
    """A DaemonSet; `wanted` None leaves its status out, as a manifest does."""
    listed: list[Json] = [{"name": container, "image": image} for container, image in containers]
    spec: dict[str, Json] = {"template": {"spec": {"containers": listed, **pod}}}
    metadata: dict[str, Json] = {"name": name, "namespace": "kube-system"}
    data: dict[str, Json] = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}
    if wanted is not None:
        data["status"] = {"desiredNumberScheduled": wanted, "numberReady": wanted}
    return RawObject(data)


def node(kubelet: str = "v1.33.1", **labels: str) -> RawObject:
    metadata: dict[str, Json] = {"name": "node-1", "labels": {**labels}}
    return RawObject({**NODE, "metadata": metadata, "status": {"nodeInfo": {"kubeletVersion": kubelet}}})


def scan(*objects: RawObject) -> tuple[Fact, ...]:
    return facts_of(list(objects), asked(*objects))


def assessed(*objects: RawObject) -> list[str]:
    return [finding.id for finding in findings_of(list(objects), asked(*objects))]


def asked(*objects: RawObject) -> list[KindCount]:
    """How a scan of a cluster with these objects reads its kinds."""
    return counts(list(objects), (("apps/v1", "DaemonSet"),))


@pytest.mark.parametrize(
    ("daemons", "enforcing", "failing_open"),
    [
        pytest.param([daemon("kindnet", ("kindnet-cni", "kindest/kindnetd:v20250214-acbabc1a"))], ("kindnet",), False,
                     id="kindnet enforces since kind 0.24"),
        pytest.param([daemon("kindnet", ("kindnet-cni", "kindest/kindnetd:v20240513-cd2ac642"))], (), True,
                     id="an older kindnet does not"),
        pytest.param([daemon("kindnet", ("kindnet-cni", "kindest/kindnetd@sha256:00"))], (), False,
                     id="a kindnet without a version is not judged"),
        pytest.param([daemon("weave-net", ("weave", "w:2.8.1"), ("weave-npc", "n:2.8.1"))], ("weave",), False,
                     id="Weave with its policy controller"),
        pytest.param([daemon("weave-net", ("weave", "w:2.8.1"))], (), True, id="Weave without it"),
        pytest.param([daemon("canal", ("calico-node", "c:v3.28"), ("kube-flannel", "f:v0.24"))], ("calico",), False,
                     id="canal is Calico's policy over Flannel"),
        pytest.param([daemon("kube-flannel-ds", ("kube-flannel", "f:v0.26"), ("kube-network-policies", "k:v1"))],
                     ("kube-network-policies",), False, id="Flannel with the separate controller"),
        pytest.param([daemon("antrea-agent", ("antrea-agent", "a:v2.2.0"))], ("antrea",), False, id="Antrea"),
        pytest.param([daemon("aws-node", ("aws-node", "a:v1.19"))], (), False, id="the VPC CNI needs a setting"),
        pytest.param([daemon("kube-router", ("kube-router", "k:v2.2"))], (), False, id="kube-router has a switch"),
        pytest.param([daemon("azure-npm", ("azure-npm", "n:v1.6.29"), wanted=0)], (), False,
                     id="an engine that no node runs does not enforce, and the CNI is not known"),
        pytest.param([daemon("azure-npm", ("azure-npm", "n:v1.6.29"), wanted=None)], (), False,
                     id="a manifest without status is not a running engine"),
    ],
)  # fmt: skip
def test_enforcement(daemons: list[RawObject], enforcing: tuple[str, ...], failing_open: bool) -> None:
    objects = [node(), RawObject(POLICY), *daemons]
    assert engines(scan(*objects)) == enforcing
    assert ("SCAN-FAIL-OPEN" in assessed(*objects)) is failing_open


def test_canal_takes_its_network_from_flannel() -> None:
    facts = scan(node(), daemon("canal", ("calico-node", "c:v3.28"), ("kube-flannel", "f:v0.24")))
    assert values(facts, "cni") == [("flannel", "active")]


def test_cilium_beside_another_cni_is_not_the_network() -> None:
    config: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cilium-config", "namespace": "kube-system"},
        "data": {"cni-chaining-mode": "aws-cni"},
    }
    agents = daemon("cilium", ("cilium-agent", "c:v1.17.1")), daemon("aws-node", ("aws-node", "a:v1.19"))
    assert values(scan(node(), *agents, RawObject(config)), "cni") == [("aws-vpc-cni", "active")]


def test_npm_bound_to_windows_nodes_is_the_windows_one() -> None:
    windows: Json = {"kubernetes.io/os": "windows"}
    facts = scan(node(), daemon("azure-npm", ("azure-npm", "n:v1.5"), nodeSelector=windows))
    assert values(facts, "engine") == [("npm-windows", "active")]


def test_k3s_runs_a_policy_controller_that_no_workload_shows() -> None:
    facts = scan(node("v1.31.2+k3s1"), RawObject(POLICY))
    assert values(facts, "engine") == [("kube-router", "unknown")]
    assert "--disable-network-policy" in only(facts, "engine").detail
    assert only(facts, "kube-proxy-mode").state == "unknown", "k3s runs kube-proxy in its agent too"


def test_running_pods_show_an_engine_whose_daemonset_may_not_be_read() -> None:
    owner: Json = [{"kind": "DaemonSet", "name": "azure-npm", "controller": True}]
    metadata: dict[str, Json] = {"name": "azure-npm-x7k2p", "namespace": "kube-system", "ownerReferences": owner}
    pod = RawObject({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}})
    kinds = [KindCount("apps/v1", "DaemonSet", "forbidden"), KindCount("v1", "Pod", "read", 1)]
    facts = facts_of([node(), pod], kinds)
    assert values(facts, "engine") == [("npm-linux", "active")]
    assert engines(facts) == ("npm-linux",)


@pytest.mark.parametrize(
    ("profile", "enforcing", "cni", "ipam", "kubenet"),
    [
        ("npm-node-subnet", ("npm-linux",), "azure-cni-node-subnet", "node-subnet", "none"),
        ("npm-windows", ("npm-linux", "npm-windows"), "azure-cni-node-subnet", "node-subnet", "none"),
        ("npm-overlay-nap", ("npm-linux",), "azure-cni-overlay", "overlay", "none"),
        ("kubenet-calico", ("calico",), "kubenet", "host-local", "kubenet"),
        ("calico-azurecni-old", ("calico",), "azure-cni-node-subnet", "node-subnet", "none"),
        ("acpc-acns-l7", ("cilium",), "azure-cni-overlay", "overlay", "none"),
    ],
)
def test_azures_own_word(profile: str, enforcing: tuple[str, ...], cni: str, ipam: str, kubenet: str) -> None:
    objects = azure(profile)
    facts = facts_of(objects, counts(objects))
    found = (engines(facts), only(facts, "cni").value, only(facts, "ipam").value, only(facts, "kubenet").value)
    assert found == (enforcing, cni, ipam, kubenet)
    assert only(facts, "cloud").value == "aks"


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        pytest.param(["10.1.0.0/24", "fd00:1::/64"], ["POL-IPV6"], id="NPM leaves IPv6 free"),
        pytest.param(["10.1.0.0/24"], [], id="there is no IPv6"),
    ],
)
def test_ipv6_beside_npm(blocks: list[Json], expected: list[str]) -> None:
    dual = RawObject({**NODE, "spec": {"podCIDRs": blocks}})
    objects = [dual, daemon("azure-npm", ("azure-npm", "n:v1.6.29"))]
    assert assessed(*objects) == expected


def test_a_scan_of_some_namespaces_does_not_say_that_nothing_enforces() -> None:
    objects = [node(**{"kubernetes.azure.com/cluster": "MC_a"}), RawObject(POLICY)]
    facts = facts_of(objects, asked(*objects), every_namespace=False)
    assert [only(facts, topic).state for topic in ("engine", "cni", "kubenet")] == ["unknown"] * 3
    assert findings_of(objects, asked(*objects), every_namespace=False) == ()
    assert assessed(*objects) == ["SCAN-FAIL-OPEN"]


def test_a_windows_pool_that_azure_names() -> None:
    objects = azure("npm-windows")
    facts = facts_of(objects, counts(objects))
    assert values(facts, "windows-pool") == [("npwin", "active")]
    assert [finding.id for finding in findings_of(objects, counts(objects))] == ["CLU-WINDOWS-POOL"]


def test_azure_with_cilium_has_no_kube_proxy() -> None:
    objects = azure("acpc-acns-l7")
    assert only(facts_of(objects, counts(objects)), "kube-proxy-mode").state == "absent"


def test_azures_word_is_doubted_when_no_pod_of_the_engine_is_in_the_cluster() -> None:
    facts = scan(*azure("npm-node-subnet"), node(), RawObject(POLICY))
    assert values(facts, "engine") == [("npm-linux", "unknown")]
    assert values(facts, "policy-enforcement") == [("unknown", "unknown")]


def test_a_node_label_alone_does_not_make_an_engine_active() -> None:
    labelled = node(**{"kubernetes.azure.com/network-policy": "calico"})
    facts = facts_of([labelled], [KindCount("v1", "Node", "read", 1)])
    assert values(facts, "engine") == [("calico", "unknown")]
    assert engines(facts) == ()


LEFT: dict[str, Json] = {
    "apiVersion": "crd.projectcalico.org/v1",
    "kind": "GlobalNetworkPolicy",
    "metadata": {"name": "default.old"},
}


@pytest.mark.parametrize(
    ("others", "state"),
    [
        pytest.param([node()], "absent", id="every DaemonSet was read, and none is of Calico"),
        pytest.param([node(), daemon("calico-node", ("calico-node", "c:v3.28"), wanted=0)], "absent",
                     id="a Calico that no node runs"),
        pytest.param([node(), daemon("calico-node", ("calico-node", "c:v3.28"))], "active", id="Calico runs"),
        pytest.param([node(), daemon("aws-node", ("aws-node", "a:v1.19"))], "absent",
                     id="a doubt about an engine that does not read them"),
        pytest.param([node(), daemon("acme", ("acme", "a:v1"), volumes=[{"hostPath": {"path": "/etc/cni/net.d"}}])],
                     "unknown", id="a CNI that nobody knows by sight"),
        pytest.param([], "unknown", id="no nodes: a folder of manifests"),
    ],
)  # fmt: skip
def test_who_enforces_calicos_policies(others: list[RawObject], state: str) -> None:
    objects = [RawObject(LEFT), *others]
    (found,) = [f for f in scan(*objects) if f.topic == "policy-enforcement" and "projectcalico" in f.detail]
    assert found.state == state
    said = [finding for finding in findings_of(objects, asked(*objects)) if finding.id == "SCAN-FAIL-OPEN"]
    assert [finding.detail.partition(":")[0] for finding in said] == ["crd.projectcalico.org"] * (state == "absent")


@pytest.mark.parametrize(
    ("advanced", "expected"),
    [
        pytest.param(None, ("none", "absent"), id="it was never switched on"),
        pytest.param({"enabled": False, "security": {"enabled": True, "advancedNetworkPolicies": "L7"}},
                     ("none", "absent"), id="all of it is off"),
        pytest.param({"enabled": True, "security": {"enabled": False, "advancedNetworkPolicies": "L7"}},
                     ("none", "absent"), id="only observability is on"),
        pytest.param({"enabled": True, "security": {"enabled": True, "advancedNetworkPolicies": "None"}},
                     ("none", "absent"), id="security without policies"),
        pytest.param({"enabled": True, "security": {"enabled": True, "advancedNetworkPolicies": "FQDN"}},
                     ("fqdn", "active"), id="FQDN"),
        pytest.param({"enabled": True, "security": {"enabled": True, "advancedNetworkPolicies": "L7"}},
                     ("l7", "active"), id="L7"),
        pytest.param({"enabled": True, "security": {"enabled": True}}, ("fqdn", "active"), id="FQDN is the default"),
    ],
)  # fmt: skip
def test_advanced_network_policies_of_aks(advanced: Json, expected: tuple[str, str]) -> None:
    objects = azure("acpc-acns-l7", networkProfile={"advancedNetworking": advanced})
    facts = facts_of(objects, counts(objects))
    assert values(facts, "acns") == [expected]
    assert only(facts, "acns").evidence


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"networkProfile": {"kubeProxyConfig": {"enabled": True, "mode": "IPVS"}}},
                     ("kube-proxy-mode", "ipvs", "active"), id="kube-proxy's mode"),
        pytest.param({"networkProfile": {"kubeProxyConfig": {"enabled": False, "mode": None}}},
                     ("kube-proxy-mode", "none", "absent"), id="kube-proxy is off"),
        pytest.param({"networkProfile": {"kubeProxyConfig": None}},
                     ("kube-proxy-mode", "unknown", "unknown"), id="nothing about kube-proxy"),
        pytest.param({"agentPoolProfiles": [{"localDnsProfile": {"mode": "Required"}}]},
                     ("node-local-dns", "aks-localdns", "active"), id="LocalDNS is required"),
        pytest.param({"agentPoolProfiles": [{"localDnsProfile": {"mode": "Preferred", "state": "Enabled"}}]},
                     ("node-local-dns", "aks-localdns", "active"), id="LocalDNS came by itself"),
        pytest.param({"agentPoolProfiles": [{"localDnsProfile": {"mode": "Disabled", "state": "Disabled"}}]},
                     ("node-local-dns", "unknown", "unknown"), id="no LocalDNS, but there may be a DaemonSet"),
    ],
)  # fmt: skip
def test_settings_that_azure_tells(said: dict[str, Json], expected: tuple[str, str, str]) -> None:
    objects = azure("npm-node-subnet", **said)
    fact = only(facts_of(objects, counts(objects)), expected[0])
    assert (fact.topic, fact.value, fact.state) == expected
