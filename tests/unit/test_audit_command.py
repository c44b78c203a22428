"""`migrate audit` without a kernel: recordings that a store wrote, judged, exported, helped; and bad input."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
import yaml

from migrate.audit.node import cluster_digest
from migrate.audit.recording import FileLock
from migrate.audit.suggested import AuditSuggestions
from migrate.audited import Place
from migrate.model.audit_documents import Audit, AuditDifference
from migrate.model.cluster import Cluster, Service
from migrate.recorded import AuditRequest, prepare_audit
from tests.command_line import Ended, migrate
from tests.unit.audited_folder import CLUSTER, DAY, NODE, POLICY, record_into


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a snapshot and policies/, without a recording."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/db.yaml").write_text(POLICY)
    ended = migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet")
    assert ended.status == 0, ended.stderr
    return tmp_path


def audit(folder: Path, *arguments: str, judged: bool = True) -> Ended:
    """A subcommand over the folder."""
    policies = ("--policies", "policies") if judged else ()
    return migrate(folder, "audit", *arguments, "--dir", ".", *policies)


def test_replay_says_what_would_be_dropped_and_by_whom(folder: Path) -> None:
    record_into(folder)
    ended = audit(folder, "replay")
    assert ended.status == 1
    assert "WOULD DROP: 1 kind of traffic" in ended.stdout
    assert "shop/cron-0 → shop/db-0 TCP/5432: 2 connections at ingress" in ended.stdout
    assert "of 8 new flows 8 exact, 0 coarse, 0 lost" in " ".join(ended.stdout.split())


def test_replay_as_json_is_an_audit_document(folder: Path) -> None:
    record_into(folder)
    done = msgspec.json.decode(audit(folder, "replay", "-o", "json").stdout, type=Audit)
    assert done.complete
    assert [group.events for group in done.would_drop] == [2]


def test_nothing_dropped_and_all_watched_is_status_0(folder: Path) -> None:
    record_into(folder, dropping=False)
    ended = audit(folder, "replay")
    assert ended.status == 0, ended.stdout
    assert "nothing that was seen would be dropped" in ended.stdout


def test_what_was_not_watched_is_status_4(folder: Path) -> None:
    path = record_into(folder, dropping=False)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO gap SELECT id, since, until, 'away' FROM veth WHERE name = 'veth7'")
        connection.commit()
    ended = audit(folder, "replay")
    assert ended.status == 4
    assert "incomplete" in ended.stdout


def test_another_revision_of_the_policies_is_compared(folder: Path) -> None:
    record_into(folder)
    (folder / "revised").mkdir()
    (folder / "revised/db.yaml").write_text(POLICY.replace("{app: web}", "{app: cron}"))
    ended = migrate(
        folder, "audit", "replay", "--dir", ".", "--before", "policies", "--policies", "revised", "-o", "json"
    )
    found = msgspec.json.decode(ended.stdout, type=AuditDifference)
    assert ended.status == 1
    assert [str(group.source) for group in found.newly_dropped] == ["shop/web-0"]
    assert [str(group.source) for group in found.no_longer_dropped] == ["shop/cron-0"]


def test_the_same_revision_differs_in_nothing(folder: Path) -> None:
    record_into(folder)
    ended = audit(folder, "replay", "--before", "policies")
    assert ended.status == 0
    assert "newly dropped: 0 kinds of traffic, no longer dropped: 0" in ended.stdout


def test_suggestions_let_through_what_was_dropped_and_are_judged_with_the_policies(folder: Path) -> None:
    record_into(folder)
    ended = audit(folder, "suggest", "--output-dir", "more")
    assert ended.status == 0, ended.stderr
    made = yaml.safe_load((folder / "more/shop/audited-db-0.yaml").read_text())
    assert made["spec"]["endpointSelector"] == {"matchLabels": {"app": "db"}}
    assert made["spec"]["ingress"][0]["toPorts"] == [{"ports": [{"port": "5432", "protocol": "TCP"}]}]
    assert [document for document in yaml.safe_load_all(ended.stdout) if document] == [made]
    assert "2 are dropped without them, 0 with them" in ended.stdout
    (folder / "policies/more.yaml").write_text((folder / "more/shop/audited-db-0.yaml").read_text())
    assert audit(folder, "replay").status == 0


def test_suggestions_say_what_else_they_open(folder: Path) -> None:
    record_into(folder)
    done = msgspec.json.decode(audit(folder, "suggest", "-o", "json").stdout, type=AuditSuggestions)
    (opened,) = done.opens
    assert (opened.change, opened.counterexample.source, opened.pod_pairs) == ("newly_allowed", "pod shop/cron-0", 1)
    assert [(flow.flow, flow.events) for flow in done.suggested[0].flows] == [
        ("shop Pod/cron-0 → shop Pod/db-0 TCP/5432 (ingress)", 2)
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--namespace", "billing"), id="another namespace"),
        pytest.param(("--accept", "TCP/80"), id="another port"),
    ],
)
def test_what_is_not_accepted_gets_no_policy_and_stays_dropped(folder: Path, arguments: tuple[str, ...]) -> None:
    record_into(folder)
    ended = audit(folder, "suggest", *arguments)
    assert ended.status == 1
    assert "0 policies" in ended.stdout


def exported(folder: Path, *arguments: str) -> Iterator[dict[str, object]]:
    ended = audit(folder, "export", *arguments)
    assert ended.status == 0, ended.stderr
    return (json.loads(line) for line in ended.stdout.splitlines())


def test_exported_records_have_their_verdict(folder: Path) -> None:
    record_into(folder)
    found = {(row["direction"], row["source"]["name"]): row for row in exported(folder)}  # type: ignore[index]
    assert found.keys() == {("egress", "web-0"), ("ingress", "web-0"), ("egress", "cron-0")}
    dropped = found["egress", "cron-0"]
    assert (dropped["verdict"], dropped["side"], dropped["events"], dropped["port"]) == (
        "would_drop",
        "ingress",
        2,
        5432,
    )
    assert dropped["destination"]["labels"] == ["app=db"]  # type: ignore[index]
    assert found["egress", "web-0"]["verdict"] == "would_allow"


def test_exported_flows_are_what_hubble_prints(folder: Path) -> None:
    """The fields of observer.GetFlowsResponse and flow.Flow, as protobuf's JSON has them."""
    record_into(folder)
    audited = [row for row in exported(folder, "--format", "hubble") if row["flow"]["verdict"] == "AUDIT"]  # type: ignore[index]
    assert audited == [
        {
            "flow": {
                "time": "2023-11-15T00:13:20.000000000Z",
                "verdict": "AUDIT",
                "IP": {"source": "10.0.0.3", "destination": "10.0.0.2", "ipVersion": "IPv4"},
                "source": {
                    "namespace": "shop",
                    "labels": ["k8s:app=cron", "k8s:io.kubernetes.pod.namespace=shop"],
                    "pod_name": "cron-0",
                },
                "destination": {
                    "namespace": "shop",
                    "labels": ["k8s:app=db", "k8s:io.kubernetes.pod.namespace=shop"],
                    "pod_name": "db-0",
                },
                "Type": "L3_L4",
                "node_name": NODE,
                "event_type": {"type": 5},
                "traffic_direction": "EGRESS",
                "is_reply": False,
                "Summary": "TCP Flags: SYN",
                "l4": {"TCP": {"source_port": 40000, "destination_port": 5432, "flags": {"SYN": True}}},
                "drop_reason_desc": "POLICY_DENIED",
            },
            "node_name": NODE,
            "time": "2023-11-15T00:13:20.000000000Z",
        }
    ]


