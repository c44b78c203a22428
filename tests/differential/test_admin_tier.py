"""Ordered Calico policies in Cilium's Admin tier: the real engine gives every flow the verdict that it has today."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

import pytest

from tests.differential.harness import Comparison, Engines, Translated, compare
from tests.differential.run import as_json
from tests.differential.tiered import generate_tiered
from tests.differential.translation import translate_case
from tests.policy_engines import EngineAnswer, PolicyEngine
from tests.reference.cases import Case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60"))
FRESH_SEED = drawn_seed()
TARGET = "cilium-1.20"
MOST_DECLARED = 0.5

in_admin_tier = partial(translate_case, ordered="cluster-network-policy")


def reading_tiers(engine: PolicyEngine) -> PolicyEngine:
    """The engine with ClusterNetworkPolicy switched on."""

    def ask(case: Mapping[str, object]) -> EngineAnswer:
        options = cast("Mapping[str, object]", case.get("options") or {})
        return engine({**case, "options": {**options, "k8sClusterNetworkPolicy": True}})

    return ask


@pytest.fixture
def switched_on(engines: Engines) -> Engines:
    """The engines, with ClusterNetworkPolicy."""
    return replace(engines, cilium={TARGET: reading_tiers(engines.cilium[TARGET])})


def tiers(translated: Translated) -> list[dict[str, object]]:
    """The specs of the ClusterNetworkPolicies among what was written."""
    written = (item for item in translated.objects if item["kind"] == "ClusterNetworkPolicy")
    return [cast("dict[str, object]", item["spec"]) for item in written]


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
def test_no_flow_changes_without_a_word(switched_on: Engines, seed: str) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    total, actions = Comparison(), set[str]()
    for number in range(max(1, CLUSTERS // 2)):
        case = generate_tiered(f"{prefix}-{number}")
        specs = tiers(in_admin_tier(case, TARGET))
        if not specs:
            continue
        actions |= {str(rule["action"]) for spec in specs for rule in _rules(spec)}
        found = compare(case, TARGET, in_admin_tier, switched_on)
        assert found.holds, "\n".join([case.name, *map(str, found.differences[:9]), *found.refused, as_json(case)])
        total.add(found)
    print(f"seed {prefix}: {total}")
    assert total.equal > 0
    assert total.share_declared < MOST_DECLARED, total
    assert "Deny" in actions


def _rules(spec: Mapping[str, object]) -> list[dict[str, object]]:
    return [rule for field in ("ingress", "egress") for rule in cast("list[dict[str, object]]", spec.get(field, []))]


def test_a_tier_that_forgets_an_action_is_caught(switched_on: Engines) -> None:
    def forgetful(case: Case, target: str) -> Translated:
        translated = in_admin_tier(case, target)
        return replace(translated, objects=tuple(o for o in translated.objects if o["kind"] != "ClusterNetworkPolicy"))

    cases = (generate_tiered(f"fixed-{number}") for number in range(CLUSTERS))
    assert any(compare(case, TARGET, forgetful, switched_on).differences for case in cases)
