"""What one agent of a cluster keeps while it records: who has which address on its own node.

Whatever happens to the API server, an agent goes on; times in which nothing was heard are in the recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from migrate.audit.agent_connection import AgentConnection
from migrate.audit.layout import Address
from migrate.audit.telling import OpenOwners, Owners, Telling
from migrate.audit.veths import PodName
from migrate.audit.watched_pods import PodsKeeper, pods_of, watch_of_node
from migrate.audit.watching import PACE, Pace
from migrate.model.agent_documents import AgentSettings

_FIRST_SECONDS = 10.0
"""How long a start waits for the pods' names."""


class ClusterWatch:
    """The pods of `node`; one agent of the run also leads. `holder` is the name by which this agent is told apart."""

    def __init__(
        self,
        connection: AgentConnection,
        settings: AgentSettings,
        node: str,
        holder: str,
        clock: Callable[[], int] = time.time_ns,
        pace: Pace = PACE,
    ) -> None:
        self._connection, self._settings = connection, settings
        self._node, self._holder = node, holder
        self._telling = Telling(clock)
        self._keeper = PodsKeeper(self._telling)
        self._watch = watch_of_node(connection, node, self._keeper, clock, pace)

    @property
    def leads(self) -> bool:
        """Whether this agent keeps the timeline of the whole cluster now."""
        return False

    def start(self) -> None:
        """Begin to watch. Where the API server does not answer, that is recorded, and tried again."""
        self._watch.start()
        self._watch.wait(_FIRST_SECONDS)

    def close(self) -> None:
        """Stop watching. `tell` once more has what was heard until then."""
        self._watch.close()

    def pod_at(self, address: Address) -> PodName | None:
        """The pod of this node that has this address for itself."""
        return self._keeper.pod_at(address)

    def resume(self, store: OpenOwners, heard: int) -> None:
        """Go on with a recording that was last written at `heard`: who came or went since did so at an unknown time."""
        self._telling.resume(pods_of(store.open_facts()), heard)

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""
        self._telling.tell(store)