def test_exported_parquet_has_the_rows_of_json(folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    record_into(folder)
    assert audit(folder, "export", "--format", "parquet", "--output-file", "flows.parquet").status == 0
    query = f"SELECT source.name, port, verdict, events, first FROM '{folder}/flows.parquet' ORDER BY ALL"
    rows = duckdb.sql(query).fetchall()
    assert [row[:4] for row in rows] == sorted(
        (row["source"]["name"], row["port"], row["verdict"], row["events"])  # type: ignore[index]
        for row in exported(folder)
    )


def test_parquet_without_duckdb_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_into(folder)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    ended = audit(folder, "export", "--format", "parquet", "--output-file", "flows.parquet")
    assert ended.status == 2
    assert "needs DuckDB" in ended.stderr
    assert not (folder / "flows.parquet").exists()


def test_parquet_has_to_go_into_a_file(folder: Path) -> None:
    record_into(folder)
    ended = audit(folder, "export", "--format", "parquet")
    assert (ended.status, "--output-file" in ended.stderr) == (2, True)


def test_status_of_a_recording_that_nobody_writes(folder: Path) -> None:
    record_into(folder, seconds=DAY)
    ended = audit(folder, "status", judged=False)
    assert ended.status == 0
    assert "not running, 23h left; migrate audit goes on with it" in ended.stdout
    assert "new flows   8: 8 exact, 0 coarse, 0 lost" in ended.stdout


def test_status_of_a_finished_recording(folder: Path) -> None:
    record_into(folder)
    assert "audit.db: finished" in audit(folder, "status", judged=False).stdout


def test_status_of_a_running_recording_names_the_process(folder: Path) -> None:
    path = record_into(folder)
    lock = FileLock(path)
    try:
        ended = audit(folder, "status", "-o", "json", judged=False)
    finally:
        lock.release()
    assert isinstance(json.loads(ended.stdout)["running"], int)


def test_losses_and_gaps_are_in_the_status(folder: Path) -> None:
    path = record_into(folder)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO loss VALUES (1, ?, 'store-coarse', 5, 'x')", (time.time_ns(),))
        connection.commit()
    found = json.loads(audit(folder, "status", "-o", "json", judged=False).stdout)
    assert found["losses"] == {"store-coarse": 5}


def test_stop_without_an_audit_that_runs(folder: Path) -> None:
    record_into(folder)
    ended = audit(folder, "stop", judged=False)
    assert ended.status == 2
    assert "no audit is running" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--duration", "24"), "write 24h for hours", id="a duration without a unit"),
        pytest.param(("--duration", "0"), "such as 24h", id="no duration at all"),
        pytest.param(("--duration", "-1h"), "such as 24h", id="a negative duration"),
        pytest.param(("--max-size", "big"), "such as 500MiB", id="a size that is none"),
        pytest.param(("--max-size", "10"), "at least 1 MiB", id="a size that is too small"),
        pytest.param(("--node", "node-2"), "not in the snapshot; there is node-1", id="a node of another cluster"),
        pytest.param((), "none of the 1 nodes of the snapshot", id="a machine that the snapshot does not know"),
        pytest.param(("--policies", "nowhere"), "run migrate translate first", id="policies that are not there"),
        pytest.param(("--snapshot", "nowhere"), "make a new one with migrate scan", id="a snapshot that is not there"),
    ],
)
def test_bad_input_is_refused_before_the_kernel_is_touched(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    ended = migrate(folder, "audit", "--dir", ".", "--policies", "policies", *arguments)
    assert ended.status == 2
    assert message in ended.stderr
    assert not (folder / "audit.db").exists()


def test_a_finished_recording_is_not_gone_on_with(folder: Path) -> None:
    record_into(folder)
    ended = audit(folder, "--node", NODE)
    assert ended.status == 2
    assert "this audit is finished" in ended.stderr


def test_a_recording_that_is_longer_than_wanted(folder: Path) -> None:
    record_into(folder, seconds=DAY)
    ended = audit(folder, "--node", NODE, "--duration", "30m")
    assert ended.status == 2
    assert "longer --duration" in ended.stderr


def test_until_cron_is_as_long_as_the_longest_wait_for_a_cronjob(folder: Path) -> None:
    place = Place(folder, policies=folder / "policies")
    prepared = prepare_audit(AuditRequest(place, until_cron=True, node=NODE))
    assert prepared.plan.seconds == 7 * DAY + 600
    assert "CronJob shop/invoices (0 4 * * 0) waits up to 168h" in prepared.notes[0]


def test_an_unfinished_recording_is_gone_on_with_for_as_long_as_it_was_meant_to_be(folder: Path) -> None:
    record_into(folder, seconds=DAY)
    prepared = prepare_audit(AuditRequest(Place(folder, policies=folder / "policies"), node=NODE))
    assert prepared.plan.seconds == DAY
    assert "going on with" in prepared.notes[0]
    assert "1h already" in prepared.notes[0]


def test_until_cron_without_cronjobs(folder: Path) -> None:
    (folder / "cluster.yaml").write_text(CLUSTER.replace("CronJob", "Job"))
    migrate(folder, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet")
    ended = audit(folder, "--node", NODE, "--until-cron")
    assert ended.status == 2
    assert "no CronJob that runs" in ended.stderr


def service(namespace: str, name: str, address: str) -> Service:
    return Service(namespace, name, addresses=(ip_address(address),))


def test_what_a_cluster_is_known_by_stays_while_services_come_and_go() -> None:
    kubernetes, dns = service("default", "kubernetes", "10.0.0.1"), service("kube-system", "kube-dns", "10.0.0.10")
    more = service("shop", "web", "10.0.0.99")
    digest = cluster_digest(Cluster(services=(kubernetes, dns)))
    assert cluster_digest(Cluster(services=(kubernetes, dns, more))) == digest
    assert cluster_digest(Cluster(services=(kubernetes, service("kube-system", "kube-dns", "10.0.0.11")))) != digest
    assert cluster_digest(Cluster(services=(more,))) == ""


@pytest.mark.parametrize("command", ["replay", "export", "suggest"])
def test_a_snapshot_of_another_cluster_is_refused(folder: Path, command: str) -> None:
    record_into(folder, cluster="another")
    ended = audit(folder, command)
    assert ended.status == 2
    assert "a snapshot of another cluster" in ended.stderr


@pytest.mark.parametrize("command", ["replay", "export", "suggest", "status"])
def test_a_file_that_is_no_recording(folder: Path, command: str) -> None:
    (folder / "audit.db").write_text("something else")
    ended = audit(folder, command, judged=command != "status")
    assert ended.status == 2
    assert "audit.db" in ended.stderr
