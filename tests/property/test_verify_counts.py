"""Causes and counts of `migrate verify` against plain evaluators that share nothing with the engine."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from tests.property.changed_pairs import Policies, check
from tests.reference import kubernetes, npm
from tests.reference.cases import Case
from tests.simulate.languages import kubernetes_case

_TEXT = partial(kubernetes.evaluate, block_covers_cluster=True)
_SEEDS = range(3)


def _small(seed: int) -> Case:
    return kubernetes_case(f"counts-{seed}")


def _without_one(case: Case) -> tuple[dict[str, object], ...]:
    return case.policies[1:]


@pytest.mark.parametrize("seed", _SEEDS)
def test_azure_npm_against_the_text(seed: int) -> None:
    case = _small(seed)
    check(case, Policies("npm", case.policies, npm.evaluate), Policies("kubernetes", case.policies, _TEXT))


@pytest.mark.parametrize("seed", _SEEDS)
def test_the_text_with_one_policy_less(seed: int) -> None:
    case = _small(seed)
    check(case, Policies("kubernetes", case.policies, _TEXT), Policies("kubernetes", _without_one(case), _TEXT))


@pytest.mark.parametrize("seed", _SEEDS)
def test_the_text_with_the_policies_of_another_seed(seed: int) -> None:
    case, other = _small(seed), _small(seed + 100)
    case = msgspec.structs.replace(case, namespaces=(*case.namespaces, *_missing(case, other)))
    check(case, Policies("kubernetes", case.policies, _TEXT), Policies("kubernetes", other.policies, _TEXT))


def _missing(case: Case, other: Case) -> list[object]:
    known = {namespace.name for namespace in case.namespaces}
    return [namespace for namespace in other.namespaces if namespace.name not in known]


def test_something_changes_in_most_cases() -> None:
    cases = [_small(seed) for seed in _SEEDS]
    changed = [
        check(case, Policies("kubernetes", case.policies, _TEXT), Policies("kubernetes", (), _TEXT)) for case in cases
    ]
    assert sum(count > 0 for count in changed) >= len(cases) // 2
