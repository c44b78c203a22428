"""What the agent that leads keeps of the whole cluster: Services and their backends, nodes, pods without an agent."""

from __future__ import annotations

from functools import partial
from itertools import chain
from threading import Lock

from migrate.audit.agent_connection import AgentConnection
from migrate.audit.telling import Fact, Listed, Owners, Telling, end
from migrate.audit.watched_nodes import NODES, PATIENCE, LonelyPodsKeeper, NodesKeeper
from migrate.audit.watched_pods import PODS
from migrate.audit.watched_services import SERVICES, SLICES, ServicesKeeper
from migrate.audit.watching import PACE, Pace, Watch, Watched
from migrate.model.agent_documents import AgentSettings


class ClusterTimeline:
    """One agent's time as the leader. `since`: since when nobody led, for all that is known, or 0: nobody ever did.

    `listed` is when everything was known for the first time, in nanoseconds since 1970; None: not yet.
    """

    def __init__(
        self,
        connection: AgentConnection,
        settings: AgentSettings,
        node: str,
        since: int,
        telling: Telling,
        pace: Pace = PACE,
        patience: int = PATIENCE,
    ) -> None:
        self.since = since
        self.listed: int | None = None
        self._telling = telling
        self._missing = {PODS, NODES, SERVICES, SLICES}
        self._lock = Lock()
        self._services = ServicesKeeper(telling, self._whole)
        self._nodes = NodesKeeper(telling, partial(self._whole, NODES))
        self._pods = LonelyPodsKeeper(telling, settings, node, partial(self._whole, PODS), patience)
        kept = (
            (PODS, self._pods),
            (NODES, self._nodes),
            (SERVICES, self._services.services),
            (SLICES, self._services.slices),
        )
        self._watches = [
            Watch(connection, Watched(path, since=since), keeper, telling.clock, pace) for path, keeper in kept
        ]

    def start(self) -> None:
        """Begin to watch."""
        for watch in self._watches:
            watch.start()

    def close(self) -> None:
        """Stop watching."""
        for watch in self._watches:
            watch.close()

    @property
    def lonely(self) -> tuple[str, ...]:
        """The nodes without a running agent, whose pods are kept here."""
        return self._pods.lonely

    def resume(self, before: frozenset[Fact], heard: int) -> None:
        """Go on with what this agent left open when it led before, and nobody else did since."""
        self._telling.resume(before, heard)

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""
        self._pods.settle()
        self._telling.tell(store)

    def hand_over(self, store: Owners, until: int) -> None:
        """Another one leads: it keeps from now on what holds."""
        self.tell(store)
        for fact in self._facts():
            end(store, fact, until)

    def _facts(self) -> list[Fact]:
        return list(chain(self._services.facts(), self._nodes.facts(), self._pods.facts()))

    def _whole(self, path: str) -> None:
        """A list is there. Called by the watches, in their threads."""
        with self._lock:
            self._missing.discard(path)
            if self._missing or self.listed is not None:
                return
            self.listed = self._telling.clock()
        pods = frozenset(self._pods.facts())
        self._telling.put(Listed(self.listed, [fact for fact in self._facts() if fact not in pods]))
