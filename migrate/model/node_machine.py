"""A Linux node beside its packet filter: links, addresses, routes, CNI configuration, virtual servers of IPVS."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import TypeAlias

from migrate.model.addresses import Address, Network
from migrate.model.refs import Location

InterfaceAddress: TypeAlias = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `kind` is the kernel's word (bridge, vxlan, wireguard, veth), "" for a device of the machine.

    `port` and `tunnel` are the UDP port and the number of a tunnel. `shared`: it takes the tunnel's number from each
    packet, as Cilium's does. `filters` says whether a bridge hands its packets to iptables whatever the setting of
    the node is, None for what is no bridge.
    """

    name: str
    kind: str = ""
    mtu: int = 0
    up: bool = False
    master: str | None = None
    port: int | None = None
    tunnel: int | None = None
    shared: bool = False
    filters: bool | None = None


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of an interface with the length of its prefix."""

    device: str
    address: InterfaceAddress


@dataclass(frozen=True, slots=True)
class Route:
    """A route. `kind` is unicast, blackhole, local and so on; `table` is "main" or the number or name of another.

    `protocol` says who made it (kernel, boot, bird, or a number).
    """

    destination: Network
    device: str | None = None
    gateway: Address | None = None
    table: str = "main"
    kind: str = "unicast"
    protocol: str = ""
    metric: int = 0


@dataclass(frozen=True, slots=True)
class CniPlugin:
    """One plugin of a CNI configuration. `subnets` are those that its address management gives out."""

    type: str
    bridge: str | None = None
    mtu: int | None = None
    masquerades: bool = False
    subnets: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class CniFile:
    """A file of /etc/cni/net.d with its plugins in the order of their calls."""

    name: str
    at: Location
    network: str = ""
    plugins: tuple[CniPlugin, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """A service of IPVS: protocol TCP, UDP or SCTP, address and port."""

    protocol: str
    address: Address
    port: int
    at: Location


@dataclass(frozen=True, slots=True)
class Socket:
    """A UDP port that is bound on the node, by a process or by the kernel itself."""

    address: Address
    port: int
