"""The end of a run on a cluster: everything is drained, pulled, cleaned, removed and looked at again, in this order.

Nothing is taken off any node before all that can be had was pulled from all of them: an agent that is cleaned and then
begins anew would record anew, and a DaemonSet that is deleted leaves no way to a node's recording.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import structs

from migrate.collect.workers import Workers
from migrate.control.agents import NodeSeen, look
from migrate.control.asking import Agents, Asked
from migrate.control.attach import DEFAULT_PARALLEL, LEFT_THE_CLUSTER, answered, pulled, state_for, why, with_store
from migrate.control.exec import ExecCancelledError, ExecConnection
from migrate.control.state import ClusterWatch, NodeState, node_file, store_of, write_state
from migrate.errors import ClusterError, MigrateError
from migrate.model.agent_documents import STORE_FOLDER, AgentSettings, Cleaned

_PULL_SECONDS = 3600.0
"""The last pull of a node takes as long as it takes, as long as something comes."""

Show = Callable[[str, int, int], None]
"""Told what is done, on how many nodes of how many."""
Remove = Callable[[], tuple[str, ...]]
"""Takes all objects of the run out of the cluster; names those that are left. Raises ClusterError."""


@dataclass(frozen=True, slots=True)
class StopWishes:
    """Where recordings go, and of which nodes they are given up if they cannot be had; `force`: of all."""

    folder: Path
    discard: frozenset[str] = frozenset()
    force: bool = False
    parallel: int = DEFAULT_PARALLEL

    def gives_up(self, node: str) -> bool:
        """Whether a node's recording may be lost."""
        return self.force or node in self.discard


