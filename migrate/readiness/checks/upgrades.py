"""Rules about the update itself: every node is made anew, and what stands in the way of that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from migrate.model.finding import Finding
from migrate.model.raw import RawObject
from migrate.readiness.around import free_quota
from migrate.readiness.azure import ManagedCluster, Pool, managed_cluster
from migrate.readiness.checks.budgets import check_budgets
from migrate.readiness.checks.concern import POOL_LABELS, at_pool, azure, to_managed_cilium, unsaid, way
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.scan.inventory.look import counted, dig, items, label

_ASK_AZURE = "`az aks show -o json`, given with --az-json, would tell"
_SIZE = re.compile(r"Standard_(?P<family>[A-Z]+)(?P<cores>\d+)(-\d+)?(?P<features>[a-z]+)?(?P<version>_v\d+)?")
_MODE = "kubernetes.azure.com/mode"


def check_reimage(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """How many nodes are made anew, and in how many waves."""
    cluster = managed_cluster(documents)
    if cluster is not None and cluster.pools:
        total = cluster.nodes()
        whole = "all nodes" if total is None else counted(total, "node")
        parts = "; ".join(_anew(pool) for pool in cluster.pools)
        yield _reimaged(documents, f"{whole} in {counted(len(cluster.pools), 'pool')}: {parts}")
        return
    pools = Counter(_pool_of(node) for node in documents.by_kind.get("Node", ()))
    if pools:
        parts = "; ".join(f"{name or 'without a pool'}: {counted(pools[name], 'node')}" for name in sorted(pools))
        yield _reimaged(documents, f"{counted(pools.total(), 'node')}: {parts}")
    yield Missing(f"how many nodes an upgrade takes at once (maxSurge): {_ASK_AZURE}")


def _reimaged(documents: Documents, detail: str) -> Finding:
    times = way(documents).reimages
    often = f"; all of it {times} times, once for each step of the way" if times > 1 else ""
    return Finding(id="CLU-REIMAGE-ALL-POOLS", detail=f"made anew are {detail}{often}")


def _anew(pool: Pool) -> str:
    waves, count = pool.waves(), pool.count
    if waves is None or count is None:
        return f"{pool.name}: an unknown number of nodes"
    if pool.priority == "spot":
        return f"{pool.name}: {counted(count, 'Spot node')}, without surge nodes and without a drain"
    return f"{pool.name}: {counted(count, 'node')} in {counted(waves, 'wave')} (maxSurge {pool.surge})"


def check_surge(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """What has to be free for the surge nodes: vCPUs by the given quota, and addresses, which no document says."""
    cluster = azure(documents)
    surge = [(pool, pool.surge_nodes(pool.count)) for pool in cluster.pools if pool.count is not None]
    wanted = [_wanted(pool, extra, documents) for pool, extra in surge if extra]
    wanted += [f"{pool.name}: an unknown number of nodes" for pool in cluster.pools if pool.count is None]
    free = free_quota(documents)
    for quota, cores in sorted(_cores(surge).items()):
        if cores > free.get(quota, cores):
            detail = f"the surge nodes take {cores} vCPUs and {max(free[quota], 0)} are free of the quota {quota}"
            yield Finding(id="CLU-QUOTA-SURGE", detail=detail, subject=cluster.raw.ref)
    if not cluster.pools:
        yield from unsaid(cluster, "count", lambda pool: pool.count is not None)
    unsized = [pool.name for pool, extra in surge if extra and _cores_of(pool.size) is None]
    if free and unsized:
        yield Missing(f"the vCPUs of the nodes of pool {', '.join(unsized)}, which their size does not tell")
    if wanted:
        quota = "" if "cores" in free else "free vCPU quota (`az vm list-usage`) and "
        yield Missing(f"{quota}free addresses of the node subnets for the surge nodes: {'; '.join(wanted)}")


def _cores(surge: Iterable[tuple[Pool, int]]) -> Mapping[str, int]:
    """The vCPUs of surge nodes by quota: the region's, and those of families; sizes that do not tell count nowhere."""
    found: Counter[str] = Counter()
    for pool, nodes in surge:
        size, each = _SIZE.fullmatch(pool.size), _cores_of(pool.size)
        if size is not None and each is not None and nodes:
            cores = nodes * each
            family = (
                f"standard{size['family']}{size['features'] or ''}{(size['version'] or '').removeprefix('_')}family"
            )
            found["cores"] += cores
            found[family.lower()] += cores
    return found


def _cores_of(size: str) -> int | None:
    """The vCPUs of a size that names them. Old ones of A, D and G number their steps, of which the first two agree."""
    found = _SIZE.fullmatch(size)
    if found is None:
        return None
    number, steps = int(found["cores"]), found["family"] in ("A", "G", "GS") and found["version"] is None
    steps |= found["family"] in ("D", "DS") and found["version"] in (None, "_v2")
    return number if not steps or (number <= 2 and found["family"] in ("D", "DS")) else None


