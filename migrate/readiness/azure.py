"""The fields of `az aks show` that rules look at, as typed values; missing and null are told apart where it matters.

Azure writes null where nothing is set, and older API versions leave fields out that they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from migrate.model.raw import FieldPath, Json, RawObject, as_number
from migrate.readiness.aks import limits
from migrate.readiness.documents import Documents
from migrate.scan.inventory.look import dig, items, texts

_NETWORK = ("networkProfile",)


@dataclass(frozen=True, slots=True)
class Pool:
    """A node pool. Numbers of nodes are None where Azure does not say; `largest` is what an autoscaler may reach.

    A subnet is None where the document does not speak of it, and empty where there is none.
    `surge` is the number of further nodes or the percentage ("33%") that an upgrade takes, as it will be applied.
    Words that Azure chooses (`mode`, `kind`, `system`, `priority`) are in lower case.
    """

    index: int
    name: str
    mode: str
    kind: str
    system: str
    priority: str
    size: str
    state: str
    count: int | None
    largest: int | None
    max_pods: int | None
    surge: str
    max_unavailable: str
    node_subnet: str | None
    pod_subnet: str | None

    def surge_nodes(self, nodes: int) -> int:
        """Nodes that an upgrade of so many nodes adds. A percentage is rounded up."""
        return scaled(self.surge, nodes)

    def waves(self) -> int | None:
        """How many times in a row an upgrade makes nodes anew; None when the number of nodes is not known."""
        if self.count is None:
            return None
        at_once = self.surge_nodes(self.count) or scaled(self.max_unavailable, self.count) or 1
        return ceil(self.count / at_once)


@dataclass(frozen=True, slots=True)
class ManagedCluster:
    """What Azure says about a cluster. Words that Azure chooses are in lower case, empty where they are missing.

    `identity` is None where the document does not speak of it, and empty where there is none.
    `provisioning_mode` is None where the document does not say whether Azure makes nodes itself.
    """

    raw: RawObject
    version: str
    long_term_support: bool
    identity: str | None
    plugin: str
    overlay: bool
    outbound: str
    pod_ranges: tuple[str, ...]
    service_ranges: tuple[str, ...]
    provisioning_mode: str | None
    state: str
    power: str
    gateway_addon: bool
    proxy_off: bool
    pools: tuple[Pool, ...]

    @property
    def own_network(self) -> bool | None:
        """Whether the nodes are in a virtual network that the owner brought; None when a pool does not say."""
        subnets = [pool.node_subnet for pool in self.pools]
        if any(subnets):
            return True
        return None if None in subnets or not subnets else False

    def nodes(self) -> int | None:
        """All nodes now; None when one pool does not say."""
        counts = [pool.count for pool in self.pools]
        return None if not counts or None in counts else sum(count for count in counts if count is not None)


def managed_cluster(documents: Documents) -> ManagedCluster | None:
    """What Azure said, if it was asked."""
    raw = documents.azure
    return None if raw is None else _cluster(raw)


def scaled(amount: str, total: int) -> int:
    """A number, or a percentage of a total, rounded up; 0 for anything else."""
    text = amount.strip()
    if text.endswith("%") and text[:-1].strip().isdecimal():
        return ceil(total * int(text[:-1]) / 100)
    return int(text) if text.isdecimal() else 0


def _cluster(raw: RawObject) -> ManagedCluster:
    spec = raw.data.get("spec")
    version = _text(raw, "currentKubernetesVersion") or _text(raw, "kubernetesVersion")
    gateways = [dig(spec, "addonProfiles", name, "enabled") for name in _gateways(dig(spec, "addonProfiles"))]
    return ManagedCluster(
        raw=raw,
        version=version,
        long_term_support=_word(raw, "supportPlan") == "akslongtermsupport",
        identity=_word(raw, "identity", "type") if _has(raw, "identity") else None,
        plugin=_word(raw, *_NETWORK, "networkPlugin"),
        overlay=_word(raw, *_NETWORK, "networkPluginMode") == "overlay",
        outbound=_word(raw, *_NETWORK, "outboundType"),
        pod_ranges=_ranges(raw, "podCidrs", "podCidr"),
        service_ranges=_ranges(raw, "serviceCidrs", "serviceCidr"),
        provisioning_mode=_provisioning_mode(raw),
        state=_word(raw, "provisioningState"),
        power=_word(raw, "powerState", "code"),
        gateway_addon=True in gateways,
        proxy_off=_at(raw, *_NETWORK, "kubeProxyConfig", "enabled") is False,
        pools=tuple(_pool(raw, index) for index in range(len(items(dig(spec, "agentPoolProfiles"))))),
    )


def _pool(raw: RawObject, index: int) -> Pool:
    place: FieldPath = ("agentPoolProfiles", index)
    priority = _word(raw, *place, "scaleSetPriority")
    count, largest = _sizes(raw, place)
    surge = _amount(raw, *place, "upgradeSettings", "maxSurge") or limits().default_surge.value
    return Pool(
        index=index,
        name=_text(raw, *place, "name"),
        mode=_word(raw, *place, "mode"),
        kind=_word(raw, *place, "type"),
        system=_word(raw, *place, "osType"),
        priority=priority,
        size=_text(raw, *place, "vmSize"),
        state=_word(raw, *place, "provisioningState"),
        count=count,
        largest=largest,
        max_pods=_number(raw, *place, "maxPods"),
        surge=limits().spot_surge.value if priority == "spot" else surge,
        max_unavailable=_amount(raw, *place, "upgradeSettings", "maxUnavailable"),
        node_subnet=_nullable(raw, *place, "vnetSubnetId"),
        pod_subnet=_nullable(raw, *place, "podSubnetId"),
    )


def _sizes(raw: RawObject, place: FieldPath) -> tuple[int | None, int | None]:
    """Nodes now, and at most. Pools of single virtual machines say it in a profile of their own."""
    scale = (*place, "virtualMachinesProfile", "scale")
    manual = [
        number for entry in items(_at(raw, *scale, "manual")) if (number := as_number(dig(entry, "count"))) is not None
    ]
    reach = _number(raw, *scale, "autoscale", "maxCount")
    count = _number(raw, *place, "count")
    if count is None and manual:
        count = sum(manual)
    if reach is not None:
        return count, reach + sum(manual)
    most = _number(raw, *place, "maxCount")
    scales = _at(raw, *place, "enableAutoScaling")
    if most is None or scales is False:
        return count, None if scales is True else count
    return count, max(most, count or 0)


def _provisioning_mode(raw: RawObject) -> str | None:
    """Where the whole profile is null nobody has asked for it."""
    if not _has(raw, "nodeProvisioningProfile"):
        return None
    mode = _word(raw, "nodeProvisioningProfile", "mode")
    if _at(raw, "nodeProvisioningProfile") is None:
        return "manual"
    return mode if mode in ("auto", "manual") else None


def _gateways(addons: Json) -> list[str]:
    """The names of the add-on for Application Gateway, which differ in case between API versions."""
    return [name for name in addons if name.lower() == "ingressapplicationgateway"] if isinstance(addons, dict) else []


def _ranges(raw: RawObject, several: str, one: str) -> tuple[str, ...]:
    listed = texts(raw, "spec", *_NETWORK, several)
    single = _text(raw, *_NETWORK, one)
    return listed or ((single,) if single else ())


def _at(raw: RawObject, *path: str | int) -> Json:
    return dig(raw.data, "spec", *path)


def _has(raw: RawObject, key: str) -> bool:
    spec = raw.data.get("spec")
    return isinstance(spec, dict) and key in spec


def _text(raw: RawObject, *path: str | int) -> str:
    value = _at(raw, *path)
    return value if isinstance(value, str) else ""


def _nullable(raw: RawObject, *path: str | int) -> str | None:
    """The text at a path, empty for null; None when the field is not there or holds something else."""
    holder, key = _at(raw, *path[:-1]), path[-1]
    value = holder.get(key, False) if isinstance(holder, dict) and isinstance(key, str) else False
    return "" if value is None else value if isinstance(value, str) else None


def _word(raw: RawObject, *path: str | int) -> str:
    return _text(raw, *path).strip().lower()


def _number(raw: RawObject, *path: str | int) -> int | None:
    return as_number(_at(raw, *path))


def _amount(raw: RawObject, *path: str | int) -> str:
    """A number or a percentage as text; empty when missing."""
    value = _at(raw, *path)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(raw, *path).strip()
