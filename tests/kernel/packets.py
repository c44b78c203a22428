"""Packets byte by byte, from the Ethernet header on."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

FIN, SYN, RST, ACK = 1, 2, 4, 16
TCP, UDP, ICMP, ICMPV6, SCTP = 6, 17, 1, 58, 132
IPV4, IPV6, VLAN, ARP = 0x0800, 0x86DD, 0x8100, 0x0806


def ethernet(kind: int, payload: bytes, *tags: int) -> bytes:
    """A frame, with VLAN tags."""
    tagged = b"".join(struct.pack(">HH", VLAN, tag) for tag in tags)
    return b"\2" * 6 + b"\4" * 6 + tagged + struct.pack(">H", kind) + payload


def ipv4(
    source: str, destination: str, protocol: int, payload: bytes, *, fragment: int = 0, options: bytes = b""
) -> bytes:
    """A packet; `fragment` are flags and offset."""
    first = 0x40 | (5 + len(options) // 4)
    length = 20 + len(options) + len(payload)
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    return struct.pack(">BBHHHBBH", first, 0, length, 1, fragment, 64, protocol, 0) + ends + options + payload


def ipv6(source: str, destination: str, following: int, payload: bytes) -> bytes:
    """A packet; `following` names the first header of the payload."""
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), following, 64) + ends + payload


def tcp(source: int, destination: int, flags: int, payload: bytes = b"") -> bytes:
    """A segment."""
    return struct.pack(">HHIIBBHHH", source, destination, 1, 0, 5 << 4, flags, 1000, 0, 0) + payload


def udp(source: int, destination: int, payload: bytes = b"x") -> bytes:
    """A datagram."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def sctp(source: int, destination: int, chunk: int) -> bytes:
    """A packet with one chunk of a kind: 1 INIT, 2 INIT ACK."""
    return struct.pack(">HHII", source, destination, 0, 0) + bytes([chunk, 0, 0, 20]) + b"\0" * 16


def icmp(kind: int, code: int, rest: bytes = b"\0" * 4) -> bytes:
    """A message; an echo's `rest` begins with its identifier."""
    return struct.pack(">BBH", kind, code, 0) + rest


def frame4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """IPv4 in Ethernet."""
    return ethernet(IPV4, ipv4(source, destination, protocol, payload))


def frame6(source: str, destination: str, following: int, payload: bytes) -> bytes:
    """IPv6 in Ethernet."""
    return ethernet(IPV6, ipv6(source, destination, following, payload))
