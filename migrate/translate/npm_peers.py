"""What a namespaceSelector admits under Azure NPM on Linux beyond its text.

Facts (measured with packets through NPM's rules): a negated set also matches addresses that are in no set; NotIn with
several values becomes one rule for each value, and together they match everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.selectors import EVERYTHING, NEGATIVE, And, Operator, Requirement, requirements
from migrate.sources.kubernetes import PodPeer


@dataclass(frozen=True, slots=True)
class Opening:
    """What gets through a peer today: pods by a looser peer (None: by its text), and what is no pod.

    `everybody`: there is nothing left in it that could keep anybody out.
    """

    pods: PodPeer | None
    outside: bool
    everybody: bool

    @property
    def finding_id(self) -> str:
        """The finding that speaks of it."""
        return "POL-NS-NEGATIVE-ONLY" if self.pods is None else "POL-NS-NOTIN-MULTI"


def opening(peer: PodPeer) -> Opening | None:
    """How NPM opens a peer; None when it means what it says."""
    asked = list(requirements(peer.namespaces or EVERYTHING))
    kept = [requirement for requirement in asked if not _matches_everything(requirement)]
    left = [*kept, *requirements(peer.pods)]
    outside = bool(asked) and all(requirement.operator in NEGATIVE for requirement in left)
    if len(kept) == len(asked) and not outside:
        return None
    looser = None if len(kept) == len(asked) else PodPeer(peer.pods, And(tuple(kept)), peer.field)
    return Opening(looser, outside, everybody=not left)


def _matches_everything(requirement: Requirement) -> bool:
    return requirement.operator is Operator.NOT_IN and len(requirement.values) > 1
