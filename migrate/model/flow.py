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
class Flow:
    """A first packet from one end to the other; both addresses are of one family."""

    source: End
    destination: End
    packet: Packet

    def __str__(self) -> str:
        family = " over IPv6" if self.source.address.version == 6 and self.packet.protocol != ICMPV6 else ""
        return f"{self.source} → {self.destination} {self.packet}{family}"
