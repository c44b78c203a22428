"""The steps of a cluster that runs its own network: Cilium's overlay beside the old one, then node by node."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.plan_documents import PlanStep, Precondition, Rollback, Statement, Variable
from migrate.readiness.helm.said import Stage
from migrate.readiness.helm.text import objects_text, values_text
from migrate.readiness.helm.values import HelmValues
from migrate.readiness.planning.shell import quoted, run
from migrate.readiness.route import Route
from migrate.scan.inventory.look import dig

FOLDER = "dual-overlay"
GUIDE = Statement(
    source="cilium/cilium Documentation/installation/k8s-install-migration.rst at 1696024",
    as_of="2026-11-21",
    says="a second overlay, CiliumNodeConfig by label, node by node, policy enforcement off until the end",
)
_CHART = 'cilium cilium/cilium --version "$CILIUM_VERSION" --namespace kube-system'
_NODE_CONFIG, _BGP = f"{FOLDER}/node-config.yaml", f"{FOLDER}/bgp.yaml"
_VALUES = {stage: f"{FOLDER}/values-{stage.value}.yaml" for stage in Stage}
_NEW_AGENT = 'kubectl -n kube-system delete pod --field-selector "spec.nodeName=$NODE" --selector k8s-app=cilium'
_MOVED = (
    "Pods on nodes that moved are under no policy until “Let Cilium enforce”: Cilium does not enforce yet, and the old "
    "engine does not see their interfaces.",
    "The old engine still filters what its own pods send and receive. It knows pods of moved nodes by their new "
    "addresses only as long as it reads them from the API.",
)
_AUTODETECTION = (
    "kubectl patch installations.operator.tigera.io default --type=merge --patch "
    '\'{"spec":{"calicoNetwork":{"nodeAddressAutodetectionV4":{"firstFound":false,"kubernetes":"NodeInternalIP"}}}}\''
)


def beside_files(values: HelmValues) -> Iterator[tuple[str, str]]:
    """The files of the two overlays with their paths in the working folder."""
    for stage, path in _VALUES.items():
        yield path, values_text(values, stage)
    yield _NODE_CONFIG, objects_text(values.node_config)
    if values.bgp:
        yield _BGP, objects_text(values.bgp)


def beside_variables(values: HelmValues, target: str) -> Iterator[Variable]:
    """What the commands and checks of this way name."""
    known = {value.key: value.value for value in values.of(Stage.MIGRATION)}
    networks = [
        network
        for family in ("clusterPoolIPv4PodCIDRList", "clusterPoolIPv6PodCIDRList")
        if isinstance(found := known.get(f"ipam.operator.{family}"), tuple)
        for network in found
    ]
    meaning = f"pod network of Cilium; {_VALUES[Stage.MIGRATION]} has it"
    yield Variable(name="POD_CIDR", value=",".join(networks) or None, meaning=meaning)
    checked = ", ".join(values.versions)
    meaning = f"version of Cilium's chart; values were checked for {checked}, policies translated for {target}"
    yield Variable(name="CILIUM_VERSION", value=None, meaning=meaning)


def _label(values: HelmValues) -> str:
    """The label, as key=value, that hands a node to Cilium."""
    for manifest in values.node_config:
        labels = dig(manifest, "spec", "nodeSelector", "matchLabels")
        if isinstance(labels, dict):
            return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return ""


def beside_preconditions(route: Route) -> tuple[Precondition, ...]:
    """What has to hold before Cilium is put beside the old network."""
    found = [
        Precondition(
            id="new-pod-network",
            title="A pod network for Cilium that nothing uses",
            state="check",
            commands=(
                run(
                    "kubectl get nodes --output custom-columns=NAME:.metadata.name,PODS:.spec.podCIDRs",
                    "nothing that overlaps $POD_CIDR; compare services and the machines' networks too",
                ),
            ),
            otherwise="choose another range: the routes of the nodes keep the two overlays apart by it",
        ),
        Precondition(
            id="tunnel-port",
            title="A tunnel port or protocol that the old overlay does not use",
            state="check",
            commands=(run(f"grep -E '^tunnel' {_VALUES[Stage.MIGRATION]}", "a port that nothing on the nodes uses"),),
            otherwise="choose another port there, or Geneve",
        ),
        Precondition(
            id="reboot",
            title="Every node can be rebooted and comes back",
            state="check",
            commands=(run("kubectl get nodes", "every node Ready; you know how to reboot each"),),
            otherwise="a node that is not rebooted keeps interfaces and rules of the old network",
        ),
    ]
    if route.engine == "calico":
        found.append(_autodetection())
    return tuple(found)


def _autodetection() -> Precondition:
    return Precondition(
        id="calico-node-address",
        title="Calico does not take Cilium's interface for its own",
        state="check",
        commands=(
            run(
                "kubectl get installations.operator.tigera.io default "
                "--output jsonpath='{.spec.calicoNetwork.nodeAddressAutodetectionV4}'",
                'not {"firstFound":true}',
            ),
            run(_AUTODETECTION, "only when it says firstFound; without the operator set IP_AUTODETECTION_METHOD"),
        ),
        otherwise="routes between the nodes fail as soon as cilium_host appears",
    )


def beside_steps(values: HelmValues) -> tuple[PlanStep, PlanStep, PlanStep]:
    """The steps that change the cluster, in order."""
    label = _label(values)
    return (_beside(values), _nodes(label), _enforce(label, bgp=bool(values.bgp)))


def remove_old(route: Route) -> PlanStep:
    """The end of the old network."""
    names = {"calico": "Calico"}.get(route.engine, "the old network plugin")
    return PlanStep(
        id="remove-old",
        phase="clean-up",
        title=f"Take {names} away and reboot each node once more",
        why="Its rules and interfaces stay on the nodes until the next reboot, and rules that stay keep filtering.",
        commands=(
            run(
                "kubectl get pods --all-namespaces --output wide",
                "every pod has an address of $POD_CIDR or of its node",
            ),
            run("kubectl get daemonsets --all-namespaces", "you know which of them are the old network"),
        ),
        notes=(
            "Delete it the way it was installed: the operator's Installation first, then the operator, then its kinds; "
            "a Helm release by helm uninstall; a manifest by kubectl delete of the same manifest.",
            "Afterwards cordon, drain, reboot and uncordon one node after the other.",
        ),
        no_return=True,
        rollback=Rollback(possible=False, how="None but to install it again and go the whole way back."),
        rules=("NODE-LEFTOVER-AFTER", "NODE-CALICO-CRD-LEFT"),
    )


def _beside(values: HelmValues) -> PlanStep:
    ids = sorted({finding.id for finding in values.findings})
    return PlanStep(
        id="cilium-beside",
        phase="change",
        title="Install Cilium beside the old network, without pods of its own",
        why="Its overlay stands before any pod uses it; nothing changes for pods yet.",
        commands=(
            run("helm repo add cilium https://helm.cilium.io/"),
            run(f"helm upgrade --install {_CHART} --values {_VALUES[Stage.MIGRATION]}"),
            run("kubectl -n kube-system rollout status daemonset/cilium --timeout=15m", "successfully rolled out"),
            run("kubectl explain ciliumnodeconfig --api-version=cilium.io/v2", "the kind is described"),
            run(f"kubectl apply --server-side -f {_NODE_CONFIG}"),
        ),
        notes=(
            f"The values carry today's data plane over; each stands below its reason. Read first what {FOLDER}/ names.",
        ),
        rollback=Rollback(
            possible=True, how="take it away again", commands=(run("helm uninstall cilium --namespace kube-system"),)
        ),
        rules=tuple(ids),
    )


def _nodes(label: str) -> PlanStep:
    key = label.partition("=")[0]
    return PlanStep(
        id="nodes",
        phase="change",
        title="Move the nodes, one after the other",
        why="A pod belongs to the network that its node had when it was started; both networks reach each other.",
        commands=(
            run("# choose a node that is not moved yet, control plane nodes last: export NODE=name"),
            run('kubectl cordon "$NODE"'),
            run('kubectl drain "$NODE" --ignore-daemonsets --delete-emptydir-data --timeout=30m', "drained"),
            run(f'kubectl label node "$NODE" --overwrite {quoted(label)}'),
            run(_NEW_AGENT),
            run("kubectl -n kube-system rollout status daemonset/cilium --timeout=15m", "successfully rolled out"),
            run("# reboot the machine of that node, by the means you have, and wait until it is Ready again"),
            run('kubectl get node "$NODE" --output wide', "Ready"),
            run('kubectl uncordon "$NODE"'),
            run(
                'kubectl get pods --all-namespaces --field-selector "spec.nodeName=$NODE" --output wide',
                "new pods have addresses of $POD_CIDR",
            ),
        ),
        notes=_MOVED,
        rollback=Rollback(
            possible=True,
            how="the same for a node that moved, with the label taken away",
            commands=(
                run(f'kubectl cordon "$NODE" && kubectl label node "$NODE" {quoted(key)}-'),
                run(_NEW_AGENT),
                run(
                    "# on the machine: rm /etc/cni/net.d/05-cilium.conflist, put the old configuration back "
                    "(cni-exclusive renamed it), reboot"
                ),
                run('kubectl uncordon "$NODE"'),
            ),
        ),
    )


def _enforce(label: str, *, bgp: bool) -> PlanStep:
    key, _, value = label.partition("=")
    peers = [run(f"kubectl apply --server-side -f {_BGP}")] if bgp else []
    return PlanStep(
        id="enforce",
        phase="change",
        title="Let Cilium enforce, and take it as the only network",
        why="All pods are Cilium's now. Policies are there already, so enforcement begins with them.",
        commands=(
            run(f"kubectl get nodes --selector {quoted(f'{key}!={value}')} --output name", "nothing: every node moved"),
            run(
                "kubectl get pods --all-namespaces --output wide",
                "every pod has an address of $POD_CIDR or of its node",
            ),
            run(f"helm upgrade {_CHART} --values {_VALUES[Stage.FINAL]}"),
            *peers,
            run("kubectl -n kube-system rollout restart daemonset/cilium"),
            run("kubectl -n kube-system rollout status daemonset/cilium --timeout=15m", "successfully rolled out"),
            run(f"kubectl delete -f {_NODE_CONFIG}", "the final values say the same for every node"),
        ),
        rollback=Rollback(
            possible=True,
            how="stop enforcing, which opens the window again",
            commands=(
                run(f"helm upgrade {_CHART} --reuse-values --set policyEnforcementMode=never"),
                run("kubectl -n kube-system rollout restart daemonset/cilium"),
            ),
        ),
    )
