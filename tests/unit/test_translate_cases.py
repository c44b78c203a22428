"""Each case of tests/cases/translate: its results, findings and objects, and its flows under the real engines."""

import msgspec
import pytest

from tests.policy_engines import EngineAnswer, PolicyEngine
from tests.reference import kubernetes, npm
from tests.reference.cases import Case
from tests.unit import translate_cases
from tests.unit.translate_cases import ExpectedFinding, case_names, expectation

ROWS = [
    pytest.param(name, target, id=f"{name} to {target}")
    for name in case_names()
    for target in expectation(name).targets
]
WITH_COMPAT = [name for name in case_names() if expectation(name).compat and expectation(name).verdicts(after=True)]
WITH_FLOWS = [name for name in case_names() if expectation(name).verdicts(after=True)]


@pytest.mark.parametrize(("name", "target"), ROWS)
def test_results(name: str, target: str) -> None:
    expected = expectation(name)
    given = expected.per_target.get(target)
    results = given.results if given is not None and given.results is not None else expected.results
    found = translate_cases.translated(name, target).translation.results
    assert {str(result.source): result.result.value for result in found} == results


@pytest.mark.parametrize(("name", "target"), ROWS)
def test_findings(name: str, target: str) -> None:
    expected = expectation(name)
    given = expected.per_target.get(target)
    findings = given.findings if given is not None and given.findings is not None else expected.findings
    found = {
        ExpectedFinding(f.id, str(f.subject), f.effect.value, f.effect_on_intent.value)
        for f in translate_cases.findings_of(translate_cases.translated(name, target))
        if f.subject is not None
    }
    assert sorted(found) == sorted(findings)


@pytest.mark.parametrize(("name", "target"), ROWS)
def test_emitted_objects(name: str, target: str) -> None:
    expected = expectation(name)
    given = expected.per_target.get(target)
    emitted = given.emitted if given is not None and given.emitted is not None else expected.emitted
    files = translate_cases.translated(name, target).files
    assert [file.path for file in files if not translate_cases.is_compat(file)] == list(emitted)
    assert [file.path for file in files if translate_cases.is_compat(file)] == list(expected.compat)


@pytest.mark.parametrize(("name", "target"), ROWS)
def test_every_written_file_belongs_to_a_result(name: str, target: str) -> None:
    outcome = translate_cases.translated(name, target)
    claimed = {item.file for result in outcome.translation.results for item in result.objects}
    assert claimed <= {file.path for file in outcome.files}


def _verdicts(name: str, answer: EngineAnswer) -> dict[str, str]:
    assert [flow.get("error") for flow in answer["flows"] if flow.get("error")] == []
    names = expectation(name).verdicts(after=True)
    return {flow: given["verdict"] for flow, given in zip(names, answer["flows"], strict=True)}


@pytest.mark.engine
@pytest.mark.parametrize("name", WITH_FLOWS)
def test_cilium_118_does_what_the_case_says(name: str, cilium_engine_118: PolicyEngine) -> None:
    _check_after(name, "cilium-1.18", cilium_engine_118)


@pytest.mark.engine
@pytest.mark.parametrize("name", WITH_FLOWS)
def test_cilium_120_does_what_the_case_says(name: str, cilium_engine_120: PolicyEngine) -> None:
    _check_after(name, "cilium-1.20", cilium_engine_120)


def _check_after(name: str, target: str, engine: PolicyEngine) -> None:
    if target not in expectation(name).targets:
        return
    answer = engine(translate_cases.after(name, target))
    assert [policy for policy in answer["policies"] or () if not policy["ok"]] == []
    assert _verdicts(name, answer) == expectation(name).verdicts(after=True)


@pytest.mark.engine
@pytest.mark.parametrize("name", WITH_COMPAT)
def test_compat_lets_through_what_the_case_says(
    name: str, cilium_engine_118: PolicyEngine, cilium_engine_120: PolicyEngine
) -> None:
    engines = {"cilium-1.18": cilium_engine_118, "cilium-1.20": cilium_engine_120}
    for target in expectation(name).targets:
        answer = engines[target](translate_cases.after(name, target, compat=True))
        assert [policy for policy in answer["policies"] or () if not policy["ok"]] == []
        kept = dict.fromkeys(expectation(name).with_compat, "allow")
        assert _verdicts(name, answer) == expectation(name).verdicts(after=True) | kept


@pytest.mark.parametrize("name", WITH_COMPAT)
def test_npm_lets_through_today_what_compat_keeps(name: str) -> None:
    case = msgspec.convert(translate_cases.before(name), Case)
    found = dict(zip(expectation(name).verdicts(after=True), npm.evaluate(case), strict=True))
    assert {flow for flow in expectation(name).with_compat if found[flow].verdict == "deny"} == set()


@pytest.mark.engine
@pytest.mark.parametrize("name", [name for name in WITH_FLOWS if "calico" in expectation(name).engines])
def test_calico_does_what_the_case_says_of_today(name: str, calico_engine: PolicyEngine) -> None:
    answer = calico_engine(translate_cases.before(name))
    assert [policy for policy in answer["policies"] or () if not policy["ok"]] == []
    assert _verdicts(name, answer) == expectation(name).verdicts(after=False)


@pytest.mark.parametrize("name", [name for name in WITH_FLOWS if "calico" not in expectation(name).engines])
def test_the_text_of_the_policies_means_what_the_case_says(name: str) -> None:
    case = msgspec.convert(translate_cases.before(name), Case)
    found = kubernetes.evaluate(case, block_covers_cluster=True)
    verdicts = {
        flow: answer.verdict for flow, answer in zip(expectation(name).verdicts(after=True), found, strict=True)
    }
    assert verdicts == expectation(name).verdicts(after=False)
