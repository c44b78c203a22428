"""One node as it is compared: its name, its chains of one IP version, and the cluster's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.refs import Location, ObjectRef
from migrate.model.words import one_line
from migrate.nodes.calico.names import POD, POLICY, chain_name, interface_of
from migrate.nodes.calico.objects import CalicoObjects
from migrate.nodes.calico.policies import FelixPolicy
from migrate.nodes.calico.tables import Chains
from migrate.nodes.dump import node_ref

DIRECTIONS = (Direction.INGRESS, Direction.EGRESS)


@dataclass(frozen=True, slots=True)
class LocalPod:
    """A pod of the node, its interface, and the policies that must hold for it by direction."""

    name: str
    namespace: str
    interface: str
    policies: dict[Direction, tuple[FelixPolicy, ...]]


@dataclass(frozen=True, eq=False)
class Compared:
    """A node and what it should have."""

    name: str
    chains: Chains
    objects: CalicoObjects

    @property
    def family(self) -> int:
        """The IP version that is looked at."""
        return self.chains.family

    @property
    def everything_read(self) -> bool:
        """Whether what is not among the objects does not exist."""
        return self.objects.complete

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """What interfaces of pods begin with here: as the chains say, most likely first."""
        names = [chain.removeprefix(POD[d]) for d in DIRECTIONS for chain in self.chains.by_name if self._of_pod(chain)]
        return tuple(sorted(self.objects.prefixes, key=lambda prefix: -sum(name.startswith(prefix) for name in names)))

    @cached_property
    def policy_chains(self) -> Mapping[Direction, Mapping[str, FelixPolicy]]:
        """Policies by the names that their chains may have; nftables takes long ones as they are."""
        by_name = self.objects.by_name.items()
        return {
            d: {chain: policy for n, policy in by_name for chain in (POLICY[d] + n, chain_name(POLICY[d], n))}
            for d in DIRECTIONS
        }

    @cached_property
    def pods(self) -> tuple[LocalPod, ...]:
        """The pods that must have chains."""
        return tuple(
            LocalPod(
                str(pod),
                pod.namespace,
                self._interface(pod.namespace, pod.name),
                {direction: self.objects.selecting(labels, direction) for direction in DIRECTIONS},
            )
            for pod, labels in self.objects.local(self.name)
        )

    def finding(self, rule: str, detail: str, subject: ObjectRef | None, at: Location | None) -> Finding:
        """A finding about this node; the detail names it."""
        effect = Effect.NARROWS if rule in _NARROWS else Effect.UNKNOWN
        said = one_line(f"node {self.name}, IPv{self.family}: {detail}")
        return Finding(id=rule, detail=said, effect=effect, subject=subject or node_ref(self.name), at=at)

    def _interface(self, namespace: str, pod: str) -> str:
        names = [interface_of(namespace, pod, prefix) for prefix in self.prefixes]
        there = (n for n in names for d in DIRECTIONS if chain_name(POD[d], n) in self.chains.by_name)
        return next(there, names[0])

    @staticmethod
    def _of_pod(chain: str) -> bool:
        return chain.startswith(tuple(POD.values()))


POLICY_MISSING = "NODE-CALICO-POLICY-MISSING"
POLICY_STALE = "NODE-CALICO-POLICY-STALE"
RULES = "NODE-CALICO-RULES"
POD_DRIFT = "NODE-CALICO-POD"
SET_DRIFT = "NODE-CALICO-SET"
HOOK = "NODE-CALICO-HOOK"
OTHER_RULES = "NODE-CALICO-OTHER-RULES"
_NARROWS = frozenset({POLICY_MISSING, HOOK})
