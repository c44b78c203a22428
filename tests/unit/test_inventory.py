"""What a snapshot says about the cluster: each topic found and not found, with its evidence."""

import tracemalloc

import pytest

from migrate.model.documents import Evidence, Fact, KindCount
from migrate.model.raw import Json, RawObject
from migrate.scan.encoded import EncodedObjects
from migrate.scan.inventory import Inventory, engines
from tests.unit.inventory_cases import cluster, counts, facts_of, findings_of, given, only, values


def facts_in(case: str) -> tuple[Fact, ...]:
    return facts_of(*cluster(case))


NO_POLICY = "none: policies exist but nothing enforces them"


@pytest.mark.parametrize(
    ("case", "topic", "expected"),
    [
        pytest.param("aks-npm", "engine", [("npm-linux", "active"), ("npm-windows", "active")], id="NPM on both"),
        pytest.param("calico-operator", "engine", [("calico", "active")], id="Calico by its operator"),
        pytest.param(
            "flannel-fail-open", "engine", [("flannel", "active")], id="Flannel is named though it is no engine"
        ),
        pytest.param("cilium-dual-stack", "engine", [("cilium", "active")], id="Cilium is there already"),
        pytest.param(
            "npm-with-leftovers",
            "engine",
            [("calico", "present"), ("cilium", "present"), ("npm-linux", "active")],
            id="kinds without a running agent are leftovers",
        ),
        pytest.param(
            "two-engines", "engine", [("calico", "active"), ("npm-linux", "active")], id="two engines at once"
        ),
        pytest.param("aks-kubenet", "engine", [("none", "absent")], id="no engine on a cluster whose CNI is known"),
        pytest.param(
            "unknown-cni", "engine", [("other: kube-system/acme-net", "unknown")], id="a CNI that nobody knows by sight"
        ),
        pytest.param("aks-npm", "policy-enforcement", [("npm-linux, npm-windows", "active")], id="NPM enforces"),
        pytest.param("flannel-fail-open", "policy-enforcement", [(NO_POLICY, "absent")], id="Flannel fails open"),
        pytest.param("aks-kubenet", "policy-enforcement", [(NO_POLICY, "absent")], id="kubenet alone fails open"),
        pytest.param("unknown-cni", "policy-enforcement", [("unknown", "unknown")], id="an unknown CNI may enforce"),
        pytest.param(
            "npm-with-leftovers",
            "policy-enforcement",
            [("none: policies exist but nothing enforces them", "absent")] * 2 + [("npm-linux", "active")],
            id="nothing enforces leftovers",
        ),
        pytest.param(
            "calico-operator",
            "policy-enforcement",
            [("calico", "active"), ("calico", "active")],
            id="Calico enforces its own kinds and those of Kubernetes",
        ),
        pytest.param("aks-npm", "cni", [("azure-cni-overlay", "active")], id="overlay by the node label"),
        pytest.param("calico-operator", "cni", [("calico", "active")], id="Calico's network by its operator"),
        pytest.param("flannel-fail-open", "cni", [("flannel", "active")], id="Flannel's network"),
        pytest.param("cilium-dual-stack", "cni", [("cilium", "active")], id="Cilium's network"),
        pytest.param("aks-kubenet", "cni", [("kubenet", "active")], id="kubenet by what AKS nodes have and lack"),
        pytest.param("npm-with-leftovers", "cni", [("azure-cni-node-subnet", "active")], id="no pod CIDR: Azure CNI"),
        pytest.param("unknown-cni", "cni", [("other: kube-system/acme-net", "active")], id="a CNI with its own name"),
        pytest.param("aks-npm", "ipam", [("overlay", "active")], id="addresses of the overlay"),
        pytest.param("calico-operator", "ipam", [("calico", "active")], id="Calico's addresses"),
        pytest.param("cilium-dual-stack", "ipam", [("cluster-pool", "active")], id="Cilium's addresses"),
        pytest.param("unknown-cni", "ipam", [("unknown", "unknown")], id="addresses of an unknown CNI"),
        pytest.param("aks-kubenet", "kubenet", [("kubenet", "active")], id="kubenet is in use"),
        pytest.param("aks-npm", "kubenet", [("none", "absent")], id="kubenet is not in use"),
        pytest.param("aks-npm", "kube-proxy-mode", [("iptables", "active")], id="kube-proxy's default"),
        pytest.param("calico-operator", "kube-proxy-mode", [("ipvs", "active")], id="kube-proxy's configuration"),
        pytest.param("aks-kubenet", "kube-proxy-mode", [("nftables", "active")], id="kube-proxy's argument"),
        pytest.param("cilium-dual-stack", "kube-proxy-mode", [("none", "absent")], id="no kube-proxy"),
        pytest.param("flannel-fail-open", "kube-proxy-mode", [("unknown", "unknown")], id="arguments were cut off"),
        pytest.param("aks-npm", "ip-families", [("ipv4", "active")], id="IPv4 only"),
        pytest.param("cilium-dual-stack", "ip-families", [("dual-stack", "active")], id="both families"),
        pytest.param("unknown-cni", "ip-families", [("unknown", "unknown")], id="no address to go by"),
        pytest.param("aks-npm", "kubernetes-version", [("v1.33.4", "active")], id="the kubelets' version"),
        pytest.param(
            "aks-npm",
            "node-os",
            [("Ubuntu 22.04.5 LTS", "active"), ("Windows Server 2022 Datacenter", "active")],
            id="each operating system once",
        ),
        pytest.param("aks-kubenet", "node-kernel", [("5.15.0-1090-azure", "active")], id="the kernel"),
        pytest.param(
            "aks-npm",
            "node-image",
            [
                ("AKSUbuntu-2204gen2containerd-202610.20.0", "active"),
                ("AKSWindows-2022-containerd-20348.4294.251014", "active"),
            ],
            id="node images of AKS",
        ),
        pytest.param("calico-operator", "node-image", [], id="elsewhere nodes have no image by name"),
        pytest.param("aks-npm", "windows-pool", [("npwin", "active")], id="a Windows pool"),
        pytest.param("calico-operator", "windows-pool", [("none", "absent")], id="no Windows pool"),
        pytest.param("calico-operator", "service-mesh", [("istio", "active")], id="Istio with a revision"),
        pytest.param("cilium-dual-stack", "service-mesh", [("linkerd", "active")], id="Linkerd"),
        pytest.param("aks-npm", "service-mesh", [("none", "absent")], id="no mesh"),
        pytest.param("calico-operator", "node-local-dns", [("node-local-dns", "active")], id="the node-local cache"),
        pytest.param("aks-npm", "node-local-dns", [("aks-localdns", "active")], id="LocalDNS of AKS"),
        pytest.param("aks-kubenet", "node-local-dns", [("none", "absent")], id="no node-local DNS"),
        pytest.param("cilium-dual-stack", "cilium", [("v1.18.4", "active")], id="Cilium's version without the digest"),
        pytest.param("npm-with-leftovers", "cilium", [("version unknown", "present")], id="only Cilium's kinds"),
        pytest.param("aks-kubenet", "cilium", [("none", "absent")], id="no Cilium"),
        pytest.param("aks-npm", "acns", [("unknown", "unknown")], id="only Azure knows of ACNS"),
        pytest.param("calico-operator", "acns", [], id="ACNS is a part of AKS"),
        pytest.param("aks-npm", "cloud", [("aks", "active")], id="AKS by its node label"),
        pytest.param("cilium-dual-stack", "cloud", [("kind", "active")], id="the provider of the nodes"),
        pytest.param("calico-operator", "cloud", [("unknown", "unknown")], id="no cloud is named"),
        pytest.param("calico-operator", "pod-networks", [("10.48.0.0/16", "active")], id="pools go before node blocks"),
        pytest.param(
            "aks-npm", "pod-networks", [("10.244.0.0/23, 10.244.3.0/24", "active")], id="node blocks are merged"
        ),
        pytest.param("unknown-cni", "pod-networks", [("unknown", "unknown")], id="no pod network is named"),
        pytest.param("calico-operator", "service-network", [("10.96.0.0/12", "active")], id="by Calico's operator"),
        pytest.param("aks-npm", "service-network", [("unknown", "unknown")], id="cluster IPs show no network"),
        pytest.param("aks-npm", "node-count", [("3", "active")], id="nodes are counted"),
        pytest.param("aks-npm", "pod-count", [("2", "active")], id="pods are counted"),
        pytest.param(
            "calico-operator",
            "policy-count",
            [
                ("GlobalNetworkPolicy (crd.projectcalico.org/v1): 1", "active"),
                ("NetworkPolicy (networking.k8s.io/v1): 1", "active"),
            ],
            id="policies are counted by kind",
        ),
        pytest.param("two-engines", "policy-count", [("0", "active")], id="there are no policies"),
    ],
)
def test_topic(case: str, topic: str, expected: list[tuple[str, str]]) -> None:
    assert values(facts_in(case), topic) == expected


