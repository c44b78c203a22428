"""What an agent tells as events, and how often."""

from __future__ import annotations

import pytest
from msgspec import structs

from migrate.agent.events import troubles
from migrate.model.agent_documents import AgentStatus

_FINE = AgentStatus(tool_version="1", run="r1", node="n1", boot_id="boot", state="recording", at=1)


def _after(**changes: object) -> AgentStatus:
    return structs.replace(_FINE, **changes)


@pytest.mark.parametrize(
    ("before", "now", "reasons"),
    [
        pytest.param(None, _FINE, [], id="all is well"),
        pytest.param(_FINE, _after(state="failed", failure="no BPF"), ["CannotRecord"], id="it cannot probe"),
        pytest.param(_after(state="failed"), _after(state="failed"), [], id="it still cannot"),
        pytest.param(_after(lost=3), _after(lost=5), ["RecordsLost"], id="more records are lost"),
        pytest.param(_after(lost=5), _after(lost=5), [], id="no more than before"),
        pytest.param(_FINE, _after(losses={"disk-full": 0}), ["NoRoom"], id="the disk is full"),
        pytest.param(_FINE, _after(losses={"pods-not-told": 1}), ["NamesNotHeard"], id="the API server is away"),
        pytest.param(
            _after(losses={"disk-full": 1}), _after(losses={"disk-full": 1, "clock-jump": 0}), ["Losses"],
            id="only what is new",
        ),
        pytest.param(
            _FINE, _after(losses={"disk-full": 1, "store-full": 2}), ["NoRoom"], id="one reason for several kinds"
        ),
        pytest.param(_FINE, _after(open_gaps=2), ["PodsNotSeen"], id="pods are not seen"),
        pytest.param(_after(open_gaps=2), _after(open_gaps=1), [], id="fewer than before"),
        pytest.param(None, _after(lost=1, open_gaps=1), ["RecordsLost", "PodsNotSeen"], id="an agent begins with it"),
    ],
)  # fmt: skip
def test_what_is_told(before: AgentStatus | None, now: AgentStatus, reasons: list[str]) -> None:
    found = list(troubles(before, now))
    assert [trouble.reason for trouble in found] == reasons
    assert all(trouble.note for trouble in found)
