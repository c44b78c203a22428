"""What an agent is told: understood fully, or refused with the reason. And what it says where little works."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from threading import Event

import msgspec
import pytest

import migrate
from migrate.agent.alarms import tell_troubles
from migrate.agent.files import RunFiles, Said
from migrate.agent.settings import Places, node_name, read_settings
from migrate.agent.telling import agent_status
from migrate.cli.audit_agent import _write
from migrate.errors import InputError
from migrate.model.agent_documents import PROTOCOL, AgentSettings, AgentStatus
from tests.command_line import migrate as command
from tests.command_line import migrate_process
from tests.recordings import Recording
from tests.unit.audit_records import a_store, counters, record

SETTINGS = AgentSettings(tool_version=migrate.__version__, run="run-1", cluster="digest", began=1, seconds=60)
MEANT = msgspec.to_builtins(SETTINGS)


def written(folder: Path, **changed: object) -> Path:
    """The settings with some of them changed; None takes one out."""
    path = folder / "run.json"
    path.write_bytes(msgspec.json.encode({key: value for key, value in (MEANT | changed).items() if value is not None}))
    return path


def places(folder: Path) -> Places:
    """Of an agent whose files are in a folder."""
    return Places(folder / "run.json", folder / "store", folder / "bpf")


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    services = ["10.0.0.1", "fd00::1"]
    read = read_settings(written(tmp_path, services=services, loader="bcc", shortestEpoch=2.5))
    assert read == msgspec.structs.replace(SETTINGS, services=tuple(services), loader="bcc", shortest_epoch=2.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"protocol": PROTOCOL + 1, "toolVersion": "9.9"}, "deploy an image of that version", id="newer"),
        pytest.param({"protocol": None}, "missing required field `protocol`", id="no protocol"),
        pytest.param({"surprise": 1}, "unknown field `surprise`", id="a setting that is not known"),
        pytest.param({"seconds": "60"}, r"Expected `int`, got `str` - at `\$.seconds`", id="a number as text"),
        pytest.param({"seconds": 0}, "seconds has to be more than 0", id="no time"),
        pytest.param({"maxSize": 5}, "maxSize has to be 1048576 bytes or more", id="no room"),
        pytest.param({"shortestEpoch": 0}, "shortestEpoch has to be more than 0", id="no epoch"),
        pytest.param({"loader": "bpftool"}, "Invalid enum value 'bpftool'", id="another loader"),
        pytest.param({"services": ["10.0.0.0/8"]}, "'10.0.0.0/8' is no address", id="a network as a Service"),
        pytest.param({"run": "../../etc"}, "no name of a folder", id="a way out of the folder"),
        pytest.param({"run": ""}, "no name of a folder", id="no run"),
        pytest.param({"run": ".."}, "no name of a folder", id="the folder above"),
    ],
)
def test_settings_that_are_not_understood(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(InputError, match=f"{path}: .*{said}"):
        read_settings(path)
    assert agent_status(places(tmp_path), "node-1").state == "failed"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b'{"protocol": 1'])
def test_settings_that_are_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(InputError, match="not the settings of a run"):
        read_settings(tmp_path / "run.json")


def test_settings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory; the ConfigMap cilium-migrate-audit has to be"):
        read_settings(tmp_path / "run.json")
    told = agent_status(places(tmp_path), "node-1")
    assert (told.state, told.run, told.node) == ("failed", "", "node-1")


def test_a_node_has_a_name() -> None:
    assert node_name({"NODE_NAME": "node-1"}) == "node-1"
    with pytest.raises(InputError, match="NODE_NAME"):
        node_name({})


def test_an_agent_that_has_not_said_anything_is_starting(tmp_path: Path) -> None:
    written(tmp_path)
    told = agent_status(places(tmp_path), "node-1")
    assert (told.state, told.failure, told.left_seconds, told.notes) == ("starting", "", 60, ())


def test_a_store_that_is_a_file_is_a_failure(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "store").write_text("")
    told = agent_status(places(tmp_path), "node-1")
    assert (told.state, told.failure) == (
        "failed",
        f"{tmp_path}/store: not a folder; the volume of the recordings has to be mounted there",
    )


def test_who_recorded_and_is_not_there_starts_again(tmp_path: Path) -> None:
    written(tmp_path, toolVersion="0.0.1")
    files = RunFiles(tmp_path / "store", "run-1")
    files.make()
    files.say(Said(state="recording", since=1, leads=True, notes=("a note",)))
    recording = Recording(files.recording)
    veth = recording.veth("shop/web")
    recording.flow(veth, "from", "10.0.0.1", "10.0.0.2", "TCP/80", events=3)
    recording.close(lost=1)
    told = agent_status(places(tmp_path), "node-1")
    assert (told.state, told.leads) == ("starting", False)
    assert (told.new_flows, told.exact, told.coarse, told.lost) == (4, 3, 0, 1)
    assert told.notes == ("a note", f"the run was begun by version 0.0.1, this agent is {migrate.__version__}")


def test_a_damaged_recording_is_a_failure_that_is_told(tmp_path: Path) -> None:
    written(tmp_path)
    files = RunFiles(tmp_path / "store", "run-1")
    files.make()
    files.recording.write_text("no database")
    told = agent_status(places(tmp_path), "node-1")
    assert "not a SQLite file" in told.failure
    assert (told.revision, told.bytes) == (0, len("no database")), "there is something that is not pulled"


def test_what_an_agent_says_is_cut_to_what_fits(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run-1")
    files.make()
    size = (files.folder / "agent.json").stat().st_size
    files.say(Said(state="failed", since=1, failure="\U0001f4a5\n\x00" * 9000, notes=("ä" * 9000, "b" * 9000, "c")))
    said = files.said()
    assert said is not None
    assert (said.state, len(said.notes)) == ("failed", 2)
    assert said.failure.startswith("\U0001f4a5  \U0001f4a5")
    assert (files.folder / "agent.json").stat().st_size == size
    files.say(Said(state="finished", since=2))
    assert files.said() == Said(state="finished", since=2)


def test_asking_to_stop_stays_asked(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run-1")
    assert not files.is_stop_asked()
    files.ask_to_stop()
    files.make()
    assert files.is_stop_asked()
    assert RunFiles(tmp_path, "run-1").is_stop_asked()
    assert not RunFiles(tmp_path, "run-2").is_stop_asked()


def test_the_commands_answer_without_an_agent(tmp_path: Path) -> None:
    written(tmp_path)
    options = ("--settings", "run.json", "--store", "store", "--bpffs", "bpf")
    status = command(tmp_path, "audit", "agent", "status", *options, NODE_NAME="node-1")
    assert (status.status, status.stdout.count("\n")) == (0, 1)
    pull = command(tmp_path, "audit", "agent", "pull", *options, NODE_NAME="node-1")
    assert (pull.status, pull.stdout) == (3, "")
    assert "nothing is recorded yet" in pull.stderr
    stop = command(tmp_path, "audit", "agent", "stop", "--patience", "0", *options, NODE_NAME="node-1")
    assert (stop.status, stop.stdout) == (3, "")
    assert "the agent of node-1 has not stopped after 0 s: it is starting" in stop.stderr
    nowhere = command(tmp_path, "audit", "agent", "status", *options)
    assert (nowhere.status, nowhere.stdout) == (2, "")


class Noted:
    """Takes down what it is told."""

    def __init__(self, enough: Event) -> None:
        self.told: list[tuple[AgentStatus | None, AgentStatus]] = []
        self._enough = enough

    def report(self, before: AgentStatus | None, now: AgentStatus) -> int:
        self.told.append((before, now))
        if len(self.told) == 2:
            self._enough.set()
        return 0


def test_an_agent_tells_what_has_become_of_it(tmp_path: Path) -> None:
    ended = Event()
    noted = Noted(ended)
    (tmp_path / "store").write_text("")
    watching = tell_troubles(places(tmp_path), "node-1", ended, lambda settings: noted, seconds=0.01)
    written(tmp_path)
    watching.join(60)
    (none, first), (before, now) = noted.told
    assert none is None
    assert before == first
    assert now.failure.endswith("the volume of the recordings has to be mounted there")


def test_a_look_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Event()
    noted = Noted(ended)
    failures = iter([OSError(5, "Input/output error"), sqlite3.OperationalError("disk I/O error")])

    def status(where: Places, node: str) -> AgentStatus:
        for failure in failures:
            raise failure
        return agent_status(where, node)

    monkeypatch.setattr("migrate.agent.alarms.agent_status", status)
    written(tmp_path)
    tell_troubles(places(tmp_path), "node-1", ended, lambda settings: noted, seconds=0.01).join(60)
    assert len(noted.told) == 2


def test_the_figures_are_printed_or_written(tmp_path: Path) -> None:
    written(tmp_path)
    options = ("--settings", "run.json", "--store", "store", "--bpffs", "bpf")
    printed = command(tmp_path, "audit", "agent", "metrics", *options, NODE_NAME="node-1")
    assert printed.status == 0
    assert 'cilium_migrate_audit_state{node="node-1",state="starting"} 1' in printed.stdout
    file = command(tmp_path, "audit", "agent", "metrics", "--textfile-dir", ".", *options, NODE_NAME="node-1")
    assert (file.status, file.stdout) == (0, "")
    assert "planned_seconds" in (tmp_path / "cilium_migrate_audit.prom").read_text()


def test_a_reader_of_a_pull_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    written(tmp_path)
    files = RunFiles(tmp_path / "store", "run-1")
    files.make()
    with a_store(files.recording) as store:
        for epoch in range(4):
            store.commit_epoch(epoch, [record(port=port) for port in range(20_000)], counters(0))
    reading, writing = os.pipe()
    os.close(reading)
    options = ("--settings", "run.json", "--store", "store", "--bpffs", "bpf")
    ended = migrate_process(tmp_path, "audit", "agent", "pull", *options, stdout=writing)
    os.close(writing)
    assert (ended.status, ended.stderr) == (141, "")


def test_the_alarm_of_a_pull_is_for_its_reader_only(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    try:
        _write(b"a piece")
    finally:
        left = signal.alarm(0)
    assert (left, capfdbinary.readouterr().out) == (0, b"a piece")
