"""Whether a pod was seen all the time and nothing was lost, so that what is not in its records never came to it."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.audit.reading import Reading, Veth
from migrate.model.flow import Flow

_OF_IMPORTS = ("import-cut", "import-lost", "import-unreadable", "import-unusable")
NAMES_ONLY = (
    *("pods-not-told", "services-not-told", "endpoints-not-told", "nodes-not-told", "pods-of-others-not-told"),
    *("objects-not-read", "election-failed", "nobody-led", "owners-uncertain"),
)
"""Losses of what somebody is called: an API server that answers late is enough for one."""
_NO_FLOWS = ("replies-lost", "drops-lost", "no-connections", *NAMES_ONLY, *_OF_IMPORTS)
"""Losses after which every new flow is still recorded where it was seen, though perhaps without a name."""
_CLOCKS_AGREE = 5 * 10**9
"""Nanoseconds. What is left of the skew between two nodes, and the way of a packet, are taken to be less."""


class Whole:
    """The times in which pods were watched without a gap, on nodes that lost nothing."""

    def __init__(self, reading: Reading, veths: Sequence[Veth]) -> None:
        nodes = {segment.id: segment.node for segment in reading.segments()}
        imported = reading.imported()
        with_gaps = {gap.veth for gap in reading.gaps()}
        segments = {loss.segment for loss in reading.losses() if loss.kind not in _NO_FLOWS}
        segments |= {segment for segment, sums in reading.sums().items() if sums.coarse or sums.lost}
        losing = {nodes[segment] for segment in segments if segment in nodes}
        if segments - nodes.keys():
            losing.update(veth.node for veth in veths)
        self._lives: dict[tuple[str | None, str | None], list[Veth]] = {}
        for veth in veths:
            if veth.id not in with_gaps | imported and veth.node not in losing:
                self._lives.setdefault((veth.namespace, veth.pod), []).append(veth)

    def saw(self, flow: Flow, first: int, last: int, node: str) -> bool:
        """Whether the destination was watched all the time in which a node's pod sent a flow.

        Records of two nodes are held against each other with some time to spare at both ends.
        """
        pod = flow.destination.pod
        if pod is None or flow.via is not None:
            return False
        for life in self._lives.get((pod.namespace, pod.name), ()):
            spare = 0 if life.node == node else _CLOCKS_AGREE
            if life.since <= first - spare and (life.until is None or life.until >= last + spare):
                return True
        return False
