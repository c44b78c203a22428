"""`migrate audit verify-cutover` on a working folder: classes, coverage, statuses, and what the report says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from migrate.model.cutover_documents import CutoverCheck
from migrate.readiness.documents import read_folder
from migrate.report.after_cutover import evidence
from tests.command_line import Ended, migrate
from tests.unit.audited_folder import CLUSTER, record_into
from tests.unit.cutover_evidence import (
    CRON,
    DB,
    ENDPOINTS,
    FINE,
    MAPS,
    NETWORK_POLICY,
    POLICY,
    RULE,
    STATUS,
    WEB,
    WORLD,
    cutover_folder,
    endpoint,
    flow,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder of before the cutover, with a recording: web asks db, and cron does."""
    return cutover_folder(tmp_path)


def check(folder: Path, *flows: Mapping[str, object], more: Sequence[str] = ()) -> tuple[Ended, CutoverCheck]:
    """The command over these flows."""
    lines = "".join(json.dumps(one) + "\n" for one in flows)
    (folder / "flows.jsonl").write_text(lines)
    arguments = ("--flows", "flows.jsonl", *more) if flows else more
    ended = migrate(folder, "audit", "verify-cutover", "--dir", ".", "-o", "json", *arguments)
    assert ended.status in (0, 1, 4), ended.stderr
    return ended, msgspec.json.decode(ended.stdout, type=CutoverCheck)


def test_all_as_predicted_is_fine(folder: Path) -> None:
    ended, found = check(folder, flow(WEB, DB), flow(CRON, DB, "DROPPED"), flow(DB, WEB, reply=True))

    assert ended.status == 0, found.incomplete
    assert found.result == "as_predicted"
    assert (found.tally.as_predicted, found.tally.replies) == (2, 1)
    assert {group.audit for group in found.as_predicted} == {"would_drop", "would_allow"}
    assert found.not_confirmed == ()


def test_a_drop_of_what_was_to_pass_comes_first(folder: Path) -> None:
    ended, found = check(folder, flow(WEB, DB, "DROPPED"), flow(CRON, DB, "DROPPED"))

    assert (ended.status, found.result) == (1, "missed")
    (group,) = found.missed
    assert (group.outcome, group.side, group.audit) == ("missed_drop", "ingress", "would_allow")
    assert group.decided_by.object == "CiliumNetworkPolicy shop/db"
    assert "cilium/" in str(group.decided_by.at)
    assert group.evidence == "flows.jsonl:1"
    assert [finding.id for finding in found.findings] == ["CUT-PREDICTION-MISSED"]
    assert [policy.object.kind for policy in found.suggested] == ["CiliumNetworkPolicy"]
    shown = migrate(folder, "audit", "verify-cutover", "--dir", ".", "--flows", "flows.jsonl")
    assert shown.stdout.startswith("MISSED PREDICTIONS")
    assert "said     that it passes" in shown.stdout


def test_what_was_to_be_dropped_and_passes_is_missed_too(folder: Path) -> None:
    ended, found = check(folder, flow(CRON, DB))

    assert (ended.status, found.missed[0].outcome) == (1, "missed_allow")
    assert found.findings[-1].id == "CUT-PREDICTION-WIDER"


def test_letting_out_at_the_source_is_not_arriving(folder: Path) -> None:
    ended, found = check(folder, flow(CRON, DB, direction="EGRESS"), flow(WEB, DB))

    assert ended.status == 0
    assert {group.observed for group in found.as_predicted} == {"left", "allowed"}


def test_traffic_that_no_audit_saw_is_told_apart(folder: Path) -> None:
    ended, found = check(folder, flow(WEB, DB, "DROPPED", port=9000), flow(DB, WEB, port=80))

    assert ended.status == 0
    assert sorted(group.observed for group in found.new_traffic) == ["allowed", "dropped"]
    assert "CUT-NEW-DROP" in {finding.id for finding in found.findings}
    assert [one.port for one in found.not_confirmed] == [5432]


