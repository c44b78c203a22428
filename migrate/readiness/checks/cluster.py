"""Rules about the cluster as Azure describes it: versions, pools, engines and what an update refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from migrate.model.finding import Effect, Finding
from migrate.model.refs import ObjectRef
from migrate.readiness import deadlines
from migrate.readiness.aks import KubernetesVersion, Release, limits, release_of, versions
from migrate.readiness.around import cli_version
from migrate.readiness.azure import managed_cluster
from migrate.readiness.checks.concern import (
    VERSION_UNKNOWN,
    at_pool,
    azure,
    endings,
    has_npm,
    kubernetes_version,
    may_be_kubenet,
    may_take_overlay,
    takes,
    to_managed_cilium,
    unsaid,
    way,
    way_unknown,
)
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.readiness.route import Step
from migrate.scan.inventory.look import counted

_ENGINES = {"npm-linux": "Azure NPM", "npm-windows": "Azure NPM", "calico": "Calico"}
_NODE_POOLS = "karpenter.sh"
_POOL_KINDS = ("virtualmachinescalesets", "virtualmachines", "availabilityset")
_EMPTY_POOLS = "pools without nodes, which only Azure knows: `az aks show -o json`, given with --az-json"


def check_windows(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Pools and nodes with Windows."""
    cluster = managed_cluster(documents)
    found = list(documents.facts("windows-pool"))
    for fact in found:
        shown = fact.evidence[0]
        whole = f"pool {fact.value} runs Windows ({shown.object}, {shown.field})"
        yield Finding(id="CLU-WINDOWS-POOL", detail=whole, effect=Effect.UNKNOWN)
    if cluster is None and not documents.was_read("Node"):
        yield Missing("the systems of nodes: nodes, or Azure's settings with --az-json")
    elif cluster is None and not found:
        yield Missing(_EMPTY_POOLS)
    elif cluster is not None:
        yield from unsaid(cluster, "osType", lambda pool: pool.system in ("linux", "windows"))


