"""`migrate report --fleet`: every folder is a row, the worst first, and none is lost or better than it is."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.model.cutover_documents import CutoverCheck, CutoverTally
from migrate.readiness.rules import load_rules
from migrate.report.fleet import Fleet, make_fleet
from migrate.report.fleet_page import render_fleet
from migrate.report.made import make_report
from migrate.resources import data
from tests.command_line import migrate
from tests.report import sample
from tests.report.whole import whole_folder

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every document."""
    made = tmp_path_factory.mktemp("whole") / "prod"
    made.mkdir()
    return whole_folder(made)


def states(fleet: Fleet) -> list[tuple[str, str]]:
    """Last part of the folder, and state."""
    return [(Path(row.folder).name, row.state) for row in fleet.rows]


def test_a_row_says_what_the_folders_own_report_says(whole: Path) -> None:
    (row,) = make_fleet([whole], NOW).rows
    report = make_report(whole, load_rules(), NOW).report

    assert (row.state, row.word, row.complete) == (report.answer.state, report.answer.word, report.complete)
    assert (row.blockers, row.warnings) == (report.summary.findings.blocker, report.summary.findings.warning)
    assert report.audit is not None
    assert row.would_drop == len(report.audit.would_drop)
    assert row.watched is not None
    assert 0 < row.watched < 1
    assert [one.date for one in row.deadlines] == [one.date for one in report.deadlines[:5]]
    assert row.missing == ("nodes.json",)
    assert row.audit_days == 195


def test_the_worst_is_first_and_what_cannot_be_read_is_there(whole: Path, tmp_path: Path) -> None:
    for name in ("a-blocked", "b-broken", "c-missed"):
        shutil.copytree(whole, tmp_path / name)
    (tmp_path / "b-broken/translation.json").write_text("{")
    (tmp_path / "d-empty").mkdir()
    sample.without(sample.REALISTIC, translation=True).write(tmp_path / "e-snapshot")
    (tmp_path / "f-file").write_text("no folder")
    check = CutoverCheck(
        tool_version="1",
        made="2026-11-22T10:00:00Z",
        policies="x",
        complete=True,
        result="as_predicted",
        tally=CutoverTally(),
    )
    (tmp_path / "c-missed/cutover.json").write_bytes(msgspec.json.encode(check))
    fleet = make_fleet([tmp_path, tmp_path / "f-file", tmp_path / "gone"], NOW)

    found = dict(states(fleet))
    assert set(found) == {"a-blocked", "b-broken", "c-missed", "d-empty", "e-snapshot", "f-file", "gone"}
    assert {name for name, state in found.items() if state == "unreadable"} == {"b-broken", "d-empty", "f-file", "gone"}
    unreadable = [row for row in fleet.rows if row.state == "unreadable"]
    assert all(row.problem and not row.complete for row in unreadable)
    order = [
        ("blocked", "unreadable", "incomplete", "decide_first", "no_blocker_found").index(s) for _, s in states(fleet)
    ]
    assert order == sorted(order)
    assert not fleet.complete
    assert [row.missed for row in fleet.rows if row.folder.endswith("c-missed")] == [0]


def test_a_folder_is_found_by_a_pattern_by_what_is_around_it_and_once(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "one/migration")
    shutil.copytree(whole, tmp_path / "two")
    for named in ([tmp_path], [tmp_path / "*"], [tmp_path / "one", tmp_path / "two", tmp_path / "one/migration"]):
        assert sorted(row.folder for row in make_fleet(named, NOW).rows) == [
            str(tmp_path / "one/migration"),
            str(tmp_path / "two"),
        ]
    (row,) = make_fleet([tmp_path / "x*"], NOW).rows
    assert row.state == "unreadable"


def test_many_folders_are_read_by_several_processes_with_the_same_result(whole: Path, tmp_path: Path) -> None:
    for number in range(10):
        shutil.copytree(whole, tmp_path / f"{number}")
    (tmp_path / "7/snapshot.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    fleet = make_fleet([tmp_path], NOW)

    assert len(fleet.rows) == 10
    assert [name for name, state in states(fleet) if state == "unreadable"] == ["7"]
    (alone,) = make_fleet([tmp_path / "3"], NOW).rows
    assert alone in fleet.rows


def test_the_document_fits_its_schema_and_the_page_asks_for_nothing(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "<b>evil&")
    (tmp_path / "<b>evil&/report.html").write_text("x")
    fleet = make_fleet([tmp_path / "<b>evil&", tmp_path / "gone"], NOW)
    schema = json.loads(data("reports").joinpath("schemas", "fleet.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(fleet.json()))
    page = render_fleet(fleet, tmp_path).decode()

    assert "<b>evil" not in page
    assert 'href="%3Cb%3Eevil%26/report.html"' in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "<script" not in page
    assert page.count('scope="row"') >= 2
    assert "no such folder" in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_command_prints_the_table_and_writes_the_page(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "prod")
    (tmp_path / "other").mkdir()
    ended = migrate(tmp_path, "report", "--fleet", "prod", "other")

    assert ended.status == 4
    assert ended.stdout.splitlines()[0] == "2 clusters: 1 blocked, 1 unreadable"
    assert "other: other: neither" in ended.stdout
    assert (tmp_path / "fleet.html").is_file()
    told = migrate(tmp_path, "report", "--fleet", "-o", "json", "--fail-on", "blocker", "prod", "other")
    assert told.status == 1
    assert msgspec.json.decode(told.stdout, type=Fleet).states["unreadable"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--fleet",), "no folder is named", id="no folder"),
        pytest.param(("--fleet", "-o", "sarif", "x"), "html or json", id="a form that there is not"),
        pytest.param(("--fleet", "--redact", "x"), "--fleet goes with", id="options for one folder"),
        pytest.param(("x",), "--dir", id="a folder without --fleet"),
    ],
)
def test_bad_options_say_what_to_do(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    ended = migrate(tmp_path, "report", *arguments)

    assert ended.status == 2
    assert says in ended.stderr
