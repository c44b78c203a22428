"""What a chain says between two ends, worked out once for each pair of ends and each packet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from migrate.model.flow import Direction, End, Packet
from migrate.model.ruleset import Chain, Decision, decide, holds

_MOST_PAIRS = 1 << 16
_Key: TypeAlias = tuple[bool, int, int, int, int, int, int, bool]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two ends with the part of a chain that is about them. The ends are held: no other one gets their identity."""

    own: End
    peer: End
    chain: Chain
    decisions: dict[Packet, Decision] = field(default_factory=dict)


class Pairs:
    """Decisions of the chains of one engine. Many flows run between few ends."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Pair] = {}

    def decide(
        self, chain_of: Callable[[], Chain], own: End, peer: End, packet: Packet, direction: Direction
    ) -> Decision:
        """What the own end's chain says of a packet; it is asked for when the pair is new."""
        key = _key(own, peer, direction)
        pair = self._known.get(key)
        if pair is None:
            if len(self._known) >= _MOST_PAIRS:
                self._known.clear()
            pair = self._known[key] = _Pair(own, peer, _between(chain_of(), own, peer))
        found = pair.decisions.get(packet)
        if found is None:
            found = pair.decisions[packet] = decide(pair.chain, own, peer, packet, direction)
        return found


def _key(own: End, peer: End, direction: Direction) -> _Key:
    """Everything that a rule can look at: pods and nodes by identity, addresses with their family."""
    own_address, address = own.address, peer.address
    return (
        direction is Direction.INGRESS,
        id(own.pod),
        int(own_address) << 1 | (own_address.version == 6),
        id(peer.pod),
        id(peer.node),
        id(peer.kind),
        int(address) << 1 | (address.version == 6),
        peer.api_server,
    )


def _between(chain: Chain, own: End, peer: End) -> Chain:
    """The chain without the rules that hold for no packet between these ends."""
    stages = tuple(
        replace(stage, rules=tuple(r for r in stage.rules if holds(r.peer, peer, own) and holds(r.own, own, own)))
        for stage in chain.stages
    )
    return replace(chain, stages=stages)
