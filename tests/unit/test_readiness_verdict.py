"""The verdict: what is proved bad before what is unknown, and never more than was measured."""

from datetime import date
from pathlib import Path

import pytest

from migrate.model.documents import Fact, KindCount, Result, SnapshotHeader, Translation, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.refs import ObjectRef
from migrate.readiness.documents import Documents
from migrate.readiness.rules import load_rules
from migrate.readiness.verdict import Verdict, judge

TODAY = date(2026, 11, 21)
WEB = ObjectRef("networking.k8s.io/v1", "NetworkPolicy", "shop", "web")
API = ObjectRef("networking.k8s.io/v1", "NetworkPolicy", "shop", "api")

BLOCKER = Finding(id="POL-SCTP", detail="it allows SCTP", subject=WEB)
WARNING = Finding(id="POL-NAMED-PORT", detail="http is 80 and 8080", subject=WEB)
INFO = Finding(id="POL-STAGED", detail="it is staged", subject=WEB)


def header(
    *findings: Finding, facts: tuple[Fact, ...] = (), kinds: tuple[KindCount, ...] = (), complete: bool = True
) -> SnapshotHeader:
    return SnapshotHeader(
        tool_version="0", origin="cluster", name="test", complete=complete, kinds=kinds, facts=facts, findings=findings
    )


def translation(*findings: Finding, complete: bool = True) -> Translation:
    result = TranslationResult(source=WEB, at=None, result=Result.EXACT, findings=findings)
    return Translation(
        tool_version="0", target="cilium-1.20", networkpolicy="rewrite", complete=complete, results=(result,)
    )


def judged(snapshot: SnapshotHeader | None, made: Translation | None) -> Verdict:
    return judge(Documents(Path(), snapshot, (), made), load_rules(), TODAY)


FORBIDDEN = KindCount("v1", "Pod", "forbidden", 0, "403 pods is forbidden")


@pytest.mark.parametrize(
    ("snapshot", "made", "state"),
    [
        pytest.param(header(), translation(), "no_blocker_found", id="nothing was found"),
        pytest.param(header(), translation(INFO), "no_blocker_found", id="an info asks for nothing"),
        pytest.param(header(), translation(WARNING), "decide_first", id="a warning needs a decision"),
        pytest.param(header(), translation(WARNING, BLOCKER), "blocked", id="a blocker goes before warnings"),
        pytest.param(header(BLOCKER), translation(), "blocked", id="a blocker of the scan counts too"),
        pytest.param(header(complete=False), translation(WARNING), "incomplete", id="an incomplete scan"),
        pytest.param(header(kinds=(FORBIDDEN,)), translation(), "incomplete", id="a kind that could not be read"),
        pytest.param(header(), translation(complete=False), "incomplete", id="an incomplete translation"),
        pytest.param(header(), None, "incomplete", id="no translation"),
        pytest.param(None, translation(), "incomplete", id="no snapshot"),
        pytest.param(header(complete=False), translation(BLOCKER), "blocked", id="proved bad goes before incomplete"),
    ],
)
def test_state(snapshot: SnapshotHeader | None, made: Translation | None, state: str) -> None:
    verdict = judged(snapshot, made)
    assert verdict.state == state


ANY_STATE = [
    judged(header(), translation()),
    judged(header(), translation(WARNING)),
    judged(header(), translation(BLOCKER)),
    judged(None, None),
]


@pytest.mark.parametrize("verdict", ANY_STATE, ids=[verdict.state for verdict in ANY_STATE])
def test_no_verdict_claims_more_than_was_measured(verdict: Verdict) -> None:
    assert "ready" not in verdict.sentence.lower()
    assert "safe" not in verdict.sentence.lower()
    for lacking in ("proved", "audited", "inspected"):
        assert lacking in verdict.sentence


@pytest.mark.parametrize("verdict", ANY_STATE, ids=[verdict.state for verdict in ANY_STATE])
def test_what_nobody_looked_at_is_always_listed(verdict: Verdict) -> None:
    listed = " ".join(verdict.not_measured)
    assert "Live traffic" in listed
    assert "Node state" in listed


def test_results_without_a_proof_are_counted() -> None:
    assert any(entry.startswith("Proof: 1 of 1 results") for entry in judged(header(), translation()).not_measured)


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        pytest.param(header(kinds=(FORBIDDEN,)), "v1 Pod: forbidden", id="a kind that could not be read"),
        pytest.param(
            header(facts=(Fact(topic="cni", value="unknown", state="unknown", detail="no CNI was seen"),)),
            "cni: no CNI was seen",
            id="an unknown fact",
        ),
        pytest.param(header(facts=(Fact(topic="cloud", value="aks"),)), "az aks show", id="AKS without Azure's word"),
        pytest.param(None, "migrate scan", id="no snapshot"),
    ],
)
def test_gaps_are_named(snapshot: SnapshotHeader | None, said: str) -> None:
    assert said in " ".join(judged(snapshot, translation()).not_measured)


def test_findings_are_grouped_by_id_with_their_objects() -> None:
    other = Finding(id="POL-NAMED-PORT", detail="db is on no pod", subject=API)
    (group,) = judged(header(), translation(WARNING, other)).warnings
    assert (group.id, group.objects) == ("POL-NAMED-PORT", ("NetworkPolicy shop/api", "NetworkPolicy shop/web"))
    assert group.title == load_rules()["POL-NAMED-PORT"].title


def test_the_same_finding_in_two_documents_counts_once() -> None:
    (group,) = judged(header(WARNING), translation(WARNING)).warnings
    assert group.findings == (WARNING,)


def test_what_widens_is_a_blocker_whatever_its_rule_says() -> None:
    opening = Finding(id="POL-NAMED-PORT", detail="80 is opened on all", subject=API, effect=Effect.WIDENS)
    verdict = judged(header(), translation(WARNING, opening))
    assert [group.findings for group in verdict.blockers] == [(opening,)]
    assert [group.findings for group in verdict.warnings] == [(WARNING,)]


def test_an_id_of_another_version_is_a_blocker_and_named_as_unknown() -> None:
    (group,) = judged(header(), translation(Finding(id="POL-FROM-TOMORROW", detail="?"))).blockers
    assert group.rule is None
    assert "does not know" in group.title


def test_deadlines_of_the_snapshot_are_findings_of_the_verdict() -> None:
    verdict = judged(header(facts=(Fact(topic="engine", value="npm-windows"),)), translation())
    assert [applied.deadline.what for applied in verdict.deadlines] == ["npm-windows"]
    assert [group.id for group in verdict.warnings] == ["CLU-DEADLINE"]


def test_the_sentence_counts_findings_and_kinds() -> None:
    second = Finding(id="POL-INVALID", detail="port 99999", subject=API)
    sentence = judged(header(), translation(BLOCKER, second)).sentence
    assert sentence.startswith("Do not switch over: 2 blockers of 2 kinds")
