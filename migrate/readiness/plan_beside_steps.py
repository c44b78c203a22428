"""The steps of a cluster that runs its own network: Cilium's overlay beside the old one, then node by node."""

from __future__ import annotations

from migrate.model.plan_documents import PlanStep, Precondition, Rollback, Statement
from migrate.readiness.plan_shell import run
from migrate.readiness.route import Route

FOLDER = "dual-overlay"
GUIDE = Statement(
    source="cilium/cilium Documentation/installation/k8s-install-migration.rst at 1696024",
    as_of="2026-11-21",
    says="a second overlay, CiliumNodeConfig by label, node by node, policy enforcement off until the end",
)
_CHART = 'cilium cilium/cilium --version "$CILIUM_VERSION" --namespace kube-system'
_LABEL = "io.cilium.migration/cilium-default"
_AUTODETECTION = (
    "kubectl patch installations.operator.tigera.io default --type=merge --patch "
    '\'{"spec":{"calicoNetwork":{"nodeAddressAutodetectionV4":{"firstFound":false,"kubernetes":"NodeInternalIP"}}}}\''
)


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
            commands=(run('echo "$TUNNEL_PORT"', "not 4789 or 8472 where the old network uses VXLAN on it"),),
            otherwise="choose another port, or Geneve",
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


def beside_steps() -> tuple[PlanStep, PlanStep, PlanStep]:
    """The steps that change the cluster, in order."""
    return (_beside(), _nodes(), _enforce())


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


def _beside() -> PlanStep:
    return PlanStep(
        id="cilium-beside",
        phase="change",
        title="Install Cilium beside the old network, without pods of its own",
        why="Its overlay stands before any pod uses it; nothing changes for pods yet.",
        commands=(
            run("helm repo add cilium https://helm.cilium.io/"),
            run(
                f"helm upgrade --install {_CHART} --values {FOLDER}/values-migration.yaml "
                '--set "ipam.operator.clusterPoolIPv4PodCIDRList={$POD_CIDR}" --set "tunnelPort=$TUNNEL_PORT"'
            ),
            run("kubectl -n kube-system rollout status daemonset/cilium --timeout=15m", "successfully rolled out"),
            run("kubectl explain ciliumnodeconfig --api-version=cilium.io/v2", "the kind is described"),
            run(f"kubectl apply --server-side -f {FOLDER}/node-config.yaml"),
        ),
        notes=(
            "Values that your cluster needs besides (MTU, masquerade, kube-proxy replacement) go into a further file.",
        ),
        rollback=Rollback(
            possible=True, how="take it away again", commands=(run("helm uninstall cilium --namespace kube-system"),)
        ),
    )


def _nodes() -> PlanStep:
    return PlanStep(
        id="nodes",
        phase="change",
        title="Move the nodes, one after the other",
        why="A pod belongs to the network that its node had when it was started; both networks reach each other.",
        commands=(
            run("NODE=  # a node that is not moved yet; control plane nodes last", "the name of a node"),
            run('kubectl cordon "$NODE"'),
            run('kubectl drain "$NODE" --ignore-daemonsets --delete-emptydir-data --timeout=30m', "drained"),
            run(f'kubectl label node "$NODE" --overwrite {_LABEL}=true'),
            run('kubectl -n kube-system delete pod --field-selector "spec.nodeName=$NODE" --selector k8s-app=cilium'),
            run("kubectl -n kube-system rollout status daemonset/cilium --timeout=15m", "successfully rolled out"),
            run("# reboot the machine of $NODE here, by the means you have", "the node is Ready again"),
            run('kubectl get node "$NODE" --output wide', "Ready"),
            run('kubectl uncordon "$NODE"'),
            run(
                'kubectl get pods --all-namespaces --field-selector "spec.nodeName=$NODE" --output wide',
                "new pods have addresses of $POD_CIDR",
            ),
        ),
        notes=(
            "Pods on nodes that moved are under no policy until “Let Cilium enforce”: Cilium does not enforce yet, and "
            "the old engine does not see their interfaces.",
            "The old engine still filters what its own pods send and receive. It knows pods of moved nodes by their "
            "new addresses only as long as it reads them from the API.",
        ),
        rollback=Rollback(
            possible=True,
            how="the same for a node that moved, with the label taken away",
            commands=(
                run(f'kubectl cordon "$NODE" && kubectl label node "$NODE" {_LABEL}-'),
                run(
                    'kubectl -n kube-system delete pod --field-selector "spec.nodeName=$NODE" --selector k8s-app=cilium'
                ),
                run(
                    "# on the machine: rm /etc/cni/net.d/05-cilium.conflist, put the old configuration back "
                    "(cni-exclusive renamed it), reboot"
                ),
                run('kubectl uncordon "$NODE"'),
            ),
        ),
    )


def _enforce() -> PlanStep:
    return PlanStep(
        id="enforce",
        phase="change",
        title="Let Cilium enforce, and take it as the only network",
        why="All pods are Cilium's now. Policies are there already, so enforcement begins with them.",
        commands=(
            run(
                f'kubectl get nodes --selector "{_LABEL}!=true" --output name',
                "nothing: every node moved",
            ),
            run(
                "kubectl get pods --all-namespaces --output wide",
                "every pod has an address of $POD_CIDR or of its node",
            ),
            run(
                f"helm upgrade {_CHART} --reuse-values --set operator.unmanagedPodWatcher.restart=true "
                "--set cni.customConf=false --set policyEnforcementMode=default"
            ),
            run("kubectl -n kube-system rollout restart daemonset/cilium"),
            run("kubectl -n kube-system rollout status daemonset/cilium --timeout=15m", "successfully rolled out"),
            run("kubectl delete -n kube-system ciliumnodeconfig cilium-default"),
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
