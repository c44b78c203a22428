"""`migrate report` as it is called: where it writes, what it prints, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from typer.testing import CliRunner, Result

from migrate.cli.app import app
from migrate.errors import InputError
from tests.report import sample
from tests.report.sample import Folder

NO_FACTS = structs.replace(sample.HEADER, facts=())
CLEAN = Folder(NO_FACTS, (), structs.replace(sample.TRANSLATION, results=(), findings=()), {})


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in an empty current folder at a fixed time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795262400")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["report", *arguments])

    return run


Run = Callable[..., Result]


def test_last_line_is_the_full_path_of_the_page(report: Run, tmp_path: Path) -> None:
    sample.REALISTIC.write(tmp_path / "migration")
    result = report()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == str(tmp_path / "migration" / "report.html")
    assert (tmp_path / "migration" / "report.html").read_bytes().startswith(b"<!doctype html>")


def test_page_goes_where_it_is_told(report: Run, tmp_path: Path) -> None:
    sample.REALISTIC.write(tmp_path / "work")
    assert report("-d", "work", "--output-file", "out/page.html").exit_code == 0
    assert (tmp_path / "out" / "page.html").is_file()
    assert not (tmp_path / "work" / "report.html").exists()


def test_json_goes_to_stdout_and_nothing_is_written(report: Run, tmp_path: Path) -> None:
    folder = sample.REALISTIC.write(tmp_path / "migration")
    before = sorted(folder.rglob("*"))
    document = json.loads(report("-o", "json").stdout)
    assert (document["apiVersion"], document["kind"]) == ("cilium-migrate/v1alpha1", "Report")
    assert document["generated"] == "2026-11-21T12:00:00Z"
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("folder", "fail_on", "status"),
    [
        pytest.param(sample.REALISTIC, "never", 0, id="blockers do not fail a report that nobody asked to fail"),
        pytest.param(sample.REALISTIC, "blocker", 1, id="blockers fail at blocker"),
        pytest.param(CLEAN, "warning", 0, id="nothing fails where nothing was found"),
    ],
)
def test_exit_status_follows_fail_on(report: Run, tmp_path: Path, folder: Folder, fail_on: str, status: int) -> None:
    folder.write(tmp_path / "migration")
    assert report("--fail-on", fail_on).exit_code == status


def test_warnings_fail_at_warning_only(report: Run, tmp_path: Path) -> None:
    warned = structs.replace(sample.TRANSLATION, results=sample.RESULTS[2:3], findings=())
    Folder(NO_FACTS, (), warned, sample.FILES).write(tmp_path / "migration")
    assert report("--fail-on", "blocker").exit_code == 0
    assert report("--fail-on", "warning").exit_code == 1


@pytest.mark.parametrize(
    ("fail_on", "status"),
    [
        pytest.param("never", 4, id="incomplete is 4"),
        pytest.param("blocker", 1, id="what is proved bad goes before incomplete"),
    ],
)
def test_incomplete_documents_end_with_4_and_still_give_a_report(
    report: Run, tmp_path: Path, fail_on: str, status: int
) -> None:
    header = structs.replace(sample.HEADER, complete=False)
    Folder(header, sample.REALISTIC.objects, sample.TRANSLATION, sample.FILES).write(tmp_path / "migration")
    assert report("--fail-on", fail_on).exit_code == status
    assert (tmp_path / "migration" / "report.html").is_file()


def broken_translation(folder: Path) -> None:
    folder.mkdir()
    (folder / "translation.json").write_text('{"toolVersion": "0.1.0", "target": 7}')


def no_json(folder: Path) -> None:
    folder.mkdir()
    (folder / "translation.json").write_bytes(b"\xff\xfe\x00")


def broken_snapshot(folder: Path) -> None:
    folder.mkdir()
    (folder / "snapshot.jsonl.gz").write_bytes(b"no gzip")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param(lambda folder: None, "no such folder; run `migrate scan` first", id="no folder"),
        pytest.param(Path.mkdir, "neither snapshot.jsonl.gz nor translation.json is there", id="empty folder"),
        pytest.param(
            broken_translation,
            r"translation.json: no translation .*\$.target.* run migrate translate",
            id="wrong type in the translation",
        ),
        pytest.param(no_json, "translation.json: no translation", id="binary translation"),
        pytest.param(broken_snapshot, "snapshot.jsonl.gz: no snapshot, or a damaged one", id="damaged snapshot"),
    ],
)
def test_bad_input_names_the_file_and_what_to_do(
    report: Run, tmp_path: Path, prepare: Callable[[Path], None], message: str
) -> None:
    prepare(tmp_path / "migration")
    result = report()
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    with pytest.raises(InputError, match=message):
        raise result.exception
    assert not (tmp_path / "migration" / "report.html").exists()
