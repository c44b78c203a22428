"""What a report says of the one before it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from migrate.errors import InputError
from migrate.model.documents import Result
from migrate.readiness.rules import load_rules
from migrate.report.document import Since
from migrate.report.made import make_report
from tests.report import sample
from tests.report.whole import audit, whole_folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def written(folder: Path, name: str) -> Path:
    """The JSON report on a folder, kept beside it."""
    path = folder.parent / name
    path.write_bytes(make_report(folder, load_rules(), NOW).json())
    return path


def compared(folder: Path, old: Path) -> Since:
    found = make_report(folder, load_rules(), NOW, old).report.since
    assert found is not None
    return found


def test_nothing_changed_since_the_same_report(tmp_path: Path) -> None:
    folder = sample.REALISTIC.write(tmp_path / "migration")
    found = compared(folder, written(folder, "old.json"))
    assert (found.new_findings, found.gone_findings, found.policies) == ((), (), ())
    assert found.state == "blocked"


def test_findings_and_policies_that_changed_are_named(tmp_path: Path) -> None:
    old = written(sample.REALISTIC.write(tmp_path / "migration"), "old.json")
    better = sample.result(sample.GLOBAL, Result.EXACT)
    sctp = sample.finding(sample.NAMED, "POL-SCTP", "it allows SCTP")
    worse = sample.result(sample.NAMED, Result.UNSUPPORTED, sctp)
    translation = structs.replace(sample.TRANSLATION, results=(*sample.RESULTS[:3], worse, better))
    folder = sample.Folder(sample.HEADER, sample.REALISTIC.objects, translation, sample.FILES)
    found = compared(folder.write(tmp_path / "migration"), old)
    assert [(one.severity, one.id) for one in found.new_findings] == [("blocker", "POL-SCTP")]
    assert {one.id for one in found.gone_findings} >= {"POL-CALICO-FIELD", "POL-NAMED-PORT"}
    assert [(one.object, one.before, one.after) for one in found.policies] == [
        ("GlobalNetworkPolicy allow-dns", "unsupported", "exact"),
        ("NetworkPolicy shop/web-in", "changed", "unsupported"),
    ]


def test_a_policy_that_is_gone_has_no_standing_now(tmp_path: Path) -> None:
    old = written(sample.REALISTIC.write(tmp_path / "migration"), "old.json")
    rest = [raw for raw in sample.REALISTIC.objects if raw is not sample.SERVER]
    results = tuple(one for one in sample.RESULTS if one.source != sample.SERVER.ref)
    translation = structs.replace(sample.TRANSLATION, results=results)
    folder = sample.Folder(sample.HEADER, tuple(rest), translation, sample.FILES).write(tmp_path / "migration")
    assert [(one.object, one.after) for one in compared(folder, old).policies] == [
        ("NetworkPolicy demo/allow-client", None)
    ]


def test_would_be_drops_that_are_gone_are_named(tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "migration")
    old = written(folder, "old.json")
    audit(
        folder,
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\n"
        "spec: {endpointSelector: {matchLabels: {app: nobody}}, ingress: [{}]}\n",
    )
    found = compared(folder, old)
    assert "staging/Deployment/load-test → shop/Deployment/frontend TCP/8080" in found.gone_drops
    assert found.new_drops == ()
    page = make_report(folder, load_rules(), NOW, old).html().decode()
    assert 'id="since"' in page
    assert "Would-be drops" in page


def test_page_without_an_earlier_report_has_no_such_section(tmp_path: Path) -> None:
    folder = sample.REALISTIC.write(tmp_path / "migration")
    assert b'id="since"' not in make_report(folder, load_rules(), NOW).html()


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "Translation"}', "\xff"])
def test_a_baseline_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    folder = sample.REALISTIC.write(tmp_path / "migration")
    old = tmp_path / "old.json"
    old.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"old\.json: is no report of this version"):
        make_report(folder, load_rules(), NOW, old)
