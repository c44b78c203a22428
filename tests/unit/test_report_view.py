"""What the report says, before it looks like anything."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from msgspec import structs

from migrate.errors import InputError
from migrate.model.documents import EmittedObject, KindCount, Result
from migrate.model.finding import Effect
from migrate.model.raw import Json, RawObject
from migrate.readiness.rules import load_rules
from migrate.report.document import Report
from migrate.report.made import MadeReport, make_report
from migrate.report.svg import results_bar, timeline
from tests.report import sample
from tests.report.large import large_folder
from tests.report.sample import Folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def made(folder: Folder, place: Path, now: datetime = NOW) -> MadeReport:
    return make_report(folder.write(place / "migration"), load_rules(), now)


def report(folder: Folder, place: Path, now: datetime = NOW) -> Report:
    return made(folder, place, now).report


@pytest.fixture
def realistic(tmp_path: Path) -> Report:
    return report(sample.REALISTIC, tmp_path)


def test_policies_that_need_attention_come_first(realistic: Report) -> None:
    assert [(row.source.name, row.standing) for row in realistic.policies] == [
        ("allow-dns", "unsupported"),
        ("web-in", "changed"),
        ("to-database", "exact_here"),
        ("allow-client", "exact"),
        ("default-deny", "kept"),
    ]


def test_namespaces_count_results_findings_and_selected_pods(realistic: Report) -> None:
    rows = {row.name: row for row in realistic.namespaces}
    assert list(rows) == [None, "demo", "kube-system", "shop"]
    shop = rows["shop"]
    assert (shop.policies, shop.standings["changed"], shop.standings["exact_here"]) == (2, 1, 1)
    assert (shop.findings.blocker, shop.findings.warning) == (0, 3)
    assert {name: (row.pods, row.pods_selected) for name, row in rows.items()} == {
        None: (None, None),
        "demo": (2, 2),
        "kube-system": (1, 0),
        "shop": (3, 2),
    }


def test_deadlines_of_what_is_in_use_are_named_with_their_source(realistic: Report) -> None:
    assert [(item.what, item.date, item.days) for item in realistic.deadlines] == [
        ("kubenet", "2028-03-31", 496),
        ("npm-linux", "2028-09-30", 679),
    ]
    assert all(item.source and date.fromisoformat(item.source_date) for item in realistic.deadlines)


def test_deadline_in_the_past_is_past(tmp_path: Path) -> None:
    late = report(sample.REALISTIC, tmp_path, datetime(2028, 10, 1, tzinfo=UTC))
    assert [item.days for item in late.deadlines] == [-184, -1]


def test_a_finding_that_opens_something_is_a_blocker_whatever_its_rule_says(tmp_path: Path) -> None:
    wide = sample.finding(sample.NAMED, "POL-NAMED-PORT", "allows more", Effect.WIDENS)
    translation = structs.replace(sample.TRANSLATION, results=(sample.result(sample.NAMED, Result.CHANGED, wide),))
    found = report(Folder(sample.HEADER, sample.POLICIES, translation, {}), tmp_path)
    (group,) = (group for group in found.findings if group.id == "POL-NAMED-PORT")
    assert load_rules()["POL-NAMED-PORT"].severity.value == "warning"
    assert group.severity == "blocker"
    assert found.policies[0].worst == "blocker"


def test_a_finding_of_another_version_is_a_blocker_and_says_so(tmp_path: Path) -> None:
    strange = sample.finding(None, "POL-FROM-THE-FUTURE", "nobody knows")
    translation = structs.replace(sample.TRANSLATION, findings=(strange,))
    found = report(Folder(sample.HEADER, sample.POLICIES, translation, {}), tmp_path)
    (group,) = (group for group in found.findings if group.id == "POL-FROM-THE-FUTURE")
    assert (group.severity, group.known) == ("blocker", False)


def test_without_a_translation_every_policy_is_not_translated(tmp_path: Path) -> None:
    found = report(sample.without(sample.REALISTIC, translation=True), tmp_path)
    assert {row.standing for row in found.policies} == {"not_translated"}
    assert len(found.policies) == len(sample.POLICIES)
    assert found.target is None
    assert found.engines == ("npm-linux",)
    assert any("migrate translate" in gap for gap in found.unmeasured)


def test_a_policy_that_the_translation_does_not_speak_of_shows_up(tmp_path: Path) -> None:
    fewer = structs.replace(sample.TRANSLATION, results=sample.RESULTS[:-1])
    found = report(Folder(sample.HEADER, sample.POLICIES, fewer, {}), tmp_path)
    standings = {row.source.name: row.standing for row in found.policies}
    assert standings["allow-dns"] == "not_translated"


def test_without_a_snapshot_pods_are_unknown_and_not_none(tmp_path: Path) -> None:
    found = report(sample.without(sample.REALISTIC, snapshot=True), tmp_path)
    assert (found.summary.pods, found.summary.pods_selected) == (None, None)
    assert {row.in_snapshot for row in found.policies} == {None}
    assert found.cluster is None


def test_host_network_pods_are_never_selected(tmp_path: Path) -> None:
    pod = sample.pod("demo", "agent", "server", "10.1.0.4")
    spec = pod.data["spec"]
    assert isinstance(spec, dict)
    on_the_node = RawObject({**pod.data, "spec": {**spec, "hostNetwork": True}})
    found = report(Folder(sample.HEADER, (on_the_node, sample.SERVER), None, {}), tmp_path)
    assert (found.summary.pods, found.summary.pods_selected) == (1, 0)


def test_incomplete_documents_make_an_incomplete_report(tmp_path: Path) -> None:
    kinds = (*sample.HEADER.kinds, KindCount("v1", "Service", "forbidden", detail="services is forbidden"))
    header = structs.replace(sample.HEADER, complete=False, kinds=kinds)
    found = report(Folder(header, sample.POLICIES, sample.TRANSLATION, sample.FILES), tmp_path)
    assert not found.complete
    assert any("Service: forbidden" in gap for gap in found.unmeasured)


def test_inputs_are_named_with_their_hash(realistic: Report) -> None:
    assert [(item.file, item.complete, len(item.sha256)) for item in realistic.inputs] == [
        ("snapshot.jsonl.gz", True, 64),
        ("translation.json", True, 64),
    ]


PROMISE = re.compile(r"\b(ready|safe|safely|secure|no risk|risk-free)\b", re.IGNORECASE)


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(sample.REALISTIC, id="blockers"),
        pytest.param(sample.without(sample.REALISTIC, translation=True), id="only a snapshot"),
        pytest.param(sample.without(sample.REALISTIC, snapshot=True), id="only a translation"),
        pytest.param(
            Folder(structs.replace(sample.HEADER, facts=()), (), structs.replace(sample.TRANSLATION, results=()), {}),
            id="nothing to complain about",
        ),
    ],
)
def test_page_never_promises_what_nobody_measured(folder: Folder, tmp_path: Path) -> None:
    page = made(folder, tmp_path).html().decode()
    ours = re.sub(r"<(style|script|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    without_ids = re.sub(r"\b[A-Z]+(-[A-Z0-9]+)+\b", "", re.sub(r"<[^>]+>", " ", ours))
    assert not PROMISE.search(without_ids)
    assert "Live traffic" in ours


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (made(sample.REALISTIC, tmp_path / name) for name in "ab")
    assert first.html() == second.html()
    assert first.json() == second.json()


def test_page_without_data_stays_within_its_budget(tmp_path: Path) -> None:
    header = structs.replace(sample.HEADER, facts=(), kinds=(), findings=())
    assert len(made(Folder(header, (), None, {}), tmp_path).html()) <= 60_000


def test_five_thousand_policies_stay_a_few_megabytes(tmp_path: Path) -> None:
    page = made(sample.many(policies=5000, namespaces=400), tmp_path).html()
    assert len(page) <= 4_000_000
    assert page.count(b'<details class="item card" id="policy-') == 200


def test_five_thousand_flows_stay_within_their_budget(tmp_path: Path) -> None:
    page = make_report(large_folder(tmp_path / "migration", 5_000), load_rules(), NOW).html()
    assert len(page) <= 300_000


def test_result_outside_the_folder_is_refused(tmp_path: Path) -> None:
    outside = EmittedObject(
        api_version=sample.CILIUM, kind="CiliumNetworkPolicy", namespace="demo", name="x", file="../../secret.yaml"
    )
    result = structs.replace(sample.RESULTS[1], objects=(outside,))
    translation = structs.replace(sample.TRANSLATION, results=(result,))
    with pytest.raises(InputError, match=r"translation\.json: names '../../secret\.yaml', which lies outside"):
        made(Folder(sample.HEADER, sample.POLICIES, translation, {}), tmp_path).html()


def test_missing_result_file_is_said_in_its_place(tmp_path: Path) -> None:
    page = made(Folder(sample.HEADER, sample.POLICIES, sample.TRANSLATION, {}), tmp_path).html()
    assert page.count(b"The file is not in the working folder.") == 3


def test_bookkeeping_of_the_api_server_is_not_shown(tmp_path: Path) -> None:
    metadata: dict[str, Json] = {
        "namespace": "demo",
        "name": "allow-client",
        "uid": "1f0e",
        "managedFields": [{"manager": "kubectl"}],
    }
    noisy = RawObject({**sample.SERVER.data, "metadata": metadata, "status": {"conditions": []}})
    page = made(Folder(sample.HEADER, (noisy,), None, {}), tmp_path).html()
    for word in (b"1f0e", b"managedFields", b"conditions:"):
        assert word not in page


def test_picture_holds_hostile_titles_as_text(realistic: Report) -> None:
    hostile = structs.replace(realistic.deadlines[0], title="</title><script>x</script>")
    assert "<script>" not in timeline((hostile,), date(2026, 11, 21))


def test_bar_shows_only_what_is_there_and_fills_its_width() -> None:
    bar = results_bar({"unsupported": 1, "changed": 0, "exact": 999})
    assert bar.count("<rect") == 2
    *_, last = re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', bar)
    assert sum(map(float, last)) == pytest.approx(960, abs=0.2)


def test_no_policies_give_no_bar() -> None:
    assert results_bar({"exact": 0}) == ""
