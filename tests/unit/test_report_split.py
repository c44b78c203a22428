"""Reports on parts of a cluster, which can be handed out alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.errors import InputError
from migrate.readiness.rules import load_rules
from migrate.report.document import Report
from migrate.report.made import MadeReport, make_report
from migrate.report.split import parts_of
from tests.report import sample
from tests.report.whole import whole_folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def made(folder: Path) -> MadeReport:
    return make_report(folder, load_rules(), NOW)


def part(made: MadeReport, title: str, by: str = "namespace") -> Report:
    return next(one.report for part, one in made.parts(by) if part.title == title)


def test_every_namespace_has_a_part(made: MadeReport) -> None:
    titles = [part.title for part, _ in made.parts("namespace")]
    assert titles == ["data", "default", "demo", "kube-system", "sandbox", "shop", "staging"]


def test_a_part_has_its_own_policies_findings_and_pods_only(made: MadeReport) -> None:
    shop = part(made, "shop")
    assert {row.source.namespace for row in shop.policies} == {"shop"}
    assert [row.name for row in shop.namespaces] == ["shop"]
    assert shop.summary.pods == 4
    places = {str(finding.subject) for group in shop.findings for finding in group.findings}
    assert places
    assert all("shop" in place for place in places)


def test_a_part_has_the_traffic_that_it_meets(made: MadeReport) -> None:
    staging, demo = part(made, "staging"), part(made, "demo")
    assert staging.audit is not None
    assert demo.audit is not None
    assert [str(group.source) for group in staging.audit.would_drop] == ["staging/Deployment/load-test"]
    assert {pod.namespace for pod in staging.audit.coverage} == {"staging"}
    assert demo.audit.would_drop == ()
    assert demo.answer.state != "blocked"
    assert staging.answer.state == "blocked"


def test_a_part_does_not_name_the_policies_of_others(made: MadeReport) -> None:
    page = next(one.html() for part, one in made.parts("namespace") if part.title == "demo").decode()
    for foreign in ("keep-tests-out", "primary-only", "load-test"):
        assert foreign not in re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)


def test_a_part_says_what_holds_for_the_whole_cluster(made: MadeReport) -> None:
    assert "For the whole cluster the answer is: no: blockers" in part(made, "demo").answer.sentence


def test_parts_together_have_every_finding_that_has_a_namespace(made: MadeReport) -> None:
    def found(report: Report) -> set[tuple[str, str]]:
        return {(one.id, one.detail) for group in report.findings for one in group.findings if one.subject is not None}

    split = set().union(*(found(one.report) for _, one in made.parts("namespace")))
    cluster_wide = {
        (one.id, one.detail)
        for group in made.report.findings
        for one in group.findings
        if one.subject is not None and one.subject.namespace is None and one.subject.kind != "Namespace"
    }
    assert found(made.report) - split == cluster_wide


def test_owners_come_from_a_label_of_namespaces(made: MadeReport) -> None:
    owners = {part.title: part.namespaces for part, _ in made.parts("label=environment")}
    assert owners["production"] >= {"shop", "data"}
    assert owners["staging"] == {"staging"}
    assert "kube-system" in owners["without environment"]


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("owner", "it is written namespace, or label=KEY"),
        ("label=", "it is written namespace, or label=KEY"),
        ("label=nobody-has-it", "no namespace of the snapshot has this label"),
    ],
)
def test_what_splits_nothing_is_refused(made: MadeReport, by: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made.parts(by)


def test_file_names_stay_inside_the_folder_and_apart(tmp_path: Path) -> None:
    names = ("../up", "..", "INDEX", "index", "a/b", "a-b", "A-B", "", "x" * 300)
    objects = tuple(sample.namespace(name) for name in names)
    folder = sample.Folder(sample.HEADER, objects, sample.TRANSLATION, {}).write(tmp_path / "migration")
    made = make_report(folder, load_rules(), NOW)
    files = [part.file for part in parts_of(made.report, objects, "namespace")]
    assert len({file.lower() for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,120}", file)
        assert file != "index"


def test_command_writes_the_parts_and_a_page_that_leads_to_them(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    result = CliRunner().invoke(app, ["report", "-d", str(folder), "--split-by", "namespace", "--output-dir", str(out)])
    assert result.exit_code == 4
    assert result.stdout.splitlines()[-1] == str(out / "index.html")
    linked = re.findall(r'<th scope="row"><a href="([^"]+)"', (out / "index.html").read_text())
    assert sorted(linked) == sorted(path.name for path in out.iterdir() if path.name != "index.html")


def test_parts_of_other_forms_have_their_endings(folder: Path, tmp_path: Path) -> None:
    arguments = ["report", "-d", str(folder), "-o", "markdown", "--split-by", "namespace", "--output-dir"]
    CliRunner().invoke(app, [*arguments, str(tmp_path / "parts")])
    assert (tmp_path / "parts" / "shop.md").read_text().startswith("## No:")


@pytest.mark.parametrize("arguments", [["--split-by", "namespace"], ["--output-dir", "x"]])
def test_split_needs_a_folder_and_a_folder_a_split(folder: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["report", "-d", str(folder), *arguments])
    assert isinstance(result.exception, InputError)
