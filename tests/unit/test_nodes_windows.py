"""What is said of Windows nodes: nothing where they have what the policies ask for, and each fault by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from migrate.model.finding import Effect, Severity
from migrate.model.raw import Json
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.windows.names import ids_of
from migrate.readiness.rules import severity_of
from tests.unit.windows_nodes import (
    CASES,
    CLUSTER,
    HNS,
    POLICIES,
    Hns,
    Seen,
    acls,
    endpoints,
    network,
    newer_endpoints,
    sample,
    scanned,
    seen,
    set_named,
)

V1, V2, NETWORKS, VERSION = "hns-endpoints.json", "hcn-endpoints.json", "hcn-networks.json", "windows.txt"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    """The cluster with the three sample policies."""
    return scanned(tmp_path_factory.mktemp("cluster"), CLUSTER, POLICIES)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({V1: "get-hnsendpoint.json", NETWORKS: "hcn-network-azure.json"}, id="HNS v1"),
        pytest.param({V2: "hcn-endpoints.json", NETWORKS: "hcn-network-azure.json"}, id="HCN v2"),
        pytest.param(
            {V1: "get-hnsendpoint.json", V2: "hcn-endpoints.json", NETWORKS: "hcn-network-azure.json"}, id="both"
        ),
        pytest.param({V1: "get-hnsendpoint.json"}, id="endpoints without sets"),
        pytest.param({NETWORKS: "hcn-network-azure.json"}, id="sets without endpoints"),
        pytest.param({V1: "get-hnsendpoint-truncated.json", NETWORKS: "hcn-network-azure.json"}, id="too flat"),
        pytest.param(
            {V1: "get-hnsendpoint-truncated.json", V2: "hcn-endpoints.json"}, id="too flat beside a whole one"
        ),
        pytest.param({path.name: path.name for path in HNS.glob("*-*.json")}, id="all at once"),
    ],
)
def test_a_node_that_has_what_the_policies_ask_for(files: Mapping[str, str], view: ClusterView, tmp_path: Path) -> None:
    answer = seen(tmp_path, view, {name: (HNS / source).read_bytes() for name, source in files.items()})
    assert answer.details == ""


@pytest.mark.parametrize("name", ["get-hnsendpoint-single.json", "get-hnsendpoint-utf16.json"])
def test_a_dump_of_one_endpoint_leaves_the_other_pods_without(name: str, view: ClusterView, tmp_path: Path) -> None:
    answer = seen(tmp_path, view, {name: (HNS / name).read_bytes()})
    assert answer.ids == ["NODE-HNS-DRIFT"] * 2
    assert [pod in answer.details for pod in ("demo/frontend-0", "ops/prober-0", "demo/backend-0")] == [
        True,
        True,
        False,
    ]


def test_facts(view: ClusterView, tmp_path: Path) -> None:
    facts = seen(tmp_path, view, {V1: endpoints(), V2: newer_endpoints(), NETWORKS: network()}).facts
    assert {topic: (fact.value, fact.detail) for topic, fact in facts.items()} == {
        "windows-build": ("10.0.20348.4294", "Windows Server 2022"),
        "hns-endpoints": ("3", "3 of running pods"),
        "hns-acls": ("28", "13 with an id that NPM gives"),
        "hns-network": ("azure", "L2Bridge with 26 sets"),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_version_may_be_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    facts = seen(tmp_path, None, {VERSION: "10.0.26100.1742\r\n".encode(encoding), V1: endpoints()}).facts
    assert (facts["windows-build"].value, facts["windows-build"].detail) == ("10.0.26100.1742", "Windows Server 2025")


Change = Callable[[list[Hns], Hns], object]
"""A fault put into endpoints of the older form and the network."""


def _matches(words: str, answer: Seen) -> None:
    assert re.search(words, answer.details), answer.details


def _drop_acl(found: list[Hns], given: Hns) -> None:
    found[1]["Policies"].remove(acls(found[1], "demo-backend-ingress")[0])


def _acl(**fields: Json) -> Change:
    return lambda found, given: acls(found[1], "demo-backend-ingress")[0].update(fields)


OLD_NAMES = {
    "cidr-frontend-egress:in-ns:demo-1-0OUT": "cidr-frontend-egress-in-ns-demo-1-0OUT",
    "cidr-frontend-egress:in-ns:demo-2-0OUT": "cidr-frontend-egress-in-ns-demo-2-0OUT",
    "nestedlabel-demo/backend-ingress:role:prober:scraper": "nestedlabel-demo/backend-ingress-role:prober:scraper",
}


def _in_older_names(given: Hns, text: str) -> str:
    for policy in given["Policies"]:
        name = policy["Settings"].get("Name")
        if name:
            new, old = ids_of(name)[0], ids_of(OLD_NAMES.get(name, name))[1]
            text = text.replace(new, old).replace(json.dumps(name), json.dumps(OLD_NAMES.get(name, name)))
    return text


@pytest.mark.parametrize("with_network", [True, False])
def test_the_older_names_of_sets(with_network: bool, view: ClusterView, tmp_path: Path) -> None:
    found, given = (_in_older_names(network(), json.dumps(value)) for value in (endpoints(), network()))
    assert "azure-npm-4045649522" in found
    files = {V1: found, NETWORKS: given} if with_network else {V1: found}
    assert seen(tmp_path, view, files).details == ""


REFUSED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: given, namespace: %s}
spec: %s
"""
NAMED = "{podSelector: {matchLabels: {app: backend}}, ingress: [{ports: [{port: http}]}]}"
FROM_OTHERS = (
    "{podSelector: {matchLabels: {app: backend}}, ingress: [{from: [{namespaceSelector: "
    "{matchExpressions: [{key: team, operator: NotIn, values: [ops]}]}}]}]}"
)
TO_OTHERS = (
    "{podSelector: {matchLabels: {app: backend}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: "
    "{matchExpressions: [{key: team, operator: NotIn, values: [ops]}]}}]}]}"
)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(NAMED, 'named port "http"', id="a named port"),
        pytest.param(FROM_OTHERS, "fails for ever", id="an ingress peer of negations"),
        pytest.param(TO_OTHERS, "newer releases refuse", id="an egress peer of negations, with newer releases"),
        pytest.param(NAMED.replace("backend", "nobody"), "", id="no pod here"),
        pytest.param("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]}", "IPv6", id="IPv6"),
    ],
)
def test_refused_policies_leave_pods_open(spec: str, words: str, tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, POLICIES, more=REFUSED % ("demo", spec))
    answer = seen(tmp_path, view, {V1: endpoints(), NETWORKS: network()})
    assert answer.ids == (["NODE-HNS-REFUSED"] if words else []), answer.details
    assert words in answer.details
    assert [finding.effect for finding in answer.findings] == ([Effect.NARROWS] if words else [])