@pytest.mark.parametrize(
    ("one", "says"),
    [
        pytest.param(flow(WEB, DB, "DROPPED", reason="CT_MAP_INSERTION_FAILED"), "no policy decides", id="no policy"),
        pytest.param(flow(WEB, DB, "DROPPED", reason="AUTH_REQUIRED"), "mutual authentication", id="authentication"),
        pytest.param(flow(WEB, DB, "DROPPED", reason="NEW_IN_2030"), "does not know", id="an unknown reason"),
        pytest.param(flow(("new-0", "10.0.0.9"), DB), "not in the snapshot", id="a pod that nothing tells of"),
        pytest.param(
            flow(DB, CRON, "DROPPED", reply=None, port=44444, source_port=80), "", id="free traffic is a missed drop"
        ),
        pytest.param(
            flow(WEB, DB, "DROPPED", reply=None, port=44444, source_port=80), "may answer", id="an old connection"
        ),
        pytest.param(flow(WEB, DB, reply=None, port=44444, source_port=80), "may answer", id="an answer that passed"),
        pytest.param(
            flow(WORLD, DB, reply=None, port=44444, source_port=80, direction="TRAFFIC_DIRECTION_UNKNOWN"),
            "may answer",
            id="an answer from outside, at no side",
        ),
    ],
)
def test_what_cannot_be_judged_says_why(folder: Path, one: dict[str, object], says: str) -> None:
    _, found = check(folder, one)

    if says:
        assert [says in group.reason for group in found.not_judged] == [True], found
        assert found.missed == ()
    else:
        assert [group.outcome for group in found.missed] == ["missed_drop"]


def test_a_pod_that_is_newer_is_judged_by_the_labels_that_hubble_tells(folder: Path) -> None:
    newer = ("new-0", "10.0.0.9")
    _, found = check(folder, flow(newer, DB, labels=("k8s:app=web",)), flow(newer, DB, "DROPPED", port=81))

    assert found.not_judged == ()
    assert found.missed == ()


def test_without_the_recording_what_was_written_down_of_the_audit_is_asked(folder: Path) -> None:
    assert migrate(folder, "audit", "replay", "--dir", ".").status == 1
    (folder / "audit.db").unlink()
    _, found = check(folder, *FINE)

    assert {group.audit for group in found.as_predicted} == {"would_drop", ""}
    assert found.new_traffic == ()
    _, found = check(folder, flow(WEB, DB))
    assert [one.port for one in found.not_confirmed] == [5432]


def test_a_check_of_other_policies_makes_the_report_incomplete(folder: Path) -> None:
    check(folder, *FINE)
    (read,) = (one for one in read_folder(folder).inputs if one.kind == "CutoverCheck")
    assert read.complete
    (folder / "cilium/shop/more.yaml").write_text((folder / "cilium/shop/cluster.yaml").read_text())
    (read,) = (one for one in read_folder(folder).inputs if one.kind == "CutoverCheck")
    assert not read.complete


def test_the_report_shows_what_was_missed(folder: Path) -> None:
    check(folder, flow(WEB, DB, "DROPPED"))
    assert migrate(folder, "report", "--dir", ".", "--output-file", "page.html").status in (0, 4)
    page = (folder / "page.html").read_text()

    assert 'id="cutover"' in page
    assert "POLICY_DENIED" in page
    assert "CUT-PREDICTION-MISSED" in page


def test_losses_and_quiet_nodes_make_it_incomplete(folder: Path) -> None:
    lost = {"lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": "7"}, "node_name": "node-1"}
    ended, found = check(folder, flow(WEB, DB), lost)

    assert (ended.status, found.complete, found.result) == (4, False, "as_predicted")
    assert any("lost" in text and text.endswith("7") for text in found.incomplete)
    assert "CUT-COVERAGE" in {finding.id for finding in found.findings}
    other = flow(WEB, DB)
    other["flow"] |= {"node_name": "cluster/node-9"}  # type: ignore[operator]
    ended, found = check(folder, other)
    assert ended.status == 4
    assert found.incomplete == ("nothing was seen of node-1",)


