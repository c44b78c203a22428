"""`migrate audit --kubeconfig` on a node of namespaces, with a real API server that tells of its pods."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from migrate.audit.layout import address_of
from migrate.model.audit_documents import Audit
from migrate.model.raw import Json
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, wait_until
from tests.command_line import migrate
from tests.conftest import StartApiServer
from tests.kernel.audited_lab import NODE_NAME, OTHER_POLICIES, auditing, pod_object, policy, working_folder
from tests.kernel.kube_lab import BACKEND_PORT, Answer, Lab
from tests.kernel.lab import unmount
from tests.kernel.relay import relayed
from tests.unit.audit_records import told

pytestmark = [pytest.mark.kernel, pytest.mark.apiserver]

PODS = 5
B = "10.244.1.3"
REUSED, ALONE = "10.244.1.4", "10.244.2.2"
"""The addresses of pods c and d."""
_FROM_A: dict[str, Json] = {"ingress": [{"fromEndpoints": [{"matchLabels": {"app": "a"}}]}]}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        yield made


@pytest.fixture
def server(start_api_server: StartApiServer, lab: Lab) -> Iterator[ApiServer]:
    """A control plane that knows the lab's pods, reachable from its node."""
    made = start_api_server()
    client = Client(made.admin)
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    for name, pod in lab.pods.items():
        _create(client, name, pod.address)
    port = urlsplit(made.url).port
    assert port is not None
    with relayed(lab.node, port):
        yield made


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    working_folder(tmp_path, lab, [policy("b", "b", _FROM_A)])
    (tmp_path / "bpf").mkdir()
    yield tmp_path
    unmount(tmp_path / "bpf")


def _create(client: Client, name: str, address: str) -> None:
    """A running pod."""
    pod = pod_object(name, address)
    status = pod.pop("status")
    spec = {"nodeName": NODE_NAME, "containers": [{"name": "main", "image": "x"}]}
    client.create(dict[str, object](pod) | {"spec": spec})
    path = f"/api/v1/namespaces/shop/pods/{name}-0"
    client.must("PUT", f"{path}/status", client.must("GET", path) | {"status": status})


def _delete(client: Client, name: str) -> None:
    client.must("DELETE", f"/api/v1/namespaces/shop/pods/{name}-0", {"gracePeriodSeconds": 0})


def _owners(folder: Path, address: str) -> list[tuple[str, int, int | None]]:
    """Name, since, until."""
    found = told(folder / "audit.db", "SELECT address, name, since, until FROM owner ORDER BY since, name")
    rows = []
    for packed, name, since, until in found:
        assert isinstance(packed, bytes)
        assert isinstance(since, int)
        assert until is None or isinstance(until, int)
        if str(address_of(packed)) == address:
            rows.append((str(name), since, until))
    return rows


def _judged(folder: Path) -> Audit:
    ended = migrate(folder, "audit", "replay", "--dir", ".", *OTHER_POLICIES, "-o", "json")
    return msgspec.json.decode(ended.stdout, type=Audit)


def test_pods_that_come_and_go_while_it_runs_are_named_and_have_their_time(
    lab: Lab, server: ApiServer, folder: Path
) -> None:
    client = Client(server.admin)
    arguments = (*OTHER_POLICIES, "--kubeconfig", str(server.admin))
    with auditing(lab, folder, folder / "bpf", "1h", *arguments) as audit:
        audit.wait_until_watching(PODS)
        began = time.time_ns()
        _delete(client, "c")
        lab.remove_pod("c")
        job = lab.add_pod("job", number=4)
        _create(client, "job", job.address)
        assert lab.connect("job", B, BACKEND_PORT) is Answer.ANSWERED
        wait_until(lambda: len(_owners(folder, REUSED)) == 2)
        audit.wait_until_watching(PODS)
        audit.signal(signal.SIGTERM)
        status, _, stderr = audit.end()

    assert status in (1, 4), stderr
    (first, since, until), (second, then, still) = _owners(folder, REUSED)
    assert (first, since, second, still) == ("c-0", 0, "job-0", None)
    assert until is not None
    assert began < until <= then
    named = told(folder / "audit.db", "SELECT name, pod FROM veth WHERE namespace = 'shop' ORDER BY name")
    assert named == [(f"cali{name}", f"{name}-0") for name in ("a", "b", "c", "job")] + [
        ("vethd", "d-0"),
        ("vethe", "e-0"),
    ]
    unknown = {group.reason for group in _judged(folder).ambiguous if group.protocol == "TCP"}
    assert unknown == {"shop/job-0: not in the snapshot, so its labels are not known"}


def test_who_came_and_went_while_it_was_dead_is_ended_at_an_unknown_time(
    lab: Lab, server: ApiServer, folder: Path
) -> None:
    client = Client(server.admin)
    arguments = (*OTHER_POLICIES, "--kubeconfig", str(server.admin))
    with auditing(lab, folder, folder / "bpf", "1h", *arguments) as audit:
        audit.wait_until_watching(PODS)
        wait_until(lambda: len(_owners(folder, REUSED)) == 1)
        assert lab.connect("c", B, BACKEND_PORT) is Answer.ANSWERED
        audit.signal(signal.SIGKILL)
        audit.end()
    killed = time.time_ns()
    for name in ("c", "d"):
        _delete(client, name)
        lab.remove_pod(name)
    _create(client, "next", lab.add_pod("next", number=4).address)
    restarted = time.time_ns()
    with auditing(lab, folder, folder / "bpf", "1h", *arguments) as audit:
        audit.wait_until_watching(PODS - 1)
        wait_until(lambda: len(_owners(folder, REUSED)) == 2)
        assert lab.connect("next", B, BACKEND_PORT) is Answer.ANSWERED
        audit.signal(signal.SIGTERM)
        _, _, stderr = audit.end()

    assert "going on with" in stderr
    (first, _, until), (second, since, still) = _owners(folder, REUSED)
    assert (first, second, still) == ("c-0", "next-0", None)
    assert until is not None
    assert 0 < since <= killed <= restarted <= until, "the whole time in which it may have been"
    ((gone, _, ended),) = _owners(folder, ALONE)
    assert gone == "d-0"
    assert ended is not None
    assert ended >= restarted
    ((staying, begin, open_end),) = _owners(folder, B)
    assert (staying, begin, open_end) == ("b-0", 0, None)
    lost = told(folder / "audit.db", "SELECT kind, count FROM loss WHERE kind = 'owners-uncertain'")
    assert lost == [("owners-uncertain", 3)]
    audit_found = _judged(folder)
    assert any("owners-uncertain: 3" in text for text in audit_found.incomplete)
    assert audit_found.balance.holds
    assert list(folder.glob("bpf/cilium-migrate")) == []
