"""The agent of a node: it records, goes on after anything, waits to be read, and leaves nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from migrate.audit.pins import open_folder
from migrate.audit.pulling import pulled_revision, receive
from migrate.audit.reading import open_recording
from migrate.model.agent_documents import AgentStatus, Cleaned
from tests.kernel.agents import NODE_NAME, RUN, SETTINGS, Agent, an_agent
from tests.kernel.audited_lab import left_in_kernel
from tests.kernel.kube_lab import BACKEND_PORT, Answer, Lab
from tests.kernel.lab import run, unmount
from tests.unit.pulled import content

pytestmark = pytest.mark.kernel

_PODS = 5
_NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all tests; pod b serves."""
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        yield made


def talk(lab: Lab, times: int = 3) -> None:
    """Connections from pod a to pod b."""
    for _ in range(times):
        assert lab.connect("a", lab.pods["b"].address, BACKEND_PORT) is Answer.ANSWERED


def seen(recording: Path) -> tuple[int, int]:
    """The connections from pod a to pod b that were seen at a, and at b."""
    with open_recording(recording) as reading:
        rows = [row for row in reading.flows() if row[7] == 6 and row[8] == BACKEND_PORT]
        return sum(row[11] for row in rows if not row[2]), sum(row[11] for row in rows if row[2])


def is_balanced(told: AgentStatus) -> bool:
    """Whether all that the kernel counted is accounted for."""
    return told.new_flows == told.exact + told.coarse + told.lost


