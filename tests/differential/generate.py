"""One random case from one seed: a cluster, policies of one dialect, and flows."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from tests.differential.calico_policies import CalicoPolicies, Grammar, Object
from tests.differential.chance import Chance
from tests.differential.clusters import Traits, draw_cluster, draw_traits
from tests.differential.flows import draw_flows
from tests.differential.kubernetes_policies import KubernetesPolicies
from tests.differential.ordered import ordered_case
from tests.reference.cases import Case

Dialect: TypeAlias = Literal["kubernetes", "calico", "ordered"]
DIALECTS: tuple[Dialect, ...] = ("kubernetes", "calico")
EVERY_DIALECT: tuple[Dialect, ...] = (*DIALECTS, "ordered")


def generate(dialect: Dialect, seed: str, *, traits: Traits | None = None, grammar: Grammar | None = None) -> Case:
    """The case of a seed; the same seed always gives the same case.

    kubernetes: NetworkPolicies only. calico: Calico policies and network sets, with NetworkPolicies beside them.
    ordered: all of Calico's language, with tiers, orders and every action; it has traits and a grammar of its own.
    Without `traits` they are drawn too.
    """
    if dialect == "ordered":
        return ordered_case(seed)
    chance = Chance(f"{dialect}/{seed}")
    traits = traits or draw_traits(chance)
    cluster = draw_cluster(chance, traits, f"{dialect}-{seed}")
    kubernetes = KubernetesPolicies(chance, traits, cluster)
    calico = CalicoPolicies(chance, traits, cluster, grammar)
    policies: list[Object] = []
    if dialect == "calico":
        policies += [calico.policy(f"policy-{index}") for index in range(chance.number(1, 4))]
        policies += [calico.network_set(f"set-{index}") for index in range(chance.number(0, 2))]
    if dialect == "kubernetes" or chance.happens(0.4):
        policies += [kubernetes.policy(f"policy-{index}") for index in range(chance.number(1, 4))]
    case = msgspec.structs.replace(cluster, engine=dialect, policies=tuple(policies))
    return msgspec.structs.replace(case, flows=draw_flows(chance, case, traits.families))