def test_the_sample_policy_that_windows_refuses(tmp_path: Path) -> None:
    assert "translateError" in sample("npm-acls-by-policy.json")["demo/api-restricted"]
    extra = CASES / "azure" / "policies" / "linux-only.yaml"
    answer = seen(tmp_path, scanned(tmp_path / "cluster", CLUSTER, POLICIES, extra), {V1: endpoints()})
    assert answer.ids == ["NODE-HNS-REFUSED"]
    assert "pod demo/backend-0 open" in answer.details


def test_acls_of_an_earlier_text_of_a_refused_policy(tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, POLICIES, more=REFUSED % ("demo", NAMED))
    found = endpoints()
    found[1]["Policies"] += [{**acl, "Id": "azure-acl-demo-given"} for acl in acls(found[1], "demo-backend-ingress")]
    answer = seen(tmp_path, view, {V1: found})
    assert answer.ids == ["NODE-HNS-DRIFT"]
    assert "ACLs of an earlier text of it" in answer.details


def _turned_around() -> list[Hns]:
    found = endpoints()
    common = {"Type": "ACL", "Id": "azure-acl-demo-given", "RuleType": "Switch", "Protocols": "256"}
    ops = ids_of("nslabel-team:ops")[0]
    found[1]["Policies"] += [
        {**common, "Action": "Allow", "Direction": "Out", "Priority": 222, "RemoteAddresses": ops},
        {**common, "Action": "Block", "Direction": "Out", "Priority": 3000},
        {**common, "Action": "Allow", "Direction": "In", "Priority": 201, "RemoteAddresses": "10.224.0.33"},
    ]
    return found


