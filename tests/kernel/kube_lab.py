"""A node with pods, services and an outside in network namespaces, with the rules of kube-proxy and a policy engine.

The rules are in kube-proxy.iptables and kube-proxy.ip6tables. Sockets are made inside a namespace by the test's own
threads and stay there, so that nothing else has to be started.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import socket
import subprocess
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from tests.kernel.lab import inside, run
from tests.prerequisites import require

NODE, OUTSIDE = "node", "outside"
NODE_ADDRESS, NODE_ADDRESS_6 = "192.0.2.10", "2001:db8::10"
OUTSIDE_ADDRESS, OUTSIDE_CLIENT, OUTSIDE_ADDRESS_6 = "192.0.2.1", "198.51.100.7", "2001:db8::1"
SERVICE, SERVICE_6 = "10.0.0.10", "fd00:aaaa::10"
SERVICE_PORT, DNS_PORT, BACKEND_PORT, DNS_BACKEND_PORT = 80, 53, 8080, 5353
NODE_PORT, LOCAL_NODE_PORT = 30080, 30081
"""A NodePort of externalTrafficPolicy Cluster, and one of Local."""
DROPPED, REJECTED, RESET = 9090, 9091, 9092
"""Ports of pod c that the node's rules drop and reject; DROPPED also of pod e."""

_ROUTED, _BRIDGED = ("a", "b", "c"), ("d", "e")
_PATIENCE_SECONDS = 0.7  # a SYN goes out again after one second
_FOLDER = Path(__file__).parent
_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv6/conf/default/accept_dad": 0,
}


