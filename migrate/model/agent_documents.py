"""What agents on nodes and who watches a cluster through them tell each other."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

PROTOCOL = 1
"""Of the answers of an agent. One that has another is named, and not read."""
NAMESPACE = "cilium-migrate"
"""Where agents run unless another namespace is asked for."""
DAEMON_SET = "cilium-migrate-audit"
"""The name of the DaemonSet, its ConfigMap, ServiceAccount, roles, bindings and of the Lease of its agents."""
CONTAINER = "agent"
RUN_LABEL = "cilium-migrate/run"
"""On every object of a run; its value is the run's id."""
RUN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A run is the value of a label and the name of a folder (Kubernetes, "Labels and Selectors")."""
SETTINGS_FILE = "/etc/cilium-migrate/run.json"
"""The settings of a run in an agent's container."""
STORE_FOLDER = "/var/lib/cilium-migrate"
"""On the node and in the container: a folder for each run, with its audit.db."""
NODE_VARIABLE, POD_VARIABLE = "NODE_NAME", "POD_NAME"
"""Variables of an agent's environment."""
BPFFS_VARIABLE, BPFFS_FOLDER = "MIGRATE_BPFFS", "/run/cilium-migrate/bpf"
"""Where an agent's container has its node's bpf filesystem, and the variable that says so to all that runs there.

Below /sys/fs/bpf the AppArmor profile that containerd gives to containers refuses every change
(containerd/containerd, contrib/apparmor/template.go).
"""

AgentState: TypeAlias = Literal["starting", "recording", "finished", "failed"]
"""finished: the time is over or a stop was asked for; the agent waits to be read and deleted."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What all agents of a run do. `began` is in nanoseconds since 1970, by who began it.

    `cluster` is the digest of the snapshot's cluster, `services` are the addresses of its Services, `seconds` are
    of recording on each node, `max_size` is in bytes. `forgotten_seconds`: how long a finished agent waits to be read
    before it takes what it left off its node by itself, keeping its recording.
    """

    protocol: int = PROTOCOL
    tool_version: str
    run: str
    namespace: str = NAMESPACE
    cluster: str
    policies: str = ""
    began: int
    seconds: int
    services: tuple[str, ...] = ()
    loader: Literal["libbpf", "bcc"] = "libbpf"
    max_size: int = 1 << 30
    shortest_epoch: float = 10.0
    forgotten_seconds: int = 7 * 24 * 3600


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How an agent does, printed as one line of JSON by `migrate audit agent status`.

    `at` is the node's clock in nanoseconds since 1970, for its skew. `revision` counts what was written to the
    recording; a reader that has it has everything. `new_flows` = `exact` + `coarse` + `lost` once all is drained.
    `failure` says why a `failed` agent does not record. `leads`: this one keeps the timeline of the whole cluster.
    """

    protocol: int = PROTOCOL
    tool_version: str
    run: str
    node: str
    boot_id: str
    state: AgentState
    at: int
    began: int | None = None
    seconds: int = 0
    recorded_seconds: int = 0
    left_seconds: int = 0
    revision: int = 0
    bytes: int = 0
    new_flows: int = 0
    exact: int = 0
    coarse: int = 0
    lost: int = 0
    watched_pods: int = 0
    open_gaps: int = 0
    losses: dict[str, int] = {}
    leads: bool = False
    failure: str = ""
    notes: tuple[str, ...] = ()


class Cleaned(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `migrate audit agent clean` took off a node, and what is still there (names of links, pins, filters, files).

    The node is clean when `left` is empty.
    """

    protocol: int = PROTOCOL
    node: str
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
