"""Running commands in containers, through a real API server: what comes, and what goes wrong on the way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from migrate.control.exec import ExecCancelledError, ExecConnection, ExecError
from migrate.scan.connection import ConnectionOptions, RequestError, connect_as
from tests.api_server import ApiServer
from tests.apiserver.admin import RBAC_API, Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet, Script, kubelet
from tests.apiserver.kubelet_exec import ExecScript

NAMESPACE = "cilium-migrate"
POD = f"/api/v1/namespaces/{NAMESPACE}/pods/agent-1"
ROLE = f"/apis/{RBAC_API}/namespaces/{NAMESPACE}/roles/exec"
LONG = 60.0
PRINT = "import sys; sys.stdout.buffer.write(bytes(i * 7 % 256 for i in range(300_000))); sys.stdout.flush()"
PRINTED = bytes(i * 7 % 256 for i in range(300_000))


@pytest.fixture(scope="module")
def agents(own_server: ApiServer) -> Iterator[Kubelet]:
    admin = Client(own_server.admin)
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    admin.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}
    )
    with kubelet(own_server, lambda pod: ["sleep", "1000"]) as running:
        yield running


@pytest.fixture
def script(agents: Kubelet) -> Iterator[ExecScript]:
    """What becomes of commands in the one pod there is, which runs."""
    made = Script()
    agents.add_node("node-1", made)
    admin = Client(agents.server.admin)
    admin.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "agent-1", "namespace": NAMESPACE},
            "spec": {"nodeName": "node-1", "containers": [{"name": "agent", "image": "x"}]},
        }
    )
    wait_until(lambda: _phase(admin) == "Running")
    yield made.execs
    agents.remove_nodes()
    wait_until(lambda: admin.call("GET", POD)[0] == 404)


def _phase(admin: Client) -> object:
    status = admin.must("GET", POD)["status"]
    assert isinstance(status, dict)
    return status.get("phase")


def connection(kubeconfig: Path) -> ExecConnection:
    return connect_as(ExecConnection, ConnectionOptions(kubeconfig=str(kubeconfig)))


def run(agents: Kubelet, code: str, silence: float = LONG) -> Iterator[bytes]:
    return connection(agents.server.admin).execute(POD, "agent", [sys.executable, "-c", code], silence)


def read_into(got: bytearray, output: Iterator[bytes]) -> None:
    for piece in output:
        got += piece


def test_a_command_s_output_comes_whole_and_its_words_arrive_as_they_are(agents: Kubelet, script: ExecScript) -> None:
    assert b"".join(run(agents, PRINT)) == PRINTED
    words = [sys.executable, "-c", "import sys; print(sys.argv[1:], end='')", "a b", "", "ü&=?/+%", "--since=1"]
    done = connection(agents.server.admin).execute(POD, "agent", words, LONG)
    assert b"".join(done).decode() == str(words[3:])
    assert script.asked[-1] == words


def test_a_command_without_output_is_no_failure(agents: Kubelet, script: ExecScript) -> None:
    assert list(run(agents, "pass")) == []


def test_pings_and_small_slow_pieces_change_nothing(agents: Kubelet, script: ExecScript) -> None:
    script.pings, script.piece, script.pause = True, 10_000, 0.01
    assert b"".join(run(agents, PRINT)) == PRINTED


def test_a_failed_command_tells_its_status_and_what_it_said(agents: Kubelet, script: ExecScript) -> None:
    code = "import sys; print('half', flush=True); print('no such run', file=sys.stderr); sys.exit(7)"
    got, output = bytearray(), run(agents, code)
    with pytest.raises(ExecError, match="exit status 7: no such run") as failed:
        read_into(got, output)
    assert got == b"half\n"
    assert (failed.value.status, failed.value.stderr) == (7, "no such run\n")


@pytest.mark.parametrize("cut", [1, 40_000, 299_999])
def test_a_cut_gives_what_came_before_and_then_a_temporary_failure(
    agents: Kubelet, script: ExecScript, cut: int
) -> None:
    script.cuts = [cut]
    got, output = bytearray(), run(agents, PRINT)
    with pytest.raises(RequestError, match="broke off") as failed:
        read_into(got, output)
    assert failed.value.temporary
    assert len(got) <= cut
    assert PRINTED.startswith(got)
    assert b"".join(run(agents, PRINT)) == PRINTED


def test_an_end_in_good_order_without_a_status_is_a_cut_too(agents: Kubelet, script: ExecScript) -> None:
    script.closes = [40_000]
    got, output = bytearray(), run(agents, PRINT)
    with pytest.raises(RequestError, match="before the command ended") as failed:
        read_into(got, output)
    assert failed.value.temporary
    assert got == PRINTED[:40_000]


@pytest.mark.parametrize(("status", "temporary"), [(500, True), (404, False), (503, True)])
def test_a_container_that_does_not_run_is_said_in_the_kubelet_s_words(
    agents: Kubelet, script: ExecScript, status: int, temporary: bool
) -> None:
    script.refusals = [status]
    with pytest.raises(RequestError, match="the container is not running") as failed:
        list(run(agents, PRINT))
    assert (failed.value.status, failed.value.temporary) == (status, temporary)


def test_a_pod_that_is_not_there_is_404(agents: Kubelet, script: ExecScript) -> None:
    path = POD.replace("agent-1", "agent-2")
    with pytest.raises(RequestError, match='pods "agent-2" not found') as failed:
        list(connection(agents.server.admin).execute(path, "agent", ["true"], LONG))
    assert failed.value.status == 404


def test_an_answer_in_another_protocol_is_refused(agents: Kubelet, script: ExecScript) -> None:
    script.protocol = "v1.other"
    with pytest.raises(RequestError, match=r"no websocket with v4\.channel\.k8s\.io"):
        list(run(agents, PRINT))


def test_silence_ends_it(agents: Kubelet, script: ExecScript) -> None:
    script.hangs = 1
    with pytest.raises(RequestError, match="nothing came for 1 s") as failed:
        list(run(agents, PRINT, silence=1))
    assert failed.value.temporary


def test_a_wish_to_stop_ends_it_at_once(agents: Kubelet, script: ExecScript) -> None:
    script.hangs = 1
    stop = threading.Event()
    output = connection(agents.server.admin).execute(POD, "agent", ["true"], LONG, stop)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(ExecCancelledError):
        list(output)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"status":"Failure","reason":"InternalError","message":"no such file: migrate"}', "no such file: migrate"),
        (b"\xff not JSON", "did not run"),
        (b'{"status":"Failure","details":{"causes":null}}', "did not run"),
    ],
)
def test_a_status_without_an_exit_status_means_that_nothing_ran(
    agents: Kubelet, script: ExecScript, content: bytes, message: str
) -> None:
    script.status = content
    with pytest.raises(RequestError, match=message):
        list(run(agents, "pass"))


def test_a_kubelet_that_is_away_is_a_temporary_failure(agents: Kubelet, script: ExecScript) -> None:
    admin = Client(agents.server.admin)
    away = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 9}}}}
    node = admin.must("GET", "/api/v1/nodes/node-1")
    status = node["status"]
    assert isinstance(status, dict)
    admin.must("PUT", "/api/v1/nodes/node-1/status", node | {"status": status | away["status"]})
    with pytest.raises(RequestError, match="connection refused") as failed:
        list(run(agents, "pass"))
    assert failed.value.temporary


def test_an_api_server_that_is_away_is_said_as_for_every_request(tmp_path: Path, agents: Kubelet) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(agents.server.admin.read_text().replace(agents.server.url, "https://127.0.0.1:9"))
    with pytest.raises(RequestError, match="no connection: Connection refused") as failed:
        list(connection(elsewhere).execute(POD, "agent", ["true"], LONG))
    assert (failed.value.reached, failed.value.temporary) == (False, True)


def test_an_untrusted_certificate_is_refused(tmp_path: Path, agents: Kubelet) -> None:
    text = agents.server.admin.read_text()
    lines = [line for line in text.splitlines() if "certificate-authority" not in line]
    (tmp_path / "untrusted").write_text("\n".join(lines))
    with pytest.raises(RequestError, match="no trusted connection"):
        list(connection(tmp_path / "untrusted").execute(POD, "agent", ["true"], LONG))


@pytest.mark.parametrize("verbs", [["get"], ["create"], ["get", "create"]])
def test_a_websocket_needs_both_verbs_on_pods_exec(agents: Kubelet, script: ExecScript, verbs: Sequence[str]) -> None:
    admin = Client(agents.server.admin)
    name: Object = {"name": "exec", "namespace": NAMESPACE}
    rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": list(verbs)}]
    admin.create({"apiVersion": RBAC_API, "kind": "Role", "metadata": name, "rules": rules})
    admin.create(
        {
            "apiVersion": RBAC_API,
            "kind": "RoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "exec"},
            "subjects": [{"kind": "User", "name": "scanner", "apiGroup": "rbac.authorization.k8s.io"}],
        }
    )
    try:
        user = connection(agents.server.scanner)
        wait_until(lambda: all(user.may(verb, "pods/exec", NAMESPACE) for verb in verbs))
        command = [sys.executable, "-c", "print('ran')"]
        if len(verbs) == 2:
            assert b"".join(user.execute(POD, "agent", command, LONG)) == b"ran\n"
            return
        with pytest.raises(RequestError, match="forbidden") as failed:
            list(user.execute(POD, "agent", command, LONG))
        assert failed.value.status == 403
    finally:
        admin.must("DELETE", ROLE)
        admin.must("DELETE", ROLE.replace("roles", "rolebindings"))
        wait_until(lambda: not any(_may(user, verb) for verb in verbs))


def _may(user: ExecConnection, verb: str) -> bool:
    with suppress(RequestError):
        return user.may(verb, "pods/exec", NAMESPACE)
    return True


def test_impersonation_goes_with_it(agents: Kubelet, script: ExecScript) -> None:
    asked = ConnectionOptions(kubeconfig=str(agents.server.admin), as_user="somebody")
    with pytest.raises(RequestError, match='User "somebody" cannot'):
        list(connect_as(ExecConnection, asked).execute(POD, "agent", ["true"], LONG))
