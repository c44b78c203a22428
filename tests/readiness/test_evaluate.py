"""Putting rules to documents: what is lacking is named, and what does not concern a cluster is not asked."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from migrate.model.documents import KindCount, SnapshotHeader
from migrate.model.finding import Finding
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need, Unchecked, evaluate

TODAY = date(2026, 11, 21)
FOUND = Finding(id="CLU-DEADLINE", detail="found")


def documents(*kinds: KindCount) -> Documents:
    header = SnapshotHeader(tool_version="0", origin="cluster", name="test", kinds=kinds)
    return Documents(Path(), header, (), None)


def half_known(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    yield FOUND
    yield Missing("the other half")


def test_a_rule_may_find_something_and_still_lack_something() -> None:
    evaluation = evaluate(documents(), TODAY, [Check("CLU-DEADLINE", half_known)])
    assert evaluation.findings == (FOUND,)
    assert evaluation.unchecked == (Unchecked(id="CLU-DEADLINE", lacks=("the other half",)),)


def test_a_rule_that_lacks_an_input_is_not_asked() -> None:
    (unchecked,) = evaluate(documents(), TODAY, [Check("CLU-DEADLINE", half_known, (Need.AZURE,))]).unchecked
    assert unchecked.lacks == (Need.AZURE.value,)


def test_a_kind_that_was_refused_is_lacking_and_one_the_cluster_does_not_have_is_not() -> None:
    read, absent = KindCount("v1", "Pod", "read", 3), KindCount("karpenter.sh/v1", "NodePool", "absent")
    refused = KindCount("v1", "Service", "forbidden")
    check = Check("CLU-DEADLINE", half_known, kinds=("Pod", "NodePool", "Service"))
    (unchecked,) = evaluate(documents(read, absent, refused), TODAY, [check]).unchecked
    assert unchecked.lacks == ("objects of kind Service, which were not read",)


def test_a_rule_that_does_not_concern_the_cluster_is_neither_found_nor_unchecked() -> None:
    check = Check("CLU-DEADLINE", half_known, (Need.AZURE,), concerns=lambda documents: False)
    evaluation = evaluate(documents(), TODAY, [check])
    assert (evaluation.findings, evaluation.unchecked) == ((), ())
