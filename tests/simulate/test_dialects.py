"""Random clusters: the models give the words of the real engines, and every field of their languages decides."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import required_engine
from tests.policy_engines import policy_engine
from tests.reference.cases import read_case
from tests.seeds import drawn_seed
from tests.simulate.dialects import DIALECTS, Dialect, Speaker
from tests.simulate.fields import NEVER_DECIDES, NOT_ASKED, every_field, family
from tests.simulate.run import CASES, Tally, explain, judge, with_words

pytestmark = pytest.mark.engine

STEP = 40
"""So many clusters at a time, until enough flows were judged and each field of the language decided one."""
MOST = 15
"""So many times at the most."""
FLOWS = 100_000
LONGER = int(os.environ.get("MIGRATE_SIMULATE_TIMES", "1"))
"""How many times as many clusters; for nights."""
FRESH_SEED = drawn_seed()
KEPT = sorted(CASES.glob("*.json"))


@pytest.fixture
def truth_of() -> Callable[[Dialect], Speaker]:
    """The engine whose word counts for a dialect."""

    def find(dialect: Dialect) -> Speaker:
        return dialect.truth(policy_engine(required_engine(dialect.needs)) if dialect.needs else None)

    return find


def run(dialect: Dialect, truth: Speaker, seed: str, numbers: range, tally: Tally) -> None:
    """Put clusters to model and engine; the test fails with the smallest case at the first that differs."""
    for number in numbers:
        judge(dialect, dialect.case(f"{seed}-{number}"), truth, tally)
        if tally.differences:
            pytest.fail(f"seed {seed}\n{explain(dialect, tally.differences, truth, None)}", pytrace=False)
    print(f"{dialect.name}: seed {seed}: {tally}")


@pytest.mark.parametrize("name", DIALECTS)
def test_model_says_what_the_engine_says_and_every_field_decides(
    truth_of: Callable[[Dialect], Speaker], name: str
) -> None:
    dialect = DIALECTS[name]
    truth, tally = truth_of(dialect), Tally()
    for step in range(MOST * LONGER):
        run(dialect, truth, "fixed", range(step * STEP, (step + 1) * STEP), tally)
        if step + 1 >= LONGER and tally.flows >= FLOWS and not tally.coverage.missing(name):
            break
    print(tally.coverage.table(name))
    assert tally.coverage.missing(name) == []
    assert tally.flows >= FLOWS


@pytest.mark.parametrize("name", DIALECTS)
def test_model_says_what_the_engine_says_for_a_fresh_seed(truth_of: Callable[[Dialect], Speaker], name: str) -> None:
    dialect, tally = DIALECTS[name], Tally()
    run(dialect, truth_of(dialect), FRESH_SEED, range(10 * LONGER), tally)
    assert tally.flows > 0


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
