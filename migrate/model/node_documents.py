"""The documents about nodes: node.json beside the raw files of a dump, and nodes.json, what all of them say."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from migrate.model.documents import Fact, SnapshotHeader
from migrate.model.finding import Finding
from migrate.model.refs import Location, ObjectRef

System: TypeAlias = Literal["linux", "windows"]
Way: TypeAlias = Literal["node", "pod", "proxy", "files"]


class NodeFile(msgspec.Struct, frozen=True, order=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One file of a dump, and the command or path whose output it is.

    "absent": the node does not have that (no such program or file), "failed": it could not be read, for the reason in
    `detail`; both leave no file. `sha256` is that of the file, None when there is none.
    """

    name: str
    command: str
    status: Literal["read", "absent", "failed"] = "read"
    detail: str = ""
    sha256: str | None = None


class NodeManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """node.json: whose dump it is, and what was read.

    `way` says who read it: a process on the node ("node"), a collector pod ("pod"), NPM's own endpoint through the API
    server ("proxy"), or somebody by hand ("files"). `taken` is RFC 3339 in UTC, None when it is not known.
    `booted` is when the node started, which is the earliest moment that counters can speak of.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["NodeDump"] = "NodeDump"
    tool_version: str
    name: str
    system: System
    way: Way
    taken: str | None = None
    booted: str | None = None
    files: tuple[NodeFile, ...] = ()


class RuleHits(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a rule's counter says: `verdict` is what the rule did to the packets, by what it belongs to (`of`).

    Packets are those that the rule saw, which is the first one of a connection where rules ask for ctstate NEW.
    `subject` is the policy behind the rule where there is one. They count from `since` (RFC 3339, None: not known,
    but not before the node's start) to the dump's `taken`.
    """

    of: str
    verdict: Literal["allowed", "denied", "logged", "went-on"]
    packets: int
    bytes: int
    subject: ObjectRef | None = None
    since: str | None = None
    at: Location | None = None


class NodeState(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What one node really has and enforces. Not `complete`: a part of it could not be read, as findings say."""

    name: str
    system: System
    way: Way
    taken: str | None = None
    booted: str | None = None
    complete: bool = True
    files: tuple[NodeFile, ...] = ()
    facts: tuple[Fact, ...] = ()
    findings: tuple[Finding, ...] = ()
    hits: tuple[RuleHits, ...] = ()


class NodeStates(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """nodes.json: one state per node that was read, by name.

    `findings` are about nodes that could not be read at all, and about the cluster. `snapshot` is the SHA-256 of the
    snapshot that the nodes were compared with, None when there was none: then nothing is said of drift.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["NodeStates"] = "NodeStates"
    tool_version: str
    snapshot: str | None = None
    complete: bool = True
    nodes: tuple[NodeState, ...] = ()
    findings: tuple[Finding, ...] = ()


class SnapshotWithNodes(SnapshotHeader, frozen=True, kw_only=True, rename="camel"):
    """What `migrate scan -o json` prints where there are dumps of nodes: the snapshot's header, and nodes.json."""

    node_states: NodeStates
