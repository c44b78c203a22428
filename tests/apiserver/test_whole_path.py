"""Scan, translate and report as processes, on an API server with 1,000 pods and 500 policies."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from migrate.scan import snapshot
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, wait_until
from tests.apiserver.conftest import FILLED
from tests.unit.policies import network_policy

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).parents[2]
PATIENCE = 300
HALF_OF_A_SCAN = 150_000  # bytes on the wire
BLOCKER = network_policy(
    {"podSelector": {"matchLabels": {"pod-template-hash": "5d8c7"}}, "policyTypes": ["Ingress"]}, "blocker", "team-0001"
)
POLICIES = FILLED.policies + 1


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "migrate", *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": "1790000000"}


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.fixture(scope="module")
def server(filled_server: ApiServer) -> ApiServer:
    """The filled server with one policy that cannot be translated; its user `scanner` has the shipped rights."""
    admin = Client(filled_server.admin)
    admin.create(dict(BLOCKER))
    admin.bind_shipped_rights("scanner")
    wait_until(lambda: Client(filled_server.scanner).may("list", "", "pods"))
    return filled_server


@pytest.fixture(scope="module")
def migration(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder after scan, translate and report by a user who may only read."""
    folder = tmp_path_factory.mktemp("whole-path")
    scanned = run(folder, "scan", "--kubeconfig", server.scanner)
    assert (scanned.returncode, "complete" in scanned.stdout.splitlines()[0]) == (0, True), scanned.stderr
    translated = run(folder, "translate")
    assert translated.returncode == 1, translated.stderr
    assert "1 finding of severity blocker" in translated.stderr
    reported = run(folder, "report")
    assert (reported.returncode, reported.stdout) == (0, f"{folder}/migration/report.html\n"), reported.stderr
    return folder / "migration"


def test_the_snapshot_is_complete(migration: Path) -> None:
    taken = snapshot.read(migration / "snapshot.jsonl.gz")
    counts = Counter(raw.ref.kind for raw in taken.objects)
    assert (taken.header.complete, taken.header.findings) == (True, ())
    assert (counts["Pod"], counts["NetworkPolicy"]) == (FILLED.pods, POLICIES)


def test_every_policy_has_a_result_and_every_object_a_file(migration: Path) -> None:
    document = json.loads((migration / "translation.json").read_text())
    results = {(r["source"]["namespace"], r["source"]["name"]): r for r in document["results"]}
    there = {
        (raw.ref.namespace, raw.ref.name)
        for raw in snapshot.read(migration / "snapshot.jsonl.gz").objects
        if raw.ref.kind == "NetworkPolicy"
    }
    assert (set(results), len(document["results"]), len(there)) == (there, POLICIES, POLICIES)
    assert results["team-0001", "blocker"]["result"] == "unsupported"
    assert {result["proof"] for result in results.values()} <= {"witness", "snapshot", "none"}
    assert all(result["proof"] == "witness" for result in results.values() if result["result"] == "exact")
    named = {item["file"] for result in results.values() for item in result["objects"]}
    assert {str(path.relative_to(migration)) for path in migration.rglob("*.yaml")} == named
    assert len(named) == FILLED.policies


def test_the_report_says_what_stands_in_the_way_and_claims_nothing_more(migration: Path) -> None:
    said = json.loads(run(migration.parent, "report", "-o", "json").stdout)
    assert (said["complete"], said["answer"]["state"]) == (True, "blocked")
    assert (said["summary"]["policies"], said["summary"]["findings"]["blocker"]) == (POLICIES, 1)
    assert len(said["policies"]) == POLICIES
    page = (migration / "report.html").read_text()
    text = " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL).split())
    assert "1 blocker must be resolved first" in text
    assert re.search("no live traffic was audited", text, re.IGNORECASE)
    assert re.findall(r"no blockers?\b|ready to (?:switch|cut)|is safe|equivalent", text, re.IGNORECASE) == []


def test_a_live_cluster_is_translated_as_its_snapshot_is(server: ApiServer, migration: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "translate", "--kubeconfig", server.scanner, "-o", "json")
    assert done.returncode == 1
    assert done.stdout == (migration / "translation.json").read_text()


def test_the_whole_path_gives_the_same_bytes_again(server: ApiServer, migration: Path, tmp_path: Path) -> None:
    for arguments in (("scan", "--kubeconfig", server.scanner), ("translate",), ("report",)):
        run(tmp_path, *arguments)
    first, second = (
        {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (migration, tmp_path / "migration")
    )
    assert first == second


@pytest.mark.parametrize("stage", ["scan", "translate"])
def test_a_user_without_rights_is_told_what_is_missing(stage: str, server: ApiServer, tmp_path: Path) -> None:
    done = run(tmp_path, stage, "--kubeconfig", server.nobody)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (3, "", [])
    assert 'User "nobody" cannot list' in done.stderr
    assert "ask for the rights of docs/rbac.md" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def halting_proxy(target: tuple[str, int], after: int, halted: threading.Event) -> Iterator[int]:
    """A port that passes everything on, until `after` bytes of answers: from then on the server seems to think."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        budget = [after]
        ends: list[socket.socket] = []

        def pump(source: socket.socket, sink: socket.socket, counted: bool) -> None:
            try:
                while data := source.recv(4096):
                    budget[0] -= len(data) if counted else 0
                    if budget[0] < 0:
                        halted.set()
                        return
                    sink.sendall(data)
            except OSError:
                return  # one of the two sides has gone

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return  # the test is over
                upstream = socket.create_connection(target)
                ends.extend((client, upstream))
                threading.Thread(target=pump, args=(client, upstream, False)).start()
                threading.Thread(target=pump, args=(upstream, client, True)).start()

        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for end in (listener, *ends):
                with suppress(OSError):  # the other side may have gone
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            accepting.join()


@pytest.mark.parametrize("stage", ["scan", "translate"])
def test_ctrl_c_in_the_middle_leaves_the_earlier_run(stage: str, server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "migration").mkdir()
    (tmp_path / "migration" / "snapshot.jsonl.gz").write_bytes(b"of an earlier run")
    address, halted = urlsplit(server.url), threading.Event()
    assert address.hostname is not None
    assert address.port is not None
    with halting_proxy((address.hostname, address.port), HALF_OF_A_SCAN, halted) as port:
        config = server.scanner.read_text().replace(server.url, f"https://127.0.0.1:{port}")
        (tmp_path / "config").write_text(config)
        process = subprocess.Popen(
            command(stage, "--kubeconfig", "config"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert halted.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in errors
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"config", "migration/snapshot.jsonl.gz"}
    assert (tmp_path / "migration" / "snapshot.jsonl.gz").read_bytes() == b"of an earlier run"
