"""Watching a run from outside of the cluster: every minute all agents are asked, and what they have is pulled.

Whatever fails is named at its node, and tried again. Agents do not depend on it: they go on when nobody watches, and
who comes later goes on where the folder is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

import migrate
from migrate.audit.pulling import pulled_revision
from migrate.audit.recording import FileLock, writer_of
from migrate.collect.workers import Workers
from migrate.control.agents import NodeSeen, Sight, look
from migrate.control.asking import AgentError, Agents, Asked
from migrate.control.exec import ExecCancelledError, ExecConnection
from migrate.control.state import (
    ClusterWatch,
    NodeChange,
    NodeState,
    node_file,
    read_state,
    state_file,
    store_of,
    write_state,
)
from migrate.errors import ClusterError, InputError, MigrateError
from migrate.model.agent_documents import AgentSettings
from migrate.scan.connection import Connection, RequestError

DEFAULT_INTERVAL, DEFAULT_PARALLEL = 60.0, 8
_LONGEST_PULL = 300.0
"""Seconds of one pull; what is left comes with the next turn."""
_TRIES = 3
"""Pulls in one turn that are cut off without bringing anything."""
_SETTLE_SECONDS = 10.0
_MOST_SKIPPED = 10
"""A node that does not answer is asked at least every so many turns."""
_CLOSE = 100_000_000
"""Nanoseconds by which two clocks of this machine may seem to differ after a wait."""
_TURN_SECONDS = 0.5
LEFT_THE_CLUSTER = "it left the cluster during the run"

Show = Callable[[ClusterWatch], None]
Connect = Callable[[], ExecConnection]


@dataclass(frozen=True, slots=True)
class AttachSettings:
    """Where recordings go, every how many seconds, and how many agents at a time."""

    folder: Path
    interval: float = DEFAULT_INTERVAL
    parallel: int = DEFAULT_PARALLEL


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else watches into the same folder. Raises InputError where somebody does."""
    path = state_file(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror}; choose another --dir") from error
    if (other := writer_of(path)) is not None:
        raise InputError(f"{folder}: process {other} watches the cluster into this folder already; end that one first")
    lock = FileLock(path)
    try:
        yield
    finally:
        lock.release()


def state_for(settings: AgentSettings, folder: Path) -> ClusterWatch:
    """What the folder knows of a run. Raises InputError where it has recordings of another one."""
    known = read_state(folder)
    if known is None:
        return _empty(settings)
    if known.run == settings.run:
        return structs.replace(known, began=settings.began, seconds=settings.seconds, namespace=settings.namespace)
    raise InputError(
        f"{state_file(folder).parent}: has the recordings of run {known.run}, and run {settings.run} is in the cluster "
        "now; give another folder with --dir, or move that one away"
    )


def _empty(settings: AgentSettings) -> ClusterWatch:
    return ClusterWatch(
        run=settings.run,
        namespace=settings.namespace,
        cluster=settings.cluster,
        began=settings.began,
        seconds=settings.seconds,
    )


