"""Events of an agent, taken by a real API server, with the rights that agents have."""

from __future__ import annotations

import pytest
from msgspec import structs

from migrate.agent.events import EventWriter
from migrate.audit.agent_connection import AgentConnection
from migrate.model.agent_documents import AgentSettings, AgentStatus
from migrate.scan.connection import ConnectionOptions, connect_as
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object
from tests.apiserver.agent_rights import allow_agent
from tests.apiserver.timelines import run_agent_pod, settings_of

pytestmark = pytest.mark.apiserver
_FINE = AgentStatus(tool_version="1", run="r1", node="n1", boot_id="boot", state="recording", at=1)


class Told:
    """An agent's pod, with the events on it and a clock that a test sets."""

    def __init__(self, server: ApiServer) -> None:
        self.admin = Client(server.admin)
        self.settings: AgentSettings = settings_of(self.admin)
        self.pod = run_agent_pod(self.admin, self.settings, "n1")
        self.seconds = 0.0
        connection = connect_as(AgentConnection, allow_agent(server, self.settings))
        self.writer = EventWriter(connection, self.settings, self.pod, lambda: self.seconds)

    def events(self) -> list[Object]:
        path = f"/api/v1/namespaces/{self.settings.namespace}"
        pod = self.admin.must("GET", f"{path}/pods/{self.pod}")["metadata"]
        assert isinstance(pod, dict)
        found = self.admin.must("GET", f"{path}/events?fieldSelector=involvedObject.uid%3D{pod['uid']}")["items"]
        assert isinstance(found, list)
        return found


@pytest.fixture
def told(api_server: ApiServer) -> Told:
    return Told(api_server)


def test_a_failure_is_on_the_agents_pod(told: Told) -> None:
    assert told.writer.report(None, structs.replace(_FINE, state="failed", failure='"ünsafe"\n' * 500)) == 1
    (event,) = told.events()
    assert (event["reason"], event["type"], event["count"]) == ("CannotRecord", "Warning", 1)
    assert str(event["message"]).startswith('node n1: "?nsafe"')
    assert len(str(event["message"])) <= 1024


def test_the_same_reason_waits_and_is_told_with_all_that_came(told: Told) -> None:
    status = [structs.replace(_FINE, lost=lost) for lost in (0, 1, 5, 5)]
    assert told.writer.report(status[0], status[1]) == 1
    assert told.writer.report(status[1], status[2]) == 0, "told a moment ago"
    told.seconds = 601
    assert told.writer.report(status[2], status[3]) == 1
    assert told.writer.report(status[3], status[3]) == 0
    messages = sorted(str(event["message"]) for event in told.events())
    assert ["5 in all" in message for message in messages] == [False, True]


def test_not_more_than_twenty_in_an_hour(told: Told) -> None:
    written = 0
    for turn in range(30):
        told.seconds = turn * 61.0
        before, now = (structs.replace(_FINE, lost=n, open_gaps=n, losses={"disk-full": n}) for n in (turn, turn + 1))
        written += told.writer.report(before, now)
    assert written == len(told.events())
    assert 3 <= written <= 20


def test_an_agent_goes_on_where_events_are_refused(api_server: ApiServer, told: Told) -> None:
    nobody = connect_as(AgentConnection, ConnectionOptions(kubeconfig=str(api_server.nobody)))
    writer = EventWriter(nobody, told.settings, told.pod)
    assert writer.report(None, structs.replace(_FINE, lost=1)) == 0
    assert told.events() == []
