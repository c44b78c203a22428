"""What Cilium will read once a translation is applied, and engines over objects as a target's profile means them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from migrate.model.cluster import Cluster
from migrate.model.documents import Result, Translation
from migrate.model.raw import Json, RawObject
from migrate.scan.files import read_files
from migrate.sources.cilium_tiers import is_cluster_network_policy
from migrate.sources.endpoints import BACKEND_KINDS
from migrate.translate.profiles import Profile
from migrate.verify.engines import Built, build_engine

ENGINES = {"npm-linux": "npm", "npm-windows": "npm-windows", "calico": "calico", "cilium": "cilium"}
"""The engines that enforce today, as facts name them, and their names here."""
WRITTEN = ("cilium", "compat")
"""Folders of a translation with what is to be applied."""


def future_objects(folder: Path, document: Translation, policies: Sequence[RawObject]) -> list[RawObject]:
    """The objects that Cilium will read: those written, Cilium's own of today, and NetworkPolicies that stay."""
    folders = [str(folder / name) for name in WRITTEN if any((folder / name).rglob("*.yaml"))]
    written = read_files(folders, None).objects if folders else ()
    return [*written, *remaining(document, policies)]


def remaining(document: Translation, policies: Sequence[RawObject]) -> Iterator[RawObject]:
    """What Cilium will read of today's objects: its own, NetworkPolicies that stay, what is behind Services."""
    staying = {result.source for result in document.results if result.result is Result.KEPT}
    if document.networkpolicy != "rewrite":
        gone = {r.source for r in document.results if any(f.id == "POL-SOURCE-STAYS" for f in r.findings) and r.objects}
        staying |= {r.source for r in document.results if r.source.group == "networking.k8s.io"} - gone
    return (raw for raw in policies if raw.ref in staying or raw.ref.kind in BACKEND_KINDS)


def engine_over(engine: str, policies: Sequence[RawObject], cluster: Cluster, profile: Profile) -> Built:
    """The engine of a `state`, for questions about single flows."""
    if engine == "none":
        engine, policies = "kubernetes", []
    return built(engine, policies, engine_options(engine, profile, policies, cluster), release_of(profile), cluster)


def engine_options(
    engine: str, profile: Profile, policies: Sequence[RawObject], cluster: Cluster
) -> Mapping[str, Json]:
    """The agent's flags; ClusterNetworkPolicies that are given are read where the target can be told to.

    The IP versions that run are those of the pods, else of the nodes, where these are known.
    """
    if engine != "cilium":
        return {}
    families = cluster.running_families
    tiers = profile.cluster_network_policy and any(is_cluster_network_policy(raw) for raw in policies)
    return ({"enable-k8s-cluster-network-policy": True} if tiers else {}) | {
        "enable-sctp": profile.sctp,
        "enable-icmp-rules": profile.icmp_rules,
        "policy-cidr-match-mode": [*profile.cidr_match_modes],
        "enable-ipv4": 4 in families,
        "enable-ipv6": 6 in families,
    }


def release_of(profile: Profile) -> int:
    """The minor of Cilium 1.x."""
    return int(profile.crds.partition(".")[2])


def built(
    engine: str, policies: Sequence[RawObject], options: Mapping[str, Json], release: int, cluster: Cluster
) -> Built:
    """An engine over one cluster; the order of the arguments lets all but the cluster be given before."""
    return build_engine(engine, policies, cluster, options, release)
