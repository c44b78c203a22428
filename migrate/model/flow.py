"""Flows: the first packet of a connection after service translation, and the two ends it runs between."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from migrate.model.addresses import Address
from migrate.model.cluster import Node, Pod

PROTOCOL_NUMBERS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}
TCP, UDP, SCTP = 6, 17, 132
ICMP, ICMPV6 = 1, 58


class Direction(Enum):
    """Which way a connection is opened, seen from the pod that a policy selects."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Word(Enum):
    """What one side says of a flow. `unenforced`: nothing polices that end in that direction."""

    ALLOW = "allow"
    DENY = "deny"
    UNENFORCED = "unenforced"


class EndKind(Enum):
    """What owns an address."""

    POD = "pod"
    NODE = "node"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a flow: the address, and the pod or node that owns it.

    A pod on the host's network is its node: `kind` is NODE and `pod` is None. `api_server` marks the addresses
    behind the Service default/kubernetes, wherever they are.
    """

    kind: EndKind
    address: Address
    pod: Pod | None = None
    node: Node | None = None
    api_server: bool = False

    @property
    def node_name(self) -> str | None:
        """The node that the end is, or runs on; None when outside or not known."""
        if self.node is not None:
            return self.node.name
        return self.pod.node if self.pod is not None else None

    def __str__(self) -> str:
        if self.pod is not None:
            return str(self.pod)
        return str(self.address) if self.node is None else f"node {self.node.name}"


@dataclass(frozen=True, slots=True)
class Packet:
    """What is matched besides the ends. `port` is the destination port, for ICMP the type; `code` is ICMP's."""

    protocol: int
    port: int = 0
    source_port: int = 0
    code: int = 0

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, f"IP protocol {self.protocol}")
        if self.protocol in (ICMP, ICMPV6):
            return f"{name} type {self.port}" + (f" code {self.code}" if self.code else "")
        if self.protocol not in PROTOCOL_NAMES:
            return name
        return f"{name}/{self.port}" + (f" from port {self.source_port}" if self.source_port else "")


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """What a Service may pass a connection on to, with the port after translation."""

    end: End
    port: int


@dataclass(frozen=True, slots=True)
class Via:
    """The way through a Service. All ends are of the flow's IP family.

    `external`: by a node port or balancer, in at one of the nodes `entries` (all of them where it is not said which);
    else by the cluster IP, which is translated where the client is. `node_port` is None where its number is not
    known. `keeps_source` is externalTrafficPolicy Local. `not_modelled` says why no answer can be given.
    """

    service: str
    targets: tuple[ServiceTarget, ...]
    external: bool = False
    entries: tuple[End, ...] = ()
    node_port: int | None = None
    keeps_source: bool = False
    not_modelled: str = ""

    def __str__(self) -> str:
        name = f"service {self.service}" if self.service else "a service"
        port = "" if self.node_port is None else f" node port {self.node_port}"
        entry = f" at {self.entries[0]}" if len(self.entries) == 1 else ""
        return f"{name}{port}{entry}"


@dataclass(frozen=True, slots=True)
class Flow:
    """A first packet from one end to the other; both addresses are of one family.

    With `via` the destination is its first target; where it has several, the packet's port is the service's.
    """

    source: End
    destination: End
    packet: Packet
    via: Via | None = None

    def __str__(self) -> str:
        family = " over IPv6" if self.source.address.version == 6 and self.packet.protocol != ICMPV6 else ""
        if self.via is None:
            return f"{self.source} → {self.destination} {self.packet}{family}"
        if len(self.via.targets) != 1:
            return f"{self.source} → {self.via} {self.packet}{family}"
        return f"{self.source} → {self.destination} {self.packet}{family} through {self.via}"