def test_a_missed_prediction_goes_before_incomplete(folder: Path) -> None:
    ended, found = check(folder, flow(WEB, DB, "DROPPED"), {"lost_events": {"num_events_lost": 1}})

    assert (ended.status, found.complete) == (1, False)


def test_nothing_seen_is_never_fine(folder: Path) -> None:
    ended, found = check(folder, flow(DB, WEB, reply=True))

    assert (ended.status, found.result) == (4, "nothing_seen")


def test_a_drop_that_no_policy_made_shows_nothing(folder: Path) -> None:
    ended, found = check(folder, flow(WEB, DB, "DROPPED", reason="CT_MAP_INSERTION_FAILED"))

    assert (ended.status, found.result, found.complete) == (4, "nothing_seen", False)
    assert found.tally.not_judged == 1
    assert evidence(found).state == "partial"


@pytest.mark.parametrize(
    ("endpoints", "result"),
    [pytest.param(ENDPOINTS, "as_predicted", id="policed as asked"), pytest.param([], "nothing_seen", id="none")],
)
def test_agents_alone_do_not_show_what_passes(folder: Path, endpoints: list[object], result: str) -> None:
    maps = MAPS if endpoints else []
    ended, found = check(folder, more=agent(folder, endpoints=endpoints, policy=POLICY, maps=maps, status=STATUS))

    assert (ended.status, found.result) == (4, result)
    assert "nothing was seen of node-1" in found.incomplete
    assert "no flow was seen, so nothing shows what passes and what is dropped" in found.incomplete
    assert evidence(found).state == "partial"


