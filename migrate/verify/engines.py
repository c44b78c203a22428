"""Engines by name, over raw policy objects and a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from migrate.errors import InputError
from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject
from migrate.model.ruleset import Engine, Provenance
from migrate.sources import calico, cilium, cilium_tiers, kubernetes
from migrate.sources.calico_engine import CalicoEngine
from migrate.sources.calico_hosts import HostEndpoint, read_host_endpoint
from migrate.sources.calico_staged import STAGED_KUBERNETES, as_if_enforced, read_staged_kubernetes
from migrate.sources.calico_tiers import TIE_BREAKS, TieBreak, Tier, read_tier
from migrate.sources.cilium_engine import CiliumEngine
from migrate.sources.cilium_services import with_endpoints
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.endpoints import BACKEND_KINDS, read_backends
from migrate.sources.felix import read_felix
from migrate.sources.kubernetes_engine import KubernetesEngine
from migrate.sources.npm_engine import NpmLinuxEngine, NpmWindowsEngine
from migrate.sources.npm_refusals import odd_values
from migrate.sources.npm_settings import NPM_OPTIONS, NpmSettings

ENGINE_NAMES = ("kubernetes", "npm", "npm-windows", "calico", "cilium")
_TIE_BREAK, _STAGED = "tieBreak", "staged"
_CALICO_SETTINGS = (
    *("FelixConfiguration", "Profile", "IPPool", "IPReservation", "IPAMConfig", "IPAMBlock", "IPAMHandle"),
    *("BlockAffinity", "BGPConfiguration", "BGPPeer", "BGPFilter", "ClusterInformation", "CalicoNodeStatus"),
    "KubeControllersConfiguration",
)
"""Calico's kinds that have no part in a verdict, or of which the model reads what it needs elsewhere."""
_CILIUM_POLICIES = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")


@dataclass(frozen=True)
class Built:
    """An engine, and the objects that might take part and are not modelled.

    Objects of other engines (Calico's for Cilium, and so on) are neither: this engine does not read them. `on_nodes`
    are those among `left_out` that the engine answers for where it is asked about nodes too. `alternative` makes
    another release's engine, where releases may differ: `differs` says in what.
    """

    engine: Engine
    left_out: tuple[Provenance, ...] = ()
    on_nodes: tuple[Provenance, ...] = ()
    alternative: Callable[[], Engine] | None = None
    differs: str = ""


@dataclass(slots=True)
class _Sorted:
    """Typed objects by what they are."""

    kubernetes_policies: list[kubernetes.NetworkPolicy] = field(default_factory=list)
    calico_policies: list[calico.CalicoPolicy] = field(default_factory=list)
    tiers: list[Tier] = field(default_factory=list)
    sets: list[calico.NetworkSet] = field(default_factory=list)
    hosts: list[HostEndpoint] = field(default_factory=list)
    staged: list[tuple[kubernetes.NetworkPolicy, str]] = field(default_factory=list)
    cilium_policies: list[cilium.CiliumPolicy] = field(default_factory=list)
    groups: list[cilium.CidrGroup] = field(default_factory=list)
    tiered: list[RawObject] = field(default_factory=list)
    others: list[Provenance] = field(default_factory=list)


def build_engine(
    name: str, policies: Sequence[RawObject], cluster: Cluster, options: Mapping[str, Json], release: int = 20
) -> Built:
    """The engine of that name; `release` is the minor of Cilium 1.x, `options` its flags, NPM's and Calico's.

    Raises InputError for an unknown engine, and for an option that no engine knows.
    """
    flags = {name: value for name, value in options.items() if name not in (_TIE_BREAK, _STAGED, *NPM_OPTIONS)}
    settings = CiliumSettings.of_release(release).with_flags(flags)
    sorted_objects = _sort(policies, cluster)
    if name != "cilium":
        sorted_objects.others += [Provenance(raw.ref, "", raw.at()) for raw in sorted_objects.tiered]
    if name == "calico":
        return _calico(sorted_objects, policies, cluster, options)
    if name == "cilium":
        return _cilium(sorted_objects, policies, cluster, settings)
    npm, odd = NpmSettings.of(options), odd_values(policies)
    makers: dict[str, Callable[[Sequence[kubernetes.NetworkPolicy]], Engine]] = {
        "kubernetes": KubernetesEngine,
        "npm": lambda policies: NpmLinuxEngine(policies, cluster, npm, odd),
        "npm-windows": lambda policies: NpmWindowsEngine(policies, cluster, npm, odd),
    }
    if name not in makers:
        raise InputError(f"unknown engine {name}; take one of {', '.join(ENGINE_NAMES)}")
    return Built(makers[name](sorted_objects.kubernetes_policies), tuple(sorted_objects.others))


