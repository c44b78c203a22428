"""What the kernel has loaded, told before anything is asked of it: a question can make it load a module."""

from __future__ import annotations

import os
import struct
from enum import Enum
from pathlib import Path

from migrate.audit import netlink
from migrate.audit.netlink import Netlink, attribute, attributes
from migrate.collect.host import Host
from migrate.collect.outcome import AbsentError, UnreadError

_NAMES = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}
_HEADER = struct.Struct("=BBH")
"""Family, version and resource, in front of every message of netfilter's netlink."""
_GET_TABLES = 10 << 8 | 1
_TABLE_NAME = 1
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_LIST_SETS = 6 << 8 | 7
_SET_NAME = 2
_SET_PROTOCOL = attribute(1, bytes([6]))
_NAMES_ONLY = attribute(6, struct.pack(">I", 2))


class _Standing(Enum):
    LOADED = "loaded"
    NOT_LOADED = "not loaded"
    UNKNOWN = "unknown"


def need_module(host: Host, name: str, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
    """Raise AbsentError where the kernel has not loaded a module, UnreadError where that cannot be told.

    A kernel loads nf_tables and ip_set when somebody first asks for them (`request_module` in nfnetlink).
    """
    standing = _standing(host, name, proc, sys)
    if standing is _Standing.NOT_LOADED:
        raise AbsentError(f"the kernel has not loaded {name}, so there is nothing of it; asking would load it")
    if standing is _Standing.UNKNOWN:
        raise UnreadError(
            f"whether {name} is part of the kernel cannot be told, and asking could load it: there is no "
            f"/lib/modules/{os.uname().release}/modules.builtin"
        )


def _standing(host: Host, name: str, proc: Path, sys: Path) -> _Standing:
    try:
        listed = (proc / "modules").read_text()
    except FileNotFoundError:  # a kernel without modules loads none
        return _Standing.LOADED
    if any(line.split()[0] == name for line in listed.splitlines()) or (sys / "module" / name).is_dir():
        return _Standing.LOADED
    try:
        built_in = host.place(f"/lib/modules/{os.uname().release}/modules.builtin").read_text()
    except OSError:
        return _Standing.UNKNOWN
    there = any(line.rpartition("/")[2] == f"{name}.ko" for line in built_in.splitlines())
    return _Standing.LOADED if there else _Standing.NOT_LOADED


def legacy_tables(family: int) -> tuple[str, ...]:
    """The tables that the older iptables has in the kernel. Raises OSError when they are not shown."""
    try:
        return tuple(Path(_NAMES[family]).read_text().split())
    except FileNotFoundError:
        return ()


def nft_tables() -> tuple[str, ...]:
    """Family and name of nf_tables' tables. Raises OSError. The module has to be there."""
    with Netlink(netlink.NETFILTER) as kernel:
        return tuple(
            f"{_FAMILIES.get(message.data[0], message.data[0])} {_text(message.data, _TABLE_NAME)}"
            for message in kernel.dump(_GET_TABLES, _HEADER.pack(0, 0, 0))
        )


def ip_sets() -> tuple[str, ...]:
    """The names of the kernel's IP sets. Raises OSError. The module has to be there."""
    with Netlink(netlink.NETFILTER) as kernel:
        asked = _HEADER.pack(2, 0, 0) + _SET_PROTOCOL + _NAMES_ONLY
        return tuple(_text(message.data, _SET_NAME) for message in kernel.dump(_LIST_SETS, asked))


def _text(data: bytes, wanted: int) -> str:
    found = attributes(data, _HEADER.size, len(data))
    return next(
        (data[start:end].rstrip(b"\0").decode(errors="replace") for kind, start, end in found if kind == wanted), ""
    )
