"""Rules about the cluster as Azure describes it: found, not found, and not answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from migrate.model.raw import Json
from migrate.readiness.checks import all_checks
from migrate.readiness.evaluate import evaluate
from migrate.readiness.route import Wishes
from tests.readiness.folders import inventory, scanned
from tests.readiness.rule_rows import KUBENET, OVERLAY, TO_OVERLAY, Row, pools, shown

WINDOWS_NODE = """
apiVersion: v1
kind: Node
metadata: {name: akswin000000, labels: {kubernetes.io/os: windows, kubernetes.azure.com/cluster: MC_x, agentpool: win}}
status: {nodeInfo: {operatingSystem: windows, kubeletVersion: v1.35.1, osImage: Windows Server 2022 Datacenter}}
"""
NODE_POOL = "{apiVersion: karpenter.sh/v1, kind: NodePool, metadata: {name: default}}"
OTHER_NODE_POOL = "{apiVersion: example.io/v1, kind: NodePool, metadata: {name: default}}"
KILLED = """
apiVersion: v1
kind: Pod
metadata: {name: azure-npm-x2, namespace: kube-system, labels: {k8s-app: azure-npm}}
spec: {nodeName: aks-user-1-vmss000000, hostNetwork: true}
status: {phase: Running, containerStatuses: [{name: azure-npm, lastState: {terminated: {reason: OOMKilled}}}]}
"""
POD = "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{0}, namespace: shop}}, status: {{phase: Running}}}}\n"
NODE = "---\n{{apiVersion: v1, kind: Node, metadata: {{name: n{0}, labels: {{kubernetes.azure.com/cluster: MC}}}}}}\n"
NODES = "".join(NODE.format(number) for number in range(248))
PODS = "".join(POD.format(number) for number in range(20_001))
CALICO: Mapping[str, Json] = {"networkProfile": {"networkPolicy": "calico"}}
GONE = "AKSAzureLinux-V2gen2-202510.19.0"
MARINER = "AKSCBLMariner-V2gen2-202306.07.0"
LTS: Mapping[str, Json] = {"supportPlan": "AKSLongTermSupport"}


def cli(text: str) -> dict[str, Json]:
    return {"version": {"azure-cli": text, "azure-cli-core": text, "extensions": {"aks-preview": "9.0.0"}}}


def version(text: str | None, **more: Json) -> dict[str, Json]:
    return {"currentKubernetesVersion": text, "kubernetesVersion": text, **more}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param(Row("CLU-WINDOWS-POOL", profile="npm-windows"), ["pool npwin"], id="a Windows pool"),
        pytest.param(Row("CLU-WINDOWS-POOL", WINDOWS_NODE, profile=""), ["pool win"], id="a Windows node"),
        pytest.param(
            Row("CLU-WINDOWS-POOL", azure={"agentPoolProfiles": pools({}, {"osType": "Windows", "count": 0})}),
            ["pool pool1"],
            id="a Windows pool without nodes",
        ),
        pytest.param(Row("CLU-NAP-ENABLED", profile=OVERLAY), ["nodeProvisioningProfile.mode"], id="NAP"),
        pytest.param(Row("CLU-NAP-ENABLED", NODE_POOL, profile=""), ["NodePools are there: default"], id="NodePools"),
        pytest.param(
            Row("CLU-NAP-ENABLED", NODE_POOL), ["its own provisioning is off"], id="NodePools, and Azure says Manual"
        ),
        pytest.param(Row("CLU-KUBENET-TWO-STEP", profile=KUBENET), ["networkPlugin is kubenet"], id="kubenet"),
        pytest.param(
            Row("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", profile=KUBENET), ["Calico enforces"], id="kubenet with Calico"
        ),
        pytest.param(
            Row("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", wishes=TO_OVERLAY),
            ["Azure NPM enforces"],
            id="overlay wanted on a node subnet with NPM",
        ),
        pytest.param(
            Row(
                "CLU-OVERLAY-DYNAMIC-IP",
                azure={"agentPoolProfiles": pools({}, {"podSubnetId": "/subnets/pods"})},
                wishes=TO_OVERLAY,
            ),
            ["agentPoolProfiles[1].podSubnetId pool pool1"],
            id="overlay wanted where one pool has a pod subnet",
        ),
        pytest.param(
            Row("CLU-OVERLAY-K8S-VERSION", profile=KUBENET, azure=version("1.26.15")),
            ["Kubernetes 1.26.15, and the step to overlay needs 1.27"],
            id="kubenet on 1.26",
        ),
        pytest.param(
            Row("CLU-OVERLAY-K8S-VERSION", profile=KUBENET, azure=version("1.9.11")),
            ["Kubernetes 1.9.11"],
            id="versions are no decimal numbers",
        ),
        pytest.param(
            Row("CLU-K8S-UNSUPPORTED", azure=version("1.28.9")), ["not in the table"], id="older than the table"
        ),
        pytest.param(
            Row("CLU-K8S-UNSUPPORTED", azure=version("1.30.4", **LTS)),
            ["before 2026-08-05 it said 1.14.20"],
            id="no longer in the table",
        ),
        pytest.param(Row("CLU-K8S-UNSUPPORTED", azure=version("1.37.0")), ["not in the table"], id="too new for it"),
        pytest.param(
            Row("CLU-K8S-UNSUPPORTED", azure=version("1.32.4")),
            ["support of Kubernetes 1.32.4 ended on 2026-03-31; with long-term support it would last to 2027-03-31"],
            id="past its end of life",
        ),
        pytest.param(
            Row("CLU-K8S-UNSUPPORTED", azure=version("1.31.9", **LTS), day=date(2026, 12, 1)),
            ["long-term support of Kubernetes 1.31.9 ended on 2026-11-30"],
            id="past its long-term support",
        ),
        pytest.param(
            Row("CLU-K8S-UNSUPPORTED", day=date(2027, 4, 1), profile=""),
            ["whether it has long-term support only Azure knows"],
            id="nodes alone do not say whether there is long-term support",
        ),
        pytest.param(
            Row("CLU-CLI-VERSION", beside=cli("2.51.0")),
            ["Azure CLI 2.51.0, and the way asks for 2.52.0"],
            id="old CLI",
        ),
        pytest.param(
            Row("CLU-CLI-VERSION", beside=cli("2.9.1")), ["Azure CLI 2.9.1"], id="its versions are no decimal numbers"
        ),
        pytest.param(
            Row("CLU-CLI-VERSION", profile=KUBENET, beside=cli("2.62.0")), ["policy-none 2.63.0"], id="old for one step"
        ),
        pytest.param(Row("CLU-ENGINE-FLAG"), ["--network-dataplane cilium --network-policy cilium"], id="both options"),
        pytest.param(Row("CLU-IRREVERSIBLE"), ["from the update to Cilium"], id="no way back"),
        pytest.param(Row("CLU-IRREVERSIBLE", profile=KUBENET), ["from the step to overlay, nor"], id="neither way"),
        pytest.param(
            Row("CLU-AVAILABILITY-SET", profile="calico-azurecni-old"),
            ["agentPoolProfiles[0].type pool nodepool1"],
            id="an availability set",
        ),
        pytest.param(Row("CLU-DEADLINE"), ["support ends on 2028-09-30"], id="NPM"),
        pytest.param(
            Row(
                "CLU-DEADLINE",
                profile=KUBENET,
                azure={"networkProfile": {"networkPolicy": "none"}},
                alone=True,
                objects="{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
            ),
            ["support ends on 2028-03-31"],
            id="kubenet ends",
        ),
        pytest.param(
            Row(
                "CLU-OS-IMAGE-GONE",
                profile="calico-azurecni-old",
                alone=True,
                objects="{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
            ),
            ["gone since 2026-03-31"],
            id="Azure Linux 2",
        ),
        pytest.param(
            Row("CLU-OS-IMAGE-GONE", azure={"agentPoolProfiles": pools({}, {"count": 0, "nodeImageVersion": GONE})}),
            ["AKSAzureLinux-V2gen2-202510.19.0"],
            id="a pool without nodes",
        ),
        pytest.param(
            Row("CLU-OS-IMAGE-GONE", azure={"agentPoolProfiles": pools({"nodeImageVersion": MARINER})}),
            [MARINER],
            id="Azure Linux 2 by its first name",
        ),
        pytest.param(Row("CLU-NPM-SCALE", NODES), ["251 nodes, and NPM is made for 250"], id="one node too many"),
        pytest.param(Row("CLU-NPM-SCALE", KILLED), ["azure-npm-x2"], id="NPM out of memory"),
        pytest.param(
            Row("CLU-NPM-SCALE", POD.format(1), alone=True, azure={"agentPoolProfiles": pools({"count": 300})}),
            ["300 nodes"],
            id="the number of nodes by Azure",
        ),
    ],
)
def test_found(row: Row, said: list[str], tmp_path: Path) -> None:
    found = shown(row.findings(tmp_path))
    assert len(found) == len(said), found
    assert all(part in line for part, line in zip(said, found, strict=True)), found


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row("CLU-WINDOWS-POOL"), id="Linux pools"),
        pytest.param(Row("CLU-NAP-ENABLED"), id="nodes are provisioned by hand"),
        pytest.param(Row("CLU-NAP-ENABLED", OTHER_NODE_POOL), id="a NodePool of something else"),
        pytest.param(Row("CLU-NAP-ENABLED", azure={"nodeProvisioningProfile": {"mode": "Manual"}}), id="mode Manual"),
        pytest.param(Row("CLU-NAP-ENABLED", azure={"nodeProvisioningProfile": None}), id="no profile of it"),
        pytest.param(Row("CLU-KUBENET-TWO-STEP"), id="Azure CNI is no kubenet"),
        pytest.param(Row("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE"), id="NPM that stays on the node subnet"),
        pytest.param(Row("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", profile=OVERLAY), id="overlay already"),
        pytest.param(
            Row(
                "CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE",
                profile=KUBENET,
                azure={"networkProfile": {"networkPolicy": None}},
            ),
            id="kubenet without an engine",
        ),
        pytest.param(Row("CLU-OVERLAY-DYNAMIC-IP", profile=KUBENET), id="no pod subnet"),
        pytest.param(
            Row("CLU-OVERLAY-DYNAMIC-IP", azure={"agentPoolProfiles": pools({"podSubnetId": "/subnets/pods"})}),
            id="a pod subnet that stays",
        ),
        pytest.param(Row("CLU-OVERLAY-K8S-VERSION", profile=KUBENET, azure=version("1.27")), id="just new enough"),
        pytest.param(Row("CLU-OVERLAY-K8S-VERSION", azure=version("1.26.10")), id="old, and no overlay on the way"),
        pytest.param(Row("CLU-K8S-UNSUPPORTED"), id="a version with support"),
        pytest.param(Row("CLU-K8S-UNSUPPORTED", azure=version("1.32", **LTS)), id="long-term support"),
        pytest.param(Row("CLU-K8S-UNSUPPORTED", azure=version("1.34.2"), day=date(2026, 11, 30)), id="the last day"),
        pytest.param(Row("CLU-CLI-VERSION", beside=cli("2.52.0")), id="a CLI that is just new enough"),
        pytest.param(Row("CLU-AVAILABILITY-SET"), id="scale sets"),
        pytest.param(
            Row("CLU-AVAILABILITY-SET", azure={"agentPoolProfiles": pools({"type": "VirtualMachines"})}),
            id="single machines",
        ),
        pytest.param(
            Row("CLU-DEADLINE", azure=CALICO, profile=OVERLAY, alone=True, objects=POD.format(1)), id="Calico"
        ),
        pytest.param(Row("CLU-OS-IMAGE-GONE"), id="images that exist"),
        pytest.param(Row("CLU-NPM-SCALE", NODES.partition("---")[2].partition("---")[2]), id="nodes up to the limit"),
        pytest.param(Row("CLU-NPM-SCALE", KILLED.replace("OOMKilled", "Error")), id="NPM ended for another reason"),
        pytest.param(Row("CLU-NPM-SCALE", KILLED.replace("azure-npm-x2", "other")), id="another pod out of memory"),
    ],
)
def test_not_found(row: Row, tmp_path: Path) -> None:
    evaluation = row.evaluation(tmp_path)
    assert shown(evaluation.findings) == []
    if row.rule != "CLU-DEADLINE":
        assert evaluation.unchecked == ()


def test_more_pods_than_npm_is_made_for(tmp_path: Path) -> None:
    (said,) = shown(Row("CLU-NPM-SCALE", PODS).findings(tmp_path))
    assert "20005 pods, and NPM is made for 20000" in said


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        pytest.param(Row("CLU-WINDOWS-POOL", profile=""), "pools without nodes", id="nodes do not show empty pools"),
        pytest.param(Row("CLU-WINDOWS-POOL", azure={"agentPoolProfiles": []}), "agentPoolProfiles", id="no pools"),
        pytest.param(
            Row("CLU-WINDOWS-POOL", azure={"agentPoolProfiles": pools({}, {"osType": "absent"})}),
            "osType of pool pool1",
            id="a pool of no system",
        ),
        pytest.param(Row("CLU-NAP-ENABLED", profile=""), "az aks show", id="NAP without NodePools"),
        pytest.param(
            Row("CLU-NAP-ENABLED", azure={"nodeProvisioningProfile": {}}), "az aks show", id="NAP without a mode"
        ),
        pytest.param(
            Row("CLU-NAP-ENABLED", azure={"nodeProvisioningProfile": {"mode": "Later"}}),
            "az aks show",
            id="a mode of NAP that nobody knows",
        ),
        pytest.param(
            Row("CLU-KUBENET-TWO-STEP", POD.format(1), profile="", alone=True), "network", id="an unknown CNI"
        ),
        pytest.param(Row("CLU-K8S-UNSUPPORTED", POD.format(1), profile="", alone=True), "version", id="no version"),
        pytest.param(Row("CLU-OVERLAY-DYNAMIC-IP", profile="", wishes=TO_OVERLAY), "az aks show", id="no pools"),
        pytest.param(
            Row(
                "CLU-OVERLAY-DYNAMIC-IP",
                profile=KUBENET,
                azure={"agentPoolProfiles": pools({"podSubnetId": "absent"}, profile=KUBENET)},
            ),
            "podSubnetId of pool pool0",
            id="an API that does not know pod subnets",
        ),
        pytest.param(Row("CLU-AVAILABILITY-SET", profile=""), "az aks show", id="kinds of pools"),
        pytest.param(
            Row("CLU-AVAILABILITY-SET", azure={"agentPoolProfiles": pools({"type": None})}),
            "type of pool pool0",
            id="a pool of no kind",
        ),
        pytest.param(Row("CLU-CLI-VERSION", beside=cli("?")), "2.52.0 or newer", id="a version that is none"),
        pytest.param(Row("CLU-CLI-VERSION"), "2.52.0 or newer", id="no document says which CLI is there"),
        pytest.param(Row("CLU-CLI-VERSION", profile=KUBENET), "2.63.0 or newer", id="the newest that a step asks for"),
        pytest.param(
            Row("CLU-CLI-VERSION", wishes=Wishes(through_none=True)), "policy-none 2.63.0", id="a step that was chosen"
        ),
        pytest.param(Row("CLU-NPM-SCALE", POD.format(1), alone=True), "kind Node", id="no nodes"),
        pytest.param(Row("CLU-NPM-SCALE", NODE.format(1), alone=True), "kind Pod", id="no pods"),
        pytest.param(
            Row("CLU-OS-IMAGE-GONE", POD.format(1), profile="", alone=True), "systems of nodes", id="no systems"
        ),
    ],
)
def test_not_answered(row: Row, lack: str, tmp_path: Path) -> None:
    assert lack in row.lacks(tmp_path)


@pytest.mark.parametrize("rule", ["CLU-WINDOWS-POOL", "CLU-NAP-ENABLED", "CLU-ENGINE-FLAG", "CLU-AVAILABILITY-SET"])
def test_a_cluster_with_cilium_is_not_concerned(rule: str, tmp_path: Path) -> None:
    row = Row(rule, profile="acpc-acns-l7", alone=True, objects=POD.format(1))
    evaluation = row.evaluation(tmp_path)
    assert (evaluation.findings, evaluation.unchecked) == ((), ())


@pytest.mark.parametrize("rule", ["CLU-WINDOWS-POOL", "CLU-NAP-ENABLED", "CLU-K8S-UNSUPPORTED", "CLU-IRREVERSIBLE"])
def test_a_cluster_that_azure_does_not_run_is_not_concerned(rule: str, tmp_path: Path) -> None:
    documents = scanned(tmp_path, *inventory("flannel-fail-open"))
    evaluation = evaluate(documents, date(2026, 11, 21), [check for check in all_checks() if check.id == rule])
    assert (evaluation.findings, evaluation.unchecked) == ((), ())
