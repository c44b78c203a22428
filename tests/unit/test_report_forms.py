"""The same report for machines: SARIF, JUnit, Markdown, a workflow's summary."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from msgspec import structs
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.errors import InputError
from migrate.model.documents import Result
from migrate.readiness.rules import load_rules
from migrate.report.made import MadeReport, make_report
from migrate.report.markdown import plain
from tests.command_line import migrate
from tests.report import sample
from tests.report.whole import accept, whole_folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SARIF = json.loads(Path(__file__).parents[1].joinpath("report/sarif/sarif-2.1.0-rtm.5.json").read_text())
HOSTILE = "</failure>|`<img src=x>@team\x00[x](y)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def made(folder: Path) -> MadeReport:
    return make_report(folder, load_rules(), NOW)


def hostile(place: Path) -> MadeReport:
    """A report whose names try to be more than names."""
    named = sample.policy(HOSTILE, HOSTILE, {"podSelector": {}})
    one = sample.result(named, Result.CHANGED, sample.finding(named, f"POL-{HOSTILE}", HOSTILE, field=HOSTILE))
    translation = structs.replace(sample.TRANSLATION, results=(one,))
    folder = replace(sample.REALISTIC, objects=(named,), translation=translation, files={})
    return make_report(folder.write(place), load_rules(), NOW)


def sarif(report: MadeReport) -> dict[str, list[dict[str, list[dict[str, object]]]]]:
    document: dict[str, list[dict[str, list[dict[str, object]]]]] = json.loads(report.sarif())
    jsonschema.Draft4Validator(SARIF).validate(document)
    return document


def test_sarif_fits_its_schema_and_has_every_finding_with_its_place(made: MadeReport) -> None:
    (run,) = sarif(made)["runs"]
    assert len(run["results"]) == sum(len(group.findings) for group in made.report.findings)
    filtered = next(one for one in run["results"] if one["ruleId"] == "POL-LABEL-FILTERED")
    assert filtered["level"] == "error"
    assert "samples/demo/cluster/policies.yaml" in json.dumps(filtered["locations"])
    assert '"startLine"' in json.dumps(filtered["locations"])


def test_sarif_of_hostile_names_fits_its_schema(tmp_path: Path) -> None:
    sarif(hostile(tmp_path))


def test_sarif_of_lint_fits_the_same_schema(tmp_path: Path) -> None:
    text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a b}\nspec: {ingress: [{}]}\n"
    (tmp_path / "a policy.yaml").write_text(text)
    document = json.loads(migrate(tmp_path, "lint", "-f", "a policy.yaml", "-o", "sarif").stdout)
    jsonschema.Draft4Validator(SARIF).validate(document)
    assert document["runs"][0]["results"]
    assert '"a%20policy.yaml"' in json.dumps(document)


def test_the_schema_refuses_what_is_no_sarif(made: MadeReport) -> None:
    document = json.loads(made.sarif())
    document["runs"][0]["results"][0]["level"] = "blocker"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SARIF).validate(document)


def test_fingerprint_stays_when_a_policy_moves_in_its_file(made: MadeReport) -> None:
    moved = structs.replace(
        made.report,
        findings=tuple(
            structs.replace(group, findings=tuple(structs.replace(one, at=None) for one in group.findings))
            for group in made.report.findings
        ),
    )
    prints = [
        [one["partialFingerprints"] for one in sarif(report)["runs"][0]["results"]]
        for report in (made, replace(made, report=moved))
    ]
    assert prints[0] == prints[1]


def test_accepted_findings_are_suppressed_in_sarif_and_skipped_in_junit(tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "migration")
    accept(folder, "POL-LABEL-FILTERED@*")
    report = make_report(folder, load_rules(), NOW)
    (found,) = (one for one in sarif(report)["runs"][0]["results"] if one["ruleId"] == "POL-LABEL-FILTERED")
    assert found["suppressions"]
    case = cases(report.junit())["POL-LABEL-FILTERED", "NetworkPolicy data/primary-only spec.podSelector"]
    assert [child.tag for child in case] == ["skipped"]


def cases(text: bytes) -> dict[tuple[str, str], ElementTree.Element]:
    root = ElementTree.fromstring(text)
    return {(case.attrib["classname"], case.attrib["name"]): case for case in root.iter("testcase")}


def test_junit_fails_where_something_stands_in_the_way(made: MadeReport) -> None:
    found = cases(made.junit())
    assert [child.tag for child in found["verdict", "may we cut over"]] == ["failure"]
    assert [child.tag for child in found["AUD-WOULD-DROP", "Namespace shop"]] == ["failure"]
    assert [child.tag for child in found["AUD-CONNECTION-CUT", "Namespace shop"]] == ["system-out"]
    strict = cases(made.junit(warnings_fail=True))
    assert [child.tag for child in strict["AUD-CONNECTION-CUT", "Namespace shop"]] == ["failure"]


def test_junit_counts_what_it_holds(made: MadeReport) -> None:
    for suite in ElementTree.fromstring(made.junit()).iter("testsuite"):
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))


def test_junit_of_hostile_names_is_xml_and_keeps_them_as_text(tmp_path: Path) -> None:
    root = ElementTree.fromstring(hostile(tmp_path).junit())
    names = [case.attrib["name"] for case in root.iter("testcase")]
    assert any("</failure>|`<img src=x>@team" in name for name in names)
    assert not root.findall(".//img")


def test_markdown_answers_first_and_lists_what_matters(made: MadeReport) -> None:
    text = made.markdown().decode()
    assert text.startswith("## No: blockers stand in the way of the cutover\n")
    for words in (
        "1. **Traffic that passes today would be dropped by Cilium** (AUD-WOULD-DROP)",
        "| shop/Deployment/checkout → data/StatefulSet/postgres TCP/5432 | 678 |",
        "91.67 % of the time of 3 pods watched",
        "### Changed connections",
        "<details><summary>Not measured</summary>",
    ):
        assert words in text


def test_hostile_names_stay_text_in_markdown(tmp_path: Path) -> None:
    text = hostile(tmp_path).markdown().decode()
    assert "<img" not in text
    assert "@team" not in text
    assert "\\[x\\](y)" in text


def test_a_name_with_a_bar_stays_in_its_cell() -> None:
    assert plain("a|b\n# c `d`") == "a\\|b # c \\`d\\`"


def test_same_documents_give_the_same_bytes_in_every_form(folder: Path) -> None:
    first, second = (make_report(folder, load_rules(), NOW) for _ in range(2))
    for form in (MadeReport.sarif, MadeReport.junit, MadeReport.markdown, MadeReport.json, MadeReport.html):
        assert form(first) == form(second)


@pytest.fixture
def report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795262400")

    def run(*arguments: str) -> str:
        return CliRunner().invoke(app, ["report", "-d", str(folder), *arguments]).stdout

    return run


@pytest.mark.parametrize(
    ("form", "start"), [("json", "{"), ("sarif", "{"), ("junit", "<testsuites"), ("markdown", "## No:")]
)
def test_forms_for_machines_go_to_stdout(report: Callable[..., str], form: str, start: str) -> None:
    assert report("-o", form).startswith(start)


def test_summary_is_added_to_the_file_of_the_workflow(
    report: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert report("-o", "json", "--github-summary").startswith("{")
    assert summary.read_text().startswith("before\n## No: blockers")


def test_summary_outside_a_workflow_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    result = CliRunner().invoke(app, ["report", "-d", str(folder), "-o", "json", "--github-summary"])
    assert isinstance(result.exception, InputError)
    assert "GITHUB_STEP_SUMMARY" in str(result.exception)