class Answer(StrEnum):
    """What a client got."""

    ANSWERED = "answered"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, its network namespace, and the host side of its veth."""

    name: str
    namespace: str
    veth: str
    ifindex: int
    address: str
    address_6: str


class Lab:
    """Routed pods a, b, c (as of Calico, and Azure in transparent mode), d and e on a bridge; servers and clients.

    Places are names of pods, NODE or OUTSIDE.
    """

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self._token = f"mig{secrets.token_hex(4)}"
        self._servers = _Servers()
        self._numbers = {"cali": 2, "veth": 2}

    def __enter__(self) -> Lab:
        require(os.geteuid() == 0, "root")
        require(shutil.which("ip") is not None, "ip (Debian: iproute2)")
        require(shutil.which("ip6tables-restore") is not None, "iptables")
        try:
            self._make_node()
            for name in _ROUTED:
                self.add_pod(name)
            for name in _BRIDGED:
                self.add_pod(name, bridged=True)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away."""
        self._servers.close()
        for namespace in run("ip", "netns", "list").split():
            if namespace == self._token or namespace.startswith(f"{self._token}-"):
                with suppress(subprocess.CalledProcessError):
                    run("ip", "netns", "delete", namespace)

    @property
    def node(self) -> str:
        """The node's network namespace."""
        return self._token

    def namespace(self, place: str) -> str:
        """The network namespace of a place."""
        return self._token if place == NODE else f"{self._token}-{place}"

    def add_pod(self, name: str, *, bridged: bool = False, number: int | None = None) -> Pod:
        """A new pod: routed, or on the node's bridge. Its veth comes up last, as with the usual plugins.

        `number` is the last one of its address, where an earlier pod's is wanted.
        """
        kind = "veth" if bridged else "cali"
        if number is None:
            number = self._numbers[kind]
            self._numbers[kind] += 1
        namespace, veth = self.namespace(name), f"{kind}{name}"
        run("ip", "netns", "add", namespace)
        self.run_ip(NODE, f"link add {veth} type veth peer name eth0 netns {namespace}")
        subnet = 2 if bridged else 1
        address, address_6 = f"10.244.{subnet}.{number}", f"fd00:{subnet}::{number:x}"
        (self._bridge if bridged else self._route)(name, veth, address, address_6)
        index = int(run("ip", "-n", self._token, "-o", "link", "show", "dev", veth).split(":")[0])
        self.pods[name] = Pod(name, namespace, veth, index, address, address_6)
        return self.pods[name]

    def remove_pod(self, name: str) -> None:
        """Take a pod away; its veth goes with it."""
        pod = self.pods.pop(name)
        run("ip", "-n", self._token, "link", "delete", pod.veth)
        run("ip", "netns", "delete", pod.namespace)

    def run_ip(self, place: str, *lines: str) -> None:
        """Run commands of ip there, in one process."""
        _feed("\n".join(lines), "ip", "-n", self.namespace(place), "-batch", "-")

    def serve(self, place: str, port: int, *, datagrams: bool = False) -> None:
        """Answer there until the end, over IPv4 and IPv6."""
        kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
        with inside(self.namespace(place)):
            server = socket.socket(socket.AF_INET6, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind(("::", port))
        if not datagrams:
            server.listen(128)
        self._servers.add(server)

    def connect(self, place: str, host: str, port: int, *, source: str = "") -> Answer:
        """Open a TCP connection and close it again."""
        try:
            self.open(place, host, port, source=source).close()
        except OSError as error:
            return _answer(error)
        return Answer.ANSWERED

    def open(self, place: str, host: str, port: int, *, source: str = "") -> socket.socket:
        """A TCP connection on which a server has answered once, and answers each thing that is sent."""
        client = self._socket(place, host, socket.SOCK_STREAM)
        try:
            if source:
                client.bind((source, 0))
            client.connect((host, port))
            client.recv(16)
        except BaseException:
            client.close()
            raise
        return client

    def ask(self, place: str, host: str, port: int) -> Answer:
        """Send a datagram and wait for the answer."""
        with closing(self._socket(place, host, socket.SOCK_DGRAM)) as client:
            try:
                client.connect((host, port))
                client.send(b"question")
                client.recv(16)
            except OSError as error:
                return _answer(error)
        return Answer.ANSWERED

    def _socket(self, place: str, host: str, kind: socket.SocketKind) -> socket.socket:
        with inside(self.namespace(place)):
            made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        made.settimeout(_PATIENCE_SECONDS)
        return made

    def _make_node(self) -> None:
        outside = self.namespace(OUTSIDE)
        for namespace in (self._token, outside):
            run("ip", "netns", "add", namespace)
            self._set(namespace, _SYSCTLS)
        self.run_ip(
            NODE,
            "link set lo up",
            f"link add uplink type veth peer name uplink netns {outside}",
            f"address add {NODE_ADDRESS}/24 dev uplink",
            f"address add {NODE_ADDRESS_6}/64 dev uplink nodad",
            "link set uplink up",
            f"route add default via {OUTSIDE_ADDRESS}",
            "link add cbr0 type bridge",
            "address add 10.244.2.1/24 dev cbr0",
            "address add fd00:2::1/64 dev cbr0 nodad",
            "link set cbr0 up",
        )
        self.run_ip(
            OUTSIDE,
            "link set lo up",
            f"address add {OUTSIDE_CLIENT}/32 dev lo",
            f"address add {OUTSIDE_ADDRESS}/24 dev uplink",
            f"address add {OUTSIDE_ADDRESS_6}/64 dev uplink nodad",
            "link set uplink up",
            f"route add 10.244.0.0/16 via {NODE_ADDRESS}",
            f"route add fd00::/16 via {NODE_ADDRESS_6}",
        )
        self.run_ip(NODE, f"route add default via {OUTSIDE_ADDRESS_6}")
        for command in ("iptables", "ip6tables"):
            rules = (_FOLDER / f"kube-proxy.{command}").read_text()
            _feed(rules, "ip", "netns", "exec", self._token, f"{command}-restore", "-w")
        bridges_filtered = {"net/bridge/bridge-nf-call-iptables": 1}
        with suppress(FileNotFoundError):
            self._set(self._token, bridges_filtered)

    def _route(self, name: str, veth: str, address: str, address_6: str) -> None:
        """As Calico does: a /32 for each pod, and the node answers for the gateway."""
        self._set(self._token, {f"net/ipv4/conf/{veth}/proxy_arp": 1, f"net/ipv4/neigh/{veth}/proxy_delay": 0})
        self.run_ip(
            name,
            "link set lo up",
            "link set eth0 up",
            f"address add {address}/32 dev eth0",
            f"address add {address_6}/128 dev eth0 nodad",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1",
            "route add default via fe80::1 dev eth0",
        )
        self.run_ip(
            NODE,
            f"link set {veth} up",
            f"address add fe80::1/64 dev {veth} nodad",
            f"route add {address}/32 dev {veth}",
            f"route add {address_6}/128 dev {veth}",
        )

    def _bridge(self, name: str, veth: str, address: str, address_6: str) -> None:
        self.run_ip(NODE, f"link set {veth} master cbr0 up")
        self.run_ip(
            name,
            "link set lo up",
            "link set eth0 up",
            f"address add {address}/24 dev eth0",
            f"address add {address_6}/64 dev eth0 nodad",
            "route add default via 10.244.2.1",
            "route add default via fd00:2::1",
        )

    @staticmethod
    def _set(namespace: str, values: dict[str, int]) -> None:
        with inside(namespace):
            for name, value in values.items():
                Path("/proc/sys", name).write_text(str(value))


class _Servers:
    """One thread that answers on all listening sockets."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, server: socket.socket) -> None:
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)
        self._wake.send(b"x")

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                found = key.fileobj
                if found is self._woken and not self._woken.recv(16):
                    return
                if isinstance(found, socket.socket) and found is not self._woken:
                    with suppress(OSError):
                        self._serve(found)

    def _serve(self, ready: socket.socket) -> None:
        if ready.type is socket.SOCK_DGRAM:
            data, sender = ready.recvfrom(2048)
            ready.sendto(data, sender)
        elif ready.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            client, _ = ready.accept()
            client.setblocking(False)
            self._selector.register(client, selectors.EVENT_READ)
            client.send(b"welcome")
        else:
            self._echo(ready)

    def _echo(self, client: socket.socket) -> None:
        try:
            data = client.recv(2048)
        except OSError:
            data = b""
        if data:
            client.send(data)
        else:
            self._selector.unregister(client)
            client.close()


def _answer(error: OSError) -> Answer:
    if isinstance(error, TimeoutError):
        return Answer.SILENT
    return Answer.REFUSED if isinstance(error, ConnectionRefusedError) else Answer.UNREACHABLE


def _feed(text: str, *command: str) -> None:
    """Run a command with this input. Raises RuntimeError with what it said."""
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr}")
