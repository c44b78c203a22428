"""The timelines that the agents of a cluster keep, as a real API server tells of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.leads import Interval, Lead, joined
from migrate.audit.reading import BackendRow
from migrate.model.agent_documents import AgentSettings
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, wait_until
from tests.apiserver.agent_rights import allow_agent
from tests.apiserver.timelines import (
    Agent,
    Clock,
    delete_pod,
    leader_of,
    make_service,
    run_agent_pod,
    run_pod,
    set_backends,
    set_status,
    settings_of,
    targets,
    told_until,
    written_backends,
    written_leads,
)

pytestmark = pytest.mark.apiserver
_SECOND = 1_000_000_000


class Cluster:
    """A run in a namespace of one test, and its agents."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.admin = Client(server.admin)
        self.settings: AgentSettings = settings_of(self.admin)
        self.namespace = self.settings.namespace
        self.options = allow_agent(server, self.settings)
        self.running: list[Agent] = []

    def node(self, number: int) -> str:
        """Names of nodes that no other test has."""
        return f"{self.namespace}-n{number}"

    def agent(self, number: int, clock: Clock = time.time_ns, patience: float = 0.0) -> Agent:
        """An agent that has begun."""
        node = self.node(number)
        made = Agent(self.options, self.folder, self.settings, node, clock=clock, patience=patience).start()
        self.running.append(made)
        return made

    def kill(self, agent: Agent) -> None:
        agent.kill()
        self.running.remove(agent)


