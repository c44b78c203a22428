"""Files of /proc and lists of paths → typed values. Lines that are nothing of the kind are left out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

from migrate.model.addresses import Address
from migrate.model.node_machine import Socket, VirtualServer
from migrate.model.refs import Location

_SETTING = re.compile(r"\s*([\w./-]+)\s*=\s*(.*?)\s*")
_SOCKET = re.compile(r"\s*\d+:\s+([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})\s")
_SERVER = re.compile(r"(TCP|UDP|SCTP)\s+(?:\[([0-9a-fA-F:.]+)\]|([0-9A-F]{8})):([0-9A-F]{4})\s")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def read_settings(text: str) -> Mapping[str, str]:
    """What sysctl prints, by name."""
    found = (_SETTING.fullmatch(line) for line in text.splitlines())
    return {line[1].replace("/", "."): line[2] for line in found if line is not None}


def read_modules(text: str) -> frozenset[str]:
    """The names of the modules in /proc/modules."""
    return frozenset(line.split()[0] for line in text.splitlines() if len(line.split()) >= 3)


def read_mounts(text: str) -> tuple[tuple[str, str], ...]:
    """Mount point and file system of each line of /proc/mounts."""
    words = (line.split() for line in text.splitlines())
    return tuple((line[1], line[2]) for line in words if len(line) >= 4)


def read_paths(text: str) -> tuple[str, ...]:
    """The paths of a list, one to a line."""
    return tuple(line.strip().rstrip("/") for line in text.splitlines() if line.strip().startswith("/"))


def read_kernel(text: str) -> str | None:
    """The kernel's release in what uname -srvm prints, such as 5.15.0-1079-azure."""
    words = text.split()
    return words[1] if len(words) > 1 and _VERSION.match(words[1]) else None


def read_sockets(text: str) -> tuple[Socket, ...]:
    """The bound UDP ports in /proc/net/udp and /proc/net/udp6."""
    found = (_SOCKET.match(line) for line in text.splitlines())
    sockets = (Socket(_host_order(line[1]), int(line[2], 16)) for line in found if line is not None)
    return tuple(dict.fromkeys(sockets))


def read_virtual_servers(text: str, source: str) -> tuple[VirtualServer, ...]:
    """The services in /proc/net/ip_vs; those that are known by a mark only are left out."""
    return tuple(_virtual_servers(text, source))


def _virtual_servers(text: str, source: str) -> Iterator[VirtualServer]:
    for number, line in enumerate(text.splitlines(), start=1):
        found = _SERVER.match(line + " ")
        if found is None:
            continue
        try:
            address: Address = ipaddress.IPv6Address(found[2]) if found[2] else ipaddress.IPv4Address(int(found[3], 16))
        except ValueError:
            continue
        yield VirtualServer(found[1], address, int(found[4], 16), Location(source, number))


def _host_order(digits: str) -> Address:
    """An address as /proc prints it: words of four bytes, the lowest byte first."""
    words = [bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8)]
    return ipaddress.ip_address(b"".join(words))