def test_a_negated_egress_peer_that_is_programmed_turned_around(tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, POLICIES, more=REFUSED % ("demo", TO_OTHERS))
    answer = seen(tmp_path, view, {V1: _turned_around(), NETWORKS: network()})
    assert answer.ids == ["NODE-HNS-INVERTED"], answer.details
    assert severity_of(answer.findings[0]) is Severity.BLOCKER
    positive = scanned(tmp_path / "other", CLUSTER, POLICIES, more=REFUSED % ("demo", TO_OTHERS.replace("NotIn", "In")))
    assert seen(tmp_path, positive, {V1: _turned_around(), NETWORKS: network()}).ids == []


SHARED = """
apiVersion: v1
kind: Namespace
metadata: {name: demo-backend, labels: {kubernetes.io/metadata.name: demo-backend}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ingress, namespace: demo-backend}
spec: {podSelector: {}, ingress: []}
"""


def test_two_policies_whose_acls_have_one_id(tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, POLICIES, more=SHARED)
    answer = seen(tmp_path, view, {V1: endpoints()})
    assert answer.ids == ["NODE-HNS-SHARED-ID"]
    assert "demo/backend-ingress and NetworkPolicy demo-backend/ingress have ACLs with one id" in answer.details


def test_an_id_is_not_cut_apart_to_find_its_policy(tmp_path: Path) -> None:
    text = POLICIES.read_text(encoding="utf-8").replace(
        "name: backend-ingress, namespace: demo", "name: ingress, namespace: demo-backend"
    )
    (tmp_path / "policies.yaml").write_text(text, encoding="utf-8")
    answer = seen(tmp_path, scanned(tmp_path / "cluster", CLUSTER, tmp_path / "policies.yaml"), {V1: endpoints()})
    assert answer.ids == ["NODE-HNS-DRIFT"]
    assert "fits only NetworkPolicy demo-backend/ingress, and that does not select it" in answer.details


@pytest.mark.parametrize(
    ("without", "words"),
    [
        pytest.param(False, "only ACLs that allow everything behind the policies keep them open", id="as it comes"),
        pytest.param(True, r"nothing allows the rest on 9a10f0c0-eth0 \(Out\)", id="without an allow for the rest"),
    ],
)
def test_windows_server_2025(without: bool, words: str, view: ClusterView, tmp_path: Path) -> None:
    found = endpoints()
    if without:
        found[0]["Policies"].pop(4)
    answer = seen(tmp_path, view, {V1: found, VERSION: "10.0.26100.4652"})
    assert answer.ids == ["NODE-HNS-2025", *(["NODE-HNS-BASE"] if without else [])]
    _matches(words, answer)


@pytest.mark.parametrize(
    ("changed", "ids"),
    [
        pytest.param({"10.0.20348.4294": "10.0.26100.1"}, ["NODE-HNS-2025"], id="the build"),
        pytest.param({"10.0.20348.4294": "", "Server 2022": "Server 2025"}, ["NODE-HNS-2025"], id="the name alone"),
        pytest.param({"Server 2022": "Server 2025"}, [], id="the build goes before the name"),
    ],
)
def test_windows_server_2025_by_what_the_node_says_of_itself(
    changed: Mapping[str, str], ids: list[str], tmp_path: Path
) -> None:
    text = CLUSTER.read_text(encoding="utf-8")
    for old, new in changed.items():
        text = text.replace(old, new)
    (tmp_path / "cluster.yaml").write_text(text, encoding="utf-8")
    view = scanned(tmp_path / "scan", tmp_path / "cluster.yaml", POLICIES)
    assert seen(tmp_path, view, {V1: endpoints()}).ids == ids


def test_without_acls_the_default_of_windows_is_open(tmp_path: Path) -> None:
    found = endpoints()
    for endpoint in found:
        endpoint["Policies"] = []
    assert "NODE-HNS-2025" not in seen(tmp_path, None, {V1: found, VERSION: "10.0.26100.1"}).ids


