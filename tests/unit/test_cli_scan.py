"""`migrate scan`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import array
import fcntl
import gzip
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from migrate.scan import snapshot
from tests.command_line import (
    PATIENCE,
    PROGRAM,
    Ended,
    environment,
    migrate,
    migrate_process,
    status_of,
)
from tests.unit.scripted_server import ScriptedServer, as_json, error, listing, scripted_server, write_kubeconfig

CASES = Path(__file__).parents[1] / "cases/files"
POLICY = CASES / "helm-output.yaml"


def scan(folder: Path, *options: str | Path, stdin: bytes = b"", **more: str) -> Ended:
    return migrate(folder, "scan", *options, stdin=stdin, **more)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        running.script("/api/v1/namespaces", listing({"metadata": {"name": "shop"}}))
        yield running


def test_files_become_a_snapshot_and_its_header_goes_to_stdout(tmp_path: Path) -> None:
    done = scan(tmp_path, "-f", POLICY, "-o", "json")
    assert (done.status, done.stderr) == (0, "wrote migration/snapshot.jsonl.gz with 2 objects\n")
    path = tmp_path / "migration/snapshot.jsonl.gz"
    assert json.loads(done.stdout) == json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
    assert [str(raw.ref) for raw in snapshot.read(path).objects] == ["NetworkPolicy shop/web", "Namespace shop"]
    header = json.loads(done.stdout)
    assert (header["origin"], header["name"], header["taken"]) == ("files", str(POLICY), None)
    assert [(kind["kind"], kind["count"]) for kind in header["kinds"]] == [("NetworkPolicy", 1), ("Namespace", 1)]


def test_yaml_says_the_same_as_json(tmp_path: Path) -> None:
    as_yaml, as_json_text = (scan(tmp_path, "-f", POLICY, "-o", form, "--quiet") for form in ("yaml", "json"))
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json_text.stdout)
    assert as_yaml.stderr == ""


def test_table_shows_facts_with_evidence_counts_and_findings(tmp_path: Path) -> None:
    text = (CASES / "mixed-list.yaml").read_text()
    secret = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: '[red]x'}\n"
    done = scan(tmp_path, "-f", "-", stdin=(text + secret).encode())
    assert done.status == 0
    words = " ".join(done.stdout.split())
    assert "NetworkPolicy networking.k8s.io/v1 read 1" in words
    assert "SCAN-SECRET-IGNORED Secret [red]x was left out unread stdin:" in words
    assert "policy-count" in words
    assert "\x1b" not in done.stdout


def test_what_steers_a_terminal_is_shown_not_sent(tmp_path: Path) -> None:
    secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: "a\\e[2J\\nb"}\n'
    done = scan(tmp_path, "-f", "-", stdin=secret.encode())
    assert "a\\x1b[2J\\x0ab" in done.stdout


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    written = [
        scan(tmp_path, "-f", CASES / "kustomize", "--output-dir", name, "-o", "json").stdout
        + (tmp_path / name / "snapshot.jsonl.gz").read_bytes().hex()
        for name in ("one", "two")
    ]
    assert written[0] == written[1]


def test_namespaces_and_what_azure_says(tmp_path: Path) -> None:
    (tmp_path / "az.json").write_text('{"name": "prod", "networkProfile": {"networkPlugin": "azure"}}')
    files = ("-f", POLICY, "-f", CASES / "kustomize", "--az-json", "az.json")
    assert scan(tmp_path, *files, "-n", "prod-shop").status == 0
    found = snapshot.read(tmp_path / "migration/snapshot.jsonl.gz")
    assert {str(raw.ref) for raw in found.objects} == {
        "AzureManagedCluster prod",
        "Namespace prod-shop",
        "Namespace shop",
        "NetworkPolicy prod-shop/prod-web",
    }
    assert found.header.namespaces == ("prod-shop",)
    missing = scan(tmp_path, *files, "-n", "nowhere")
    assert (missing.status, "namespace nowhere" in missing.stderr) == (2, True)


def large_document(folder: Path) -> None:
    with (folder / "x").open("wb") as stream:
        stream.writelines(b"# " + b"x" * 2**20 + b"\n" for _ in range(33))


def no_content(folder: Path) -> None:
    """The input is named by the options alone."""


def content(text: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "x").write_bytes(text if isinstance(text, bytes) else text.encode())


OBJECT = "apiVersion: v1\nkind: Service\n"


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        pytest.param(no_content, "-f x", "x: no such file or folder", id="missing file"),
        pytest.param(lambda folder: (folder / "x").mkdir(), "-f x", "x: a folder without manifests", id="empty folder"),
        pytest.param(large_document, "-f x", "x:1: a YAML document larger than 32 MiB", id="large YAML"),
        pytest.param(no_content, f"-f {CASES}/laughs.yaml", "more than 100000 nodes", id="YAML bomb"),
        pytest.param(content("a: " + "[" * 99999), "-f x", "x:1: nested deeper than 200", id="deep nesting"),
        pytest.param(content('{"a":' * 99999), "-f x", "x:1: nested deeper than 200", id="deep JSON"),
        pytest.param(
            content("a: 1\na: 2\n"), "-f x", 'x:2: the key "a" stands here and in line 1', id="duplicate keys"
        ),
        pytest.param(content("a:\n\tb: 1\n"), "-f x", "x:2: a tab", id="tabs"),
        pytest.param(content(b"\x7fELF\0"), "-f x", "x: a binary file", id="binary file"),
        pytest.param(content(b"a: \xe4\n"), "-f x", "x:1: not UTF-8", id="not UTF-8"),
        pytest.param(content(OBJECT), "-f x", "x:1: Service (v1) has no metadata.name", id="no metadata"),
        pytest.param(content(OBJECT + "metadata: {name: ../x}\n"), "-f x", "x:3: metadata.name '../x'", id="name"),
        pytest.param(no_content, f"-f {CASES}/chart", "policy.yaml:4: a Helm template", id="Helm template"),
        pytest.param(content("[]"), f"-f {POLICY} --az-json x", "a list, as az aks list", id="az aks list"),
        pytest.param(no_content, f"-f {POLICY} -A -n shop", "-A and -n contradict", id="-A and -n"),
        pytest.param(no_content, f"-f {POLICY} --context a", "give one or the other", id="-f and --context"),
        pytest.param(no_content, "--kubeconfig missing", "missing", id="missing kubeconfig"),
        pytest.param(content("a: ["), "--kubeconfig x", "x", id="broken kubeconfig"),
        pytest.param(content(""), f"-f {POLICY} --output-dir x/y", "cannot be written", id="no place for the result"),
        pytest.param(no_content, "-o xml", "xml", id="unknown form"),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(
    prepare: Callable[[Path], object], options: str, message: str, tmp_path: Path
) -> None:
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = scan(tmp_path, *options.split())
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_ends_with_2_and_leaves_the_earlier_snapshot(tmp_path: Path) -> None:
    assert scan(tmp_path, "-f", POLICY).status == 0
    path = tmp_path / "migration/snapshot.jsonl.gz"
    before = path.read_bytes()
    small = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (64, 64))
    done = migrate_process(tmp_path, "scan", "-f", POLICY, limit=small)
    assert done.status == 2
    assert "writing failed: File too large; free space or choose another place" in done.stderr
    assert (path.read_bytes(), [entry.name for entry in path.parent.iterdir()]) == (before, [path.name])


def test_a_full_standard_output_ends_with_2(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = migrate_process(tmp_path, "scan", "-f", POLICY, stdout=full.fileno())
    assert (done.status, "standard output: writing failed" in done.stderr) == (2, True)


def test_a_closed_pipe_ends_with_141(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = migrate_process(tmp_path, "scan", "-f", POLICY, "-q", stdout=write_end)
    os.close(write_end)
    assert (done.status, done.stderr) == (141, "")


def test_a_bug_of_ours_ends_with_70(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("migrate.scan.taking.detect", broken)
    done = scan(tmp_path, "-f", POLICY)
    assert (done.status, done.stdout, list(tmp_path.iterdir())) == (70, "", [])
    assert "ZeroDivisionError" in done.stderr
    assert "this is a bug in migrate" in done.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def unread(pipe: int) -> int:
    """How many bytes of a pipe nobody has taken yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def interrupt(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def test_ctrl_c_while_reading_standard_input_ends_with_130(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [*PROGRAM, "scan", "-f", "-"], stdin=read_end, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    )
    os.write(write_end, POLICY.read_bytes())
    wait_until(lambda: unread(read_end) == 0)
    status, errors = interrupt(process)
    os.close(write_end)
    os.close(read_end)
    assert (status, list(tmp_path.iterdir())) == (130, [])
    assert b"Traceback" not in errors


def test_ctrl_c_while_a_cluster_is_read_ends_with_130(tmp_path: Path) -> None:
    """The server takes the request and never answers."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                asked.set()
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=accept)
        thread.start()
        kubeconfig = write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{listener.getsockname()[1]}")
        process = subprocess.Popen(
            [*PROGRAM, "scan", "--kubeconfig", kubeconfig], stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
        )
        assert asked.wait(PATIENCE)
        status, errors = interrupt(process)
        thread.join()
    assert (status, [path.name for path in tmp_path.iterdir()]) == (130, ["config"])
    assert b"Traceback" not in errors


def test_a_cluster_is_read_with_the_time_of_the_build(server: ScriptedServer, tmp_path: Path) -> None:
    pod = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [{"env": ["hunter2"]}]}}
    server.script("/api/v1/pods", listing(pod))
    kubeconfig = write_kubeconfig(tmp_path / "config", server.url)
    done = scan(tmp_path, "--kubeconfig", kubeconfig, "-o", "json", SOURCE_DATE_EPOCH="1700000000")
    header = json.loads(done.stdout)
    assert (done.status, header["taken"], header["origin"]) == (0, "2023-11-14T22:13:20Z", "cluster")
    assert (header["name"], header["serverVersion"], header["complete"]) == ("test", "v1.34.4", True)
    whole = gzip.decompress((tmp_path / "migration/snapshot.jsonl.gz").read_bytes())
    assert (b'"name":"web"' in whole, b"hunter2" in whole) == (True, False)


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    done = scan(tmp_path, "-f", POLICY, SOURCE_DATE_EPOCH="today")
    assert (done.status, "SOURCE_DATE_EPOCH=today" in done.stderr) == (2, True)


def test_a_kind_that_may_not_be_read_ends_with_4_and_keeps_the_rest(server: ScriptedServer, tmp_path: Path) -> None:
    server.script("/api/v1/pods", error(403, "pods is forbidden"))
    done = scan(tmp_path, "--kubeconfig", write_kubeconfig(tmp_path / "config", server.url), "-o", "json")
    assert (done.status, json.loads(done.stdout)["complete"]) == (4, False)
    assert "incomplete" in done.stderr
    found = snapshot.read(tmp_path / "migration/snapshot.jsonl.gz")
    assert [str(raw.ref) for raw in found.objects] == ["Namespace shop"]
    assert "SCAN-KIND-FORBIDDEN" in [finding.id for finding in found.header.findings]


def test_a_field_that_cannot_be_read_in_a_file_ends_with_4(tmp_path: Path) -> None:
    done = scan(tmp_path, "-f", "-", stdin=b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: 1}\n")
    assert (done.status, "SCAN-OBJECT-UNREADABLE" in done.stdout) == (4, True)


def test_expired_credentials_end_with_3(server: ScriptedServer, tmp_path: Path) -> None:
    server.script("/version", error(401, "Unauthorized"))
    done = scan(tmp_path, "--kubeconfig", write_kubeconfig(tmp_path / "config", server.url))
    assert (done.status, done.stdout) == (3, "")
    assert "credentials are wrong or expired" in done.stderr
    assert not (tmp_path / "migration").exists()


def test_impersonation_reaches_the_server(server: ScriptedServer, tmp_path: Path) -> None:
    config = write_kubeconfig(tmp_path / "config", server.url)
    assert scan(tmp_path, "--kubeconfig", config, "--as", "eve", "--as-group", "ops").status == 0
    assert {(*headers["Impersonate-User"], *headers["Impersonate-Group"]) for headers in server.headers} == {
        ("eve", "ops")
    }


def test_only_the_named_namespaces_are_asked_for(server: ScriptedServer, tmp_path: Path) -> None:
    server.script("/api/v1/namespaces/shop/pods", as_json({"items": []}))
    assert scan(tmp_path, "--kubeconfig", write_kubeconfig(tmp_path / "config", server.url), "-n", "shop").status == 0
    assert (server.asked("/api/v1/namespaces/shop/pods"), server.asked("/api/v1/pods")) == (1, 0)


def on_terminal(folder: Path, *options: str | Path, **more: str) -> tuple[str, str]:
    """What the command writes to stdout and to stderr when each is a terminal."""
    masters, slaves = zip(*(pty.openpty() for _ in range(2)), strict=True)
    written: list[list[bytes]] = [[], []]

    def drain(index: int) -> None:
        try:
            while data := os.read(masters[index], 65536):
                written[index].append(data)
        except OSError:
            return  # the terminal was closed by its last user

    threads = [threading.Thread(target=drain, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    with open(slaves[0], "w") as stdout, open(slaves[1], "w") as stderr:  # noqa: PTH123 - descriptors, not paths
        assert status_of(folder, ("scan", *options), sys.stdin, stdout, stderr, environment(**more)) == 0
    for thread, master in zip(threads, masters, strict=True):
        thread.join()
        os.close(master)
    return b"".join(written[0]).decode(), b"".join(written[1]).decode()


def test_colour_and_progress_are_for_terminals_only(server: ScriptedServer, tmp_path: Path) -> None:
    options = ("--kubeconfig", write_kubeconfig(tmp_path / "config", server.url))
    result, errors = on_terminal(tmp_path, *options)
    assert ("\x1b[1m" in result, "reading" in errors) == (True, True)
    plain, _ = on_terminal(tmp_path, *options, NO_COLOR="1", TERM="dumb")
    assert "\x1b" not in plain
    piped = scan(tmp_path, *options)
    assert ("\x1b" in piped.stdout, "reading" in piped.stderr) == (False, False)
    _, quiet = on_terminal(tmp_path, *options, "--quiet")
    assert quiet == ""
