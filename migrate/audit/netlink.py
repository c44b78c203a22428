"""Netlink, as much of it as is asked here: requests, dumps, events and attributes."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

ROUTE = 0
NETFILTER = 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_REQUEST, _MANY, _DUMP = 1, 2, 0x300
_TYPE_MASK = 0x3FFF
_NESTED = 0x8000
_SOL_NETLINK = 270
_STRICT_CHECKING = 12
_ROOM = 1 << 18
_EVENTS_ROOM = 8 << 20
_PATIENCE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Message:
    """One message: what it is, and the data behind its header."""

    kind: int
    data: bytes


class Netlink:
    """A socket in the network namespace of the thread that makes it. Raises OSError, also for the kernel's refusals."""

    def __init__(self, protocol: int, groups: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        self._socket.bind((0, groups))
        if groups:
            self._socket.setblocking(False)
            self._make_room()
        else:
            self._socket.settimeout(_PATIENCE_SECONDS)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, to wait for."""
        return self._socket.fileno()

    def check_strictly(self) -> None:
        """Let the kernel (4.20 and newer) refuse what it does not know, and filter dumps as asked."""
        self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECKING, 1)

    def dump(self, kind: int, body: bytes) -> Iterator[Message]:
        """All that the kernel has of a kind. One dump at a time."""
        yield from self._answers(kind, _DUMP, body)

    def get(self, kind: int, body: bytes) -> Message | None:
        """The one thing that was asked for; None: there is none."""
        try:
            return next(self._answers(kind, 0, body), None)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return None
            raise

    def events(self) -> list[Message]:
        """What was told and not read yet. Raises OSError ENOBUFS when there was more than the socket could hold."""
        messages: list[Message] = []
        while True:
            try:
                data = self._socket.recv(_ROOM)
            except BlockingIOError:
                return messages
            messages += [message for message, _, _ in _messages(data)]

    def _answers(self, kind: int, flags: int, body: bytes) -> Iterator[Message]:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, _REQUEST | flags, self._sequence, 0) + body)
        while True:
            for message, more, sequence in _messages(self._socket.recv(_ROOM)):
                if sequence != self._sequence:
                    continue
                if message.kind in (_ERROR, _DONE):
                    _raise_refusal(message)
                    return
                yield message
                if not more:
                    return

    def _make_room(self) -> None:
        """Beyond the administrator's limit, which CAP_NET_ADMIN allows."""
        force = 33  # SO_RCVBUFFORCE
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, force, _EVENTS_ROOM)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENTS_ROOM)


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The attributes between two offsets: type, and where the value begins and ends."""
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size or start + length > end:
            return
        yield kind & _TYPE_MASK, start + _ATTRIBUTE.size, start + length
        start += (length + 3) & ~3


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    """An attribute with its padding."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind | (_NESTED if nested else 0)) + value + bytes(-length % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind, b"".join(attributes), nested=True)


def _messages(data: bytes) -> Iterator[tuple[Message, bool, int]]:
    """Each with whether more belong to it, and the number of the request."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield Message(kind, data[at + _HEADER.size : at + length]), bool(flags & _MANY), sequence
        at += (length + 3) & ~3


def _raise_refusal(message: Message) -> None:
    (code,) = struct.unpack_from("=i", message.data)
    if code < 0:
        raise OSError(-code, os.strerror(-code))
