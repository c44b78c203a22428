"""Ports for servers that are stopped and started again under the same address."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 11_000
"""Above the ports that programs of a node are known by."""
_TRIES = 100


def free_port() -> int:
    """A port of 127.0.0.1 that nothing has, and that no outgoing connection gets while its server is down."""
    ephemeral = int(_RANGE.read_text().split()[0])
    for port in random.sample(range(_LOWEST, ephemeral), min(_TRIES, max(0, ephemeral - _LOWEST))):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port between {_LOWEST} and {ephemeral} ({_RANGE}) is free")