def check_auto_provisioning(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Node auto-provisioning by Azure's word, and the objects that steer it."""
    cluster = managed_cluster(documents)
    mode = cluster.provisioning_mode if cluster is not None else None
    if cluster is not None and mode == "auto":
        detail = "Azure says that nodes are provisioned automatically (mode Auto)"
        field = "nodeProvisioningProfile.mode"
        yield Finding(id="CLU-NAP-ENABLED", detail=detail, subject=cluster.raw.ref, field=field)
    pools = [raw.ref for raw in documents.by_kind.get("NodePool", ()) if raw.ref.group == _NODE_POOLS]
    if pools and mode != "auto":
        names = ", ".join(ref.name for ref in pools)
        detail = f"Karpenter's NodePools are there: {names}"
        detail += (
            "; Azure says that its own provisioning is off, so they are left over or somebody else's" if mode else ""
        )
        yield Finding(id="CLU-NAP-ENABLED", detail=detail, subject=pools[0])
    if mode is None and not pools:
        yield Missing("whether Azure provisions nodes itself: `az aks show -o json`, given with --az-json")


def check_kubenet(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Pods' network is kubenet."""
    for fact in documents.facts("kubenet"):
        shown = fact.evidence[0] if fact.evidence else None
        said = f"{shown.object} {shown.field} is {shown.value}" if shown else fact.detail
        yield Finding(id="CLU-KUBENET-TWO-STEP", detail=f"kubenet gives pods their network: {said}")
    if way(documents).cni == "unknown":
        yield from way_unknown(documents)


def check_overlay_engine(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A policy engine in the way of the overlay step."""
    engine = way(documents).engine
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    elif engine in _ENGINES:
        detail = f"the way includes the step to overlay, and {_ENGINES[engine]} enforces policy"
        yield Finding(id="CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", detail=detail, effect=Effect.UNKNOWN)


def check_overlay_pod_subnet(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Pools whose pods have a subnet of their own, where the way includes the overlay step."""
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    cluster = azure(documents)
    for pool in cluster.pools:
        if pool.pod_subnet:
            subject, field = at_pool(cluster, pool, "podSubnetId")
            detail = f"pool {pool.name} takes its pods' addresses from a subnet of their own"
            yield Finding(id="CLU-OVERLAY-DYNAMIC-IP", detail=detail, subject=subject, field=field)
    yield from unsaid(cluster, "podSubnetId", lambda pool: pool.pod_subnet is not None)


def check_overlay_version(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A version of Kubernetes that the overlay step refuses."""
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    least, known = limits().overlay_kubernetes, kubernetes_version(documents)
    if known is None:
        yield VERSION_UNKNOWN
    elif known[1] < _release(least.value):
        detail = f"Kubernetes {known[0]}, and the step to overlay needs {least.value} or newer ({least})"
        yield Finding(id="CLU-OVERLAY-K8S-VERSION", detail=detail)


def check_kubernetes_version(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A version without a documented Cilium, or past its end of life."""
    known = kubernetes_version(documents)
    if known is None:
        yield VERSION_UNKNOWN
        return
    version, release = known
    row, cluster = versions().find(release), managed_cluster(documents)
    supported_longer = cluster is not None and cluster.long_term_support
    detail = _unsupported(version, row, today, supported_longer)
    if detail:
        unsure = "" if cluster is not None else "; whether it has long-term support only Azure knows (--az-json)"
        yield Finding(id="CLU-K8S-UNSUPPORTED", detail=detail + unsure, effect=Effect.UNKNOWN)


def _unsupported(version: str, row: KubernetesVersion | None, today: date, longer: bool) -> str:
    """What is wrong with a version; empty when nothing is."""
    table = versions()
    source = f"{table.cilium_source} of {table.cilium_source_date}"
    if row is None or row.cilium is None:
        older = (
            f"; before {row.superseded[0].until} it said {row.superseded[0].cilium}" if row and row.superseded else ""
        )
        return f"Kubernetes {version} is not in the table of Cilium versions{older} ({source})"
    last = row.lts_end_of_life if longer else row.end_of_life
    if today <= last:
        return ""
    term = "long-term support" if longer else "support"
    other = "" if longer else f"; with long-term support it would last to {row.lts_end_of_life}"
    lifecycle = f"{table.lifecycle_source} of {table.lifecycle_source_date}"
    ended = f"{term} of Kubernetes {version} ended on {last}{other}"
    return f"{ended}; Cilium {row.cilium} or newer comes with it ({lifecycle})"


def check_engine_flag(documents: Documents, today: date) -> Iterator[Finding]:
    """What the command has to hold, for every cluster that AKS updates."""
    detail = "the command is `az aks update --network-dataplane cilium --network-policy cilium`, with both options"
    yield Finding(id="CLU-ENGINE-FLAG", detail=detail)


def check_cli_version(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """An Azure CLI that is older than a step of the way asks for."""
    steps: tuple[Step, ...] = way(documents).steps or ("dataplane",)
    needed = {step: limits().cli[step].value for step in steps if step in limits().cli}
    least = max(needed.values(), key=_numbers)
    listed = ", ".join(f"{step} {value}" for step, value in needed.items())
    installed = cli_version(documents)
    if not installed:
        where = "the version of the Azure CLI where the commands will be run: `az version`, in the folder of --az-json"
        yield Missing(f"{where}; it has to be {least} or newer ({listed})")
    elif _numbers(installed) < _numbers(least):
        detail = f"Azure CLI {installed}, and the way asks for {least} or newer ({listed})"
        yield Finding(id="CLU-CLI-VERSION", detail=detail)


def check_irreversible(documents: Documents, today: date) -> Iterator[Finding]:
    """What cannot be undone, for every cluster that AKS updates."""
    steps = (
        "the step to overlay, nor from the update to Cilium" if takes(documents, "overlay") else "the update to Cilium"
    )
    yield Finding(
        id="CLU-IRREVERSIBLE", detail=f"no document names a way back from {steps}: going back is a second cluster"
    )


def check_availability_set(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Pools on availability sets."""
    cluster = azure(documents)
    for pool in cluster.pools:
        if pool.kind == "availabilityset":
            subject, field = at_pool(cluster, pool, "type")
            detail = f"pool {pool.name} is an availability set"
            yield Finding(id="CLU-AVAILABILITY-SET", detail=detail, subject=subject, field=field)
    yield from unsaid(cluster, "type", lambda pool: pool.kind in _POOL_KINDS)


def check_deadlines(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """What is in use and ends, or has ended."""
    yield from _of_deadlines("CLU-DEADLINE", documents, today)
    unknown = [fact for fact in documents.header.facts if fact.state == "unknown"] if documents.header else []
    for fact in unknown:
        if fact.topic in ("engine", "kubenet", "node-os"):
            yield Missing(f"{fact.topic}: {fact.detail}")


def check_images(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Pools whose node images are gone."""
    yield from _of_deadlines("CLU-OS-IMAGE-GONE", documents, today)
    if not any(list(documents.facts(topic)) for topic in ("node-os", "node-image")):
        yield Missing("the systems of nodes: nodes, or Azure's settings with --az-json")


def _of_deadlines(rule: str, documents: Documents, today: date) -> Iterator[Finding]:
    facts = documents.header.facts if documents.header is not None else ()
    yield from (each for each in deadlines.findings(deadlines.applying(facts, today)) if each.id == rule)


def check_npm_scale(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """More nodes or pods than NPM is made for, or an NPM that ran out of memory."""
    nodes, pods = len(documents.by_kind.get("Node", ())), len(documents.by_kind.get("Pod", ()))
    cluster = managed_cluster(documents)
    nodes = max(nodes, (cluster.nodes() or 0) if cluster is not None else 0)
    if not documents.was_read("Node"):
        yield Missing("objects of kind Node, which were not read")
    for number, limit, what in ((nodes, limits().npm_nodes, "node"), (pods, limits().npm_pods, "pod")):
        if number > limit.value:
            detail = f"{counted(number, what)}, and NPM is made for {limit.value} ({limit})"
            yield Finding(id="CLU-NPM-SCALE", detail=detail, effect=Effect.UNKNOWN)
    for pod in _killed_npm(documents):
        detail = "azure-npm was ended for lack of memory on this node"
        yield Finding(id="CLU-NPM-SCALE", detail=detail, effect=Effect.UNKNOWN, subject=pod)


def _killed_npm(documents: Documents) -> Iterator[ObjectRef]:
    for raw in documents.by_kind.get("Pod", ()):
        npm = raw.ref.namespace == "kube-system" and raw.ref.name.startswith("azure-npm")
        if npm and "OOMKilled" in endings(raw):
            yield raw.ref


def _release(text: str) -> Release:
    found = release_of(text)
    assert found is not None, f"a version of ours that is none: {text}"
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


CHECKS: tuple[Check, ...] = (
    Check("CLU-WINDOWS-POOL", check_windows, concerns=to_managed_cilium),
    Check("CLU-NAP-ENABLED", check_auto_provisioning, concerns=to_managed_cilium),
    Check("CLU-KUBENET-TWO-STEP", check_kubenet, concerns=may_be_kubenet),
    Check("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", check_overlay_engine, concerns=may_take_overlay),
    Check("CLU-OVERLAY-DYNAMIC-IP", check_overlay_pod_subnet, (Need.SNAPSHOT, Need.AZURE), concerns=may_take_overlay),
    Check("CLU-OVERLAY-K8S-VERSION", check_overlay_version, concerns=may_take_overlay),
    Check("CLU-K8S-UNSUPPORTED", check_kubernetes_version, concerns=to_managed_cilium),
    Check("CLU-ENGINE-FLAG", check_engine_flag, concerns=to_managed_cilium),
    Check("CLU-CLI-VERSION", check_cli_version, concerns=to_managed_cilium),
    Check("CLU-IRREVERSIBLE", check_irreversible, concerns=to_managed_cilium),
    Check("CLU-AVAILABILITY-SET", check_availability_set, (Need.SNAPSHOT, Need.AZURE), concerns=to_managed_cilium),
    Check("CLU-DEADLINE", check_deadlines),
    Check("CLU-OS-IMAGE-GONE", check_images, concerns=to_managed_cilium),
    Check("CLU-NPM-SCALE", check_npm_scale, kinds=("Pod",), concerns=has_npm),
)