@pytest.fixture
def cluster(api_server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(api_server, tmp_path)
    yield made
    for agent in made.running:
        agent.stop()


def test_an_agent_knows_the_pods_of_its_node_only(cluster: Cluster) -> None:
    run_pod(cluster.admin, cluster.namespace, "mine", cluster.node(1), "10.71.0.1")
    run_pod(cluster.admin, cluster.namespace, "other", cluster.node(2), "10.71.0.2")
    run_agent_pod(cluster.admin, cluster.settings, cluster.node(2))
    agent = cluster.agent(1)
    wait_until(lambda: agent.watch.pod_at(ip_address("10.71.0.1")) is not None)
    found = agent.watch.pod_at(ip_address("10.71.0.1"))
    assert found is not None
    assert found.name == "mine"
    assert agent.watch.pod_at(ip_address("10.71.0.2")) is None
    before = time.time_ns()
    run_pod(cluster.admin, cluster.namespace, "new", cluster.node(1), "10.71.0.3")
    wait_until(lambda: agent.watch.pod_at(ip_address("10.71.0.3")) is not None)
    known = {owner.name: owner.since for owner in agent.owners("pod") if owner.namespace == cluster.namespace}
    assert known.keys() == {"mine", "new"}
    assert known["mine"] == 0
    assert known["new"] >= before
    delete_pod(cluster.admin, cluster.namespace, "new")
    told_until([agent], lambda: agent.watch.pod_at(ip_address("10.71.0.3")) is None)
    (gone,) = (owner for owner in agent.owners("pod") if owner.name == "new")
    assert gone.until is not None
    assert gone.until > gone.since


def test_a_restarted_agent_goes_on_with_what_it_kept(cluster: Cluster) -> None:
    for name, address in (("stays", "10.71.1.1"), ("goes", "10.71.1.2")):
        run_pod(cluster.admin, cluster.namespace, name, cluster.node(1), address)
    first = cluster.agent(1)
    assert len(first.owners("pod")) >= 2
    cluster.kill(first)
    heard = time.time_ns()
    delete_pod(cluster.admin, cluster.namespace, "goes")
    run_pod(cluster.admin, cluster.namespace, "comes", cluster.node(1), "10.71.1.2")
    again = cluster.agent(1)
    rows = {owner.name: owner for owner in again.owners("pod") if owner.namespace == cluster.namespace}
    assert (rows["stays"].since, rows["stays"].until) == (0, None)
    assert 0 < rows["comes"].since <= heard, "it may have come at once when nobody looked any more"
    assert rows["goes"].until is not None
    assert rows["goes"].until > heard, "and the one before may have stayed until somebody looked again"
    assert any(loss.kind == "owners-uncertain" and loss.number >= 2 for loss in again.losses())


def test_the_leader_keeps_services_nodes_and_pods_without_an_agent(cluster: Cluster) -> None:
    admin, name = cluster.admin, cluster.namespace
    address = make_service(admin, name, "web", "NodePort")
    set_backends(admin, name, "web", "10.71.2.1", "10.71.2.2")
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.77"}]}
    admin.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": cluster.node(2)}, "status": status})
    run_pod(admin, name, "lonely", cluster.node(2), "10.71.2.2")
    run_pod(admin, name, "watched", cluster.node(3), "10.71.2.3")
    run_agent_pod(admin, cluster.settings, cluster.node(3))
    agent = cluster.agent(1)
    told_until([agent], lambda: len(targets(agent.backends("web"))) == 2)
    rows = agent.backends("web")
    ports = {(str(row.address), row.port, str(row.target), row.target_port) for row in rows if row.port == 80}
    assert ports == {(address, 80, "10.71.2.1", 8080), (address, 80, "10.71.2.2", 8080)}
    on_nodes = [row for row in rows if row.port != 80]
    assert {(str(row.address), str(row.target)) for row in on_nodes} == {
        ("0.0.0.0", a) for a in ("10.71.2.1", "10.71.2.2")
    }
    assert {row.since for row in rows} == {0}
    assert address in {str(owner.address) for owner in agent.owners("service")}
    told_until([agent], lambda: "192.0.2.77" in {str(owner.address) for owner in agent.owners("node")})
    told_until([agent], lambda: "lonely" in {owner.name for owner in agent.owners("pod")})
    assert "watched" not in {owner.name for owner in agent.owners("pod")}
    changed = time.time_ns()
    set_backends(admin, name, "web", "10.71.2.2", "10.71.2.9")
    told_until([agent], lambda: "10.71.2.9" in targets(agent.backends("web")))
    rows = [row for row in agent.backends("web") if row.port == 80]
    intervals = {str(row.target): (row.since, row.until) for row in rows}
    assert intervals["10.71.2.2"] == (0, None)
    assert intervals["10.71.2.9"][0] >= changed
    assert (intervals["10.71.2.1"][1] or 0) >= changed
    admin.must("DELETE", f"/api/v1/namespaces/{name}/services/web")
    told_until([agent], lambda: not targets(agent.backends("web")))


def test_pods_of_a_node_whose_agent_goes_and_comes_back(cluster: Cluster) -> None:
    admin, name = cluster.admin, cluster.namespace
    run_pod(admin, name, "theirs", cluster.node(2), "10.71.3.1")
    theirs = run_agent_pod(admin, cluster.settings, cluster.node(2))
    agent = cluster.agent(1)
    told_until([agent], lambda: agent.watch.leads and bool(agent.owners("service")))
    assert cluster.node(2) not in agent.watch.lonely
    since = time.time_ns()
    set_status(admin, name, theirs, "Running", "192.0.2.1", ready="False")
    told_until([agent], lambda: cluster.node(2) in agent.watch.lonely)
    (row,) = (owner for owner in agent.owners("pod") if owner.name == "theirs")
    assert row.since >= since
    assert row.until is None
    set_status(admin, name, theirs, "Running", "192.0.2.1", ready="True")
    told_until([agent], lambda: cluster.node(2) not in agent.watch.lonely)
    (row,) = (owner for owner in agent.owners("pod") if owner.name == "theirs")
    assert row.until is not None


def test_a_pod_that_goes_before_its_node_is_known_to_be_without_an_agent(cluster: Cluster) -> None:
    run_pod(cluster.admin, cluster.namespace, "short", cluster.node(2), "10.71.4.1")
    agent = cluster.agent(1, patience=3600.0)
    told_until([agent], lambda: any(lead.listed for lead in written_leads(agent.path)))
    assert "short" not in {owner.name for owner in agent.owners("pod")}
    delete_pod(cluster.admin, cluster.namespace, "short")
    told_until([agent], lambda: "short" in {owner.name for owner in agent.owners("pod")})
    (row,) = (owner for owner in agent.owners("pod") if owner.name == "short")
    assert row.since == 0
    assert row.until is not None


@pytest.mark.parametrize("skews", [(0, 0, 0), (-300, 300, 900)], ids=["one clock", "clocks minutes apart"])
def test_three_agents_of_which_the_leader_dies(cluster: Cluster, skews: tuple[int, ...]) -> None:
    """Each change is in exactly one interval of the joined timeline, whatever the nodes' clocks say."""
    admin, name = cluster.admin, cluster.namespace
    make_service(admin, name, "web")
    set_backends(admin, name, "web", "10.71.5.1", "10.71.5.2")
    shifts = {cluster.node(number): skew * _SECOND for number, skew in enumerate(skews, 1)}
    agents = [cluster.agent(number, _skewed(skew)) for number, skew in enumerate(skews, 1)]
    first = leader_of(agents)
    told_until(agents, lambda: len(targets(first.backends("web"))) == 2)
    set_backends(admin, name, "web", "10.71.5.2", "10.71.5.3")
    told_until(agents, lambda: targets(first.backends("web")) == ["10.71.5.2", "10.71.5.3"])
    cluster.kill(first)
    set_backends(admin, name, "web", "10.71.5.2", "10.71.5.4")
    rest = [agent for agent in agents if agent is not first]
    second = leader_of(rest)
    told_until(rest, lambda: len(targets(second.backends("web"))) == 2)
    told_until(rest, lambda: any(loss.kind == "nobody-led" for loss in second.losses()))
    told_until(rest, lambda: sum(agent.watch.leads for agent in rest) == 1)
    paths = {agent.node: agent.path for agent in agents}
    leads = {node: [_unskewed_lead(lead, shifts[node]) for lead in written_leads(path)] for node, path in paths.items()}
    kept = {
        node: [(str(row.target), _interval(row, shifts[node])) for row in written_backends(path, name)]
        for node, path in paths.items()
    }
    timeline = joined(leads, kept)
    assert {fact: len(intervals) for fact, intervals in timeline.items()} == dict.fromkeys(
        (f"10.71.5.{number}" for number in (1, 2, 3, 4)), 1
    )
    (always,), (came,), (went,) = (timeline[f"10.71.5.{number}"] for number in (2, 4, 3))
    assert always == Interval(0, None)
    assert went.until is not None
    assert came.since < went.until, "what changed while nobody led did so at an unknown time: both count in it"


def _skewed(seconds: int) -> Clock:
    return lambda: time.time_ns() + seconds * _SECOND


def _interval(row: BackendRow, shift: int) -> Interval:
    until = None if row.until is None else row.until - shift
    return Interval(row.since and row.since - shift, until)


def _unskewed_lead(lead: tuple[int, int | None, int | None], shift: int) -> Lead:
    since, listed, until = lead
    return Lead(since and since - shift, listed and listed - shift, until and until - shift)
