"""`migrate audit merge`, and what other commands make of a merged recording."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrate.audit.cycles import cycle_coverage, runs_between
from migrate.audit.reading import open_recording
from migrate.errors import InputError
from migrate.model.audit_documents import CronCoverage, PodCoverage
from migrate.model.raw import Json, RawObject
from migrate.redact.addresses import AddressMap
from migrate.redact.names import Names
from migrate.redact.objects import Redactor
from migrate.redact.recording import redact_recording
from tests.command_line import Ended, migrate
from tests.node_recordings import plain_rows, random_recording
from tests.recordings import START, Recording
from tests.unit.audited_folder import CLUSTER, POLICY

_KEY = b"a key for these tests only......"
_SINCE = datetime(2026, 5, 10, 8, tzinfo=UTC)


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """A folder with recordings of n1 and n2."""
    folder = tmp_path / "stores"
    folder.mkdir()
    for seed, node in enumerate(("n1", "n2")):
        random_recording(folder / f"{node}.db", node, seed)
    return folder


def _run(*arguments: str | Path) -> Ended:
    return migrate(Path.cwd(), *arguments)


def _merge(*arguments: str | Path) -> Ended:
    return _run("audit", "merge", *arguments)


def test_a_folder_of_recordings_becomes_one(stores: Path, tmp_path: Path) -> None:
    into = tmp_path / "all.db"
    ended = _merge(stores, "--output-file", into)
    assert (ended.status, ended.stderr) == (0, "")
    assert "of 2 nodes" in ended.stdout
    with open_recording(into) as reading:
        assert {segment.node for segment in reading.segments()} == {"n1", "n2"}
    status = json.loads(_run("audit", "status", "--audit", str(into), "-d", str(tmp_path), "-o", "json").stdout)
    assert (status["node"], status["nodes"], status.get("not_watched", {})) == (
        "",
        ["n1", "n2"],
        {},
    )
    assert "nodes       2 watched" in _run("audit", "status", "--audit", str(into), "-d", str(tmp_path)).stdout


def test_a_working_folder_has_its_recordings_in_audit(stores: Path, tmp_path: Path) -> None:
    stores.rename(tmp_path / "audit")
    assert _merge(tmp_path, "-d", tmp_path).status == 0
    first = (tmp_path / "audit.db").read_bytes()
    assert _merge(tmp_path / "audit" / "n2.db", tmp_path / "audit" / "n1.db", "-d", tmp_path).status == 0
    assert (tmp_path / "audit.db").read_bytes() == first


def test_what_is_left_out_is_said_and_the_result_is_incomplete(stores: Path, tmp_path: Path) -> None:
    (stores / "n2.db").write_bytes(b"cut")
    ended = _merge(stores, "--output-file", tmp_path / "all.db")
    assert ended.status == 4
    assert "n2.db is left out" in ended.stderr
    assert "of 1 node\n" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--format", "parquet"], "--output-dir", id="Parquet without a folder"),
        pytest.param(["--output-dir", "x"], "--format parquet goes with", id="a folder without Parquet"),
    ],
)
def test_forms_and_places_go_together(arguments: list[str], said: str, stores: Path) -> None:
    ended = _merge(stores, *arguments)
    assert ended.status == 2
    assert said in " ".join(ended.stderr.split())


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    ended = _merge(tmp_path)
    assert ended.status == 2
    assert "no recordings" in ended.stderr


def test_parquet_of_an_import_without_a_node_s_name(stores: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    with closing(sqlite3.connect(stores / "n2.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'node'")
        connection.execute("INSERT INTO meta VALUES ('import', '{}')")
        connection.execute("UPDATE segment SET attach = 'import'")
    ended = _merge(stores, "--format", "parquet", "--output-dir", tmp_path / "out")
    assert ended.status == 0, ended.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "flow").iterdir()) == ["_.parquet", "n1.parquet"]
    assert (tmp_path / "out" / "node.parquet").is_file()


def test_parquet_has_a_file_for_each_table_and_node(stores: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    place, into = tmp_path / "parquet", tmp_path / "all.db"
    assert _merge(stores, "--format", "parquet", "--output-dir", place).status == 0
    assert _merge(stores, "--output-file", into).status == 0
    assert sorted(path.name for path in (place / "flow").iterdir()) == ["n1.parquet", "n2.parquet"]
    with closing(sqlite3.connect(into)) as connection, duckdb.connect(":memory:") as reader:
        for table in ("flow", "veth", "segment", "counter"):
            found = reader.execute(f"SELECT count(*) FROM '{place}/{table}/*.parquet'").fetchone()
            assert found == connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        (sums,) = reader.execute(f"SELECT sum(events), min(first) FROM '{place}/flow/*.parquet'").fetchall()
        assert sums == connection.execute("SELECT sum(events), min(first) FROM flow").fetchone()
        nulls = "SELECT count(*) FROM veth WHERE pod IS NULL"
        nulls_there = nulls.replace("veth", f"'{place}/veth/*.parquet'")
        assert reader.execute(nulls_there).fetchone() == connection.execute(nulls).fetchone()
        addresses = {source for (source,) in reader.execute(f"SELECT source FROM '{place}/flow/*.parquet'").fetchall()}
    assert addresses <= {"10.1.0.1", "10.1.0.2", "10.2.0.3", "fd00::4", "198.51.100.9", "10.0.0.1"}
    ended = _merge(stores, "--format", "parquet", "--output-dir", place)
    assert (ended.status, "is there already" in ended.stderr) == (2, True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".migrate-")]


def test_a_node_s_name_never_leaves_the_folder(stores: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    with closing(sqlite3.connect(stores / "n2.db", isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = '../../n2' WHERE key = 'node'")
    assert _merge(stores, "--format", "parquet", "--output-dir", tmp_path / "out").status == 0
    assert sorted(path.name for path in (tmp_path / "out" / "flow").iterdir()) == ["..%2F..%2Fn2.parquet", "n1.parquet"]
    assert not list(tmp_path.glob("n2*"))


def test_a_merged_recording_is_redacted_with_its_nodes(stores: Path, tmp_path: Path) -> None:
    into, place = tmp_path / "all.db", tmp_path / "redacted.db"
    _merge(stores, "--output-file", into)
    with closing(sqlite3.connect(into, isolation_level=None)) as connection:
        connection.execute("UPDATE node SET reason = 'the machine of n1 in rack 4' WHERE name = 'n1'")
    redact_recording(into, place, Redactor(Names(_KEY, []), AddressMap(_KEY), {}), "cluster")
    with open_recording(place) as reading:
        names = {row.name for row in reading.node_rows()}
        assert len(names) == 2
        assert {segment.node for segment in reading.segments()} == names
        assert all(row.reason == "" for row in reading.node_rows())
        assert not names & {"n1", "n2"}
    assert b"rack 4" not in place.read_bytes()
    before, after = plain_rows(into), plain_rows(place)
    assert {table: rows.total() for table, rows in before.items()} == {
        table: rows.total() for table, rows in after.items()
    }


@pytest.mark.parametrize(
    ("schedule", "zone", "runs"),
    [
        ("0 * * * *", "", 24),
        ("@daily", "", 1),
        ("0 8 * * *", "", 1),
        ("0 4 * * 0", "", 0),
        ("@every 1h30m", "", 16),
        ("30 3 * * *", "Europe/Berlin", 1),
        ("CRON_TZ=Asia/Tokyo 0 0 * * *", "", 1),
    ],
)
def test_runs_of_a_schedule_within_a_day(schedule: str, zone: str, runs: int) -> None:
    assert runs_between(schedule, zone, _SINCE, _SINCE + timedelta(days=1)) == runs


def test_a_zone_that_is_not_known_is_an_error() -> None:
    with pytest.raises(InputError, match="no time zone"):
        runs_between("@daily", "Moon/Base", _SINCE, _SINCE)


def test_runs_that_were_watched_are_told_from_those_that_were_not() -> None:
    minute = START // 60_000_000_000
    pods = [
        _pod(f"report-{minute}-abcde", "traffic"),
        _pod(f"report-{minute}-fghij", "quiet"),
        _pod(f"report-{minute + 60}-abcde", "quiet"),
        _pod(f"other-{minute}-abcde", "traffic"),
        _pod(f"report-{minute + 120}-abcde", "not_watched", 0.0),
    ]
    jobs = [_job("report", "0 * * * *"), _job("never", "0 0 1 1 *"), _job("odd", "noon"), _job("off", "@daily", True)]
    assert cycle_coverage(jobs, pods, _SINCE, _SINCE + timedelta(hours=3)) == (
        CronCoverage(job="shop/never", schedule="0 0 1 1 *", expected=0, seen=0),
        CronCoverage(job="shop/odd", schedule="noon", expected=None, seen=0),
        CronCoverage(job="shop/report", schedule="0 * * * *", expected=3, seen=2, with_traffic=1),
    )


def _pod(name: str, state: str, watched: float = 5.0) -> PodCoverage:
    found = {"traffic": 3}.get(state, 0)
    return PodCoverage(
        namespace="shop",
        pod=name,
        interface="veth1",
        alive_seconds=5.0,
        watched_seconds=watched,
        state="traffic" if state == "traffic" else "quiet" if state == "quiet" else "not_watched",
        connections=found,
    )


def _job(name: str, schedule: str, suspended: bool = False) -> RawObject:
    spec: Json = {"schedule": schedule, "suspend": suspended}
    return RawObject(
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"namespace": "shop", "name": name}, "spec": spec}
    )


def test_replay_of_a_merged_recording_says_how_many_nodes(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/db.yaml").write_text(POLICY)
    assert migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet").status == 0
    recordings = []
    for number, node in enumerate(("node-1", "node-2")):
        made = Recording(tmp_path / f"{node}.db", node)
        made.execute("UPDATE segment SET boot_id = ?", node)
        made.veth(("shop/web-0", "shop/else")[number])
        recordings.append(made.close())
    assert _merge(*recordings, "-d", tmp_path).status == 0
    ended = migrate(tmp_path, "audit", "replay", "-d", ".", "--policies", "policies")
    text = " ".join(ended.stdout.split())
    assert text.startswith(
        "watched for 1.0 hours: 2 nodes watched, 100 % of the time of 2 pods watched, 2 of them quiet"
    )
    assert "- node-1: 100 % of the time of 1 pod, 1 of them quiet, quiet: nothing was seen" in text
    assert "Watched and quiet, so that what they do at other times is not known:" in text
    assert "- 1 whole namespace: shop" in text
