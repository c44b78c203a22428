"""Forms of a translation, on the target's real engine: split by workload it says the same, widened it only widens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import cast

import msgspec
import pytest
import yaml

from migrate.model.forms import Forms
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import translate
from migrate.translate.handover import handed_over
from migrate.translate.profiles import load_profile
from migrate.translate.render import SOURCE
from tests.differential.calico_policies import Grammar
from tests.differential.generate import DIALECTS, Dialect, generate
from tests.differential.harness import Comparison, Engines, Translated, compare
from tests.differential.run import TARGETS, as_json
from tests.differential.translation import cluster_objects, translate_case
from tests.reference.cases import Case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60"))
SEED = drawn_seed()
GRAMMAR = Grammar(actions=("Allow", "Allow", "Allow", "Deny"))


def shared_subjects(case: Case) -> Case:
    """The case with each second policy for the pods of the one before it, where both are of a kind and namespace."""
    found: list[dict[str, object]] = []
    for item in case.policies:
        before = found[-1] if found else None
        same = before is not None and all(_place(before)[key] == value for key, value in _place(item).items())
        if same and before is not None and "spec" in item:
            spec = {k: v for k, v in cast("dict[str, object]", item["spec"]).items() if k not in _SUBJECT}
            subject = {k: v for k, v in cast("dict[str, object]", before["spec"]).items() if k in _SUBJECT}
            item = {**item, "spec": {**spec, **subject}}
        found.append(item)
    return msgspec.structs.replace(case, policies=tuple(found))


_SUBJECT = ("podSelector", "selector", "namespaceSelector", "serviceAccountSelector")


def _place(item: dict[str, object]) -> dict[str, object]:
    metadata = cast("dict[str, object]", item["metadata"])
    return {"kind": item["kind"], "version": item["apiVersion"], "namespace": metadata.get("namespace")}


def per_workload(case: Case, target: str) -> Translated:
    """What a case becomes by workload, with the claims of its translation by source."""
    given = [RawObject(cast("dict[str, Json]", item)) for item in [*cluster_objects(case), *case.policies]]
    profile = msgspec.structs.replace(load_profile(target), sctp=True)
    engines = ("calico",) if case.engine == "calico" else ()
    outcome = handed_over(translate(given, profile=profile, engines=engines), given, Forms(split="per-workload"))
    return Translated(tuple(yaml.safe_load(file.text) for file in outcome.files), translate_case(case, target).claims)


def _sources(item: Mapping[str, object]) -> int:
    """How many source objects stand behind an object."""
    metadata = cast("dict[str, dict[str, str]]", item["metadata"])
    return len(metadata["annotations"][SOURCE].split(", "))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_flow_changes_by_the_split(engines: Engines, dialect: Dialect, target: str) -> None:
    total, merged = Comparison(), 0
    for number in range(max(1, CLUSTERS // 3)):
        case = shared_subjects(generate(dialect, f"{SEED}-split-{number}", grammar=GRAMMAR))
        shared = sum(_sources(item) > 1 for item in per_workload(case, target).objects)
        if not shared:
            continue
        merged += shared
        found = compare(case, target, per_workload, engines)
        by_source = compare(case, target, translate_case, engines)
        assert (found.differences, found.refused) == (by_source.differences, by_source.refused), as_json(case)
        total.add(found)
    assert merged > CLUSTERS // 20
    assert total.equal > 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_widened_is_declared(engines: Engines, dialect: Dialect, target: str) -> None:
    total, widened = Comparison(), 0
    for number in range(20 * CLUSTERS):
        if widened and number >= CLUSTERS // 2:
            break
        case = generate(dialect, f"{SEED}-widen-{number}")
        wide = translate_case(case, target, widen=True)
        excuses = {excuse.effect for claim in wide.claims.values() for excuse in claim.excuses}
        if wide.objects == translate_case(case, target).objects:
            continue
        assert "widens" in excuses
        widened += 1
        found = compare(case, target, partial(translate_case, widen=True), engines)
        assert found.holds, "\n".join([case.name, *map(str, found.differences[:9]), *found.refused, as_json(case)])
        total.add(found)
    assert widened > 0
    assert total.equal > 0
