"""`migrate audit import`: logs of other programs as recordings, what of them is used, and what is said of the rest."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from migrate.audit.layout import address_of
from migrate.audit.merged import merge
from migrate.audit.recording import FileLock
from migrate.evidence.numbered import LONGEST_LINE
from migrate.evidence.source_file import SourceFile, split_lines
from migrate.model.audit_documents import Audit
from migrate.model.import_documents import AuditImport, ImportedFile
from migrate.model.raw import Json
from tests.command_line import PATIENCE, Ended, environment, migrate
from tests.prerequisites import require
from tests.unit.audited_folder import CLUSTER, POLICY, record_into

CLUSTER_WITH_MORE = f"""{CLUSTER}
---
apiVersion: v1
kind: Pod
metadata: {{namespace: shop, name: proxy-0, labels: {{app: proxy}}}}
spec: {{nodeName: node-1, hostNetwork: true, containers: [{{name: main}}]}}
status: {{phase: Running, podIP: 192.0.2.10}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{namespace: shop, name: six}}
spec: {{selector: {{matchLabels: {{app: six}}}}, template: {{metadata: {{labels: {{app: six}}}}}}}}
---
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: six-0
  labels: {{app: six}}
  ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: six, uid: u, controller: true}}]
spec: {{nodeName: node-1, containers: [{{name: main}}]}}
status: {{phase: Running, podIP: 10.0.0.6, podIPs: [{{ip: 10.0.0.6}}, {{ip: "fd00::6"}}]}}
"""
WEB, DB, CRON = "10.0.0.1", "10.0.0.2", "10.0.0.3"
AT = "2026-11-20T09:20:11Z"
HOUR = 498_657


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a snapshot and policies/, without a recording."""
    made = tmp_path_factory.mktemp("scanned")
    (made / "cluster.yaml").write_text(CLUSTER_WITH_MORE)
    (made / "policies").mkdir()
    (made / "policies/db.yaml").write_text(POLICY)
    ended = migrate(made, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet")
    assert ended.status == 0, ended.stderr
    return made


@pytest.fixture
def folder(scanned: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(scanned, tmp_path / "work"))


def line(source: str | None, destination: str | None, port: int = 5432, /, **fields: Json) -> str:
    """A flow of Hubble that was let through."""
    flow: dict[str, Json] = {
        "time": AT,
        "verdict": "FORWARDED",
        "IP": {"source": source or "", "destination": destination or ""},
        "l4": {"TCP": {"source_port": 40000, "destination_port": port}},
        "node_name": "node-1",
        "traffic_direction": "EGRESS",
        "is_reply": False,
    }
    return json.dumps({"flow": flow | fields})


def imported(folder: Path, *arguments: str | Path, status: int = 0) -> AuditImport:
    """The document of an import."""
    ended = migrate(folder, "audit", "import", *arguments, "--dir", ".", "-o", "json", "--quiet")
    assert ended.status == status, ended.stderr + ended.stdout
    return msgspec.json.decode(ended.stdout, type=AuditImport)


def write(folder: Path, lines: Sequence[str], name: str = "flows.jsonl") -> Path:
    """A log in the folder."""
    path = folder / name
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def one(folder: Path, *lines: str, status: int = 0) -> ImportedFile:
    """What the import of a file of Hubble comes to."""
    (found,) = imported(folder, write(folder, lines), status=status).files
    return found


def rows(recording: str | Path, query: str) -> list[tuple[object, ...]]:
    """Of a recording."""
    with closing(sqlite3.connect(recording)) as connection:
        return connection.execute(query).fetchall()


def records(folder: Path, found: ImportedFile) -> list[tuple[object, ...]]:
    """Pod, direction, kind, ends, port, events and answers of all records."""
    query = (
        "SELECT pod, direction, kind, source, destination, port, events, answered FROM flow "
        "JOIN veth ON veth.id = flow.veth ORDER BY 1, 2, 3, 4, 5, 6"
    )
    return [
        (pod, way, kind, *(str(address_of(end)) for end in ends if isinstance(end, bytes)), *numbers)
        for pod, way, kind, *ends, port, events, answered in rows(folder / found.recording, query)
        for numbers in [(port, events, answered)]
    ]


def replay(folder: Path, recording: str | Path, status: int) -> Audit:
    """What Cilium would do with a recording."""
    arguments = ("--audit", recording, "--policies", "policies", "--dir", ".", "-o", "json")
    ended = migrate(folder, "audit", "replay", *arguments)
    assert ended.status == status, ended.stderr
    return msgspec.json.decode(ended.stdout, type=Audit)


def test_verdicts_become_what_is_known_of_today(folder: Path) -> None:
    found = one(
        folder,
        line(WEB, DB),
        line(WEB, DB, traffic_direction="INGRESS"),
        line(CRON, DB, 1, verdict="DROPPED", drop_reason_desc="POLICY_DENIED"),
        line(CRON, DB, 2, verdict="AUDIT"),
        line(CRON, DB, 3, verdict="TRACED"),
        line(CRON, DB, 4, verdict="ERROR"),
        line(CRON, DB, 5, flow_count=7),
    )
    assert found.by_verdict == {"audit": 1, "dropped": 1, "forwarded": 9, "unknown": 1}
    assert records(folder, found) == [
        ("cron-0", 0, 0, CRON, DB, 2, 1, 1),
        ("cron-0", 0, 0, CRON, DB, 3, 1, 0),
        ("cron-0", 0, 0, CRON, DB, 5, 7, 7),
        ("db-0", 1, 0, WEB, DB, 5432, 1, 1),
        ("web-0", 0, 0, WEB, DB, 5432, 1, 1),
    ]
    assert rows(folder / found.recording, "SELECT hour, port, events FROM dropped") == [(HOUR, 1, 1)]
    assert [(why.kind, why.reason, why.count) for why in found.not_used] == [
        ("no_flow", "an error of the data plane", 1)
    ]
    assert rows(folder / found.recording, "SELECT loader, attach, node FROM segment") == [
        ("hubble", "import", "node-1")
    ]


def test_replies_are_turned_around_and_count_as_answers(folder: Path) -> None:
    answer: dict[str, Json] = {"is_reply": True, "l4": {"TCP": {"source_port": 5432, "destination_port": 40000}}}
    found = one(
        folder,
        line(WEB, DB, verdict="TRACED"),
        line(DB, WEB, **answer),
        line(DB, CRON, **answer),
        line(WEB, DB, l4={"ICMPv4": {"type": 0}}),
        line(DB, WEB, **answer, verdict="DROPPED"),
        line(WEB, DB, 9, is_reply=None),
    )
    assert records(folder, found) == [
        ("cron-0", 0, 0, CRON, DB, 5432, 1, 1),
        ("db-0", 0, 0, DB, WEB, 8 << 8, 1, 1),
        ("web-0", 0, 0, WEB, DB, 5432, 1, 1),
        ("web-0", 0, 1, WEB, DB, 9, 1, 1),
    ]
    assert [why.reason for why in found.not_used] == ["a reply that did not go on, which no policy decides"]


def test_a_datagram_that_may_be_an_answer_is_no_drop(folder: Path) -> None:
    answer: dict[str, Json] = {"is_reply": None, "l4": {"UDP": {"source_port": 53, "destination_port": 40000}}}
    asks: dict[str, Json] = {"is_reply": None, "l4": {"UDP": {"source_port": 40000, "destination_port": 53}}}
    found = one(folder, line(CRON, DB, **answer), line(CRON, WEB, **asks))
    assert records(folder, found) == [
        ("cron-0", 0, 0, CRON, WEB, 53, 1, 1),
        ("cron-0", 0, 1, CRON, DB, 40000, 1, 1),
    ]
    assert replay(folder, found.recording, 4).would_drop == ()


def test_counts_beyond_all_sense_are_kept_as_many(folder: Path) -> None:
    lost = {"lost_events": {"num_events_lost": str(1 << 53)}}
    huge = line(WEB, DB, flow_count=str(1 << 53))
    found = one(folder, *([huge, json.dumps(lost)] * 1_100), status=4)
    assert rows(folder / found.recording, "SELECT events, answered FROM flow") == [(1_100 << 40, 1_100 << 40)]
    assert rows(folder / found.recording, "SELECT count FROM loss") == [(1 << 53,)]


def test_a_newer_pod_on_its_node_s_network_is_not_the_node_s_owner(folder: Path) -> None:
    agent: Json = {"namespace": "kube-system", "pod_name": "agent-xyz"}
    found = one(folder, line("192.0.2.10", DB, source=agent))
    assert records(folder, found) == [("db-0", 1, 0, "192.0.2.10", DB, 5432, 1, 1)]
    assert rows(folder / found.recording, "SELECT count(*) FROM owner") == [(0,)]


def test_pods_that_are_named_alone_are_looked_up(folder: Path) -> None:
    def pod(name: str = "", **fields: Json) -> Json:
        return {"namespace": "shop", "pod_name": name, **fields}

    works: Json = [{"kind": "StatefulSet", "name": "six"}]
    found = one(
        folder,
        line(None, DB, source=pod("web-0"), destination=pod("db-0")),
        line(None, "fd00::9", source=pod(workloads=works)),
        line(None, DB, source=pod("gone-0")),
        line(None, DB, source=pod(workloads=[{"kind": "Deployment", "name": "gone"}])),
        status=4,
    )
    assert [entry[:5] for entry in records(folder, found)] == [
        ("six-0", 0, 0, "fd00::6", "fd00::9"),
        ("web-0", 0, 0, WEB, DB),
    ]
    assert [(why.kind, why.count) for why in found.not_used] == [("unusable", 2)]


def test_a_record_is_at_a_pod(folder: Path) -> None:
    found = one(
        folder,
        line("8.8.8.8", DB),
        line("192.0.2.10", DB, source={"namespace": "shop", "pod_name": "proxy-0"}, traffic_direction="EGRESS"),
        line("192.0.2.10", "8.8.8.8"),
    )
    assert [entry[:4] for entry in records(folder, found)] == [("db-0", 1, 0, "8.8.8.8"), ("db-0", 1, 0, "192.0.2.10")]
    assert [why.reason for why in found.not_used] == ["no pod of the cluster is at either end"]


def test_a_program_says_who_had_an_address(folder: Path) -> None:
    later = "2026-11-20T10:20:11Z"
    web: Json = {"namespace": "shop", "pod_name": "web-0"}
    found = one(
        folder,
        line(WEB, DB, source=web),
        line("10.0.0.77", DB, source={"namespace": "shop", "pod_name": "db-1"}),
        line(CRON, DB, source={"namespace": "shop", "pod_name": "old-0"}),
        line(CRON, DB, source={"namespace": "shop", "pod_name": "cron-0"}, time=later),
    )
    query = "SELECT address, name, since / 1000000000, until / 1000000000 FROM owner ORDER BY address, since"
    owners = [
        (str(address_of(one)), *rest) for one, *rest in rows(folder / found.recording, query) if isinstance(one, bytes)
    ]
    first, second = 1_795_166_411, 1_795_170_011
    assert owners == [
        (CRON, "old-0", first, first),
        (CRON, "cron-0", second, second),
        ("10.0.0.77", "db-1", first, first),
    ]


def test_evidence_is_judged_and_says_that_nothing_was_watched(folder: Path) -> None:
    found = one(folder, line(WEB, DB), line(CRON, DB), line(CRON, DB, 9, verdict="DROPPED"))
    done = replay(folder, found.recording, 1)
    assert [(group.source.name, group.events) for group in done.would_drop] == [("cron-0", 1)]
    assert [(group.source.name, group.port) for group in done.denied_today] == [("cron-0", 9)]
    assert done.coverage == ()
    assert not done.complete
    assert "no pod was watched: all of this was told by other programs (hubble)" in done.incomplete
    assert {node.state for node in done.nodes} == {"not_watched"}
    ended = migrate(folder, "audit", "replay", "--audit", found.recording, "--policies", "policies", "--dir", ".")
    assert ended.stdout.startswith("watched for no time at all: ")


@pytest.mark.parametrize(
    ("more", "denied", "works"),
    [
        pytest.param((), [5432], [], id="forwarded by the sender's node, dropped by the receiver's"),
        pytest.param((line(CRON, DB, traffic_direction="INGRESS"),), [], [5432], id="another of its kind was let in"),
        pytest.param(
            (
                line(
                    CRON,
                    DB,
                    is_reply=True,
                    traffic_direction="INGRESS",
                    l4={"TCP": {"source_port": 5432, "destination_port": 40000}},
                ),
            ),
            [5432],
            [],
            id="a reply to somebody else",
        ),
        pytest.param(
            (line(DB, CRON, is_reply=True, l4={"TCP": {"source_port": 5432, "destination_port": 40000}}),),
            [],
            [5432],
            id="one of them was answered",
        ),
    ],
)
def test_what_leaves_a_pod_and_does_not_arrive_is_denied_today(
    more: tuple[str, ...], denied: list[int], works: list[int], folder: Path
) -> None:
    stopped = line(CRON, DB, verdict="DROPPED", traffic_direction="INGRESS", drop_reason_desc="POLICY_DENIED")
    found = one(folder, line(CRON, DB), stopped, *more)
    done = replay(folder, found.recording, 1 if works else 4)
    assert [group.port for group in done.would_drop] == works
    assert [group.port for group in done.denied_today if group.port not in works] == denied


def test_a_drop_at_its_sender_says_nothing_of_the_next_pod_with_that_address(folder: Path) -> None:
    old: Json = {"namespace": "shop", "pod_name": "cron-old"}
    before = line(CRON, DB, verdict="DROPPED", source=old, time="2026-11-20T05:01:00Z")
    done = replay(folder, one(folder, before, line(CRON, DB)).recording, 1)
    assert [group.port for group in done.would_drop] == [5432]


def test_a_drop_of_another_hour_is_not_that_of_a_flow_that_left(folder: Path) -> None:
    before = line(CRON, DB, verdict="DROPPED", traffic_direction="INGRESS", time="2026-11-20T05:01:00Z")
    done = replay(folder, one(folder, before, line(CRON, DB)).recording, 1)
    assert [group.port for group in done.would_drop] == [5432]


def test_without_a_verdict_nothing_is_said_to_work(folder: Path) -> None:
    head = "Nov 20 09:14:07 node-1 kernel: calico-packet: "
    path = write(
        folder,
        [
            f"{head}IN=cali1 OUT=cali2 SRC={CRON} DST={DB} PROTO=TCP SPT=9 DPT=5432 SYN URGP=0",
            f"{head}IN=cali1 OUT=cali2 SRC={CRON} DST={DB} PROTO=UDP SPT=9 DPT=53 LEN=1",
            f"{head}IN=eth0 OUT=cali2 SRC=8.8.8.8 DST={DB} PROTO=UDP SPT=9 DPT=54 LEN=1",
            f"{head}IN=eth0 OUT=cali2 SRC=8.8.8.8 DST={DB} PROTO=ICMP TYPE=8 CODE=0 ID=1",
            f"{head}IN=cali1 OUT=cali2 SRC={WEB} DST={DB} PROTO=TCP SPT=9 DPT=5432 SYN URGP=0",
        ],
        "kern.log",
    )
    (found,) = imported(folder, path).files
    done = replay(folder, found.recording, 4)
    assert done.would_drop == ()
    assert {(group.protocol, group.port) for group in done.ambiguous} == {
        ("TCP", 5432),
        ("UDP", 53),
        ("UDP", 54),
        ("ICMP", 8),
    }
    assert done.tally.would_allow == 1


def test_evidence_of_the_same_traffic_settles_what_a_log_line_leaves_open(folder: Path) -> None:
    head = "2026-11-20T09:14:07Z node-1 kernel: calico-packet: "
    write(folder, [f"{head}IN=cali1 OUT=cali2 SRC={CRON} DST={DB} PROTO=TCP SPT=9 DPT=5432 SYN"], "kern.log")
    write(folder, [line(CRON, DB, traffic_direction="INGRESS")])
    assert imported(folder, "kern.log", "flows.jsonl").complete
    merge(sorted((folder / "audit").glob("*.db")), folder / "audit.db")
    done = replay(folder, "audit.db", 1)
    assert [group.records for group in done.would_drop] == [2]
    assert done.ambiguous == ()
    merge(sorted((folder / "audit").glob("*.db")), folder / "audit.db")


def test_an_import_does_not_change_what_a_node_s_recording_says_of_itself(folder: Path) -> None:
    own = record_into(folder, dropping=False)
    before = replay(folder, own, 4)
    write(folder, [line("8.8.8.8", "10.0.0.6", 80), "broken"])
    (found,) = imported(folder, "flows.jsonl", status=4).files
    merge([own, folder / found.recording], folder / "all.db")
    after = replay(folder, "all.db", 4)
    assert (after.since, after.until) == (before.since, before.until)
    assert after.coverage == before.coverage
    assert after.balance == before.balance
    assert [node.name for node in after.nodes if node.state != "not_watched"] == ["node-1"]
    assert set(after.incomplete) == {*before.incomplete, "import-unreadable: 1 (not a flow of Hubble)"}


def test_the_same_file_twice_changes_nothing(folder: Path) -> None:
    path = write(folder, [line(WEB, DB)])
    first = imported(folder, path).files[0]
    before = (folder / first.recording).stat().st_mtime_ns
    shutil.copy(path, folder / "copy.jsonl")
    again = imported(folder, path, "copy.jsonl").files
    assert [one.again for one in again] == [True, True]
    assert {one.recording for one in again} == {first.recording}
    assert (folder / first.recording).stat().st_mtime_ns == before
    later = imported(folder, path, "--since", "2026-11-20T09:00:00Z").files[0]
    assert (later.again, later.recording) == (False, first.recording)
    assert len(list((folder / "audit").iterdir())) == 1


def test_a_time_may_be_asked_for(folder: Path) -> None:
    path = write(folder, [line(WEB, DB), line(WEB, DB, time="2026-11-20T11:00:00Z")])
    (found,) = imported(folder, path, "--since", "2026-11-20T10:00:00Z", "--until", "2026-11-20T12:00:00Z").files
    assert (found.flows, found.since) == (1, "2026-11-20T11:00:00Z")
    ended = migrate(folder, "audit", "import", path, "-d", ".", "--since", "monday")
    assert (ended.status, "--since" in ended.stderr) == (2, True)


def test_logs_without_times_or_nodes_are_put_where_the_file_and_the_command_say(folder: Path) -> None:
    text = f"xx drop (Policy denied) flow 0x1 to endpoint 1, , identity 1->2: {CRON}:40000 -> {DB}:80 tcp SYN"
    path = write(folder, [text], "monitor.txt")
    os.utime(path, (1_795_166_411, 1_795_166_411))
    (found,) = imported(folder, path, "--node", "node-1").files
    assert (found.format, found.without_time, found.since, found.nodes) == ("cilium-monitor", 1, AT, ("node-1",))
    ended = migrate(folder, "audit", "import", path, "-d", ".", "--node", "node-9")
    assert (ended.status, "node-9: not in the snapshot" in ended.stderr) == (2, True)


def test_metrics_stand_beside_and_make_no_recording(folder: Path) -> None:
    (found,) = imported(folder, write(folder, ["# HELP npm_num_policies x", "npm_num_policies 3"], "m.txt")).files
    assert (found.recording, [(one.name, one.value) for one in found.counters]) == ("", [("npm_num_policies", 3)])
    assert list((folder / "audit").iterdir()) == []


def test_lost_events_make_it_incomplete_and_are_counted(folder: Path) -> None:
    found = one(folder, line(WEB, DB), json.dumps({"lost_events": {"num_events_lost": "12"}}), status=4)
    assert [(why.kind, why.count, why.first) for why in found.not_used] == [("lost", 12, "flows.jsonl:2")]
    losses = rows(folder / found.recording, "SELECT kind, count FROM loss")
    assert losses == [("import-lost", 12)]


def test_the_table_says_what_was_used_and_what_was_not(folder: Path) -> None:
    write(folder, [line(WEB, DB), "junk [bold]", '{"agent_event":{}}'])
    ended = migrate(folder, "audit", "import", "flows.jsonl", "-d", ".")
    assert ended.status == 4
    assert "flows       1: 1 forwarded" in ended.stdout
    assert "not a flow of Hubble" in ended.stdout
    assert "flows.jsonl:2" in ended.stdout


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "nothing is in this file", id="empty"),
        pytest.param(b"hello\nworld\n", "no log of a program that is known", id="another text"),
        pytest.param(os.urandom(5000).replace(b"{", b"x"), "no log of a program", id="binary"),
        pytest.param(b'[\n {"flow": {}}\n]', "JSON over several lines", id="a pretty list"),
        pytest.param(b"\x1f\x8b\x08\x00broken", "nothing is in this file", id="broken gzip"),
    ],
)
def test_a_file_of_no_known_program_is_refused(folder: Path, body: bytes, said: str) -> None:
    (folder / "what").write_bytes(body)
    ended = migrate(folder, "audit", "import", "what", "-d", ".")
    assert (ended.status, said in ended.stderr) == (2, True), ended.stderr
    assert not list(folder.glob("audit/*"))