def test_files_that_differ_are_believed_where_they_agree(view: ClusterView, tmp_path: Path) -> None:
    found, newer = endpoints(), newer_endpoints()
    dropped = acls(found[1], "demo-backend-ingress")[0]
    found[1]["Policies"].remove(dropped)
    answer = seen(tmp_path, view, {V1: found, V2: newer, NETWORKS: network()})
    assert answer.ids == ["NODE-HNS-DISAGREE"]
    assert "hcn-endpoints.json" in answer.details
    newer[1]["Policies"] = [p for p in newer[1]["Policies"] if p["Settings"].get("LocalPorts") != "8080"]
    assert seen(tmp_path, view, {V1: found, V2: newer, NETWORKS: network()}).ids == ["NODE-HNS-DRIFT"]


@pytest.mark.parametrize("left", [100, 4000, 9000, 13612])
def test_what_a_cut_dump_lacks_is_no_drift(left: int, view: ClusterView, tmp_path: Path) -> None:
    cut = (HNS / "get-hnsendpoint.json").read_bytes()[:left]
    assert seen(tmp_path, view, {V1: cut, NETWORKS: network()}).ids == []
    half = (HNS / "hcn-network-azure.json").read_bytes()[: left // 2]
    assert seen(tmp_path, view, {V1: endpoints(), NETWORKS: half}).ids == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_acl(Direction="Up"), id="no direction"),
        pytest.param(_acl(Priority="high"), id="no number"),
        pytest.param(_acl(Type=None), id="no type"),
        pytest.param(lambda found, given: set_named(given, "ns-demo").update(Values=17), id="no members"),
    ],
)
def test_what_cannot_be_read_is_no_drift(change: Change, view: ClusterView, tmp_path: Path) -> None:
    found, given = endpoints(), network()
    change(found, given)
    assert seen(tmp_path, view, {V1: found, NETWORKS: given}).ids == []


def test_calicos_network(view: ClusterView, tmp_path: Path) -> None:
    found, given = json.loads(json.dumps([endpoints(), network()]).replace('"azure"', '"Calico"'))
    ids = ("wireserver", "allowinswitch", "allowoutswitch", "allowinhost", "allowouthost")
    for endpoint in found:
        for policy, name in zip(endpoint["Policies"][2:7], ids, strict=True):
            policy["Id"] = f"azure-acl-base{'azure' if name == 'wireserver' else ''}{name}"
        endpoint["Policies"] += [
            {"Type": "ACL", "Action": "Block", "Direction": way, "Priority": 65500, "RuleType": "Switch"}
            for way in ("In", "Out")
        ]
    assert seen(tmp_path, view, {V1: found, NETWORKS: given}).details == ""
    del found[0]["Policies"][2]
    assert seen(tmp_path, view, {V1: found, NETWORKS: given}).ids == ["NODE-HNS-BASE"]


def test_without_a_snapshot_only_the_node_speaks(tmp_path: Path) -> None:
    found, given = endpoints(), network()
    _drop_acl(found, given)
    assert seen(tmp_path, None, {V1: found, NETWORKS: given}).ids == []
    del found[0]["Policies"][2]
    assert seen(tmp_path, None, {V1: found, NETWORKS: given}).ids == ["NODE-HNS-BASE"]


def test_a_cluster_that_was_not_read_whole_does_not_make_things_too_many(tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER)
    assert seen(tmp_path, view, {V1: endpoints(), NETWORKS: network()}).ids == ["NODE-HNS-DRIFT"] * 3
    partly = replace(view, header=msgspec.structs.replace(view.header, namespaces=("demo",)))
    assert seen(tmp_path, partly, {V1: endpoints(), NETWORKS: network()}).ids == []


def test_dumps_of_linux_nodes_are_not_looked_at(view: ClusterView, tmp_path: Path) -> None:
    answer = seen(tmp_path, view, {"iptables-nft-save.txt": "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"})
    assert (answer.findings, dict(answer.facts)) == ((), {})


LITE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: azure-npm-config, namespace: kube-system}
data: {azure-npm.json: '{"Toggles": {"EnableNPMLite": true}}'}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: given, namespace: demo}
spec:
  podSelector: {matchLabels: {app: backend}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 80}]}]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, %s}}]}]