def test_a_recording_from_after_the_cutover(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "later"
    place.mkdir()
    (place / "snapshot.jsonl.gz").write_bytes((folder / "snapshot.jsonl.gz").read_bytes())
    later = record_into(place)
    ended, found = check(folder, more=("--recording", str(later)))

    assert ended.status == 1
    assert {(group.outcome, group.observed) for group in found.missed} == {("missed_allow", "allowed")}
    assert found.sources[0].kind == "probe"


def test_monitor_lines_are_read_as_well(folder: Path) -> None:
    line = (
        "Policy verdict log: flow 0x1 local EP ID 7, remote ID 9, proto 6, ingress, action deny, auth: disabled, "
        "match none, 10.0.0.1:40000 -> 10.0.0.2:5432 tcp SYN\n"
    )
    (folder / "monitor.txt").write_text(line)
    ended, found = check(folder, more=("--flows", "monitor.txt"))

    assert ended.status == 1
    assert found.missed[0].outcome == "missed_drop"
    assert found.sources[0].kind == "monitor"


def agent(folder: Path, **answers: object) -> tuple[str, ...]:
    """What the agent of node-1 says, as an option."""
    place = folder / "agents" / "node-1"
    place.mkdir(parents=True, exist_ok=True)
    for question, answer in answers.items():
        (place / f"{question}.json").write_text(json.dumps(answer))
    return ("--agents", "agents")


def test_endpoints_that_are_enforced_as_asked_are_fine(folder: Path) -> None:
    more = agent(folder, endpoints=ENDPOINTS, policy=POLICY, maps=MAPS, status=STATUS)
    ended, found = check(folder, flow(WEB, DB), more=more)

    assert ended.status == 0, (found.findings, found.incomplete)
    assert found.endpoints is not None
    assert (found.endpoints.pods, found.endpoints.as_predicted) == (3, 3)


@pytest.mark.parametrize(
    ("answers", "identity"),
    [
        pytest.param({"endpoints": [endpoint(2, "db-0", "none")]}, "CUT-NOT-ENFORCED", id="not policed"),
        pytest.param({"endpoints": [endpoint(2, "db-0", "both")]}, "CUT-NOT-ENFORCED", id="policed beyond that"),
        pytest.param({"endpoints": [endpoint(2, "db-0", "audit-ingress")]}, "CUT-AUDIT-MODE", id="audit mode"),
        pytest.param(
            {"endpoints": [endpoint(2, "db-0", "ingress", "not-ready")]}, "CUT-ENDPOINT-NOT-READY", id="not ready"
        ),
        pytest.param(
            {"endpoints": [endpoint(2, "db-0", "ingress", revision=3)]}, "CUT-ENDPOINT-NOT-READY", id="an old revision"
        ),
        pytest.param({"maps": [{"EndpointID": "2", "Content": []}]}, "CUT-MAP-PRESSURE", id="an empty map"),
        pytest.param(
            {"maps": [{"EndpointID": "2", "Content": [{}] * 14_000}]},
            "CUT-MAP-PRESSURE",
            id="a map that is nearly full",
        ),
        pytest.param({"policy": {"policy": "[]", "revision": 4}}, "CUT-POLICY-NOT-IMPORTED", id="not imported"),
        pytest.param(
            {
                "policy": {
                    "policy": json.dumps(
                        [
                            *RULE,
                            {"labels": [*RULE[0]["labels"][1:], {"key": "io.cilium.k8s.policy.name", "value": "x"}]},
                        ]
                    ),
                    "revision": 4,
                }
            },
            "CUT-POLICY-DIFFERS",
            id="one beside them",
        ),
    ],
)
def test_policies_that_are_not_in_force_are_found(folder: Path, answers: dict[str, object], identity: str) -> None:
    whole = {"endpoints": ENDPOINTS, "policy": POLICY, "maps": MAPS, "status": STATUS} | answers
    ended, found = check(folder, *FINE, more=agent(folder, **whole))

    assert {finding.id for finding in found.findings} == {identity}
    assert ended.status == (0 if identity == "CUT-ENDPOINT-NOT-READY" else 1)
    assert [one.id for one in read_folder(folder).cutover.findings] == [identity]  # type: ignore[union-attr]


def test_answers_that_cannot_be_read_are_named(folder: Path) -> None:
    more = agent(folder, endpoints={"broken": True}, policy=POLICY, status=STATUS)
    ended, found = check(folder, flow(WEB, DB), more=more)

    assert ended.status == 4
    assert "maps.json is not there" in found.nodes[0].failure
    assert "endpoints cannot be read" in found.nodes[0].failure


def test_a_cluster_with_other_policies_than_translated(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "now.yaml").write_text(CLUSTER + NETWORK_POLICY)
    assert migrate(tmp_path, "scan", "-f", "now.yaml", "--output-dir", "now", "--quiet").status == 0
    after = tmp_path / "now/snapshot.jsonl.gz"
    ended, found = check(folder, *FINE, more=("--after", str(after)))

    assert ended.status == 1
    told = {(str(one.subject), one.detail.partition(",")[0]) for one in found.findings}
    assert told == {
        ("CiliumNetworkPolicy shop/db", "it was translated"),
        ("NetworkPolicy shop/db", "it is in the cluster"),
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param((), "nothing to compare with", id="nothing is named"),
        pytest.param(("--flows", "missing.jsonl"), "missing.jsonl", id="no such file"),
        pytest.param(("--agents", "missing"), "no folder", id="no agents"),
        pytest.param(("--duration", "1m", "--flows", "x"), "--context", id="a duration without a cluster"),
    ],
)
def test_bad_input_says_what_to_do(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    ended = migrate(folder, "audit", "verify-cutover", "--dir", ".", *arguments)

    assert ended.status == 2
    assert says in ended.stderr


def test_hostile_text_does_not_reach_the_terminal(folder: Path) -> None:
    evil = flow(("a\u001b[31mb", "10.0.0.9"), DB, "DROPPED", reason="X\u001b]0;x\u0007")
    check(folder, evil)
    shown = migrate(folder, "audit", "verify-cutover", "--dir", ".", "--flows", "flows.jsonl")

    assert "\u001b" not in shown.stdout
