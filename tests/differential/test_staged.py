"""staged/ over random clusters: by itself it means what the staged policy would mean if Calico enforced it alone."""

from __future__ import annotations

import os
from typing import cast

import msgspec
import pytest
import yaml

from migrate.model.documents import Result
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import translate
from migrate.translate.profiles import load_profile
from tests.differential.generate import generate
from tests.differential.harness import (
    ANYTHING,
    Claim,
    Comparison,
    Engines,
    Object,
    Translated,
    compare,
    is_policy,
    key_of,
)
from tests.differential.run import TARGETS, as_json
from tests.differential.translation import cluster_objects
from tests.reference.cases import Case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = max(4, int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60")) // 4)
FRESH_SEED = drawn_seed()


def with_one_policy(seed: str, number: int) -> Case:
    """A random cluster with one of its policies, and what policies refer to."""
    case = generate("calico", f"{seed}-staged-{number}")
    policies = [item for item in case.policies if is_policy(item)]
    chosen = policies[number % len(policies)]
    return msgspec.structs.replace(case, policies=tuple(p for p in case.policies if p is chosen or not is_policy(p)))


def staged_form(item: Object) -> Object:
    """The staged policy that stands for a policy."""
    if item["apiVersion"] == "networking.k8s.io/v1":
        return item | {"apiVersion": "projectcalico.org/v3", "kind": "StagedKubernetesNetworkPolicy"}
    return item | {"kind": f"Staged{item['kind']}"}


def staged_alone(case: Case, target: str) -> Translated:
    """The objects of staged/ with those that hold for all pods, claimed to mean the policy that is not staged."""
    policies = [staged_form(item) if is_policy(item) else item for item in case.policies]
    raw = [RawObject(cast("dict[str, Json]", item)) for item in [*cluster_objects(case), *policies]]
    profile = msgspec.structs.replace(load_profile(target), sctp=True)
    outcome = translate(raw, profile=profile, engines=("calico",))
    written = [yaml.safe_load(file.text) for file in outcome.files]
    assert all(file.path.startswith("staged/") or "calico-no-vxlan" in file.path for file in outcome.files)
    (result,) = (r for r in outcome.translation.results if r.source.kind.startswith("Staged"))
    (source,) = (item for item in case.policies if is_policy(item))
    excuses = ANYTHING if result.result in (Result.CHANGED, Result.UNSUPPORTED) else frozenset()
    return Translated(tuple(written), {key_of(source): Claim(result.result.value, excuses)})


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("target", TARGETS)
def test_staged_means_the_policy_if_it_were_enforced(engines: Engines, target: str, seed: str) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    total = Comparison()
    for number in range(CLUSTERS):
        case = with_one_policy(prefix, number)
        found = compare(case, target, staged_alone, engines)
        assert found.holds, f"{case.name}: {found.refused} {[str(d) for d in found.differences[:5]]} {as_json(case)}"
        total.add(found)
    print(f"seed {prefix}: {total}")
    assert total.equal > CLUSTERS
    assert total.policies["exact"] + total.policies["exact_here"] > CLUSTERS // 4
