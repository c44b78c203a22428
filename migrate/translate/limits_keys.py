"""Traffic as keys of the policy map: a protocol with a prefix of ports.

A range of ports takes one key for each aligned block in it. Fact: pkg/policy/portrange.go of cilium/cilium v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrate.model.ruleset import Traffic

_PORTS = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A protocol (None for all) with the first port and the length of its prefix, or with the name of a port."""

    protocol: int | None = None
    port: int | str = 0
    length: int = 0

    @property
    def is_everything(self) -> bool:
        """Whether the key is about all ports."""
        return self.length == 0 and self.port == 0


def keys_of(traffic: Iterable[Traffic]) -> Iterator[Key]:
    """The keys that a union of traffic needs."""
    for one in traffic:
        for protocol in _protocols(one):
            yield from _keys(protocol, one)


def _protocols(one: Traffic) -> Iterator[int | None]:
    if one.protocols is None:
        yield None
        return
    for low, high in one.protocols:
        yield from range(low, high + 1)


def _keys(protocol: int | None, one: Traffic) -> Iterator[Key]:
    if one.icmp is not None:
        yield from (Key(protocol, kind, _PORTS) for kind, _ in one.icmp)
    elif one.ports is None:
        yield Key(protocol)
    else:
        yield from (Key(protocol, name) for name in one.ports.names)
        for low, high in one.ports.numbers:
            yield from (Key(protocol, first, length) for first, length in prefixes(low, high))


def prefixes(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The fewest aligned blocks of ports that are the range, each by its first port and the length of its prefix."""
    while low <= high:
        size = low & -low or 1 << _PORTS
        while low + size - 1 > high:
            size >>= 1
        yield low, _PORTS - (size.bit_length() - 1)
        low += size
