"""Comparisons of the flows that a translation speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from migrate.model.flow import Direction
from migrate.model.ruleset import Place
from migrate.verify.bits import bits
from migrate.verify.compare import Change, Comparison
from migrate.verify.packets import WITH_PORTS


class ServedPorts(Comparison):
    """A comparison of the flows that there are: nothing listens at port 0, which no rule of Cilium can name."""

    def changes(self) -> Iterator[Change]:
        """Changed flows but for those to port 0; those with pods, the own node, others and the outside apart.

        Findings speak of these apart, and one example of a box stands for all of it.
        """
        wanted = bits(
            index for index, atom in enumerate(self.packets.atoms) if atom.protocol not in WITH_PORTS or atom.last_port
        )
        by_place: dict[Place, list[int]] = {}
        for index, end in enumerate(self.space.ends):
            by_place.setdefault(end.place, []).append(index)
        places = [bits(indexes) for indexes in by_place.values()]
        for change in super().changes():
            parts = (_part(change, wanted, place) for place in places)
            yield from (part for part in parts if part.packets and not self._is_nothing(part))

    def _is_nothing(self, part: Change) -> bool:
        return not part.sources or not part.destinations or self.alone(part.sources, part.destinations)


def _part(change: Change, packets: int, peers: int) -> Change:
    """The changed flows with some packets and peers only."""
    cut = replace(change, packets=change.packets & packets)
    if change.side is Direction.EGRESS:
        return replace(cut, destinations=change.destinations & peers)
    return replace(cut, sources=change.sources & peers)
