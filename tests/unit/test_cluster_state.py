"""What a working folder knows of a run on a cluster."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from migrate.control.runs import read_settings
from migrate.control.state import ClusterWatch, NodeState, read_state, state_file, write_state
from migrate.errors import InputError
from migrate.model.agent_documents import AgentSettings, AgentStatus


def node(revision: int, size: int, began: int | None, *, pulled: int = 0, pulled_of: int | None = None) -> NodeState:
    status = AgentStatus(
        tool_version="1",
        run="r",
        node="a",
        boot_id="b",
        state="finished",
        at=1,
        began=began,
        revision=revision,
        bytes=size,
    )
    return NodeState(name="a", file="a.db", status=status, revision=pulled, began=pulled_of)


@pytest.mark.parametrize(
    ("known", "has_ended"),
    [
        pytest.param(node(0, 0, None), True, id="nothing was recorded"),
        pytest.param(node(0, 4096, None), False, id="there is a recording that its agent cannot read"),
        pytest.param(node(0, 4096, 5, pulled_of=5), True, id="a recording without a row was pulled"),
        pytest.param(node(0, 4096, 6, pulled_of=5), False, id="another recording without a row was pulled"),
        pytest.param(node(7, 4096, 5, pulled=7, pulled_of=5), True, id="all was pulled"),
        pytest.param(node(7, 4096, 5, pulled=6, pulled_of=5), False, id="some was pulled"),
        pytest.param(node(7, 4096, 6, pulled=9, pulled_of=5), False, id="what was pulled is of an older recording"),
    ],
)
def test_a_node_has_ended_when_all_that_is_there_is_here(known: NodeState, has_ended: bool) -> None:
    assert known.has_ended is has_ended


def _recording(asked: int, left: int, *, gone: int | None = None) -> NodeState:
    status = AgentStatus(
        tool_version="1", run="r", node="a", boot_id="b", state="recording", at=1, left_seconds=left, revision=1
    )
    return NodeState(name="a", file="a.db", pod="agent-a", status=status, asked=asked * 10**9, left=gone)


@pytest.mark.parametrize(
    ("nodes", "over"),
    [
        pytest.param((), 60, id="nobody is there"),
        pytest.param((_recording(30, 20),), 60, id="an agent ends before the run does"),
        pytest.param((_recording(30, 30), _recording(50, 70)), 122, id="one began late"),
        pytest.param((_recording(50, 3000),), 960, id="one began an hour late"),
        pytest.param((_recording(50, 70, gone=1),), 60, id="the node that began late is gone"),
    ],
)
def test_agents_that_began_late_are_waited_for_some_time(nodes: tuple[NodeState, ...], over: int) -> None:
    state = ClusterWatch(run="r", namespace="n", cluster="c", began=0, seconds=60, nodes=nodes)
    assert [state.is_over(moment * 10**9) for moment in (over - 1, over)] == [False, True]


@pytest.mark.parametrize("run", ["", "..", "a/b", "-a", "a b", "a" * 64])
def test_a_run_that_is_no_name_is_refused(tmp_path: Path, run: str) -> None:
    settings = AgentSettings(tool_version="1", run=run, cluster="c", began=1, seconds=60)
    with pytest.raises(InputError, match="no name of a run"):
        read_settings(msgspec.json.encode(settings).decode(), "ConfigMap x/y")
    state_file(tmp_path).parent.mkdir()
    write_state(tmp_path, ClusterWatch(run=run, namespace="x", cluster="c", began=1, seconds=60))
    with pytest.raises(InputError, match="no name of a run"):
        read_state(tmp_path)
