"""What a policy is judged against: the target, and the cluster and further policies as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrate.model.cluster import Cluster
from migrate.model.ruleset import Predicate
from migrate.model.selectors import NEGATIVE, Selector, requirements
from migrate.sources.cilium import CidrGroup, CiliumPolicy
from migrate.sources.cilium_selectors import IdentitySelectors
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.kubernetes import NetworkPolicy
from migrate.translate.limits_identities import PodIdentities
from migrate.translate.lint_owners import ClusterAddresses
from migrate.translate.profiles import Profile


@dataclass(frozen=True, slots=True)
class Scene:
    """The target with the policies that act there together; what is of the cluster is None without a snapshot.

    `groups` are None where CIDR groups may exist that were not given.
    """

    profile: Profile
    settings: CiliumSettings
    selectors: IdentitySelectors
    policies: Sequence[CiliumPolicy | NetworkPolicy]
    groups: Sequence[CidrGroup] | None
    cluster: Cluster | None
    pods: PodIdentities | None
    addresses: ClusterAddresses | None
    port_names: frozenset[str]

    def peers(self, selector: Selector, policy: CiliumPolicy) -> Predicate:
        """Whom an entry of fromEndpoints or toEndpoints means."""
        return self.selectors.peers(selector, policy.namespace)


@dataclass(frozen=True, slots=True)
class Note:
    """Something to say about a field of a policy; `field` is empty for the whole object."""

    id: str
    field: str
    text: str


def only_negations(selector: Selector) -> bool:
    """Whether a selector asks for nothing but what is not there."""
    asked = list(requirements(selector))
    return bool(asked) and all(requirement.operator in NEGATIVE for requirement in asked)
