"""Watches of an API server that misbehaves: nothing is forgotten or made up, and every gap is said."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.layout import Address
from migrate.audit.telling import Standing, Telling
from migrate.audit.watched_pods import PodsKeeper
from migrate.audit.watched_services import SERVICES, SLICES, ServicesKeeper
from migrate.audit.watching import Pace, Watch, Watched
from migrate.scan.connection import Connection, ConnectionOptions, connect
from tests.unit.scripted_server import Reply, ScriptedServer, as_json, error, scripted_server, write_kubeconfig

_PODS = "/api/v1/pods"
_SOON = Pace(first=0.01, longest=0.05)
_PATIENCE_SECONDS = 60


class Heard:
    """What a recording is told."""

    def __init__(self) -> None:
        self.owners: dict[str, list[str]] = {}
        self.behind: set[str] = set()
        self.lost: list[tuple[str, int, str]] = []

    def own(self, address: Address, kind: str, namespace: str, name: str, uid: str, since: int) -> None:
        self.owners.setdefault(name, []).append(f"own {address}")

    def disown(self, address: Address, uid: str, until: int) -> None:
        self.owners.setdefault(uid, []).append(f"disown {address}")

    def stand_behind(self, standing: Standing, since: int) -> None:
        self.behind.add(f"{standing.address}:{standing.port} {standing.target}:{standing.target_port}")

    def stand_no_more(self, standing: Standing, until: int) -> None:
        self.behind.remove(f"{standing.address}:{standing.port} {standing.target}:{standing.target_port}")

    def loss(self, at: int, kind: str, count: int, detail: str) -> None:
        self.lost.append((kind, count, detail))

    def note(self, key: str, value: str) -> None:
        raise AssertionError("nothing is noted")


class Case:
    """Pods watched at a scripted server."""

    def __init__(self, server: ScriptedServer, connection: Connection) -> None:
        self.server, self.connection = server, connection
        self.telling, self.heard = Telling(), Heard()
        self.keeper = PodsKeeper(self.telling)
        self.watch = Watch(connection, Watched(_PODS), self.keeper, pace=_SOON)

    def until(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self.telling.tell(self.heard)
            if enough():
                return
            assert time.monotonic() < deadline, (self.heard.owners, self.heard.lost, self.server.requests)
            time.sleep(0.01)

    def knows(self, address: str) -> bool:
        return self.keeper.pod_at(ip_address(address)) is not None

    def said(self, name: str) -> list[str]:
        """What was told of a pod."""
        return self.heard.owners.get(name, [])

    def gaps(self) -> list[str]:
        """What was said when a gap had ended."""
        return [text for kind, count, text in self.heard.lost if kind == "pods-not-told" and not count]


def connection_to(server: ScriptedServer, folder: Path) -> Connection:
    return connect(ConnectionOptions(kubeconfig=write_kubeconfig(folder / "kubeconfig", server.url)))


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with scripted_server() as server:
        made = Case(
            server, connect(ConnectionOptions(kubeconfig=write_kubeconfig(tmp_path / "kubeconfig", server.url)))
        )
        yield made
        made.watch.close()


def pod(name: str, *addresses: str, **status: object) -> dict[str, object]:
    told = {"phase": "Running", "podIPs": [{"ip": address} for address in addresses], **status}
    return {"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "7"}, "status": told}


def a_list(*pods: object, version: str = "5", token: str = "", cut: int = 0) -> Reply:
    body = {"metadata": {"resourceVersion": version, "continue": token}, "items": pods}
    return Reply(200, json.dumps(body).encode(), cut=cut)


def changes(*told: tuple[str, object]) -> Reply:
    lines = (json.dumps({"type": kind, "object": found}) for kind, found in told)
    return Reply(200, "".join(f"{line}\n" for line in lines).encode())


def watch_from(version: str) -> str:
    return f"{_PODS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion={version}"


_FIRST, _SECOND = f"{_PODS}?limit=500", f"{_PODS}?limit=500&continue=more"
_NOTHING = changes()


def test_a_list_that_breaks_off_removes_nobody(case: Case) -> None:
    whole = a_list(pod("b", "10.0.0.2"))
    case.server.script(_FIRST, a_list(pod("a", "10.0.0.1"), token="more"))
    case.server.script(_SECOND, whole, a_list(cut=100), error(500), whole)
    case.server.script(watch_from("5"), error(500))
    case.watch.start()
    case.until(lambda: len(case.gaps()) >= 2)
    assert case.heard.owners == {"a": ["own 10.0.0.1"], "b": ["own 10.0.0.2"]}


def test_who_is_not_in_the_next_whole_list_has_gone(case: Case) -> None:
    case.server.script(_FIRST, a_list(pod("a", "10.0.0.1"), pod("b", "10.0.0.2")), a_list(pod("b", "10.0.0.2")))
    case.server.script(watch_from("5"), error(500), _NOTHING)
    case.watch.start()
    case.until(lambda: case.said("a") == ["own 10.0.0.1", "disown 10.0.0.1"])
    assert case.heard.owners["b"] == ["own 10.0.0.2"]
    (gap,) = case.gaps()
    assert gap.startswith("not heard of from 20")


@pytest.mark.parametrize(
    "expired",
    [
        pytest.param(error(410, "too old resource version"), id="the request is refused"),
        pytest.param(changes(("ERROR", {"code": 410, "message": "too old"})), id="the watch says so"),
    ],
)
def test_a_version_that_the_server_does_not_have_any_more(case: Case, expired: Reply) -> None:
    case.server.script(_FIRST, a_list(pod("a", "10.0.0.1")), a_list(pod("b", "10.0.0.2"), version="9"))
    case.server.script(watch_from("5"), expired)
    case.server.script(watch_from("9"), _NOTHING)
    case.watch.start()
    case.until(lambda: bool(case.gaps()))
    assert not case.knows("10.0.0.1")
    assert case.knows("10.0.0.2")
    assert any(count and "too old" in text for _, count, text in case.heard.lost)


def test_a_busy_server_is_asked_again(case: Case) -> None:
    busy = error(429, "too many requests", ("Retry-After", "1"))
    case.server.script(_FIRST, busy, a_list(pod("a", "10.0.0.1")))
    case.server.script(watch_from("5"), _NOTHING)
    case.watch.start()
    case.until(lambda: case.knows("10.0.0.1"))
    case.until(lambda: bool(case.gaps()))
    assert case.server.asked(_PODS) >= 2


def test_a_bookmark_says_from_where_to_go_on(case: Case) -> None:
    case.server.script(_FIRST, a_list(pod("a", "10.0.0.1")))
    case.server.script(watch_from("5"), changes(("BOOKMARK", {"metadata": {"resourceVersion": "33"}})))
    added = pod("b", "10.0.0.2")
    case.server.script(watch_from("33"), changes(("ADDED", added)))
    case.server.script(watch_from("7"), _NOTHING)
    case.watch.start()
    case.until(lambda: case.knows("10.0.0.2"))
    assert case.heard.lost == []


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"podIPs": 7}, id="a number for a list"),
        pytest.param({"podIPs": [None]}, id="nothing in a list"),
        pytest.param({"phase": ["Running"]}, id="a list for a text"),
    ],
)
def test_an_odd_object_changes_nothing(case: Case, odd: dict[str, object]) -> None:
    case.server.script(_FIRST, a_list(pod("a", "10.0.0.1"), pod("b", "10.0.0.2")), a_list(pod("a", **odd)))
    case.server.script(watch_from("5"), changes(("MODIFIED", pod("a", **odd))), error(500), _NOTHING)
    case.server.script(watch_from("7"), error(500), _NOTHING)
    case.watch.start()
    case.until(lambda: "disown 10.0.0.2" in case.said("b"))
    assert case.heard.owners["a"] == ["own 10.0.0.1"]
    said = [text for kind, _, text in case.heard.lost if kind == "objects-not-read"]
    assert all(text.startswith("shop/a: not as the API describes it") for text in said)
    assert said


def test_what_is_null_is_empty(case: Case) -> None:
    nulls = {"metadata": {"uid": "n", "name": None, "namespace": None}, "spec": None, "status": {"podIPs": None}}
    case.server.script(_FIRST, a_list(nulls, {"metadata": {}, "status": None}, pod("a", "10.0.0.1", "", "no address")))
    case.server.script(watch_from("5"), _NOTHING)
    case.watch.start()
    case.until(lambda: case.knows("10.0.0.1"))
    assert case.heard.lost == []
    case.server.script(_FIRST, Reply(200, b'{"metadata": {"resourceVersion": "6"}, "items": null}'))
    case.server.script(watch_from("5"), error(500))
    case.server.script(watch_from("6"), _NOTHING)
    case.until(lambda: not case.knows("10.0.0.1"))


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"items": []}', b'{"metadata": {"resourceVersion": ""}, "items": []}'],
    ids=["no JSON", "no list", "without a version", "with an empty version"],
)
def test_an_answer_that_is_no_list_is_a_gap(case: Case, body: bytes) -> None:
    case.server.script(_FIRST, Reply(200, body), a_list(pod("a", "10.0.0.1")))
    case.server.script(watch_from("5"), _NOTHING)
    case.watch.start()
    case.until(lambda: case.knows("10.0.0.1"))
    case.until(lambda: bool(case.gaps()))


def test_changes_that_cannot_be_read_ask_for_a_new_list(case: Case) -> None:
    case.server.script(_FIRST, a_list(pod("a", "10.0.0.1")), a_list(pod("b", "10.0.0.2")))
    case.server.script(watch_from("5"), Reply(200, b'{"type": "ADDED", "obj\n'), _NOTHING)
    case.watch.start()
    case.until(lambda: case.knows("10.0.0.2") and not case.knows("10.0.0.1"))
    assert case.gaps()


def test_services_with_odd_parts(tmp_path: Path) -> None:
    service = {
        "metadata": {"namespace": "shop", "name": "web", "uid": "s1"},
        "spec": {
            "clusterIP": "10.96.0.1",
            "clusterIPs": None,
            "ports": [{"port": 80}, {"port": 53, "protocol": "NEW"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "example.com"}]}},
    }
    labels = {"kubernetes.io/service-name": "web"}
    ready = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.3", "fd00::3"], "conditions": {"ready": None}},
        {"addresses": None},
    ]
    named = {"metadata": {"namespace": "shop", "name": "web-1", "uid": "e1", "labels": labels}}
    slices = [
        {
            **named,
            "addressType": "IPv4",
            "endpoints": ready,
            "ports": [{"port": None}, {"port": 8053, "protocol": "NEW"}],
        },
        {"metadata": {"namespace": "shop", "name": "x", "labels": labels}, "addressType": "FQDN", "endpoints": ready},
        {"metadata": {"namespace": "shop", "name": "y", "labels": None}, "endpoints": None, "ports": None},
    ]
    headless = {"metadata": {"namespace": "shop", "name": "none", "uid": "s2"}, "spec": {"clusterIP": "None"}}
    telling, heard, listed = Telling(), Heard(), list[str]()
    keeper = ServicesKeeper(telling, listed.append)
    with scripted_server() as server:
        connection = connection_to(server, tmp_path)
        for path, part, objects in (
            (SERVICES, keeper.services, [service, headless, {"metadata": {"name": "odd"}, "spec": 3}]),
            (SLICES, keeper.slices, slices),
        ):
            server.script(path, as_json({"metadata": {"resourceVersion": "5"}, "items": objects}))
            Watch(connection, Watched(path), part).list()
    telling.tell(heard)
    assert listed == [SERVICES, SLICES]
    assert heard.behind == {
        f"{front}:80 {target}:80" for front in ("10.96.0.1", "192.0.2.9") for target in ("10.0.0.1", "10.0.0.3")
    }
    assert heard.owners == {"web": ["own 10.96.0.1", "own 192.0.2.9"]}
    assert [kind for kind, _, _ in heard.lost] == ["objects-not-read"]
    gone = json.dumps({"metadata": {"namespace": "shop", "name": "web-1"}}).encode()
    keeper.slices.changed(gone, gone=True)
    telling.tell(heard)
    assert heard.behind == set()
