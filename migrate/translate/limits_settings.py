"""A target profile as the settings by which Cilium's own semantics are asked."""

from __future__ import annotations

from dataclasses import replace

from migrate.model.cluster import Cluster
from migrate.sources.cilium_settings import CiliumSettings
from migrate.translate.profiles import Profile


def settings_of(profile: Profile, cluster: Cluster | None = None) -> CiliumSettings:
    """What the agent of the target runs with, in a cluster with the IP versions of that one."""
    return replace(
        CiliumSettings.of_release(int(profile.crds.partition(".")[2])),
        label_patterns=profile.identity_label_patterns,
        sctp=profile.sctp,
        icmp_rules=profile.icmp_rules,
        l7_proxy=profile.l7 or profile.fqdn,
        extended_protocols=profile.extended_protocols,
        node_labels=profile.node_selector_labels,
        host_firewall=profile.host_firewall,
        cidr_match_modes=frozenset(profile.cidr_match_modes),
        families=(cluster or Cluster()).running_families,
    )
