"""Running a command in a container through the API server, over a websocket.

The protocol is the one of remote commands (`v4.channel.k8s.io` in k8s.io/kubelet/pkg/cri/streaming/remotecommand):
the first byte of each message is its channel, 1 is standard output, 2 standard error, and 3 brings one Status at the
end. A websocket begins as a GET; the API server asks for the verb "get" on pods/exec, and from Kubernetes 1.35 on for
"create" as well (feature gate AuthorizePodWebsocketUpgradeCreatePermission), so that a role needs both.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

import msgspec

from migrate.collect.pod_connection import PodConnection
from migrate.errors import ClusterError
from migrate.scan.connection import CONNECT_SECONDS, RequestError

if TYPE_CHECKING:
    import socket

    from websocket import WebSocket

PROTOCOL = "v4.channel.k8s.io"
_OUTPUT, _ERRORS, _STATUS = 1, 2, 3
_TURN_SECONDS = 0.2
_MOST_ERRORS = 1 << 14


class ExecError(ClusterError):
    """A command that ran in a container and failed: `status` is its exit status, `stderr` the end of what it said."""

    def __init__(self, message: str, status: int, stderr: str) -> None:
        super().__init__(message)
        self.status = status
        self.stderr = stderr


class ExecCancelledError(RequestError):
    """Nobody wants the rest of the output."""


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] | None = None


class _Status(msgspec.Struct, frozen=True):
    """How a command ended, as the kubelet says it."""

    status: str = ""
    message: str = ""
    reason: str = ""
    details: _Details | None = None

    def exit_status(self) -> int | None:
        """None when the command did not run."""
        for cause in (self.details and self.details.causes) or ():
            if cause.reason == "ExitCode" and cause.message.isdecimal():
                return int(cause.message)
        return None


class ExecConnection(PodConnection):
    """A connection that can run commands in containers."""

    def execute(
        self,
        pod_path: str,
        container: str,
        command: Sequence[str],
        silence: float,
        stop: threading.Event | None = None,
    ) -> Iterator[bytes]:
        """The standard output of a command, as it comes; the command gets no input.

        Raises ExecError when it fails. Raises RequestError when it cannot be run, when its output breaks off, and
        when nothing comes for `silence` seconds; ExecCancelledError, which is one, when `stop` is set.
        """
        asked = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query = urlencode([*(("command", word) for word in command), *asked])
        with self._opened(f"{pod_path}/exec?{query}") as web:
            yield from self._output(web, command, silence, stop)

    @contextmanager
    def _opened(self, path: str) -> Iterator[WebSocket]:
        web = _web_socket()
        try:
            self._shake_hands(web, self._dialled(), path)
            web.settimeout(_TURN_SECONDS)
            yield web
        finally:
            web.shutdown()  # type: ignore[no-untyped-call]

    def _dialled(self) -> socket.socket:
        """A connection of its own, made as all requests to this API server are: its proxy, its certificates."""
        import urllib3
        from urllib3.connection import HTTPConnection

        hosts = self._pool.connection_from_url(self._configuration.host)
        made = hosts._new_conn()
        made.timeout = CONNECT_SECONDS
        through = hosts.proxy if hosts.scheme == "https" else None
        try:
            if through is not None:
                hosts._prepare_proxy(made)
            else:
                made.connect()
        except ssl.SSLError as error:
            raise self._transport_failure(urllib3.exceptions.SSLError(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            wrapped = urllib3.exceptions.ProxyError(str(error), error) if through is not None else error
            raise self._transport_failure(wrapped) from error
        assert isinstance(made, HTTPConnection)
        assert made.sock is not None
        return made.sock

    def _shake_hands(self, web: WebSocket, dialled: socket.socket, path: str) -> None:
        import websocket

        dialled.settimeout(CONNECT_SECONDS)
        headers = [f"{name}: {value}" for name, value in self._headers("*/*").items() if name != "Accept-Encoding"]
        url = "ws" + self._configuration.host.removeprefix("http") + path
        try:
            web.connect(  # type: ignore[no-untyped-call]
                url, socket=dialled, header=headers, subprotocols=[PROTOCOL], redirect_limit=0, suppress_origin=True
            )
        except websocket.WebSocketBadStatusException as error:
            dialled.close()
            raise self._not_upgraded(error) from error
        except (websocket.WebSocketConnectionClosedException, websocket.WebSocketTimeoutException, OSError) as error:
            dialled.close()
            raise self._broken_off(str(error)) from error
        except websocket.WebSocketException as error:
            dialled.close()
            what = f"no websocket with {PROTOCOL}: {error}; a proxy in between may not let websockets through"
            raise RequestError(f"{self.host}: {what}") from error
        if not web.connected or web.getsubprotocol() != PROTOCOL:
            raise RequestError(f"{self.host}: no websocket with {PROTOCOL}; a proxy in between may have answered")

    def _not_upgraded(self, error: Exception) -> RequestError:
        """What the API server, or the kubelet behind it, said instead of opening the websocket."""
        from websocket import WebSocketBadStatusException

        assert isinstance(error, WebSocketBadStatusException)
        headers = cast("dict[str, str]", error.resp_headers or {})
        body = error.resp_body if isinstance(error.resp_body, bytes) else b""
        return self._refused(error.status_code, body, str(error.status_code), headers.get("retry-after"))

    def _output(
        self, web: WebSocket, command: Sequence[str], silence: float, stop: threading.Event | None
    ) -> Iterator[bytes]:
        errors = b""
        for message in self._messages(web, silence, stop):
            channel, content = message[:1], message[1:]
            if channel == bytes([_OUTPUT]) and content:
                yield content
            elif channel == bytes([_ERRORS]):
                errors = (errors + content)[-_MOST_ERRORS:]
            elif channel == bytes([_STATUS]) and content:
                return self._judge(content, command, errors.decode(errors="replace"))
        raise self._broken_off("the connection was closed before the command ended")

    def _messages(self, web: WebSocket, silence: float, stop: threading.Event | None) -> Iterator[bytes]:
        """Messages until the other side closes in good order."""
        import websocket

        heard = time.monotonic()
        while stop is None or not stop.is_set():
            try:
                opcode, frame = web.recv_data_frame()
            except websocket.WebSocketTimeoutException:
                if time.monotonic() - heard > silence:
                    raise self._broken_off(f"nothing came for {silence:.0f} s") from None
                continue
            except (websocket.WebSocketException, OSError) as error:
                raise self._broken_off(str(error)) from error
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return
            heard = time.monotonic()
            yield frame.data
        raise ExecCancelledError(f"{self.host}: the rest of the output was not waited for", temporary=True)

    def _judge(self, content: bytes, command: Sequence[str], errors: str) -> None:
        """Raise what a Status says, if it is no success."""
        status = _Status()
        with suppress(msgspec.DecodeError):
            status = msgspec.json.decode(content, type=_Status)
        if status.status == "Success":
            return
        code = status.exit_status()
        if code is not None:
            said = errors.strip() or "it printed no reason"
            raise ExecError(f"{' '.join(command)}: exit status {code}: {said}", code, errors)
        reason = status.message or status.reason or content[:200].decode(errors="replace")
        raise RequestError(
            f"{self.host}: {' '.join(command)} did not run: {reason}", temporary=True, reached=True, reason=reason
        )

    def _broken_off(self, reason: str) -> RequestError:
        return RequestError(f"{self.host}: the answer broke off: {reason}; try again", temporary=True)


def _web_socket() -> WebSocket:
    """One that takes no harm from a ping that comes too late to be answered: what is there is still to be read."""
    import websocket

    class Patient(websocket.WebSocket):
        def pong(self, payload: str | bytes = "") -> None:
            with suppress(websocket.WebSocketException, OSError):
                super().pong(payload)

    return Patient(skip_utf8_validation=True)
