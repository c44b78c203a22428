"""The sections on changed connections and live traffic, over documents that the stages made."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from migrate.errors import InputError
from migrate.model.audit_documents import Audit, CoverageGap, NamespaceCoverage, PodCoverage
from migrate.model.documents import Cause, Matrix
from migrate.model.plan_documents import Plan
from migrate.readiness.rules import load_rules
from migrate.readiness.traffic import watched_share_of_all
from migrate.report.comparison import causes_of, changed_pairs, matrix_view
from migrate.report.document import Report
from migrate.report.hours import clock_of, hours_picture, hours_words, watch_of
from migrate.report.made import MadeReport, make_report
from migrate.report.source_view import PairReader
from migrate.report.svg import changed_connections
from migrate.report.traffic_rows import traffic_view
from tests.report import sample
from tests.report.whole import whole_folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeReport:
    return make_report(whole_folder(tmp_path_factory.mktemp("whole")), load_rules(), NOW)


@pytest.fixture
def whole(made: MadeReport) -> Report:
    return made.report


@pytest.fixture
def audit(whole: Report) -> Audit:
    assert whole.audit is not None
    return whole.audit


def test_every_changed_cell_leads_to_a_pair_with_its_causes(whole: Report) -> None:
    causes = causes_of(whole)
    view = matrix_view(whole, causes)
    assert view is not None
    cells = {(line.name, name): cell for line in view.lines for name, cell in zip(view.names, line.cells, strict=True)}
    opened = cells["demo", "data"]
    assert (opened.text, opened.change, opened.sign) == ("◐→●", "new", "+")
    assert cells["demo", "kube-system"].change == ""
    anchors = {pair.anchor for pair in view.pairs}
    assert {cell.anchor for cell in cells.values() if cell.change} == anchors
    assert all(pair.causes for pair in view.pairs)


def test_causes_name_one_flow_and_the_rules_on_both_sides(whole: Report) -> None:
    lost = next(cause for cause in causes_of(whole) if cause.lost and "shop" in cause.sources)
    assert re.search(r"pod shop/checkout-\S+ \(10\.244\.\d+\.\d+\) → .*, SCTP/1", lost.example)
    assert lost.before.startswith("NetworkPolicy shop/checkout-egress spec.egress[0] (")
    assert lost.after == "SCTP is switched off"


def test_picture_draws_changed_pairs_only_each_with_a_sign(whole: Report) -> None:
    pairs = changed_pairs(whole)
    assert ("demo", "data", "new") in [(pair.source, pair.destination, pair.change) for pair in pairs]
    assert ("demo", "kube-system") not in [(pair.source, pair.destination) for pair in pairs]
    picture = changed_connections(pairs)
    assert picture.count("<line") == len(pairs)
    assert picture.count("+</text>") + picture.count("−</text>") + picture.count("±</text>") == len(pairs)


def test_without_a_comparison_the_translation_says_what_it_changes(whole: Report) -> None:
    assert whole.verification is not None
    alone = structs.replace(whole, verification=None)
    assert len(causes_of(alone)) == len(whole.against_today)
    assert matrix_view(alone, causes_of(alone)) is None
    assert changed_connections(()) == ""


def test_large_matrix_shows_where_something_changes(whole: Report) -> None:
    assert whole.verification is not None
    names = (*(f"team-{number:03}" for number in range(80)), "nodes", "outside")
    row = "s" * len(names)
    after = (row[:7] + "-" + row[8:], *[row] * (len(names) - 1))
    matrix = Matrix(by="namespace", names=names, before=(row,) * len(names), after=after)
    large = structs.replace(whole, verification=structs.replace(whole.verification, matrix=matrix, causes=()))
    view = matrix_view(large, causes_of(large))
    assert view is not None
    assert view.names == ("team-000", "team-007", "nodes", "outside")
    assert view.hidden == len(names) - 4
    assert [pair.title for pair in view.pairs] == ["team-000 to team-007"]


def test_hours_show_what_was_seen_and_what_nobody_watched(audit: Audit) -> None:
    watch = watch_of(audit)
    assert watch is not None
    letters = {
        str(group.source): watch.letters(group) for group in audit.would_drop if "frontend" in str(group.destination)
    }
    assert letters == {"staging/Deployment/load-test": "62000xxx0100000000009900"}


def test_a_gap_is_a_box_and_never_a_bar() -> None:
    picture = hours_picture("9xx0", "words")
    assert 'class="gap" d="M4 1h7v16h-7z"' in picture
    assert 'd="M0 18v-18h3v18z"' in picture
    assert hours_words("9xx0", 1) == "seen in 1 of 4 hours, 2 not watched all the time"


def test_gap_that_lasts_reaches_to_the_end(audit: Audit) -> None:
    gap = CoverageGap(since="2026-05-11T06:30:00Z", until=None, reason="it was killed")
    coverage = tuple(structs.replace(pod, gaps=(gap,)) for pod in audit.coverage)
    watch = watch_of(structs.replace(audit, coverage=coverage))
    assert watch is not None
    assert {letters[-2:] for letters in map(watch.letters, audit.would_drop) if letters[-1] == "x"} <= {"xx"}


def test_weeks_are_cut_into_longer_spans(audit: Audit) -> None:
    clock = clock_of(structs.replace(audit, until="2026-05-24T08:00:00Z"))
    assert clock is not None
    assert (clock.step, clock.bins) == (7, 48)


def test_dns_and_probes_come_before_what_is_more_frequent(audit: Audit) -> None:
    small = structs.replace(audit.would_drop[-1], topic="dns", events=1)
    view = traffic_view(structs.replace(audit, would_drop=(*audit.would_drop, small)))
    assert view.cells[0][2].endswith("(DNS)")


def test_least_watched_pods_come_first_with_the_reason(audit: Audit) -> None:
    view = traffic_view(audit)
    shares = [pod.share for pod in view.coverage.shown]
    assert shares == ["87.50 %", "87.50 %", "100 %"]
    assert "the agent was restarted" in view.coverage.shown[0].gaps
    assert view.gaps == 2


def test_values_that_only_one_side_has_are_marked(made: MadeReport) -> None:
    row = next(row for row in made.report.policies if row.source.name == "checkout-egress")
    pair = made.pairs.read(row)
    (result,) = pair.results
    marked = [line.strip() for is_marked, line in result.lines if is_marked]
    assert "- host" in marked
    assert not any("443" in line or "203.0.113.0/24" in line for line in marked)
    assert not any(marked for marked, _ in pair.source.lines)


def test_values_that_the_translation_left_out_are_marked(tmp_path: Path) -> None:
    folder = sample.REALISTIC.write(tmp_path)
    made = make_report(folder, load_rules(), NOW)
    row = next(row for row in made.report.policies if row.source.name == "to-database")
    pair = PairReader(folder, made.pairs.objects).read(row)
    assert any(marked and "10.9.0.0/16" in line for marked, line in pair.source.lines)


def test_causes_of_one_change_both_ways_are_one_pair(whole: Report) -> None:
    assert whole.verification is not None
    first = whole.verification.causes[0]
    other: Cause = structs.replace(first, change="newly_denied")
    both = structs.replace(whole.verification, causes=(first, other), matrix=None)
    (pair,) = changed_pairs(structs.replace(whole, verification=both))
    assert (pair.change, pair.sign) == ("both", "±")


def test_runbook_of_this_snapshot_is_named_among_the_inputs(whole: Report) -> None:
    assert whole.plan is not None
    assert [document.kind for document in whole.inputs][-1] == "Plan"
    assert not any(gap.startswith("Runbook") for gap in whole.unmeasured)


def test_runbook_of_another_snapshot_is_shown_with_a_doubt(tmp_path: Path) -> None:
    folder = whole_folder(tmp_path)
    plan = msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    (folder / "plan.json").write_bytes(msgspec.json.encode(structs.replace(plan, snapshot_sha256="0" * 64)))
    report = make_report(folder, load_rules(), NOW).report
    assert report.plan is not None
    assert report.unmeasured[0].startswith("Runbook: it was made from another snapshot")


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    folder = sample.REALISTIC.write(tmp_path)
    (folder / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"plan\.json: is no plan of this version"):
        make_report(folder, load_rules(), NOW)


def test_pods_that_nobody_watched_lower_the_share_of_all(audit: Audit) -> None:
    seen = NamespaceCoverage(namespace="shop", state="traffic", pods=1)
    unseen = NamespaceCoverage(namespace="bank", state="not_watched", not_watched_pods=99)
    pod = PodCoverage(namespace="shop", pod="a", interface="v", alive_seconds=10.0, watched_seconds=5.0)
    one = structs.replace(audit, coverage=(pod,), namespaces=(seen,))
    assert watched_share_of_all(one) == 0.5
    assert watched_share_of_all(structs.replace(one, namespaces=(seen, unseen))) == pytest.approx(0.005)
