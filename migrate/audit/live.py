"""Would-be drops while an audit runs: the recording is judged again and again, at a share of the time that it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from migrate.audit.judge import Revision
from migrate.audit.reading import open_recording
from migrate.audit.replay import Replay, Scene
from migrate.audit.results import grouped
from migrate.model.audit_documents import ObservedGroup

_SHORTEST_SECONDS = 10.0
_COST_SHARE = 100


@dataclass(slots=True)
class LiveJudge:
    """The would-be drops of a recording so far. Judging takes at most one part in a hundred of the time."""

    path: Path
    revision: Revision
    scene: Scene
    groups: tuple[ObservedGroup, ...] = ()
    _due: float = field(default=0.0, repr=False)

    def look(self) -> tuple[ObservedGroup, ...]:
        """The last result, or a new one when it is time. Raises InputError as reading does."""
        began = time.monotonic()
        if began >= self._due:
            with open_recording(self.path) as reading:
                lines = Replay(reading, self.revision, self.scene).run()
            self.groups = grouped(line for line in lines if line.verdict == "would_drop")
            cost = time.monotonic() - began
            self._due = time.monotonic() + max(_SHORTEST_SECONDS, _COST_SHARE * cost)
        return self.groups
