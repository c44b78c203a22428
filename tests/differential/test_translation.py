"""Random policies, translated: the target's real engine gives every flow the verdict that it has today."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests.differential.generate import DIALECTS, EVERY_DIALECT, Dialect, generate
from tests.differential.harness import Comparison, Engines, Translated, compare
from tests.differential.run import CASES, TARGETS, as_json, counterexample
from tests.differential.translation import exact_part, translate_case
from tests.reference.cases import Case, read_case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60"))
"""For each dialect and target, half of them always the same."""
FRESH_SEED = drawn_seed()
MOST_DECLARED = {"kubernetes": 0.4, "calico": 0.4, "ordered": 0.8}
"""If more flows than this are declared, the comparison says little. Much of Calico's language has no word in Cilium."""
KEPT = sorted(CASES.glob("*.json"))


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_no_flow_changes_without_a_word(engines: Engines, dialect: Dialect, target: str, seed: str) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    total = Comparison()
    for number in range(max(1, CLUSTERS // 2)):
        case = generate(dialect, f"{prefix}-{number}")
        found = compare(case, target, translate_case, engines)
        assert found.holds, counterexample(case, target, found, engines)
        total.add(found)
    print(f"seed {prefix}: {total}")
    assert total.equal > 0
    assert total.share_declared < MOST_DECLARED[dialect], total


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_exact_holds_for_pods_that_the_translation_never_saw(
    engines: Engines, dialect: Dialect, target: str
) -> None:
    total = Comparison()
    for number in range(max(1, CLUSTERS // 4)):
        case, seen = generate(dialect, f"{FRESH_SEED}-{number}"), generate(dialect, f"{FRESH_SEED}-{number}-seen")
        exact = exact_part(case, target, seen)
        found = compare(exact, target, partial(translate_case, cluster=seen), engines)
        assert found.holds, "\n".join([exact.name, *map(str, found.differences[:9]), *found.refused, as_json(exact)])
        total.add(found)
    assert total.policies["exact"] > 0


@pytest.mark.parametrize("target", TARGETS)
def test_networkpolicies_that_stay_get_what_they_lack(engines: Engines, target: str) -> None:
    total = Comparison()
    supplement = partial(translate_case, mode="supplement")
    for number in range(max(1, CLUSTERS // 4)):
        case = generate("kubernetes", f"{FRESH_SEED}-{number}")
        found = compare(case, target, supplement, engines)
        assert found.holds, "\n".join([case.name, *map(str, found.differences[:9]), *found.refused, as_json(case)])
        total.add(found)
    assert total.policies["kept"] > 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_differences_found_before_stay_away(engines: Engines, path: Path, target: str) -> None:
    found = compare(read_case(path), target, translate_case, engines)
    assert found.holds, "\n".join([*map(str, found.differences), *found.refused])


def _without(key: str, value: object) -> object:
    """The same object without a field, wherever it stands; what would be left empty goes too."""
    if isinstance(value, dict):
        return {name: _without(key, item) for name, item in value.items() if name != key}
    if isinstance(value, list):
        return [item for item in (_without(key, entry) for entry in value) if item != {}]
    return value


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("field", ["endPort", "except", "toPorts", "matchExpressions", "fromEntities", "egress"])
def test_a_translation_that_forgets_a_field_is_caught(engines: Engines, dialect: Dialect, field: str) -> None:
    def forgetful(case: Case, target: str) -> Translated:
        translated = translate_case(case, target)
        objects = [_without(field, item) for item in translated.objects]
        return Translated(tuple(item for item in objects if isinstance(item, dict)), translated.claims)

    found = (compare(generate(dialect, f"fixed-{n}"), TARGETS[-1], forgetful, engines) for n in range(CLUSTERS))
    assert any(comparison.differences for comparison in found)
