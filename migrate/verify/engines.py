"""Engines by name, over raw policy objects and a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from migrate.errors import InputError
from migrate.model.cluster import Cluster
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject
from migrate.model.ruleset import Engine, Provenance
from migrate.sources import calico, cilium, kubernetes
from migrate.sources.calico_engine import CalicoEngine, Tier
from migrate.sources.cilium_engine import CiliumEngine
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.felix import read_felix
from migrate.sources.kubernetes_engine import KubernetesEngine
from migrate.sources.npm_engine import NpmLinuxEngine, NpmWindowsEngine

ENGINE_NAMES = ("kubernetes", "npm", "npm-windows", "calico", "cilium")
_TIE_BREAK = "tieBreak"
_CILIUM_POLICIES = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")


@dataclass(frozen=True)
class Built:
    """An engine, and the objects that might take part and are not modelled.

    Objects of other engines (Calico's for Cilium, and so on) are neither: this engine does not read them.
    """

    engine: Engine
    left_out: tuple[Provenance, ...] = ()


@dataclass(slots=True)
class _Sorted:
    """Typed objects by what they are."""

    kubernetes_policies: list[kubernetes.NetworkPolicy] = field(default_factory=list)
    calico_policies: list[calico.CalicoPolicy] = field(default_factory=list)
    tiers: list[Tier] = field(default_factory=list)
    sets: list[calico.NetworkSet] = field(default_factory=list)
    cilium_policies: list[cilium.CiliumPolicy] = field(default_factory=list)
    groups: list[cilium.CidrGroup] = field(default_factory=list)
    others: list[Provenance] = field(default_factory=list)


def build_engine(
    name: str, policies: Sequence[RawObject], cluster: Cluster, options: Mapping[str, Json], release: int = 20
) -> Built:
    """The engine of that name; `release` is the minor of Cilium 1.x, `options` its flags and Calico's tieBreak.

    Raises InputError for an unknown engine, and for an option that no engine knows.
    """
    flags = {name: value for name, value in options.items() if name != _TIE_BREAK}
    settings = CiliumSettings.of_release(release).with_flags(flags)
    sorted_objects = _sort(policies, cluster)
    if name == "calico":
        return _calico(sorted_objects, policies, options)
    if name == "cilium":
        return _cilium(sorted_objects, cluster, settings)
    makers: dict[str, Callable[[Sequence[kubernetes.NetworkPolicy]], Engine]] = {
        "kubernetes": KubernetesEngine,
        "npm": NpmLinuxEngine,
        "npm-windows": NpmWindowsEngine,
    }
    if name not in makers:
        raise InputError(f"unknown engine {name}; take one of {', '.join(ENGINE_NAMES)}")
    return Built(makers[name](sorted_objects.kubernetes_policies), tuple(sorted_objects.others))


def _calico(found: _Sorted, policies: Sequence[RawObject], options: Mapping[str, Json]) -> Built:
    tie_break = options.get(_TIE_BREAK, "legacy")
    if tie_break not in ("legacy", "current"):
        raise InputError(f"option {_TIE_BREAK}: {tie_break!r} is not legacy or current")
    felix = read_felix(policies)
    engine = CalicoEngine(
        [*found.kubernetes_policies, *found.calico_policies],
        found.tiers,
        found.sets,
        tie_break=str(tie_break),
        vxlan_port=felix.vxlan_port,
    )
    return Built(engine, tuple(found.others))


def _cilium(found: _Sorted, cluster: Cluster, settings: CiliumSettings) -> Built:
    engine = CiliumEngine([*found.kubernetes_policies, *found.cilium_policies], found.groups, cluster, settings)
    return Built(engine, tuple(found.others))


def _sort(policies: Iterable[RawObject], cluster: Cluster) -> _Sorted:
    labels = {namespace.name: namespace.labels for namespace in cluster.namespaces}
    found = _Sorted()
    for raw in policies:
        if raw.ref.group in calico.GROUPS:
            _sort_calico(raw, labels, found)
        elif raw.ref.kind == "NetworkPolicy" and raw.ref.group == "networking.k8s.io":
            found.kubernetes_policies.append(kubernetes.read_policy(raw))
        elif raw.ref.kind in _CILIUM_POLICIES:
            found.cilium_policies.append(cilium.read_policy(raw))
        elif raw.ref.kind == "CiliumCIDRGroup":
            found.groups.append(cilium.read_group(raw))
        else:
            found.others.append(Provenance(raw.ref, "", raw.at()))
    return found


def _sort_calico(raw: RawObject, labels: Mapping[str, Labels], found: _Sorted) -> None:
    kind = raw.ref.kind
    if kind in ("NetworkPolicy", "GlobalNetworkPolicy"):
        found.calico_policies.append(calico.read_policy(raw))
    elif kind in ("NetworkSet", "GlobalNetworkSet", calico.HOST_ENDPOINT):
        found.sets.append(calico.read_network_set(raw, labels))
    elif kind == "Tier":
        found.tiers.append(_tier(raw))
    elif not kind.startswith("Staged") and kind not in ("FelixConfiguration", "Profile", "IPPool"):
        found.others.append(Provenance(raw.ref, "", raw.at()))


def _tier(raw: RawObject) -> Tier:
    spec = raw.data.get("spec")
    fields = spec if isinstance(spec, dict) else {}
    order = fields.get("order")
    number = float(order) if isinstance(order, int | float) else None
    return Tier(calico.plain_name(raw), number, fields.get("defaultAction") == "Pass")