class NodeEnd(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How it ended on a node. `pulled`: everything that its agent had is here; `cleaned`: nothing of ours is there.

    `left` names what is there, as far as is known, and `commands` are to be run there by hand, as root.
    """

    node: str
    pulled: bool
    cleaned: bool
    reason: str = ""
    left: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class Stopped(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a run ended on a cluster.

    `removed` is False when nothing was taken away, since the nodes in `unpulled` have records that are nowhere else.
    `left` are objects that are still in the cluster.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["AuditStop"] = "AuditStop"
    run: str
    removed: bool
    nodes: tuple[NodeEnd, ...] = ()
    left: tuple[str, ...] = ()
    unpulled: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether everything was pulled, and nothing of the run is left anywhere."""
        return self.removed and not self.left and all(node.cleaned and node.pulled for node in self.nodes)


class Stopping:
    """One end of a run; whoever has one has the folder for itself. What is done stays done when it is broken off."""

    def __init__(
        self, connection: ExecConnection, run: AgentSettings, wishes: StopWishes, stop: threading.Event
    ) -> None:
        self._connection = connection
        self._agents = Agents(connection, stop)
        self._run = run
        self._wishes = wishes
        self._stop = stop
        self._state = state_for(run, wishes.folder)
        self._nodes = {node.name: node for node in self._state.nodes}
        self._left: dict[str, tuple[str, ...]] = {}
        self._silent: set[str] = set()
        """Nodes whose agents did not answer: they may record anew, whatever they said before."""
        self._unknown: list[NodeSeen] = []
        """Nodes without an agent, of which nobody knows whether they had one."""
        self._gone: list[str] = []
        """Nodes that left the cluster before all of them was pulled."""

    @property
    def state(self) -> ClusterWatch:
        """What is known of the run."""
        ordered = tuple(self._nodes[name] for name in sorted(self._nodes))
        return structs.replace(self._state, nodes=ordered)

    def run(self, remove: Remove, show: Show) -> Stopped:
        """End it. Raises ClusterError when the cluster does not answer, or this was broken off."""
        sight = look(self._connection, self._run)
        if sight.nodes is None or sight.trouble:
            raise ClusterError(f"{sight.trouble}; nothing was taken away, try again")
        self._notice(sight.nodes)
        self._notice_gone({node.name for node in sight.nodes})
        seen = tuple(node for node in sight.nodes if node.pod is not None or self._had_an_agent(node.name))
        self._unknown = [node for node in sight.nodes if node not in seen and node.is_for_agents]
        self._each("draining and pulling", [node for node in seen if node.can_be_asked], self._drained, show)
        unpulled = tuple(node.name for node in seen if not self._is_pulled(node))
        if any(not self._wishes.gives_up(name) for name in unpulled):
            return self._result(seen, removed=False, left=(), unpulled=unpulled)
        self._each("cleaning", [node for node in seen if node.can_be_asked], self._cleaned, show)
        show("removing", 0, 1)
        left = remove()
        show("removing", 1, 1)
        self._state = structs.replace(self._state, stopped=time.time_ns())
        self._keep()
        return self._result(seen, removed=True, left=left, unpulled=unpulled)

    def _notice(self, seen: Iterable[NodeSeen]) -> None:
        """Nodes that nobody watched before, and what is known of the others now."""
        for node in seen:
            known = self._nodes.get(node.name) or NodeState(name=node.name, file=node_file(node.name))
            known = with_store(known, store_of(self._wishes.folder, known))
            pod = node.pod.name if node.pod is not None else ""
            reason = known.reason if node.can_be_asked else node.reason
            self._nodes[node.name] = structs.replace(known, pod=pod, reason=reason)

    def _notice_gone(self, seen: set[str]) -> None:
        """Nodes that left the cluster, with what of them was not pulled."""
        for name in self._nodes.keys() - seen:
            node = self._nodes[name]
            if not node.has_ended and self._had_an_agent(name):
                self._gone.append(name)
            if node.left is None:
                self._nodes[name] = structs.replace(node, pod="", left=time.time_ns(), reason=LEFT_THE_CLUSTER)

    def _had_an_agent(self, name: str) -> bool:
        """Whether a node that has no agent just now may have a recording all the same."""
        return may_have_a_recording(self._nodes[name])

    def _each(self, what: str, nodes: list[NodeSeen], do: Callable[[NodeSeen], NodeState], show: Show) -> None:
        show(what, 0, len(nodes))
        workers = Workers(nodes, do, self._wishes.parallel, self._stop)
        for number, done in enumerate(workers.results(), 1):
            self._nodes[done.name] = done
            show(what, number, len(nodes))
        self._keep()
        if self._stop.is_set():
            raise ClusterError(f"broken off while {what}; nothing is lost, run it again")

    def _drained(self, seen: NodeSeen) -> NodeState:
        """The node's state after its recording was ended, and all of it pulled."""
        node = self._nodes[seen.name]
        if node.cleaned:
            return node  # an end that was broken off came that far
        assert seen.pod is not None
        try:
            asked = self._agents.status(seen.pod, self._run.run)
            if node.has_ended and not asked.status.revision and not asked.status.bytes:
                return node  # it was cleaned, and this was not written down any more
            node = answered(node, asked, seen)
            if asked.status.state != "finished":
                node = answered(node, Asked(self._agents.end(seen.pod), asked.skew), seen)
        except ExecCancelledError:
            return node
        except MigrateError as error:
            self._silent.add(seen.name)
            return structs.replace(node, failures=node.failures + 1, reason=why(error, seen))
        return pulled(self._agents, self._wishes.folder, node, seen, _PULL_SECONDS)

    def _cleaned(self, seen: NodeSeen) -> NodeState:
        node = self._nodes[seen.name]
        assert seen.pod is not None
        try:
            done: Cleaned = self._agents.clean(seen.pod)
        except ExecCancelledError:
            return node
        except MigrateError as error:
            return structs.replace(node, cleaned=False, reason=why(error, seen))
        self._left[seen.name] = done.left
        return structs.replace(node, cleaned=not done.left)

    def _is_pulled(self, seen: NodeSeen) -> bool:
        """Whether everything of a node is here."""
        node = self._nodes[seen.name]
        has_ended = node.has_ended and node.name not in self._silent
        return node.cleaned or has_ended or _never_began(seen, node)

    def _keep(self) -> None:
        write_state(self._wishes.folder, self.state)

    def _result(
        self, seen: tuple[NodeSeen, ...], *, removed: bool, left: tuple[str, ...], unpulled: tuple[str, ...]
    ) -> Stopped:
        ends = tuple(self._end_of(node, node.name not in unpulled, removed) for node in seen)
        ends += tuple(
            uncleaned(self._nodes[node.name], self._run.run)
            for node in self._unknown
            if not self._nodes[node.name].cleaned
        )
        ends += tuple(uncleaned(self._nodes[name], self._run.run) for name in sorted(self._gone))
        waiting = tuple(name for name in unpulled if not self._wishes.gives_up(name))
        return Stopped(run=self._run.run, removed=removed, nodes=ends, left=left, unpulled=waiting)

    def _end_of(self, seen: NodeSeen, is_pulled: bool, removed: bool) -> NodeEnd:
        node = self._nodes[seen.name]
        needs_hands = removed and not node.cleaned and not _never_began(seen, node)
        return NodeEnd(
            node=seen.name,
            pulled=is_pulled,
            cleaned=node.cleaned or _never_began(seen, node),
            reason="" if is_pulled and (node.cleaned or not removed) else node.reason or seen.reason,
            left=self._left.get(seen.name, ()),
            commands=commands_for(self._run.run) if needs_hands else (),
        )


def _never_began(seen: NodeSeen, node: NodeState) -> bool:
    """Whether nothing of ours can be on a node, as far as is known: its agent's container has never been started."""
    return seen.pod is not None and not seen.pod.has_run and (node.asked is None and not node.revision)


def may_have_a_recording(node: NodeState) -> bool:
    """Whether there was an agent on a node that nobody has cleaned, as far as a folder knows."""
    return not node.cleaned and (node.asked is not None or node.revision > 0 or bool(node.pod))


def uncleaned(node: NodeState, run: str) -> NodeEnd:
    """How it ended on a node that cannot be asked any more."""
    return NodeEnd(
        node=node.name,
        pulled=node.has_ended,
        cleaned=False,
        reason=node.reason or "its agent went before it was asked to clean",
        commands=commands_for(run),
    )


def commands_for(run: str) -> tuple[str, ...]:
    """What takes all of a run off a node by hand, in order: first what is in the kernel, then the recording."""
    folder = f"{STORE_FOLDER}/{run}"
    return (shlex.join(("migrate", "audit", "stop", "--audit", f"{folder}/audit.db")), shlex.join(("rm", "-r", folder)))
