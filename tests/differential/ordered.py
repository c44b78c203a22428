"""Clusters over all of Calico's language: one form of a rule at a time, and ordered policies of everything."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tests.differential.chance import Chance
from tests.differential.clusters import draw_cluster, draw_traits
from tests.reference.cases import Case, Flow
from tests.simulate import flows
from tests.simulate.calico_hosts import draw_slices
from tests.simulate.calico_rules import DecidingPolicies, combinations
from tests.simulate.languages import calico_case

Object: TypeAlias = dict[str, object]

_WITH_PORTS = ("TCP", "UDP", "SCTP")
_NOT_ASKED = ("UDPLite",)
"""Protocols that Cilium's engine has no word for."""
_NEIGHBOURS = range(130, 137)
"""ICMPv6 types of neighbour discovery: Calico lets them through to the own node whatever policy says, and what Cilium's
datapath does with them no policy engine tells."""
_LAST_TIER = "last"
_APART = 3
"""Of so many clusters one has policies of everything, in which much is declared; the others one form each."""


def ordered_case(seed: str) -> Case:
    """The case of a seed; the number at its end says which form, so that a run of some length shows all of them."""
    number = int(seed.rpartition("-")[2])
    case = _one_form(seed, number) if number % _APART else calico_case(seed)
    options = {key: value for key, value in case.options.items() if key in ("ipv4", "ipv6")}
    asked = tuple(flow for flow in case.flows if _is_asked(flow))
    return msgspec.structs.replace(case, engine="calico", options=options | {"tieBreak": "legacy"}, flows=asked)


def _is_asked(flow: Flow) -> bool:
    """Whether it is of a protocol and to a port that both engines know; nothing listens on port 0."""
    if flow.protocol == "ICMPv6" and flow.port in _NEIGHBOURS:
        return False
    return flow.protocol not in _NOT_ASKED and (flow.port != 0 or flow.protocol not in _WITH_PORTS)


def _one_form(seed: str, number: int) -> Case:
    """A rule of one form, alone or before a policy that denies everything."""
    chance = Chance(f"ordered/{seed}")
    traits = draw_traits(chance)
    cluster = draw_cluster(chance, traits, f"ordered-{seed}")
    deciding = DecidingPolicies(chance, traits, cluster)
    every = combinations()
    form = every[(number - number // _APART - 1) % len(every)]
    policies = [deciding.tier(), deciding.policy("shown", form), *draw_slices(chance, cluster, traits)]
    if chance.happens(0.6):
        policies += _closing()
    case = msgspec.structs.replace(cluster, policies=tuple(policies))
    return msgspec.structs.replace(case, flows=flows.draw(chance, case, traits.families, calico=True))


def _closing() -> list[Object]:
    """A tier that ends in Deny for every pod, both ways."""
    tier: Object = {"order": 5000, "defaultAction": "Deny"}
    spec: Object = {"tier": _LAST_TIER, "namespaceSelector": "all()", "types": ["Ingress", "Egress"]}
    return [
        _object("Tier", _LAST_TIER, tier),
        _object("GlobalNetworkPolicy", f"{_LAST_TIER}.closing", spec),
    ]


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}
