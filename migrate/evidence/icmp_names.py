"""ICMP types as gopacket prints them, which `cilium monitor` uses (layers/icmp4.go, layers/icmp6.go)."""

from __future__ import annotations

from typing import Final

V4: Final = {
    "EchoReply": 0,
    "DestinationUnreachable": 3,
    "SourceQuench": 4,
    "Redirect": 5,
    "EchoRequest": 8,
    "RouterAdvertisement": 9,
    "RouterSolicitation": 10,
    "TimeExceeded": 11,
    "ParameterProblem": 12,
    "TimestampRequest": 13,
    "TimestampReply": 14,
    "InfoRequest": 15,
    "InfoReply": 16,
    "AddressMaskRequest": 17,
    "AddressMaskReply": 18,
}
V6: Final = {
    "DestinationUnreachable": 1,
    "PacketTooBig": 2,
    "TimeExceeded": 3,
    "ParameterProblem": 4,
    "EchoRequest": 128,
    "EchoReply": 129,
    "RouterSolicitation": 133,
    "RouterAdvertisement": 134,
    "NeighborSolicitation": 135,
    "NeighborAdvertisement": 136,
    "Redirect": 137,
}
