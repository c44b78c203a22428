"""An HTTP server that answers as a script says: the ways in which an API server misbehaves, on demand."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml


@dataclass(frozen=True)
class Reply:
    """One answer. `cut` bytes are announced and never sent; `reset` closes the connection instead of answering."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = 0
    reset: bool = False


def as_json(value: object, status: int = 200, *headers: tuple[str, str]) -> Reply:
    return Reply(status, json.dumps(value).encode(), (("Content-Type", "application/json"), *headers))


def zipped(value: object) -> Reply:
    return Reply(200, gzip.compress(json.dumps(value).encode()), (("Content-Encoding", "gzip"),))


def error(status: int, message: str = "no", *headers: tuple[str, str], token: str = "") -> Reply:
    body = {"kind": "Status", "message": message, "metadata": {"continue": token} if token else {}}
    return as_json(body, status, *headers)


def listing(*items: object, token: str = "", remaining: int | None = None) -> Reply:
    return as_json({"kind": "List", "metadata": {"continue": token, "remainingItemCount": remaining}, "items": items})


def aggregated(*kinds: tuple[str, str], stale: tuple[str, ...] = ()) -> Reply:
    """Aggregated discovery that serves the kinds, given as (apiVersion, kind)."""
    versions = dict.fromkeys([version for version, _ in kinds] + list(stale))
    groups = [
        {
            "metadata": {"name": version.rpartition("/")[0]} if "/" in version else {},
            "versions": [
                {
                    "version": version.rpartition("/")[2],
                    "freshness": "Stale" if version in stale else "Current",
                    "resources": [{"responseKind": {"kind": kind}} for served, kind in kinds if served == version],
                }
            ],
        }
        for version in versions
    ]
    return as_json({"kind": "APIGroupDiscoveryList", "items": groups})


@dataclass
class ScriptedServer:
    """Answers each path with its replies in turn; the last one repeats. Paths without a reply are 404."""

    url: str
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, list[str]]] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None

    def script(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def next_reply(self, path: str) -> Reply:
        """A path with its query goes before the path alone."""
        queue = self.replies.get(path) or self.replies.get(urlsplit(path).path) or [error(404, "not found")]
        return queue.pop(0) if len(queue) > 1 else queue[0]

    def asked(self, path: str) -> int:
        """How often a path was asked for, whatever its query."""
        return sum(urlsplit(request.partition(" ")[2]).path == path for request in self.requests)


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running server that knows its version and two kinds, Namespace and Pod, of which there are none."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer; two would wait for each other

        def handle_any(self) -> None:
            script.requests.append(f"{self.command} {self.path}")
            script.headers.append({key: self.headers.get_all(key) or [] for key in self.headers})
            _send(self, script.next_reply(self.path))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: requests are recorded above."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script = ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}")
    script.script("/version", as_json({"gitVersion": "v1.34.4"}))
    script.script("/api", aggregated(("v1", "Namespace"), ("v1", "Pod")))
    script.script("/apis", aggregated())
    script.script("/api/v1/namespaces", listing())
    script.script("/api/v1/pods", listing())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    script.stop = stop
    try:
        yield script
    finally:
        stop()


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.reset:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return
    handler.send_response(reply.status)
    for key, value in reply.headers:
        handler.send_header(key, value)
    handler.send_header("Content-Length", str(len(reply.body) + reply.cut))
    handler.end_headers()
    handler.wfile.write(reply.body)
    handler.close_connection = bool(reply.cut)


def write_kubeconfig(
    path: Path, server: str, user: Mapping[str, object] | None = None, cluster: Mapping[str, object] | None = None
) -> str:
    """A kubeconfig with one context, "test"; returns its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "test", "user": {"token": "secret"} if user is None else dict(user)}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)
