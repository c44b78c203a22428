"""Plain NetworkPolicies in place of their Calico sources: Calico's real engine gives every flow the same verdict."""

from __future__ import annotations

import os
from collections import Counter
from typing import cast

import msgspec
import pytest
import yaml

from migrate.model.raw import Json, RawObject
from migrate.sources.cluster import read_cluster
from migrate.translate.context import Context
from migrate.translate.engine import read_sets, translate
from migrate.translate.kinds import is_policy
from migrate.translate.plain_policies import FOLDER, with_plain_policies
from migrate.translate.profiles import load_profile
from tests.differential.calico_policies import Grammar
from tests.differential.clusters import Traits
from tests.differential.generate import generate
from tests.differential.harness import Engines, Object, key_of, truth
from tests.differential.run import as_json
from tests.differential.translation import cluster_objects
from tests.reference.cases import Case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60"))
FRESH_SEED = drawn_seed()
SIMPLE = Traits("dual", inside=0.3, names=0.05, ignored=0.0, exotic=0.05)
UNORDERED = Grammar()
ORDERED = Grammar(actions=("Allow", "Allow", "Allow", "Allow", "Deny"))


def plain(case: Case) -> tuple[list[Object], set[tuple[str, str, str, str]], Counter[str]]:
    """The NetworkPolicies of a case, the identities of their sources, and the reasons of all other policies."""
    objects = [RawObject(cast("dict[str, Json]", item)) for item in [*cluster_objects(case), *case.policies]]
    profile = load_profile("cilium-1.20")
    outcome = translate(objects, profile=profile, engines=("calico",))
    sources = [raw for raw in objects if is_policy(raw.ref)]
    cluster = read_cluster(objects, complete=True)
    context = Context(cluster, profile, ("calico",), read_sets(sources, cluster))
    done = with_plain_policies(outcome, sources, context)
    written = [yaml.safe_load(file.text) for file in done.files if file.path.startswith(f"{FOLDER}/")]
    said = {result.source for result in done.translation.results if result.plain}
    reasons = Counter(
        finding.detail.split(":")[1][:40]
        for result in done.translation.results
        for finding in result.findings
        if finding.id == "POL-PLAIN-NOT-SAID"
    )
    return written, {(ref.api_version, ref.kind, ref.namespace or "", ref.name) for ref in said}, reasons


def drawn(seed: str, grammar: Grammar, *, with_global: bool) -> Case:
    """A case of common fields; a policy for all namespaces, which is never said, keeps most others from being said."""
    case = generate("calico", seed, traits=SIMPLE, grammar=grammar)
    kept = (item for item in case.policies if with_global or item["kind"] != "GlobalNetworkPolicy")
    return msgspec.structs.replace(case, policies=tuple(kept))


@pytest.mark.parametrize("grammar", [UNORDERED, ORDERED], ids=["only allows", "some denies"])
@pytest.mark.parametrize("seed", ["fixed", "fresh"])
def test_every_flow_has_the_verdict_of_the_calico_policies(engines: Engines, seed: str, grammar: Grammar) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    said = decided = 0
    for number in range(CLUSTERS * 2):
        case = drawn(f"{prefix}-plain-{number}", grammar, with_global=number % 3 == 0)
        written, replaced, _ = plain(case)
        if not written:
            continue
        others = tuple(item for item in case.policies if key_of(item) not in replaced)
        after = msgspec.structs.replace(case, policies=(*others, *written))
        old, new = truth(case, engines), truth(after, engines)
        assert old == new, f"seed {prefix}-plain-{number}: {as_json(after)}"
        said += len(replaced)
        without = truth(msgspec.structs.replace(case, policies=others), engines)
        decided += sum(was != now for was, now in zip(old, without, strict=True))
    assert said > CLUSTERS // 12
    assert decided > said