def _wanted(pool: Pool, extra: int, documents: Documents) -> str:
    """The surge nodes of a pool at its size of now, and the addresses they take."""
    nodes = counted(extra, f"{pool.size or 'more'} node")
    each = 1 + (pool.max_pods or 0) if way(documents).cni == "azure-cni-node-subnet" else 1
    return f"{pool.name}: {nodes} with {each * extra} of their subnet's addresses"


def check_single_system_node(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """One node for all system pods."""
    cluster = managed_cluster(documents)
    if cluster is not None:
        yield from _single_by_azure(cluster)
        return
    system = [node for node in documents.by_kind.get("Node", ()) if label(node, _MODE) == "system"]
    if len(system) == 1:
        detail = f"node {system[0].ref.name} is the only one of the system pools"
        yield Finding(id="CLU-SINGLE-SYSTEM-NODE", detail=detail, subject=system[0].ref)
    elif not system:
        yield Missing(f"which nodes are of a system pool: {_ASK_AZURE}")


def _single_by_azure(cluster: ManagedCluster) -> Iterator[Finding | Missing]:
    pools = [pool for pool in cluster.pools if pool.mode == "system"]
    counts = [pool.count for pool in pools]
    if not pools or (None in counts and sum(count or 0 for count in counts) < 2):
        yield Missing("the number of nodes in the system pools, which the given settings do not say")
    elif sum(count or 0 for count in counts) == 1:
        pool = next(pool for pool in pools if pool.count)
        subject, field = at_pool(cluster, pool, "count")
        detail = f"pool {pool.name} has the only system node"
        yield Finding(id="CLU-SINGLE-SYSTEM-NODE", detail=detail, subject=subject, field=field)


def check_not_ready(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Nodes that are not ready, and a cluster or pools in a state that Azure does not update."""
    for node in documents.by_kind.get("Node", ()):
        ready = [entry for entry in items(dig(node.data, "status", "conditions")) if dig(entry, "type") == "Ready"]
        if not ready:
            yield Missing(f"the conditions of node {node.ref.name}, which it does not have")
        elif dig(ready[0], "status") != "True":
            why = dig(ready[0], "reason")
            detail = f"the node is not ready ({why or dig(ready[0], 'status')})"
            yield Finding(id="CLU-NODES-NOT-READY", detail=detail, subject=node.ref, field="status.conditions")
    if not documents.was_read("Node"):
        yield Missing("objects of kind Node, which were not read")
    cluster = managed_cluster(documents)
    if cluster is None:
        yield Missing(f"the states of the cluster and its pools: {_ASK_AZURE}")
    else:
        yield from _states(cluster)


def _states(cluster: ManagedCluster) -> Iterator[Finding | Missing]:
    """States other than Succeeded; a cluster that was stopped has no nodes to update."""
    rule, subject = "CLU-NODES-NOT-READY", cluster.raw.ref
    if cluster.power == "stopped":
        yield Finding(id=rule, detail="the cluster is stopped", subject=subject, field="powerState.code")
    if not cluster.pools:
        yield from unsaid(cluster, "provisioningState", lambda pool: bool(pool.state))
    states = [("the cluster", cluster.state, "provisioningState")]
    states += [(f"pool {p.name}", p.state, f"agentPoolProfiles[{p.index}].provisioningState") for p in cluster.pools]
    for what, state, field in states:
        if state not in ("succeeded", ""):
            detail = f'Azure calls the state of {what} "{state}"'
            yield Finding(id=rule, detail=detail, subject=subject, field=field)
    unknown = [what for what, state, _ in states if not state]
    if unknown:
        yield Missing(f"the state of {', '.join(unknown)}, which the given settings do not say")


def _pool_of(node: RawObject) -> str:
    return next((name for key in POOL_LABELS if (name := label(node, key))), "")


CHECKS: tuple[Check, ...] = (
    Check("CLU-REIMAGE-ALL-POOLS", check_reimage, concerns=to_managed_cilium),
    Check("CLU-QUOTA-SURGE", check_surge, (Need.SNAPSHOT, Need.AZURE), concerns=to_managed_cilium),
    Check("CLU-PDB-BLOCKS-DRAIN", check_budgets, kinds=("PodDisruptionBudget",), concerns=to_managed_cilium),
    Check("CLU-SINGLE-SYSTEM-NODE", check_single_system_node, concerns=to_managed_cilium),
    Check("CLU-NODES-NOT-READY", check_not_ready, concerns=to_managed_cilium),
)
