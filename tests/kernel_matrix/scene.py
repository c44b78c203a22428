"""What the checks of a guest have to begin with: pods, packets, and a machine that lacks something."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from migrate.audit.kernel import Sizes
from tests.kernel.lab import Node, inside, run

SMALL = Sizes(flows=4096, coarse=512, connections=4096)
NEVER = 2**63
BPFFS = Path("/sys/fs/bpf")
THREE = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")
_NUMBERS = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_SYSLOG": 34}
_CAPABILITY_VERSION = 0x20080522
_NETWORK_NAMESPACE, _MOUNT_NAMESPACE = 0x40000000, 0x00020000
_PRIVATE, _WITH_ALL_BELOW = 1 << 18, 1 << 14
_LIBC = ctypes.CDLL(None, use_errno=True)


def two_pods() -> Node:
    """A node that forwards between pods 1 and 2."""
    node = Node()
    for number in (1, 2):
        _, pod = node.add_pod(number)
        run("ip", "-n", pod, "route", "add", "default", "via", f"10.77.{number}.1")
    node.set("ipv4/ip_forward", "1")
    return node


def enter(node: Node) -> None:
    """Be on the node from now on: what has lost its rights cannot come back."""
    namespace = os.open(f"/run/netns/{node.name}", os.O_RDONLY)
    try:
        _checked(_LIBC.setns(namespace, _NETWORK_NAMESPACE))
    finally:
        os.close(namespace)


def keep_capabilities(*names: str) -> None:
    """Give up all others."""
    bits = sum(1 << _NUMBERS[name] for name in names)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header, data = struct.pack("=Ii", _CAPABILITY_VERSION, 0), struct.pack("=6I", low, low, 0, high, high, 0)
    _checked(_LIBC.capset(header, data))


def hide(path: Path) -> None:
    """Cover a folder by an empty one."""
    _checked(_LIBC.mount(b"none", os.fsencode(path), b"tmpfs", 0, None))


def keep_mounts_apart() -> None:
    """What this process mounts from now on ends with it."""
    _checked(_LIBC.unshare(_MOUNT_NAMESPACE))
    _checked(_LIBC.mount(b"none", b"/", None, _PRIVATE | _WITH_ALL_BELOW, None))


def connect(pod: str, address: str, port: int) -> int:
    """The port from which a pod's connection was made."""
    with inside(pod), closing(socket.socket()) as client:
        client.settimeout(20)
        client.connect((address, port))
        return int(client.getsockname()[1])


def send_datagram(pod: str, address: str, port: int) -> None:
    """One, from port 40000."""
    with inside(pod), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.bind(("0.0.0.0", 40000))
        sender.sendto(b"x", (address, port))


def apart(work: Callable[[], None]) -> None:
    """Do it in a process that is killed afterwards. Raises AssertionError with its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - it goes to the parent
            os.write(writing, traceback.format_exc().encode()[:60_000])
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        error = pipe.read()
    os.waitpid(child, 0)
    assert not error, error


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
