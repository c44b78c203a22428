"""The end of a kubelet that runs commands in containers: a websocket of v4.channel.k8s.io over processes.

The API server is real and passes the websocket on as it does to every kubelet. What a test wants to go wrong is an
ExecScript.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from tests.apiserver.admin import Object

PROTOCOL = "v4.channel.k8s.io"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OUTPUT, _ERRORS, _STATUS = b"\x01", b"\x02", b"\x03"
_CHUNK = 32 * 1024
_BINARY, _CLOSE, _PING = 2, 8, 9

Exec: TypeAlias = "Callable[[Object, Sequence[str]], Sequence[str]]"
"""What runs on this machine for a command in a pod, such as the same one in its node's namespaces."""


@dataclass
class ExecScript:
    """How commands fare in the pods of one node.

    `refusals` are HTTP statuses with which the next ones are refused. `cuts` lists after how many bytes of output the
    connections of the next ones are cut. `closes` does the same with a websocket that ends in good order but without
    a status. `hangs`: that many begin and say nothing. `protocol` is what the websocket answers with. `pause` seconds
    pass before each piece of at most `piece` bytes. `pings`: one goes before each piece. `status` is sent instead of
    how the command ended. `asked` has the commands.
    """

    refusals: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    closes: list[int] = field(default_factory=list)
    hangs: int = 0
    protocol: str = PROTOCOL
    pause: float = 0.0
    piece: int = _CHUNK
    pings: bool = False
    status: bytes | None = None
    asked: list[list[str]] = field(default_factory=list)


class _CutError(Exception):
    """The script says that it ends here."""


def serve_exec(
    handler: BaseHTTPRequestHandler, pod: Object, script: ExecScript, command: Exec, stop: threading.Event
) -> None:
    """Answer GET /exec/NAMESPACE/POD/CONTAINER?command=WORD&command=WORD..."""
    asked = parse_qs(urlsplit(handler.path).query, keep_blank_values=True)["command"]
    script.asked.append(asked)
    if script.refusals:
        return refuse(handler, script.refusals.pop(0), "the container is not running")
    offered = [name.strip() for name in handler.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if PROTOCOL not in offered:
        return refuse(handler, 400, f"unable to upgrade: protocols {offered}")
    handler.close_connection = True
    _upgrade(handler, script.protocol)
    hangs, script.hangs = script.hangs > 0, max(script.hangs - 1, 0)
    if hangs:
        return _wait_for_end(handler.connection, stop)
    _run(handler, list(command(pod, asked)), script, stop)
    return None


def refuse(handler: BaseHTTPRequestHandler, status: int, message: str) -> None:
    body = json.dumps({"kind": "Status", "apiVersion": "v1", "message": message}).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _upgrade(handler: BaseHTTPRequestHandler, protocol: str) -> None:
    key = handler.headers["Sec-WebSocket-Key"].encode()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode())
    handler.send_header("Sec-WebSocket-Protocol", protocol)
    handler.end_headers()
    handler.wfile.flush()


def _wait_for_end(connection: socket.socket, stop: threading.Event) -> None:
    connection.settimeout(0.1)
    while not stop.is_set():
        try:
            if not connection.recv(_CHUNK):
                return
        except TimeoutError:
            continue
        except OSError:
            return


class _Stream:
    """The server's side of one websocket."""

    def __init__(self, handler: BaseHTTPRequestHandler, script: ExecScript) -> None:
        self._handler = handler
        self._script = script
        self._lock = threading.Lock()
        self._sent = 0
        self._cut = script.cuts.pop(0) if script.cuts else None
        self._close = script.closes.pop(0) if script.closes else None

    def output(self, content: bytes) -> None:
        """Send standard output. Raises _CutError when the script says that it ends within."""
        piece = self._script.piece
        for start in range(0, len(content), piece):
            self._piece(content[start : start + piece])

    def _piece(self, content: bytes) -> None:
        time.sleep(self._script.pause)
        if self._script.pings:
            self._frame(_PING, b"still there?")
        end = self._sent + len(content)
        if self._cut is not None and end >= self._cut:
            # In the middle of a frame, so that the reader has a part of one.
            frame = _frame(_BINARY, _OUTPUT + content)
            self._write(frame[: 4 + self._cut - self._sent])
            self._handler.connection.shutdown(socket.SHUT_RDWR)
            raise _CutError
        if self._close is not None and end >= self._close:
            self.send(_OUTPUT, content[: self._close - self._sent])
            self.close()
            raise _CutError
        self._sent = end
        self.send(_OUTPUT, content)

    def send(self, channel: bytes, content: bytes) -> None:
        self._frame(_BINARY, channel + content)

    def close(self) -> None:
        self._frame(_CLOSE, struct.pack("!H", 1000))

    def _frame(self, kind: int, content: bytes) -> None:
        self._write(_frame(kind, content))

    def _write(self, content: bytes) -> None:
        with self._lock:
            self._handler.wfile.write(content)
            self._handler.wfile.flush()


def _frame(kind: int, content: bytes) -> bytes:
    length = len(content)
    if length < 126:
        head = struct.pack("!BB", 0x80 | kind, length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | kind, 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | kind, 127, length)
    return head + content


def _run(handler: BaseHTTPRequestHandler, command: list[str], script: ExecScript, stop: threading.Event) -> None:
    stream = _Stream(handler, script)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = process.stderr
        copier = threading.Thread(target=lambda: _copy_errors(stream, errors.read), daemon=True)
        copier.start()
        gone = threading.Thread(target=lambda: _end_with(handler, process, stop), daemon=True)
        gone.start()
        try:
            while content := process.stdout.read(_CHUNK):
                stream.output(content)
            copier.join()
            status = process.wait()
            stream.send(_STATUS, script.status if script.status is not None else _ended(status))
            stream.close()
            # Closing with something unread resets the connection, and takes from the reader what is still on its way.
            _wait_for_end(handler.connection, stop)
        except (_CutError, OSError):
            process.kill()


def _copy_errors(stream: _Stream, read: Callable[[int], bytes | None]) -> None:
    try:
        while content := read(_CHUNK):
            stream.send(_ERRORS, content)
    except (OSError, ValueError):
        return


def _end_with(handler: BaseHTTPRequestHandler, process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """When a test ends, so does what runs for it."""
    while process.poll() is None:
        if stop.wait(0.1):
            process.kill()
            return


def _ended(status: int) -> bytes:
    if status == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    code = status if status > 0 else 128 - status
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    ).encode()
