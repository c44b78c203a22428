"""Calico's tiers, and the order in which policies are asked: tiers, then policies, then the release's tie-break.

Facts: felix/calc policy_sorter.go of v3.28 and of main of 2026-08, api tier.go (orders of the tiers Calico makes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.sources.calico import STORED_GROUP, CalicoPolicy, plain_name
from migrate.sources.fields import Fields, Problem, Reading
from migrate.sources.kubernetes import NetworkPolicy

TieBreak: TypeAlias = Literal["legacy", "current"]
"""How policies of equal order are sorted: as releases up to v3.28 do, or as main of 2026-08."""
TIE_BREAKS: tuple[TieBreak, ...] = ("legacy", "current")

KUBERNETES_ORDER = 1000.0
DEFAULT_TIER = "default"
_DEFAULT_ORDER = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier; `order` None sorts last. `passes`: what its policies do not decide goes to the next tier."""

    name: str
    order: float | None
    passes: bool
    ref: ObjectRef | None = None
    problems: tuple[Problem, ...] = ()


# The tiers that Calico makes itself: its own, and those of the Kubernetes kinds under today's and earlier names.
_OWN_TIERS = (
    Tier(DEFAULT_TIER, _DEFAULT_ORDER, passes=False),
    *(Tier(name, 1_000.0, passes=True) for name in ("kube-admin", "adminnetworkpolicy")),
    *(Tier(name, 10_000_000.0, passes=True) for name in ("kube-baseline", "baselineadminnetworkpolicy")),
)


def read_tier(raw: RawObject) -> Tier:
    """A tier; without an order it sorts last, without a defaultAction it ends in Deny."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec") or Fields(reading, {}, ("spec",))
    action = spec.text("defaultAction", "Deny")
    if action not in ("Deny", "Pass"):
        spec.invalid(f'"{action}" is not Deny or Pass', "defaultAction")
    order = spec.number("order")
    root.close()
    spec.close()
    number = None if order is None else float(order)
    return Tier(plain_name(raw), number, action == "Pass", raw.ref, tuple(reading.problems))


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy with what its place in the order comes from."""

    policy: CalicoPolicy | NetworkPolicy
    tier: str
    order: float
    legacy: str
    current: str


class Order:
    """The tiers of a cluster, and policies in the order in which they are asked."""

    def __init__(self, tiers: Iterable[Tier], tie_break: TieBreak) -> None:
        self._tiers: Mapping[str, Tier] = {tier.name: tier for tier in (*_OWN_TIERS, *tiers)}
        self._tie_break = tie_break

    def sorted(self, policies: Iterable[CalicoPolicy | NetworkPolicy]) -> list[Entry]:
        """By tier order and name, order, tie-break. A tier that does not exist comes last."""
        return sorted(map(_entry, policies), key=self._key)

    def places(self, policies: Iterable[CalicoPolicy | NetworkPolicy]) -> tuple[ObjectRef, ...]:
        """Which policies come first."""
        return tuple(entry.policy.ref for entry in self.sorted(policies))

    def tier(self, name: str) -> Tier:
        """The tier of that name; one that does not exist ends in deny."""
        return self._tiers.get(name) or Tier(name, None, passes=False)

    def _key(self, entry: Entry) -> tuple[bool, float, str, float, str]:
        tier = self.tier(entry.tier)
        order = inf if tier.order is None else tier.order
        tie = entry.legacy if self._tie_break == "legacy" else entry.current
        return (entry.tier not in self._tiers, order, entry.tier, entry.order, tie)


def _entry(policy: CalicoPolicy | NetworkPolicy) -> Entry:
    name, namespace = policy.ref.name, policy.ref.namespace or "default"
    if isinstance(policy, NetworkPolicy):
        legacy, current = f"{namespace}/knp.default.{name}", f"{name}/{namespace}/KubernetesNetworkPolicy"
        return Entry(policy, DEFAULT_TIER, KUBERNETES_ORDER, legacy, current)
    order = inf if policy.order is None else policy.order
    prefix = f"{policy.tier}."
    stored = name if name.startswith(prefix) or policy.ref.group == STORED_GROUP else prefix + name
    # The API shows a policy of the default tier without the tier in its name, one of another tier with it.
    shown = policy.name if policy.tier == DEFAULT_TIER or policy.name != name.removeprefix(prefix) else name
    if policy.namespace is None:
        return Entry(policy, policy.tier, order, stored, f"{shown}//GlobalNetworkPolicy")
    current = f"{shown}/{policy.namespace}/NetworkPolicy"
    return Entry(policy, policy.tier, order, f"{policy.namespace}/{stored}", current)
