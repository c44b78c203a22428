"""Random clusters: the models give the words of the real engines, and every field of their languages decides."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import required_engine
from tests.policy_engines import policy_engine
from tests.reference.cases import read_case
from tests.simulate.dialects import DIALECTS, Dialect, Speaker
from tests.simulate.fields import NEVER_DECIDES, NOT_ASKED, every_field, family
from tests.simulate.run import CASES, Tally, explain, judge, with_words

pytestmark = pytest.mark.engine

CLUSTERS = {
    "kubernetes": 120,
    "kubernetes-by-calico": 60,
    "npm": 120,
    "calico": 130,
    "cilium-1.18": 200,
    "cilium-1.20": 200,
}
"""As many that each real engine judges 100,000 flows and each field of a language decides."""
FLOWS = 100_000
LONGER = int(os.environ.get("MIGRATE_SIMULATE_TIMES", "1"))
"""How many times as many clusters; for nights."""
FRESH_SEED = os.environ.get("MIGRATE_SIMULATE_SEED") or secrets.token_hex(4)
KEPT = sorted(CASES.glob("*.json"))


@pytest.fixture
def truth_of() -> Callable[[Dialect], Speaker]:
    """The engine whose word counts for a dialect."""

    def find(dialect: Dialect) -> Speaker:
        return dialect.truth(policy_engine(required_engine(dialect.needs)) if dialect.needs else None)

    return find


def run(dialect: Dialect, truth: Speaker, seed: str, clusters: int) -> Tally:
    """Put clusters to model and engine; the test fails with the smallest case at the first that differs."""
    tally = Tally()
    for number in range(clusters):
        judge(dialect, dialect.case(f"{seed}-{number}"), truth, tally)
        if tally.differences:
            pytest.fail(f"seed {seed}\n{explain(dialect, tally.differences, truth, None)}", pytrace=False)
    print(f"{dialect.name}: seed {seed}: {tally}")
    return tally


@pytest.mark.parametrize("name", DIALECTS)
def test_model_says_what_the_engine_says_and_every_field_decides(
    truth_of: Callable[[Dialect], Speaker], name: str
) -> None:
    dialect = DIALECTS[name]
    tally = run(dialect, truth_of(dialect), "fixed", CLUSTERS[name] * LONGER)
    print(tally.coverage.table(name))
    assert tally.coverage.missing(name) == []
    assert tally.flows >= FLOWS or dialect.needs != name


@pytest.mark.parametrize("name", DIALECTS)
def test_model_says_what_the_engine_says_for_a_fresh_seed(truth_of: Callable[[Dialect], Speaker], name: str) -> None:
    dialect = DIALECTS[name]
    assert run(dialect, truth_of(dialect), FRESH_SEED, 10 * LONGER).flows > 0


@pytest.mark.parametrize("table", [NOT_ASKED, NEVER_DECIDES], ids=["not asked", "never decides"])
@pytest.mark.parametrize("name", DIALECTS)
def test_every_exception_of_a_language_is_about_one_of_its_fields(table: dict[str, dict[str, str]], name: str) -> None:
    texts = [" ".join(field) for field in every_field(name)]
    parts = [*table.get(family(name), {}), *table.get(name, {})]
    assert [part for part in parts if not any(part in text for text in texts)] == []


def _dialect(path: str) -> Dialect:
    """The dialect of a kept case, whose name begins with it."""
    return max((dialect for name, dialect in DIALECTS.items() if path.startswith(name)), key=lambda d: len(d.name))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_case_still_has_the_words_of_its_engine(path: Path) -> None:
    case = read_case(path)
    assert with_words(case, _dialect(case.name).model(case)).flows == case.flows


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_engine_still_says_the_words_of_a_kept_case(truth_of: Callable[[Dialect], Speaker], path: Path) -> None:
    case = read_case(path)
    assert with_words(case, truth_of(_dialect(case.name))(case)).flows == case.flows
