"""What is known of a run on a cluster, in the working folder: audit/run.json, beside a recording for each node."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from migrate.errors import InputError
from migrate.files import read_bytes, write_atomic
from migrate.model.agent_documents import RUN_NAME, AgentStatus

FOLDER = "audit"
FILE_NAME = "run.json"
_PLAIN_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,180}[a-z0-9])?")
"""What all file systems take as it is. Names of nodes may have 253 letters (RFC 1123)."""
_SHORTENED = 100
_LATEST_SECONDS = 15 * 60
"""How long after the end of a run agents that began late are waited for."""
_MARGIN_SECONDS = 2
"""Between what an agent says of its time and its end."""

NodeStanding: TypeAlias = Literal["watched", "not_watched"]


class NodeState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A node of the cluster. It is `watched` when there is a recording of it, also where it is not all.

    `reason` says why it is not watched, or what is wrong with its agent now. Times are in nanoseconds since 1970 by
    this machine's clock: `asked` is of the newest `status`, `pulled` of the newest whole pull, `left` of when the node
    was gone from the cluster. `skew` is the node's clock less this one. `failures` counts attempts that came to
    nothing.
    """

    name: str
    state: NodeStanding = "not_watched"
    reason: str = ""
    pod: str = ""
    file: str
    status: AgentStatus | None = None
    skew: int = 0
    asked: int | None = None
    pulled: int | None = None
    began: int | None = None
    revision: int = 0
    rows: int = 0
    octets: int = 0
    failures: int = 0
    left: int | None = None
    cleaned: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether its agent records no more, and everything that it has is here. One that failed tries again."""
        return self.status is not None and self.status.state == "finished" and self.has_all

    @property
    def has_all(self) -> bool:
        """Whether everything is here that its agent had when it was asked last."""
        status = self.status
        if status is None:
            return False
        if not status.revision:  # it has nothing, or something that it cannot read, or a recording without a row
            return not status.bytes or (status.began is not None and self.began == status.began)
        return self.revision >= status.revision and self.began == status.began


class NodeChange(msgspec.Struct, frozen=True, kw_only=True):
    """A node that came into the cluster or left it during the run, seen at `at`."""

    at: int
    node: str
    change: Literal["joined", "left"]


class ClusterWatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A run on a cluster, as far as this folder knows it. `began` and `seconds` are of the run's settings.

    `trouble` is why the cluster itself was not told of at the last turn. `stopped` is when the run was taken out of the
    cluster.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["ClusterWatch"] = "ClusterWatch"
    run: str
    namespace: str
    cluster: str
    began: int
    seconds: int
    turns: int = 0
    turned: int | None = None
    trouble: str = ""
    stopped: int | None = None
    nodes: tuple[NodeState, ...] = ()
    changes: tuple[NodeChange, ...] = ()

    @property
    def end(self) -> int:
        """When the run's time is over, in nanoseconds since 1970."""
        return self.began + self.seconds * 10**9

    @property
    def over_at(self) -> int:
        """When all agents that record have done so for the run's seconds, each from its own start.

        Who starts late (a slow image, a node that joined) is waited for 15 minutes at most.
        """
        alive = (node for node in self.nodes if node.pod and node.left is None)
        expected = (
            node.asked + (node.status.left_seconds + _MARGIN_SECONDS) * 10**9
            for node in alive
            if node.asked is not None and node.status is not None and node.status.state == "recording"
        )
        return max(self.end, min(max(expected, default=self.end), self.end + _LATEST_SECONDS * 10**9))

    def is_over(self, now: int) -> bool:
        """Whether there is nothing to wait for: the run's time is over, or all agents that are there have ended."""
        alive = [node for node in self.nodes if node.pod and node.left is None]
        return now >= self.over_at or (bool(alive) and not self.trouble and all(node.has_ended for node in alive))

    def watched(self) -> Iterator[NodeState]:
        """The nodes of which there is a recording."""
        return (node for node in self.nodes if node.state == "watched")

    def not_watched(self) -> Iterator[NodeState]:
        """The others."""
        return (node for node in self.nodes if node.state != "watched")


def node_file(node: str) -> str:
    """The file of a node's recording: the node's name where that is a file's name everywhere."""
    if _PLAIN_NAME.fullmatch(node) and ".." not in node:
        return f"{node}.db"
    readable = re.sub(r"[^a-z0-9-]", "-", node.lower())[:_SHORTENED].strip("-")
    return f"{readable}-{hashlib.sha256(node.encode(errors='surrogatepass')).hexdigest()[:16]}.db"


def state_file(folder: Path) -> Path:
    """Where the state stands in a working folder."""
    return folder / FOLDER / FILE_NAME


def store_of(folder: Path, node: NodeState) -> Path:
    """A node's recording in a working folder."""
    return folder / FOLDER / node.file


def stores_in(folder: Path) -> tuple[Path, ...]:
    """All recordings of nodes in a working folder, also those that were put aside when a node began anew."""
    return tuple(sorted((*(folder / FOLDER).glob("*.db"), *(folder / FOLDER).glob("*.db.old-*"))))


def read_state(folder: Path) -> ClusterWatch | None:
    """The state in a working folder, None where there is none. Raises InputError for another file."""
    path = state_file(folder)
    if not path.exists():
        return None
    try:
        state = msgspec.json.decode(read_bytes(path), type=ClusterWatch)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: not the state of an audit of this version: {error}; move it away") from error
    if not RUN_NAME.fullmatch(state.run):
        raise InputError(f"{path}: {state.run!r} is no name of a run; move it away")
    return state


def write_state(folder: Path, state: ClusterWatch) -> None:
    """Keep the state. Raises InputError where it cannot be written."""
    write_atomic(state_file(folder), msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