def test_what_is_no_file_or_no_format_is_refused(folder: Path) -> None:
    for arguments, said in (
        (("none.log",), "no such file"),
        (("policies",), "a folder"),
        (("cluster.yaml", "--format", "pcap"), "there is no such format"),
    ):
        ended = migrate(folder, "audit", "import", *arguments, "-d", ".")
        assert (ended.status, said in ended.stderr) == (2, True), ended.stderr


def test_files_beside_one_that_is_refused_are_imported(folder: Path) -> None:
    path = write(folder, [line(WEB, DB)])
    bad, good = imported(folder, "cluster.yaml", path, status=4).files
    assert (bad.format, good.flows) == ("", 1)
    assert "no log of a program" in bad.broken
    ended = migrate(folder, "audit", "import", "cluster.yaml", path, "-d", ".")
    assert (ended.status, "NOT USED  cluster.yaml: no log of a program" in ended.stdout) == (4, True)


def test_packed_files_are_read(folder: Path) -> None:
    body = (line(WEB, DB) + "\n").encode()
    (folder / "a.gz").write_bytes(gzip.compress(body) + gzip.compress(body))
    assert imported(folder, "a.gz").files[0].flows == 2
    (folder / "wide.json").write_bytes(b"\xff\xfe" + (body * 3).decode().encode("utf-16-le"))
    assert imported(folder, "wide.json").files[0].flows == 3


