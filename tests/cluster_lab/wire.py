"""Nodes that reach each other, and an outside, as network namespaces on one bridge; pods behind the nodes.

Node number n has 192.0.2.(10 + n), and its pods have addresses of 10.244.n.0/24 and fd00:n::/64. The nodes have routes
to each other's pods, as a cloud's network or Calico without an overlay gives them.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.lab import inside, run

OUTSIDE_ADDRESS, OUTSIDE_ADDRESS_6 = "192.0.2.1", "2001:db8::1"
FAR_ADDRESS = "198.51.100.7"
"""One of the outside that no route names."""
POD_NETWORK, POD_NETWORK_6 = "10.244.0.0/16", "fd00::/16"
_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv6/conf/default/accept_dad": 0,
}


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A pod's network namespace, the node's side of its veth, and its addresses."""

    namespace: str
    veth: str
    address: str
    address_6: str


class Wire:
    """The outside and what connects it with the nodes."""

    def __init__(self, token: str) -> None:
        self.namespace = f"{token}-wire"
        add_namespace(self.namespace)
        ip(
            self.namespace,
            "link add wire type bridge",
            f"address add {OUTSIDE_ADDRESS}/24 dev wire",
            f"address add {OUTSIDE_ADDRESS_6}/64 dev wire nodad",
            f"address add {FAR_ADDRESS}/32 dev lo",
            "link set wire up",
        )

    def plug(self, node: NodeNetwork) -> None:
        """Connect a node that is new, or new again.

        What was at the other end of its old interface is gone only some time after the node's namespace was deleted.
        """
        name = f"node{node.number}"
        subprocess.run(["ip", "-n", self.namespace, "link", "delete", name], capture_output=True, check=False)
        ip(
            self.namespace,
            f"link add {name} type veth peer name uplink netns {node.namespace}",
            f"link set {name} master wire up",
            f"route replace {node.pods} via {node.address}",
        )
        node.connect()
        ip(self.namespace, f"route replace {node.pods_6} via {node.address_6}")


class NodeNetwork:
    """The network of one node. A `bridged` one has its pods on a bridge, the others have a route for each."""

    def __init__(self, token: str, number: int, *, bridged: bool = False) -> None:
        self.number = number
        self.address, self.address_6 = f"192.0.2.{10 + number}", f"2001:db8::{10 + number}"
        self.pods, self.pods_6 = f"10.244.{number}.0/24", f"fd00:{number}::/64"
        self.namespace = f"{token}-n{number}"
        self._bridged = bridged
        self._next = 2
        self.build()

    def build(self) -> None:
        """Make it, as after a boot: without pods."""
        add_namespace(self.namespace)
        if self._bridged:
            gateways = (f"10.244.{self.number}.1/24", f"fd00:{self.number}::1/64")
            addresses = [f"address add {gateway} dev cbr0 nodad" for gateway in gateways]
            ip(self.namespace, "link add cbr0 type bridge", *addresses, "link set cbr0 up")

    def connect(self) -> None:
        """Addresses and the way out, once the wire has plugged it in."""
        ip(
            self.namespace,
            f"address add {self.address}/24 dev uplink",
            f"address add {self.address_6}/64 dev uplink nodad",
            "link set uplink up",
            f"route add default via {OUTSIDE_ADDRESS}",
            f"route add default via {OUTSIDE_ADDRESS_6}",
        )

    def meet(self, other: NodeNetwork) -> None:
        """A route to the pods of another node."""
        ways = ((other.pods, other.address), (other.pods_6, other.address_6))
        ip(self.namespace, *(f"route replace {pods} via {address}" for pods, address in ways))

    def part(self, other: NodeNetwork) -> None:
        """Forget the way to the pods of a node that left."""
        for pods in (other.pods, other.pods_6):
            subprocess.run(["ip", "-n", self.namespace, "route", "delete", pods], capture_output=True, check=False)

    def remove(self) -> None:
        """Take it away with its interfaces."""
        run("ip", "netns", "delete", self.namespace)

    def add_pod(self, name: str) -> PodNetwork:
        """The network of a new pod. Its veth comes up last, as with the usual plugins."""
        number, self._next = self._next, self._next + 1
        namespace = f"{self.namespace}-{name}"
        veth = f"{'veth' if self._bridged else 'cali'}{number}"
        add_namespace(namespace)
        ip(self.namespace, f"link add {veth} type veth peer name eth0 netns {namespace}")
        made = PodNetwork(namespace, veth, f"10.244.{self.number}.{number}", f"fd00:{self.number}::{number:x}")
        (self._bridge if self._bridged else self._route)(made)
        return made

    def remove_pod(self, pod: PodNetwork) -> None:
        """Take a pod's network away."""
        subprocess.run(["ip", "-n", self.namespace, "link", "delete", pod.veth], capture_output=True, check=False)
        run("ip", "netns", "delete", pod.namespace)

    def _route(self, pod: PodNetwork) -> None:
        sysctls(self.namespace, {f"net/ipv4/conf/{pod.veth}/proxy_arp": 1, f"net/ipv4/neigh/{pod.veth}/proxy_delay": 0})
        ip(
            pod.namespace,
            "link set eth0 up",
            f"address add {pod.address}/32 dev eth0",
            f"address add {pod.address_6}/128 dev eth0 nodad",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1",
            "route add default via fe80::1 dev eth0",
        )
        ip(
            self.namespace,
            f"link set {pod.veth} up",
            f"address add fe80::1/64 dev {pod.veth} nodad",
            f"route add {pod.address}/32 dev {pod.veth}",
            f"route add {pod.address_6}/128 dev {pod.veth}",
        )

    def _bridge(self, pod: PodNetwork) -> None:
        ip(self.namespace, f"link set {pod.veth} master cbr0 up")
        ip(
            pod.namespace,
            "link set eth0 up",
            f"address add {pod.address}/24 dev eth0",
            f"address add {pod.address_6}/64 dev eth0 nodad",
            f"route add default via 10.244.{self.number}.1",
            f"route add default via fd00:{self.number}::1",
        )


def add_namespace(name: str) -> None:
    """A network namespace that forwards."""
    run("ip", "netns", "add", name)
    sysctls(name, _SYSCTLS)
    ip(name, "link set lo up")


def ip(namespace: str, *lines: str) -> None:
    """Run commands of ip there, in one process."""
    feed("\n".join(lines), "ip", "-n", namespace, "-batch", "-")


def feed(text: str, *command: str) -> None:
    """Run a command with this input. Raises RuntimeError with what it said."""
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr}")


def sysctls(namespace: str, values: dict[str, int]) -> None:
    """Set network settings of a namespace."""
    with inside(namespace):
        for name, value in values.items():
            Path("/proc/sys", name).write_text(str(value))