TOPICS_OF_FILES_WITHOUT_A_CLUSTER = (
    "cilium cloud cni engine ip-families ipam kube-proxy-mode kubenet kubernetes-version node-count node-kernel "
    "node-local-dns node-os pod-count pod-networks service-mesh service-network windows-pool"
)


@pytest.mark.parametrize("topic", TOPICS_OF_FILES_WITHOUT_A_CLUSTER.split())
def test_nothing_follows_from_what_a_folder_of_policies_does_not_hold(topic: str) -> None:
    objects = given("policies-only")[:1]
    found = only(facts_of(objects, counts(objects)), topic)
    assert (found.value, found.state) == ("unknown", "unknown")
    assert found.detail, "it has to say what would tell"


def test_a_calico_policy_in_a_folder_does_not_say_whether_calico_runs() -> None:
    objects = given("policies-only")
    facts = facts_of(objects, counts(objects))
    assert ("calico", "unknown") in values(facts, "engine")
    assert engines(facts) == ()
    assert findings_of(objects, counts(objects)) == ()


@pytest.mark.parametrize("case", ["aks-npm", "calico-operator", "cilium-dual-stack", "npm-with-leftovers"])
def test_every_statement_in_force_keeps_its_evidence(case: str) -> None:
    bare = [f for f in facts_in(case) if f.state in ("active", "present") and not f.evidence]
    assert {fact.topic for fact in bare} <= {"node-count", "pod-count"}, "only numbers speak for themselves"


