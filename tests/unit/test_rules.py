"""The knowledge base: each id has a file, each file is used, each statement has a source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.errors import InputError
from migrate.model.finding import Effect, Finding, Severity
from migrate.readiness.rules import Rule, find_rule, load_rules, severity_of
from migrate.scan.inventory.programs import programs

ROOT = Path(__file__).parent.parent.parent
FINDING_ID = re.compile(r"(SCAN|CLU|NET|POL|SVC|WRK|NODE|AUD|CUT|LINT|LIM|VAL)(-[A-Z0-9]+)+")
RULES = list(load_rules().values())

every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])


def ids_in_code() -> set[str]:
    return {text for path in ROOT.joinpath("migrate").rglob("*.py") for text in _strings(path)}


def _strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and FINDING_ID.fullmatch(node.value):
            yield node.value


def ids_in_data() -> set[str]:
    folders = [path for path in ROOT.joinpath("rules").iterdir() if path.name != "findings"]
    files = [file for path in folders for file in ([path] if path.is_file() else path.rglob("*.yaml"))]
    return {match[0] for file in files for match in FINDING_ID.finditer(file.read_text(encoding="utf-8"))}


def test_every_id_in_use_has_a_file() -> None:
    assert sorted((ids_in_code() | ids_in_data()) - set(load_rules())) == []


def test_every_file_is_in_use() -> None:
    assert sorted(set(load_rules()) - ids_in_code() - ids_in_data()) == []


def test_a_file_has_the_name_of_its_id() -> None:
    files = sorted(path.stem for path in ROOT.joinpath("rules", "findings").iterdir())
    assert files == sorted(rule.id for rule in RULES)


@every_rule
def test_every_statement_has_a_source(rule: Rule) -> None:
    assert rule.sources
    for source in rule.sources:
        assert source.says
        assert source.thread or source.measured or (source.repo and source.path)
        assert not source.repo or re.fullmatch(r"[\w.-]+/[\w.-]+", source.repo)
        assert not source.thread or re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", source.thread)


@every_rule
def test_what_opens_something_is_a_blocker(rule: Rule) -> None:
    assert rule.effect is not Effect.WIDENS or rule.severity is Severity.BLOCKER


@every_rule
def test_a_rule_says_why_and_what_to_do(rule: Rule) -> None:
    assert len(rule.title) <= 80
    assert not rule.title.endswith(".")
    assert rule.why.strip().endswith((".", ")"))
    assert rule.do.strip().endswith(".")
    assert rule.inputs
    assert rule.applies_to.source
    assert rule.applies_to.target


@pytest.mark.parametrize("program", programs(), ids=[program.id for program in programs()])
def test_every_program_has_a_source_and_a_way_to_tell(program: object) -> None:
    from migrate.scan.inventory.programs import Program

    assert isinstance(program, Program)
    assert all(source.repo and source.path and source.says for source in program.sources)
    assert program.sources
    assert bool(program.enforces) == (program.enforcement != "never")
    assert bool(program.switch) == (program.enforcement in ("container", "version"))
    assert program.tell or program.enforcement != "setting"


@pytest.mark.parametrize(
    ("finding_id", "effect", "severity"),
    [
        pytest.param("POL-NAMED-PORT", Effect.NARROWS, Severity.WARNING, id="by its rule"),
        pytest.param("POL-NAMED-PORT", Effect.WIDENS, Severity.BLOCKER, id="what opens something blocks"),
        pytest.param("POL-STAGED", Effect.NONE, Severity.INFO, id="an info by its rule"),
        pytest.param("POL-NO-SUCH-ID", Effect.NONE, Severity.BLOCKER, id="what nobody can judge blocks"),
    ],
)
def test_severity(finding_id: str, effect: Effect, severity: Severity) -> None:
    assert severity_of(Finding(id=finding_id, detail="", effect=effect)) is severity


def test_a_rule_is_found_in_any_case_of_letters() -> None:
    assert find_rule(" pol-named-port ").id == "POL-NAMED-PORT"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        pytest.param("POL-NAMED-PORTS", "POL-NAMED-PORT", id="a slip of the pen"),
        pytest.param("x", "migrate rules", id="nothing like it"),
        pytest.param("", "migrate rules", id="nothing at all"),
    ],
)
def test_an_unknown_id_names_what_is_near(asked: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        find_rule(asked)


def test_rules_lists_every_id_with_its_severity() -> None:
    answer = CliRunner().invoke(app, ["rules"])
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(load_rules())
    assert [line.split()[1] for line in lines] == [load_rules()[line.split()[0]].severity.value for line in lines]


def test_explain_rule_says_why_what_to_do_and_the_sources() -> None:
    answer = CliRunner().invoke(app, ["explain-rule", "POL-HOSTENDPOINT"])
    assert answer.exit_code == 0
    text = " ".join(answer.stdout.split())
    rule = load_rules()["POL-HOSTENDPOINT"]
    for part in (rule.title, rule.why, rule.do, *(source.says for source in rule.sources)):
        assert " ".join(part.split()) in text


def test_explain_rule_as_json_is_the_rule() -> None:
    import msgspec

    answer = CliRunner().invoke(app, ["explain-rule", "POL-HOSTENDPOINT", "-o", "json"])
    assert msgspec.json.decode(answer.stdout, type=Rule) == load_rules()["POL-HOSTENDPOINT"]
