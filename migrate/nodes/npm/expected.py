"""What belongs on the nodes of a cluster for its policies, and which of them NPM refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from migrate.model.refs import ObjectRef
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.npm.names import Names, Scheme, Shared, chain_suffix
from migrate.nodes.npm.objects import ExpectedSets, expected_sets
from migrate.nodes.npm.policies import ExpectedPolicy, expected_policy, policy_key
from migrate.nodes.npm.settings import Toggles, read_toggles
from migrate.sources.npm_refusals import linux_refusal, odd_values

_GROUP = "networking.k8s.io"


@dataclass(frozen=True)
class Refused:
    """A policy that NPM does not program, and why."""

    ref: ObjectRef
    why: str


@dataclass(frozen=True, eq=False)
class Expected:
    """The state that every node should have. `refused` and `unread` are policies by key that have no chain."""

    toggles: Toggles
    policies: Mapping[str, ExpectedPolicy]
    refused: Mapping[str, Refused]
    unread: frozenset[str]
    sets: ExpectedSets

    def names(self, scheme: Scheme) -> Names:
        """The names of all sets under a scheme."""
        return _names(self, scheme)

    def chains(self, scheme: Scheme) -> Mapping[str, tuple[str, ...]]:
        """The keys of the policies, by what their chains' names end in."""
        return _chains(self, scheme)

    def shared_chains(self, scheme: Scheme) -> tuple[Shared, ...]:
        """Policies whose chains have one name."""
        several = (
            (suffix, tuple(k for k in keys if k in self.policies)) for suffix, keys in self.chains(scheme).items()
        )
        return tuple(Shared(suffix, keys) for suffix, keys in sorted(several) if len(keys) > 1)


@lru_cache(maxsize=1)
def expectations(view: ClusterView) -> Expected:
    """What belongs on the nodes of a cluster; made once for all of them."""
    toggles = read_toggles(view)
    raws = {raw.ref: raw for raw in view.by_kind.get("NetworkPolicy", ()) if raw.ref.group == _GROUP}
    odd = odd_values(raws.values())
    refused: dict[str, Refused] = {}
    policies: dict[str, ExpectedPolicy] = {}
    for policy in view.network_policies:
        key = policy_key(policy.ref)
        why = odd.get(policy.ref) or linux_refusal(policy, lite=toggles.lite)
        if why:
            refused[key] = Refused(policy.ref, why)
        else:
            policies[key] = expected_policy(policy, raws[policy.ref])
    unread = frozenset(map(policy_key, raws)) - policies.keys() - refused.keys()
    return Expected(toggles, policies, refused, unread, expected_sets(view, policies.values()))


@lru_cache(maxsize=2)
def _chains(expected: Expected, scheme: Scheme) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for key in (*expected.policies, *expected.refused, *expected.unread):
        found.setdefault(chain_suffix(key, scheme), []).append(key)
    return {suffix: tuple(sorted(keys)) for suffix, keys in found.items()}


@lru_cache(maxsize=2)
def _names(expected: Expected, scheme: Scheme) -> Names:
    return Names.of(expected.sets.spellings, scheme)
