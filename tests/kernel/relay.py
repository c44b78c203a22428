"""A server of this machine's loopback made reachable on the loopback of another network namespace."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.kernel.lab import inside


@contextmanager
def relayed(namespace: str, port: int) -> Iterator[None]:
    """What connects to 127.0.0.1:port there talks to 127.0.0.1:port here."""
    with inside(namespace):
        listening = socket.create_server(("127.0.0.1", port))
    made: list[socket.socket] = []
    accepting = threading.Thread(target=_accept, args=(listening, port, made), daemon=True)
    accepting.start()
    try:
        yield
    finally:
        for one in (listening, *made):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        accepting.join()


def _accept(listening: socket.socket, port: int, made: list[socket.socket]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            made += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
