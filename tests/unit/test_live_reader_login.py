"""Logging in: what is wrong with a kubeconfig is said before anything is asked of a cluster."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from migrate.errors import ClusterError, InputError, MigrateError
from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.live import read_cluster
from tests.unit.scripted_server import scripted_server, write_kubeconfig

SERVER = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_login_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "empty or holds no mapping", id="an empty file"),
        pytest.param(b"just text", "empty or holds no mapping", id="text"),
        pytest.param(b"contexts:\n\t- name: x\n", "not a kubeconfig: .*line 2", id="a tab"),
        pytest.param(b"\x7fELF\x00\x01\xff", "not a kubeconfig", id="a binary file"),
        pytest.param(b"contexts: [{name: 7}]", "an entry of contexts has no name", id="a context without a name"),
        pytest.param(b"contexts: web", "an entry of contexts has no name", id="contexts that are no list"),
        pytest.param(b"{}", r"no context is current; choose one with --context \(there are: none\)", id="no context"),
        pytest.param(
            b"{current-context: a, contexts: [{name: a, context: {cluster: gone}}]}",
            'context "a" cannot be used: .*clusters',
            id="a context whose cluster is not there",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}: .*{said}"):
        connect(ConnectionOptions(kubeconfig=str(path)))


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such kubeconfig; give the path .* --kubeconfig"):
        connect(ConnectionOptions(kubeconfig=str(tmp_path / "nowhere")))
    with pytest.raises(InputError, match=r"~/\.kube/config: no such kubeconfig, and this is not a pod"):
        connect(ConnectionOptions())


def test_a_kubeconfig_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such kubeconfig"):
        connect(ConnectionOptions(kubeconfig=str(tmp_path)))


def test_an_unknown_context_lists_the_known_ones(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", SERVER)
    with pytest.raises(InputError, match=r'there is no context "prod"; choose one with --context \(there are: test\)'):
        connect(ConnectionOptions(kubeconfig=path, context="prod"))


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", "https://x.invalid", cluster={"certificate-authority": "gone.crt"})
    with pytest.raises(InputError, match=r'context "test" cannot be used: .*gone\.crt'):
        connect(ConnectionOptions(kubeconfig=path))


@pytest.mark.parametrize("server", ["cluster.example:6443", "", "https://", "ftp://cluster.example"])
def test_a_server_that_is_no_url_is_refused(tmp_path: Path, server: str) -> None:
    path = write_kubeconfig(tmp_path / "config", server)
    with pytest.raises(InputError, match=r'context "test": its server ".*" is no URL'):
        connect(ConnectionOptions(kubeconfig=path))


def test_a_proxy_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", SERVER, cluster={"proxy-url": "gopher://proxy.example"})
    with pytest.raises(InputError, match=r"proxy gopher://proxy\.example cannot be used"):
        connect(ConnectionOptions(kubeconfig=path))


@pytest.mark.parametrize("where", ["cluster", "user"])
def test_a_certificate_that_is_none_is_said(tmp_path: Path, where: str) -> None:
    (tmp_path / "bad.crt").write_text("no certificate", encoding="utf-8")
    cluster = {"certificate-authority": "bad.crt"} if where == "cluster" else None
    user = {"client-certificate": "bad.crt", "client-key": "bad.crt"} if where == "user" else None
    with scripted_server() as server:
        url = server.url.replace("http:", "https:")
        connection = connect(ConnectionOptions(kubeconfig=write_kubeconfig(tmp_path / "config", url, user, cluster)))
        with pytest.raises(ClusterError, match=r"no trusted connection: .*; check certificate-authority"):
            connection.get("/version")


def test_a_token_file_may_end_with_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n", encoding="utf-8")
    with scripted_server() as server:
        path = write_kubeconfig(tmp_path / "config", server.url, {"tokenFile": "token"})
        connect(ConnectionOptions(kubeconfig=path)).get("/version")
        assert server.headers[0]["Authorization"] == ["Bearer from-file"]


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = "import sys, migrate.scan.live; sys.exit(bool({'kubernetes', 'urllib3'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_client_reads_several_kubeconfigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_kubeconfig(tmp_path / "first", SERVER)
    second = tmp_path / "second"
    text = (tmp_path / "first").read_text(encoding="utf-8").replace("name: test", "name: other")
    second.write_text(text.replace("cluster: test", "cluster: other"), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}")
    assert connect(ConnectionOptions(context="other")).name == "other"
    assert connect(ConnectionOptions()).name == "test"


def plugin(command: str, *arguments: str) -> dict[str, object]:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": list(arguments)}}


@pytest.mark.parametrize(
    ("user", "said"),
    [
        pytest.param(
            plugin("no-such-kubelogin"), '"no-such-kubelogin" of user "test" is not installed', id="not installed"
        ),
        pytest.param(plugin("sh", "-c", "echo expired >&2; exit 3"), "failed: .*expired; log in again", id="fails"),
        pytest.param(plugin("echo", "hello"), "failed: .*; log in again", id="prints something else"),
        pytest.param(plugin("echo", '{"kind": "ExecCredential"}'), "failed: .*; log in again", id="gives no token"),
    ],
)
def test_a_credential_plugin_that_gives_nothing(
    tmp_path: Path, user: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_kubeconfig(tmp_path / "config", SERVER, user)
    with pytest.raises(ClusterError, match=said):
        connect(ConnectionOptions(kubeconfig=path))
    assert capfd.readouterr() == ("", "")
    assert not [handler for handler in logging.getLogger().handlers if "kubeconfig" in type(handler).__module__]


def test_a_credential_plugin_logs_in(tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    with scripted_server() as server:
        path = write_kubeconfig(tmp_path / "config", server.url, plugin("echo", json.dumps(credential)))
        read_cluster(connect(ConnectionOptions(kubeconfig=path)), None, lambda *step: None)
        assert server.headers[0]["Authorization"] == ["Bearer from-plugin"]


def test_a_pod_without_a_token_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    with pytest.raises(InputError, match=r"service account cannot be used: .*--kubeconfig"):
        connect(ConnectionOptions())
    with pytest.raises(InputError, match='no kubeconfig with a context "prod"'):
        connect(ConnectionOptions(context="prod"))


def test_a_pod_logs_in_with_its_service_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for constant in ("SERVICE_TOKEN_FILENAME", "SERVICE_CERT_FILENAME"):
        file = tmp_path / constant
        file.write_text("content", encoding="utf-8")
        monkeypatch.setattr(f"kubernetes.config.incluster_config.{constant}", str(file))
    connection = connect(ConnectionOptions())
    assert (connection.name, connection.host) == ("in-cluster", "10.96.0.1:443")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(ConnectionOptions(as_groups=("dev",)), id="a group without a user"),
        pytest.param(ConnectionOptions(as_user=""), id="an empty name"),
        pytest.param(ConnectionOptions(as_user="a\r\nX-Evil: 1"), id="a name that would be a header of its own"),
    ],
)
def test_impersonation_that_cannot_be_sent(options: ConnectionOptions) -> None:
    with pytest.raises(MigrateError, match="--as"):
        connect(options)