def test_a_gzip_that_is_cut_is_read_up_to_there(folder: Path) -> None:
    lines = [line(WEB, DB, port) for port in range(1, 1500)]
    packed = gzip.compress("".join(f"{text}\n" for text in lines).encode())
    (folder / "cut.gz").write_bytes(packed[: len(packed) // 2])
    (found,) = imported(folder, "cut.gz", status=4).files
    assert found.broken == "its gzip data is cut off"
    assert 200 < found.flows < 1500
    assert ("import-cut",) in rows(folder / found.recording, "SELECT kind FROM loss")
    (folder / "bad.gz").write_bytes(packed[:2000] + b"\0" * 2000 + packed[4000:])
    assert imported(folder, "bad.gz", status=4).files[0].broken.startswith("its gzip data is damaged")


def test_zstd_is_read_by_its_program(folder: Path) -> None:
    program = shutil.which("zstd")
    require(program is not None, "needs the program zstd")
    body = "".join(f"{line(WEB, DB, port)}\n" for port in range(1, 2000)).encode()
    packed = subprocess.run([program or "", "-q"], input=body, capture_output=True, check=True).stdout
    (folder / "a.zst").write_bytes(packed)
    assert imported(folder, "a.zst").files[0].flows == 1999
    (folder / "cut.zst").write_bytes(packed[:-10])
    (found,) = imported(folder, "cut.zst", status=4).files
    assert found.broken.startswith("its zstd data is damaged or cut off")


def test_a_line_of_100_mb_is_passed_over(tmp_path: Path) -> None:
    pieces = [b"first\n", *(b"x" * (1 << 20) for _ in range(100)), b"tail\nlast\n"]
    found = list(split_lines(iter(pieces)))
    assert found == [b"first\n", b"x" * (LONGEST_LINE + 1), b"last\n"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_the_pieces(size: int) -> None:
    body = b"one\n\ntwo\nthree"
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    assert list(split_lines(pieces)) == [b"one\n", b"\n", b"two\n", b"three"]


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x")
    source = SourceFile(tmp_path / "log")
    (tmp_path / "log").unlink()
    with pytest.raises(Exception, match="cannot be read"):
        list(source.lines())


def test_one_import_of_a_file_at_a_time(folder: Path) -> None:
    first = one(folder, line(WEB, DB))
    lock = FileLock(folder / first.recording)
    try:
        ended = migrate(folder, "audit", "import", "flows.jsonl", "-d", ".", "--node", "node-1")
        assert (ended.status, "another audit is running" in ended.stderr) == (2, True)
    finally:
        lock.release()


def test_a_killed_import_leaves_nothing_and_starts_again(folder: Path) -> None:
    path = folder / "endless.jsonl"
    write(folder, [line(WEB, DB, port) for port in range(1, 2000)], path.name)
    code = (
        "import os, sys, signal, migrate.evidence.recorded as r; from migrate.cli import main\n"
        "r.ImportedRecording.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sys.argv = ['migrate', 'audit', 'import', '{path.name}', '-d', '.']; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), timeout=PATIENCE * 5, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert not list((folder / "audit").glob("*.db"))
    found = imported(folder, path.name).files[0]
    assert (found.flows, found.again) == (1999, False)
    assert [entry.name for entry in (folder / "audit").iterdir()] == [Path(found.recording).name]


def test_a_recording_as_hubble_prints_it_comes_back_the_same(folder: Path) -> None:
    own = record_into(folder)
    out = folder / "out.jsonl"
    arguments = ("--format", "hubble", "--audit", own, "--policies", "policies", "--dir", ".", "--output-file", out)
    ended: Ended = migrate(folder, "audit", "export", *arguments)
    assert ended.status == 0, ended.stderr
    (found,) = imported(folder, out).files
    query = (
        "SELECT pod, hour, direction, kind, source, destination, protocol, port, source_port "
        "FROM flow JOIN veth ON veth.id = flow.veth ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
    )
    assert rows(folder / found.recording, query) == rows(own, query)
    assert found.by_verdict == {"audit": 1, "forwarded": 2}
    before, after = replay(folder, own, 1), replay(folder, found.recording, 1)
    assert [group.source for group in after.would_drop] == [group.source for group in before.would_drop]


def test_addresses_of_the_sample_are_what_they_say(folder: Path) -> None:
    sample = Path(__file__).parent.parent / "cases" / "evidence" / "hubble-flows.jsonl"
    shutil.copy(sample, folder / "hubble.jsonl")
    (found,) = imported(folder, "hubble.jsonl").files
    assert found.by_verdict == {"audit": 1, "dropped": 1}
    ((address,),) = rows(folder / found.recording, "SELECT destination FROM dropped")
    assert isinstance(address, bytes)
    assert address_of(address) == ip_address("10.244.1.11")
