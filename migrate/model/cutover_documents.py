"""What Cilium does after the cutover, compared with what was predicted."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from migrate.model.audit_documents import AuditEnd
from migrate.model.documents import DecidedBy, FlowExample
from migrate.model.finding import Finding
from migrate.model.refs import ObjectRef

CutoverClass: TypeAlias = Literal["missed_drop", "missed_allow", "as_predicted", "new_traffic", "not_judged"]
"""missed_drop: Cilium drops what was predicted to pass. missed_allow: it passes what was predicted to be dropped.

new_traffic: it does what the policies say, with traffic that the audit never saw.
"""
CLASSES: tuple[CutoverClass, ...] = ("missed_drop", "missed_allow", "not_judged", "new_traffic", "as_predicted")
"""All classes, the worst first."""
Observed: TypeAlias = Literal["dropped", "allowed", "left", "audited", "unanswered", "dropped_otherwise", "unknown"]
"""left: let out at its source, and nothing was told of where it arrives. audited: dropped if policies were enforced.

dropped_otherwise: by something that is no policy. unanswered: sent, and nobody answered.
"""
Predicted: TypeAlias = Literal["would_drop", "would_allow", "unknown"]
AuditSaid: TypeAlias = Literal["", "would_drop", "would_allow", "unknown", "denied_today", "never_seen"]
"""What the audit before the cutover said of the same workloads and port; empty: there was none to ask."""


class CutoverGroup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Traffic between two workloads on one port that came out alike.

    `dropped` and `passed` count events at the policies of both ends, `times` all of them, whatever they say. `side` is
    where the difference is, or where it is denied. `decided_by` is the rule that decides by the policies: the denying
    one, or of a missed drop the one that admits. `reported` are the policies that Cilium named. `first` and `last` are
    RFC 3339, empty where no time was told. `evidence` is where one of them stands (FILE:LINE).
    """

    outcome: CutoverClass
    observed: Observed
    predicted: Predicted
    audit: AuditSaid = ""
    source: AuditEnd
    destination: AuditEnd
    protocol: str
    port: int
    icmp_code: int = 0
    service: str = ""
    side: Literal["", "egress", "ingress"] = ""
    decided_by: DecidedBy = DecidedBy()
    drop_reason: str = ""
    reported: tuple[str, ...] = ()
    dropped: int = 0
    passed: int = 0
    times: int = 0
    first: str = ""
    last: str = ""
    nodes: tuple[str, ...] = ()
    example: FlowExample
    evidence: str = ""
    reason: str = ""
    do: str = ""


class NotConfirmed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Traffic that the audit said would be dropped and of which nothing was seen after the cutover."""

    source: AuditEnd
    destination: AuditEnd
    protocol: str
    port: int
    icmp_code: int = 0
    events: int
    decided_by: DecidedBy = DecidedBy()


class CutoverTally(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Events by class; `replies` and `trace` (points at which no policy was asked yet) are in no class."""

    missed_drop: int = 0
    missed_allow: int = 0
    as_predicted: int = 0
    new_traffic: int = 0
    not_judged: int = 0
    replies: int = 0
    trace: int = 0


class CutoverSource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file, node or recording that told what Cilium does. `lost`: events that it says it lost; times are RFC 3339."""

    name: str
    kind: Literal["hubble", "monitor", "probe", "agent"]
    flows: int
    lost: int = 0
    unreadable: int = 0
    since: str = ""
    until: str = ""


class CutoverNode(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A node of the snapshot, or of the cluster today: what was seen there. `failure` says why its agent told nothing.

    `endpoints` is None where the agent was not asked for them.
    """

    name: str
    flows: int
    endpoints: int | None = None
    failure: str = ""


class EndpointCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The endpoints that agents told of: pods, those that are enforced as the policies ask, and those that are not."""

    pods: int
    as_predicted: int
    not_as_predicted: int
    not_judged: int = 0


class CutoverSuggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that would let through what is dropped. `flows` are what it is for; `text` is YAML."""

    object: ObjectRef
    flows: tuple[str, ...]
    text: str


class CutoverCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`migrate audit verify-cutover`: what Cilium does, against what was predicted of it.

    `complete` is False where something was lost, not asked or not judged by all that may decide (`incomplete` says
    what). `result`: "missed" for one missed prediction; "nothing_seen" never means that it holds. `missed` has drops
    first. `suggested` are policies for what is dropped, `way_back` is what the runbook says of going back, and
    `not_seen` what this check cannot see.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["CutoverCheck"] = "CutoverCheck"
    tool_version: str
    made: str
    policies: str
    policies_digest: str = ""
    snapshot_digest: str = ""
    since: str = ""
    until: str = ""
    complete: bool
    incomplete: tuple[str, ...] = ()
    result: Literal["missed", "findings", "as_predicted", "nothing_seen"]
    tally: CutoverTally
    sources: tuple[CutoverSource, ...] = ()
    nodes: tuple[CutoverNode, ...] = ()
    endpoints: EndpointCheck | None = None
    missed: tuple[CutoverGroup, ...] = ()
    not_judged: tuple[CutoverGroup, ...] = ()
    new_traffic: tuple[CutoverGroup, ...] = ()
    as_predicted: tuple[CutoverGroup, ...] = ()
    not_confirmed: tuple[NotConfirmed, ...] = ()
    findings: tuple[Finding, ...] = ()
    suggested: tuple[CutoverSuggestion, ...] = ()
    way_back: str = ""
    assumptions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()
