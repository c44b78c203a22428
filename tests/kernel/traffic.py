"""Traffic of a busy node in the lab: many distinct flows by prepared frames, and real connections, names and pods.

The frames are sent by raw sockets inside the lab's namespaces, a few at a time, so that no queue overflows before a
probe sees them. The kernels and servers at the other ends answer as they answer anything.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from migrate.audit.layout import bytes_of
from tests.kernel import packets as made
from tests.kernel.kube_lab import (
    BACKEND_PORT,
    DNS_BACKEND_PORT,
    DNS_PORT,
    NODE,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    OUTSIDE_ADDRESS_6,
    SERVICE,
    SERVICE_PORT,
    Lab,
)
from tests.kernel.lab import inside, run

_CLIENTS, _CALLED, _PINGED = IPv4Address("198.18.0.0"), IPv4Address("203.0.113.0"), IPv4Address("100.64.0.0")
_ASKED = IPv6Address("2001:db8:1::")
_CALLED_HOSTS, _FIRST_PORT = 250, 1024
_HTTPS = 443
_TICK_SECONDS = 0.05
_MOST_AT_ONCE = 256
_PATIENCE_SECONDS = 60.0
_JOB_SECONDS, _MOST_JOBS = 15.0, 100
_GATES = {"a": "calia", "c": "calic", "d": "cbr0", OUTSIDE: "uplink"}
"""The node's devices that take what raw sockets send at each place."""


class Key(NamedTuple):
    """What makes a row of the recording, but for its interface and hour. `outgoing` from the pod."""

    outgoing: bool
    source: bytes
    destination: bytes
    protocol: int
    port: int


class Frame(NamedTuple):
    """A packet that opens a flow, without its Ethernet header."""

    place: str
    kind: int
    packet: bytes
    key: Key


def frames(lab: Lab, wanted: int) -> Iterator[Frame]:
    """As many flows, no two of one key, in the order in which they are sent.

    Of 20, 9 are UDP clients from outside (pod b answers each), 5 TCP calls of pod a to ports outside that refuse,
    4 pings of pod c (answered) and 2 UDP questions of pod d by IPv6.
    """
    a, b, c, d = (lab.pods[name] for name in "abcd")
    for index in range(wanted):
        turn = index % 20
        if turn < 9:
            yield _udp(OUTSIDE, str(_CLIENTS + index), b.address, DNS_BACKEND_PORT, outgoing=False)
        elif turn < 14:
            number = index // 20 * 5 + turn - 9
            host, port = str(_CALLED + number % _CALLED_HOSTS), _FIRST_PORT + number // _CALLED_HOSTS
            yield _call(a.address, host, port)
        elif turn < 18:
            yield _ping(c.address, str(_PINGED + index))
        else:
            yield _udp("d", d.address_6, str(_ASKED + index), DNS_PORT, outgoing=True)


def _udp(place: str, source: str, destination: str, port: int, *, outgoing: bool) -> Frame:
    body = made.udp(40_000, port)
    key = Key(outgoing, *_ends(source, destination), made.UDP, port)
    if ":" in source:
        body = _filled(body, 6, made.UDP, source, destination)
        return Frame(place, made.IPV6, made.ipv6(source, destination, made.UDP, body), key)
    return Frame(place, made.IPV4, _ipv4(source, destination, made.UDP, body), key)


def _call(source: str, destination: str, port: int) -> Frame:
    body = _filled(made.tcp(40_000, port, made.SYN), 16, made.TCP, source, destination)
    key = Key(True, *_ends(source, destination), made.TCP, port)
    return Frame("a", made.IPV4, _ipv4(source, destination, made.TCP, body), key)


def _ping(source: str, destination: str) -> Frame:
    body = made.icmp(8, 0, b"\0\1\0\1")
    body = body[:2] + struct.pack(">H", _checksum(body)) + body[4:]
    key = Key(True, *_ends(source, destination), made.ICMP, 8 << 8)
    return Frame("c", made.IPV4, _ipv4(source, destination, made.ICMP, body), key)


def _ends(source: str, destination: str) -> tuple[bytes, bytes]:
    return bytes_of(ip_address(source)), bytes_of(ip_address(destination))


