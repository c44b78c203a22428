"""However a scan of nodes ends, no pod stays; and what a killed one left, the next one takes away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet, Script
from tests.apiserver.node_scans import PODS, pods_left, print_sample, reasons, scan
from tests.command_line import PATIENCE, PROGRAM, environment

pytestmark = pytest.mark.apiserver

HANGS = Script(command=lambda pod: ["sleep", "1000"])


@contextmanager
def scanning(server: ApiServer, folder: Path, kubeconfig: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A scan of nodes in a process of its own; it is ended with the block."""
    options = ("scan", "--nodes", "--image", "x:1", "--yes", "--kubeconfig", str(kubeconfig or server.scanner))
    process = subprocess.Popen(
        [*PROGRAM, *options], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_the_pods_away_and_keeps_what_was_read(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, number: signal.Signals
) -> None:
    nodes.add_node("good")
    for name in ("slow-1", "slow-2"):
        nodes.add_node(name, HANGS)
    with scanning(nodes_server, tmp_path) as process:
        wait_until(lambda: nodes.running() == 2 and (tmp_path / "migration/nodes/good").is_dir())
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"interrupted" in said) == (130, True), said.decode()
    assert pods_left(nodes_server) == []
    wait_until(lambda: nodes.running() == 0)
    assert (tmp_path / "migration/nodes/good/ipset-save.txt").is_file()
    assert "slow-1 was not read: reading was interrupted" in (tmp_path / "migration/nodes.json").read_text()


def test_pods_of_a_killed_scan_end_by_themselves_and_go_with_the_next_one(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    nodes.add_node("node", Script(command=lambda pod: ["sh", "-c", f"until [ -e {flag} ]; do sleep 0.05; done"]))
    with scanning(nodes_server, tmp_path) as process:
        wait_until(lambda: nodes.running() == 1)
        process.kill()
    [left] = pods_left(nodes_server)
    assert cast("dict[str, object]", left["spec"])["activeDeadlineSeconds"] == 120
    name = cast("dict[str, str]", left["metadata"])["name"]
    nodes.scripts["node"] = Script()
    busy = scan(nodes_server, tmp_path, "--yes")
    assert busy.status == 0
    assert f"pod {name} of an earlier run (made " in busy.stderr
    assert "may still be in use and stays" in busy.stderr
    assert [cast("dict[str, str]", pod["metadata"])["name"] for pod in pods_left(nodes_server)] == [name]
    flag.touch()
    wait_until(lambda: _phase(nodes_server, name) == "Succeeded")
    assert scan(nodes_server, tmp_path, "--yes").status == 0
    wait_until(lambda: pods_left(nodes_server) == [])


def _phase(server: ApiServer, name: str) -> str:
    return str(cast("Object", Client(server.admin).must("GET", f"{PODS}/{name}")["status"])["phase"])


def test_a_place_that_cannot_be_written_leaves_no_pod(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    nodes.add_node("good")
    nodes.add_node("slow", HANGS)
    stranger = tmp_path / "migration/nodes/good"
    stranger.mkdir(parents=True)
    (stranger / "diary.txt").write_text("no part of a dump")
    (stranger / "ipset-save.txt").write_text("")
    done = scan(nodes_server, tmp_path, "--yes")
    assert done.status == 2, done.stderr
    assert "diary.txt" in done.stderr
    assert pods_left(nodes_server) == []
    wait_until(lambda: nodes.running() == 0)


class Relay:
    """Stands between a client and the API server, and can be away."""

    def __init__(self, server: ApiServer) -> None:
        self._target = urlsplit(server.url).netloc.split(":")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.away = False
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def leave(self) -> None:
        """Cut all connections, and take no new one."""
        self.away = True
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End for good."""
        self.leave()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for thread in self._threads:
            thread.join()
        for connection in (self._listening, *self._open):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            server = socket.create_connection((self._target[0], int(self._target[1])))
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=_pass_on, args=(source, target), daemon=True))
                self._threads[-1].start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(nodes_server: ApiServer, tmp_path: Path) -> Iterator[Relay]:
    made = Relay(nodes_server)
    text = nodes_server.scanner.read_text().replace(nodes_server.url, f"https://127.0.0.1:{made.port}")
    (tmp_path / "kubeconfig").write_text(text)
    yield made
    made.close()


def test_an_api_server_that_was_away_costs_nothing(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, relay: Relay
) -> None:
    flag = tmp_path / "go"
    wait = f"until [ -e {flag} ]; do sleep 0.05; done; exec "

    def slow(pod: Object) -> list[str]:
        program, *arguments = print_sample(pod)
        return ["sh", "-c", f'{wait} "$0" "$@"', program, *arguments]

    nodes.add_node("node", Script(command=slow))
    with scanning(nodes_server, tmp_path, tmp_path / "kubeconfig") as process:
        wait_until(lambda: nodes.running() == 1 and nodes.asked_for_logs != [])
        relay.leave()
        flag.touch()
        wait_until(lambda: nodes.running() == 0)
        relay.away = False
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said.decode() + out.decode()
    assert pods_left(nodes_server) == []


def test_pods_that_cannot_be_deleted_are_named(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrate.collect.pods._REMOVE_SECONDS", 2.0)
    nodes.add_node("node", HANGS)
    threading.Thread(target=_leave_when, args=(relay, nodes), daemon=True).start()
    done = scan(nodes_server, tmp_path, "--yes", "--kubeconfig", str(tmp_path / "kubeconfig"), "--node-timeout", "10s")
    [left] = pods_left(nodes_server)
    name = cast("dict[str, str]", left["metadata"])["name"]
    assert "within 10 s" in reasons(done)[0]
    assert f"kubectl delete pods --namespace cilium-migrate {name}" in done.stderr
    assert done.status == 4


def _leave_when(relay: Relay, nodes: Kubelet) -> None:
    wait_until(lambda: nodes.asked_for_logs != [])
    relay.leave()


def test_nobody_is_asked_where_nobody_can_answer(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    nodes.add_node("node")
    done = scan(nodes_server, tmp_path)
    assert done.status == 2
    assert "nobody can be asked whether to create these pods; give --yes" in done.stderr
    assert nodes.seen == []


def test_who_says_no_gets_no_pod(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    nodes.add_node("node")
    master, slave = os.openpty()
    options = ("scan", "--nodes", "--image", "x:1", "--kubeconfig", str(nodes_server.scanner))
    with os.fdopen(slave) as terminal:
        process = subprocess.Popen(
            [*PROGRAM, *options], cwd=tmp_path, env=environment(), stdin=terminal, stderr=subprocess.PIPE
        )
    os.write(master, b"n\n")
    _, said = process.communicate(timeout=PATIENCE)
    os.close(master)
    assert process.returncode == 130
    assert b"pods created in namespace cilium-migrate: 1, 8 at a time" in said
    assert nodes.seen == []