class Attachment:
    """One watcher of a run. Whoever has one has the folder for itself (`alone`)."""

    def __init__(self, connect: Connect, run: AgentSettings, asked: AttachSettings, stop: threading.Event) -> None:
        self._connect = connect
        self._connection: ExecConnection | None = None
        self._run = run
        self._asked = asked
        self._stop = stop
        self._silent: dict[str, int] = {}
        self._is_gone = False
        self.state = state_for(run, asked.folder)

    def watch(self, show: Show) -> None:
        """Turns until the run's time is over, all agents have ended, somebody took the run away, or `stop` is set."""
        while not self._stop.is_set():
            self.turn(show)
            if self._is_gone or self._is_over() or self._wait() or self._is_over():
                return

    def turn(self, show: Show) -> None:
        """Ask and pull once. What nodes, the cluster and a full disk do is named in the state, and raises nothing."""
        sight = self._sight()
        self._is_gone = not sight.deployed and not any(node.pod for node in sight.nodes or ())
        self._take(sight)
        show(self.state)
        wanted = [node for node in sight.nodes or () if node.can_be_asked and self._is_due(node.name)]
        workers = Workers(wanted, self._visit, self._asked.parallel, self._stop)
        for done in _all_of(workers):
            self._replace(done)
            show(self.state)
        self.state = structs.replace(self.state, turns=self.state.turns + 1, turned=time.time_ns())
        try:
            write_state(self._asked.folder, self.state)
        except InputError as error:
            self.state = structs.replace(self.state, trouble=str(error))
        show(self.state)

    def _is_over(self) -> bool:
        """By what agents said last; asked once more, they would have that much time again."""
        return self.state.is_over(time.time_ns() + _CLOSE)

    def _wait(self) -> bool:
        """Wait for the next turn, and not longer after a sleep of this machine; whether to stop."""
        until, then = time.monotonic() + self._asked.interval, time.time() + self._asked.interval
        until = min(until, time.monotonic() + max(0.0, self.state.over_at / 1e9 - time.time()))
        while (left := min(until - time.monotonic(), then - time.time())) > 0:
            if self._stop.wait(min(left, _TURN_SECONDS)):
                return True
        return self._stop.is_set()

    def _sight(self) -> Sight:
        try:
            if self._connection is None:
                self._connection = self._connect()
        except MigrateError as error:  # a login that has to be made anew by its owner
            return Sight(None, str(error))
        sight = look(self._connection, self._run)
        if sight.nodes is None:
            self._connection = None
        return sight

    def _is_due(self, node: str) -> bool:
        """Nodes that did not answer some times are asked less often, since each attempt may take a minute."""
        failed = self._silent.get(node, 0)
        return failed < 2 or self.state.turns % min(failed, _MOST_SKIPPED) == 0

    def _take(self, sight: Sight) -> None:
        self.state = taken(self.state, sight, time.time_ns())

    def _replace(self, done: NodeState) -> None:
        before = next(node for node in self.state.nodes if node.name == done.name)
        nodes = tuple(done if node.name == done.name else node for node in self.state.nodes)
        self.state = structs.replace(self.state, nodes=nodes)
        has_failed = done.failures > before.failures
        self._silent[done.name] = self._silent.get(done.name, 0) + 1 if has_failed else 0

    def _visit(self, seen: NodeSeen) -> NodeState:
        """Ask the agent of a node and pull what is new. Every failure becomes the node's reason."""
        node = next(node for node in self.state.nodes if node.name == seen.name)
        assert self._connection is not None
        return visited(Agents(self._connection, self._stop), self._asked.folder, node, seen, self._run.run)


def taken(state: ClusterWatch, sight: Sight, now: int) -> ClusterWatch:
    """The state with what the API server tells of nodes; where it tells nothing, all stays as it is."""
    trouble = sight.trouble or ("" if sight.deployed else "the agents' DaemonSet is not there any more")
    if sight.nodes is None:
        return structs.replace(state, trouble=trouble)
    known = {node.name: node for node in state.nodes}
    nodes: dict[str, NodeState] = {}
    changes = [*state.changes]
    for seen in sight.nodes:
        old = known.get(seen.name)
        if known and (old is None or old.left is not None):
            changes.append(NodeChange(at=now, node=seen.name, change="joined"))
        nodes[seen.name] = _seen(old or NodeState(name=seen.name, file=node_file(seen.name)), seen)
    for name in sorted(known.keys() - nodes.keys()):
        old = known[name]
        if old.left is None and not sight.trouble:
            changes.append(NodeChange(at=now, node=name, change="left"))
            old = structs.replace(old, left=now, pod="", reason=LEFT_THE_CLUSTER)
        nodes[name] = old
    ordered = tuple(nodes[name] for name in sorted(nodes))
    return structs.replace(state, trouble=trouble, nodes=ordered, changes=tuple(changes))


def surveyed(
    agents: Agents, connection: Connection, run: AgentSettings, known: ClusterWatch | None, parallel: int
) -> ClusterWatch:
    """How all nodes and agents do, without pulling anything. Raises ClusterError where the cluster does not tell."""
    sight = look(connection, run)
    if sight.nodes is None:
        raise ClusterError(sight.trouble)
    state = taken(known or _empty(run), sight, time.time_ns())
    nodes = {node.name: node for node in state.nodes}

    def ask(seen: NodeSeen) -> NodeState:
        assert seen.pod is not None
        try:
            return answered(nodes[seen.name], agents.status(seen.pod, run.run), seen)
        except MigrateError as error:
            return structs.replace(nodes[seen.name], status=None, reason=why(error, seen))

    wanted = [seen for seen in sight.nodes if seen.can_be_asked]
    for done in Workers(wanted, ask, parallel, threading.Event()).results():
        nodes[done.name] = done
    return structs.replace(state, nodes=tuple(nodes[name] for name in sorted(nodes)))


