"""What the inventory needs of a snapshot's objects, gathered in one pass: of pods and services only numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from migrate.model.addresses import Address, parse_address
from migrate.model.documents import Evidence, KindCount
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.scan.collector import collector_off
from migrate.scan.inventory.look import dig, evidence, items, text
from migrate.scan.inventory.programs import is_known

AZURE_KIND = "AzureManagedCluster"
"""Kind of the object that holds `az aks show -o json` in its spec."""

POLICY_KINDS = (
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "ClusterNetworkPolicy",
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
)
"""Kinds that ask for enforcement."""

STAGED_KINDS = ("StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy")
"""Kinds that only look like it."""

_LOOKED_INTO = frozenset({AZURE_KIND, "ConfigMap", "DaemonSet", "FelixConfiguration", "IPPool", "Installation", "Node"})
_NAMED = frozenset({*POLICY_KINDS, *STAGED_KINDS})
_ADDRESSES: Mapping[str, FieldPath] = {
    "Service": ("spec", "clusterIPs"),
    "Node": ("spec", "podCIDRs"),
    "Pod": ("status", "podIPs"),
}
_BEST_WITNESSES = tuple(_ADDRESSES)


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods in numbers. `of_daemons` are running ones by the name of their DaemonSet, each with what shows it."""

    total: int = 0
    running: int = 0
    on_host: int = 0
    run_kube_proxy: bool = False
    of_daemons: Mapping[str, Sequence[Evidence]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inventory:
    """A snapshot's objects by kind, in the order of their names, and how each kind was read.

    Policies have their names only. `families` are the IP families in use with what shows each, and `cluster_ips` the
    lowest and the highest address of a service. `every_namespace` is False when only some namespaces were read.
    """

    by_kind: Mapping[str, tuple[RawObject, ...]]
    pods: Pods
    families: Mapping[str, Evidence]
    cluster_ips: tuple[Address, Address] | None
    kinds: tuple[KindCount, ...]
    every_namespace: bool

    @classmethod
    def of(cls, objects: Iterable[RawObject], kinds: Sequence[KindCount], every_namespace: bool = True) -> Inventory:
        """The inventory of objects in the order of their identity; no more than one need be in memory at once."""
        gathered = _Gathered()
        with collector_off():
            for raw in objects:
                gathered.add(raw)
        return gathered.inventory(tuple(kinds), every_namespace)

    def all(self, kind: str) -> tuple[RawObject, ...]:
        """Every object of a kind, whatever its API group."""
        return self.by_kind.get(kind, ())

    def named(self, kind: str, namespace: str | None, name: str) -> RawObject | None:
        """One object by its name."""
        for raw in self.all(kind):
            if raw.ref.namespace == namespace and raw.ref.name == name:
                return raw
        return None

    @property
    def azure(self) -> RawObject | None:
        """What Azure says about the cluster, if it was asked."""
        return next(iter(self.all(AZURE_KIND)), None)

    @property
    def shows_workloads(self) -> bool:
        """Whether a DaemonSet that is not here does not exist.

        A snapshot without nodes is a folder of manifests rather than a cluster: there nothing follows from absence,
        and neither does it when only some namespaces were read.
        """
        return self.every_namespace and self.was_read("DaemonSet") and bool(self.all("Node"))

    def was_read(self, kind: str) -> bool:
        """Whether objects of a kind were asked for and given."""
        return any(count.kind == kind and count.status == "read" for count in self.kinds)

    def groups(self) -> Mapping[str, tuple[KindCount, ...]]:
        """API groups that the cluster knows, or of which objects were given, with the counts of their kinds."""
        found: dict[str, list[KindCount]] = {}
        for count in self.kinds:
            if count.status == "read":
                found.setdefault(count.api_version.rpartition("/")[0], []).append(count)
        return {group: tuple(counts) for group, counts in found.items()}


@dataclass(slots=True)
class _Gathered:
    """What is known after some of the objects."""

    kept: dict[str, list[RawObject]] = field(default_factory=dict)
    pods: int = 0
    running: int = 0
    on_host: int = 0
    run_kube_proxy: bool = False
    of_daemons: dict[str, list[Evidence]] = field(default_factory=dict)
    families: dict[str, tuple[int, Evidence]] = field(default_factory=dict)
    cluster_ips: set[Address] = field(default_factory=set)

    def add(self, raw: RawObject) -> None:
        kind = raw.data.get("kind")
        if not isinstance(kind, str):
            return
        if kind in _ADDRESSES:
            self._note_families(raw, kind)
        if kind == "Pod":
            self._note_pod(raw)
        elif kind == "Service":
            self._note_service(raw)
        elif kind in _NAMED:
            self.kept.setdefault(kind, []).append(_name_of(raw))
        elif kind in _LOOKED_INTO or (kind == "Deployment" and is_known(raw)):
            self.kept.setdefault(kind, []).append(raw)

    def inventory(self, kinds: tuple[KindCount, ...], every_namespace: bool) -> Inventory:
        addresses = sorted(self.cluster_ips, key=lambda address: (address.version, int(address)))
        return Inventory(
            by_kind={kind: tuple(several) for kind, several in self.kept.items()},
            pods=Pods(self.pods, self.running, self.on_host, self.run_kube_proxy, self.of_daemons),
            families={family: shown for family, (_, shown) in self.families.items()},
            cluster_ips=(addresses[0], addresses[-1]) if addresses else None,
            kinds=kinds,
            every_namespace=every_namespace,
        )

    def _note_families(self, raw: RawObject, kind: str) -> None:
        """Of several witnesses of the best kind the first one counts."""
        rank, path = _BEST_WITNESSES.index(kind), _ADDRESSES[kind]
        for index, entry in enumerate(items(dig(raw.data, *path))):
            inner = ("ip",) if isinstance(entry, dict) else ()
            address = dig(entry, *inner)
            if not isinstance(address, str) or address in ("", "None"):
                continue
            family = "ipv6" if ":" in address else "ipv4"
            if family not in self.families or rank < self.families[family][0]:
                self.families[family] = rank, evidence(raw, *path, index, *inner)

    def _note_pod(self, raw: RawObject) -> None:
        self.pods += 1
        self.on_host += dig(raw.data, "spec", "hostNetwork") is True
        self.run_kube_proxy |= text(raw, "metadata", "name").startswith("kube-proxy-")
        if text(raw, "status", "phase") != "Running":
            return
        self.running += 1
        for owner in items(dig(raw.data, "metadata", "ownerReferences")):
            if dig(owner, "kind") == "DaemonSet":
                self.of_daemons.setdefault(str(dig(owner, "name")), []).append(evidence(raw, "status", "phase"))

    def _note_service(self, raw: RawObject) -> None:
        try:
            self.cluster_ips.add(parse_address(text(raw, "spec", "clusterIP")))
        except ValueError:
            return


def _name_of(raw: RawObject) -> RawObject:
    ref = raw.ref
    metadata: dict[str, Json] = {"name": ref.name, "namespace": ref.namespace}
    lines: dict[FieldPath, int] = {path: line for path, line in raw.lines.items() if not path}
    return RawObject({"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}, raw.source, lines)
