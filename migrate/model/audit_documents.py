"""What an audit found: recorded traffic judged under one revision of the policies, and what two revisions differ in."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from migrate.model.documents import DecidedBy, FlowExample

AuditVerdict: TypeAlias = Literal["would_drop", "would_allow", "unknown", "denied_today", "not_judged"]
"""denied_today: the old engine drops it already. not_judged: it opens no connection (ICMP errors)."""
Topic: TypeAlias = Literal[
    "", "probe", "dns", "api_server", "cloud_metadata", "other_node_client", "mid_stream", "icmp_error", "coarse"
]
AuditEndKind: TypeAlias = Literal["pod", "node", "outside", "api_server", "cloud", "unknown"]


class AuditEnd(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One end of recorded traffic. `name` is a workload ("Deployment/web", or a pod without one) or a node.

    It is empty outside the cluster, where `place` says what the addresses are.
    """

    kind: AuditEndKind
    namespace: str = ""
    name: str = ""
    place: str = ""

    def __str__(self) -> str:
        if self.kind == "pod":
            return f"{self.namespace}/{self.name}"
        return f"node {self.name}" if self.kind == "node" and self.name else self.place or self.kind


class ObservedGroup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Recorded connections between two workloads that one rule decides alike.

    `port` is the destination's behind the Service, for ICMP the type (`icmpCode` beside it). `events` are connections:
    the greater one of those seen leave the source and arrive at the destination, since many are seen at both.
    `hours` counts them by hour in UTC ("2026-11-21T10"). `first` and `last` are RFC 3339. `future` is what Cilium says
    where `verdict` is about today. `addresses` are of the end outside, at most 50 (`moreAddresses`: there are others).
    """

    verdict: AuditVerdict
    topic: Topic = ""
    source: AuditEnd
    destination: AuditEnd
    protocol: str
    port: int
    icmp_code: int = 0
    service: str = ""
    side: Literal["", "egress", "ingress"] = ""
    decided_by: DecidedBy = DecidedBy()
    future: Literal["would_drop", "would_allow", "unknown"]
    reason: str = ""
    events: int
    seen_at_source: int
    seen_at_destination: int
    answered: int
    refused: int
    records: int
    first: str
    last: str
    hours: dict[str, int]
    example: FlowExample
    addresses: tuple[str, ...] = ()
    more_addresses: bool = False


class Tally(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Records and connections (events, counted at each place where they were seen) by verdict."""

    records: int = 0
    would_drop: int = 0
    would_allow: int = 0
    unknown: int = 0
    denied_today: int = 0
    not_judged: int = 0


class TopicResult(msgspec.Struct, frozen=True, kw_only=True):
    """One class of traffic; `groups` has all of it, whatever the verdict."""

    tally: Tally
    groups: tuple[ObservedGroup, ...] = ()


