"""The setting by which CIDRs cover pods or nodes in Cilium too: named beside a finding, never relied on."""

from __future__ import annotations

from typing import Literal

from migrate.translate.profiles import Profile

_COSTS = {
    "nodes": "then every CIDR of every policy means the nodes inside it too, 0.0.0.0/0 and ::/0 not in all releases",
    "pods": "a beta: then every CIDR of every policy means the pods inside it too, and each pod needs an identity of "
    "its own for the CIDRs that it is in, of which a cluster may run out",
}


def alternative(kind: Literal["pods", "nodes"], profile: Profile) -> str:
    """The alternative with its cost, to be put behind a message; empty where the target does not offer it."""
    if kind not in profile.cidr_match_modes_offered or kind in profile.cidr_match_modes:
        return ""
    return f"; instead, policy-cidr-match-mode {kind} could be set ({_COSTS[kind]})"
