"""The first screen: may I cut over, why not, what first; over documents that the stages made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from migrate.readiness.rules import load_rules
from migrate.report.document import Report
from migrate.report.made import make_report
from tests.report.whole import accept, audit, whole_folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LETS_ALL_THROUGH = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: frontend, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: frontend}}
  ingress: [{fromEntities: [all]}]
"""


def report(folder: Path) -> Report:
    return make_report(folder, load_rules(), NOW).report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return whole_folder(tmp_path / "migration")


def states(made: Report) -> dict[str, str]:
    return {line.topic: line.state for line in made.answer.evidence}


def ids(made: Report, *, accepted: bool = False) -> set[str]:
    return {group.id for group in made.findings if group.accepted is accepted}


def test_would_be_drops_block_and_come_first_with_their_step(folder: Path) -> None:
    made = report(folder)
    assert made.answer.state == "blocked"
    assert made.answer.first[0].about == "AUD-WOULD-DROP"
    assert states(made)["Live traffic"] == "against"
    (group,) = (group for group in made.findings if group.id == "AUD-WOULD-DROP")
    assert {str(finding.subject) for finding in group.findings} == {
        "Namespace data",
        "Namespace shop",
        "Namespace staging",
    }
    assert "migrate audit suggest" in group.do
    assert {row.name for row in made.namespaces if row.findings.blocker} >= {"data", "shop", "staging"}


def test_traffic_without_drops_blocks_nothing_and_stays_a_part_of_the_picture(folder: Path) -> None:
    audit(folder, LETS_ALL_THROUGH)
    made = report(folder)
    assert "AUD-WOULD-DROP" not in ids(made)
    assert states(made)["Live traffic"] == "partial"


def test_with_an_audit_nobody_says_that_none_was_made(folder: Path) -> None:
    made = report(folder)
    said = " ".join((made.answer.sentence, *made.unmeasured))
    assert "no live traffic was audited" not in said
    assert "no audit was made" not in said
    assert "for 24.0 hours" in made.answer.sentence
    assert "Live traffic beyond the audit" in said


def test_without_an_audit_the_first_screen_says_so(folder: Path) -> None:
    (folder / "audit.json").unlink()
    made = report(folder)
    assert states(made)["Live traffic"] == "missing"
    assert "no live traffic was audited" in made.answer.sentence
    assert "Audit live traffic" in [step.title for step in made.answer.first]


def test_coverage_and_losses_stand_on_the_first_screen(folder: Path) -> None:
    audit(folder, lost=3)
    (line,) = (line for line in report(folder).answer.evidence if line.topic == "Coverage")
    assert line.state == "partial"
    assert line.text.startswith("91.67 % of the time of 3 pods watched")
    assert "3 lost" in line.text


def test_comparison_of_all_flows_counts_on_the_first_screen(folder: Path) -> None:
    assert states(report(folder))["Comparison"] == "against"
    (folder / "verification.json").unlink()
    made = report(folder)
    assert states(made)["Comparison"] == "missing"
    assert "Compare all flows" in [step.title for step in made.answer.first]


def test_accepted_findings_stand_in_the_way_no_more_and_stay_visible(folder: Path) -> None:
    audit(folder, LETS_ALL_THROUGH)
    blockers = {group.id for group in report(folder).findings if group.severity == "blocker"}
    assert blockers
    accept(folder, *(f"{identity}@*" for identity in blockers))
    made = report(folder)
    assert made.answer.state != "blocked"
    assert made.summary.findings.blocker == 0
    assert made.summary.accepted >= len(blockers)
    assert blockers == ids(made, accepted=True)
    assert states(made)["Accepted"] == "partial"


def test_long_lived_connections_need_a_decision(folder: Path) -> None:
    (group,) = (group for group in report(folder).findings if group.id == "AUD-CONNECTION-CUT")
    assert group.severity == "warning"
    assert "shop/Deployment/checkout → data/StatefulSet/postgres TCP/5432" in group.findings[0].detail


def test_incomplete_audit_is_named_among_what_is_missing(folder: Path) -> None:
    assert any("the audit is incomplete" in gap for gap in report(folder).unmeasured)
