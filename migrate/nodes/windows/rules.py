"""An ACL by what it says, free of ids and order: two that mean the same to HNS are equal."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from migrate.model.addresses import Network
from migrate.model.flow import PROTOCOL_NAMES
from migrate.model.hns import Acl, Place, SetId
from migrate.model.intervals import IntervalSet

NODE = "the node"
"""Stands for the node's own address."""

_MOST_PORTS = 8
SetNames = Callable[[str], str]
"""The name of the set with an id."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an ACL says. `local` and `remote` hold names of sets and networks as they stand in HNS's two fields.

    HNS means the source by the local addresses of an inbound rule when they are sets. None is any. `unread` are parts
    that are not understood.
    """

    inbound: bool
    allows: bool
    priority: int
    protocols: frozenset[int] | None = None
    local: frozenset[str] | None = None
    remote: frozenset[str] | None = None
    local_ports: IntervalSet | None = None
    remote_ports: IntervalSet | None = None
    host: bool = False
    unread: tuple[str, ...] = ()

    @property
    def for_all(self) -> bool:
        """Whether it fits every packet of its direction that passes the switch."""
        places = (self.protocols, self.local, self.remote, self.local_ports, self.remote_ports)
        return not self.host and not self.unread and all(place is None for place in places)

    def sets(self) -> frozenset[str]:
        """The names of the sets in it."""
        places = (self.local or frozenset()) | (self.remote or frozenset())
        return frozenset(place for place in places if place != NODE and not is_network(place))

    def sort_key(self) -> tuple[int, str]:
        """Order in every list of rules."""
        return (self.priority, str(self))

    def __str__(self) -> str:
        words = ["Allow" if self.allows else "Block", "In" if self.inbound else "Out"]
        words += [_addresses("local", self.local), _addresses("remote", self.remote)]
        words.append("" if self.protocols is None else ",".join(PROTOCOL_NAMES.get(n, str(n)) for n in self._numbers()))
        words += [_ports("local port", self.local_ports), _ports("remote port", self.remote_ports)]
        words += ["of the host" if self.host else "", f"({', '.join(self.unread)}?)" if self.unread else ""]
        return f"{' '.join(filter(None, words))} at priority {self.priority}"

    def _numbers(self) -> list[int]:
        return sorted(self.protocols or ())


def is_network(place: str) -> bool:
    """Whether a place is a network, and not the name of a set."""
    try:
        ipaddress.ip_network(place)
    except ValueError:
        return False
    return True


def rule_of(acl: Acl, names: SetNames, node: Callable[[str], bool]) -> Rule:
    """What an ACL of a dump says; `node` tells whether an address may be the node's own."""
    remote = _places(acl.remote_addresses, names)
    if acl.inbound and acl.allows and remote is not None and len(remote) == 1 and node(next(iter(remote))):
        remote = frozenset({NODE})
    return Rule(
        inbound=acl.inbound,
        allows=acl.allows,
        priority=acl.priority,
        protocols=acl.protocols,
        local=_places(acl.local_addresses, names),
        remote=remote,
        local_ports=acl.local_ports,
        remote_ports=acl.remote_ports,
        host=acl.host,
        unread=acl.unread,
    )


@lru_cache(maxsize=2**16)
def network_text(network: Network) -> str:
    """A network as it is written here; large sets hold the same ones again and again."""
    return str(network)


def _places(places: tuple[Place, ...] | None, names: SetNames) -> frozenset[str] | None:
    if places is None:
        return None
    return frozenset(names(place.text) if isinstance(place, SetId) else network_text(place) for place in places)


def _addresses(end: str, names: frozenset[str] | None) -> str:
    return "" if names is None else f"{end} {' and '.join(sorted(names))}"


def _ports(what: str, ports: IntervalSet | None) -> str:
    if ports is None:
        return ""
    ranges = [f"{low}" if low == high else f"{low}-{high}" for low, high in ports]
    more = [f"{len(ranges) - _MOST_PORTS} more"] if len(ranges) > _MOST_PORTS else []
    return f"{what} {','.join(ranges[:_MOST_PORTS] + more)}"
