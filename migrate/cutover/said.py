"""What the audit before the cutover said of the traffic between two workloads on one port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.model.audit_documents import Audit, AuditEnd, ObservedGroup
from migrate.model.cutover_documents import AuditSaid

Traffic: TypeAlias = tuple[AuditEnd, AuditEnd, str, int, int]
"""Source, destination, protocol, port and ICMP code as an audit's groups have them."""
_ORDER: tuple[AuditSaid, ...] = ("would_drop", "denied_today", "unknown", "would_allow", "never_seen", "")


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, by traffic. `whole`: what is not there was never seen. `dropped` are the would-be drops.

    `other_policies`: it was said of other policies than those that judge now.
    """

    verdicts: dict[Traffic, AuditSaid] = field(default_factory=dict)
    whole: bool = False
    dropped: tuple[ObservedGroup, ...] = ()
    other_policies: bool = False

    def of(self, source: AuditEnd, destination: AuditEnd, packet: tuple[str, int, int]) -> AuditSaid:
        """The verdict on the traffic that this is a part of; the gravest one where there are several."""
        return self.verdicts.get((source, destination, *packet), "never_seen" if self.whole else "")


def traffic_of(group: ObservedGroup) -> Traffic:
    """Which traffic a group is."""
    return group.source, group.destination, group.protocol, group.port, group.icmp_code


def said_by(groups: Iterable[ObservedGroup], *, whole: bool, other_policies: bool = False) -> Said:
    """What these groups say; `whole`: they are all that the audit saw."""
    verdicts: dict[Traffic, AuditSaid] = {}
    dropped: list[ObservedGroup] = []
    for group in groups:
        verdict: AuditSaid = "unknown" if group.verdict == "not_judged" else group.verdict
        key = traffic_of(group)
        known = verdicts.get(key, "")
        verdicts[key] = min(known, verdict, key=_ORDER.index)
        if group.verdict == "would_drop":
            dropped.append(group)
    return Said(verdicts, whole, tuple(dropped), other_policies)


def groups_of(audit: Audit) -> Iterator[ObservedGroup]:
    """All groups that the document has; of what passes today and then, it has only traffic of special interest."""
    yield from audit.would_drop
    yield from audit.denied_today
    yield from audit.ambiguous
    for topic in (audit.probes, audit.dns, audit.api_server, audit.cloud_metadata, audit.other_node_clients):
        yield from topic.groups