def _all_of(workers: Workers[NodeSeen, NodeState]) -> Iterator[NodeState]:
    """Results, also of what is broken off when it is time to stop."""
    yield from workers.results()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while workers.working and time.monotonic() < deadline:
        time.sleep(_TURN_SECONDS / 10)
    yield from workers.rest()


def visited(agents: Agents, folder: Path, node: NodeState, seen: NodeSeen, run: str) -> NodeState:
    """The node's state after its agent was asked and what it has was pulled, or why that failed."""
    assert seen.pod is not None
    try:
        asked = agents.status(seen.pod, run)
    except ExecCancelledError:
        return node
    except MigrateError as error:
        return structs.replace(node, failures=node.failures + 1, reason=why(error, seen))
    return pulled(agents, folder, answered(node, asked, seen), seen, _LONGEST_PULL)


def answered(node: NodeState, asked: Asked, seen: NodeSeen) -> NodeState:
    """The node's state by what its agent says."""
    reason, status = seen.reason, asked.status
    if status.state == "failed":
        reason = f"its agent cannot record: {status.failure or 'it does not say why'}"
    elif status.failure:
        reason = f"its agent ended with a failure: {status.failure}"
    elif not reason and status.tool_version != migrate.__version__:
        reason = f"its agent is of version {status.tool_version}, and this is {migrate.__version__}"
    return structs.replace(node, status=status, skew=asked.skew, asked=time.time_ns(), reason=reason)


def pulled(agents: Agents, folder: Path, node: NodeState, seen: NodeSeen, seconds: float) -> NodeState:
    """The node's state after all that its agent has was pulled, or what came in so many seconds or before it failed."""
    assert seen.pod is not None
    assert node.status is not None
    began, store = node.status.began, store_of(folder, node)
    node = with_store(node, store)
    if node.has_all:
        return structs.replace(node, pulled=time.time_ns())
    deadline, left = time.monotonic() + seconds, _TRIES
    while True:
        try:
            done = agents.pull(seen.pod, store, max(1.0, deadline - time.monotonic()))
        except ExecCancelledError:
            return with_store(node, store)
        except MigrateError as error:
            before, node = node.revision, with_store(node, store)
            left = _TRIES if node.revision > before else left - 1
            if not left or time.monotonic() >= deadline or not _may_help(error):
                return structs.replace(node, failures=node.failures + 1, reason=why(error, seen))
            continue
        return structs.replace(
            with_store(node, store),
            pulled=time.time_ns(),
            began=began,
            rows=node.rows + done.rows,
            octets=node.octets + done.octets,
        )


def _may_help(error: MigrateError) -> bool:
    """Whether to pull once more at once."""
    return isinstance(error, ClusterError) and not (isinstance(error, RequestError) and not error.temporary)


def with_store(node: NodeState, store: Path) -> NodeState:
    """The node's state with what the folder really has of it."""
    try:
        revision = pulled_revision(store)
    except InputError:
        return node  # what is there is said by the pull that is to add to it
    return structs.replace(node, revision=revision, state="watched" if revision else node.state)


def _seen(node: NodeState, seen: NodeSeen) -> NodeState:
    """What the API server says of it now; the reason of an agent that can be asked comes from asking it."""
    pod = seen.pod.name if seen.pod is not None else ""
    reason = node.reason if seen.can_be_asked and node.asked is not None else seen.reason
    return structs.replace(node, pod=pod, reason=reason, left=None)


def why(error: MigrateError, seen: NodeSeen) -> str:
    if isinstance(error, RequestError) and error.status == 403:
        return f"you may not run commands in its agent ({error.reason}); ask for the roles of docs/rbac-audit.yaml"
    if isinstance(error, AgentError):
        return str(error)
    if isinstance(error, ClusterError) and seen.reason:
        return f"{seen.reason}; {error}"
    return str(error)