def test_an_agent_is_read_stopped_and_cleaned(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    copy = tmp_path / "copies/node-1.db"
    with an_agent(lab.node, tmp_path, bpffs) as agent:
        told = agent.wait_until_watching(_PODS)
        assert (told.run, told.node, told.failure) == (RUN, NODE_NAME, "")
        talk(lab)
        receive([answer(agent, "pull", "--since", "0")], copy)
        talk(lab)
        stopped = msgspec.json.decode(answer(agent, "stop"), type=AgentStatus)
        assert (stopped.state, stopped.left_seconds) == ("finished", 0)
        assert is_balanced(stopped)
        receive([answer(agent, "pull", "--since", str(pulled_revision(copy)))], copy)
        assert pulled_revision(copy) == stopped.revision
        assert content(copy) == content(agent.recording)
        assert seen(copy) == (6, 6)
        assert "pods-not-told" in stopped.losses
        assert msgspec.json.decode(answer(agent, "status"), type=AgentStatus).revision == stopped.revision
        cleaned = msgspec.json.decode(answer(agent, "clean"), type=Cleaned)
        assert cleaned.left == ()
        assert str(agent.recording) in cleaned.removed
        assert left_in_kernel(lab, bpffs) == []
        assert agent.is_running()
        assert agent.signal(signal.SIGTERM) == 0
    assert not (tmp_path / "store").exists()


def answer(agent: Agent, *command: str) -> bytes:
    """What a command beside an agent prints."""
    ended = agent.ask(*command)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_killed_and_restarted_agents_go_on_and_every_connection_counts_once(
    lab: Lab, tmp_path: Path, bpffs: Path
) -> None:
    copy = tmp_path / "copies/node-1.db"
    with an_agent(lab.node, tmp_path, bpffs) as agent:
        for _ in range(2):
            agent.wait_until_watching(_PODS)
            talk(lab)
            agent.pull(copy)
            agent.signal(signal.SIGKILL)
            assert agent.status().state == "starting"
            talk(lab)
            agent.start()
        agent.wait_until_watching(_PODS)
        assert agent.signal(signal.SIGTERM) == 0
        assert left_in_kernel(lab, bpffs) == []
        agent.start()
        agent.wait_until_watching(_PODS)
        talk(lab)
        assert is_balanced(agent.stop())
        agent.pull(copy)
        assert content(copy) == content(agent.recording)
        assert seen(copy) == (15, 15)
        with open_recording(copy) as reading:
            assert len(reading.segments()) == 2
        assert agent.clean().left == ()
        assert left_in_kernel(lab, bpffs) == []


def test_when_the_time_is_over_it_waits_and_does_not_begin_again(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    short = msgspec.structs.replace(SETTINGS, seconds=2, forgotten_seconds=1)
    with an_agent(lab.node, tmp_path, bpffs, short) as agent:
        told = agent.wait_until(lambda told: told.state == "finished")
        agent.wait_until(lambda told: "the kernel is tidied: nothing was left" in agent.log)
        agent.signal(signal.SIGKILL)
        agent.start()
        agent.wait_until(lambda told: agent.log.count("the kernel is tidied") == 2)
        assert agent.status().revision == told.revision
        assert agent.log.count("recording ended: complete") == 1
        assert agent.is_running()
        longer = msgspec.structs.replace(SETTINGS, seconds=3600)
        agent.settle(longer)
        agent.signal(signal.SIGTERM)
        agent.start()
        agent.wait_until_watching(_PODS)
        agent.stop()


def test_a_node_that_cannot_be_probed_is_said_and_tried_again(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    with an_agent(lab.node, tmp_path, bpffs, through=_NO_RIGHTS) as agent:
        told = agent.wait_until(lambda told: told.state == "failed")
        assert "no CAP_BPF" in told.failure
        agent.wait_until(lambda told: agent.log.count("trying again") >= 2)
        assert "trying again in 10s" in agent.log
        stopped = agent.stop()
        assert "no CAP_BPF" in stopped.failure or stopped.revision
        assert agent.is_running()
        assert agent.clean().left == ()


def test_what_is_in_the_way_is_said_until_it_is_gone(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    run("mount", "-t", "tmpfs", "-o", "ro,size=64m", "tmpfs", str(store))
    other = open_folder(bpffs)
    try:
        with an_agent(lab.node, tmp_path, bpffs, b'{"protocol": 1, "run": "x"}') as agent:
            assert "not the settings of a run" in agent.wait_until(lambda told: "failed" in agent.log).failure
            agent.settle(SETTINGS)
            agent.wait_until(lambda told: f"failed: [Errno 30] Read-only file system: '{store}/{RUN}'" in agent.log)
            reason = f"{store}: mounted to be read only; the agent has to write there"
            assert (agent.status().state, agent.status().failure) == ("failed", reason)
            assert agent.ask("pull").returncode == 3
            run("mount", "-o", "remount,rw", str(store))
            agent.wait_until(lambda told: "another audit runs on this node" in told.failure)
            other.remove()
            other.close()
            assert agent.wait_until_watching(_PODS).failure == ""
            agent.stop()
    finally:
        unmount(store)


def test_a_full_disk_is_said_and_the_agent_can_still_be_stopped(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(store))
    try:
        with an_agent(lab.node, tmp_path, bpffs) as agent:
            agent.wait_until_watching(_PODS)
            _fill(store / "ballast")
            talk(lab)
            told = agent.wait_until(lambda told: any("the disk is full" in note for note in told.notes))
            assert told.state == "recording"
            stopped = agent.stop()
            assert any("the disk was full at the end" in note for note in stopped.notes)
            assert agent.is_running()
            assert agent.clean().left == ()
    finally:
        unmount(store)


def test_what_others_left_is_named_and_taken_away(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    with an_agent(lab.node, tmp_path, bpffs) as agent:
        agent.wait_until_watching(_PODS)
        agent.signal(signal.SIGKILL)
        (left, *files) = agent.clean(patience=0.0).left
        assert "has not stopped" in left
        assert str(agent.recording) in files
        assert left_in_kernel(lab, bpffs) == []
        agent.start()
        agent.wait_until(lambda told: told.state == "finished")
        assert agent.clean().left == ()


def test_a_cleaned_agent_can_be_stopped_and_cleaned_again_and_records_nothing_anew(
    lab: Lab, tmp_path: Path, bpffs: Path
) -> None:
    with an_agent(lab.node, tmp_path, bpffs, pod="agent-1") as agent:
        agent.wait_until_watching(_PODS)
        answer(agent, "clean")
        for restart in (False, True):
            if restart:
                agent.signal(signal.SIGKILL)
                agent.start()
            stopped = msgspec.json.decode(answer(agent, "stop"), type=AgentStatus)
            assert (stopped.state, stopped.revision, stopped.bytes) == ("finished", 0, 0)
            assert msgspec.json.decode(answer(agent, "clean"), type=Cleaned).left == ()
        assert agent.log.count("recording ended") == 1
        assert "taken off the node" in agent.log
        agent.pod = "agent-2"
        agent.signal(signal.SIGKILL)
        agent.start()
        agent.wait_until_watching(_PODS)
        agent.stop()
        assert agent.clean().left == ()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return
