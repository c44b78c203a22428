"""Who has which address, as a real API server tells it while an audit runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from migrate.audit.layout import Address
from migrate.audit.telling import Standing
from migrate.audit.watched_pods import WatchedPods
from migrate.scan.connection import ConnectionOptions, RequestError, connect
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, wait_until

pytestmark = pytest.mark.apiserver


class Said(NamedTuple):
    """One thing that went into the recording."""

    what: str
    address: str
    name: str
    at: int


class Heard:
    """Keeps what the recording is told."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._names: dict[tuple[str, str], str] = {}

    def own(self, address: Address, kind: str, namespace: str, name: str, uid: str, since: int) -> None:
        self._names[str(address), uid] = name
        self.said.append(Said("own", str(address), name, since))

    def disown(self, address: Address, uid: str, until: int) -> None:
        self.said.append(Said("disown", str(address), self._names[str(address), uid], until))

    def loss(self, at: int, kind: str, count: int, detail: str) -> None:
        self.said.append(Said("loss", "", kind, at))

    def stand_behind(self, standing: Standing, since: int) -> None:
        raise AssertionError("only an agent of a cluster tells of Services")

    def stand_no_more(self, standing: Standing, until: int) -> None:
        raise AssertionError("only an agent of a cluster tells of Services")

    def note(self, key: str, value: str) -> None:
        raise AssertionError("only an agent of a cluster leads")

    def about(self, name: str) -> list[tuple[str, str]]:
        """What was said of a pod."""
        return [(one.what, one.address) for one in self.said if one.name == name]


@pytest.fixture
def admin(api_server: ApiServer) -> Client:
    return Client(api_server.admin)


@pytest.fixture
def namespace(admin: Client) -> str:
    """A namespace of this test alone."""
    name = f"audit-{secrets.token_hex(3)}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def pods(api_server: ApiServer) -> Iterator[WatchedPods]:
    made = WatchedPods(connect(ConnectionOptions(kubeconfig=str(api_server.admin))))
    yield made
    made.close()


def run_pod(admin: Client, namespace: str, name: str, *addresses: str, host_network: bool = False) -> None:
    """Create a pod and say that it runs, as a kubelet would."""
    spec: dict[str, object] = {"containers": [{"name": "main", "image": "x"}], "hostNetwork": host_network}
    metadata = {"namespace": namespace, "name": name}
    admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    set_phase(admin, namespace, name, "Running", *addresses)


def set_phase(admin: Client, namespace: str, name: str, phase: str, *addresses: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
    pod = admin.must("GET", path.removesuffix("/status"))
    pod["status"] = {"phase": phase, "podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    admin.must("PUT", path, pod)


def heard_until(pods: WatchedPods, heard: Heard, enough: Callable[[], bool]) -> None:
    def look() -> bool:
        pods.tell(heard)
        return enough()

    wait_until(look)


def test_pods_that_were_there_that_come_and_that_go(admin: Client, namespace: str, pods: WatchedPods) -> None:
    heard = Heard()
    run_pod(admin, namespace, "old", "10.9.0.1", "fd00:9::1")
    pods.start()
    pods.tell(heard)
    assert sorted(heard.about("old")) == [("own", "10.9.0.1"), ("own", "fd00:9::1")]
    assert {one.at for one in heard.said} == {0}, "they had their addresses before the audit"
    before = time.time_ns()
    run_pod(admin, namespace, "new", "10.9.0.2")
    heard_until(pods, heard, lambda: heard.about("new") == [("own", "10.9.0.2")])
    assert heard.said[-1].at >= before
    found = pods.pod_at(ip_address("10.9.0.2"))
    assert found is not None
    assert (found.namespace, found.name) == (namespace, "new")
    admin.must("DELETE", f"/api/v1/namespaces/{namespace}/pods/old", {"gracePeriodSeconds": 0})
    heard_until(pods, heard, lambda: len(heard.about("old")) == 4)
    assert sorted(heard.about("old")[2:]) == [("disown", "10.9.0.1"), ("disown", "fd00:9::1")]
    assert pods.pod_at(ip_address("10.9.0.1")) is None


def test_a_pod_that_ends_gives_its_address_back(admin: Client, namespace: str, pods: WatchedPods) -> None:
    heard = Heard()
    run_pod(admin, namespace, "job", "10.9.1.1")
    pods.start()
    set_phase(admin, namespace, "job", "Succeeded", "10.9.1.1")
    heard_until(pods, heard, lambda: heard.about("job") == [("own", "10.9.1.1"), ("disown", "10.9.1.1")])


def test_an_address_that_another_pod_takes_over(admin: Client, namespace: str, pods: WatchedPods) -> None:
    heard = Heard()
    run_pod(admin, namespace, "first", "10.9.2.1")
    pods.start()
    run_pod(admin, namespace, "second", "10.9.2.1")
    heard_until(pods, heard, lambda: bool(heard.about("second")))
    admin.must("DELETE", f"/api/v1/namespaces/{namespace}/pods/first", {"gracePeriodSeconds": 0})
    heard_until(pods, heard, lambda: len(heard.about("first")) == 2)
    found = pods.pod_at(ip_address("10.9.2.1"))
    assert found is not None
    assert found.name == "second"


def test_a_pod_on_the_hosts_network_has_no_address_for_itself(admin: Client, namespace: str, pods: WatchedPods) -> None:
    run_pod(admin, namespace, "agent", "10.9.3.1", host_network=True)
    pods.start()
    assert pods.pod_at(ip_address("10.9.3.1")) is None


def test_who_may_not_list_pods_is_told_at_the_start(api_server: ApiServer) -> None:
    pods = WatchedPods(connect(ConnectionOptions(kubeconfig=str(api_server.nobody))))
    with pytest.raises(RequestError, match="cannot list resource"):
        pods.start()
