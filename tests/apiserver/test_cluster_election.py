"""Elections of agents at a real API server."""

from __future__ import annotations

from threading import Event

import msgspec
import pytest

from migrate.audit.agent_connection import AgentConnection
from migrate.audit.election import Election
from migrate.model.agent_documents import DAEMON_SET
from migrate.scan.connection import connect_as
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, wait_until
from tests.apiserver.agent_rights import allow_agent
from tests.apiserver.timelines import SHORT, settings_of

pytestmark = pytest.mark.apiserver


class Beaten(AgentConnection):
    """Another agent creates every object a moment before this one does."""

    def create(self, path: str, body: bytes) -> bytes:
        lease = msgspec.json.decode(body)
        lease["spec"]["holderIdentity"] = "another"
        super().create(path, msgspec.json.encode(lease))
        return super().create(path, body)


def test_that_another_one_is_first_is_no_failure(api_server: ApiServer) -> None:
    admin = Client(api_server.admin)
    settings = settings_of(admin)
    connection = connect_as(Beaten, allow_agent(api_server, settings))
    follows, failures = Event(), list[str]()
    election = Election(
        connection, settings, "late", lambda since, was_mine: None, follows.set, failures.append, terms=SHORT
    )
    election.start()
    wait_until(follows.is_set)
    election.close()
    assert failures == []
    lease = admin.must("GET", f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases/{DAEMON_SET}")
    assert "another" in str(lease["spec"])