def test_evidence_names_object_field_and_value() -> None:
    engine = next(fact for fact in facts_in("aks-npm") if fact.value == "npm-linux")
    image = "mcr.microsoft.com/containernetworking/azure-npm:v1.6.29"
    place = "spec.template.spec.containers[0].image"
    assert Evidence("DaemonSet kube-system/azure-npm", place, image) in engine.evidence
    assert Evidence("DaemonSet kube-system/azure-npm", "status.numberReady", "2") in engine.evidence
    assert engine.detail == "v1.6.29, azure-npm: 2 of 2 pods ready"


def test_a_label_key_with_dots_is_in_brackets() -> None:
    cni = only(facts_in("aks-npm"), "cni")
    assert cni.evidence[0].field == 'metadata.labels["kubernetes.azure.com/podnetwork-type"]'


def test_calicos_data_plane_is_the_operators_before_felixs() -> None:
    assert only(facts_in("calico-operator"), "engine").detail.endswith("data plane bpf")


def test_calicos_data_plane_by_felix_without_an_operator() -> None:
    objects, kinds = cluster("calico-operator")
    without = [raw for raw in objects if raw.ref.kind != "Installation"]
    engine = only(facts_of(without, kinds), "engine")
    assert engine.detail.endswith("data plane iptables")
    assert Evidence("FelixConfiguration default", "spec.bpfEnabled", "false") in engine.evidence


