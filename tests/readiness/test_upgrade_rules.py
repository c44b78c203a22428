"""Rules about making every node anew: found, not found, and not answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from migrate.model.raw import Json
from migrate.readiness.azure import managed_cluster
from tests.readiness.rule_rows import KUBENET, OVERLAY, Row, pools, shown

NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
DOWN = """
apiVersion: v1
kind: Node
metadata: {name: aks-user-1-vmss000000, labels: {kubernetes.azure.com/cluster: MC_x}}
status: {conditions: [{type: Ready, status: Unknown, reason: NodeStatusUnknown}]}
"""
NO_CONDITIONS = """
apiVersion: v1
kind: Node
metadata: {name: aks-user-1-vmss000000, labels: {kubernetes.azure.com/cluster: MC_x}}
"""
SYSTEM_NODE = """
apiVersion: v1
kind: Node
metadata: {name: only, labels: {kubernetes.azure.com/cluster: MC_x, kubernetes.azure.com/mode: system}}
"""
DAEMON = """
apiVersion: v1
kind: Pod
metadata:
  name: agent-1
  namespace: shop
  labels: {app: agent}
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: agent, controller: true}]
status: {phase: Running}
---
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {replicas: 2, template: {metadata: {labels: {app: web}}}}
---
"""


def budget(spec: str, status: str = "", version: str = "policy/v1", namespace: str = "shop") -> str:
    """A budget over the pods of app web, which are two, unless it says other ones itself."""
    selector = "" if "selector" in spec else ", selector: {matchLabels: {app: web}}"
    counted = f"\nstatus: {{{status}}}" if status else ""
    head = f"apiVersion: {version}\nkind: PodDisruptionBudget\nmetadata: {{name: web, namespace: {namespace}}}\n"
    return f"{head}spec: {{{spec}{selector}}}{counted}\n"


def pool(**changes: Json) -> Mapping[str, Json]:
    return {"agentPoolProfiles": pools(changes)}


def quota(**free: int) -> Mapping[str, Json]:
    """What `az vm list-usage` prints: it writes numbers as text."""
    return {
        "usage": [
            {"name": {"value": name, "localizedValue": "x"}, "currentValue": "90", "limit": str(90 + number)}
            for name, number in free.items()
        ]
    }


BUDGET = "CLU-PDB-BLOCKS-DRAIN"
TWICE = f"{budget('maxUnavailable: 1')}---\n{budget('maxUnavailable: 1').replace('name: web,', 'name: loose,')}"
HELD = "disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 2"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param(Row(BUDGET, budget("maxUnavailable: 0")), "maxUnavailable is 0", id="none may be away"),
        pytest.param(Row(BUDGET, TWICE), "budgets loose, web are about the same 2 pods", id="two budgets for a pod"),
        pytest.param(Row(BUDGET, budget('maxUnavailable: "0%"')), "maxUnavailable is 0%", id="no part may be away"),
        pytest.param(Row(BUDGET, budget("minAvailable: 2")), "minAvailable is 2 of 2", id="all replicas are needed"),
        pytest.param(Row(BUDGET, budget("minAvailable: 5")), "minAvailable is 5 of 2", id="more than there are"),
        pytest.param(Row(BUDGET, budget('minAvailable: "100%"')), "minAvailable is 100%", id="all in percent"),
        pytest.param(Row(BUDGET, budget('minAvailable: "51%"')), "minAvailable is 51%", id="percentages go up"),
        pytest.param(Row(BUDGET, budget("minAvailable: 2, selector: {}")), "2 of 2", id="an empty selector takes all"),
        pytest.param(
            Row(BUDGET, budget("maxUnavailable: 1", HELD)), "(1 healthy, 1 needed)", id="a pod is not healthy for now"
        ),
        pytest.param(
            Row(BUDGET, budget("minAvailable: 2") + "---\n" + DEPLOYMENT, alone=True),
            "minAvailable is 2 of 2",
            id="manifests of workloads without pods",
        ),
        pytest.param(
            Row(BUDGET, budget("maxUnavailable: 1", HELD), alone=True), "none of 2 pods", id="what the status counts"
        ),
        pytest.param(
            Row(
                BUDGET,
                budget("minAvailable: 2, selector: {matchExpressions: [{key: app, operator: In, values: [web]}]}"),
            ),
            "minAvailable is 2 of 2",
            id="a selector with an expression",
        ),
        pytest.param(
            Row("CLU-QUOTA-SURGE", beside=quota(cores=7)), "8 vCPUs and 7 are free of the quota cores", id="the region"
        ),
        pytest.param(
            Row("CLU-QUOTA-SURGE", beside=quota(cores=99, standardDSv5Family=7)), "standarddsv5family", id="a family"
        ),
        pytest.param(Row("CLU-SINGLE-SYSTEM-NODE", profile=OVERLAY), "pool nodepool1", id="one node in the only pool"),
        pytest.param(Row("CLU-SINGLE-SYSTEM-NODE", SYSTEM_NODE, profile="", alone=True), "only", id="by its label"),
        pytest.param(
            Row(
                "CLU-SINGLE-SYSTEM-NODE",
                azure=pool(
                    count=None,
                    type="VirtualMachines",
                    virtualMachinesProfile={"scale": {"manual": [{"count": 1, "size": "Standard_D4s_v5"}]}},
                ),
            ),
            "pool0",
            id="a pool of single machines",
        ),
        pytest.param(Row("CLU-NODES-NOT-READY", DOWN), "aks-user-1-vmss000000 status.conditions", id="a node is away"),
        pytest.param(
            Row("CLU-NODES-NOT-READY", azure={"provisioningState": "Failed"}),
            'the cluster "failed"',
            id="a failed cluster",
        ),
        pytest.param(
            Row("CLU-NODES-NOT-READY", azure=pool(provisioningState="Updating")),
            "agentPoolProfiles[0].provisioningState",
            id="a pool at work",
        ),
        pytest.param(
            Row("CLU-NODES-NOT-READY", azure={"powerState": {"code": "Stopped"}}), "stopped", id="a stopped cluster"
        ),
        pytest.param(
            Row("CLU-REIMAGE-ALL-POOLS"), "3 nodes in 3 waves (maxSurge 10%); user1: 5 nodes in 5 waves", id="waves"
        ),
        pytest.param(Row("CLU-REIMAGE-ALL-POOLS", profile=KUBENET), "3 times, once for each step", id="three steps"),
        pytest.param(
            Row("CLU-REIMAGE-ALL-POOLS", azure=pool(count=10, upgradeSettings={"maxSurge": "33%"})),
            "10 nodes in 3 waves",
            id="a third at once, rounded up",
        ),
        pytest.param(
            Row("CLU-REIMAGE-ALL-POOLS", azure=pool(count=10, upgradeSettings=None)),
            "10 nodes in 10 waves (maxSurge 10%)",
            id="10% unless something is set",
        ),
        pytest.param(
            Row("CLU-REIMAGE-ALL-POOLS", azure=pool(count=10, upgradeSettings={"maxSurge": 4})),
            "10 nodes in 3 waves (maxSurge 4)",
            id="a number of nodes",
        ),
        pytest.param(
            Row(
                "CLU-REIMAGE-ALL-POOLS",
                azure=pool(count=10, upgradeSettings={"maxSurge": "0", "maxUnavailable": "50%"}),
            ),
            "10 nodes in 2 waves (maxSurge 0)",
            id="nodes that are away in place of surge nodes",
        ),
        pytest.param(
            Row("CLU-REIMAGE-ALL-POOLS", azure=pool(count=4, scaleSetPriority="Spot")),
            "4 Spot nodes, without surge nodes",
            id="a Spot pool",
        ),
        pytest.param(
            Row("CLU-REIMAGE-ALL-POOLS", profile=""), "3 nodes: system: 2 nodes; user: 1 node", id="by labels"
        ),
    ],
)
def test_found(row: Row, said: str, tmp_path: Path) -> None:
    (found,) = shown(row.findings(tmp_path))
    assert said in found


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(BUDGET), id="a budget that lets one go"),
        pytest.param(Row(BUDGET, budget("maxUnavailable: 1")), id="one may be away"),
        pytest.param(Row(BUDGET, budget('maxUnavailable: "1%"')), id="a part of one is one"),
        pytest.param(Row(BUDGET, budget("minAvailable: 1")), id="one of two is needed"),
        pytest.param(
            Row(BUDGET, budget("minAvailable: 2") + "---\n" + DEPLOYMENT.replace("replicas: 2", "replicas: 3")),
            id="a third replica is wanted and does not run yet",
        ),
        pytest.param(Row(BUDGET, budget('minAvailable: "50%"')), id="half of two is needed"),
        pytest.param(
            Row(BUDGET, budget("minAvailable: 5, selector: {matchLabels: {app: gone}}")), id="a budget over no pods"
        ),
        pytest.param(Row(BUDGET, budget("minAvailable: 2", namespace="other")), id="pods of another namespace"),
        pytest.param(
            Row(BUDGET, budget("maxUnavailable: 0, selector: {matchLabels: {job: migration}}")), id="pods that are done"
        ),
        pytest.param(Row(BUDGET, budget("maxUnavailable: 0, selector: null")), id="no selector takes no pod"),
        pytest.param(
            Row(BUDGET, budget("maxUnavailable: 0, selector: {}", version="policy/v1beta1")),
            id="an empty selector took no pod before policy/v1",
        ),
        pytest.param(
            Row(BUDGET, DAEMON + budget("maxUnavailable: 0, selector: {matchLabels: {app: agent}}")),
            id="a drain leaves pods of DaemonSets",
        ),
        pytest.param(Row("CLU-SINGLE-SYSTEM-NODE"), id="three system nodes"),
        pytest.param(
            Row(
                "CLU-SINGLE-SYSTEM-NODE",
                azure={"agentPoolProfiles": pools({"count": 1}, {"count": 1}, {"mode": "User", "count": 1})},
            ),
            id="two system pools of one node",
        ),
        pytest.param(Row("CLU-SINGLE-SYSTEM-NODE", profile=""), id="two nodes by their labels"),
        pytest.param(Row("CLU-NODES-NOT-READY"), id="everything is in order"),
    ],
)
def test_not_found(row: Row, tmp_path: Path) -> None:
    evaluation = row.evaluation(tmp_path)
    assert (shown(evaluation.findings), evaluation.unchecked) == ([], ())


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        pytest.param(Row(BUDGET, NAMESPACE, alone=True), "PodDisruptionBudget", id="no budgets were read"),
        pytest.param(Row(BUDGET, budget("minAvailable: 2"), alone=True), "the pods of", id="no pods and no workloads"),
        pytest.param(Row("CLU-SINGLE-SYSTEM-NODE", azure=pool(count=None)), "number of nodes", id="no count"),
        pytest.param(Row("CLU-SINGLE-SYSTEM-NODE", NAMESPACE, profile="", alone=True), "az aks show", id="no nodes"),
        pytest.param(Row("CLU-NODES-NOT-READY", profile=""), "az aks show", id="no states"),
        pytest.param(Row("CLU-NODES-NOT-READY", NAMESPACE, alone=True), "kind Node", id="no nodes to be asked"),
        pytest.param(Row("CLU-NODES-NOT-READY", NO_CONDITIONS), "conditions of node", id="a node without conditions"),
        pytest.param(Row("CLU-NODES-NOT-READY", azure=pool(provisioningState="absent")), "pool pool0", id="no state"),
        pytest.param(
            Row("CLU-NODES-NOT-READY", azure={"agentPoolProfiles": []}), "agentPoolProfiles", id="states of no pools"
        ),
        pytest.param(
            Row("CLU-QUOTA-SURGE", azure={"agentPoolProfiles": []}), "agentPoolProfiles", id="no pools to grow"
        ),
        pytest.param(Row("CLU-REIMAGE-ALL-POOLS", profile=""), "maxSurge", id="labels do not say the surge"),
        pytest.param(Row("CLU-QUOTA-SURGE", profile=""), "az aks show", id="no pools"),
        pytest.param(
            Row("CLU-QUOTA-SURGE", azure=pool(count=30, maxPods=30)),
            "pool0: 3 Standard_D4s_v5 nodes with 93 of their subnet's addresses",
            id="addresses for the node and its pods",
        ),
        pytest.param(
            Row("CLU-QUOTA-SURGE", azure=pool(vmSize="Standard_DS3_v2"), beside=quota(cores=3)),
            "vCPUs of the nodes of pool pool0",
            id="a size whose number counts steps",
        ),
        pytest.param(
            Row("CLU-QUOTA-SURGE", azure=pool(vmSize="Custom"), beside=quota(cores=99)),
            "vCPUs of the nodes",
            id="a size",
        ),
        pytest.param(
            Row("CLU-QUOTA-SURGE", profile=OVERLAY), "1 Standard_D4s_v5 node with 1 of", id="one address in an overlay"
        ),
    ],
)
def test_not_answered(row: Row, lack: str, tmp_path: Path) -> None:
    assert lack in row.lacks(tmp_path)


def test_quota_that_is_enough(tmp_path: Path) -> None:
    row = Row("CLU-QUOTA-SURGE", beside=quota(cores=8, standardDSv5Family=8, standardESv5Family=0))
    evaluation = row.evaluation(tmp_path)
    assert shown(evaluation.findings) == []
    (unchecked,) = evaluation.unchecked
    assert unchecked.lacks[0].startswith("free addresses of the node subnets")


def test_nothing_is_needed_for_pools_without_surge_nodes(tmp_path: Path) -> None:
    without = pools({"scaleSetPriority": "Spot"}, {"upgradeSettings": {"maxSurge": "0", "maxUnavailable": "1"}})
    evaluation = Row("CLU-QUOTA-SURGE", azure={"agentPoolProfiles": without}).evaluation(tmp_path)
    assert (evaluation.findings, evaluation.unchecked) == ((), ())


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        pytest.param({"enableAutoScaling": True, "maxCount": 10}, (3, 10), id="an autoscaler"),
        pytest.param({"enableAutoScaling": False, "maxCount": 10}, (3, 3), id="an autoscaler that is off"),
        pytest.param({"enableAutoScaling": None, "maxCount": None}, (3, 3), id="no autoscaler"),
        pytest.param({"enableAutoScaling": "absent", "maxCount": 7}, (3, 7), id="an API that does not say"),
        pytest.param({"enableAutoScaling": True, "maxCount": None}, (3, None), id="an autoscaler without a limit"),
        pytest.param({"count": None, "maxCount": None, "enableAutoScaling": None}, (None, None), id="no number"),
        pytest.param({"count": 12, "maxCount": 10}, (12, 12), id="more than the limit"),
        pytest.param(
            {
                "count": None,
                "enableAutoScaling": None,
                "maxCount": None,
                "virtualMachinesProfile": {"scale": {"manual": [{"count": 2}], "autoscale": {"maxCount": 5}}},
            },
            (2, 7),
            id="single machines, some of them scaled",
        ),
    ],
)
def test_sizes_of_pools(changes: Mapping[str, Json], sizes: tuple[int | None, int | None], tmp_path: Path) -> None:
    documents = Row("CLU-QUOTA-SURGE", azure=pool(**changes)).documents(tmp_path)
    cluster = managed_cluster(documents)
    assert cluster is not None
    assert (cluster.pools[0].count, cluster.pools[0].largest) == sizes
