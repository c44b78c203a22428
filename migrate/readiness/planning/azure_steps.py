"""The steps of an AKS cluster to Azure CNI Powered by Cilium, with their commands, Terraform words and ways back."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from migrate.model.plan_documents import Command, Duration, PlanStep, Rollback
from migrate.readiness.documents import Documents
from migrate.readiness.planning.azure_commands import minimum_cli
from migrate.readiness.planning.data import attributes
from migrate.readiness.planning.shell import AZ_TARGET, run
from migrate.readiness.route import REIMAGES, Route
from migrate.scan.inventory.look import text

_ENGINES_OF_AZURE = {"npm-linux": "azure", "npm-windows": "azure", "calico": "calico"}
_NEW_CLUSTER = (
    "There is no way back from here that is documented. What is left is another cluster, made from your manifests and "
    "az-before.json, to which the workloads move."
)
_TERRAFORM_FIRST = (
    "With Terraform: make the change with az, then set the attributes and check that `terraform plan` shows no change. "
    "Never apply a plan that says the cluster must be replaced."
)
_BOOTS = (
    "kubectl get nodes --no-headers --output custom-columns=NAME:.metadata.name,BOOT:.status.nodeInfo.bootID | sort"
)
_BOOTS_BEFORE = Command(text=f"{_BOOTS} > nodes-before.txt")
_AGAIN = (
    "If the operation stops, by a drain that took too long for example: remove the cause and run the same command "
    "again, it goes on from there. Nodes that were made anew stay so, and the time without enforcement goes on."
)
_ABORT = Command(
    text=f"az aks operation-abort {AZ_TARGET}",
    expect="only if the operation hangs: nodes that were made anew stay so, and it can be begun again",
)


def change_steps(documents: Documents, route: Route, duration: Duration | None) -> tuple[PlanStep, ...]:
    """The steps that change the cluster, in order."""
    makers = {"policy-none": _none, "overlay": _overlay, "dataplane": _dataplane}
    steps = [makers[step](documents, route) for step in route.steps if step in makers]
    if _auto_provisioned(documents):
        steps.insert(0, _provisioning("nap-off", "Manual", "Switch node auto-provisioning off"))
    return tuple(_completed(step, duration) for step in steps)


def late_steps(documents: Documents) -> tuple[PlanStep, ...]:
    """What is put back when all is well."""
    if not _auto_provisioned(documents):
        return ()
    step = _provisioning("nap-on", "Auto", "Switch node auto-provisioning on again")
    return (msgspec.structs.replace(step, phase="clean-up", minimum_cli=_minimum(step)),)


def _completed(step: PlanStep, duration: Duration | None) -> PlanStep:
    return msgspec.structs.replace(
        step,
        minimum_cli=_minimum(step),
        duration=duration if step.id in REIMAGES else None,
        terraform=attributes(step.id),
        notes=(*step.notes, _AGAIN, _TERRAFORM_FIRST) if step.id in REIMAGES else step.notes,
    )


def _minimum(step: PlanStep) -> str | None:
    return minimum_cli(command.text for command in (*step.commands, *step.rollback.commands))


def _auto_provisioned(documents: Documents) -> bool:
    azure = documents.azure
    return azure is not None and text(azure, "spec", "nodeProvisioningProfile", "mode") == "Auto"


def _provisioning(identity: str, mode: str, title: str) -> PlanStep:
    other = {"Manual": "Auto", "Auto": "Manual"}[mode]
    return PlanStep(
        id=identity,
        phase="change",
        title=title,
        why="The data plane update is refused while it is on.",
        commands=(run(f"az aks update {AZ_TARGET} --node-provisioning-mode {mode}"),),
        rollback=Rollback(
            possible=True,
            how="switch it back",
            commands=(run(f"az aks update {AZ_TARGET} --node-provisioning-mode {other}"),),
        ),
        rules=("CLU-NAP-ENABLED",),
    )


def _none(documents: Documents, route: Route) -> PlanStep:
    engine = _ENGINES_OF_AZURE.get(route.engine, "azure")
    why = "Overlay is refused while a policy engine is on. " if route.takes("overlay") else ""
    return PlanStep(
        id="policy-none",
        phase="change",
        title="Take the old policy engine away",
        why=f"{why}Policies stay in the cluster as objects; from here on nothing enforces them.",
        commands=(
            _BOOTS_BEFORE,
            run(f"az aks update {AZ_TARGET} --network-policy none"),
            *_wait(("networkProfile.networkPolicy", "none")),
        ),
        notes=("Every node of every pool is made anew; pools cannot go one by one.",),
        rollback=Rollback(
            possible=True,
            how="put the engine back, which makes every node anew once more",
            commands=(run(f"az aks update {AZ_TARGET} --network-policy {engine}"),),
        ),
        rules=("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", "CUT-ENFORCEMENT-GAP", "CLU-REIMAGE-ALL-POOLS"),
    )


def _overlay(documents: Documents, route: Route) -> PlanStep:
    notes = ["Every node of every pool is made anew; pods get addresses from $POD_CIDR and leave as their node."]
    if route.cni == "kubenet":
        notes.append(
            "AKS takes the route table off the subnet: a table of your own loses the routes to pods, one that AKS made "
            "is deleted. Routes of other subnets that use the table have to move first."
        )
    else:
        notes.append("Whatever reaches pods by their own address from outside of the cluster no longer does.")
    return PlanStep(
        id="overlay",
        phase="change",
        title="Move pod addresses to Azure CNI Overlay",
        why="Cilium's data plane needs Azure CNI; kubenet has to become overlay first."
        if route.cni == "kubenet"
        else "Pods leave the node subnet, as asked for with --overlay.",
        commands=(
            _BOOTS_BEFORE,
            run(
                f'az aks update {AZ_TARGET} --network-plugin azure --network-plugin-mode overlay --pod-cidr "$POD_CIDR"'
            ),
            *_wait(("networkProfile.networkPlugin", "azure"), ("networkProfile.networkPluginMode", "overlay")),
        ),
        notes=tuple(notes),
        no_return=True,
        rollback=Rollback(possible=False, how=f"None: overlay cannot be undone. {_NEW_CLUSTER}", commands=(_ABORT,)),
        rules=("CLU-IRREVERSIBLE", "CLU-REIMAGE-ALL-POOLS", "NET-POD-IP-EXPOSED", "NET-UDR-ROUTES"),
    )


def _dataplane(documents: Documents, route: Route) -> PlanStep:
    taken = {"npm-linux": "Azure NPM", "calico": "Calico"}.get(route.engine, "")
    replaces = f"AKS takes {taken} and kube-proxy away" if taken and not route.takes("policy-none") else ""
    why = f"{replaces or 'AKS takes kube-proxy away'} and makes every node anew with Cilium."
    return PlanStep(
        id="dataplane",
        phase="change",
        title="Update the data plane to Cilium",
        why=f"{why} Cilium enforces policies only once all nodes are made anew.",
        commands=(
            _BOOTS_BEFORE,
            run("# open a second terminal, and start the next step there, bash apply.sh, as soon as the update runs"),
            run(f"az aks update {AZ_TARGET} --network-dataplane cilium --network-policy cilium"),
            *_wait(("networkProfile.networkDataplane", "cilium"), ("networkProfile.networkPolicy", "cilium")),
        ),
        notes=(
            "Both options are needed: with the first alone the API was seen to refuse.",
            "Start “Apply the translated policies” in a second terminal as soon as the update runs.",
        ),
        no_return=True,
        rollback=Rollback(possible=False, how=f"None. {_NEW_CLUSTER}", commands=(_ABORT,)),
        rules=("CLU-ENGINE-FLAG", "CLU-IRREVERSIBLE", "CLU-REIMAGE-ALL-POOLS", "CUT-ENFORCEMENT-GAP"),
    )


def _wait(*expected: tuple[str, str]) -> Iterator[Command]:
    """Commands that show that the step is done."""
    for field, value in expected:
        yield run(f"az aks show {AZ_TARGET} --query {field} --output tsv", value)
    yield run(f"az aks show {AZ_TARGET} --query provisioningState --output tsv", "Succeeded")
    yield run(f"{_BOOTS} | comm -12 - nodes-before.txt", "nothing: no node has the boot that it had before")