def test_an_engine_without_a_ready_pod_is_still_active_and_says_so() -> None:
    engine = next(fact for fact in facts_in("npm-with-leftovers") if fact.value == "npm-linux")
    assert (engine.state, engine.detail) == ("active", "v1.6.29, azure-npm: 0 of 1 pod ready")


def test_facts_are_in_the_order_of_topic_and_value_whatever_the_order_of_objects() -> None:
    objects, kinds = cluster("aks-npm")
    facts = facts_of(objects, kinds)
    assert list(facts) == sorted(facts, key=lambda fact: (fact.topic, fact.value))
    assert facts_of(objects[::-1], kinds) == facts


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("aks-npm", ("npm-linux", "npm-windows")),
        ("calico-operator", ("calico",)),
        ("npm-with-leftovers", ("npm-linux",)),
        ("two-engines", ("calico", "npm-linux")),
        ("cilium-dual-stack", ("cilium",)),
        ("flannel-fail-open", ()),
        ("unknown-cni", ()),
    ],
)
def test_engines_are_those_that_run_and_enforce(case: str, expected: tuple[str, ...]) -> None:
    assert engines(facts_in(case)) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param("aks-npm", ["CLU-WINDOWS-POOL"], id="a Windows pool stands in the way"),
        pytest.param("calico-operator", [], id="nothing is wrong with this picture"),
        pytest.param("flannel-fail-open", ["SCAN-FAIL-OPEN"], id="policies without an engine"),
        pytest.param("aks-kubenet", ["SCAN-FAIL-OPEN"], id="policies on kubenet without an engine"),
        pytest.param("unknown-cni", [], id="an unknown CNI is no proof that nothing enforces"),
        pytest.param("two-engines", ["SCAN-TWO-ENGINES"], id="two engines"),
        pytest.param(
            "npm-with-leftovers",
            ["NODE-CALICO-CRD-LEFT", "POL-CILIUM-CRD-PRESENT", "SCAN-FAIL-OPEN"],
            id="leftovers of two trials",
        ),
        pytest.param("cilium-dual-stack", [], id="policies of a Cilium that runs are no leftovers"),
    ],
)
def test_assessment(case: str, expected: list[str]) -> None:
    objects, kinds = cluster(case)
    assert [finding.id for finding in findings_of(objects, kinds)] == expected


def test_a_leftover_cilium_policy_is_named() -> None:
    objects, kinds = cluster("npm-with-leftovers")
    found = [f for f in findings_of(objects, kinds) if f.id == "POL-CILIUM-CRD-PRESENT"]
    assert [str(finding.subject) for finding in found] == ["CiliumNetworkPolicy shop/trial"]


def test_cilium_kinds_without_policies_give_one_finding_for_the_cluster() -> None:
    objects, kinds = cluster("two-engines")
    kinds.append(KindCount("cilium.io/v2", "CiliumNetworkPolicy", "read", 0))
    found = [f for f in findings_of(objects, kinds) if f.id == "POL-CILIUM-CRD-PRESENT"]
    assert [finding.subject for finding in found] == [None]


def test_of_pods_only_numbers_are_in_memory() -> None:
    containers: list[Json] = [{"name": f"c{i}", "image": "web:1"} for i in range(20)]
    pods = [
        RawObject({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": str(i)}, "spec": {"containers": containers}})
        for i in range(1000)
    ]
    objects = EncodedObjects.of(pods)
    tracemalloc.start()
    try:
        inventory = Inventory.of(objects, [])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert inventory.pods.total == 1000
    assert most < 2**18, "one pod takes 6 KB"
