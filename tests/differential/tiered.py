"""Random Calico clusters whose order decides: several tiers, denies and passes, some tiers passing all they leave."""

from __future__ import annotations

from typing import cast

import msgspec

from tests.differential.calico_policies import Grammar, Object
from tests.differential.chance import Chance
from tests.differential.clusters import Traits
from tests.differential.generate import generate
from tests.reference.cases import Case

GRAMMAR = Grammar(
    actions=("Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log"),
    orders=(None, 1.0, 100.0, 1000.0, 2000.0),
    tiers=("default", "default", "security", "platform"),
)
_ORDERS = {"security": (100, 200), "platform": (150, 300)}


def generate_tiered(seed: str, traits: Traits | None = None) -> Case:
    """The case of a seed, with its Tier objects."""
    chance = Chance(f"tiers/{seed}")
    case = generate("calico", f"tiers-{seed}", traits=traits, grammar=GRAMMAR)
    policies = [_ending(item, chance) if chance.happens(0.4) else item for item in case.policies]
    return msgspec.structs.replace(case, policies=(*policies, *(_tier(name, chance) for name in _ORDERS)))


def _tier(name: str, chance: Chance) -> Object:
    spec: Object = {"order": chance.pick(_ORDERS[name])}
    if chance.happens(0.6):
        spec["defaultAction"] = chance.pick(("Deny", "Pass"))
    return {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": name}, "spec": spec}


def _ending(item: Object, chance: Chance) -> Object:
    """A policy of a tier that passes all that its rules leave."""
    spec = cast("Object", item.get("spec", {}))
    if spec.get("tier", "default") == "default":
        return item
    given = [field for field in ("ingress", "egress") if field in spec]
    ends: Object = {field: [*cast("list[Object]", spec[field]), {"action": "Pass"}] for field in given}
    return {**item, "spec": {**spec, **ends}}
