"""What one agent of a cluster keeps while it records: who has which address on its own node, and what the leader keeps.

Whatever happens to the API server, an agent goes on; times in which nothing was heard are in the recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from migrate.audit.agent_connection import AgentConnection
from migrate.audit.cluster_timeline import ClusterTimeline
from migrate.audit.election import TERMS, Election, Terms
from migrate.audit.layout import Address
from migrate.audit.leads import LEADS, Lead, read_leads, write_leads
from migrate.audit.telling import Fact, Lost, OpenOwners, Owners, Telling, end
from migrate.audit.veths import PodName
from migrate.audit.watched_nodes import PATIENCE
from migrate.audit.watched_pods import PodsKeeper, pods_of, watch_of_node
from migrate.audit.watching import PACE, Pace, moment
from migrate.model.agent_documents import AgentSettings

_FIRST_SECONDS = 10.0
"""How long a start waits for the pods' names."""


class ClusterWatch:
    """The pods of `node`; the agent that leads also keeps the rest. `holder` is a name that only this agent has."""

    def __init__(
        self,
        connection: AgentConnection,
        settings: AgentSettings,
        node: str,
        holder: str,
        clock: Callable[[], int] = time.time_ns,
        pace: Pace = PACE,
        terms: Terms = TERMS,
        patience: int = PATIENCE,
    ) -> None:
        self._connection, self._settings, self._node = connection, settings, node
        self._clock, self._pace, self._patience = clock, pace, patience
        self._telling = Telling(clock)
        self._keeper = PodsKeeper(self._telling)
        self._watch = watch_of_node(connection, node, self._keeper, clock, pace)
        told = (self._elected, self._replaced, self._failed)
        self._election = Election(connection, settings, holder, *told, clock, terms)
        self._lock = Lock()
        self._timeline: ClusterTimeline | None = None
        self._is_again = False
        self._retired: list[tuple[ClusterTimeline, int]] = []
        self._follows = False
        self._left: frozenset[Fact] | None = None
        self._heard = 0
        self._leads: list[Lead] = []
        self._noted: tuple[Lead, ...] = ()
        self._closed_at: int | None = None

    @property
    def leads(self) -> bool:
        """Whether this agent keeps the timeline of the whole cluster now."""
        return self._election.leads

    @property
    def lonely(self) -> tuple[str, ...]:
        """The nodes without a running agent, whose pods this one keeps."""
        timeline = self._timeline
        return () if timeline is None else timeline.lonely

    def start(self) -> None:
        """Begin to watch. Where the API server does not answer, that is recorded, and tried again."""
        self._watch.start()
        self._election.start()
        self._watch.wait(_FIRST_SECONDS)

    def close(self) -> None:
        """Stop watching, and let another one lead. `tell` once more has what was heard until then."""
        self._election.close()
        self._watch.close()
        with self._lock:
            self._closed_at = self._clock()
            if self._timeline is not None:
                self._timeline.close()

    def pod_at(self, address: Address) -> PodName | None:
        """The pod of this node that has this address for itself."""
        return self._keeper.pod_at(address)

    def resume(self, store: OpenOwners, heard: int) -> None:
        """Go on with a recording that was last written at `heard`: who came or went since did so at an unknown time."""
        facts = store.open_facts()
        pods = pods_of(facts)
        self._telling.resume(pods, heard)
        self._left, self._heard = facts - pods, heard
        self._leads = list(read_leads(store.noted(LEADS)))
        self._noted = tuple(self._leads)

    def tell(self, store: Owners) -> None:
        """Put into the recording what was learnt since the last time."""
        self._telling.tell(store)
        with self._lock:
            retired, self._retired = self._retired, []
            timeline, follows, is_again = self._timeline, self._follows, self._is_again
        for former, until in retired:
            former.hand_over(store, until)
            self._end_lead(until)
        if self._left is not None and (follows or timeline is not None):
            self._go_on(store, self._left, timeline if is_again and not retired else None)
        if timeline is not None:
            timeline.tell(store)
            self._note_lead(store, timeline)
        if self._noted != tuple(self._leads):
            self._noted = tuple(self._leads)
            store.note(LEADS, write_leads(self._leads))

    def _go_on(self, store: Owners, left: frozenset[Fact], timeline: ClusterTimeline | None) -> None:
        """What this agent left open when it led before a restart: it keeps it still, or another one does by now."""
        self._left = None
        if timeline is not None:
            timeline.resume(left, self._heard)
            return
        now = self._clock()
        for fact in left:
            end(store, fact, now)
        self._end_lead(now)

    def _note_lead(self, store: Owners, timeline: ClusterTimeline) -> None:
        last = self._leads[-1] if self._leads else None
        if last is None or last.until is not None:
            last = Lead(timeline.since, None, None)
            self._leads.append(last)
        if last.listed is None and timeline.listed is not None:
            last = self._leads[-1] = last._replace(listed=timeline.listed)
            if timeline.since:
                text = f"nobody kept what changed in the cluster from {moment(timeline.since)}"
                store.loss(timeline.since, "nobody-led", 1, f"{text} to {moment(timeline.listed)}")
        if self._closed_at is not None:
            self._end_lead(self._closed_at)

    def _end_lead(self, until: int) -> None:
        if self._leads and self._leads[-1].until is None:
            self._leads[-1] = self._leads[-1]._replace(until=until)

    def _elected(self, since: int, is_again: bool) -> None:
        telling = Telling(self._clock)
        timeline = ClusterTimeline(
            self._connection, self._settings, self._node, since, telling, self._pace, self._patience
        )
        with self._lock:
            if self._closed_at is not None:
                return
            self._retire()
            self._timeline, self._is_again, self._follows = timeline, is_again, False
            timeline.start()

    def _replaced(self) -> None:
        with self._lock:
            self._retire()
            self._follows = True

    def _retire(self) -> None:
        if self._timeline is not None:
            self._timeline.close()
            self._retired.append((self._timeline, self._clock()))
            self._timeline = None

    def _failed(self, text: str) -> None:
        self._telling.put(Lost(self._clock(), "election-failed", 1, text))
