"""Agents whose API server goes away and comes back, or refuses what they ask."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.telling import Telling
from migrate.audit.watched_pods import PODS, PodsKeeper
from migrate.audit.watching import Watch, Watched
from migrate.model.agent_documents import DAEMON_SET
from migrate.scan.connection import ConnectionOptions, connect
from tests import api_server as api_servers
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, wait_until
from tests.apiserver.agent_rights import allow_agent
from tests.apiserver.timelines import (
    SOON,
    Agent,
    make_service,
    run_pod,
    set_backends,
    settings_of,
    targets,
    told_until,
    written_leads,
)
from tests.conftest import required_engine
from tests.free_ports import free_port

pytestmark = pytest.mark.apiserver
_GAPS = ("pods-not-told", "services-not-told", "endpoints-not-told", "nodes-not-told", "pods-of-others-not-told")


class Restarted:
    """An API server that is stopped and comes back under the same address, with what it had stored."""

    def __init__(self, state: Path) -> None:
        self._flags = ("--port", str(free_port()), "--durable")
        self._state = state
        self.server = self.start()

    def start(self) -> ApiServer:
        """Begin, or come back."""
        self.server = api_servers.start(required_engine("apiserver"), self._state, self._flags)
        return self.server


@pytest.fixture
def restarted() -> Iterator[Restarted]:
    with tempfile.TemporaryDirectory(prefix="migrate-") as state:
        made = Restarted(Path(state))
        yield made
        made.server.stop()


def test_an_api_server_that_goes_away_and_comes_back(restarted: Restarted, tmp_path: Path) -> None:
    admin = Client(restarted.server.admin)
    settings = settings_of(admin)
    options, name = allow_agent(restarted.server, settings), settings.namespace
    make_service(admin, name, "web")
    set_backends(admin, name, "web", "10.72.0.1")
    run_pod(admin, name, "mine", "n1", "10.72.0.9")
    run_pod(admin, name, "theirs", "n2", "10.72.0.8")
    first = Agent(options, tmp_path, settings, "n1").start()
    told_until([first], lambda: targets(first.backends("web")) == ["10.72.0.1"])
    restarted.server.stop()
    second = Agent(options, tmp_path, settings, "n2").start()
    assert second.watch.pod_at(ip_address("10.72.0.8")) is None
    told_until([second], lambda: "pods-not-told" in {loss.kind for loss in second.losses()})
    told_until([first], lambda: set(_GAPS) <= {loss.kind for loss in first.losses()})
    wait_until(lambda: not first.watch.leads)
    restarted.start()
    told_until([first, second], lambda: second.watch.pod_at(ip_address("10.72.0.8")) is not None)
    told_until([first, second], lambda: first.watch.leads or second.watch.leads)
    set_backends(admin, name, "web", "10.72.0.1", "10.72.0.2")
    leader = first if first.watch.leads else second
    told_until([first, second], lambda: targets(leader.backends("web")) == ["10.72.0.1", "10.72.0.2"])
    told_until([first], lambda: _has_ended_gap(first))
    if leader is first:
        (lead,) = written_leads(first.path)
        assert (lead.since, lead.until) == (0, None), "nobody else led meanwhile"
        rows = {str(row.target): row.since for row in first.backends("web")}
        assert rows["10.72.0.1"] == 0
    first.stop()
    second.stop()
    _watch_from_what_is_forgotten(admin, restarted.server)


def _watch_from_what_is_forgotten(admin: Client, server: ApiServer) -> None:
    """A server remembers no changes from before its start: then all is listed."""
    path = f"{PODS}?watch=1&timeoutSeconds=1&resourceVersion=1"
    wait_until(lambda: "Expired" in str(admin.call("GET", path)))
    telling = Telling()
    keeper = PodsKeeper(telling)
    watch = Watch(connect(ConnectionOptions(kubeconfig=str(server.admin))), Watched(PODS), keeper, pace=SOON)
    watch.start("1")
    wait_until(lambda: keeper.pod_at(ip_address("10.72.0.9")) is not None)
    watch.close()


def _has_ended_gap(agent: Agent) -> bool:
    return any(loss.kind == "pods-not-told" and " to 20" in loss.detail for loss in agent.losses())


def test_an_agent_that_may_not_take_part_in_the_election_keeps_its_own_pods(
    api_server: ApiServer, tmp_path: Path
) -> None:
    admin = Client(api_server.admin)
    settings = settings_of(admin)
    options, name = allow_agent(api_server, settings), settings.namespace
    admin.must("DELETE", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings/{DAEMON_SET}")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases/{DAEMON_SET}"
    account = Client(api_server.admin, options.as_user)
    wait_until(lambda: account.call("GET", path)[0] == 403)
    run_pod(admin, name, "mine", f"{name}-n1", "10.72.1.1")
    agent = Agent(options, tmp_path, settings, f"{name}-n1").start()
    told_until([agent], lambda: any(loss.kind == "election-failed" for loss in agent.losses()))
    assert agent.watch.pod_at(ip_address("10.72.1.1")) is not None
    assert not agent.watch.leads
    agent.stop()
