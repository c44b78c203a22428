"""The API server, made reachable on the loopback of a node's network namespace; it can be shut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.kernel.lab import inside

_CHUNK = 1 << 16


class Gate:
    """What connects to 127.0.0.1:port there talks to 127.0.0.1:port here, also when that one was away for a while."""

    def __init__(self, namespace: str, port: int) -> None:
        self._port = port
        self._made: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_shut = False
        with inside(namespace):
            self._listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Cut all connections, and let none through until it is opened."""
        with self._lock:
            self._is_shut = True
            self._cut()

    def open(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_shut = False

    def close(self) -> None:
        """End it."""
        self.shut()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _cut(self) -> None:
        for one in self._made:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._made.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        with self._lock:
            if self._is_shut:
                client.close()
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()
                return
            self._made += [client, server]
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
