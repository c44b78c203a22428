"""The node pools of a cluster, how many of their nodes are made anew at a time, and how long all of that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from migrate.model.plan_documents import Duration
from migrate.model.raw import Json
from migrate.readiness.documents import Documents
from migrate.readiness.planning.data import durations
from migrate.scan.inventory.look import dig, items, label

_POOL_LABELS = ("kubernetes.azure.com/agentpool", "agentpool")


@dataclass(frozen=True, slots=True)
class Pool:
    """A node pool. `nodes` are those of today; `largest` is what its autoscaler may make of it. `surge` is a number.

    `limit` is the drain timeout in minutes, `soak` the wait between drain and making anew.
    """

    name: str
    nodes: int
    largest: int
    surge: int
    surge_text: str
    limit: int
    soak: int
    system: bool
    windows: bool
    kind: str
    max_pods: int
    subnet: str
    pod_subnet: bool

    @property
    def waves(self) -> int:
        """How often as many nodes as the surge allows are made anew, one lot after the other."""
        return -(-self.nodes // self.surge) if self.nodes else 0


def pools_of(documents: Documents) -> tuple[Pool, ...]:
    """The pools by name: as Azure describes them, else by the labels of nodes; none where neither was read."""
    azure = documents.azure
    seen = _nodes_by_pool(documents)
    if azure is not None:
        entries = [entry for entry in items(dig(azure.data, "spec", "agentPoolProfiles")) if isinstance(entry, dict)]
        return tuple(sorted((_pool(entry, seen) for entry in entries), key=lambda pool: pool.name))
    return tuple(_pool({"name": name, "count": count}, {}) for name, count in sorted(seen.items()) if name)


def reimage_duration(pools: Sequence[Pool]) -> Duration | None:
    """How long it takes to make every node of all pools anew; None when the pools are not known."""
    if not any(pool.waves for pool in pools):
        return None
    known = durations()
    expected = max(pool.waves * (known.per_wave.minutes + pool.soak) for pool in pools)
    worst = max(pool.waves * (known.per_wave.minutes + pool.soak + pool.limit) for pool in pools)
    lots = "; ".join(_lot(pool) for pool in pools if pool.waves)
    return Duration(
        expected_minutes=expected,
        worst_minutes=worst,
        basis=(
            f"{lots}; {known.per_wave.minutes} minutes a lot, pools at the same time. At worst every drain takes as "
            "long as its limit lets it; one that takes longer stops the operation. From documents, not measured"
        ),
        sources=(known.per_wave.statement, known.drain_limit.statement, known.together.statement),
    )


def _lot(pool: Pool) -> str:
    nodes = "1 node" if pool.nodes == 1 else f"{pool.nodes} nodes"
    lots = "1 lot" if pool.waves == 1 else f"{pool.waves} lots"
    return f"pool {pool.name}: {nodes}, surge {pool.surge_text}, so {lots} of {pool.surge}"


def _pool(entry: dict[str, Json], seen: dict[str, int]) -> Pool:
    name = str(entry.get("name") or "")
    count = _whole(entry.get("count")) or seen.get(name, 0)
    settings = entry.get("upgradeSettings")
    upgrade = settings if isinstance(settings, dict) else {}
    surge, surge_text = _surge(upgrade.get("maxSurge"), count)
    return Pool(
        name=name,
        nodes=count,
        largest=max(count, _whole(entry.get("maxCount")) if entry.get("enableAutoScaling") is not False else 0),
        surge=surge,
        surge_text=surge_text,
        limit=_whole(upgrade.get("drainTimeoutInMinutes")) or durations().drain_limit.minutes,
        soak=_whole(upgrade.get("nodeSoakDurationInMinutes")),
        system=entry.get("mode") == "System",
        windows=entry.get("osType") == "Windows",
        kind=str(entry.get("type") or ""),
        max_pods=_whole(entry.get("maxPods")),
        subnet=str(entry.get("vnetSubnetId") or ""),
        pod_subnet=bool(entry.get("podSubnetId")),
    )


def surge_for(percent: int, nodes: int) -> int:
    """That part of a pool in whole nodes, rounded up; at least one."""
    return max(1, -(-nodes * percent // 100))


def _surge(value: Json, nodes: int) -> tuple[int, str]:
    """The surge as a number of nodes, and as it was set. Never more than there are nodes."""
    text = str(value) if isinstance(value, str | int) else ""
    if text.isdecimal() and int(text):
        return min(int(text), max(nodes, 1)), text
    part = text.removesuffix("%")
    if text.endswith("%") and part.isdecimal() and int(part):
        return min(surge_for(int(part), nodes), max(nodes, 1)), text
    default = durations().surge.percent
    return surge_for(default, nodes), f"{default}% (not set)"


def _whole(value: Json) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _nodes_by_pool(documents: Documents) -> dict[str, int]:
    names = (next((v for key in _POOL_LABELS if (v := label(n, key))), "") for n in documents.by_kind.get("Node", ()))
    return dict(Counter(names))