class CoverageGap(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a pod's traffic was not seen. `until` is None while it lasts."""

    since: str
    until: str | None
    reason: str


Watching: TypeAlias = Literal["traffic", "quiet", "not_watched"]
"""quiet: it was watched and nothing was seen, which says nothing of what it does at other times."""


class PodCoverage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How long a pod's interface was there, and how long it was watched, in seconds. Pods are None when not known.

    `connections` were seen at this interface, as one that opened them or was called. `state` is None in documents of
    older versions.
    """

    namespace: str | None
    pod: str | None
    workload: str = ""
    interface: str
    alive_seconds: float
    watched_seconds: float
    gaps: tuple[CoverageGap, ...] = ()
    node: str = ""
    state: Watching | None = None
    connections: int = 0


class NodeCoverage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A node of the cluster, and how much of it was watched. `reason` says why it was not, or why not all of it.

    `recorded_seconds` is the time in which an agent recorded; the other times are those of its pods' interfaces
    together. `skew_seconds` was the node's clock ahead of that of who read it; it is taken out. Hours are in UTC:
    quiet ones in which an agent recorded and nothing was seen, and those in which none recorded.
    """

    name: str
    state: Watching
    reason: str = ""
    tool_version: str = ""
    skew_seconds: float = 0.0
    since: str | None = None
    until: str | None = None
    recorded_seconds: float = 0.0
    alive_seconds: float = 0.0
    watched_seconds: float = 0.0
    pods: int = 0
    quiet_pods: int = 0
    connections: int = 0
    new_flows: int = 0
    lost: int = 0
    quiet_hours: tuple[str, ...] = ()
    unwatched_hours: tuple[str, ...] = ()


class NamespaceCoverage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A namespace: its watched pods, those of them with no traffic, and pods of the snapshot that nobody watched.

    `not_watched_pods` are those with a network of their own. The namespace of pods that are not known is empty.
    """

    namespace: str
    state: Watching
    pods: int = 0
    quiet_pods: int = 0
    not_watched_pods: int = 0
    alive_seconds: float = 0.0
    watched_seconds: float = 0.0
    connections: int = 0


class HourCoverage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An hour in UTC ("2026-11-21T10"): the time of pods' interfaces in it, how much was watched, and what was seen."""

    hour: str
    state: Watching
    alive_seconds: float = 0.0
    watched_seconds: float = 0.0
    connections: int = 0


class CronCoverage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A CronJob: how many runs its schedule has while the audit went on, and of how many a pod was watched.

    `expected` is None for a schedule that cannot be read. A run of which no pod was watched may have been on a node
    that was not, or not have come. `with_traffic` are the watched ones that were not quiet.
    """

    job: str
    schedule: str
    expected: int | None
    seen: int
    with_traffic: int = 0


class AuditLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What was not kept or not seen."""

    kind: str
    count: int
    first: str
    last: str
    detail: str = ""


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """New flows that the kernel counted (`new`), and where they are: in exact rows, in coarse rows, or lost.

    `holds`: rows + coarse + lost = new, in each run of an agent; in one that goes on, the kernel may still have some.
    """

    rows: int
    coarse: int
    lost: int
    new: int
    holds: bool


class StandingConnection(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A connection that stood for long and that the cutover may cut. Ends are client and server, ports theirs.

    "cut": Cilium denies it whoever speaks first. "cut_unless_client_speaks": only what the client sends lets it go on,
    since Cilium judges an unknown connection by its first packet; "cut_unless_server_speaks" the other way.
    """

    effect: Literal["cut", "cut_unless_client_speaks", "cut_unless_server_speaks", "unknown"]
    client: AuditEnd
    server: AuditEnd
    protocol: str
    port: int
    count: int
    side: Literal["", "egress", "ingress"] = ""
    decided_by: DecidedBy = DecidedBy()
    reason: str = ""
    example: FlowExample
    seen: Literal["start_and_end", "end", "start", "mid_stream"]


class UnseenRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the policies that judge, which allows something for watched pods, of which nothing was seen.

    That does not make it needless.
    """

    object: str
    rule: str
    at: str | None
    direction: Literal["egress", "ingress"]
    workloads: tuple[str, ...]


class JudgedFrom(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording was judged from; each changes with what it stands for. See `migrate.audit.fresh`."""

    policies: str
    snapshot: str
    recording: str


class Audit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A recording judged under one revision of the policies.

    `complete` is False where something was not watched, lost, or not judged by all that may decide (`incomplete` says
    what). `node` is empty where several of `nodes` were watched. `other_protocols` is traffic of others than TCP, UDP
    and ICMP, whatever the verdict: whether Cilium carries it is no matter of policies. `assumptions`: pods that ran and
    are not in the snapshot, with whose labels they were judged. "Not seen" is never "safe".
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Audit"] = "Audit"
    tool_version: str
    node: str
    policies: str
    judged_from: JudgedFrom | None = None
    since: str | None
    until: str | None
    complete: bool
    incomplete: tuple[str, ...] = ()
    result: Literal["would_drop", "clean", "nothing_seen"]
    tally: Tally
    balance: Balance
    coverage: tuple[PodCoverage, ...] = ()
    nodes: tuple[NodeCoverage, ...] = ()
    namespaces: tuple[NamespaceCoverage, ...] = ()
    hours: tuple[HourCoverage, ...] = ()
    cron_jobs: tuple[CronCoverage, ...] = ()
    losses: tuple[AuditLoss, ...] = ()
    would_drop: tuple[ObservedGroup, ...] = ()
    probes: TopicResult
    dns: TopicResult
    api_server: TopicResult
    cloud_metadata: TopicResult
    other_node_clients: TopicResult
    connections: tuple[StandingConnection, ...] = ()
    denied_today: tuple[ObservedGroup, ...] = ()
    never_seen: tuple[UnseenRule, ...] = ()
    ambiguous: tuple[ObservedGroup, ...] = ()
    not_judged: tuple[ObservedGroup, ...] = ()
    other_protocols: tuple[ObservedGroup, ...] = ()
    assumptions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    redacted: bool = False


class ChangedDrop(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Traffic of which both revisions drop some, by other rules or not as many connections.

    `groups` are those of the second one; `events` are the connections of all groups of either.
    """

    groups: tuple[ObservedGroup, ...]
    events: int
    events_before: int
    decided_before: tuple[DecidedBy, ...]


class AuditDifference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One recording under two revisions of the policies.

    `newly_dropped` are groups of the second one, `no_longer_dropped` of the first. Traffic is the same where its
    workloads, protocol, port and Service are.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["AuditDifference"] = "AuditDifference"
    tool_version: str
    node: str
    before: str
    after: str
    complete: bool
    newly_dropped: tuple[ObservedGroup, ...] = ()
    no_longer_dropped: tuple[ObservedGroup, ...] = ()
    changed: tuple[ChangedDrop, ...] = ()
