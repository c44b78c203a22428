"""audit.json in a working folder: when it is written, and what is said when it is not of now any more."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from migrate.model.audit_documents import Audit
from migrate.readiness.documents import read_folder
from tests.command_line import Ended, migrate
from tests.unit.audited_folder import CLUSTER, POLICY, record_into

NETWORK_POLICY = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: web}}}]
      ports: [{port: 5432, protocol: TCP}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a snapshot, its translation and a recording, and other policies beside it."""
    made = tmp_path / "work"
    made.mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others/db.yaml").write_text(POLICY)
    (tmp_path / "cluster.yaml").write_text(CLUSTER + NETWORK_POLICY)
    _fine(migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", "work", "--quiet"))
    _translate(made)
    record_into(made)
    return made


def _fine(ended: Ended) -> None:
    assert ended.status == 0, ended.stderr


def _translate(folder: Path, *more: str) -> None:
    _fine(migrate(folder, "translate", "--output-dir", ".", "--before-engine", "npm-linux", *more))


def _replay(folder: Path, *arguments: str) -> Ended:
    return migrate(folder, "audit", "replay", "--dir", ".", *arguments)


def _outdated(folder: Path) -> list[str]:
    status = migrate(folder, "audit", "status", "--dir", ".", "-o", "json")
    told = json.loads(status.stdout)
    assert told["judged"] is True
    documents = read_folder(folder)
    assert list(documents.audit_outdated) == told["outdated"]
    (used,) = (one for one in documents.inputs if one.kind == "Audit")
    assert used.complete is not bool(told["outdated"])
    return list(documents.audit_outdated)


def test_a_replay_of_the_folders_own_policies_is_kept_for_the_report(folder: Path) -> None:
    ended = _replay(folder, "-o", "json")

    assert ended.status == 1, ended.stderr
    assert "wrote audit.json" in ended.stderr
    kept = msgspec.json.decode((folder / "audit.json").read_bytes(), type=Audit)
    assert kept == msgspec.json.decode(ended.stdout, type=Audit)
    assert [group.events for group in kept.would_drop] == [2]
    assert read_folder(folder).audit == kept
    assert _outdated(folder) == []
    assert "audit.json  as of now" in migrate(folder, "audit", "status", "--dir", ".").stdout


@pytest.mark.parametrize(
    "arguments", [("--policies", "../others"), ("--target", "cilium-1.18"), ("--before", "../others")]
)
def test_what_other_policies_say_is_not_kept(folder: Path, arguments: tuple[str, ...]) -> None:
    ended = _replay(folder, *arguments)

    assert ended.status in (0, 1), ended.stderr
    assert not (folder / "audit.json").exists()


def test_a_copy_of_the_folder_is_of_now_too(folder: Path, tmp_path: Path) -> None:
    _replay(folder)

    folder.rename(tmp_path / "elsewhere")

    assert _outdated(tmp_path / "elsewhere") == []


def test_policies_that_changed_make_it_outdated_until_the_next_replay(folder: Path) -> None:
    _replay(folder)

    _translate(folder, "--split", "per-workload")

    assert _outdated(folder) == ["the policies have changed since"]
    told = migrate(folder, "audit", "status", "--dir", ".").stdout
    assert "audit.json  the policies have changed since; migrate audit replay makes it anew" in told
    _replay(folder)
    assert _outdated(folder) == []


def test_a_recording_that_went_on_makes_it_outdated(folder: Path) -> None:
    _replay(folder)

    with closing(sqlite3.connect(folder / "audit.db")) as connection:
        connection.execute("UPDATE counter SET value = value + 1 WHERE name = 'NEW'")
        connection.commit()

    assert _outdated(folder) == ["the recording has more since"]


def test_the_result_of_another_recording_of_the_node_is_named(folder: Path) -> None:
    (folder / "audit.db").rename(folder / "other.db")
    record_into(folder)
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'created'")
        connection.commit()

    _replay(folder, "--audit", "other.db")

    assert _outdated(folder) == ["audit.db is another recording"]


def test_a_damaged_recording_leaves_the_result_readable_and_is_told(folder: Path) -> None:
    _replay(folder)

    (folder / "audit.db").write_text("something else")

    documents = read_folder(folder)
    assert documents.audit is not None
    (said,) = documents.audit_outdated
    assert "no recording of an audit" in said


def test_another_snapshot_makes_it_outdated(folder: Path) -> None:
    _replay(folder)

    (folder.parent / "cluster.yaml").write_text(CLUSTER.replace("app: web", "app: other") + NETWORK_POLICY)
    _fine(migrate(folder, "scan", "-f", "../cluster.yaml", "--output-dir", ".", "--quiet"))

    assert _outdated(folder) == ["the snapshot is another one since"]


def test_where_it_cannot_be_kept_the_result_is_printed_all_the_same(folder: Path) -> None:
    (folder / "audit.json").mkdir()
    (folder / "audit.json/something").write_text("")

    ended = _replay(folder)

    assert ended.status == 2
    assert "audit.json: a folder; give the path of a file" in ended.stderr
    assert "WOULD DROP: 1 kind of traffic" in ended.stdout
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".migrate-")) == []
