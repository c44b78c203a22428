"""What has to hold before the first change of an AKS cluster, and what of it the documents already show."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from datetime import date

from migrate.model.plan_documents import Known, Precondition
from migrate.readiness.documents import Documents
from migrate.readiness.planning.data import durations
from migrate.readiness.planning.pools import Pool, surge_for
from migrate.readiness.planning.shell import AZ_POOLS, AZ_TARGET, quoted, run
from migrate.readiness.route import Route
from migrate.readiness.rules import load_rules
from migrate.readiness.verdict import judge
from migrate.scan.inventory.look import number, text

_OVERLAY_FROM = (1, 27)
"""MicrosoftDocs/azure-aks-docs articles/aks/update-azure-cni.md at 093a522: Kubernetes 1.27 or later for overlay."""
_DONE_BY_STEPS = ("CLU-KUBENET-TWO-STEP", "CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", "CLU-NAP-ENABLED")
"""Blockers of the update for which the plan has a step."""
_USED = "'{prefix: addressPrefix, used: length(ipConfigurations || `[]`)}'"
_NODE_BITS = 24
"""Overlay gives each node a /24 (articles/aks/concepts-network-azure-cni-overlay.md)."""


def azure_preconditions(
    documents: Documents, route: Route, pools: Sequence[Pool], minimum_cli: str | None
) -> tuple[Precondition, ...]:
    """Conditions of AKS, in the order in which people check them."""
    found = [
        _right_cluster(),
        _cli(minimum_cli),
        _preview(),
        _states(),
        _windows(documents, pools),
        _provisioning(documents),
        _surge(pools, route),
        _system(pools),
    ]
    if route.takes("overlay"):
        found += _overlay(documents, route, pools)
    return tuple(found)


def _right_cluster() -> Precondition:
    return Precondition(
        id="right-cluster",
        title="az and kubectl speak of the same cluster, the one of this plan",
        state="check",
        commands=(
            run("az account show --query '[name, id]' --output tsv", "the subscription of the cluster"),
            run(f"az aks show {AZ_TARGET} --query '[fqdn, privateFqdn]' --output tsv", "the cluster's names"),
            run(
                "kubectl config view --minify --output 'jsonpath={.clusters[0].cluster.server}{\"\\n\"}'",
                "one of these names",
            ),
        ),
        otherwise=f"choose the subscription, and get credentials: `az aks get-credentials {AZ_TARGET}`",
    )


def _cli(minimum: str | None) -> Precondition:
    least = minimum or "2.63.0"
    return Precondition(
        id="cli",
        title=f"Azure CLI {least} or newer",
        state="check",
        detail="the lowest version that knows every option of this plan",
        commands=(run("az version --query '\"azure-cli\"' --output tsv", f"{least} or newer"),),
        otherwise="upgrade the CLI; an older one refuses an option or leaves it out",
        rules=("CLU-CLI-VERSION",),
    )


def _preview() -> Precondition:
    query = "\"[?name=='aks-preview'].version\""
    return Precondition(
        id="no-preview-extension",
        title="No aks-preview extension changes the commands",
        state="check",
        commands=(run(f"az extension list --query {query} --output tsv", "nothing"),),
        otherwise="take it away for the change: az extension remove --name aks-preview",
        rules=("CLU-CLI-VERSION",),
    )


def _states() -> Precondition:
    return Precondition(
        id="healthy",
        title="Cluster, pools and nodes are healthy",
        state="check",
        commands=(
            run(f"az aks show {AZ_TARGET} --query provisioningState --output tsv", "Succeeded"),
            run(
                f"az aks nodepool list {AZ_POOLS} "
                "--query \"[?provisioningState!='Succeeded' || powerState.code!='Running'].name\" --output tsv",
                "nothing",
            ),
            run("kubectl get nodes", "every node Ready, none SchedulingDisabled"),
        ),
        otherwise="repair it first: Cilium enforces only once every node was made anew",
        rules=("CLU-NODES-NOT-READY",),
    )


def _windows(documents: Documents, pools: Sequence[Pool]) -> Precondition:
    names = [pool.name for pool in pools if pool.windows]
    names = names or [fact.value for fact in documents.facts("windows-pool")]
    return Precondition(
        id="no-windows-pools",
        title="No Windows node pool",
        state=_known(bool(names), documents.azure is not None and _no_windows(documents)),
        detail=f"Windows pools: {', '.join(names)}" if names else "",
        commands=(
            run(f"az aks nodepool list {AZ_POOLS} --query \"[?osType=='Windows'].name\" --output tsv", "nothing"),
        ),
        otherwise="move what runs there to another cluster and delete the pool; the data plane update is refused",
        rules=("CLU-WINDOWS-POOL",),
    )


def _no_windows(documents: Documents) -> bool:
    facts = documents.header.facts if documents.header is not None else ()
    return any(fact.topic == "windows-pool" and fact.state == "absent" for fact in facts)


def _provisioning(documents: Documents) -> Precondition:
    azure = documents.azure
    mode = "" if azure is None else text(azure, "spec", "nodeProvisioningProfile", "mode")
    return Precondition(
        id="no-node-auto-provisioning",
        title="Node auto-provisioning is off",
        state=_known(mode == "Auto", mode == "Manual"),
        detail="mode Auto: a step of this plan switches it off and a later one on again" if mode == "Auto" else "",
        commands=(run(f"az aks show {AZ_TARGET} --query nodeProvisioningProfile.mode --output tsv", "Manual"),),
        otherwise="switch it off for the change, as the step does",
        rules=("CLU-NAP-ENABLED",),
    )


def _surge(pools: Sequence[Pool], route: Route) -> Precondition:
    nodes = sum(pool.surge for pool in pools)
    subnets = sorted({pool.subnet for pool in pools if pool.subnet})
    pod_addresses = route.cni == "azure-cni-node-subnet"
    need = sum(pool.surge * (pool.max_pods + 1 if pod_addresses else 1) for pool in pools)
    advised = durations().advised_surge.percent
    few = [pool for pool in pools if pool.surge < surge_for(advised, pool.nodes)]
    detail = f"{_more(nodes)} at a time, {need} free addresses in the node subnets" if pools else ""
    if few:
        names = ", ".join(f"{pool.name} ({pool.surge_text})" for pool in few)
        detail += f"; below the advised {advised}%: {names}, which makes the change longer"
    commands = [run('az vm list-usage --location "$LOCATION" --output table', f"vCPUs left for {_more(nodes)}")]
    commands += [
        run(
            f"az network vnet subnet show --ids {quoted(subnet)} --query {_USED} --output json",
            f"{need} addresses left over all node subnets",
        )
        for subnet in subnets
    ]
    commands += [
        run(
            f"az aks nodepool update {AZ_POOLS} --name {quoted(pool.name)} --max-surge {advised}%",
            "only if a shorter change is wanted; needs more quota",
        )
        for pool in few
    ]
    return Precondition(
        id="surge",
        title="Quota and addresses for the surge nodes",
        state="check",
        detail=detail,
        commands=tuple(commands),
        otherwise="raise the quota, enlarge the subnet, or lower the surge",
        rules=("CLU-QUOTA-SURGE", "CLU-REIMAGE-ALL-POOLS"),
    )


def _more(nodes: int) -> str:
    return "1 more node" if nodes == 1 else f"{nodes} more nodes"


def _system(pools: Sequence[Pool]) -> Precondition:
    system = [pool for pool in pools if pool.system]
    nodes = sum(pool.nodes for pool in system)
    return Precondition(
        id="system-nodes",
        title="More than one system node",
        state=_known(nodes == 1, nodes > 1),
        detail=f"{nodes} node in system pools" if nodes == 1 else "",
        commands=(
            run(
                f"az aks nodepool list {AZ_POOLS} --query \"[?mode=='System'].count\" --output tsv", "2 or more in sum"
            ),
        ),
        otherwise="add a system node for the change: disruption budgets of coredns and konnectivity block its drain",
        rules=("CLU-SINGLE-SYSTEM-NODE",),
    )


def _overlay(documents: Documents, route: Route, pools: Sequence[Pool]) -> Iterator[Precondition]:
    yield _version(documents)
    yield _pool_kinds(pools)
    yield _pod_network(documents, pools)
    yield Precondition(
        id="masquerade",
        title="No masquerade configuration of your own",
        state="check",
        commands=(run("kubectl -n kube-system get configmap azure-ip-masq-agent-config", "NotFound"),),
        otherwise="delete what is left over; ranges that are not masqueraded lose connections from overlay pods",
        rules=("NET-IPMASQ-CUSTOM",),
    )
    if route.cni == "kubenet":
        yield _identity(documents, pools)


def _version(documents: Documents) -> Precondition:
    found = next((fact.value for fact in documents.facts("kubernetes-version")), "")
    numbers = re.match(r"v?(\d+)\.(\d+)", found)
    old = numbers is not None and (int(numbers[1]), int(numbers[2])) < _OVERLAY_FROM
    return Precondition(
        id="kubernetes-version",
        title="Kubernetes 1.27 or newer for overlay",
        state=_known(old, numbers is not None),
        detail=f"the cluster has {found}" if found else "",
        commands=(run(f"az aks show {AZ_TARGET} --query currentKubernetesVersion --output tsv", "1.27 or newer"),),
        otherwise="upgrade Kubernetes first",
        rules=("CLU-OVERLAY-K8S-VERSION",),
    )


def _pool_kinds(pools: Sequence[Pool]) -> Precondition:
    bad = [pool.name for pool in pools if pool.kind == "AvailabilitySet" or pool.pod_subnet]
    return Precondition(
        id="pool-kinds",
        title="No availability sets and no pod subnets",
        state=_known(bool(bad), bool(pools) and all(pool.kind for pool in pools)),
        detail=f"pools {', '.join(bad)}" if bad else "",
        commands=(
            run(
                f"az aks nodepool list {AZ_POOLS} "
                "--query \"[?type=='AvailabilitySet' || podSubnetId!=null].name\" --output tsv",
                "nothing",
            ),
        ),
        otherwise="move the nodes to pools of scale sets; clusters with pod subnets cannot go to overlay",
        rules=("CLU-AVAILABILITY-SET", "CLU-OVERLAY-DYNAMIC-IP"),
    )


def pod_network(documents: Documents) -> str | None:
    """The pod network that a cluster keeps when it goes to overlay; None when one has to be chosen."""
    azure = documents.azure
    return (text(azure, "spec", "networkProfile", "podCidr") or None) if azure is not None else None


def _pod_network(documents: Documents, pools: Sequence[Pool]) -> Precondition:
    need = sum(pool.largest + pool.surge for pool in pools)
    given = pod_network(documents)
    room = _room(given)
    small = room is not None and bool(pools) and room < need
    detail = f"up to {need} nodes with surge" if pools else ""
    if room is not None:
        detail += f"; {given} has room for {room}"
    return Precondition(
        id="pod-network",
        title="The pod network has a /24 for each node and overlaps nothing",
        state="not_met" if small else "check",
        detail=detail,
        commands=(
            run(f'az aks show {AZ_TARGET} --query "networkProfile.[podCidr, serviceCidr]" --output tsv'),
            run('echo "$POD_CIDR"', "a range that is used nowhere: VNet, peerings, on-premises, services"),
        ),
        otherwise="choose a larger or another range now; later only a larger one around it is possible",
        rules=("NET-PODCIDR-SIZE", "NET-PODCIDR-OVERLAP"),
    )


def _room(network: str | None) -> int | None:
    try:
        prefix = ipaddress.ip_network(network or "", strict=False).prefixlen
    except ValueError:
        return None
    return 2 ** (_NODE_BITS - prefix) if prefix <= _NODE_BITS else 0


def _identity(documents: Documents, pools: Sequence[Pool]) -> Precondition:
    azure = documents.azure
    kind = "" if azure is None else text(azure, "spec", "identity", "type")
    own_network, managed = any(pool.subnet for pool in pools), "UserAssigned" in kind
    return Precondition(
        id="identity",
        title="A user-assigned identity, to take the route table off the subnet",
        state=_known(bool(kind) and not managed and own_network, managed),
        detail=f"identity {kind}{', nodes in a network of your own' if own_network else ''}" if kind else "",
        commands=(run(f"az aks show {AZ_TARGET} --query identity.type --output tsv", "UserAssigned"),),
        otherwise="give the cluster a user-assigned identity with rights on the network and the route table",
        rules=("NET-KUBENET-IDENTITY",),
    )


def common_preconditions(documents: Documents, today: date) -> Iterator[Precondition]:
    """What holds for any cluster: no blocker, drains are possible, what was proved and audited is whole."""
    yield _budgets(documents)
    yield _findings(documents, today)
    yield _translation(documents)
    yield _verification(documents)
    yield _audit(documents)
    yield Precondition(
        id="nothing-changed",
        title="Nothing changed since it was proved and audited",
        state="check",
        detail="minutes before the change",
        commands=(run("migrate plan --check --dir .", "exit status 0"),),
        otherwise="translate, verify and audit what changed again; or wait",
    )


def _budgets(documents: Documents) -> Precondition:
    blocking = [
        str(raw.ref)
        for raw in documents.by_kind.get("PodDisruptionBudget", ())
        if number(raw, "status", "disruptionsAllowed") == 0 and (number(raw, "status", "expectedPods") or 1) > 0
    ]
    columns = "NS:.metadata.namespace,NAME:.metadata.name,ALLOWED:.status.disruptionsAllowed"
    return Precondition(
        id="disruption-budgets",
        title="No disruption budget blocks a drain",
        state=_known(bool(blocking), documents.was_read("PodDisruptionBudget")),
        detail=", ".join(blocking[:10]) + (f" and {len(blocking) - 10} more" if len(blocking) > 10 else ""),
        commands=(
            run(
                f"kubectl get poddisruptionbudgets --all-namespaces --output custom-columns={columns}",
                "no 0 at ALLOWED",
            ),
        ),
        otherwise="scale the workload up or relax the budget for the change; a blocked drain fails the operation",
        rules=("CLU-PDB-BLOCKS-DRAIN",),
    )


def _findings(documents: Documents, today: date) -> Precondition:
    """No blocker of all rules; those that this very way takes away by itself are no blockers of it."""
    found = [group.id for group in judge(documents, load_rules(), today).blockers if group.id not in _DONE_BY_STEPS]
    return Precondition(
        id="no-blockers",
        title="No finding stands in the way",
        state="not_met" if found else "met",
        detail=f"{len(found)} kinds of blockers" if len(found) > 1 else "1 kind of blocker" if found else "",
        commands=(
            run("migrate report --dir . --fail-on blocker", "exit status 0; report.html has each with its steps"),
        ),
        otherwise="do what each finding says, or accept it by its id when you translate",
        rules=tuple(found),
    )


def _translation(documents: Documents) -> Precondition:
    done = documents.translation
    unproved = 0 if done is None else sum(result.proof == "none" for result in done.results)
    detail = "there is none" if done is None else ""
    if done is not None and not done.complete:
        detail = "it is incomplete"
    elif unproved:
        detail = f"{unproved} of {len(done.results) if done else 0} results are not proved"
    return Precondition(
        id="translation",
        title="All policies are translated, and the results proved",
        state="not_met" if detail else "met",
        detail=detail,
        commands=(run("migrate translate --output-dir .", "exit status 0: no blocker that nobody accepted"),),
        otherwise="decide what the findings ask, then translate again",
    )


def _verification(documents: Documents) -> Precondition:
    done = documents.verification
    state: Known = "not_met" if done is None or done.result == "undecided" else "met"
    detail = "nobody compared today with the translation"
    if done is not None:
        pairs = f"{done.newly_denied_pairs} pairs of pods newly denied, {done.newly_allowed_pairs} newly allowed"
        detail = f"{done.result}; {pairs}"
    return Precondition(
        id="verification",
        title="Every flow that changes is known and wanted",
        state=state if done is None or done.result != "different" else "check",
        detail=detail,
        commands=(run("migrate verify --dir .", "exit status 0, or every change wanted by its owner"),),
        otherwise="go through the changed flows with the owners of the workloads",
    )


def _audit(documents: Documents) -> Precondition:
    done = documents.audit
    detail = "no live traffic was audited: what is in use and would be dropped is not known"
    state: Known = "not_met"
    if done is not None:
        outdated = documents.audit_outdated
        state = "met" if done.result == "clean" and done.complete and not outdated else "not_met"
        groups = f", {len(done.would_drop)} groups of connections would be dropped" if done.would_drop else ""
        detail = f"{done.since} to {done.until}: {done.result}{groups}{'' if done.complete else ', incomplete'}"
        detail += f"; changed since: {', '.join(outdated)}" if outdated else ""
    return Precondition(
        id="audit",
        title="No connection in use would be dropped",
        state=state,
        detail=detail,
        commands=(run("migrate audit --duration 24h", "exit status 0"),),
        otherwise="allow what is wanted, audit for 24 hours or the longest CronJob's period",
        rules=("AUD-COVERAGE",),
    )


def _known(bad: bool, told: bool) -> Known:
    if bad:
        return "not_met"
    return "met" if told else "check"