def _ipv4(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    packet = made.ipv4(source, destination, protocol, body)
    return packet[:10] + struct.pack(">H", _checksum(packet[:20])) + packet[12:]


def _filled(body: bytes, offset: int, protocol: int, source: str, destination: str) -> bytes:
    """A segment with its checksum, which covers the addresses too."""
    ends = ip_address(source).packed + ip_address(destination).packed
    checksum = _checksum(ends + struct.pack(">HH", protocol, len(body)) + body)
    return body[:offset] + struct.pack(">H", checksum) + body[offset + 2 :]


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f">{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Mix:
    """The traffic of a lab. Use it as a context; `keys` are those of the prepared frames."""

    def __init__(self, lab: Lab, wanted: int) -> None:
        self._lab = lab
        self._frames = list(frames(lab, wanted))
        self.keys = frozenset(frame.key for frame in self._frames)
        self._raw: dict[str, tuple[socket.socket, bytes]] = {}
        self._open: list[socket.socket] = []
        self._stack = ExitStack()
        self._job_at = _JOB_SECONDS
        self._jobs = 0

    def __enter__(self) -> Mix:
        """Ways and servers; the real connections show that all of them work, and let the neighbours be found."""
        self._lab.run_ip(
            OUTSIDE,
            f"route add local {_CALLED}/24 dev lo",
            f"route add local {_PINGED}/15 dev lo",
            f"route add blackhole {_CLIENTS}/15",
            f"route add blackhole {_ASKED}/48",
        )
        self._lab.serve("b", BACKEND_PORT)
        self._lab.serve("b", DNS_BACKEND_PORT, datagrams=True)
        self._lab.serve(OUTSIDE, _HTTPS)
        for place, gate in _GATES.items():
            self._raw[place] = self._raw_socket(place, gate)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float, each_second: Callable[[], None] = lambda: None) -> None:
        """Send everything, evenly over that time."""
        self._connect()
        began, second, sent = time.monotonic(), 0, 0
        while (elapsed := time.monotonic() - began) < seconds or sent < len(self._frames):
            due = min(len(self._frames), int(len(self._frames) * elapsed / seconds) + 1)
            sent = self._send(sent, min(due, sent + _MOST_AT_ONCE))
            self._exchange()
            if elapsed >= second:
                second += 1
                self._talk()
                self._churn(elapsed, seconds)
                each_second()
            time.sleep(_TICK_SECONDS)

    def _connect(self) -> None:
        """The connections that stand all the time."""
        for place, host, port in (
            ("a", self._lab.pods["b"].address, BACKEND_PORT),
            ("c", OUTSIDE_ADDRESS, _HTTPS),
            ("d", OUTSIDE_ADDRESS_6, _HTTPS),
        ):
            client = self._stack.enter_context(closing(self._lab.open(place, host, port)))
            client.settimeout(_PATIENCE_SECONDS)
            self._open.append(client)

    def _send(self, begin: int, end: int) -> int:
        for frame in self._frames[begin:end]:
            sender, header = self._raw[frame.place]
            sender.send(header + struct.pack(">H", frame.kind) + frame.packet)
        return end

    def _exchange(self) -> None:
        for client in self._open:
            client.send(b"x" * 1024)
            client.recv(2048)

    def _talk(self) -> None:
        """Short connections and a name, through the Service and directly. A busy machine may answer too late."""
        self._lab.connect("a", SERVICE, SERVICE_PORT)
        self._lab.connect("e", self._lab.pods["b"].address, BACKEND_PORT)
        self._lab.ask("a", SERVICE, DNS_PORT)

    def _churn(self, elapsed: float, seconds: float) -> None:
        """A pod that comes, calls and goes; as many in an hour as in half of one, since addresses are few."""
        if elapsed < self._job_at:
            return
        self._job_at += max(_JOB_SECONDS, seconds / _MOST_JOBS)
        self._jobs += 1
        name = f"job{self._jobs}"
        self._lab.add_pod(name)
        self._lab.connect(name, SERVICE, SERVICE_PORT)
        self._lab.remove_pod(name)

    def _raw_socket(self, place: str, gate: str) -> tuple[socket.socket, bytes]:
        """A socket that sends frames, and the addresses that they begin with."""
        device = "uplink" if place == OUTSIDE else "eth0"
        with inside(self._lab.namespace(place)):
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._stack.enter_context(closing(sender))
        with inside(self._lab.namespace(place)):
            sender.bind((device, 0))
        return sender, _hardware(self._lab, NODE, gate) + _hardware(self._lab, place, device)


def _hardware(lab: Lab, place: str, device: str) -> bytes:
    """The Ethernet address of a device."""
    shown = json.loads(run("ip", "-n", lab.namespace(place), "-json", "link", "show", "dev", device))
    return bytes.fromhex(str(shown[0]["address"]).replace(":", ""))
