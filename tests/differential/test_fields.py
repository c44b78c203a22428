"""Which fields of the source languages were generated and decided: the run tells, and misses none."""

import pytest

from tests.differential.fields import FieldCounts
from tests.differential.generate import EVERY_DIALECT, Dialect, generate

RULE = "GlobalNetworkPolicy spec.ingress[].source.notNets[]"


@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_what_a_case_has_is_counted(dialect: Dialect) -> None:
    counts = FieldCounts()
    counts.add([generate(dialect, "fixed-1")])
    language = "kubernetes" if dialect == "kubernetes" else "calico"
    (counted,) = counts.coverage.values()
    assert list(counts.coverage) == [language]
    assert counted.generated.total() > 0
    assert set(counted.decided) <= set(counted.generated)


def test_a_field_that_no_case_has_is_missing_until_one_has_it() -> None:
    counts = FieldCounts()
    counts.add([generate("ordered", "fixed-1")])
    assert f"{RULE} was never generated" in counts.missing()
    counts.add(generate("ordered", f"fixed-{number}") for number in range(22, 32))
    assert not any(RULE in text for text in counts.missing())


def test_the_table_has_a_line_for_every_field() -> None:
    counts = FieldCounts()
    counts.add([generate("kubernetes", "fixed-1")])
    assert "spec.egress[].to[].ipBlock.except[]" in counts.table()
