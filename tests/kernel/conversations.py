"""Packets that a pod sends and gets, and what the programs have to record of them."""

from __future__ import annotations

import random
from typing import NamedTuple

from migrate.audit.layout import Direction
from migrate.audit.libbpf import KernelRefusalError
from migrate.audit.libbpf_probe import LibbpfProbe
from tests.kernel import packets as made
from tests.kernel.packets import ACK, FIN, ICMP, ICMPV6, IPV4, IPV6, RST, SCTP, SYN, TCP, UDP, frame4, frame6
from tests.kernel.records import FROM, TO, send


class Conversation(NamedTuple):
    """`expected` are the records in short, as `records.told` gives them."""

    name: str
    packets: list[tuple[Direction, bytes]]
    expected: list[str]


A, B = "10.1.0.5", "10.2.0.9"
A6, B6 = "fd00::5", "fd00:2::9"
_PING, _PONG = made.icmp(8, 0, b"\x12\x34\0\1"), made.icmp(0, 0, b"\x12\x34\0\1")

CONVERSATIONS = (
    Conversation("SYN", [(FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN)))], [f"from {A} > {B} 6/80: events 1"]),
    Conversation(
        "answered once; a reset later is no refusal",
        [
            (FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN))),
            (TO, frame4(B, A, TCP, made.tcp(80, 40000, SYN | ACK))),
            (TO, frame4(B, A, TCP, made.tcp(80, 40000, SYN | ACK))),
            (FROM, frame4(A, B, TCP, made.tcp(40000, 80, ACK))),
            (FROM, frame4(A, B, TCP, made.tcp(40000, 80, ACK | FIN))),
            (TO, frame4(B, A, TCP, made.tcp(80, 40000, RST))),
        ],
        [f"from {A} > {B} 6/80: events 1 answered 1"],
    ),
    Conversation(
        "refused, then tried again from the same port",
        [
            (TO, frame4(A, B, TCP, made.tcp(40000, 81, SYN))),
            (FROM, frame4(B, A, TCP, made.tcp(81, 40000, RST | ACK))),
            (FROM, frame4(B, A, TCP, made.tcp(81, 40000, RST | ACK))),
            (TO, frame4(A, B, TCP, made.tcp(40000, 81, SYN))),
        ],
        [f"to {A} > {B} 6/81: events 2 refused 1"],
    ),
    Conversation(
        "two SYNs sent again in turn",
        [(FROM, frame4(A, B, TCP, made.tcp(port, 80, SYN))) for port in (1, 2, 1, 2, 1)],
        [f"from {A} > {B} 6/80: events 2 again 3"],
    ),
    Conversation("a reset of an unknown connection", [(TO, frame4(B, A, TCP, made.tcp(80, 40000, RST)))], []),
    Conversation(
        "UDP",
        [
            (FROM, frame4(A, B, UDP, made.udp(5000, 53))),
            (TO, frame4(B, A, UDP, made.udp(53, 5000))),
            (FROM, frame4(A, B, UDP, made.udp(5000, 53))),
            (TO, frame4(B, A, UDP, made.udp(53, 5000))),
        ],
        [f"from {A} > {B} 17/53: events 1 answered 1"],
    ),
    Conversation(
        "ping",
        [(FROM, frame4(A, B, ICMP, _PING)), (TO, frame4(B, A, ICMP, _PONG))],
        [f"from {A} > {B} 1/2048: events 1 answered 1"],
    ),
    Conversation(
        "ping of IPv6",
        [
            (FROM, frame6(A6, B6, ICMPV6, made.icmp(128, 0, b"\x12\x34\0\1"))),
            (TO, frame6(B6, A6, ICMPV6, made.icmp(129, 0, b"\x12\x34\0\1"))),
        ],
        [f"from {A6} > {B6} 58/32768: events 1 answered 1"],
    ),
    Conversation(
        "other kinds of ICMP are flows of their own",
        [(FROM, frame4(A, B, ICMP, made.icmp(13, 0))), (FROM, frame4(A, B, ICMP, made.icmp(17, 0)))],
        [f"from {A} > {B} 1/3328: events 1", f"from {A} > {B} 1/4352: events 1"],
    ),
    Conversation(
        "an ICMP error",
        [(TO, frame4(B, A, ICMP, made.icmp(3, 1) + made.ipv4(A, B, UDP, made.udp(1, 2))))],
        [f"to ICMP_ERROR {B} > {A} 1/769: events 1"],
    ),
    Conversation(
        "an ICMPv6 error",
        [(TO, frame6(B6, A6, ICMPV6, made.icmp(1, 4) + made.ipv6(A6, B6, UDP, made.udp(1, 2))))],
        [f"to ICMP_ERROR {B6} > {A6} 58/260: events 1"],
    ),
    Conversation(
        "SCTP",
        [(FROM, frame4(A, B, SCTP, made.sctp(7000, 3868, 1))), (TO, frame4(B, A, SCTP, made.sctp(3868, 7000, 2)))],
        [f"from {A} > {B} 132/3868: events 1 answered 1"],
    ),
    Conversation(
        "IPv6 and its extension headers",
        [
            (FROM, frame6(A6, B6, TCP, made.tcp(40000, 443, SYN))),
            (FROM, frame6(A6, B6, 0, b"\x06\0\0\0\0\0\0\0" + made.tcp(40001, 444, SYN))),
            (FROM, frame6(A6, B6, 60, b"\x33\0" + b"\0" * 6 + b"\x06\1" + b"\0" * 10 + made.tcp(40002, 445, SYN))),
        ],
        [f"from {A6} > {B6} 6/{port}: events 1" for port in (443, 444, 445)],
    ),
    Conversation(
        "only the first fragment is a flow",
        [
            (FROM, frame6(A6, B6, 44, b"\x11\0\0\1\0\0\0\1" + made.udp(1000, 99))),
            (FROM, frame6(A6, B6, 44, b"\x11\0\5\x50\0\0\0\1" + b"z" * 16)),
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, UDP, made.udp(1001, 98), fragment=0x2000))),
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, UDP, b"z" * 16, fragment=0x00B9))),
        ],
        [f"from {A} > {B} 17/98: events 1", f"from {A6} > {B6} 17/99: events 1"],
    ),
    Conversation(
        "VLAN tags and IP options",
        [
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, TCP, made.tcp(1, 8080, SYN)), 5)),
            (FROM, made.ethernet(IPV6, made.ipv6(A6, B6, TCP, made.tcp(1, 8081, SYN)), 5, 6)),
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, TCP, made.tcp(1, 8082, SYN), options=b"\1" * 8))),
        ],
        [f"from {A} > {B} 6/8080: events 1", f"from {A} > {B} 6/8082: events 1", f"from {A6} > {B6} 6/8081: events 1"],
    ),
    Conversation(
        "other protocols by their number",
        [(FROM, frame4(A, B, 4, made.ipv4(B, A, TCP, made.tcp(1, 2, SYN)))), (TO, frame4(B, A, 47, b"\0" * 8))],
        [f"from {A} > {B} 4/0: events 1", f"to {B} > {A} 47/0: events 1"],
    ),
    Conversation("ARP", [(FROM, made.ethernet(made.ARP, b"\0" * 28))], []),
)


def send_damaged(probe: LibbpfProbe, number: int) -> int:
    """How many packets with spoiled headers the programs saw; none may be changed or decided on."""
    chance = random.Random(6)
    valid = [packet for conversation in CONVERSATIONS for _, packet in conversation.packets]
    refused = 0
    for _ in range(number):
        packet = _spoiled(chance, chance.choice(valid))
        try:
            send(probe, chance.choice((FROM, TO)), packet)
        except KernelRefusalError:
            refused += 1  # The kernel's test run takes no packet whose IP header is cut.
    return number - refused


def _spoiled(chance: random.Random, packet: bytes) -> bytes:
    """A packet with a few bytes of its headers changed, cut, or longer."""
    spoiled = bytearray(packet)
    for _ in range(chance.randrange(6)):
        spoiled[chance.randrange(12, len(spoiled))] = chance.choice((0, 1, 0xFF, 0x45, 0x60, chance.randrange(256)))
    if chance.random() < 0.3:
        del spoiled[chance.randrange(14, len(spoiled)) :]
    return bytes(spoiled) + chance.randbytes(chance.choice((0, 0, 100, 1400)))
