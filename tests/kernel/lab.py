"""Network namespaces with veth pairs that stand for a node and its pods; they end with the test."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NETWORK_NAMESPACE = 0x40000000
_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str) -> str:
    """What a command prints. Raises CalledProcessError."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _NETWORK_NAMESPACE):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let this thread work in a namespace. Sockets made there stay there."""
    own, other = (os.open(path, os.O_RDONLY) for path in ("/proc/self/ns/net", f"/run/netns/{namespace}"))
    try:
        _enter(other)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)
        os.close(other)


def unmount(path: Path) -> None:
    """Unmount what is mounted there, if anything."""
    _LIBC.umount2(os.fsencode(path), _DETACH)


class Namespace:
    """A network namespace, for those who run programs in it. Whoever makes it has to remove it."""

    def __init__(self) -> None:
        self.namespace = f"mig{secrets.token_hex(4)}"
        run("ip", "netns", "add", self.namespace)

    def do(self, *command: str, text: str | None = None) -> bytes:
        """What a command prints inside. Raises CalledProcessError."""
        inside = ("ip", "netns", "exec", self.namespace, *command)
        body = None if text is None else text.encode()
        return subprocess.run(inside, check=True, capture_output=True, input=body).stdout

    def remove(self) -> None:
        """Take the namespace away."""
        run("ip", "netns", "delete", self.namespace)


class Node:
    """A namespace that stands for a node. Pod number n has 10.77.n.2 and fd77:n::2, the node's side ends in 1."""

    def __init__(self) -> None:
        self.name = f"mig{secrets.token_hex(4)}"
        self._namespaces = [self.name]
        run("ip", "netns", "add", self.name)
        self.set("ipv6/conf/default/accept_dad", "0")  # else link-local addresses, and so neighbours, take seconds
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def add_pod(self, number: int) -> tuple[int, str]:
        """The index of the new pod's veth on the node, which is named veth<number>, and the pod's namespace."""
        pod = f"{self.name}-{number}"
        run("ip", "netns", "add", pod)
        self._namespaces.append(pod)
        veth = f"veth{number}"
        run("ip", "-n", self.name, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", pod)
        for namespace, device, end in ((self.name, veth, 1), (pod, "eth0", 2)):
            run("ip", "-n", namespace, "address", "add", f"10.77.{number}.{end}/24", "dev", device)
            run("ip", "-n", namespace, "address", "add", f"fd77:{number}::{end}/64", "dev", device, "nodad")
            run("ip", "-n", namespace, "link", "set", device, "up")
        run("ip", "-n", pod, "link", "set", "lo", "up")
        return self.index(veth), pod

    def set(self, setting: str, value: str) -> None:
        """Set a network setting of the node."""
        with inside(self.name):
            Path("/proc/sys/net", setting).write_text(value)

    def index(self, device: str) -> int:
        """The index of an interface of the node."""
        return int(run("ip", "-n", self.name, "-o", "link", "show", "dev", device).split(":")[0])

    def remove(self) -> None:
        """Take all namespaces away, and their interfaces with them."""
        for namespace in reversed(self._namespaces):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", namespace)