"""


def _lite(network: str, everything: str) -> list[Hns]:
    found = endpoints()
    for endpoint in found:
        endpoint["Policies"] = [p for p in endpoint["Policies"] if "azure-acl-" not in p.get("Id", "")]
    common = {"Type": "ACL", "Id": "azure-acl-demo-given", "RuleType": "Switch", "Priority": 222, "Action": "Allow"}
    found[1]["Policies"] += [
        {**common, "Direction": "In", "RemoteAddresses": network, "LocalPorts": "80", "Protocols": "6"},
        {**common, "Direction": "Out", "RemoteAddresses": everything},
        {**common, "Direction": "In", "Action": "Block", "Priority": 3000},
        {**common, "Direction": "Out", "Action": "Block", "Priority": 3000},
        {**common, "Direction": "In", "Priority": 201, "RemoteAddresses": "10.224.0.33"},
    ]
    return found


@pytest.mark.parametrize(
    ("network", "everything", "hole", "ids"),
    [
        pytest.param("10.20.0.0/16", "0.0.0.0/0", "", [], id="blocks in place of sets"),
        pytest.param("10.20.0.0/16", "0.0.0.0/1,128.0.0.0/1", "", [], id="halves"),
        pytest.param("10.21.0.0/16", "0.0.0.0/0", "", ["NODE-HNS-DRIFT"], id="another block"),
        pytest.param("10.21.0.0/16", "0.0.0.0/0", "except: [10.1.0.0/16]", [], id="releases differ in holes"),
    ],
)
def test_npm_lite(network: str, everything: str, hole: str, ids: list[str], tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, more=LITE % hole)
    answer = seen(tmp_path, view, {V1: _lite(network, everything)})
    assert answer.ids == ids, answer.details


def test_npm_lite_refuses_selectors(tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, POLICIES, more=LITE % "")
    answer = seen(tmp_path, view, {V1: _lite("10.20.0.0/16", "0.0.0.0/0")})
    assert sorted(set(answer.ids)) == ["NODE-HNS-DRIFT", "NODE-HNS-REFUSED"]
    assert "with EnableNPMLite only blocks are taken" in answer.details


def _elsewhere(value: list[Hns] | Hns) -> str:
    return json.dumps(value).replace("10.244.", "10.99.")


@pytest.mark.parametrize("with_network", [True, False])
def test_a_dump_of_another_cluster(with_network: bool, view: ClusterView, tmp_path: Path) -> None:
    files = {V1: _elsewhere(endpoints()), **({NETWORKS: _elsewhere(network())} if with_network else {})}
    assert seen(tmp_path, view, files).ids == ["NODE-HNS-OTHER-CLUSTER"]


CILIUM = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cilium, namespace: kube-system}
spec: {template: {spec: {containers: [{name: cilium-agent, image: "quay.io/cilium/cilium:v1.18.6"}]}}}
status: {desiredNumberScheduled: 1, numberReady: 1}
"""


def test_acls_that_npm_left(tmp_path: Path) -> None:
    view = scanned(tmp_path / "cluster", CLUSTER, POLICIES, more=CILIUM)
    answer = seen(tmp_path, view, {V1: endpoints(), NETWORKS: network()})
    assert answer.ids == ["NODE-HNS-LEFTOVER"], (answer.details, view.header.facts)
    assert "13 ACLs of it are on 3 endpoints" in answer.details


def test_calico_without_npm(view: ClusterView, tmp_path: Path) -> None:
    found = json.loads(json.dumps(endpoints()).replace('"azure"', '"Calico"'))
    for endpoint in found:
        endpoint["Policies"] = [{"Type": "ACL", "Id": "policy-x", "Action": "Block", "Direction": "In", "Priority": 9}]
    assert seen(tmp_path, None, {V1: found}).ids == []


def test_names_of_a_hostile_dump_stay_on_their_line(view: ClusterView, tmp_path: Path) -> None:
    found = endpoints()
    found[1]["Name"] = "e\n\x1b[31mth0" + "x" * 5000
    _drop_acl(found, {})
    (finding,) = seen(tmp_path, view, {V1: found}).findings
    assert finding.detail.isprintable()
    assert len(finding.detail) < 2100
