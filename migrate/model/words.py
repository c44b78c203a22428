"""Texts that people read."""

from __future__ import annotations

from typing import Protocol


def one_line(text: str, instead: str = "?") -> str:
    """A text without control characters and line ends, which can end a comment or take over a terminal."""
    return "".join(letter if letter.isprintable() else instead for letter in text)


def counted(number: int, noun: str) -> str:
    """A number with its noun, as "1 kind" and "2,000 kinds". Numbers in findings are not grouped like that."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Packets(Protocol):
    """Traffic of one protocol and port; of ICMP, the type stands for the port."""

    @property
    def protocol(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def icmp_code(self) -> int: ...


def packet_text(traffic: Packets) -> str:
    """Protocol and port, such as TCP/443."""
    if traffic.protocol in ("ICMP", "ICMPv6"):
        return f"{traffic.protocol} type {traffic.port} code {traffic.icmp_code}"
    return f"{traffic.protocol}/{traffic.port}" if traffic.port else traffic.protocol