def _calico(found: _Sorted, objects: Sequence[RawObject], cluster: Cluster, options: Mapping[str, Json]) -> Built:
    tie_break, staged = _tie_break(options), options.get(_STAGED, False)
    if not isinstance(staged, bool):
        raise InputError(f"option {_STAGED}: {staged!r} is not true or false")
    policies: list[calico.CalicoPolicy | kubernetes.NetworkPolicy] = [
        *found.kubernetes_policies,
        *found.calico_policies,
    ]
    if staged:
        policies = as_if_enforced(policies, found.staged)
    has_slices = any(raw.ref.kind == "EndpointSlice" for raw in objects)
    make = partial(
        CalicoEngine,
        policies,
        found.tiers,
        found.sets,
        felix=read_felix(objects),
        hosts=found.hosts,
        backends=read_backends(objects) if has_slices else None,
        nodes=cluster.nodes,
    )
    engine = make(tie_break=tie_break)
    other = next(known for known in TIE_BREAKS if known != tie_break)
    return Built(
        engine,
        left_out=(*found.others, *engine.on_nodes),
        on_nodes=engine.on_nodes,
        alternative=partial(make, tie_break=other) if engine.ties else None,
        differs="depends on how the release orders policies of equal order",
    )


def _tie_break(options: Mapping[str, Json]) -> TieBreak:
    found = options.get(_TIE_BREAK, "legacy")
    for known in TIE_BREAKS:
        if found == known:
            return known
    raise InputError(f"option {_TIE_BREAK}: {found!r} is not legacy or current")


def _cilium(found: _Sorted, objects: Sequence[RawObject], cluster: Cluster, settings: CiliumSettings) -> Built:
    """ClusterNetworkPolicies take part where the agent is told to read them; AdminNetworkPolicies never do."""
    tiers = [
        cilium_tiers.read_policy(raw)
        for raw in found.tiered
        if settings.cluster_network_policy and cilium_tiers.is_cluster_network_policy(raw)
    ]
    policies: list[cilium.CiliumPolicy | kubernetes.NetworkPolicy | cilium_tiers.ClusterNetworkPolicy] = [
        *found.kubernetes_policies,
        *found.cilium_policies,
        *tiers,
    ]
    known = with_endpoints(cluster, read_backends(objects))
    return Built(CiliumEngine(policies, found.groups, known, settings), tuple(found.others))


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
        elif raw.ref.group == cilium_tiers.GROUP:
            found.tiered.append(raw)
        elif raw.ref.kind == "CiliumCIDRGroup":
            found.groups.append(cilium.read_group(raw))
        elif raw.ref.kind not in BACKEND_KINDS:
            found.others.append(Provenance(raw.ref, "", raw.at()))
    return found


def _sort_calico(raw: RawObject, labels: Mapping[str, Labels], found: _Sorted) -> None:
    kind = raw.ref.kind
    if kind == STAGED_KUBERNETES:
        found.staged.append(read_staged_kubernetes(raw))
    elif kind.removeprefix("Staged") in ("NetworkPolicy", "GlobalNetworkPolicy"):
        found.calico_policies.append(calico.read_policy(raw))
    elif kind in ("NetworkSet", "GlobalNetworkSet", calico.HOST_ENDPOINT):
        network_set = calico.read_network_set(raw, labels)
        found.sets.append(network_set)
        if kind == calico.HOST_ENDPOINT:
            found.hosts.append(read_host_endpoint(raw, AddressSet.of(network_set.nets)))
    elif kind == "Tier":
        found.tiers.append(read_tier(raw))
    elif kind not in _CALICO_SETTINGS:
        found.others.append(Provenance(raw.ref, "", raw.at()))
